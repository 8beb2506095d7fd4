/** The D in use, and the rhythm of rounds that goes with it. */
import type { Draft } from './draft.ts';
import { usableHoldMs, wantedHoldMs } from './timing.ts';

/** D that a round may arm by what the others know of it; 0: they know of none. */
export const usable = ({ state, config }: Draft): number =>
  usableHoldMs(
    state.view,
    config.me,
    wantedHoldMs(config.timing, state.isFreezing),
    state.scopeInDoubt,
  );

/**
 * R, in ms: from the start of a round to that of the next one, and from the last answer to the questions to the peers.
 * Where D is raised, rounds keep their share of the shorter one that is in use, until the scope record and then an
 * arming have followed: else the VIPs would fall silent between two rounds.
 */
export function paceMs(draft: Draft): number {
  const { roundMs, holdMs } = draft.config.timing;
  const inUseMs = Math.min(usable(draft) || holdMs, draft.state.armedHoldMs ?? holdMs);
  return roundMs * Math.min(1, inUseMs / holdMs);
}
