/** What a director tells people and programs about itself and its cluster: one document, one schema. */
import Type from 'typebox';
import type { Static } from 'typebox';
import { HOLD_BASES } from './decision.ts';
import {
  DrainStatus,
  FailOpenStatus,
  IpvsParts,
  QuorumStatus,
  RampStatus,
  SyncStatus,
} from './status-ipvs.ts';
import { AdminStateSchema, ForwardSchema, Traffic } from './status-parts.ts';

const Nullable = <S extends Type.TSchema>(schema: S) => Type.Union([schema, Type.Null()]);
const Name = Type.String();

export const HEALTH_LEVELS = ['ok', 'degraded', 'down'] as const;

/**
 * Before a director stands in for a holder: `waiting` until the holder's kernel must be silent, `probing` the
 * network, `gateway-silent`, `asking` the other directors, `refused` by one of them, `promised` to one,
 * `stepped-back` for a while to let others try. Of its own group also `answered` by somebody that has the VIPs.
 */
export const CANDIDACY_PHASES = [
  'waiting',
  'probing',
  'answered',
  'gateway-silent',
  'asking',
  'refused',
  'promised',
  'stepped-back',
] as const;

export const TrackStatus = Type.Object({
  id: Type.String({ description: 'kind and subject, e.g. `interface eth1`' }),
  isPassing: Type.Boolean(),
  weight: Nullable(
    Type.Integer({ description: 'null: while it fails, the group is not held here' }),
  ),
  detail: Type.String({ description: 'what was seen' }),
  since: Type.String({ description: 'of this verdict, ISO 8601' }),
});

export const VrrpStatus = Type.Object({
  family: Type.Enum([4, 6]),
  routerId: Type.Integer(),
  state: Type.Enum(['initialize', 'backup', 'claiming', 'active'], {
    description: 'of this director’s router; claiming: preempts another one, and is silent yet',
  }),
  priority: Type.Integer({ description: 'this director’s, with what tracks add' }),
  active: Nullable(
    Type.Object(
      { address: Type.String(), priority: Type.Integer() },
      { description: 'the router that is no director and advertises the group' },
    ),
  ),
  problem: Nullable(Type.String({ description: 'why VRRP cannot be sent or heard here' })),
});

export const GroupStatus = Type.Object({
  name: Name,
  addresses: Type.Array(Type.String({ description: 'address/prefix' })),
  holder: Nullable(
    Type.String({
      description: 'by the owner record, or who stands in for the one that it names (standIn)',
    }),
  ),
  epoch: Nullable(Type.Integer()),
  ownedForMs: Nullable(
    Type.Integer({ description: 'for how long this director has known of this holder and epoch' }),
  ),
  state: Type.Enum(['held-here', 'opening-here', 'leaving-here', 'held-elsewhere', 'vacant'], {
    description:
      'held-here: its VIPs speak here, also as a stand-in; opening-here: they may soon, by the record or as a candidate; leaving-here: handing over, or giving up',
  }),
  handover: Nullable(
    Type.Object(
      {
        to: Nullable(Name),
        phase: Type.Enum(['waiting', 'muting', 'muted', 'closing']),
        reason: Nullable(Type.String()),
        operation: Nullable(Type.String()),
      },
      { description: 'leaving-here: to whom, how far, and why' },
    ),
  ),
  pending: Type.Array(Type.Object({ director: Name, epoch: Type.Integer() }), {
    description: 'former holders that are not proven silent yet',
  }),
  standIn: Type.Optional(
    Type.Object(
      {
        recordHolder: Type.String({ description: 'whom the owner record still names' }),
        forMs: Nullable(
          Type.Integer({ description: 'for so long, as this director saw it; null: just now' }),
        ),
      },
      {
        description:
          'the holder speaks in the place of another one, whom nobody heard while etcd answered nobody; absent where the record names the holder',
      },
    ),
  ),
  candidacy: Type.Optional(
    Type.Object(
      {
        phase: Type.Enum([...CANDIDACY_PHASES]),
        detail: Type.String({ description: 'the same in words, with who and how long' }),
      },
      {
        description:
          'what this director does before it may let the group speak, without etcd in the place of its holder; absent where it does nothing',
      },
    ),
  ),
  basis: Nullable(
    Type.Enum([...HOLD_BASES], {
      description:
        'on what evidence it is held; of other holders only the record is known here; `segment`: also what a stand-in rests on',
    }),
  ),
  reason: Type.String({ description: 'why this director holds it, or does not' }),
  remainingMs: Nullable(
    Type.Integer({
      description: 'held here: until the kernel drops the VIPs, were no round confirmed',
    }),
  ),
  candidates: Type.Array(
    Type.Object({
      director: Name,
      eligible: Type.Boolean(),
      reason: Nullable(Type.String()),
      ready: Type.Boolean({ description: 'could take it over without a packet lost' }),
      priority: Nullable(
        Type.Integer({ description: 'with what tracks add; null: no priorities, placed by load' }),
      ),
      bonus: Type.Integer({ description: 'what its tracks add' }),
    }),
    { description: 'best first' },
  ),
  tracks: Type.Array(TrackStatus, { description: 'as this director sees them' }),
  vrrp: Type.Optional(
    Type.Array(VrrpStatus, {
      description: 'one for each family; absent where the group has no VRRP',
    }),
  ),
  sync: Type.Optional(SyncStatus),
});

export const DirectorStatus = Type.Object({
  name: Name,
  address: Nullable(Type.String()),
  inSpec: Type.Boolean(),
  session: Type.Enum(['open', 'broken', 'closed', 'none']),
  isAlive: Type.Boolean({ description: 'its report stands in etcd' }),
  isDraining: Type.Boolean(),
  drainReason: Nullable(Type.String()),
  version: Nullable(Type.String()),
  groups: Type.Array(Name),
  specRevision: Nullable(Type.Integer()),
  ipvs: Nullable(Type.Object({ available: Type.Boolean(), detail: Type.String() })),
  gate: Nullable(Type.String()),
  problems: Type.Array(Type.String()),
  silence: Type.Optional(
    Type.Object(
      {
        forMs: Type.Integer({ description: 'not heard by this director for so long' }),
        session: Type.Integer({
          description: 'mod revision of its session record, which a confirm-dead may name',
        }),
        needsWord: Type.Boolean({
          description:
            'its scope names neither this director nor one that is heard here: only an operator can say that it is dead',
        }),
        confirmedDead: Nullable(
          Type.Object(
            { by: Type.String(), reason: Type.String(), at: Type.String() },
            { description: 'an operator said that this session is dead' },
          ),
        ),
      },
      { description: 'its session is open, and it is not heard; absent where it is' },
    ),
  ),
});

export const VoteStatus = Type.Object({
  director: Name,
  isUp: Type.Boolean(),
  since: Type.String(),
  detail: Type.String(),
});

export const RealServerStatus = Type.Object({
  id: Type.String({ description: 'address:port' }),
  address: Type.String(),
  port: Type.Integer(),
  weight: Type.Integer({ description: 'as configured' }),
  wantedWeight: Nullable(Type.Integer({ description: 'null: not to be in the table' })),
  kernelWeight: Nullable(Type.Integer({ description: 'null: not in this director’s table' })),
  health: Type.Enum(['up', 'down', 'unchecked']),
  basis: Type.Enum(['majority', 'kept', 'initial', 'alone', 'unchecked'], {
    description: 'alone: etcd is away, and what this director finds counts here',
  }),
  admin: AdminStateSchema,
  adminReason: Nullable(Type.String()),
  check: Nullable(Type.String()),
  votes: Type.Array(VoteStatus),
  activeConnections: Nullable(Type.Integer()),
  inactiveConnections: Nullable(Type.Integer()),
  persistentConnections: Type.Optional(
    Nullable(Type.Integer({ description: 'persistence templates' })),
  ),
  forward: Type.Optional(ForwardSchema),
  why: Type.Optional(Type.String({ description: 'why it has its weight' })),
  explanation: Type.Optional(
    Nullable(Type.String({ description: 'the same in words; null: it is as on any day' })),
  ),
  ramp: Type.Optional(RampStatus),
  drain: Type.Optional(DrainStatus),
  counters: Type.Optional(Traffic),
  rates: Type.Optional(Traffic),
});

export const ServiceStatus = Type.Object({
  name: Name,
  group: Name,
  protocol: Nullable(Type.String({ description: 'of the first key; null: a firewall mark' })),
  address: Nullable(Type.String()),
  port: Nullable(Type.Integer({ description: '0: all ports' })),
  keys: Type.Array(
    Type.String({ description: 'an IPVS service: `tcp 10.90.0.100:80`, `fwmark 7 inet6`' }),
  ),
  scheduler: Type.String(),
  isProgrammed: Type.Boolean({
    description: 'in this director’s IPVS table, as wanted, with all its keys',
  }),
  problem: Nullable(Type.String()),
  realServers: Type.Array(RealServerStatus),
  sorryServer: Nullable(
    Type.Object({
      id: Type.String(),
      isActive: Type.Boolean(),
      state: Type.Optional(
        Type.String({
          description: 'idle, inhibited, answering, held-back (by fail-open), elsewhere',
        }),
      ),
    }),
  ),
  isHere: Type.Optional(
    Type.Boolean({ description: 'false: this director is a cold standby for its group' }),
  ),
  explanation: Type.Optional(
    Type.Array(Type.String(), { description: 'what it does as a whole, in sentences' }),
  ),
  quorum: Type.Optional(QuorumStatus),
  failOpen: Type.Optional(Nullable(FailOpenStatus)),
  leaving: Type.Optional(
    Type.Array(Type.Object({ id: Type.String(), ...DrainStatus.properties }), {
      description: 'real servers that the document no longer names and that still have connections',
    }),
  ),
  connections: Type.Optional(
    Type.Object(
      { active: Type.Integer(), inactive: Type.Integer(), persistent: Type.Integer() },
      { description: 'of all its real servers on this director' },
    ),
  ),
  counters: Type.Optional(Traffic),
  rates: Type.Optional(Traffic),
});

export const IsolationStatus = Type.Object({
  policy: Type.Enum(['gateway', 'release'], {
    description:
      'gateway: without etcd and the other directors a holder goes on while its gateway answers, and others may stand in for it; release: it falls silent',
  }),
  mode: Type.Enum(['any', 'all'], { description: 'how many of the targets must answer' }),
  isReachable: Nullable(
    Type.Boolean({
      description: 'they answered this director lately, as the mode counts it; null: not asked yet',
    }),
  ),
  targets: Type.Array(
    Type.Object({
      address: Type.String(),
      answeredMsAgo: Nullable(
        Type.Integer({
          description:
            'null: never as long as the document names it; with mode any the first answer ends the waiting for the others',
        }),
      ),
    }),
  ),
});

export const StatusDocument = Type.Object({
  cluster: Name,
  director: Name,
  version: Type.String(),
  observedAt: Type.String({ description: 'wall clock, ISO 8601' }),
  health: Type.Enum([...HEALTH_LEVELS]),
  problems: Type.Array(Type.String({ description: 'why health is not ok, in words' })),
  ready: Type.Boolean(),
  store: Type.Object({
    isConnected: Type.Boolean(),
    lastAnswerMsAgo: Nullable(Type.Integer()),
    lastError: Nullable(Type.String()),
    revision: Type.Integer(),
  }),
  spec: Type.Object({
    revision: Type.Integer({ description: '0: none applied yet' }),
    by: Nullable(Type.String()),
    at: Nullable(Type.String()),
    problem: Nullable(
      Type.String({ description: 'the stored document cannot be used; the last good one is' }),
    ),
  }),
  hold: Type.Object({
    session: Nullable(Type.Integer()),
    phase: Type.Enum(['running', 'stopping', 'freezing'], {
      description: 'freezing: all is kept for the next process of this director',
    }),
    gate: Type.String(),
    gateDetail: Type.String(),
    profile: Nullable(Type.String()),
    holdMs: Nullable(Type.Integer({ description: 'D: a confirmed round lets VIPs speak so long' })),
    takeoverWaitMs: Nullable(
      Type.Integer({ description: 'D’: what others wait before they take groups from this one' }),
    ),
    lastRoundMs: Nullable(
      Type.Number({ description: 'send to answer of the last confirmed round' }),
    ),
    eventLoopLagMs: Type.Number(),
  }),
  isolation: Type.Optional(
    Type.Object(IsolationStatus.properties, {
      description: 'what this director would go by without etcd; absent before there is a document',
    }),
  ),
  ipvs: Type.Object({
    available: Type.Boolean(),
    detail: Type.String(),
    foreignServices: Type.Array(Type.String()),
    lastReconcileMs: Nullable(Type.Number()),
    driftRepaired: Type.Integer(),
    ...IpvsParts,
  }),
  groups: Type.Array(GroupStatus),
  directors: Type.Array(DirectorStatus),
  services: Type.Array(ServiceStatus),
});

export type CandidacyPhase = (typeof CANDIDACY_PHASES)[number];
export type IsolationStatus = Static<typeof IsolationStatus>;
export type TrackStatus = Static<typeof TrackStatus>;
export type VrrpStatus = Static<typeof VrrpStatus>;
export type GroupStatus = Static<typeof GroupStatus>;
export type DirectorStatus = Static<typeof DirectorStatus>;
export type RealServerStatus = Static<typeof RealServerStatus>;
export type ServiceStatus = Static<typeof ServiceStatus>;
export type StatusDocument = Static<typeof StatusDocument>;
