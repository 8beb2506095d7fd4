/** Directors that are not heard, and whether an operator has to say that they are dead (design 4.9). */
import { needsWord, absentAt, unheardSince } from '../core/election/confirmed-dead.ts';
import type { ElectionConfig, ElectionState } from '../core/election/state.ts';
import { isConfirmedDead, openSession } from '../core/election/view.ts';
import type { DirectorId, MonoMs } from '../model/ids.ts';
import type { DirectorStatus } from '../model/status.ts';

export type SilenceInput = {
  readonly me: DirectorId;
  readonly now: MonoMs;
  readonly election: ElectionState;
  readonly config: ElectionConfig | null;
};

/** Undefined where its session is not open, or it is heard. */
export function silenceOf(input: SilenceInput, director: DirectorId): DirectorStatus['silence'] {
  const { election, config, now } = input;
  const session = openSession(election.view, director);
  if (config === null || session === null) return undefined;
  const hearing = { state: election, config, now };
  const isSilent =
    director === input.me ? isAnothers(input, config) : absentAt(hearing, director) <= now;
  if (!isSilent) return undefined;
  const word = election.view.confirmedDead.get(director)?.value ?? null;
  const isWord = word !== null && isConfirmedDead(election.view, director);
  return {
    forMs: Math.round(now - unheardSince(hearing, director)),
    session: session.rev,
    needsWord: needsWord(hearing, director),
    confirmedDead: isWord ? { by: word.by, reason: word.reason, at: word.at } : null,
  };
}

/** Another machine has the session of this name. */
function isAnothers({ me, election }: SilenceInput, { identity }: ElectionConfig): boolean {
  if (election.session.kind === 'open') return false;
  return election.view.sessions.get(me)?.value?.machine !== identity.machine;
}
