/**
 * The authentication trailer of keepalived 2.4 (`auth_hmac`): 28 bytes behind the message, of which the last
 * 16 are a truncated HMAC-SHA256. The hash is the caller's; here are only bytes.
 */
import { concatBytes } from '../lib/bytes.ts';
import { err, ok, type Result } from '../lib/result.ts';
import { familyOf, type IpAddress, ipToBytes } from '../model/address.ts';

export const HMAC_TRAILER_LENGTH = 28;
export const HMAC_LENGTH = 16;

const TRAILER_TYPE = 1;
const FIXED_LENGTH = HMAC_TRAILER_LENGTH - HMAC_LENGTH;

export type HmacTrailer = {
  readonly keyId: number;
  /** Seconds (32 bits), fraction (16 bits) and counter (16 bits): grows with every message of a sender. */
  readonly stamp: bigint;
  readonly mac: Uint8Array;
};

/** HMAC-SHA256 of the bytes under the key of a trailer; 32 bytes, of which the first 16 count. */
export type Sign = (bytes: Uint8Array) => Uint8Array;

/** The stamp of a wall time in milliseconds since 1970, with counter 0. */
export const stampOf = (wallMs: number): bigint =>
  (BigInt(Math.floor(wallMs / 1000)) << 32n) |
  (BigInt(Math.floor(((wallMs % 1000) * 0x1_0000) / 1000)) << 16n);

/** `message` is the VRRP message; whatever stands in its checksum counts as 0. */
export function encodeHmacTrailer(
  source: IpAddress,
  message: Uint8Array,
  trailer: Pick<HmacTrailer, 'keyId' | 'stamp'>,
  sign: Sign,
): Uint8Array {
  const fixed = new Uint8Array(FIXED_LENGTH);
  fixed[0] = TRAILER_TYPE;
  fixed[1] = trailer.keyId;
  new DataView(fixed.buffer).setBigUint64(4, trailer.stamp);
  const mac = sign(hmacInput(source, message, fixed)).subarray(0, HMAC_LENGTH);
  return concatBytes([fixed, mac]);
}

export function decodeHmacTrailer(bytes: Uint8Array): Result<HmacTrailer, 'hmac-malformed'> {
  if (bytes.length !== HMAC_TRAILER_LENGTH) return err('hmac-malformed');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes[0] !== TRAILER_TYPE || view.getUint16(2) !== 0) return err('hmac-malformed');
  return ok({
    keyId: bytes[1] ?? 0,
    stamp: view.getBigUint64(4),
    mac: bytes.slice(FIXED_LENGTH),
  });
}

/** What the HMAC of a trailer covers: a pseudo header, the message, and the trailer without the HMAC itself. */
export function hmacInput(source: IpAddress, message: Uint8Array, trailer: Uint8Array): Uint8Array {
  const pseudo = new Uint8Array(20);
  pseudo[0] = familyOf(source);
  pseudo[1] = (message[0] ?? 0) >>> 4;
  pseudo[2] = message[1] ?? 0;
  pseudo.set(ipToBytes(source), 4);
  const zeroed = Uint8Array.from(message);
  zeroed.fill(0, 6, 8);
  return concatBytes([
    pseudo,
    zeroed,
    trailer.subarray(0, FIXED_LENGTH),
    new Uint8Array(HMAC_LENGTH),
  ]);
}
