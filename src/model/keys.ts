/** Every etcd key, built and parsed here only (design 3). */
import {
  type CheckId,
  checkId,
  type DirectorId,
  directorId,
  type GroupId,
  groupId,
  type RealServerId,
  realServerId,
  type ServiceId,
  serviceId,
} from './ids.ts';

/** A key without its prefix, taken apart. */
export type ParsedKey =
  | { readonly kind: 'spec' }
  | { readonly kind: 'drain'; readonly director: DirectorId }
  | { readonly kind: 'confirm-dead'; readonly director: DirectorId }
  | { readonly kind: 'pause' }
  | { readonly kind: 'real'; readonly service: ServiceId; readonly realServer: RealServerId }
  | { readonly kind: 'operation'; readonly id: string }
  | { readonly kind: 'switchover'; readonly group: GroupId }
  | { readonly kind: 'session'; readonly director: DirectorId }
  | { readonly kind: 'owner'; readonly group: GroupId }
  | { readonly kind: 'scope'; readonly director: DirectorId }
  | { readonly kind: 'challenge'; readonly director: DirectorId }
  | { readonly kind: 'lease'; readonly group: GroupId }
  | { readonly kind: 'report'; readonly director: DirectorId }
  | { readonly kind: 'vote'; readonly check: CheckId; readonly director: DirectorId }
  | { readonly kind: 'event'; readonly id: string };

/** Builds the keys of one cluster; `parse` is the inverse and gives null for a key that is not ours. */
export type Keys = ReturnType<typeof createKeys>;

export function createKeys(cluster: string) {
  const prefix = `/leasehold/${cluster}/`;
  return {
    prefix,
    spec: `${prefix}spec`,
    pause: `${prefix}admin/pause`,
    /** Drains, confirmed deaths, overrides and operations. */
    adminPrefix: `${prefix}admin/`,
    drain: (director: DirectorId): string => `${prefix}admin/drain/${director}`,
    confirmDead: (director: DirectorId): string => `${prefix}admin/confirm-dead/${director}`,
    real: (service: ServiceId, rs: RealServerId): string =>
      `${prefix}admin/real/${service}/${encodeURIComponent(rs)}`,
    operation: (id: string): string => `${prefix}admin/operation/${id}`,
    switchover: (group: GroupId): string => `${prefix}admin/switchover/${group}`,
    session: (director: DirectorId): string => `${prefix}run/session/${director}`,
    owner: (group: GroupId): string => `${prefix}run/owner/${group}`,
    scope: (director: DirectorId): string => `${prefix}run/scope/${director}`,
    challenge: (director: DirectorId): string => `${prefix}run/challenge/${director}`,
    lease: (group: GroupId): string => `${prefix}run/lease/${group}`,
    report: (director: DirectorId): string => `${prefix}run/report/${director}`,
    vote: (check: CheckId, director: DirectorId): string =>
      `${prefix}run/vote/${check}/${director}`,
    event: (id: string): string => `${prefix}log/event/${id}`,
    eventPrefix: `${prefix}log/event/`,
    parse: (key: string): ParsedKey | null =>
      key.startsWith(prefix) ? parseTail(key.slice(prefix.length).split('/')) : null,
  };
}

function parseTail(parts: readonly string[]): ParsedKey | null {
  const [area, kind, a, b] = parts;
  if (area === 'spec' && parts.length === 1) return { kind: 'spec' };
  if (area === 'admin' && kind === 'pause' && parts.length === 2) return { kind: 'pause' };
  if (a === undefined || a === '') return null;
  if (parts.length === 3) return parseThree(area, kind, a);
  if (parts.length !== 4 || b === undefined || b === '') return null;
  if (area === 'admin' && kind === 'real')
    return { kind: 'real', service: serviceId(a), realServer: realServerId(decode(b)) };
  if (area === 'run' && kind === 'vote')
    return { kind: 'vote', check: checkId(a), director: directorId(b) };
  return null;
}

function parseThree(
  area: string | undefined,
  kind: string | undefined,
  a: string,
): ParsedKey | null {
  switch (`${area}/${kind}`) {
    case 'admin/drain':
      return { kind: 'drain', director: directorId(a) };
    case 'admin/confirm-dead':
      return { kind: 'confirm-dead', director: directorId(a) };
    case 'admin/operation':
      return { kind: 'operation', id: a };
    case 'admin/switchover':
      return { kind: 'switchover', group: groupId(a) };
    case 'run/session':
      return { kind: 'session', director: directorId(a) };
    case 'run/owner':
      return { kind: 'owner', group: groupId(a) };
    case 'run/scope':
      return { kind: 'scope', director: directorId(a) };
    case 'run/challenge':
      return { kind: 'challenge', director: directorId(a) };
    case 'run/lease':
      return { kind: 'lease', group: groupId(a) };
    case 'run/report':
      return { kind: 'report', director: directorId(a) };
    case 'log/event':
      return { kind: 'event', id: a };
    default:
      return null;
  }
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // Written by hand: no escape of ours.
  }
}
