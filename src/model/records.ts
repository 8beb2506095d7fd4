/** The values behind the keys (design 3), each with a version; external data until a schema has parsed it. */
import Type from 'typebox';
import type { Static } from 'typebox';
import { Compile, type Validator } from 'typebox/compile';
import Value from 'typebox/value';
import { err, messageOf, ok, type Result } from '../lib/result.ts';
import { NAME_PATTERN } from './ids.ts';

const Version = Type.Literal(1);
const Name = Type.String({ pattern: NAME_PATTERN });
const RevisionNumber = Type.Integer({ minimum: 0 });
const Text = Type.String({ maxLength: 4096 });

/** `spec`: the operator's document as given; parsed again by every reader. */
const PlainSpecRecord = Type.Object({
  v: Version,
  document: Type.Unknown(),
  by: Text,
  at: Text,
});

/**
 * The same where the document is long: its JSON, as zlib packs it (RFC 1950), in base64. Readers that know
 * version 1 alone refuse it, and stay with the document that they have.
 */
const PackedSpecRecord = Type.Object({
  v: Type.Literal(2),
  packed: Type.String(),
  /** Of the JSON. */
  bytes: Type.Integer({ minimum: 0 }),
  by: Text,
  at: Text,
});

export const SpecRecord = Type.Union([PlainSpecRecord, PackedSpecRecord]);

/** `run/session/<director>`. Session id = mod revision of the record that opened it. */
export const SessionRecord = Type.Object({
  v: Version,
  state: Type.Union([Type.Literal('open'), Type.Literal('broken'), Type.Literal('closed')]),
  /** Kernel's boot id and network namespace: same values mean the same gate. */
  boot: Text,
  namespace: Text,
  machine: Text,
  /** Random per life of the process: tells my own ambiguous write from another's. */
  nonce: Text,
  /** Who broke it. */
  by: Type.Optional(Name),
  address: Text,
  /**
   * Session id where a new process of the same kernel goes on with the session of the former one;
   * 0: the session began with this record, its id is the record's mod revision.
   */
  id: RevisionNumber,
});

/** `run/owner/<group>`. Epoch = mod revision. `director: null` is a released group. */
export const OwnerRecord = Type.Object({
  v: Version,
  director: Type.Union([Name, Type.Null()]),
  session: RevisionNumber,
  /** Former holders that must have shut before the owner opens (planned handover). */
  pending: Type.Array(
    Type.Object({ director: Name, session: RevisionNumber, epoch: RevisionNumber }),
  ),
  /** True: put in the place of a missing record; D' must pass before a claim. */
  vacant: Type.Boolean(),
  reason: Text,
});

/** `run/scope/<director>`: what others must wait for. Written before D grows, after it shrinks. */
export const ScopeRecord = Type.Object({
  v: Version,
  holdMs: Type.Integer({ minimum: 1 }),
  slackMs: Type.Integer({ minimum: 0 }),
  driftMargin: Type.Number({ minimum: 0 }),
  session: RevisionNumber,
  /** What it does without any evidence: others probe the network before they open what was its. Absent: release. */
  isolation: Type.Optional(Type.Union([Type.Literal('gateway'), Type.Literal('release')])),
  /** Of the session that it was written with: it tells whose that was where the session record is gone. */
  machine: Type.Optional(Text),
  /** Whom the director asks for promises; nobody else may accuse it, but everybody where there are none. */
  peers: Type.Array(Name),
});

/** `run/challenge/<director>`; `session` is the mod revision of the session record in doubt. */
export const ChallengeRecord = Type.Object({ v: Version, by: Name, session: RevisionNumber });

/** `run/lease/<group>`: for people and as a hint, on an etcd lease. Evidence of nothing. */
export const LeaseRecord = Type.Object({ v: Version, holder: Name, epoch: RevisionNumber });

/** `run/report/<director>`, on the director's lease; advice only. */
export const ReportRecord = Type.Object({
  v: Version,
  version: Text,
  address: Text,
  session: RevisionNumber,
  startedAt: Text,
  specRevision: RevisionNumber,
  /** Groups this director could hold now. */
  eligible: Type.Array(Name),
  /** Those of them that it could take at once without a packet lost. */
  ready: Type.Array(Name),
  /** What its tracks add to its priority: group → sum, where that is not 0. */
  bonus: Type.Record(Type.String(), Type.Integer()),
  /** Why not, for the others: group → reason. */
  ineligible: Type.Record(Type.String(), Text),
  gate: Text,
  ipvs: Type.Object({ available: Type.Boolean(), detail: Text }),
  problems: Type.Array(Text),
  /** Addresses that it sends VRRP advertisements from; absent where it sends none. */
  vrrp: Type.Optional(Type.Array(Text)),
  /** MAC addresses that it may forward from; absent in reports of older agents. */
  macs: Type.Optional(Type.Array(Text)),
});

/** `run/vote/<check>/<director>`. */
export const VoteRecord = Type.Object({
  v: Version,
  up: Type.Boolean(),
  since: Text,
  detail: Text,
  /** What was seen before the vote, for people; the latest last. */
  seen: Type.Optional(
    Type.Array(
      Type.Object({
        up: Type.Boolean(),
        detail: Text,
        times: Type.Integer({ minimum: 1 }),
        ms: Type.Number({ minimum: 0 }),
      }),
      { maxItems: 8 },
    ),
  ),
  /** What the target says of its weight; absent: nothing. */
  weight: Type.Optional(
    Type.Union([
      Type.Object({ kind: Type.Literal('set'), weight: Type.Integer({ minimum: 0 }) }),
      Type.Object({ kind: Type.Literal('add'), by: Type.Number() }),
      Type.Object({ kind: Type.Literal('percent'), percent: Type.Number({ minimum: 0 }) }),
    ]),
  ),
});

/** `admin/drain/<director>`. */
export const DrainRecord = Type.Object({ v: Version, by: Text, reason: Text, at: Text });

/**
 * `admin/confirm-dead/<director>`: an operator has seen that the director is off, where nobody is left who may
 * judge it (design 4.9). About one session only: whoever writes the session record again deletes it.
 */
export const ConfirmDeadRecord = Type.Object({
  v: Version,
  /** Mod revision of the session record that is meant; about any other one it says nothing. */
  session: RevisionNumber,
  by: Text,
  reason: Text,
  at: Text,
});

/** `admin/real/<service>/<rs>`. */
export const RealOverrideRecord = Type.Object({
  v: Version,
  state: Type.Union([Type.Literal('ready'), Type.Literal('drain'), Type.Literal('maint')]),
  weight: Type.Union([Type.Integer({ minimum: 0, maximum: 0x7fff_ffff }), Type.Null()]),
  /** Of a drain; 0: as long as it takes. Absent: as the service says. */
  deadlineMs: Type.Optional(Type.Integer({ minimum: 0 })),
  by: Text,
  reason: Text,
  at: Text,
});

export const OPERATION_STATES = ['pending', 'running', 'succeeded', 'failed'] as const;

/** `admin/switchover/<group>`: the newest operation of the group, so that two are not accepted at once. */
export const SwitchoverRecord = Type.Object({ v: Version, operation: Text });

/** `admin/operation/<id>`. */
export const OperationRecord = Type.Object({
  v: Version,
  kind: Type.Union([Type.Literal('switchover'), Type.Literal('rebalance')]),
  group: Name,
  /** Guard against a stale view: the holder the operator believes in. */
  from: Type.Union([Name, Type.Null()]),
  to: Type.Union([Name, Type.Null()]),
  by: Text,
  reason: Text,
  at: Text,
  state: Type.Enum([...OPERATION_STATES]),
  steps: Type.Array(Type.Object({ at: Text, text: Text })),
  result: Type.Union([Text, Type.Null()]),
});

export const EVENT_SEVERITIES = ['info', 'warn', 'error'] as const;

/** `log/event/<ulid>`. */
export const EventRecord = Type.Object({
  v: Version,
  at: Text,
  director: Name,
  severity: Type.Enum([...EVENT_SEVERITIES]),
  /** `noun.past-participle`, e.g. `holder.gained`. */
  kind: Text,
  subject: Text,
  message: Text,
  reason: Type.Union([Text, Type.Null()]),
  epoch: Type.Union([RevisionNumber, Type.Null()]),
  by: Type.Union([Text, Type.Null()]),
});

export type SpecRecord = Static<typeof SpecRecord>;
export type SessionRecord = Static<typeof SessionRecord>;
export type OwnerRecord = Static<typeof OwnerRecord>;
export type ScopeRecord = Static<typeof ScopeRecord>;
export type ChallengeRecord = Static<typeof ChallengeRecord>;
export type LeaseRecord = Static<typeof LeaseRecord>;
export type ReportRecord = Static<typeof ReportRecord>;
export type VoteRecord = Static<typeof VoteRecord>;
export type DrainRecord = Static<typeof DrainRecord>;
export type ConfirmDeadRecord = Static<typeof ConfirmDeadRecord>;
export type RealOverrideRecord = Static<typeof RealOverrideRecord>;
export type OperationRecord = Static<typeof OperationRecord>;
export type EventRecord = Static<typeof EventRecord>;

/** Compiled once a schema: every change of the store is checked, seventy times faster than by interpretation. */
const checkers = new WeakMap<Type.TSchema, Validator>();

function checkerOf(schema: Type.TSchema): Validator {
  const known = checkers.get(schema);
  if (known !== undefined) return known;
  const compiled = Compile(schema);
  checkers.set(schema, compiled);
  return compiled;
}

/** Parses a stored value; a value that does not fit is reported, never guessed. */
export function parseRecord<S extends Type.TSchema>(
  schema: S,
  text: string,
): Result<Static<S>, string> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return err(`not JSON: ${messageOf(error)}`);
  }
  if (checkerOf(schema).Check(value)) return ok(value as Static<S>);
  const first = [...Value.Errors(schema, value)][0];
  return err(
    first === undefined ? 'does not fit its schema' : `${first.instancePath}: ${first.message}`,
  );
}

export const formatRecord = (record: unknown): string => JSON.stringify(record);

/** For readers that parse any kind of record, without knowing the schema library. */
export type RecordSchema = Type.TSchema;
export type RecordOf<S extends RecordSchema> = Static<S>;
