/** The nftables messages against what nft sends and Linux answers, and against noise. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { toHex } from '../../../src/lib/bytes.ts';
import {
  type NftExpression,
  NFT_META_IIF,
  NFT_META_PROTOCOL,
} from '../../../src/wire/nft-expressions.ts';
import {
  BATCH_BEGIN,
  BATCH_END,
  decodeChain,
  decodeElements,
  decodeGeneration,
  decodeRule,
  decodeSet,
  decodeTable,
  deleteChain,
  deleteElements,
  deleteRules,
  deleteTable,
  flushSet,
  newChain,
  newElements,
  newRule,
  newSet,
  newTable,
  NFPROTO_NETDEV,
  NFT_SET_TIMEOUT,
  type NftMessage,
} from '../../../src/wire/nftables.ts';
import { bodyOf, captured, loadCaptured } from './netlink-fixture.ts';

const messages = loadCaptured('nftables.txt');
const TABLE = { family: NFPROTO_NETDEV, table: 'leasehold' };
const MANAGED = Uint8Array.of(10, 0, 0, 5);
const LOOPBACK = Uint8Array.of(1, 0, 0, 0);
const NESTED = 0x8000;

/** `path: hex` of every leaf; `[]` is an element of a list. */
function leaves(bytes: Uint8Array, start: number, path = ''): readonly string[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const lines: string[] = [];
  for (let offset = start; offset + 4 <= bytes.length; ) {
    const length = view.getUint16(offset, true);
    const type = view.getUint16(offset + 2, true);
    const payload = bytes.subarray(offset + 4, offset + length);
    const here = `${path}/${type & 0x3fff}`;
    if ((type & NESTED) === 0) lines.push(`${here}: ${toHex(payload)}`);
    else lines.push(...leaves(payload, 0, here));
    offset += (length + 3) & ~3;
  }
  return lines;
}

/** What nft adds, or sends in place of ours: `extra` names those attributes. */
function expectAsNft(message: NftMessage, name: string, extra: readonly string[] = []): void {
  const theirs = captured(messages, name);
  expect(message.type).toBe(new DataView(theirs.buffer, theirs.byteOffset).getUint16(4, true));
  expect([...message.body.subarray(0, 4)]).toEqual([...bodyOf(theirs).subarray(0, 4)]);
  const isPlain = (line: string): boolean => !extra.some((path) => line.startsWith(path));
  const sort = (lines: readonly string[]): readonly string[] => lines.filter(isPlain).toSorted();
  expect(sort(leaves(message.body, 4))).toEqual(sort(leaves(bodyOf(theirs), 4)));
}

describe('messages as nft sends them', () => {
  test('a batch begins and ends for the nftables subsystem', () => {
    expect([BATCH_BEGIN.type, BATCH_END.type]).toEqual([0x10, 0x11]);
    expect(toHex(BATCH_BEGIN.body)).toBe('0000000a');
  });

  test('tables', () => {
    expectAsNft(newTable(TABLE), 'sent-table-1', ['/2:']);
    expectAsNft(deleteTable(TABLE), 'sent-delete-table-1');
  });

  test('sets, with and without expiry', () => {
    // Not ours: description of the size (9), user data for listings (13); the id (10) is any.
    const others = ['/9', '/10:', '/13:'];
    const alive = { name: 'alive', keyType: 20, keyLength: 4, flags: NFT_SET_TIMEOUT };
    expectAsNft(newSet(TABLE, alive, 1), 'sent-set-1', others);
    const enabled = { name: 'enabled4', keyType: 7, keyLength: 4, flags: 0 };
    expectAsNft(newSet(TABLE, enabled, 2), 'sent-set-3', others);
  });

  test('chains, with a hook and without', () => {
    expectAsNft(newChain(TABLE, { name: 'arrive', hook: null }), 'sent-chain-2');
    const hook = { hook: 0, priority: -300, device: 'lo' };
    // Ours name the policy, which is the default.
    expectAsNft(newChain(TABLE, { name: 'in-1', hook }), 'sent-chain-3', ['/5:', '/8:']);
    expectAsNft(deleteChain(TABLE, 'in-1'), 'sent-delete-chain-1');
  });

  test('rules of lookups, comparisons, jumps and drops', () => {
    const rule = (chain: string, number: number, expressions: readonly NftExpression[]) =>
      newRule(TABLE, { chain, expressions, comment: `leasehold ${number}` });
    const alive: NftExpression = { kind: 'not-in', set: 'alive' };
    const isDropped = [{ kind: 'meta', key: NFT_META_IIF }, alive, { kind: 'drop' }] as const;
    // The inversion flag and the id of the set, where nft writes them though they say nothing.
    const quiet = ['/4/1/2/5: 00000000', '/4/1/2/4: 00000001', '/4/1/2/4: 00000002'];
    expectAsNft(rule('to4', 1, isDropped), 'sent-rule-1', quiet);
    const ipv4: NftExpression = { kind: 'equals', value: Uint8Array.of(8, 0) };
    const destination: NftExpression = { kind: 'payload', base: 1, offset: 16, length: 4 };
    const isManaged: NftExpression = { kind: 'in', set: 'managed4' };
    const jump: NftExpression = { kind: 'jump', chain: 'to4' };
    expectAsNft(
      rule('arrive', 2, [
        { kind: 'meta', key: NFT_META_PROTOCOL },
        ipv4,
        destination,
        isManaged,
        jump,
      ]),
      'sent-rule-2',
      quiet,
    );
    expectAsNft(rule('in-1', 3, [{ kind: 'goto', chain: 'arrive' }]), 'sent-rule-3');
    expectAsNft(deleteRules(TABLE, 'arrive'), 'sent-delete-rules-1');
  });

  test('elements, lasting and with a life', () => {
    const [lasting] = newElements(TABLE, 'managed4', [{ key: MANAGED, timeoutMs: null }]);
    const [dying] = newElements(TABLE, 'alive', [{ key: LOOPBACK, timeoutMs: 400.7 }]);
    const [gone] = deleteElements(TABLE, 'alive', [LOOPBACK]);
    if (!lasting || !dying || !gone) throw new Error('no message');
    expectAsNft(lasting, 'sent-elements-1', ['/4:']);
    expectAsNft(dying, 'sent-elements-2', ['/4:']);
    expectAsNft(gone, 'sent-delete-elements-1');
    expectAsNft(flushSet(TABLE, 'managed4'), 'sent-delete-elements-2');
  });

  test('no elements are no message, and thousands are several', () => {
    expect(newElements(TABLE, 'managed4', [])).toEqual([]);
    const many = Array.from({ length: 2500 }, (_, i) => ({
      key: new Uint8Array(16).fill(i & 255),
      timeoutMs: 1000,
    }));
    const made = newElements(TABLE, 'managed6', many);
    expect(made.length).toBe(3);
    const keys = made.flatMap(({ body }) => {
      const decoded = decodeElements(body);
      return decoded.ok ? decoded.value : [];
    });
    expect(keys).toEqual(many.map(({ key }) => key));
  });
});

const dumped = (name: string): Uint8Array => bodyOf(captured(messages, `dumped-${name}`));

describe('dumps as Linux answers them', () => {
  test('tables, sets, chains, rules and elements', () => {
    expect(decodeTable(dumped('table-1'))).toEqual({ ok: true, value: TABLE });
    expect(decodeSet(dumped('set-1'))).toEqual({
      ok: true,
      value: { ...TABLE, name: 'alive', keyType: 20, keyLength: 4, flags: NFT_SET_TIMEOUT },
    });
    expect(decodeChain(dumped('chain-1'))).toEqual({
      ok: true,
      value: { ...TABLE, name: 'to4', hook: null },
    });
    expect(decodeChain(dumped('chain-3'))).toEqual({
      ok: true,
      value: { ...TABLE, name: 'in-1', hook: { hook: 0, priority: -300, device: 'lo' } },
    });
    expect(decodeRule(dumped('rule-2'))).toEqual({
      ok: true,
      value: { ...TABLE, chain: 'arrive', comment: 'leasehold 2' },
    });
    expect(decodeElements(dumped('elements-3'))).toEqual({ ok: true, value: [MANAGED] });
    expect(decodeElements(dumped('elements-5'))).toEqual({ ok: true, value: [] });
  });

  test('whatever the bytes are, they are read or refused, never thrown at', () => {
    const decoders = [decodeTable, decodeSet, decodeChain, decodeRule, decodeElements];
    const known = [...messages.values()].map(bodyOf);
    const damaged = fc
      .tuple(fc.constantFrom(...known), fc.nat(400), fc.nat(255), fc.nat(400))
      .map(([bytes, at, value, length]) => {
        const copy = bytes.slice(0, length);
        if (at < copy.length) copy[at] = value;
        return copy;
      });
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 200 }), damaged), (bytes) => {
        for (const decode of decoders) expect(typeof decode(bytes).ok).toBe('boolean');
      }),
    );
    expect(decodeTable(Uint8Array.of(1, 2)).ok).toBe(false);
  });
});

test('the generation of the rules is read where there is one', () => {
  const body = Uint8Array.of(0, 0, 0x01, 0x02, 0, 8, 0, 1, 0, 0, 0x30, 0x39);
  const view = new DataView(body.buffer);
  view.setUint16(4, 8, true);
  view.setUint16(6, 1, true);
  expect(decodeGeneration(body)).toBe(12_345);
  expect(decodeGeneration(body.subarray(0, 4))).toBe(0);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (noise) => {
      expect(decodeGeneration(noise)).toBeGreaterThanOrEqual(0);
    }),
  );
});
