/**
 * The last look before anything is done in a group's name: what belongs to an older epoch than
 * something done already is refused (invariant I2). Silencing is never refused.
 */
import type { Epoch, GroupId } from '../model/ids.ts';
import type { Log } from '../ports/log.ts';

/** What carries an epoch. */
export type FencedOperation = 'arm' | 'open' | 'announce' | 'notify';

export type EpochFence = {
  /** False, counted and logged: the epoch is unknown, or lower than one that was admitted before. */
  admit(group: GroupId, epoch: Epoch | null, operation: FencedOperation): boolean;
  /** Since the start. */
  refused(): number;
};

export function createEpochFence(ports: { readonly log: Log }): EpochFence {
  const highest = new Map<GroupId, Epoch>();
  let refused = 0;
  return {
    admit: (group, epoch, operation) => {
      const last = highest.get(group);
      if (epoch !== null && (last === undefined || epoch >= last)) {
        highest.set(group, epoch);
        return true;
      }
      refused++;
      ports.log.error(
        { vipGroup: group, epoch, last: last ?? null, operation },
        'operation.refused',
      );
      return false;
    },
    refused: () => refused,
  };
}
