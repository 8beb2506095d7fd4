/** Bodies, queries and parameters of the routes. Unknown members are refused: a misspelt `dryRun` must not act. */
import Type from 'typebox';
import type { Static } from 'typebox';
import { NAME_PATTERN } from '../../model/ids.ts';

const closed = { additionalProperties: false } as const;
const Name = Type.String({ pattern: NAME_PATTERN });

export const Reason = Type.String({
  minLength: 1,
  maxLength: 500,
  description: 'why; kept in the audit',
});

export const ReasonBody = Type.Object(
  { reason: Reason },
  { ...closed, examples: [{ reason: 'kernel update' }] },
);

export const DrainBody = Type.Object(
  {
    reason: Reason,
    deadlineMs: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: 31 * 24 * 3600 * 1000,
        description:
          'who is still connected then loses the connection; 0: as long as it takes; default: as the service says',
      }),
    ),
  },
  { ...closed, examples: [{ reason: 'kernel update', deadlineMs: 600_000 }] },
);

export const ConfirmDeadBody = Type.Object(
  {
    reason: Reason,
    session: Type.Optional(
      Type.Integer({
        minimum: 1,
        description: 'guard: refuse unless this is still its session, as the status gives it',
      }),
    ),
  },
  { ...closed, examples: [{ session: 31, reason: 'powered off' }] },
);

export const WeightBody = Type.Object(
  {
    weight: Type.Union([Type.Integer({ minimum: 0, maximum: 0x7fff_ffff }), Type.Null()], {
      description: 'null: back to the weight of the cluster document',
    }),
    reason: Reason,
  },
  { ...closed, examples: [{ weight: 5, reason: 'new machine, warming up' }] },
);

export const SwitchoverBody = Type.Object(
  {
    from: Type.Optional(
      Type.String({
        pattern: NAME_PATTERN,
        description: 'guard: refuse unless this one is the holder',
      }),
    ),
    to: Type.Optional(
      Type.String({ pattern: NAME_PATTERN, description: 'default: the best candidate' }),
    ),
    reason: Reason,
  },
  { ...closed, examples: [{ from: 'd1', to: 'd2', reason: 'replace the network card of d1' }] },
);

export const RebalanceBody = Type.Object(
  { reason: Reason },
  { ...closed, examples: [{ reason: 'd2 is back from its repair' }] },
);

const document = Type.Unknown({ description: 'the cluster document as JSON' });

export const DocumentBody = Type.Object({ document }, closed);

export const ConfigBody = Type.Object(
  {
    document,
    confirmShrink: Type.Optional(
      Type.Boolean({ description: 'apply although much would be removed' }),
    ),
  },
  closed,
);

export const ConfigHeaders = Type.Object({
  'if-match': Type.Optional(
    Type.String({ description: 'ETag of the document that this one replaces' }),
  ),
  'if-none-match': Type.Optional(
    Type.String({ description: '`*`: only where nothing was applied yet' }),
  ),
});

export const IdempotencyHeaders = Type.Object({
  'idempotency-key': Type.Optional(
    Type.String({
      minLength: 1,
      maxLength: 200,
      description: 'the same key gives the same operation',
    }),
  ),
});

export const NoQuery = Type.Object({}, closed);

export const WriteQuery = Type.Object(
  { dryRun: Type.Optional(Type.Boolean({ description: 'check everything, change nothing' })) },
  closed,
);

export const EventsQuery = Type.Object(
  {
    limit: Type.Optional(
      Type.Integer({ minimum: 1, maximum: 1000, description: 'the newest so many; default 100' }),
    ),
  },
  closed,
);

export const OperationsQuery = Type.Object(
  {
    limit: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 1000,
        description: 'the newest so many, and all that are under way; default 100',
      }),
    ),
  },
  closed,
);

export const OwnerQuery = Type.Object({ group: Type.String() }, closed);

export const RealServersQuery = Type.Object({ service: Type.Optional(Type.String()) }, closed);

export const TableQuery = Type.Object(
  {
    service: Type.Optional(
      Type.String({
        maxLength: 128,
        description: 'a virtual service, or one IPVS service such as `tcp 10.90.0.100:80`',
      }),
    ),
  },
  closed,
);

/** Of a listing of connections, where nothing else is asked for. */
export const CONNECTIONS_DEFAULT = 1_000_000;

export const ConnectionsQuery = Type.Object(
  {
    service: Type.Optional(Type.String({ maxLength: 128, description: 'a virtual service' })),
    limit: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 10_000_000,
        description: `at most so many; default ${CONNECTIONS_DEFAULT}`,
      }),
    ),
    templates: Type.Optional(Type.Boolean({ description: 'persistence templates alone' })),
  },
  closed,
);

export const ZeroBody = Type.Object(
  {
    reason: Reason,
    service: Type.Optional(
      Type.String({ maxLength: 128, description: 'a virtual service; default: all of them' }),
    ),
  },
  { ...closed, examples: [{ service: 'web-http', reason: 'before the load test' }] },
);

export const GroupParams = Type.Object({ group: Name });
export const DirectorParams = Type.Object({ director: Name });
export const OperationParams = Type.Object({
  id: Type.String({ pattern: '^[A-Za-z0-9-]{1,64}$' }),
});
export const RealServerParams = Type.Object({
  service: Name,
  realServer: Type.String({
    maxLength: 64,
    description: '`address:port`, IPv6 as `[address]:port`; the address alone where it is unique',
  }),
});

export type ConfirmDeadBody = Static<typeof ConfirmDeadBody>;
export type SwitchoverBody = Static<typeof SwitchoverBody>;
export type RebalanceBody = Static<typeof RebalanceBody>;
