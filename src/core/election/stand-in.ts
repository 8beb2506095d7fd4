/**
 * Who speaks for a group in the place of its holder by the record, and since when nobody in reach has the
 * store (design 4.10). A stand-in's heartbeats name the group with the epoch of the record that it stands under.
 */
import {
  type DirectorId,
  epochOf,
  type GroupId,
  type MonoMs,
  type Revision,
} from '../../model/ids.ts';
import type { ScopeRecord } from '../../model/records.ts';
import { type Draft, rankingOf } from './draft.ts';
import { isLastResort, myObstacle } from './placement.ts';
import { isSegmentAllowed } from './scope.ts';
import { waitMs } from './timing.ts';

/** A holder that is silent leaves this director to stand in for it, where the document lets it. */
export const mayStandIn = (draft: Draft): boolean => isSegmentAllowed(draft);

/** What keeps this director from standing in for a group, whoever else speaks, in words; null: nothing. */
export function standInObstacle(draft: Draft, id: GroupId): string | null {
  const { state, config, now } = draft;
  const group = config.groupsById.get(id);
  if (group === undefined) return 'not in the spec';
  const isNamed = config.directors.some((one) => one.id === config.me);
  if (!isNamed || group.priorities?.has(config.me) === false) return 'not a candidate by the spec';
  if (config.isolation === 'release') return 'isolation: release';
  if (!mayStandIn(draft)) return 'isolation: gateway is not in etcd yet for this director';
  const obstacle = myObstacle(state, group, now, config.me);
  return isLastResort(obstacle) ? null : obstacle;
}

/** Somebody in this cluster goes on without the store, or may still do: also one whose scope record somebody deleted. */
export function isSegmentUsed({
  config,
  state,
}: {
  readonly config: Pick<Draft['config'], 'isolation'>;
  readonly state: Pick<Draft['state'], 'view'>;
}): boolean {
  if (config.isolation === 'gateway') return true;
  const { scopes, sessions } = state.view;
  for (const { value } of scopes.values()) if (value?.isolation === 'gateway') return true;
  for (const [director, { value }] of sessions)
    if (value !== null && (scopes.get(director)?.value ?? null) === null) return true;
  return false;
}

/**
 * When the store, by itself or through others, has been silent for the D' of that scope, and for longer than
 * between a challenge and its kill. Infinity: nobody has asked it since, and a director without groups may not
 * ask it for hours.
 */
export function cutOffAt({ state, config }: Draft, scope: ScopeRecord | null): number {
  const { askedSince, answeredAt, relayedAt } = state;
  if (askedSince === null) return Number.POSITIVE_INFINITY;
  const { roundMs } = config.timing;
  const heardAt = Math.max(answeredAt, relayedAt ?? Number.NEGATIVE_INFINITY);
  return Math.max(heardAt + waitMs(scope, config.timing), askedSince) + 2 * roundMs;
}

/** It answers this director, as far as is known: what was asked of it last is not overdue. */
export const isStoreThere = ({ state, config, now }: Draft): boolean =>
  state.askedSince === null || now < state.askedSince + 2 * config.timing.roundMs;

export function isCutOff(draft: Draft): boolean {
  const { state, config, now } = draft;
  if (!mayStandIn(draft)) return false;
  return now >= cutOffAt(draft, state.view.scopes.get(config.me)?.value ?? null);
}

/** A gateway has answered this director lately: without one it opens nothing, and keeps nobody from it. */
export const isGatewaySeen = ({ state, config, now }: Draft): boolean =>
  state.gatewaySeenAt !== null && now < state.gatewaySeenAt + config.timing.holdMs;

/** Another director that is heard to speak for the group though the record names somebody else; null: nobody. */
export function standInOf(draft: Draft, group: GroupId): DirectorId | null {
  const record = draft.state.view.owners.get(group);
  const holder = record?.value?.director;
  if (record === undefined || holder === undefined) return null;
  return voiceUnder(draft, group, { rev: record.rev, director: holder });
}

/** The same, or who stood in under the record before: it may not know yet that there is another one. */
export function lateStandInOf(draft: Draft, group: GroupId): DirectorId | null {
  const { former = null } = draft.state.ownerSeenAt.get(group) ?? {};
  return standInOf(draft, group) ?? (former === null ? null : voiceUnder(draft, group, former));
}

/** Whoever names the group with the epoch of a record that names another director, and is heard now. */
function voiceUnder(
  { state, config, now }: Draft,
  group: GroupId,
  record: { readonly rev: Revision; readonly director: string | null },
): DirectorId | null {
  const holder = state.view.owners.get(group)?.value?.director;
  for (const [director, heard] of state.heard) {
    if (director === config.me || director === record.director || director === holder) continue;
    if (heard.at + config.timing.suspectMs <= now) continue;
    if (heard.epochOf(group) === epochOf(record.rev)) return director;
  }
  return null;
}

/** This director stands in for the group's holder, and its kernel speaks. */
export function isStandIn({ state }: Draft, group: GroupId): boolean {
  const holding = state.holdings.get(group);
  return holding?.kind === 'open' && holding.right === 'segment';
}

/** When the group's holder was last heard to speak, by heartbeat or advertisement. */
export function holderHeardAt({ state }: Draft, group: GroupId, holder: DirectorId): MonoMs | null {
  const heardAt = state.heard.get(holder)?.get(group);
  const advertAt = state.adverts.get(holder)?.get(group);
  if (heardAt === undefined) return advertAt ?? null;
  return advertAt !== undefined && advertAt > heardAt ? advertAt : heardAt;
}

/**
 * Whether this director goes before the asking one, which stands for the group too: only while a gateway
 * answered it lately, for it must be able to win what it denies to the other.
 */
export function isBetterCandidate(draft: Draft, id: GroupId, other: DirectorId): boolean {
  const { state, config } = draft;
  const holding = state.holdings.get(id);
  const group = config.groupsById.get(id);
  if (holding?.kind !== 'owned' || holding.right !== 'segment' || group === undefined) return false;
  if (!isGatewaySeen(draft)) return false;
  const order = rankingOf(draft).of(group);
  const placeOf = (name: DirectorId): number =>
    order.findIndex(({ director }) => director === name);
  return placeOf(config.me) < placeOf(other);
}
