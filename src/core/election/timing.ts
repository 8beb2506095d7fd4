/** The inequalities of design 4 and 5, each in one place. */
import type { Timing } from '../../model/cluster.ts';
import { ABSENT, type DirectorId } from '../../model/ids.ts';
import type { ScopeRecord } from '../../model/records.ts';
import type { ElectionView } from './view.ts';

/** Rank r waits r × this before it claims, so that the intended heir wins without a coordinator. */
export const RANK_DELAY_MS = 30;

/**
 * The same for a vacant group: nobody waits for it, and each director counts D' from when it saw the
 * marker, so the best one gets more room.
 */
export const VACANT_RANK_DELAY_MS = 1000;

/** A challenge that was answered, or failed, is not repeated before this. */
export const CHALLENGE_REST_MS = 1000;

/** Rounds that a lost address asks for start no closer together. */
export const LOST_ADDRESS_PACE_MS = 100;

/** A draining director claims what nobody else has claimed for so long: a drain never ends traffic. */
export const DRAINED_CLAIM_MS = 1000;

/** After an ambiguous or failed txn. */
export const RETRY_MS = 200;

/** Assumed for a director whose scope record was deleted by hand: longer than any sensible D. */
export const UNKNOWN_SCOPE_HOLD_MS = 60_000;

/**
 * A director that was given a group is not offered it again for this long: its report may be older
 * than its trouble, and two unfit directors must not toss a group to and fro.
 */
export const OFFER_REST_MS = 5000;

/** A director whose kernel refused a group's addresses is no candidate for this long. */
export const REFUSED_MS = 30_000;

/** A holder told to hand over waits at most this long for its successor to be prepared, then mutes. */
export const PREPARE_WAIT_MS = 300;

/** A former holder forwards for this long after the successor's proof: frames may be under way. */
export const LINGER_MS = 100;

/** Without proof it forwards for this long after the successor was heard to speak. */
export const UNVERIFIED_MS = 1000;

/** Without any word of the successor it forwards for this long after it went mute. */
export const UNHEARD_MS = 3000;

/** The former holder's word that an operation is under way may come after the group itself by so much. */
export const WORD_WAIT_MS = 2000;

/** A director that stops waits so long for a successor to be ready: it has just been started, as a rule. */
export const STOP_READY_WAIT_MS = 1500;

/** An operation waits for its target to be ready for this long. */
export const READY_WAIT_MS = 10_000;

/**
 * D while one process of a director ends and the next one begins: a planned restart keeps the VIPs
 * speaking for so long without any agent.
 */
export const FREEZE_HOLD_MS = 10_000;

/** After so many rounds without arming, or without an answer, challenges are no longer answered. */
export const UNARMED_LIMIT = 3;

/** etcd's default limit is 128 operations a txn; the rest is room for sessions and challenges. */
export const GROUPS_PER_TXN = 100;

/**
 * D' = D(1+m) + δ: how long others wait after their challenge was acknowledged. The greater of the
 * waiter's and the challenged director's own margins count.
 */
export function waitMs(scope: ScopeRecord | null, timing: Timing): number {
  const hold = scope?.holdMs ?? UNKNOWN_SCOPE_HOLD_MS;
  const margin = Math.max(scope?.driftMargin ?? 0, timing.driftMargin);
  const slack = Math.max(scope?.slackMs ?? 0, timing.slackMs);
  return hold * (1 + margin) + slack;
}

/** The longest D' of anybody who may hold: for a group of which nobody knows the last holder. */
export function longestWaitMs(view: ElectionView, timing: Timing): number {
  let longest = waitMs(
    { v: 1, holdMs: timing.holdMs, slackMs: 0, driftMargin: 0, session: 0, peers: [] },
    timing,
  );
  for (const known of view.scopes.values())
    if (known.rev !== ABSENT) longest = Math.max(longest, waitMs(known.value, timing));
  for (const [director, { value }] of view.sessions)
    if (value?.state === 'open' && (view.scopes.get(director)?.value ?? null) === null)
      longest = Math.max(longest, waitMs(null, timing));
  return longest;
}

/** The D that this director wants: the spec's, or the long one while it hands over to a new process. */
export const wantedHoldMs = (timing: Timing, isFreezing: boolean): number =>
  isFreezing ? Math.max(FREEZE_HOLD_MS, timing.holdMs) : timing.holdMs;

/**
 * D that may be used now: never more than the scope record tells the others to wait for, nor more
 * than one of my writes that may commit yet would tell them.
 */
export function usableHoldMs(
  view: ElectionView,
  me: DirectorId,
  wantedMs: number,
  inDoubt: { readonly holdMs: number } | null,
): number {
  const scope = view.scopes.get(me)?.value;
  if (scope === null || scope === undefined) return 0;
  return Math.min(scope.holdMs, wantedMs, inDoubt?.holdMs ?? wantedMs);
}

/** P: an answer later than this after the permit arms nothing; F = D − P stays for the gate. */
export const permitMsOf = (holdMs: number, timing: Timing): number =>
  Math.min(timing.permitMs, holdMs / 4);
