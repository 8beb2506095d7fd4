/** Maps of marks against what nft sends and Linux answers, and against noise. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { toHex } from '../../../src/lib/bytes.ts';
import { NFT_REG32_00 } from '../../../src/wire/nft-expressions.ts';
import {
  decodeMarkElements,
  deleteMarkElements,
  keyLengthOf,
  MARK_MAP_FLAGS,
  newMarkElements,
  newMarkMap,
  type NftMarkElement,
} from '../../../src/wire/nft-maps.ts';
import {
  decodeChainPolicy,
  decodeSet,
  decodeTableFlags,
  isAboutTable,
  newRule,
  newTable,
  NFPROTO_INET,
  type NftMessage,
} from '../../../src/wire/nftables.ts';
import { bodyOf, captured, loadCaptured } from './netlink-fixture.ts';

const messages = loadCaptured('nft-marks.txt');
const TABLE = { family: NFPROTO_INET, table: 'leasehold-marks' };
const FIELDS = [
  { type: 7, bytes: 4 },
  { type: 12, bytes: 1 },
  { type: 13, bytes: 2 },
];
const MAP = { name: 'marks4', fields: FIELDS };
const NESTED = 0x8000;

const element = (
  address: readonly number[],
  protocol: number,
  ports: readonly [number, number],
  mark: number,
  comment: string,
): NftMarkElement => {
  const key = (port: number): readonly Uint8Array[] => [
    Uint8Array.from(address),
    Uint8Array.of(protocol),
    Uint8Array.of(port >> 8, port & 255),
  ];
  return { from: key(ports[0]), to: key(ports[1]), mark, comment };
};
const SHOP = element([10, 90, 0, 100], 6, [80, 80], 7, 'shop');
const RANGE = element([10, 90, 0, 101], 17, [8000, 8010], 0xffff_ffff, 'x');

/** `path: hex` of every leaf. */
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

function expectAsNft(message: NftMessage, name: string, others: readonly string[]): void {
  const theirs = captured(messages, name);
  const view = new DataView(theirs.buffer, theirs.byteOffset);
  expect(message.type).toBe(view.getUint16(4, true));
  expect(message.flags | 1).toBe(view.getUint16(6, true));
  const plain = (body: Uint8Array): readonly string[] =>
    leaves(body, 4)
      // nft counts the elements of a list, the kernel does not.
      .map((line) => line.replace(/^\/3\/\d+\//, '/3/1/'))
      .filter((line) => !others.some((path) => line.startsWith(path)))
      .toSorted();
  expect(plain(message.body)).toEqual(plain(bodyOf(theirs)));
}

describe('messages as nft sends them', () => {
  test('the map: types, lengths and fields', () => {
    // Not the same: the id (10) is any, of the user data (13) we write what listings need.
    expectAsNft(newMarkMap(TABLE, MAP, 1), 'sent-set-1', ['/10:', '/13:']);
    expect(keyLengthOf(MAP)).toBe(12);
  });

  test('its elements, alone and in ranges, and their removal', () => {
    const [added] = newMarkElements(TABLE, 'marks4', [SHOP, RANGE]);
    const [removed] = deleteMarkElements(TABLE, 'marks4', [RANGE]);
    if (!added || !removed) throw new Error('no message');
    // The id of the set (4): ours go by its name.
    expectAsNft(added, 'sent-elements-1', ['/4:']);
    expectAsNft(removed, 'sent-delete-elements-1', ['/4:']);
  });

  test('the rule: three values side by side, looked up, become the mark', () => {
    const rule = newRule(TABLE, {
      chain: 'input',
      comment: 'c',
      expressions: [
        { kind: 'meta', key: 15 },
        { kind: 'equals', value: Uint8Array.of(2) },
        { kind: 'payload', base: 1, offset: 16, length: 4 },
        { kind: 'meta', key: 16, register: NFT_REG32_00 + 1 },
        { kind: 'payload', base: 2, offset: 2, length: 2, register: NFT_REG32_00 + 2 },
        { kind: 'map', map: 'marks4' },
        { kind: 'set-mark' },
      ],
    });
    // nft swaps the bytes of the protocol, of which there is one, and names the map by its id (4) too.
    const theirs = leaves(bodyOf(captured(messages, 'sent-rule-1')), 4);
    const swap = theirs.findIndex((line) =>
      line.endsWith(`: ${toHex(Buffer.from('byteorder\0'))}`),
    );
    expect(swap).toBeGreaterThan(0);
    const known = theirs.toSpliced(swap, 6).filter((line) => line !== '/4/1/2/4: 00000001');
    expect(leaves(rule.body, 4).toSorted()).toEqual(known.toSorted());
  });

  test('no elements are no message, and thousands are several below the limit of a list', () => {
    expect(newMarkElements(TABLE, 'marks4', [])).toEqual([]);
    const long = { ...RANGE, comment: 's'.repeat(250) };
    const made = newMarkElements(
      TABLE,
      'marks4',
      Array.from({ length: 1000 }, () => long),
    );
    const back = made.flatMap(({ body }) => {
      expect(body.length).toBeLessThan(0xffff);
      const decoded = decodeMarkElements(body, FIELDS);
      return decoded.ok ? decoded.value : [];
    });
    expect(back).toEqual(Array.from({ length: 1000 }, () => long));
  });
});

describe('what Linux answers', () => {
  const dumped = (name: string): Uint8Array => bodyOf(captured(messages, name));

  test('the map, its elements, the chain and the table', () => {
    expect(decodeSet(dumped('dumped-set-1'))).toMatchObject({
      ok: true,
      value: { name: 'marks4', flags: MARK_MAP_FLAGS, keyLength: 12 },
    });
    const decoded = decodeMarkElements(dumped('dumped-elements-1'), FIELDS);
    expect(decoded).toEqual({ ok: true, value: [SHOP, RANGE] });
    const chain = decodeChainPolicy(dumped('dumped-chain-1'));
    expect(chain).toMatchObject({
      value: { name: 'input', hook: { hook: 1, priority: -150 }, isAccepting: true },
    });
    expect(decodeTableFlags(dumped('dumped-table-1'))).toEqual({
      ok: true,
      value: { ...TABLE, flags: 0 },
    });
  });

  test('an element of other fields, or without mark or comment, is none of ours', () => {
    const ipv6 = [{ type: 8, bytes: 16 }, ...FIELDS.slice(1)];
    const decoded = decodeMarkElements(dumped('dumped-elements-1'), ipv6);
    expect(decoded).toEqual({ ok: true, value: [null, null] });
    const [removal] = deleteMarkElements(TABLE, 'marks4', [SHOP]);
    expect(decodeMarkElements(removal?.body ?? new Uint8Array(), FIELDS)).toEqual({
      ok: true,
      value: [null],
    });
  });

  test('a notification is about our table by family and name, whatever part it is of', () => {
    for (const name of ['set', 'elements', 'chain', 'rule', 'table']) {
      const message = captured(messages, `dumped-${name}-1`);
      const type = new DataView(message.buffer, message.byteOffset).getUint16(4, true);
      const told = { type, body: bodyOf(message) };
      expect(isAboutTable(told, TABLE)).toBe(true);
      expect(isAboutTable(told, { ...TABLE, family: 2 })).toBe(false);
      expect(isAboutTable(told, { ...TABLE, table: 'leasehold' })).toBe(false);
      // Generations have a number where others have a name; other subsystems have anything.
      expect(isAboutTable({ ...told, type: 0xa0f }, TABLE)).toBe(false);
      expect(isAboutTable({ ...told, type: 0x100 }, TABLE)).toBe(false);
    }
  });
});

describe('noise', () => {
  test('never throws', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        decodeMarkElements(bytes, FIELDS);
        decodeChainPolicy(bytes);
        decodeTableFlags(bytes);
        isAboutTable({ type: 0xa00, body: bytes }, TABLE);
      }),
    );
  });

  test('never throws on a captured message with a byte changed', () => {
    const body = bodyOf(captured(messages, 'dumped-elements-1'));
    fc.assert(
      fc.property(fc.nat(body.length - 1), fc.nat(255), (at, byte) => {
        decodeMarkElements(
          body.map((old, i) => (i === at ? byte : old)),
          FIELDS,
        );
      }),
    );
  });

  test('what is encoded decodes to the same', () => {
    const value = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
    const key = fc.tuple(value(4), value(1), value(2));
    const arbitrary = fc.record({
      from: key,
      to: key,
      mark: fc.integer({ min: 0, max: 0xffff_ffff }),
      comment: fc.stringMatching(/^[a-z0-9._-]{1,63}$/),
    });
    fc.assert(
      fc.property(fc.array(arbitrary, { minLength: 1, maxLength: 20 }), (elements) => {
        const [message] = newMarkElements(TABLE, 'marks4', elements);
        expect(decodeMarkElements(message?.body ?? new Uint8Array(), FIELDS)).toEqual({
          ok: true,
          value: elements,
        });
      }),
    );
  });

  test('the table itself is made as before', () => {
    expect(isAboutTable(newTable(TABLE), TABLE)).toBe(true);
  });
});
