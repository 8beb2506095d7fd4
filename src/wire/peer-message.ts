/**
 * The datagrams between directors (design 4.8): one envelope for all kinds, big endian, then 32 bytes of
 * HMAC-SHA256 over everything before. Signing and replay protection are the peer link's; here are only bytes.
 *
 * A list of armed groups that is too long for one datagram goes out as several heartbeats, each valid on
 * its own: a receiver takes a heartbeat as news about the groups it names, never as news that others
 * are not armed. So a lost part delays only its own groups.
 */
import { assert } from '../lib/assert.ts';
import { err, ok, type Result } from '../lib/result.ts';
import {
  type DirectorId,
  directorId,
  epochOf,
  groupId,
  NAME_PATTERN,
  revision,
  sessionIdOf,
} from '../model/ids.ts';
import {
  type AskedGroup,
  type AskedRound,
  type PeerMessage,
  REFUSAL_REASONS,
} from '../model/peer.ts';

/** Fits every path with an MTU of 1428 or more, IPv4 or IPv6, unfragmented. */
export const DATAGRAM_LENGTH_MAX = 1_400;
export const MAC_LENGTH = 32;
export const NONCE_LENGTH = 16;

const MAGIC = 0x4c48504c; // "LHPL"
const VERSION = 1;
const KIND_HELLO = 0;
const KIND_HEARTBEAT = 1;
/** Those that name one holding and nothing else. */
const HOLDING_KINDS = { prepared: 2, muted: 3, verified: 4, consent: 5, yield: 6 } as const;
/** Those that name one asked round. */
const ROUND_KINDS = { hold: 7, promise: 8, refusal: 9, relayed: 10 } as const;
const BASES = ['peers', 'segment'] as const;
const FIXED_HEADER_LENGTH = 4 + 1 + 1 + NONCE_LENGTH + 8 + NONCE_LENGTH;
const NAME_LENGTH_MAX = 63;
const NAME = new RegExp(NAME_PATTERN);
/** A 53-bit number takes at most 8 groups of 7 bits. */
const VARINT_LENGTH_MAX = 8;

export type PeerEnvelope = {
  readonly cluster: string;
  readonly from: DirectorId;
  readonly to: DirectorId;
  /** Random, new in each life of the sender's process. */
  readonly nonce: Uint8Array;
  /** Strictly growing per nonce and receiver, from 1. */
  readonly counter: number;
  /** In a hello: what the receiver is to show from now on. Else: what the receiver gave us; zeros if nothing yet. */
  readonly challenge: Uint8Array;
};

type Heartbeat = Extract<PeerMessage, { readonly kind: 'heartbeat' }>;
type RoundWord = Extract<PeerMessage, { readonly kind: keyof typeof ROUND_KINDS }>;

/** The link's own answer to a sender that has not yet shown that it is alive; never delivered. */
export type Hello = {
  readonly kind: 'hello';
  /** Nonce and counter of the datagram that is answered. */
  readonly answersNonce: Uint8Array;
  readonly answersCounter: number;
};

/** Of a newer version: authentic, and nothing that this one could act upon. */
export type UnknownBody = { readonly kind: 'unknown'; readonly code: number };

export type PeerBody = PeerMessage | Hello;
export type PeerDatagram = {
  readonly envelope: PeerEnvelope;
  readonly body: PeerBody | UnknownBody;
};

/**
 * The bodies of one message, each small enough for a datagram with these names; a heartbeat without
 * groups is one body. Encode each with its own counter.
 */
export function splitMessage(
  names: Pick<PeerEnvelope, 'cluster' | 'from' | 'to'>,
  message: PeerMessage,
): readonly PeerMessage[] {
  if (message.kind !== 'heartbeat') return [message];
  const room = roomIn(names) - varintLength(message.session) - VARINT_LENGTH_MAX;
  return chunksOf(message.armed, room, lengthOf).map((armed) => ({ ...message, armed }));
}

const roomIn = (names: Parameters<typeof splitMessage>[0]): number =>
  DATAGRAM_LENGTH_MAX - MAC_LENGTH - headerLength(names);

const lengthOf = ({ group, epoch }: Heartbeat['armed'][number]): number =>
  1 + group.length + varintLength(epoch);

/** At least one chunk, each as long as it may be. */
function chunksOf<T>(
  entries: readonly T[],
  room: number,
  lengthOfOne: (entry: T) => number,
): readonly (readonly T[])[] {
  const chunks: T[][] = [];
  let chunk: T[] = [];
  let used = 0;
  for (const entry of entries) {
    const length = lengthOfOne(entry);
    if (used + length > room) {
      chunks.push(chunk);
      chunk = [];
      used = 0;
    }
    chunk.push(entry);
    used += length;
  }
  if (chunk.length > 0 || chunks.length === 0) chunks.push(chunk);
  return chunks;
}

/** All bytes but the MAC. */
export function encodePeerDatagram(envelope: PeerEnvelope, body: PeerBody): Uint8Array {
  const writer = new Writer();
  writer.uint32(MAGIC);
  writer.byte(VERSION);
  writer.byte(kindOf(body));
  writer.bytes(envelope.nonce);
  writer.uint64(envelope.counter);
  writer.bytes(envelope.challenge);
  for (const name of [envelope.cluster, envelope.from, envelope.to]) writer.name(name);
  writeBody(writer, body);
  return writer.written();
}

/**
 * Decodes what `encodePeerDatagram` makes, of this version and of newer ones with more kinds; the MAC must
 * have been cut off. The error is a text for a log.
 * A datagram is refused as a whole: one bad name in it and nothing of it counts.
 */
export function decodePeerDatagram(bytes: Uint8Array): Result<PeerDatagram, string> {
  if (!looksLikePeerDatagram(bytes)) return err('not a peer datagram of this version');
  const reader = new Reader(bytes, 5);
  const kind = reader.byte();
  const nonce = reader.bytes(NONCE_LENGTH);
  const counter = reader.uint64();
  const challenge = reader.bytes(NONCE_LENGTH);
  const cluster = reader.name();
  const from = reader.name();
  const to = reader.name();
  const body = readBody(reader, kind);
  if (reader.hasFailed || !reader.isAtEnd) return err('a malformed peer datagram');
  const envelope = {
    cluster,
    from: directorId(from),
    to: directorId(to),
    nonce,
    counter,
    challenge,
  };
  return ok({ envelope, body });
}

/** Cheap test before any cryptography: magic and version. */
export function looksLikePeerDatagram(bytes: Uint8Array): boolean {
  if (bytes.length < FIXED_HEADER_LENGTH || bytes.length > DATAGRAM_LENGTH_MAX) return false;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return view.getUint32(0) === MAGIC && bytes[4] === VERSION;
}

function kindOf(body: PeerBody): number {
  if (body.kind === 'hello') return KIND_HELLO;
  if (body.kind === 'heartbeat') return KIND_HEARTBEAT;
  return isRoundWord(body) ? ROUND_KINDS[body.kind] : HOLDING_KINDS[body.kind];
}

const isRoundWord = (body: PeerBody): body is RoundWord => body.kind in ROUND_KINDS;

function writeBody(writer: Writer, body: PeerBody): void {
  if (body.kind === 'hello') {
    writer.bytes(body.answersNonce);
    writer.uint64(body.answersCounter);
    return;
  }
  writer.varint(body.session);
  if (isRoundWord(body)) {
    writeRoundWord(writer, body);
    return;
  }
  if (body.kind !== 'heartbeat') {
    writer.name(body.group);
    writer.varint(body.epoch);
    return;
  }
  writer.varint(body.armed.length);
  for (const { group, epoch } of body.armed) {
    writer.name(group);
    writer.varint(epoch);
  }
}

function writeRoundWord(writer: Writer, body: RoundWord): void {
  writer.varint(body.sessionRev);
  writer.varint(body.round);
  writer.varint(body.part);
  if (body.kind === 'refusal') writer.byte(REFUSAL_REASONS.indexOf(body.reason));
  if (body.kind === 'promise') writer.varint(body.by);
  if (body.kind !== 'hold') return;
  writer.byte(BASES.indexOf(body.basis));
  writer.varint(body.forMs);
  writer.varint(body.groups.length);
  for (const { group, epoch, ownerRev } of body.groups) {
    writer.name(group);
    writer.varint(epoch);
    writer.varint(ownerRev);
  }
}

function readBody(reader: Reader, kind: number): PeerBody | UnknownBody {
  if (kind === KIND_HELLO)
    return {
      kind: 'hello',
      answersNonce: reader.bytes(NONCE_LENGTH),
      answersCounter: reader.uint64(),
    };
  const word = HOLDING_WORDS.get(kind);
  const roundWord = ROUND_WORDS.get(kind);
  if (word === undefined && roundWord === undefined && kind !== KIND_HEARTBEAT) {
    reader.skipRest();
    return { kind: 'unknown', code: kind };
  }
  const session = sessionIdOf(revision(reader.varint()));
  if (roundWord !== undefined) return readRoundWord(reader, roundWord, session);
  if (word !== undefined) {
    const group = groupId(reader.name());
    return { kind: word, session, group, epoch: epochOf(revision(reader.varint())) };
  }
  const count = reader.varint();
  const armed: Heartbeat['armed'][number][] = [];
  for (let i = 0; i < count && !reader.hasFailed; i++)
    armed.push({ group: groupId(reader.name()), epoch: epochOf(revision(reader.varint())) });
  return { kind: 'heartbeat', session, armed };
}

function readRoundWord(
  reader: Reader,
  kind: RoundWord['kind'],
  session: AskedRound['session'],
): RoundWord {
  const sessionRev = revision(reader.varint());
  const asked = { session, sessionRev, round: reader.varint(), part: reader.varint() };
  if (kind === 'refusal') return { kind, ...asked, reason: reader.oneOf(REFUSAL_REASONS) };
  if (kind === 'promise') return { kind, ...asked, by: sessionIdOf(revision(reader.varint())) };
  if (kind !== 'hold') return { kind, ...asked };
  const basis = reader.oneOf(BASES);
  const forMs = reader.varint();
  const count = reader.varint();
  const groups: AskedGroup[] = [];
  for (let i = 0; i < count && !reader.hasFailed; i++)
    groups.push({
      group: groupId(reader.name()),
      epoch: epochOf(revision(reader.varint())),
      ownerRev: revision(reader.varint()),
    });
  return { kind, ...asked, basis, forMs, groups };
}

const wordsOf = <K extends string>(kinds: Readonly<Record<K, number>>): ReadonlyMap<number, K> =>
  new Map((Object.keys(kinds) as K[]).map((word) => [kinds[word], word]));
const HOLDING_WORDS = wordsOf(HOLDING_KINDS);
const ROUND_WORDS = wordsOf(ROUND_KINDS);

function headerLength(names: Pick<PeerEnvelope, 'cluster' | 'from' | 'to'>): number {
  return FIXED_HEADER_LENGTH + 3 + names.cluster.length + names.from.length + names.to.length;
}

/** Bytes that `Writer.varint` takes. */
function varintLength(value: number): number {
  let length = 1;
  for (let rest = value; rest >= 0x80; rest = Math.floor(rest / 0x80)) length++;
  return length;
}

/** Writes forward into a buffer that grows where a message is longer than any datagram. */
class Writer {
  #bytes = new Uint8Array(DATAGRAM_LENGTH_MAX);
  #length = 0;

  written(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  byte(value: number): void {
    this.#reserve(1);
    this.#bytes[this.#length++] = value;
  }

  bytes(part: Uint8Array): void {
    this.#reserve(part.length);
    this.#bytes.set(part, this.#length);
    this.#length += part.length;
  }

  uint32(value: number): void {
    for (const shift of [24, 16, 8, 0]) this.byte((value >>> shift) & 0xff);
  }

  uint64(value: number): void {
    this.uint32(Math.floor(value / 2 ** 32));
    this.uint32(value >>> 0);
  }

  /** Least significant seven bits first, the high bit says that more follow (as in protocol buffers). */
  varint(value: number): void {
    let rest = value;
    while (rest >= 0x80) {
      this.byte((rest % 0x80) | 0x80);
      rest = Math.floor(rest / 0x80);
    }
    this.byte(rest);
  }

  /** Names are ASCII by their pattern; a longer one is a bug of the caller, cut so that decoding refuses it. */
  name(text: string): void {
    this.byte(Math.min(text.length, 0xff));
    this.#reserve(text.length);
    for (let i = 0; i < text.length; i++) this.#bytes[this.#length++] = text.charCodeAt(i) & 0xff;
  }

  #reserve(count: number): void {
    if (this.#length + count <= this.#bytes.length) return;
    const longer = new Uint8Array(2 * (this.#length + count));
    longer.set(this.#bytes);
    this.#bytes = longer;
  }
}

/** Reads forward; after the first fault everything reads as empty and `hasFailed` stays true. */
class Reader {
  readonly #bytes: Uint8Array;
  #offset: number;
  #hasFailed = false;

  constructor(bytes: Uint8Array, offset: number) {
    this.#bytes = bytes;
    this.#offset = offset;
  }

  get hasFailed(): boolean {
    return this.#hasFailed;
  }

  get isAtEnd(): boolean {
    return this.#offset === this.#bytes.length;
  }

  bytes(length: number): Uint8Array {
    // A copy: the nonces outlive the datagram, and `slice` of a Buffer would be a view.
    const part = new Uint8Array(this.#bytes.subarray(this.#offset, this.#offset + length));
    this.#offset += length;
    if (part.length !== length) this.#hasFailed = true;
    return part;
  }

  skipRest(): void {
    if (!this.#hasFailed) this.#offset = this.#bytes.length;
  }

  byte(): number {
    const value = this.#bytes[this.#offset++];
    if (value === undefined) this.#hasFailed = true;
    return value ?? 0;
  }

  /** The word with this number; fails where there is none. */
  oneOf<T>(words: readonly T[]): T {
    const word = words[this.byte()];
    if (word !== undefined) return word;
    this.#hasFailed = true;
    const [first] = words;
    assert(first !== undefined, 'a list of words is empty');
    return first;
  }

  /** Refuses what a number cannot hold exactly. */
  uint64(): number {
    const part = this.bytes(8);
    if (part.length !== 8) return 0;
    return this.#safe(Number(new DataView(part.buffer).getBigUint64(0)));
  }

  varint(): number {
    let value = 0;
    for (let i = 0; i < VARINT_LENGTH_MAX; i++) {
      const byte = this.byte();
      value += (byte & 0x7f) * 2 ** (7 * i);
      if (byte < 0x80) return this.#safe(value);
    }
    this.#hasFailed = true;
    return 0;
  }

  name(): string {
    const length = this.byte();
    if (length > NAME_LENGTH_MAX) this.#hasFailed = true;
    const end = this.#offset + Math.min(length, NAME_LENGTH_MAX);
    if (end > this.#bytes.length) this.#hasFailed = true;
    const text = String.fromCharCode(...this.#bytes.subarray(this.#offset, end));
    this.#offset = end;
    if (!NAME.test(text)) this.#hasFailed = true;
    return text;
  }

  #safe(value: number): number {
    if (Number.isSafeInteger(value)) return value;
    this.#hasFailed = true;
    return 0;
  }
}
