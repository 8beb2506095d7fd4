/**
 * Protocol buffers on the wire, as much of them as a few small messages need: varints and fields with a
 * length. Source: the encoding guide of protocol buffers, version 3. Pure bytes.
 */
import { concatBytes } from '../lib/bytes.ts';

const VARINT = 0;
const FIXED_64 = 1;
const LENGTH_DELIMITED = 2;
const FIXED_32 = 5;
/** 64 bits take at most 10 groups of 7. */
const VARINT_LENGTH_MAX = 10;

/** A field of an unsigned number, also where it is 0: within a `oneof` that means something. */
export const uintField = (field: number, value: number | bigint): Uint8Array =>
  concatBytes([encodeVarint(tag(field, VARINT)), encodeVarint(value)]);

/** A field of bytes, a string or a message. */
export const bytesField = (field: number, value: Uint8Array): Uint8Array =>
  concatBytes([encodeVarint(tag(field, LENGTH_DELIMITED)), encodeVarint(value.length), value]);

const tag = (field: number, kind: number): number => field * 8 + kind;

function encodeVarint(value: number | bigint): Uint8Array {
  const bytes: number[] = [];
  let rest = BigInt(value);
  for (; rest >= 0x80n; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80);
  bytes.push(Number(rest));
  return Uint8Array.from(bytes);
}

/**
 * Reads one message field by field: after `nextField`, exactly one of `uint`, `bytes` and `skip`. After the first
 * fault there is no further field, and `hasFailed` stays true.
 */
export class ProtoReader {
  readonly #bytes: Uint8Array;
  #offset = 0;
  #kind = VARINT;
  #hasFailed = false;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get hasFailed(): boolean {
    return this.#hasFailed;
  }

  /** The number of the next field; 0: there is none. */
  nextField(): number {
    if (this.#hasFailed || this.#offset >= this.#bytes.length) return 0;
    const found = this.#varint();
    this.#kind = found % 8;
    const field = Math.floor(found / 8);
    if (field === 0) this.#hasFailed = true;
    return this.#hasFailed ? 0 : field;
  }

  /** Exact below 2^53; fails where the field is no number. */
  uint(): number {
    if (this.#kind !== VARINT) return this.#fail(0);
    return this.#varint();
  }

  /** A view into the message; fails where the field has no length. */
  bytes(): Uint8Array {
    if (this.#kind !== LENGTH_DELIMITED) return this.#fail(NOTHING);
    return this.#take(this.#varint());
  }

  skip(): void {
    if (this.#kind === VARINT) this.#varint();
    else if (this.#kind === LENGTH_DELIMITED) this.#take(this.#varint());
    else if (this.#kind === FIXED_64) this.#take(8);
    else if (this.#kind === FIXED_32) this.#take(4);
    else this.#hasFailed = true;
  }

  #varint(): number {
    let value = 0;
    for (let i = 0; i < VARINT_LENGTH_MAX; i++) {
      const byte = this.#bytes[this.#offset++];
      if (byte === undefined) return this.#fail(0);
      value += (byte & 0x7f) * 2 ** (7 * i);
      if (byte < 0x80) return value;
    }
    return this.#fail(0);
  }

  #take(length: number): Uint8Array {
    const end = this.#offset + length;
    if (this.#hasFailed || end > this.#bytes.length) return this.#fail(NOTHING);
    const part = this.#bytes.subarray(this.#offset, end);
    this.#offset = end;
    return part;
  }

  #fail<T>(value: T): T {
    this.#hasFailed = true;
    return value;
  }
}

const NOTHING = new Uint8Array();
