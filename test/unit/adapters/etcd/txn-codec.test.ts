/** Transactions as etcd's messages, and prefixes as ranges. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { decodeTxn, encodeTxn, prefixRange } from '../../../../src/adapters/etcd/txn-codec.ts';
import { ABSENT, leaseId, revision } from '../../../../src/model/ids.ts';

const header = { cluster_id: '1', member_id: '2', revision: '42', raft_term: '3' };
const txn = {
  compares: [{ key: 'a', modRevision: ABSENT }],
  success: [
    { op: 'put', key: 'a', value: 'ü', lease: leaseId('7') },
    { op: 'get', key: 'b' },
    { op: 'delete', key: 'c' },
  ],
  failure: [{ op: 'get', key: 'a' }],
} as const;

/** Survives UTF-8: no lone surrogates. */
const isText = (text: string): boolean => Buffer.from(text).toString() === text;

describe('encodeTxn', () => {
  it('compares mod revisions for equality and keeps the order of operations', () => {
    expect(encodeTxn(txn)).toEqual({
      compare: [{ result: 'Equal', target: 'Mod', key: Buffer.from('a'), mod_revision: 0 }],
      success: [
        { request_put: { key: Buffer.from('a'), value: Buffer.from('ü'), lease: '7' } },
        { request_range: { key: Buffer.from('b') } },
        { request_delete_range: { key: Buffer.from('c') } },
      ],
      failure: [{ request_range: { key: Buffer.from('a') } }],
    });
  });
});

describe('decodeTxn', () => {
  const range = (kvs: readonly unknown[]) => ({ response_range: { header, kvs, more: false } });
  const respond = (succeeded: boolean, responses: readonly unknown[]) =>
    decodeTxn(txn, { header, succeeded, responses } as never);

  it('takes the reads of the branch that ran', () => {
    const kv = { key: Buffer.from('a'), value: Buffer.from('x'), mod_revision: '9' };
    expect(respond(false, [range([kv])])).toEqual({
      succeeded: false,
      revision: revision(42),
      reads: [{ key: 'a', value: 'x', modRevision: 9 }],
    });
    expect(respond(true, [{}, range([]), {}])).toMatchObject({
      succeeded: true,
      reads: [{ key: 'b', value: null, modRevision: 0 }],
    });
  });

  it('gives null where the answer does not fit the request', () => {
    expect(respond(true, [{}])).toBeNull();
    expect(respond(false, [{}])).toBeNull();
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
