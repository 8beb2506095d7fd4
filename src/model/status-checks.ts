/** What a director tells of the checks of one real server: who votes what, what was seen, and what would change it. */
import Type from 'typebox';
import type { Static } from 'typebox';

const Nullable = <S extends Type.TSchema>(schema: S) => Type.Union([schema, Type.Null()]);

export const CheckRun = Type.Object(
  {
    isUp: Type.Boolean(),
    detail: Type.String({ description: 'what the target did, in words' }),
    times: Type.Integer({ description: 'probes in a row' }),
    latencyMs: Type.Number({ description: 'of the last one' }),
    lastedMs: Nullable(Type.Integer({ description: 'from the first to the last of them' })),
    agoMs: Nullable(Type.Integer({ description: 'since the last one; null: when it voted' })),
  },
  { description: 'probes in a row that said the same' },
);

export const CheckVoter = Type.Object({
  director: Type.String(),
  isHere: Type.Boolean({ description: 'the director that answers' }),
  isUp: Nullable(Type.Boolean({ description: 'null: it has not voted yet' })),
  since: Nullable(Type.String({ description: 'ISO 8601, by its clock' })),
  detail: Nullable(Type.String()),
  seen: Type.Array(CheckRun, {
    description: 'the last ones, latest last; of another director as they were when it voted',
  }),
  contrary: Nullable(
    Type.Integer({
      description: 'probes in a row that contradict its vote; null: known to that director alone',
    }),
  ),
  problem: Nullable(
    Type.String({
      description:
        'why it cannot make the check at the moment; null: it can, or known to that director alone',
    }),
  ),
});

export const CheckReport = Type.Object({
  id: Type.String(),
  kind: Type.String(),
  target: Type.String({ description: 'address and port, or what else is asked' }),
  intervalMs: Type.Integer(),
  timeoutMs: Type.Integer(),
  rise: Type.Integer(),
  fall: Type.Integer(),
  isUp: Type.Boolean({ description: 'the verdict in force on this director' }),
  basis: Type.Enum(['majority', 'kept', 'initial', 'alone']),
  voters: Type.Array(CheckVoter),
  change: Type.Array(Type.String(), {
    description: 'what stands against the verdict, and what would change it, in sentences',
  }),
});

export const CheckReports = Type.Object({
  service: Type.String(),
  realServer: Type.String(),
  director: Type.String({ description: 'who answers' }),
  mode: Nullable(
    Type.Enum(['all', 'any'], {
      description:
        'of several checks: what together says that it is up; null: there is one, or none',
    }),
  ),
  checks: Type.Array(CheckReport),
});

export type CheckRun = Static<typeof CheckRun>;
export type CheckVoter = Static<typeof CheckVoter>;
export type CheckReport = Static<typeof CheckReport>;
export type CheckReports = Static<typeof CheckReports>;
