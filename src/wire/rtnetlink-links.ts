/**
 * Routing netlink for links that carry the VIPs of a real server: what they are, up and down, tunnels.
 * Sources: linux/rtnetlink.h, linux/if_link.h, linux/if.h, linux/if_tunnel.h.
 */
import { err, ok, type Result } from '../lib/result.ts';
import type { HostLink } from '../model/real-server-host.ts';
import {
  AttributeWriter,
  LITTLE_ENDIAN,
  readText,
  readU32,
  viewOf,
  walkAttributes,
} from './netlink.ts';

const AF_UNSPEC = 0;
const LINK_HEADER_BYTES = 16;

const IFLA_IFNAME = 3;
const IFLA_LINKINFO = 18;
const IFLA_INFO_KIND = 1;
const IFLA_INFO_DATA = 2;
const IFLA_IPTUN_PROTO = 9;

const IFF_UP = 0x1;
const IFF_LOOPBACK = 0x8;
const IFF_NOARP = 0x80;

/** Body of RTM_NEWLINK; null for messages of another family. */
export function decodeHostLink(body: Uint8Array): Result<HostLink | null, string> {
  if (body.length < LINK_HEADER_BYTES) return err(`link message of ${body.length} bytes`);
  if (body[0] !== AF_UNSPEC) return ok(null);
  const seen = { name: '', kind: null as string | null, protocol: null as number | null };
  const isWhole = walkAttributes(body, LINK_HEADER_BYTES, body.length, (type, offset, length) => {
    if (type === IFLA_IFNAME) seen.name = readText(body, offset, length);
    else if (type === IFLA_LINKINFO) readInfo(body, offset, length, seen);
  });
  if (!isWhole) return err('malformed attributes in a link');
  const flags = readU32(body, 8);
  return ok({
    index: readU32(body, 4),
    name: seen.name,
    kind: seen.kind,
    isUp: (flags & IFF_UP) !== 0,
    isLoopback: (flags & IFF_LOOPBACK) !== 0,
    hasArp: (flags & (IFF_LOOPBACK | IFF_NOARP)) === 0,
    innerProtocol: seen.kind === 'ip6tnl' ? seen.protocol : null,
  });
}

function readInfo(
  body: Uint8Array,
  start: number,
  size: number,
  seen: { kind: string | null; protocol: number | null },
): void {
  walkAttributes(body, start, start + size, (type, offset, length) => {
    if (type === IFLA_INFO_KIND) seen.kind = readText(body, offset, length);
    else if (type === IFLA_INFO_DATA)
      // Numbers of the attributes are those of the kind; only `ip6tnl` is asked for them.
      walkAttributes(body, offset, offset + length, (inner, at, bytes) => {
        if (inner === IFLA_IPTUN_PROTO && bytes >= 1) seen.protocol = body[at] ?? null;
      });
  });
}

function linkHeader(index: number, flags: number, change: number): Uint8Array {
  const header = new Uint8Array(LINK_HEADER_BYTES);
  const view = viewOf(header);
  view.setUint32(4, index, LITTLE_ENDIAN);
  view.setUint32(8, flags, LITTLE_ENDIAN);
  view.setUint32(12, change, LITTLE_ENDIAN);
  return header;
}

/** Body of RTM_NEWLINK that brings a link up or down. */
export const encodeSwitchLink = (index: number, isUp: boolean): Uint8Array =>
  linkHeader(index, isUp ? IFF_UP : 0, IFF_UP);

/** Body of RTM_NEWLINK that makes a link of that kind, with the kind's own defaults. */
export const encodeCreateLink = (name: string, kind: string): Uint8Array =>
  new AttributeWriter()
    .raw(linkHeader(0, 0, 0))
    .text(IFLA_IFNAME, name)
    .nested(IFLA_LINKINFO, (info) => info.text(IFLA_INFO_KIND, kind))
    .finish();

/** Body of RTM_DELLINK. */
export const encodeDeleteLink = (index: number): Uint8Array => linkHeader(index, 0, 0);
