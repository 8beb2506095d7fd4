/** What a refusal of the table of marks means to a user. */
import { describe, expect, test } from 'vitest';
import {
  explainRefusal,
  planChange,
  planTable,
} from '../../../../src/adapters/linux/nft-marks-table.ts';
import {
  NFT_MSG_NEWCHAIN,
  NFT_MSG_NEWRULE,
  NFT_MSG_NEWSET,
} from '../../../../src/wire/nftables.ts';

const error = (code: string) => ({ code, message: `write the table of marks: ${code}` });
const placesOf = (type: number): readonly number[] =>
  planTable([]).flatMap((message, i) => (message.type === type ? [i] : []));

describe('refusals', () => {
  test('of the batch as such: no nftables, or too much at once', () => {
    expect(explainRefusal(error('ENOTSUP'), 'all').message).toMatch(
      /no nftables; .*modprobe nf_tables/,
    );
    expect(explainRefusal(error('EMSGSIZE'), 'all').message).toMatch(
      /fewer addresses or port ranges/,
    );
  });

  test('of the table or a chain: the family', () => {
    for (const at of [0, ...placesOf(NFT_MSG_NEWCHAIN)])
      expect(explainRefusal(error('ENOTSUP'), at).message).toMatch(/family inet; .*nf_tables_inet/);
  });

  test('of a map: the kernel is too old', () => {
    const maps = placesOf(NFT_MSG_NEWSET);
    expect(maps).toHaveLength(2);
    for (const at of maps)
      expect(explainRefusal(error('EINVAL'), at).message).toMatch(/Linux 5\.6 or newer/);
  });

  test('of anything else, and for want of rights or time, nothing is made up', () => {
    const [rule = -1] = placesOf(NFT_MSG_NEWRULE);
    expect(explainRefusal(error('ENOENT'), rule)).toEqual(error('ENOENT'));
    for (const code of ['EPERM', 'TIMEOUT'])
      for (const at of ['all', 0] as const)
        expect(explainRefusal(error(code), at)).toEqual(error(code));
  });
});

test('a change of nothing is no batch', () => {
  expect(planChange({ add: [], remove: [] })).toEqual([]);
});
