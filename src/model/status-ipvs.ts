/** What the status document says of IPVS: quorums, drains, connection sync, counters. Absent with older directors. */
import Type from 'typebox';
import type { Static } from 'typebox';
import { SyncDaemonRow, TimeoutsRow } from './ipvs-listing.ts';

const Nullable = <S extends Type.TSchema>(schema: S) => Type.Union([schema, Type.Null()]);

export const ConnectionCount = Type.Object({
  active: Type.Integer(),
  inactive: Type.Integer(),
  persistent: Type.Integer({ description: 'persistence templates' }),
});

export const DrainStatus = Type.Object({
  cause: Type.Enum(['admin', 'leaving'], {
    description: 'leaving: the cluster document no longer names it',
  }),
  forMs: Type.Integer(),
  deadlineInMs: Nullable(Type.Integer({ description: 'null: as long as it takes' })),
  first: Nullable(ConnectionCount),
  left: Nullable(ConnectionCount),
  end: Nullable(
    Type.String({
      description: 'null: it goes on; gone, deadline, or absent: there was nothing to wait for',
    }),
  ),
});

export const RampStatus = Type.Object(
  {
    weight: Type.Integer(),
    of: Type.Integer(),
    remainingMs: Nullable(Type.Integer({ description: 'to the full weight' })),
  },
  { description: 'slow start' },
);

export const QuorumStatus = Type.Object({
  isUp: Type.Boolean(),
  reason: Type.String(),
  live: Type.Integer({ description: 'weights that are up, summed' }),
  total: Type.Integer({ description: 'configured weights, summed' }),
  upAt: Type.Integer({ description: 'live weight that brings it back' }),
  downBelow: Type.Integer({ description: 'live weight below which it is lost' }),
  isLowered: Type.Boolean({ description: 'all weights together are less than what was asked for' }),
  forMs: Nullable(
    Type.Integer({ description: 'so long; null: since before this director started' }),
  ),
});

export const FailOpenStatus = Type.Object({
  isOpen: Type.Boolean(),
  percent: Type.Integer(),
  up: Type.Integer({ description: 'weight' }),
  down: Type.Integer({ description: 'weight' }),
});

export const SyncStatus = Type.Object(
  {
    why: Type.String({ description: 'master, backup, or why there is none' }),
    detail: Type.String({ description: 'the same in words' }),
    daemon: Nullable(SyncDaemonRow),
    isRunning: Type.Boolean({ description: 'the daemon that serves it runs as wanted' }),
    isReady: Type.Boolean({ description: 'it could come here without connections being cut' }),
    remainingMs: Nullable(Type.Integer({ description: 'of the catching up' })),
  },
  { description: 'connection sync of the group on this director; absent where it has none' },
);

export const SettingFinding = Type.Object({
  name: Type.String(),
  value: Nullable(Type.String({ description: 'null: this kernel has none of that name' })),
  severity: Type.Enum(['problem', 'advice']),
  text: Type.String({ description: 'cause and remedy' }),
});

/** Members of `ipvs` in the status document. */
export const IpvsParts = {
  timeouts: Type.Optional(Nullable(TimeoutsRow)),
  daemons: Type.Optional(
    Nullable(
      Type.Array(
        Type.Object({
          ...SyncDaemonRow.properties,
          isForeign: Type.Boolean({ description: 'somebody else runs it, and it is left alone' }),
        }),
      ),
    ),
  ),
  problems: Type.Optional(
    Type.Array(Type.String(), { description: 'timeouts, sync daemons and marks not as wanted' }),
  ),
  settings: Type.Optional(
    Type.Array(SettingFinding, { description: 'kernel settings that matter for the document' }),
  ),
  realServerSeries: Type.Optional(
    Type.Object(
      {
        isExported: Type.Boolean(),
        realServers: Type.Integer(),
        limit: Type.Integer(),
      },
      {
        description:
          'metrics of each real server: not exported where there are more than the limit',
      },
    ),
  ),
};

export type ConnectionCount = Static<typeof ConnectionCount>;
export type DrainStatus = Static<typeof DrainStatus>;
export type RampStatus = Static<typeof RampStatus>;
export type QuorumStatus = Static<typeof QuorumStatus>;
export type FailOpenStatus = Static<typeof FailOpenStatus>;
export type SyncStatus = Static<typeof SyncStatus>;
export type SettingFinding = Static<typeof SettingFinding>;
