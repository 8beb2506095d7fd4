/**
 * What a router must think of an advertisement that arrived: RFC 9568 7.1, RFC 3768 7.1, and keepalived's
 * rules for unicast. Pure; the caller finds the instance by its router id and keeps the stamps of trailers.
 */
import { equalBytes } from '../lib/bytes.ts';
import { err, ok, type Result } from '../lib/result.ts';
import type { IpAddress } from '../model/address.ts';
import type { VrrpAdvert, VrrpChecksum, VrrpDrop, VrrpInstance, VrrpKey } from '../model/vrrp.ts';
import { checksumFormOf, type DecodedVrrp, vrrpPassword } from './vrrp.ts';
import { decodeHmacTrailer, HMAC_LENGTH, hmacInput } from './vrrp-hmac.ts';
import { VRRP_GROUP_4, VRRP_GROUP_6, VRRP_TTL, type VrrpDatagram } from './vrrp-ip.ts';

export type ReceivedVrrp = {
  readonly advert: VrrpAdvert;
  /** IPv4, version 3: which of the forms its sender uses. */
  readonly checksum: VrrpChecksum;
  /** It names the same VIPs as we do, in whatever order. keepalived up to 2.3.2 drops others. */
  readonly hasOurAddresses: boolean;
};

export type ReceiveMeans = {
  /** HMAC-SHA256, 32 bytes. */
  readonly sign: (key: Uint8Array, bytes: Uint8Array) => Uint8Array;
  /** The largest stamp that this source has shown; null: none yet. */
  readonly lastStamp: (source: IpAddress) => bigint | null;
};

/** With a trailer: its stamp, to be remembered for the source. */
export type JudgedVrrp = ReceivedVrrp & { readonly stamp: bigint | null };

export function judgeVrrp(
  instance: VrrpInstance,
  datagram: VrrpDatagram,
  decoded: DecodedVrrp,
  means: ReceiveMeans,
): Result<JudgedVrrp, VrrpDrop> {
  if (decoded.routerId !== instance.routerId) return err('router-id');
  const pathDrop = judgePath(instance, datagram);
  if (pathDrop !== null) return err(pathDrop);
  if (decoded.version !== instance.version) return err('version');
  const checksum = checksumFormOf(decoded, datagram);
  if (checksum === null) return err('checksum');
  const passDrop = judgePassword(instance, decoded);
  if (passDrop !== null) return err(passDrop);
  // A sender of version 2 with another interval is misconfigured on either side (RFC 3768 7.1).
  if (instance.version === 2 && decoded.intervalMs !== instance.intervalMs)
    return err('interval-mismatch');
  const stamp = judgeTrailer(instance, datagram, decoded, means);
  if (!stamp.ok) return stamp;
  const { priority, intervalMs, addresses } = decoded;
  return ok({
    advert: { source: datagram.source, priority, intervalMs, addresses },
    checksum,
    hasOurAddresses: isSameSet(addresses, instance.addresses),
    stamp: stamp.value,
  });
}

function judgePath(instance: VrrpInstance, datagram: VrrpDatagram): VrrpDrop | null {
  if (datagram.source === instance.source) return 'own-address';
  const group = instance.family === 4 ? VRRP_GROUP_4 : VRRP_GROUP_6;
  const isMulticast = datagram.destination === group;
  if (isMulticast !== (instance.to.kind === 'multicast')) return 'destination';
  if (instance.to.kind === 'multicast') return datagram.ttl === VRRP_TTL ? null : 'ttl';
  const neighbour = instance.to.neighbours.find(({ address }) => address === datagram.source);
  if (neighbour === undefined) return 'source';
  const { ttlMin, ttlMax } = neighbour;
  return datagram.ttl >= ttlMin && datagram.ttl <= ttlMax ? null : 'ttl';
}

function judgePassword(instance: VrrpInstance, decoded: DecodedVrrp): VrrpDrop | null {
  if (instance.version !== 2) return null;
  const { auth } = instance;
  if (decoded.authType !== (auth.kind === 'pass' ? 1 : 0)) return 'auth-type';
  if (auth.kind !== 'pass') return null;
  return equalBytes(vrrpPassword(auth.password), decoded.authData) ? null : 'auth-mismatch';
}

function judgeTrailer(
  { auth }: VrrpInstance,
  { source }: VrrpDatagram,
  { trailer, message }: DecodedVrrp,
  means: ReceiveMeans,
): Result<bigint | null, VrrpDrop> {
  if (auth.kind !== 'hmac') return trailer === null ? ok(null) : err('length');
  if (trailer === null) return err('hmac-missing');
  const read = decodeHmacTrailer(trailer);
  if (!read.ok) return read;
  const { keyId, mac, stamp } = read.value;
  const key = auth.keys.find(({ id }: VrrpKey) => id === keyId);
  if (key === undefined) return err('hmac-unknown-key');
  const input = hmacInput(source, message, trailer);
  if (!isSameMac(means.sign(key.key, input).subarray(0, HMAC_LENGTH), mac))
    return err('hmac-mismatch');
  const last = means.lastStamp(source);
  return last !== null && stamp <= last ? err('hmac-replay') : ok(stamp);
}

/** In a time that does not depend on where they differ. */
function isSameMac(a: Uint8Array, b: Uint8Array): boolean {
  let difference = a.length ^ b.length;
  for (const [i, byte] of a.entries()) difference |= byte ^ (b[i] ?? 0);
  return difference === 0;
}

function isSameSet(a: readonly IpAddress[], b: readonly IpAddress[]): boolean {
  const set = new Set(b);
  return set.size === new Set(a).size && a.every((address) => set.has(address));
}
