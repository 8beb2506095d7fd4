/**
 * The port's transactions as etcd's messages, and their answers back; and keys and answers of other calls as
 * etcd3 has them. Numbers of fields: etcd `api/etcdserverpb/rpc.proto` and `api/mvccpb/kv.proto`.
 */
import type { IKeyValue, IResponseHeader } from 'etcd3';

import { concatBytes } from '../../lib/bytes.ts';
import { type Revision, revision } from '../../model/ids.ts';
import type {
  Compare,
  StoreEntry,
  StoreOperation,
  StoreRead,
  Txn,
} from '../../ports/cluster-store.ts';
import { bytesField, ProtoReader, uintField } from '../../wire/protobuf.ts';

const TXN_REQUEST = { compare: 1, success: 2, failure: 3 } as const;
const COMPARE = { result: 1, target: 2, key: 3, modRevision: 6 } as const;
const RESULT_EQUAL = 0;
const TARGET_MOD = 2;
const REQUEST_OP = { get: 1, put: 2, delete: 3 } as const;
/** Of all three requests. */
const REQUEST_KEY = 1;
const PUT_REQUEST = { value: 2, lease: 3 } as const;
const TXN_RESPONSE = { header: 1, succeeded: 2, responses: 3 } as const;
const HEADER_REVISION = 3;
const RESPONSE_RANGE = 1;
const RANGE_KVS = 2;
const KEY_VALUE = { modRevision: 3, value: 5 } as const;

export function encodeTxn({ compares, success, failure }: Txn): Uint8Array {
  const operations = (field: number, all: readonly StoreOperation[]): readonly Uint8Array[] =>
    all.map((operation) => bytesField(field, encodeOperation(operation)));
  return concatBytes([
    ...compares.map((compare) => bytesField(TXN_REQUEST.compare, encodeCompare(compare))),
    ...operations(TXN_REQUEST.success, success),
    ...operations(TXN_REQUEST.failure, failure),
  ]);
}

const encodeCompare = ({ key, modRevision }: Compare): Uint8Array =>
  concatBytes([
    uintField(COMPARE.result, RESULT_EQUAL),
    uintField(COMPARE.target, TARGET_MOD),
    bytesField(COMPARE.key, Buffer.from(key)),
    uintField(COMPARE.modRevision, modRevision),
  ]);

function encodeOperation(operation: StoreOperation): Uint8Array {
  const parts = [bytesField(REQUEST_KEY, Buffer.from(operation.key))];
  if (operation.op === 'put') {
    parts.push(bytesField(PUT_REQUEST.value, Buffer.from(operation.value)));
    if (operation.lease !== undefined)
      parts.push(uintField(PUT_REQUEST.lease, BigInt(operation.lease)));
  }
  return bytesField(REQUEST_OP[operation.op], concatBytes(parts));
}

/** Null when the answer does not fit the request: not an etcd that we know. */
export function decodeTxn(
  txn: Txn,
  response: Uint8Array,
): {
  readonly succeeded: boolean;
  readonly revision: Revision;
  readonly reads: readonly StoreRead[];
} | null {
  const reader = new ProtoReader(response);
  const answers: Uint8Array[] = [];
  let succeeded = false;
  let at: number | null = null;
  for (let field = reader.nextField(); field !== 0; field = reader.nextField())
    if (field === TXN_RESPONSE.header) at = uintIn(reader.bytes(), HEADER_REVISION);
    else if (field === TXN_RESPONSE.succeeded) succeeded = reader.uint() !== 0;
    else if (field === TXN_RESPONSE.responses) answers.push(reader.bytes());
    else reader.skip();
  const operations = succeeded ? txn.success : txn.failure;
  if (reader.hasFailed || at === null || answers.length !== operations.length) return null;
  const reads: StoreRead[] = [];
  for (const [i, operation] of operations.entries()) {
    if (operation.op !== 'get') continue;
    const range = fieldIn(answers[i] ?? NOTHING, RESPONSE_RANGE);
    const read = range === null ? null : readIn(operation.key, range);
    if (read === null) return null;
    reads.push(read);
  }
  return { succeeded, revision: revision(at), reads };
}

const NOTHING = new Uint8Array();

/** The answer to a `get`: null where it cannot be read. What is broken does not say that there is no such key. */
function readIn(key: string, range: Uint8Array): StoreRead | null {
  const reader = new ProtoReader(range);
  let entry: Uint8Array | null = null;
  for (let field = reader.nextField(); field !== 0; field = reader.nextField())
    if (field === RANGE_KVS && entry === null) entry = reader.bytes();
    else reader.skip();
  if (reader.hasFailed) return null;
  if (entry === null) return { key, value: null, modRevision: revision(0) };
  const modRevision = uintIn(entry, KEY_VALUE.modRevision);
  if (modRevision === null) return null;
  const value = Buffer.from(fieldIn(entry, KEY_VALUE.value) ?? NOTHING).toString();
  return { key, value, modRevision: revision(modRevision) };
}

/** The first field with this number; null: there is none, or the message is broken. */
function fieldIn(message: Uint8Array, wanted: number): Uint8Array | null {
  const reader = new ProtoReader(message);
  for (let field = reader.nextField(); field !== 0; field = reader.nextField()) {
    if (field !== wanted) {
      reader.skip();
      continue;
    }
    const bytes = reader.bytes();
    return reader.hasFailed ? null : bytes;
  }
  return null;
}

/** The same of a number. */
function uintIn(message: Uint8Array, wanted: number): number | null {
  const reader = new ProtoReader(message);
  for (let field = reader.nextField(); field !== 0; field = reader.nextField()) {
    if (field !== wanted) {
      reader.skip();
      continue;
    }
    const value = reader.uint();
    return reader.hasFailed ? null : value;
  }
  return null;
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
