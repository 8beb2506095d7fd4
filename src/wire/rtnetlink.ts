/**
 * Routing netlink, as far as VIPs need it: links and addresses.
 * Sources: linux/rtnetlink.h, linux/if_addr.h, linux/if_link.h, linux/if.h.
 */
import { err, ok, type Result } from '../lib/result.ts';
import { familyOf, formatIp, formatMac, ipToBytes, type IpAddress } from '../model/address.ts';
import type { AddressScope } from '../model/cluster.ts';
import { ADDRESS_PROTOCOL, type BindRequest, type BoundAddress } from '../model/kernel.ts';
import type { LinkState } from '../model/kernel.ts';
import {
  AttributeWriter,
  LITTLE_ENDIAN,
  readText,
  readU32,
  viewOf,
  walkAttributes,
} from './netlink.ts';

export const RTM_NEWLINK = 16;
export const RTM_DELLINK = 17;
export const RTM_GETLINK = 18;
export const RTM_NEWADDR = 20;
export const RTM_DELADDR = 21;
export const RTM_GETADDR = 22;

/** Multicast groups (RTNLGRP_*). */
export const RTNLGRP_LINK = 1;
export const RTNLGRP_IPV4_IFADDR = 5;
export const RTNLGRP_IPV6_IFADDR = 9;

export const IFA_F_SECONDARY = 0x01;
export const IFA_F_NODAD = 0x02;
export const IFA_F_NOPREFIXROUTE = 0x200;

const AF_UNSPEC = 0;
const AF_INET = 2;
const AF_INET6 = 10;

const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
const IFA_LABEL = 3;
const IFA_CACHEINFO = 6;
const IFA_FLAGS = 8;
const IFA_PROTO = 11;

const IFLA_ADDRESS = 1;
const IFLA_IFNAME = 3;
const IFLA_MTU = 4;
const IFLA_LINK = 5;
const IFLA_MASTER = 10;
const IFLA_LINKINFO = 18;
const IFLA_INFO_KIND = 1;
const IFLA_EXT_MASK = 29;
const IFLA_LINK_NETNSID = 37;
/** Counters are not asked for: they triple the size of a link dump. */
const RTEXT_FILTER_SKIP_STATS = 8;

const IFF_UP = 0x1;
const IFF_RUNNING = 0x40;
const IFF_LOWER_UP = 0x10000;

const INFINITE_LIFETIME = 0xffff_ffff;
const ADDRESS_HEADER_BYTES = 8;
const LINK_HEADER_BYTES = 16;

const SCOPES: Readonly<Record<AddressScope, number>> = {
  global: 0,
  site: 200,
  link: 253,
  host: 254,
};

/** An address as the kernel tells it: what the model has, and the flags. */
export type AddressMessage = { readonly address: BoundAddress; readonly flags: number };

/** Tag of our addresses; `protocol: null` leaves it out for kernels that refuse unknown attributes. */
export type AddressTag = { readonly protocol: number | null };

/**
 * Body of RTM_NEWADDR. `noprefixroute`: a VIP brings no route. IPv6: `nodad` (a VIP may not wait a
 * second for duplicate address detection) and a preferred lifetime of 0, which makes it deprecated
 * and so never the source of the director's own traffic (RFC 6724 rule 3). IPv4 has no such rule.
 */
export function encodeNewAddress(
  request: BindRequest,
  tag: AddressTag = { protocol: ADDRESS_PROTOCOL },
): Uint8Array {
  const valid = request.validLifetimeS ?? INFINITE_LIFETIME;
  const isIpv6 = familyOf(request.address) === 6;
  const cacheInfo = new Uint8Array(16);
  const view = viewOf(cacheInfo);
  view.setUint32(0, isIpv6 ? 0 : valid, LITTLE_ENDIAN);
  view.setUint32(4, valid, LITTLE_ENDIAN);
  const bytes = ipToBytes(request.address);
  const flags = isIpv6 ? IFA_F_NODAD | IFA_F_NOPREFIXROUTE : IFA_F_NOPREFIXROUTE;
  const writer = new AttributeWriter()
    .raw(encodeAddressHeader(request, request.scope))
    .bytes(IFA_LOCAL, bytes)
    .bytes(IFA_ADDRESS, bytes);
  if (request.label !== null && !isIpv6) writer.text(IFA_LABEL, request.label);
  writer.bytes(IFA_CACHEINFO, cacheInfo).u32(IFA_FLAGS, flags);
  if (tag.protocol !== null) writer.u8(IFA_PROTO, tag.protocol);
  return writer.finish();
}

export type AddressKey = Pick<BoundAddress, 'linkIndex' | 'address' | 'prefix'>;

/** Body of RTM_DELADDR. */
export function encodeDeleteAddress(key: AddressKey): Uint8Array {
  const bytes = ipToBytes(key.address);
  return new AttributeWriter()
    .raw(encodeAddressHeader(key, 'global'))
    .bytes(IFA_LOCAL, bytes)
    .bytes(IFA_ADDRESS, bytes)
    .finish();
}

/** Body of a RTM_GETADDR dump of both families. */
export const encodeAddressDump = (): Uint8Array => new Uint8Array(ADDRESS_HEADER_BYTES);

/** Body of a RTM_GETLINK dump without counters. */
export function encodeLinkDump(): Uint8Array {
  return new AttributeWriter()
    .raw(new Uint8Array(LINK_HEADER_BYTES))
    .u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS)
    .finish();
}

function encodeAddressHeader(key: AddressKey, scope: AddressScope): Uint8Array {
  const header = new Uint8Array(ADDRESS_HEADER_BYTES);
  header[0] = familyOf(key.address) === 6 ? AF_INET6 : AF_INET;
  header[1] = key.prefix;
  header[3] = SCOPES[scope];
  viewOf(header).setUint32(4, key.linkIndex, LITTLE_ENDIAN);
  return header;
}

/** Body of RTM_NEWADDR or RTM_DELADDR; null where it is no IPv4 or IPv6 address. */
export function decodeAddress(body: Uint8Array): Result<AddressMessage | null, string> {
  if (body.length < ADDRESS_HEADER_BYTES) return err(`address message of ${body.length} bytes`);
  const family = body[0];
  if (family !== AF_INET && family !== AF_INET6) return ok(null);
  const size = family === AF_INET ? 4 : 16;
  const seen = readAddressAttributes(body, size);
  if (seen === null) return err('malformed attributes in an address');
  const address = seen.local ?? seen.address;
  if (address === null) return err('an address message without an address');
  return ok({
    flags: seen.flags,
    address: {
      linkIndex: readU32(body, 4),
      address,
      prefix: body[1] ?? 0,
      scope: scopeOf(body[3] ?? 0),
      label: seen.label,
      validLifetimeS: seen.validS === INFINITE_LIFETIME ? null : seen.validS,
      protocol: seen.protocol,
    },
  });
}

type AddressAttributes = {
  local: IpAddress | null;
  address: IpAddress | null;
  label: string | null;
  validS: number;
  flags: number;
  protocol: number | null;
};

function readAddressAttributes(body: Uint8Array, size: number): AddressAttributes | null {
  const seen: AddressAttributes = {
    local: null,
    address: null,
    label: null,
    validS: INFINITE_LIFETIME,
    flags: body[2] ?? 0,
    protocol: null,
  };
  const ip = (offset: number): IpAddress => formatIp(body.subarray(offset, offset + size));
  const isWhole = walkAttributes(
    body,
    ADDRESS_HEADER_BYTES,
    body.length,
    (type, offset, length) => {
      if (type === IFA_LOCAL && length === size) seen.local = ip(offset);
      else if (type === IFA_ADDRESS && length === size) seen.address = ip(offset);
      else if (type === IFA_LABEL) seen.label = readText(body, offset, length);
      else if (type === IFA_CACHEINFO && length >= 8) seen.validS = readU32(body, offset + 4);
      else if (type === IFA_FLAGS && length >= 4) seen.flags = readU32(body, offset);
      else if (type === IFA_PROTO && length >= 1) seen.protocol = body[offset] ?? 0;
    },
  );
  return isWhole ? seen : null;
}

function scopeOf(value: number): AddressScope {
  if (value >= SCOPES.host) return 'host';
  if (value >= SCOPES.link) return 'link';
  return value >= SCOPES.site ? 'site' : 'global';
}

/**
 * Body of RTM_NEWLINK or RTM_DELLINK; null for messages of another family: a bridge tells the removal
 * of a port as RTM_DELLINK of AF_BRIDGE, and the link is still there.
 */
export function decodeLink(body: Uint8Array): Result<LinkState | null, string> {
  if (body.length < LINK_HEADER_BYTES) return err(`link message of ${body.length} bytes`);
  if (body[0] !== AF_UNSPEC) return ok(null);
  const flags = readU32(body, 8);
  const seen: { name: string; mac: LinkState['mac']; mtu: number } = {
    name: '',
    mac: null,
    mtu: 0,
  };
  const isWhole = walkAttributes(body, LINK_HEADER_BYTES, body.length, (type, offset, length) => {
    if (type === IFLA_IFNAME) seen.name = readText(body, offset, length);
    else if (type === IFLA_ADDRESS && length === 6)
      seen.mac = formatMac(body.subarray(offset, offset + length));
    else if (type === IFLA_MTU && length >= 4) seen.mtu = readU32(body, offset);
  });
  if (!isWhole) return err('malformed attributes in a link');
  return ok({
    index: readU32(body, 4),
    name: seen.name,
    mac: seen.mac,
    isAdminUp: (flags & IFF_UP) !== 0,
    // RUNNING follows the operational state (RFC 2863), LOWER_UP the carrier: a VIP needs both.
    isRunning: (flags & IFF_RUNNING) !== 0 && (flags & IFF_LOWER_UP) !== 0,
    mtu: seen.mtu,
  });
}

/**
 * What a link is among links: its driver's kind (`bridge`, `veth`), whose port it is, and on which link of this
 * network namespace it stands (`lower`).
 */
export function decodeLinkRole(body: Uint8Array): {
  readonly kind: string | null;
  readonly master: number | null;
  readonly lower: number | null;
} {
  const role: { kind: string | null; master: number | null; lower: number | null } = {
    kind: null,
    master: null,
    lower: null,
  };
  let isHere = true;
  walkAttributes(body, LINK_HEADER_BYTES, body.length, (type, offset, length) => {
    if (type === IFLA_MASTER && length >= 4) role.master = readU32(body, offset);
    else if (type === IFLA_LINK && length >= 4) role.lower = readU32(body, offset);
    else if (type === IFLA_LINK_NETNSID) isHere = false;
    else if (type === IFLA_LINKINFO)
      walkAttributes(body, offset, offset + length, (inner, at, size) => {
        if (inner === IFLA_INFO_KIND) role.kind = readText(body, at, size);
      });
  });
  return isHere ? role : { ...role, lower: null };
}
