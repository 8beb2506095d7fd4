/** Transactions as etcd's messages, and prefixes as ranges. */
import { createRequire } from 'node:module';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { decodeTxn, encodeTxn, prefixRange } from '../../../../src/adapters/etcd/txn-codec.ts';
import { ABSENT, leaseId, revision } from '../../../../src/model/ids.ts';
import type { Txn } from '../../../../src/ports/cluster-store.ts';

type Codec = {
  readonly requestSerialize: (value: object) => Buffer;
  readonly requestDeserialize: (bytes: Buffer) => object;
  readonly responseSerialize: (value: object) => Buffer;
};

/** etcd's own description of the transaction, as the library ships it, and read as the library does. */
const fromHere = createRequire(import.meta.url);
const fromLibrary = createRequire(fromHere.resolve('etcd3'));
const { loadSync } = fromLibrary('@grpc/proto-loader') as {
  loadSync: (file: string, options: object) => Record<string, { readonly Txn: Codec }>;
};
const options = { keepCase: true, longs: String, enums: String, oneofs: true };
const codec = loadSync(fromHere.resolve('etcd3/proto/rpc.proto'), options)['etcdserverpb.KV']?.Txn;
if (codec === undefined) throw new Error('the description has no Txn');

const header = {
  cluster_id: '17841693486021432215',
  member_id: '2',
  revision: '42',
  raft_term: '3',
};
const txn: Txn = {
  compares: [{ key: 'a', modRevision: ABSENT }],
  success: [
    { op: 'put', key: 'a', value: 'ü', lease: leaseId('7587885173210087941') },
    { op: 'get', key: 'b' },
    { op: 'delete', key: 'c' },
  ],
  failure: [{ op: 'get', key: 'a' }],
};

/** Survives UTF-8: no lone surrogates. */
const isText = (text: string): boolean => Buffer.from(text).toString() === text;

const text = fc.string({ unit: 'grapheme', maxLength: 40 });
const someRevision = fc.nat({ max: Number.MAX_SAFE_INTEGER }).map((value) => revision(value));
const operation = fc.oneof(
  fc.record({ op: fc.constant('put' as const), key: text, value: text }),
  fc.record({ op: fc.constant('delete' as const), key: text }),
  fc.record({ op: fc.constant('get' as const), key: text }),
);
const someTxn: fc.Arbitrary<Txn> = fc.record({
  compares: fc.array(fc.record({ key: text, modRevision: someRevision }), { maxLength: 5 }),
  success: fc.array(operation, { maxLength: 5 }),
  failure: fc.array(operation, { maxLength: 5 }),
});

describe('encodeTxn', () => {
  const read = (given: Txn): object => codec.requestDeserialize(Buffer.from(encodeTxn(given)));

  it('compares mod revisions for equality and keeps the order of operations', () => {
    expect(read(txn)).toMatchObject({
      compare: [
        {
          result: 'Equal',
          target: 'Mod',
          key: Buffer.from('a'),
          mod_revision: '0',
          target_union: 'mod_revision',
        },
      ],
      success: [
        {
          request: 'request_put',
          request_put: {
            key: Buffer.from('a'),
            value: Buffer.from('ü'),
            lease: '7587885173210087941',
          },
        },
        { request: 'request_range', request_range: { key: Buffer.from('b') } },
        { request: 'request_delete_range', request_delete_range: { key: Buffer.from('c') } },
      ],
      failure: [{ request: 'request_range', request_range: { key: Buffer.from('a') } }],
    });
  });

  it('says of any transaction what etcd is to read', () => {
    const names = { put: 'request_put', delete: 'request_delete_range', get: 'request_range' };
    const branch = (operations: Txn['success']): readonly object[] =>
      operations.map((each) => ({
        request: names[each.op],
        [names[each.op]]: {
          ...(each.key !== '' && { key: Buffer.from(each.key) }),
          ...(each.op === 'put' && each.value !== '' && { value: Buffer.from(each.value) }),
        },
      }));
    fc.assert(
      fc.property(someTxn, (given) => {
        const {
          compare = [],
          success = [],
          failure = [],
        } = read(given) as Record<string, object[]>;
        expect(compare.map((each) => each as { mod_revision: string })).toMatchObject(
          given.compares.map(({ modRevision }) => ({ mod_revision: String(modRevision) })),
        );
        expect(success).toMatchObject(branch(given.success));
        expect(failure).toMatchObject(branch(given.failure));
      }),
    );
  });
});

describe('decodeTxn', () => {
  const range = (kvs: readonly unknown[]) => ({ response_range: { header, kvs, more: false } });
  const respond = (succeeded: boolean, responses: readonly unknown[]) =>
    decodeTxn(txn, codec.responseSerialize({ header, succeeded, responses }));
  const kv = { key: Buffer.from('a'), value: Buffer.from('xü'), mod_revision: '9', version: '3' };
  const deleted = { response_delete_range: { header, deleted: '1' } };
  const stored = { response_put: { header } };

  it('takes the reads of the branch that ran', () => {
    expect(respond(false, [range([kv])])).toEqual({
      succeeded: false,
      revision: revision(42),
      reads: [{ key: 'a', value: 'xü', modRevision: 9 }],
    });
    expect(respond(true, [stored, range([]), deleted])).toMatchObject({
      succeeded: true,
      reads: [{ key: 'b', value: null, modRevision: 0 }],
    });
  });

  it('gives null where the answer does not fit the request', () => {
    expect(respond(true, [stored])).toBeNull();
    expect(respond(false, [stored])).toBeNull();
    expect(decodeTxn(txn, new Uint8Array())).toBeNull();
  });

  it('takes no broken range for one without the key', () => {
    const one: Txn = { compares: [], success: [{ op: 'get', key: 'b' }], failure: [] };
    // Header with revision 42, succeeded, and one answer: a range whose entry is longer than the range.
    const broken = '0a02182a' + '1001' + '1a05' + '0a03' + '120902';
    expect(decodeTxn(one, Buffer.from(broken, 'hex'))).toBeNull();
    const empty = '0a02182a' + '1001' + '1a02' + '0a00';
    expect(decodeTxn(one, Buffer.from(empty, 'hex'))?.reads[0]?.value).toBeNull();
  });

  it('never reads more out of a broken answer than null', () => {
    const whole = codec.responseSerialize({
      header,
      succeeded: true,
      responses: [stored, range([kv]), deleted],
    });
    for (let length = 0; length < whole.length; length++)
      expect(decodeTxn(txn, whole.subarray(0, length))?.succeeded ?? false).toBe(false);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        expect(() => decodeTxn(txn, bytes)).not.toThrow();
      }),
    );
  });
});

describe('prefixRange', () => {
  it('holds exactly the keys that start with the prefix', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), fc.string(), (prefix, rest, other) => {
        const { key, range_end: end } = prefixRange(prefix);
        const isInside = (text: string): boolean => {
          const bytes = Buffer.from(text);
          if (Buffer.compare(bytes, key) < 0) return false;
          return end.equals(Buffer.from([0])) || Buffer.compare(bytes, end) < 0;
        };
        const own = prefix + rest;
        // Empty keys do not exist in etcd; lone surrogates do not survive UTF-8.
        fc.pre(own !== '' && other !== '' && isText(prefix) && isText(own));
        if (!own.startsWith('\0') || prefix !== '') expect(isInside(own)).toBe(true);
        if (isText(other) && prefix !== '')
          expect(isInside(other)).toBe(Buffer.from(other).subarray(0, key.length).equals(key));
      }),
    );
  });

  it('carries over a last byte of 0xff', () => {
    expect(prefixRange('a/')).toEqual({ key: Buffer.from('a/'), range_end: Buffer.from('a0') });
    expect(prefixRange('').range_end).toEqual(Buffer.from([0]));
  });
});
