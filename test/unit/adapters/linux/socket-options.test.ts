/** Finding a socket of ours in the kernel's table. */
import { expect, test } from 'vitest';
import { findNetlinkRow } from '../../../../src/adapters/linux/socket-options.ts';

const TABLE = `sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode
0000000000000000 0   4294963    00000551 0        0        0     2        17       52033
0000000000000000 0   812        00000000 0        0        0     2        0        40124
0000000000000000 16  812        00000000 0        0        0     2        3        40125
`;

test('protocol and port together name a socket', () => {
  expect(findNetlinkRow(TABLE, 0, 4_294_963)).toEqual({ inode: '52033', drops: 17 });
  expect(findNetlinkRow(TABLE, 16, 812)).toEqual({ inode: '40125', drops: 3 });
});

test('there is no row for a stranger, nor in an empty table', () => {
  expect(findNetlinkRow(TABLE, 9, 812)).toBeNull();
  expect(findNetlinkRow('', 0, 812)).toBeNull();
});
