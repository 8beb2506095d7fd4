/**
 * Netlink framing: message headers, acknowledgements and attributes, all in host byte order.
 * Pure bytes; no sockets. Sources: RFC 3549 2.3, linux/netlink.h, linux/rtnetlink.h.
 */
import { err, ok, type Result } from '../lib/result.ts';

export const NLMSG_HEADER_BYTES = 16;
export const ATTRIBUTE_HEADER_BYTES = 4;

export const NLMSG_NOOP = 1;
export const NLMSG_ERROR = 2;
export const NLMSG_DONE = 3;

export const NLM_F_REQUEST = 0x0001;
export const NLM_F_MULTI = 0x0002;
export const NLM_F_ACK = 0x0004;
/** The dump saw a change while it ran: it may be inconsistent and must be repeated. */
export const NLM_F_DUMP_INTR = 0x0010;
export const NLM_F_DUMP = 0x0300;
export const NLM_F_REPLACE = 0x0100;
export const NLM_F_CREATE = 0x0400;
/** In an acknowledgement: the request's body is left out (NETLINK_CAP_ACK). */
const NLM_F_CAPPED = 0x0100;
/** In an acknowledgement: attributes follow (NETLINK_EXT_ACK). */
const NLM_F_ACK_TLVS = 0x0200;
const NLMSGERR_ATTR_MSG = 1;

const NLA_F_NESTED = 0x8000;
export const NLA_TYPE_MASK = 0x3fff;

/** Byte order of this machine: netlink never crosses it. */
export const LITTLE_ENDIAN = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

const text = { encoder: new TextEncoder(), decoder: new TextDecoder() };

export const align4 = (length: number): number => (length + 3) & ~3;

export const viewOf = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

export type NetlinkMessage = {
  readonly type: number;
  readonly flags: number;
  readonly seq: number;
  /** Port id of the socket that asked; 0 from the kernel's own notifications. */
  readonly port: number;
  readonly body: Uint8Array;
};

export function encodeMessage(message: NetlinkMessage): Uint8Array {
  const bytes = new Uint8Array(paddedLength(message.body));
  writeMessage(bytes, viewOf(bytes), 0, message, message.flags, message.seq, message.port);
  return bytes;
}

export type BatchEntry = Pick<NetlinkMessage, 'type' | 'flags' | 'body'>;

/** One datagram of all, numbered from `seq` on; `lastFlags` are added to the last (NLM_F_ACK). */
export function encodeBatch(
  entries: readonly BatchEntry[],
  common: { readonly seq: number; readonly port: number; readonly lastFlags: number },
): Uint8Array {
  let total = 0;
  for (const { body } of entries) total += paddedLength(body);
  const bytes = new Uint8Array(total);
  const view = viewOf(bytes);
  let offset = 0;
  let seq = common.seq;
  let left = entries.length;
  for (const entry of entries) {
    const flags = --left === 0 ? entry.flags | common.lastFlags : entry.flags;
    writeMessage(bytes, view, offset, entry, flags, seq++, common.port);
    offset += paddedLength(entry.body);
  }
  return bytes;
}

const paddedLength = (body: Uint8Array): number => align4(NLMSG_HEADER_BYTES + body.length);

// Plain numbers instead of an options object: it runs ten thousand times in a row.
function writeMessage(
  bytes: Uint8Array,
  view: DataView,
  offset: number,
  entry: BatchEntry,
  flags: number,
  seq: number,
  port: number,
): void {
  view.setUint32(offset, NLMSG_HEADER_BYTES + entry.body.length, LITTLE_ENDIAN);
  view.setUint16(offset + 4, entry.type, LITTLE_ENDIAN);
  view.setUint16(offset + 6, flags, LITTLE_ENDIAN);
  view.setUint32(offset + 8, seq, LITTLE_ENDIAN);
  view.setUint32(offset + 12, port, LITTLE_ENDIAN);
  bytes.set(entry.body, offset + NLMSG_HEADER_BYTES);
}

/** Splits a datagram; bodies are views into `bytes`. Fails on a length that does not fit. */
export function decodeMessages(bytes: Uint8Array): Result<readonly NetlinkMessage[], string> {
  const view = viewOf(bytes);
  const messages: NetlinkMessage[] = [];
  let offset = 0;
  while (offset < bytes.length) {
    if (bytes.length - offset < NLMSG_HEADER_BYTES)
      return err(`${bytes.length - offset} bytes left, a header has ${NLMSG_HEADER_BYTES}`);
    const length = view.getUint32(offset, LITTLE_ENDIAN);
    if (length < NLMSG_HEADER_BYTES || length > bytes.length - offset)
      return err(`message length ${length} at offset ${offset} of ${bytes.length}`);
    messages.push({
      type: view.getUint16(offset + 4, LITTLE_ENDIAN),
      flags: view.getUint16(offset + 6, LITTLE_ENDIAN),
      seq: view.getUint32(offset + 8, LITTLE_ENDIAN),
      port: view.getUint32(offset + 12, LITTLE_ENDIAN),
      body: bytes.subarray(offset + NLMSG_HEADER_BYTES, offset + length),
    });
    offset += align4(length);
  }
  return ok(messages);
}

/** `errno` is 0 for success, else positive; `reason` is the kernel's own words where it gave some. */
export type Acknowledgement = { readonly errno: number; readonly reason: string | null };

/** Reads NLMSG_ERROR, and NLMSG_DONE whose body carries the result of the dump. */
export function decodeAcknowledgement(message: NetlinkMessage): Result<Acknowledgement, string> {
  if (message.type === NLMSG_DONE && message.body.length < 4) return ok({ errno: 0, reason: null });
  if (message.body.length < 4) return err(`acknowledgement of ${message.body.length} bytes`);
  const view = viewOf(message.body);
  // The kernel writes -errno; a positive value in NLMSG_DONE counts what was dumped.
  const result = view.getInt32(0, LITTLE_ENDIAN);
  const errno = result < 0 ? -result : 0;
  return ok({ errno, reason: errno === 0 ? null : reasonOf(message, view) });
}

function reasonOf(message: NetlinkMessage, view: DataView): string | null {
  if ((message.flags & NLM_F_ACK_TLVS) === 0) return null;
  let start = 4;
  if (message.type === NLMSG_ERROR) {
    if (message.body.length < 4 + NLMSG_HEADER_BYTES) return null;
    const capped = (message.flags & NLM_F_CAPPED) !== 0;
    start += capped ? NLMSG_HEADER_BYTES : align4(view.getUint32(4, LITTLE_ENDIAN));
  }
  let reason: string | null = null;
  walkAttributes(message.body, start, message.body.length, (type, offset, length) => {
    if (type === NLMSGERR_ATTR_MSG) reason = readText(message.body, offset, length);
  });
  return reason;
}

/**
 * Calls `visit` with the type and the place of each attribute's payload; flag bits are taken off the
 * type. Allocates nothing, since dumps have hundreds of thousands of them. False: malformed.
 */
export function walkAttributes(
  bytes: Uint8Array,
  start: number,
  end: number,
  visit: (type: number, offset: number, length: number) => void,
): boolean {
  if (start > end || end > bytes.length) return false;
  let offset = start;
  while (end - offset >= ATTRIBUTE_HEADER_BYTES) {
    const length = readU16(bytes, offset);
    if (length < ATTRIBUTE_HEADER_BYTES || length > end - offset) return false;
    const type = readU16(bytes, offset + 2) & NLA_TYPE_MASK;
    visit(type, offset + ATTRIBUTE_HEADER_BYTES, length - ATTRIBUTE_HEADER_BYTES);
    offset += align4(length);
  }
  return true;
}

/** Host order; the caller has checked that two bytes are there. */
export function readU16(bytes: Uint8Array, offset: number): number {
  const first = bytes[offset] ?? 0;
  const second = bytes[offset + 1] ?? 0;
  return LITTLE_ENDIAN ? first | (second << 8) : (first << 8) | second;
}

/** Host order; the caller has checked that four bytes are there. */
export function readU32(bytes: Uint8Array, offset: number): number {
  const low = readU16(bytes, LITTLE_ENDIAN ? offset : offset + 2);
  const high = readU16(bytes, LITTLE_ENDIAN ? offset + 2 : offset);
  return high * 0x10000 + low;
}

/** Host order; exact up to 2^53, beyond that rounded (counters of exabytes). */
export function readU64(bytes: Uint8Array, offset: number): number {
  const low = readU32(bytes, LITTLE_ENDIAN ? offset : offset + 4);
  const high = readU32(bytes, LITTLE_ENDIAN ? offset + 4 : offset);
  return high * 0x1_0000_0000 + low;
}

/** Network order; the caller has checked that two bytes are there. */
export const readU16be = (bytes: Uint8Array, offset: number): number =>
  ((bytes[offset] ?? 0) << 8) | (bytes[offset + 1] ?? 0);

/** Text up to the first NUL. */
export function readText(bytes: Uint8Array, offset: number, length: number): string {
  let end = offset;
  while (end < offset + length && bytes[end] !== 0) end++;
  return text.decoder.decode(bytes.subarray(offset, end));
}

const SMALL_BUFFER_BYTES = 256;

/**
 * Appends attributes (and a fixed header before them). After `finish` the writer begins the next body
 * in the same buffer: thousands of small bodies share a few allocations.
 */
export class AttributeWriter {
  #bytes: Uint8Array<ArrayBuffer>;
  #view: DataView;
  /** Where the body at work begins, and its end. */
  #start = 0;
  #end = 0;

  /** `capacity`: bytes of the first buffer; it grows, and a full one is left to its bodies. */
  constructor(capacity = SMALL_BUFFER_BYTES) {
    this.#bytes = new Uint8Array(capacity);
    this.#view = viewOf(this.#bytes);
  }

  /** Raw bytes without an attribute header: a message's fixed part. */
  raw(payload: Uint8Array): this {
    const offset = this.#extend(align4(payload.length));
    this.#bytes.set(payload, offset);
    return this;
  }

  bytes(type: number, payload: Uint8Array): this {
    const offset = this.#attribute(type, payload.length);
    this.#bytes.set(payload, offset);
    return this;
  }

  /** `length` zero bytes that `write` may change, from `offset` on in `bytes`: no copy is made. */
  fill(type: number, length: number, write: (bytes: Uint8Array, offset: number) => void): this {
    const offset = this.#attribute(type, length);
    write(this.#bytes, offset);
    return this;
  }

  u8(type: number, value: number): this {
    const offset = this.#attribute(type, 1);
    this.#view.setUint8(offset, value);
    return this;
  }

  u16(type: number, value: number): this {
    const offset = this.#attribute(type, 2);
    this.#view.setUint16(offset, value, LITTLE_ENDIAN);
    return this;
  }

  u16be(type: number, value: number): this {
    const offset = this.#attribute(type, 2);
    this.#view.setUint16(offset, value, false);
    return this;
  }

  u32(type: number, value: number): this {
    const offset = this.#attribute(type, 4);
    this.#view.setUint32(offset, value, LITTLE_ENDIAN);
    return this;
  }

  u32be(type: number, value: number): this {
    const offset = this.#attribute(type, 4);
    this.#view.setUint32(offset, value, false);
    return this;
  }

  /** NUL-terminated, as the kernel's NLA_NUL_STRING wants. */
  text(type: number, value: string): this {
    const payload = text.encoder.encode(value);
    const offset = this.#attribute(type, payload.length + 1);
    this.#bytes.set(payload, offset);
    return this;
  }

  nested(type: number, write: (writer: this) => void): this {
    // Relative to the body, which may move to another buffer while the inner attributes are written.
    const start = this.#extend(ATTRIBUTE_HEADER_BYTES) - this.#start;
    write(this);
    const offset = this.#start + start;
    this.#header(offset, type | NLA_F_NESTED, this.#end - offset);
    return this;
  }

  /** The body that was written; never overwritten by what comes next. */
  finish(): Uint8Array {
    const body = this.#bytes.subarray(this.#start, this.#end);
    this.#start = this.#end;
    return body;
  }

  #attribute(type: number, payloadLength: number): number {
    const length = ATTRIBUTE_HEADER_BYTES + payloadLength;
    const start = this.#extend(align4(length));
    this.#header(start, type, length);
    return start + ATTRIBUTE_HEADER_BYTES;
  }

  #header(start: number, type: number, length: number): void {
    this.#view.setUint16(start, length, LITTLE_ENDIAN);
    this.#view.setUint16(start + 2, type, LITTLE_ENDIAN);
  }

  #extend(count: number): number {
    if (this.#end + count > this.#bytes.length) this.#move(count);
    const offset = this.#end;
    this.#end += count;
    return offset;
  }

  /** A new buffer that begins with the unfinished body. */
  #move(count: number): void {
    const length = this.#end - this.#start;
    const moved = new Uint8Array(Math.max(this.#bytes.length, 2 * (length + count)));
    moved.set(this.#bytes.subarray(this.#start, this.#end));
    this.#bytes = moved;
    this.#view = viewOf(moved);
    this.#start = 0;
    this.#end = length;
  }
}
