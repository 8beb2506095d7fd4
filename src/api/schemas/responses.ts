/** Answers of the routes, but for the status document, which the model owns. */
import Type from 'typebox';
import type { Static } from 'typebox';
import { EventRecord, OperationRecord } from '../../model/records.ts';
import {
  DirectorStatus,
  GroupStatus,
  RealServerStatus,
  ServiceStatus,
} from '../../model/status.ts';
import { InputProblem } from './problem.ts';

const Warnings = Type.Array(Type.String(), { description: 'done, but worth a second look' });

export const GroupList = Type.Object({ groups: Type.Array(GroupStatus) });
export const DirectorList = Type.Object({ directors: Type.Array(DirectorStatus) });
export const ServiceList = Type.Object({ services: Type.Array(ServiceStatus) });

export const RealServerList = Type.Object({
  realServers: Type.Array(Type.Object({ service: Type.String(), realServer: RealServerStatus })),
});

/** What a write did, or would do. */
export const ChangeResult = Type.Object({
  changed: Type.Boolean({ description: 'false: it was so already' }),
  dryRun: Type.Boolean(),
  summary: Type.String(),
  revision: Type.Union([Type.Integer(), Type.Null()], {
    description: 'revision of the change; null where nothing was written',
  }),
  event: Type.Union([Type.String(), Type.Null()], { description: 'id of the audit event' }),
  warnings: Warnings,
});

export const DocumentChange = Type.Object({
  op: Type.Enum(['added', 'changed', 'removed']),
  path: Type.String({ description: 'e.g. services.web.realServers[10.0.0.21:80].weight' }),
  before: Type.Optional(Type.Unknown()),
  after: Type.Optional(Type.Unknown()),
});

export const ConfigDocument = Type.Object({
  revision: Type.Integer({ description: 'also in the ETag' }),
  document: Type.Unknown(),
  by: Type.Union([Type.String(), Type.Null()]),
  at: Type.Union([Type.String(), Type.Null()]),
  isStale: Type.Boolean({
    description: 'the store did not answer: this is what the director saw last',
  }),
});

export const ConfigResult = Type.Object({
  ...ChangeResult.properties,
  changes: Type.Array(DocumentChange),
});

export const ConfigValidation = Type.Object({
  valid: Type.Boolean(),
  problems: Type.Array(InputProblem),
  warnings: Warnings,
});

export const ConfigDiff = Type.Object({
  revision: Type.Integer({ description: 'compared with this one; 0: nothing was applied yet' }),
  changes: Type.Array(DocumentChange),
  shrink: Type.Union(
    [Type.Object({ message: Type.String(), removed: Type.Array(Type.String()) }), Type.Null()],
    { description: 'not null: an apply needs confirmShrink' },
  ),
  warnings: Warnings,
});

export const Operation = Type.Object({
  id: Type.String(),
  revision: Type.Integer(),
  operation: OperationRecord,
});

export const OperationList = Type.Object({ operations: Type.Array(Operation) });

export const OperationAccepted = Type.Object({
  id: Type.Union([Type.String(), Type.Null()], { description: 'null for a dry run' }),
  dryRun: Type.Boolean(),
  summary: Type.String(),
  operation: OperationRecord,
  warnings: Warnings,
});

export const RebalanceMove = Type.Object({
  group: Type.String(),
  from: Type.String(),
  to: Type.String(),
  reason: Type.Union([Type.Enum(['priority', 'bound', 'anti-affinity']), Type.Null()], {
    description:
      'another has a higher priority, the holder has more than its share, or groups that should be apart are not; null: accepted before',
  }),
  operation: Type.Union([Type.String(), Type.Null()], {
    description: 'null for a dry run, and where it was not accepted',
  }),
  problem: Type.Union([Type.String(), Type.Null()], { description: 'why it was not accepted' }),
});

export const RebalanceResult = Type.Object({
  dryRun: Type.Boolean(),
  summary: Type.String(),
  moves: Type.Array(RebalanceMove, { description: 'each is an operation of its own' }),
  bound: Type.Integer({ description: 'a fair share of the weights of all groups' }),
  load: Type.Array(
    Type.Object({ director: Type.String(), before: Type.Number(), after: Type.Number() }),
    { description: 'weights of the groups held, now and after the moves' },
  ),
  warnings: Warnings,
});

export const Event = Type.Object({
  id: Type.String(),
  revision: Type.Integer(),
  event: EventRecord,
});
export const EventList = Type.Object({ events: Type.Array(Event) });

/** What was set to 0, or would be, on this director. */
export const ZeroResult = Type.Object({
  dryRun: Type.Boolean(),
  summary: Type.String(),
  director: Type.String(),
  services: Type.Integer({ description: 'IPVS services; 0 for a dry run' }),
  event: Type.Union([Type.String(), Type.Null()], { description: 'id of the audit event' }),
});

export const ProbeResult = Type.Object({
  status: Type.Enum(['ok', 'failed']),
  reasons: Type.Array(Type.String(), { description: 'why not' }),
});

export const OwnerResult = Type.Object({
  group: Type.String(),
  director: Type.Optional(Type.String({ description: 'this one; not said without a token' })),
  holds: Type.Boolean({ description: 'holding, and inside the deadline' }),
});

export type ZeroResult = Static<typeof ZeroResult>;
export type ProbeResult = Static<typeof ProbeResult>;
export type ChangeResult = Static<typeof ChangeResult>;
export type DocumentChange = Static<typeof DocumentChange>;
export type ConfigDocument = Static<typeof ConfigDocument>;
export type ConfigResult = Static<typeof ConfigResult>;
export type ConfigDiff = Static<typeof ConfigDiff>;
export type Operation = Static<typeof Operation>;
export type OperationAccepted = Static<typeof OperationAccepted>;
export type RebalanceMove = Static<typeof RebalanceMove>;
export type RebalanceResult = Static<typeof RebalanceResult>;
export type Event = Static<typeof Event>;
