/** The port's transactions, keys and answers as etcd's protobuf messages, and back. */
import type {
  ICompare,
  IKeyValue,
  IRequestOp,
  IResponseHeader,
  ITxnRequest,
  ITxnResponse,
} from 'etcd3';

import { type Revision, revision } from '../../model/ids.ts';
import type { StoreEntry, StoreOperation, StoreRead, Txn } from '../../ports/cluster-store.ts';

export function encodeTxn(txn: Txn): ITxnRequest {
  return {
    compare: txn.compares.map(
      (compare): ICompare => ({
        result: 'Equal',
        target: 'Mod',
        key: Buffer.from(compare.key),
        mod_revision: compare.modRevision,
      }),
    ),
    success: txn.success.map(encodeOperation),
    failure: txn.failure.map(encodeOperation),
  };
}

function encodeOperation(operation: StoreOperation): IRequestOp {
  const key = Buffer.from(operation.key);
  switch (operation.op) {
    case 'put': {
      const lease = operation.lease === undefined ? {} : { lease: operation.lease };
      return { request_put: { key, value: Buffer.from(operation.value), ...lease } };
    }
    case 'delete':
      return { request_delete_range: { key } };
    case 'get':
      return { request_range: { key } };
  }
}

/** Null when the answer does not fit the request: not an etcd that we know. */
export function decodeTxn(
  txn: Txn,
  response: ITxnResponse,
): {
  readonly succeeded: boolean;
  readonly revision: Revision;
  readonly reads: readonly StoreRead[];
} | null {
  const operations = response.succeeded ? txn.success : txn.failure;
  if (response.responses.length !== operations.length) return null;
  const reads: StoreRead[] = [];
  for (const [i, operation] of operations.entries()) {
    if (operation.op !== 'get') continue;
    const range = response.responses[i]?.response_range;
    if (range === undefined || range === null) return null;
    reads.push(decodeRead(operation.key, range.kvs[0]));
  }
  return { succeeded: response.succeeded, revision: decodeRevision(response.header), reads };
}

export function decodeRead(key: string, entry: IKeyValue | undefined): StoreRead {
  if (entry === undefined) return { key, value: null, modRevision: revision(0) };
  return { key, value: entry.value.toString(), modRevision: revision(Number(entry.mod_revision)) };
}

export function decodeEntry(entry: IKeyValue): StoreEntry {
  return {
    key: entry.key.toString(),
    value: entry.value.toString(),
    modRevision: revision(Number(entry.mod_revision)),
  };
}

/** 64 bits on the wire; revisions stay far below 2^53. */
export function decodeRevision(header: IResponseHeader): Revision {
  return revision(Number(header.revision));
}

/** All keys that start with the prefix; the empty prefix means all keys. */
export function prefixRange(prefix: string): { readonly key: Buffer; readonly range_end: Buffer } {
  const key = Buffer.from(prefix);
  const end = Buffer.from(key);
  for (let i = end.length - 1; i >= 0; i--) {
    const byte = end[i] ?? 0xff;
    if (byte < 0xff) {
      end[i] = byte + 1;
      return { key, range_end: end.subarray(0, i + 1) };
    }
  }
  return { key: key.length === 0 ? Buffer.from([0]) : key, range_end: Buffer.from([0]) };
}
