/**
 * Signs of life: what a director's heartbeats named and when, and from when on its silence about a group
 * that it owns is suspicious (design 4.5). Heartbeats mostly name what the last one named. Advertisements of
 * VRRP are not authenticated: they put suspicion off, and not for long.
 */
import type { Timing } from '../../model/cluster.ts';
import {
  ABSENT,
  type DirectorId,
  type Epoch,
  type GroupId,
  type MonoMs,
  monoMs,
  type SessionId,
} from '../../model/ids.ts';
import { type Draft, own, surveyed } from './draft.ts';
import type { ElectionState } from './state.ts';
import { type Survey, standingIn } from './survey.ts';
import { type ElectionView, revOf } from './view.ts';

type Named = readonly { readonly group: GroupId; readonly epoch: Epoch }[];

/** When one director was last heard naming each group. */
export class Heard {
  static readonly nothing = new Heard([], new Set(), new Map(), monoMs(-Infinity));
  /** What the last heartbeat named, and when it came. */
  readonly named: ReadonlySet<GroupId>;
  readonly at: MonoMs;
  /** What only earlier ones named. */
  readonly earlier: ReadonlyMap<GroupId, MonoMs>;
  readonly #told: Named;

  constructor(
    told: Named,
    named: ReadonlySet<GroupId>,
    earlier: ReadonlyMap<GroupId, MonoMs>,
    at: MonoMs,
  ) {
    this.#told = told;
    this.named = named;
    this.earlier = earlier;
    this.at = at;
  }

  /** After one more heartbeat. */
  next(told: Named, at: MonoMs): Heard {
    if (isSame(this.#told, told)) return new Heard(told, this.named, this.earlier, at);
    const named = new Set(told.map(({ group }) => group));
    const earlier = new Map(this.earlier);
    for (const group of this.named) earlier.set(group, this.at);
    for (const group of named) earlier.delete(group);
    return new Heard(told, named, earlier, at);
  }

  /** Groups that were ever named. */
  get size(): number {
    return this.named.size + this.earlier.size;
  }
  get(group: GroupId): MonoMs | undefined {
    return this.named.has(group) ? this.at : this.earlier.get(group);
  }
  /** With which epoch the last heartbeat named the group; null: not at all. */
  epochOf(group: GroupId): Epoch | null {
    if (!this.named.has(group)) return null;
    return this.#told.find((one) => one.group === group)?.epoch ?? null;
  }
  *values(): Generator<MonoMs> {
    if (this.named.size > 0) yield this.at;
    yield* this.earlier.values();
  }
}

function isSame(before: Named, now: Named): boolean {
  if (before.length !== now.length) return false;
  for (let i = 0; i < now.length; i++) if (before[i]?.group !== now[i]?.group) return false;
  return true;
}

export function noteSession(draft: Draft, from: DirectorId, session: SessionId): void {
  const newest = draft.state.newestHeard.get(from);
  if (newest === undefined || session > newest) own(draft, 'newestHeard').set(from, session);
}

/**
 * Somebody was heard who goes by a newer session of this director: another machine has taken its name, and by that
 * name it may do what the older one promises not to. Etcd tells it to nobody who has lost it.
 */
export const isSupplanted = ({ state }: Draft, director: DirectorId, session: SessionId): boolean =>
  (state.newestHeard.get(director) ?? session) > session;

/** When silence about this group becomes suspicion: sooner when its shown lease ended; 0: its session is missing. */
export function suspectAt(draft: Draft, director: DirectorId, group: GroupId): number {
  const { state, config } = draft;
  const silentAt = silentByHeartbeatsAt(draft, director, group);
  const advertAt = state.adverts.get(director)?.get(group);
  if (advertAt === undefined || silentAt === 0) return silentAt;
  const { suspectMs } = config.timing;
  const heardAt = heardOf(draft, director, group);
  return Math.max(silentAt, Math.min(advertAt + suspectMs, heardAt + ADVERT_WEIGHT * suspectMs));
}

/** The same without advertisements; 0: its session is missing, whatever is heard. */
function silentByHeartbeatsAt(draft: Draft, director: DirectorId, group: GroupId): number {
  const { state, config } = draft;
  if (standingIn(surveyed(draft), group).kind === 'session-missing') return 0;
  const patience = patienceMs(config.timing, hasLeaseEnded(state.view, group));
  return heardOf(draft, director, group) + patience;
}

/** When it was last heard naming the group, or began to own it. */
function heardOf({ state, now }: Draft, director: DirectorId, group: GroupId): number {
  const seenAt = state.ownerSeenAt.get(group)?.at ?? now;
  return Math.max(seenAt, state.heard.get(director)?.get(group) ?? seenAt);
}

/** So many times `suspectMs` after the last heartbeat advertisements count no more. */
const ADVERT_WEIGHT = 3;

export function onAdvert(draft: Draft, from: DirectorId, group: GroupId): void {
  const { state, now } = draft;
  own(draft, 'adverts').set(from, new Map(state.adverts.get(from)).set(group, now));
}

function hasLeaseEnded(view: ElectionView, group: GroupId): boolean {
  const lease = view.leases.get(group);
  return lease !== undefined && lease.rev === ABSENT && lease.asOf > revOf(view.owners, group);
}

/** A holder that is heard is not suspect, whatever became of its lease: its next heartbeat may be late a little. */
const patienceMs = ({ suspectMs, heartbeatMs }: Timing, hasLeaseEnded: boolean): number =>
  hasLeaseEnded ? Math.min(suspectMs, 1.5 * heartbeatMs) : suspectMs;

/**
 * What the silence of one director is measured by: the same for all its heartbeats, as long as they name
 * the same and no record changes.
 */
export type Listening = {
  readonly survey: Survey;
  readonly ownerSeenAt: ElectionState['ownerSeenAt'];
  readonly leases: ElectionView['leases'];
  readonly timing: Timing;
  readonly named: Heard['named'];
  readonly earlier: Heard['earlier'];
  /** Soonest suspicion about a group that the heartbeats do not name. */
  readonly unnamedAt: number;
  /** Since when the owner of the group that they name is known, the earliest; with and without its lease. */
  readonly seenAt: number;
  readonly endedSeenAt: number;
};

/**
 * The soonest `suspectAt` of the groups that the director owns by the records; Infinity for none. What is still to come
 * by the heartbeats alone is told without a look at each group's advertisements, which can only put it off.
 */
export function firstSuspectAt(draft: Draft, director: DirectorId): number {
  const { state } = draft;
  const at = firstSilentAt(draft, director);
  if (at > draft.now || !state.adverts.has(director)) return at;
  const groups = surveyed(draft).owned.get(director) ?? [];
  return Math.min(...groups.map((group) => suspectAt(draft, director, group)));
}

/** The same by heartbeats alone. */
function firstSilentAt(draft: Draft, director: DirectorId): number {
  const { state, config } = draft;
  const heard = state.heard.get(director) ?? Heard.nothing;
  let known = state.listening.get(director);
  if (known === undefined || !isCurrent(draft, known, heard)) {
    known = listen(draft, director, heard);
    own(draft, 'listening').set(director, known);
  }
  return Math.min(
    known.unnamedAt,
    Math.max(known.seenAt, heard.at) + patienceMs(config.timing, false),
    Math.max(known.endedSeenAt, heard.at) + patienceMs(config.timing, true),
  );
}

const isCurrent = (draft: Draft, known: Listening, heard: Heard): boolean =>
  known.survey === surveyed(draft) &&
  known.ownerSeenAt === draft.state.ownerSeenAt &&
  known.leases === draft.state.view.leases &&
  known.timing === draft.config.timing &&
  known.named === heard.named &&
  known.earlier === heard.earlier;

function listen(draft: Draft, director: DirectorId, { named, earlier }: Heard): Listening {
  const { state, config } = draft;
  let unnamedAt = Number.POSITIVE_INFINITY;
  let seenAt = Number.POSITIVE_INFINITY;
  let endedSeenAt = Number.POSITIVE_INFINITY;
  const survey = surveyed(draft);
  for (const group of survey.owned.get(director) ?? []) {
    const at = state.ownerSeenAt.get(group)?.at ?? draft.now;
    const isMissing = standingIn(survey, group).kind === 'session-missing';
    if (isMissing || !named.has(group))
      unnamedAt = Math.min(unnamedAt, silentByHeartbeatsAt(draft, director, group));
    else if (hasLeaseEnded(state.view, group)) endedSeenAt = Math.min(endedSeenAt, at);
    else seenAt = Math.min(seenAt, at);
  }
  const { view, ownerSeenAt } = state;
  const inputs = { survey, ownerSeenAt, leases: view.leases, named, earlier };
  return { ...inputs, timing: config.timing, unnamedAt, seenAt, endedSeenAt };
}
