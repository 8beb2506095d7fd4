/** What the election tells people, as events. */
import type { HoldReason } from '../../model/decision.ts';
import type { DirectorId, Epoch, GroupId } from '../../model/ids.ts';

/** A transition, for log, event list and metrics. */
export type ElectionNotice = {
  readonly severity: 'info' | 'warn' | 'error';
  /** `noun.past-participle`. */
  readonly kind:
    | 'session.opened'
    | 'session.lost'
    | 'session.closed'
    | 'session.refused'
    | 'holder.gained'
    | 'holder.opened'
    | 'holder.released'
    | 'holder.lost'
    | 'holder.lapsed'
    | 'holder.challenged'
    | 'holder.killed'
    | 'challenge.withdrawn'
    | 'challenge.answered'
    | 'handover.started'
    | 'handover.muted'
    | 'handover.verified'
    | 'handover.unverified'
    | 'handover.completed'
    | 'handover.failed'
    | 'session.adopted'
    | 'session.frozen'
    | 'owner.missing'
    | 'basis.changed'
    | 'holder.yielded'
    | 'candidate.started'
    | 'vips.answered'
    | 'promise.refused'
    | 'holder.unaccusable'
    | 'director.unaccusable'
    | 'death.denied'
    | 'record.unreadable';
  readonly group: GroupId | null;
  readonly director: DirectorId | null;
  readonly epoch: Epoch | null;
  readonly reason: HoldReason | null;
  readonly message: string;
};
