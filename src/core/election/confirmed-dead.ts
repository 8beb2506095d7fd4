/**
 * Deaths that only an operator can tell (design 4.9): of a director whose scope names nobody that is left.
 * His word lets others challenge it, and no more; the director itself, if it lives, takes the word back.
 */
import { ABSENT, type DirectorId, type MonoMs } from '../../model/ids.ts';
import { alarmOnce, type Draft, isBusy, learn, notice, request } from './draft.ts';
import { isInScope } from './scope.ts';
import type { ElectionConfig, ElectionState, TxnReply, TxnRequest } from './state.ts';
import type { Held } from './survey.ts';
import { revOf } from './view.ts';

type Hearing = {
  readonly state: ElectionState;
  readonly config: ElectionConfig;
  readonly now: MonoMs;
};

/** A director that nobody waits for is given more time than a holder. */
const ABSENT_MS = 3000;

/** Since when the director is not heard: this one has to have been there to hear it. */
export function unheardSince({ state }: Pick<Hearing, 'state'>, director: DirectorId): number {
  const sinceAt = state.session.kind === 'open' ? state.session.since : state.startedAt;
  return Math.max(state.lastHeard.get(director) ?? sinceAt, sinceAt);
}

/** When it counts as absent. */
export const absentAt = (hearing: Omit<Hearing, 'now'>, director: DirectorId): number =>
  unheardSince(hearing, director) + Math.max(ABSENT_MS, 6 * hearing.config.timing.suspectMs);

/** Nobody that is left may judge it, as far as can be told here: an operator has to. */
export function needsWord(hearing: Hearing, director: DirectorId): boolean {
  const { state, config, now } = hearing;
  if (isInScope(state.view, director, config.me)) return false;
  const peers = state.view.scopes.get(director)?.value?.peers ?? [];
  return !peers
    .map((name) => name as DirectorId)
    .some((name) => state.lastHeard.has(name) && now < absentAt(hearing, name));
}

/** What an accusation rests on where the scope does not allow it: the operator's word, as it stands. */
export function wordsAgainst(
  { state, config }: Draft,
  director: DirectorId,
): TxnRequest['compares'] {
  if (isInScope(state.view, director, config.me)) return [];
  const modRevision = revOf(state.view.confirmedDead, director);
  return [{ key: config.keys.confirmDead(director), modRevision }];
}

/** It has not taken this director into its scope: it was not asked, and must not judge. */
export function tellUnaccusable(
  draft: Draft,
  director: DirectorId,
  { owned, pending }: Held,
): void {
  if (!needsWord(draft, director)) return;
  const { me } = draft.config;
  const isHolder = owned.length + pending.length > 0;
  const session = revOf(draft.state.view.sessions, director);
  if (!alarmOnce(draft, isHolder ? `stranger:${director}` : `bystander:${director}:${session}`))
    return;
  const lost = isHolder ? 'only who is named there may take its groups' : 'it cannot be left out';
  const text = `not heard, and its scope record does not name ${me}: ${lost}. Once it is surely off: leasehold director confirm-dead ${director} --reason "powered off"`;
  if (isHolder) notice(draft, 'holder.unaccusable', 'error', text, { director });
  else notice(draft, 'director.unaccusable', 'warn', text, { director });
}

/** Called dead, and alive: the word goes before this director may need its peers again. */
export function denyDeath(draft: Draft): void {
  const { state, config } = draft;
  const { keys, me } = config;
  const rev = revOf(state.view.confirmedDead, me);
  if (rev === ABSENT || state.session.kind !== 'open' || state.isFrozen) return;
  if (isBusy(draft, SLOT)) return;
  const [word, session] = [keys.confirmDead(me), keys.session(me)];
  request(
    draft,
    SLOT,
    { kind: 'deny-death' },
    {
      compares: [
        { key: word, modRevision: rev },
        { key: session, modRevision: state.session.rev },
      ],
      success: [{ op: 'delete', key: word }],
      failure: [
        { op: 'get', key: word },
        { op: 'get', key: session },
      ],
    },
  );
}

const SLOT = 'deny-death';

export function onDeathDenied(draft: Draft, reply: TxnReply): void {
  if (reply.kind !== 'answered' || !reply.succeeded) return;
  const { me } = draft.config;
  const known = { rev: ABSENT, asOf: reply.revision, value: null };
  learn(draft, [{ of: 'confirm-dead', name: me, known }]);
  const text = 'an operator had confirmed this director dead; it lives, and the word is void';
  notice(draft, 'death.denied', 'error', text, { director: me });
}
