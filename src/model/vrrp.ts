/**
 * VRRP as it is set up and as it is heard (RFC 9568, RFC 3768, and keepalived's variants). Bytes are in
 * `wire/vrrp*`, the router's state machine in `core/vrrp`. "Active" and "Backup" are RFC 9568's words.
 */
import type { IpAddress, IpFamily } from './address.ts';

export type VrrpVersion = 2 | 3;

/** 255 belongs to who owns the addresses, 0 says goodbye (RFC 9568 5.2.4). */
export const VRRP_PRIORITY_OWNER = 255;
export const VRRP_PRIORITY_RELEASE = 0;

/**
 * What the checksum of a version 3 advertisement over IPv4 covers beside the message: a pseudo header with
 * the real addresses (RFC 5798, keepalived), one with 224.0.0.18 even where it is unicast (keepalived up
 * to 1.3.6), or nothing (RFC 9568 5.2.8 as Cisco and Juniper read it, `v3_checksum_as_v2`). Version 2
 * covers the message alone, IPv6 always its pseudo header.
 */
export type VrrpChecksum = 'pseudo-header' | 'old-unicast' | 'message-only';

/** `pass`: version 2 only, in clear text, 8 bytes. `hmac`: the trailer of keepalived 2.4. */
export type VrrpAuth =
  | { readonly kind: 'none' }
  | { readonly kind: 'pass'; readonly password: string }
  | { readonly kind: 'hmac'; readonly keys: readonly VrrpKey[] };

/** The first key of a list signs, all verify. */
export type VrrpKey = { readonly id: number; readonly key: Uint8Array };

/** A router that gets our advertisements and may send its own; TTL or hop limit outside the limits: dropped. */
export type VrrpNeighbour = {
  readonly address: IpAddress;
  readonly ttlMin: number;
  readonly ttlMax: number;
};

/** What the operator sets for a group; the router id is the group's `virtualRouterId`. */
export type VrrpSpec = {
  /** Of IPv4; IPv6 is version 3 always. */
  readonly version: VrrpVersion;
  readonly intervalMs: number;
  /** Version 2 only. */
  readonly password: string | null;
  /** Of trailers, as `VrrpAuth` has them; none: no trailer. Not beside a password. */
  readonly hmacKeys: readonly VrrpKey[];
  readonly checksum: VrrpChecksum;
  readonly isMulticast: boolean;
  /** Routers beside the directors; none where it is multicast. */
  readonly neighbours: readonly VrrpNeighbour[];
};

/** One virtual router of one family on one device, as this director takes part in it. */
export type VrrpInstance = {
  /** Unique name, given back with everything that is heard. */
  readonly key: string;
  readonly family: IpFamily;
  /** 1 to 255; unique per device and family. */
  readonly routerId: number;
  readonly version: VrrpVersion;
  readonly device: string;
  /** This director's own address, the source of what it sends. */
  readonly source: IpAddress;
  readonly to:
    | { readonly kind: 'multicast' }
    | { readonly kind: 'unicast'; readonly neighbours: readonly VrrpNeighbour[] };
  /** Version 2: whole seconds up to 255. Version 3: whole centiseconds up to 4095. */
  readonly intervalMs: number;
  /** VIPs in the order of the configuration; all of the family; at most 255. */
  readonly addresses: readonly IpAddress[];
  readonly auth: VrrpAuth;
  readonly checksum: VrrpChecksum;
};

/** A valid advertisement of somebody else. */
export type VrrpAdvert = {
  readonly source: IpAddress;
  readonly priority: number;
  /** How often its sender says that it sends. */
  readonly intervalMs: number;
  readonly addresses: readonly IpAddress[];
};

/** Why a datagram of protocol 112 was dropped. */
export const VRRP_DROPS = [
  'truncated', // fewer bytes than its own header or count needs
  'ip-header', // no IP header that makes sense, or another protocol
  'type', // not an advertisement
  'length', // more bytes than its count allows
  'no-addresses',
  'interval-zero',
  'router-id', // nobody here takes part in that virtual router
  'version',
  'own-address', // from our own source address
  'destination', // multicast where unicast is agreed, or the other way round
  'source', // not from a neighbour
  'ttl',
  'checksum',
  'auth-type',
  'auth-mismatch',
  'interval-mismatch', // version 2 only
  'hmac-missing',
  'hmac-malformed',
  'hmac-unknown-key',
  'hmac-mismatch',
  'hmac-replay',
] as const;
export type VrrpDrop = (typeof VRRP_DROPS)[number];
