/**
 * VRRP advertisements, versions 2 (RFC 3768) and 3 (RFC 9568, RFC 5798), as bytes. What a router must think of
 * one that arrives is in `vrrp-receive.ts`; IP headers are in `vrrp-ip.ts`.
 */
import { assert } from '../lib/assert.ts';
import { concatBytes } from '../lib/bytes.ts';
import { err, ok, type Result } from '../lib/result.ts';
import { familyOf, formatIp, type IpAddress, type IpFamily, ipToBytes } from '../model/address.ts';
import type { VrrpChecksum, VrrpDrop, VrrpVersion } from '../model/vrrp.ts';
import { internetChecksum } from './checksum.ts';
import {
  encodeHmacTrailer,
  HMAC_TRAILER_LENGTH,
  type HmacTrailer,
  type Sign,
} from './vrrp-hmac.ts';
import { PROTOCOL_VRRP, VRRP_GROUP_4, type VrrpPath } from './vrrp-ip.ts';

const TYPE_ADVERTISEMENT = 1;
const HEADER_LENGTH = 8;
const CHECKSUM_OFFSET = 6;
/** Behind the addresses of version 2, zeros where nothing is authenticated. */
const AUTH_DATA_LENGTH = 8;
const AUTH_NONE = 0;
const AUTH_PASS = 1;
const ADDRESSES_MAX = 255;

export type VrrpMessage = {
  readonly version: VrrpVersion;
  readonly routerId: number;
  readonly priority: number;
  /** Version 2: 1 to 255 whole seconds. Version 3: 1 to 4095 whole centiseconds. */
  readonly intervalMs: number;
  /** All of one family, 1 to 255; version 2 knows IPv4 only. */
  readonly addresses: readonly IpAddress[];
};

/** How a message goes out, beside what it says. */
export type VrrpSealing = {
  readonly path: VrrpPath;
  /** Counts for version 3 over IPv4 only. */
  readonly checksum: VrrpChecksum;
  /** Version 2 only; cut to 8 bytes. */
  readonly password: string | null;
  readonly hmac: (Pick<HmacTrailer, 'keyId' | 'stamp'> & { readonly sign: Sign }) | null;
};

/** A message as it came, its form verified and nothing else. */
export type DecodedVrrp = VrrpMessage & {
  /** Version 2: 0 none, 1 PASS; version 3: 0. */
  readonly authType: number;
  /** Version 2: 8 bytes. Version 3: none. */
  readonly authData: Uint8Array;
  /** The message with its checksum, without a trailer. */
  readonly message: Uint8Array;
  /** 28 bytes, or none. */
  readonly trailer: Uint8Array | null;
};

/** Encodes an advertisement; throws on values out of their bounds, which only a bug can bring here. */
export function encodeVrrp(message: VrrpMessage, sealing: VrrpSealing): Uint8Array {
  const bytes = encodeBody(message, sealing.password);
  const { path, hmac } = sealing;
  const trailer =
    hmac === null
      ? new Uint8Array(0)
      : encodeHmacTrailer(path.source, bytes, hmac, (input) => hmac.sign(input));
  // The kernel computes the checksum of IPv6 over all it sends, so the trailer is in it; not so over IPv4.
  const parts =
    familyOf(path.source) === 6
      ? [...coverage(bytes, path, 'pseudo-header', trailer)]
      : [...coverage(bytes, path, sealing.checksum, null)];
  new DataView(bytes.buffer).setUint16(CHECKSUM_OFFSET, internetChecksum(parts));
  return concatBytes([bytes, trailer]);
}

/** PASS authentication: at most 8 bytes of the password, padded with zeros (RFC 2338 5.3.6). */
export function vrrpPassword(password: string): Uint8Array {
  const data = new Uint8Array(AUTH_DATA_LENGTH);
  data.set(new TextEncoder().encode(password).subarray(0, AUTH_DATA_LENGTH));
  return data;
}

function encodeBody(message: VrrpMessage, password: string | null): Uint8Array {
  const { version, addresses, priority, routerId } = message;
  const [first] = addresses;
  assert(first !== undefined && addresses.length <= ADDRESSES_MAX, 'VRRP: 1 to 255 addresses');
  const family = familyOf(first);
  assert(
    addresses.every((address) => familyOf(address) === family),
    'VRRP: one family',
  );
  assert(version === 3 || family === 4, 'VRRP version 2 is for IPv4');
  assert(isWhole(routerId, 1, 255) && isWhole(priority, 0, 255), 'VRRP: 8 bits');
  const width = family === 4 ? 4 : 16;
  const tail = version === 2 ? AUTH_DATA_LENGTH : 0;
  const bytes = new Uint8Array(HEADER_LENGTH + addresses.length * width + tail);
  bytes[0] = (version << 4) | TYPE_ADVERTISEMENT;
  bytes[1] = routerId;
  bytes[2] = priority;
  bytes[3] = addresses.length;
  writeInterval(bytes, message, password);
  for (const [i, address] of addresses.entries())
    bytes.set(ipToBytes(address), HEADER_LENGTH + i * width);
  if (version === 2 && password !== null)
    bytes.set(vrrpPassword(password), bytes.length - AUTH_DATA_LENGTH);
  return bytes;
}

function writeInterval(bytes: Uint8Array, message: VrrpMessage, password: string | null): void {
  const { version, intervalMs } = message;
  if (version === 2) {
    assert(isWhole(intervalMs / 1000, 1, 255), 'VRRP version 2: whole seconds');
    bytes[4] = password === null ? AUTH_NONE : AUTH_PASS;
    bytes[5] = intervalMs / 1000;
    return;
  }
  assert(isWhole(intervalMs / 10, 1, 0xfff), 'VRRP version 3: whole centiseconds');
  bytes[4] = (intervalMs / 10) >>> 8;
  bytes[5] = (intervalMs / 10) & 0xff;
}

const isWhole = (value: number, least: number, most: number): boolean =>
  Number.isInteger(value) && value >= least && value <= most;

/**
 * Decodes one message; never throws, never reads past the end. `family` is that of the packet, the addresses
 * are of the same one.
 */
export function decodeVrrp(bytes: Uint8Array, family: IpFamily): Result<DecodedVrrp, VrrpDrop> {
  if (bytes.length < HEADER_LENGTH) return err('truncated');
  const version = (bytes[0] ?? 0) >>> 4;
  if (version !== 3 && (version !== 2 || family !== 4)) return err('version');
  if (((bytes[0] ?? 0) & 0x0f) !== TYPE_ADVERTISEMENT) return err('type');
  const count = bytes[3] ?? 0;
  if (count === 0) return err('no-addresses');
  const width = family === 4 ? 4 : 16;
  const length = HEADER_LENGTH + count * width + (version === 2 ? AUTH_DATA_LENGTH : 0);
  if (bytes.length < length) return err('truncated');
  const isTrailed = bytes.length === length + HMAC_TRAILER_LENGTH;
  if (bytes.length !== length && !isTrailed) return err('length');
  const intervalMs =
    version === 2
      ? (bytes[5] ?? 0) * 1000
      : (((bytes[4] ?? 0) & 0x0f) * 256 + (bytes[5] ?? 0)) * 10;
  // Timers would run out at once.
  if (intervalMs === 0) return err('interval-zero');
  const addresses: IpAddress[] = [];
  for (let i = 0; i < count; i++) {
    const offset = HEADER_LENGTH + i * width;
    addresses.push(formatIp(bytes.subarray(offset, offset + width)));
  }
  return ok({
    version,
    routerId: bytes[1] ?? 0,
    priority: bytes[2] ?? 0,
    intervalMs,
    addresses,
    authType: version === 2 ? (bytes[4] ?? 0) : AUTH_NONE,
    authData: version === 2 ? bytes.subarray(length - AUTH_DATA_LENGTH, length) : new Uint8Array(0),
    message: bytes.subarray(0, length),
    trailer: isTrailed ? bytes.subarray(length) : null,
  });
}

/** Which form of checksum a message carries on this path; null: none of them. */
export function checksumFormOf(decoded: DecodedVrrp, path: VrrpPath): VrrpChecksum | null {
  const { message, trailer, version } = decoded;
  const has = (form: VrrpChecksum, tail: Uint8Array | null): boolean =>
    internetChecksum(coverage(message, path, form, tail)) === 0;
  if (familyOf(path.source) === 6) return has('pseudo-header', trailer) ? 'pseudo-header' : null;
  if (version === 2) return has('message-only', null) ? 'message-only' : null;
  for (const form of ['pseudo-header', 'old-unicast', 'message-only'] as const)
    if (has(form, null)) return form;
  return null;
}

/** What the checksum runs over; version 2 has no pseudo header whatever is asked. */
function coverage(
  message: Uint8Array,
  path: VrrpPath,
  form: VrrpChecksum,
  trailer: Uint8Array | null,
): Uint8Array[] {
  const parts = trailer === null ? [message] : [message, trailer];
  if ((message[0] ?? 0) >>> 4 === 2 || form === 'message-only') return parts;
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const destination = form === 'old-unicast' ? VRRP_GROUP_4 : path.destination;
  return [pseudoHeader({ source: path.source, destination }, length), ...parts];
}

/** RFC 9293 3.1 for IPv4, RFC 8200 8.1 for IPv6. */
function pseudoHeader({ source, destination }: VrrpPath, length: number): Uint8Array {
  if (familyOf(source) === 4)
    return concatBytes([
      ipToBytes(source),
      ipToBytes(destination),
      Uint8Array.of(0, PROTOCOL_VRRP, length >>> 8, length & 0xff),
    ]);
  return concatBytes([
    ipToBytes(source),
    ipToBytes(destination),
    Uint8Array.of(0, 0, length >>> 8, length & 0xff, 0, 0, 0, PROTOCOL_VRRP),
  ]);
}
