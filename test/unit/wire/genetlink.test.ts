/** Generic netlink's question for a family, against what ipvsadm sends and Linux answers. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { toHex } from '../../../src/lib/bytes.ts';
import { decodeFamily, encodeGetFamily } from '../../../src/wire/genetlink.ts';
import { bodyOf, captured, loadCaptured } from './netlink-fixture.ts';

const messages = loadCaptured('ipvsadm.txt');

test('the question is the one that ipvsadm asks', () => {
  // CTRL_CMD_GETFAMILY, version 1, attribute 2 "IPVS" with its NUL and padding.
  expect(toHex(encodeGetFamily('IPVS'))).toBe('03010000090002004950565300000000');
});

test("Linux's answer is read", () => {
  const family = decodeFamily(bodyOf(captured(messages, 'family')));
  expect(family).toEqual({ ok: true, value: { id: 28, name: 'IPVS' } });
});

test('an answer without an id is an error, and no bytes make it throw', () => {
  expect(decodeFamily(encodeGetFamily('IPVS')).ok).toBe(false);
  fc.assert(fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => void decodeFamily(bytes)));
});
