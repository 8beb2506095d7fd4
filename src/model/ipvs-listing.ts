/**
 * A director's IPVS table and connections as the API tells them: a line of JSON for each thing, so that
 * neither side holds all of them. One schema for whoever writes and whoever reads.
 */
import Type from 'typebox';
import type { Static } from 'typebox';
import { PROTOCOLS, TUNNEL_CHECKSUMS, TUNNEL_TYPES } from './cluster.ts';
import {
  IP_VS_SVC_F_SCHED1,
  IP_VS_SVC_F_SCHED2,
  IP_VS_SVC_F_SCHED3,
  type IpvsService,
} from './kernel.ts';
import { ForwardSchema, Traffic } from './status-parts.ts';

const Nullable = <S extends Type.TSchema>(schema: S) => Type.Union([schema, Type.Null()]);

export const SyncDaemonRow = Type.Object({
  state: Type.Enum(['master', 'backup']),
  interface: Type.String({ description: 'device' }),
  syncId: Type.Integer(),
  maxLength: Nullable(Type.Integer()),
  group: Type.String(),
  port: Type.Integer(),
  ttl: Type.Integer(),
});

export const TimeoutsRow = Type.Object({
  tcpS: Type.Integer(),
  tcpFinS: Type.Integer({ description: 'after a FIN' }),
  udpS: Type.Integer(),
});

/** The first line of a listing of the table. */
export const TableHeadRow = Type.Object({
  kind: Type.Literal('table'),
  director: Type.String(),
  version: Type.String({ description: 'of IPVS' }),
  size: Nullable(Type.Integer({ description: 'buckets of the connection table' })),
  dumpedMsAgo: Type.Integer({ description: 'the kernel was read so long ago' }),
  timeouts: Nullable(TimeoutsRow),
  daemons: Nullable(Type.Array(SyncDaemonRow)),
});

/** An IPVS service; its destinations follow. */
export const TableServiceRow = Type.Object({
  kind: Type.Literal('service'),
  key: Type.Union([
    Type.Object({
      kind: Type.Literal('address'),
      protocol: Type.Enum([...PROTOCOLS]),
      address: Type.String(),
      port: Type.Integer(),
    }),
    Type.Object({
      kind: Type.Literal('fwmark'),
      family: Type.Enum([4, 6]),
      mark: Type.Integer(),
    }),
  ]),
  service: Nullable(
    Type.String({ description: 'the virtual service of the cluster document; null: none' }),
  ),
  isForeign: Type.Boolean({ description: 'somebody else made it, and it is left alone' }),
  scheduler: Type.String(),
  flags: Type.Array(Type.String(), { description: 'of the scheduler, by the names of ipvsadm' }),
  isOnePacket: Type.Boolean(),
  persistence: Nullable(
    Type.Object({
      timeoutS: Type.Integer(),
      prefix: Type.Integer({ description: 'clients of one network together' }),
    }),
  ),
  persistenceEngine: Nullable(Type.String()),
  counters: Traffic,
  rates: Traffic,
});

/** What a destination is there for; a closed list. */
export const DESTINATION_ROLES = [
  'real-server',
  'sorry-server',
  'leaving', // a former real server that still has connections
  'foreign', // of a service that somebody else made
  'unknown', // of a service of ours, but nobody wants it: it goes
] as const;

export const TableDestinationRow = Type.Object({
  kind: Type.Literal('destination'),
  address: Type.String(),
  port: Type.Integer(),
  forward: ForwardSchema,
  tunnel: Nullable(
    Type.Object({
      type: Type.Enum([...TUNNEL_TYPES]),
      port: Type.Integer(),
      checksum: Type.Enum([...TUNNEL_CHECKSUMS]),
    }),
  ),
  weight: Type.Integer(),
  upperThreshold: Type.Integer(),
  lowerThreshold: Type.Integer(),
  activeConnections: Type.Integer(),
  inactiveConnections: Type.Integer(),
  persistentConnections: Type.Integer({ description: 'persistence templates' }),
  counters: Traffic,
  rates: Traffic,
  role: Type.Enum([...DESTINATION_ROLES]),
  note: Nullable(Type.String({ description: 'why it is not as on any day, in few words' })),
});

/** The last line of a listing of the table; without it the listing broke off. */
export const TableEndRow = Type.Object({
  kind: Type.Literal('end'),
  services: Type.Integer(),
  destinations: Type.Integer(),
});

export const TableRow = Type.Union([
  TableHeadRow,
  TableServiceRow,
  TableDestinationRow,
  TableEndRow,
]);

const Endpoint = Type.Object({ address: Type.String(), port: Type.Integer() });

export const ConnectionRow = Type.Object({
  kind: Type.Literal('connection'),
  protocol: Type.String({ description: 'TCP, UDP, SCTP; IP for the template of a firewall mark' }),
  client: Endpoint,
  virtual: Endpoint,
  realServer: Endpoint,
  state: Type.String({ description: 'the kernel’s word' }),
  expiresS: Type.Integer(),
  isTemplate: Type.Boolean({ description: 'of persistence: where the next connections go' }),
  persistenceEngine: Nullable(Type.String()),
  persistenceData: Nullable(Type.String()),
});

/** The last line of a listing of connections; without it the listing broke off. */
export const ConnectionEndRow = Type.Object({
  kind: Type.Literal('end'),
  shown: Type.Integer(),
  read: Type.Integer({ description: 'connections of the kernel that were looked at' }),
  unreadable: Type.Integer({ description: 'lines of the kernel that are no connection' }),
  isWhole: Type.Boolean({ description: 'false: the limit was reached' }),
});

/** Instead of the end, where the kernel failed in between. */
export const FailureRow = Type.Object({ kind: Type.Literal('failure'), detail: Type.String() });

export const ConnectionLine = Type.Union([ConnectionRow, ConnectionEndRow, FailureRow]);

export type SyncDaemonRow = Static<typeof SyncDaemonRow>;
export type TimeoutsRow = Static<typeof TimeoutsRow>;
export type TableHeadRow = Static<typeof TableHeadRow>;
export type TableServiceRow = Static<typeof TableServiceRow>;
export type TableDestinationRow = Static<typeof TableDestinationRow>;
export type TableEndRow = Static<typeof TableEndRow>;
export type TableRow = Static<typeof TableRow>;
export type ConnectionRow = Static<typeof ConnectionRow>;
export type ConnectionEndRow = Static<typeof ConnectionEndRow>;
export type ConnectionLine = Static<typeof ConnectionLine>;

/** The kernel has three bits; sh and mh have names for two of them. */
export function schedulerFlagNames({
  flags,
  scheduler,
}: Pick<IpvsService, 'flags' | 'scheduler'>): string[] {
  const hasNames = scheduler === 'sh' || scheduler === 'mh';
  const names: string[] = [];
  if ((flags & IP_VS_SVC_F_SCHED1) !== 0) names.push(hasNames ? `${scheduler}-fallback` : 'flag-1');
  if ((flags & IP_VS_SVC_F_SCHED2) !== 0) names.push(hasNames ? `${scheduler}-port` : 'flag-2');
  if ((flags & IP_VS_SVC_F_SCHED3) !== 0) names.push('flag-3');
  return names;
}
