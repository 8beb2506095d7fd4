/**
 * What the election does not remember of stand-ins, kept for people: since when another director speaks in the
 * place of a group's holder, and who refused a candidate's question last, and why.
 */
import type { Candidacies } from '../core/election/candidacy.ts';
import type { RoundState } from '../core/election/state.ts';
import type { DirectorId, GroupId, MonoMs } from '../model/ids.ts';
import type { PeerMessage, RefusalReason } from '../model/peer.ts';
import type { Clock } from '../ports/clock.ts';

export type Refusal = {
  readonly by: DirectorId;
  readonly reason: RefusalReason;
  readonly at: MonoMs;
};

export type StandInBook = {
  /** An answer to the round as it is before the election hears it. */
  heard(from: DirectorId, message: PeerMessage, round: RoundState): void;
  /** To be told of all groups, again and again: a stand-in counts from the first look that saw it. */
  look(groups: readonly GroupId[], candidacies: Pick<Candidacies, 'standInOf'>): void;
  /** The last one that concerned the group, however old. */
  refusalOf(group: GroupId): Refusal | null;
  /** Null: it was not seen to stand in at the last look. */
  sinceOf(group: GroupId, standIn: DirectorId): MonoMs | null;
};

export function createStandInBook(ports: { readonly clock: Pick<Clock, 'now'> }): StandInBook {
  return new Book(ports.clock);
}

type Seen = { readonly director: DirectorId; readonly since: MonoMs };

class Book implements StandInBook {
  readonly #clock: Pick<Clock, 'now'>;
  #refusals = new Map<GroupId, Refusal>();
  #standIns = new Map<GroupId, Seen>();

  constructor(clock: Pick<Clock, 'now'>) {
    this.#clock = clock;
  }

  heard(from: DirectorId, message: PeerMessage, round: RoundState): void {
    if (message.kind !== 'refusal' || round.kind !== 'sent' || round.asked === null) return;
    if (message.round !== round.round || message.sessionRev !== round.sessionRev) return;
    const part = round.asked.parts[message.part];
    if (part?.right !== 'segment') return;
    const refusal = { by: from, reason: message.reason, at: this.#clock.now() };
    for (const { group } of part.groups) this.#refusals.set(group, refusal);
  }

  look(groups: readonly GroupId[], candidacies: Pick<Candidacies, 'standInOf'>): void {
    const standIns = new Map<GroupId, Seen>();
    const refusals = new Map<GroupId, Refusal>();
    for (const group of groups) {
      const refusal = this.#refusals.get(group);
      if (refusal !== undefined) refusals.set(group, refusal);
      const director = candidacies.standInOf(group);
      if (director === null) continue;
      const known = this.#standIns.get(group);
      const isSame = known?.director === director;
      standIns.set(group, isSame ? known : { director, since: this.#clock.now() });
    }
    this.#standIns = standIns;
    this.#refusals = refusals;
  }

  refusalOf(group: GroupId): Refusal | null {
    return this.#refusals.get(group) ?? null;
  }

  sinceOf(group: GroupId, standIn: DirectorId): MonoMs | null {
    const known = this.#standIns.get(group);
    return known?.director === standIn ? known.since : null;
  }
}
