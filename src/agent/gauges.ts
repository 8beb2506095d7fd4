/** Feeds the metrics that are read off the agent's state, and those that count its transitions. */
import type { ElectionState, Holding } from '../core/election/state.ts';
import type { ElectionNotice } from '../core/election/notices.ts';
import { permitMsOf } from '../core/election/timing.ts';
import type { ClusterSpec, Timing } from '../model/cluster.ts';
import { type DirectorId, type GroupId, type MonoMs, monoMs } from '../model/ids.ts';
import type { Announcer } from '../ports/announcer.ts';
import type { Clock } from '../ports/clock.ts';
import type { Metrics } from '../ports/metrics.ts';
import type { PeerLink } from '../ports/peer-link.ts';
import type { VrrpLink } from '../ports/vrrp-link.ts';
import type { MarkState } from './mark-loop.ts';
import type { ReconcileState } from './reconcile-state.ts';
import type { HealthReading } from '../ports/service-reading.ts';
import { readServices } from './service-reading.ts';

export type Gauges = {
  /** A transition of the election, at the moment it is told. */
  noticed(notice: ElectionNotice, state: Pick<ElectionState, 'heard' | 'holdings'>): void;
  measure(input: GaugeInput): void;
};

export type GaugeInput = {
  readonly isStoreConnected: boolean;
  readonly lagMs: number;
  readonly state: ElectionState;
  /** Null before there is a spec. */
  readonly timing: Timing | null;
  readonly groups: readonly { readonly group: GroupId; readonly leaseMs: number | null }[];
  /** Asked again whenever somebody reads the metrics. */
  readonly plane: () => {
    readonly spec: ClusterSpec | null;
    readonly reconcile: ReconcileState;
    readonly marks: MarkState | null;
    readonly health: (realServer: string) => HealthReading | null;
  };
};

const HANDOVER_STEPS: ReadonlyMap<ElectionNotice['kind'], 'started' | 'completed' | 'failed'> =
  new Map([
    ['handover.started', 'started'],
    ['handover.completed', 'completed'],
    ['handover.failed', 'failed'],
  ]);

export function createGauges(ports: {
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly announcer: Pick<Announcer, 'counters'>;
  readonly peerLink: Pick<PeerLink, 'counters'>;
  readonly vrrp?: Pick<VrrpLink, 'counters'>;
}): Gauges {
  const { metrics, clock, announcer, peerLink, vrrp } = ports;
  /** The last sign of life of a holder that this director replaces, until one of its groups is open here. */
  let awaited: { readonly at: MonoMs; readonly isStandIn: boolean } | null = null;
  return {
    noticed: ({ kind, reason, director, group, epoch }, state) => {
      if (kind === 'holder.lapsed' && group !== null) metrics.holder(group, false, null);
      // Without etcd no lease shows it.
      if (kind === 'holder.opened' && reason === 'stood-in' && group !== null)
        metrics.holder(group, true, epoch);
      if (kind === 'vips.answered' && group !== null) metrics.vipsAnswered(group);
      const step = HANDOVER_STEPS.get(kind);
      if (step !== undefined) metrics.handover(step);
      if (kind === 'holder.gained') metrics.transition('holder', reason ?? 'unknown');
      if (kind === 'holder.released' || kind === 'holder.lost' || kind === 'holder.lapsed')
        metrics.transition('candidate', reason ?? 'unknown');
      if ((kind === 'holder.killed' || kind === 'candidate.started') && director !== null) {
        const at = silentSince(director, state);
        awaited = at === null ? null : { at, isStandIn: kind === 'candidate.started' };
      }
      if (kind !== 'holder.opened' || awaited === null) return;
      const { at, isStandIn } = awaited;
      awaited = null;
      // What opens for another reason says that this director's candidacy has ended without an opening.
      if (isStandIn === (reason === 'stood-in')) metrics.takeover((clock.now() - at) / 1000);
    },
    measure: ({ isStoreConnected, lagMs, state, timing, groups, plane }) => {
      metrics.storeConnected(isStoreConnected);
      metrics.eventLoopLag(lagMs / 1000);
      if (timing !== null) {
        const holdMs = state.armedHoldMs ?? timing.holdMs;
        metrics.holdTiming(holdMs / 1000, permitMsOf(holdMs, timing) / 1000);
      }
      const { sent, failed } = announcer.counters();
      metrics.announcements(sent, failed);
      const { malformed, unauthentic, replayed } = peerLink.counters().rejected;
      metrics.peerRejected(malformed, unauthentic, replayed);
      if (vrrp !== undefined) metrics.vrrp(vrrp.counters());
      for (const { group, leaseMs } of groups) metrics.leaseRemaining(group, (leaseMs ?? 0) / 1000);
      metrics.keepGroups(new Set([...groups.map(({ group }) => group), ...state.holdings.keys()]));
      metrics.holdBasis(isSpeaking(state) ? state.basis : null);
      metrics.forgetStandIns();
      for (const { group } of groups) metrics.standIn(group, roleOf(state.holdings.get(group)));
      const seen = plane();
      const directors = seen.spec?.directors.map(({ id }) => id);
      for (const [director, at] of state.lastHeard) {
        const isPeer = directors?.includes(director) !== false;
        metrics.peer(director, isPeer ? (clock.now() - at) / 1000 : null);
      }
      measurePlane(metrics, seen);
      metrics.services(() => readServices(plane()));
    },
  };
}

/**
 * When the director was last heard naming a group; null where there is nothing to take over from it: it never
 * held anything, or this director has all of it already.
 */
function silentSince(
  director: DirectorId,
  { heard, holdings }: Pick<ElectionState, 'heard' | 'holdings'>,
): MonoMs | null {
  const told = heard.get(director);
  if (told === undefined || told.size === 0) return null;
  const groups = [...told.named, ...told.earlier.keys()];
  if (groups.every((group) => holdings.get(group)?.kind === 'open')) return null;
  return monoMs(Math.max(...told.values()));
}

const isSpeaking = ({ holdings }: ElectionState): boolean =>
  [...holdings.values()].some(({ kind }) => kind === 'open');

/** What this director is for a group of another's record. */
function roleOf(holding: Holding | undefined): Parameters<Metrics['standIn']>[1] {
  if (holding?.kind !== 'owned' && holding?.kind !== 'open') return 'none';
  if (holding.right !== 'segment') return 'none';
  return holding.kind === 'open' ? 'stand-in' : 'candidate';
}

function measurePlane(
  metrics: Metrics,
  { reconcile, marks }: ReturnType<GaugeInput['plane']>,
): void {
  const { daemons, foreignDaemons, syncReady, problems, controlProblems } = reconcile;
  const runs = (wanted: 'master' | 'backup'): boolean =>
    (daemons ?? []).some(({ state }) => state === wanted);
  metrics.syncDaemons({ master: runs('master'), backup: runs('backup') }, foreignDaemons.length);
  metrics.forgetGroupSyncs();
  for (const [group, { value, remainingMs }] of syncReady)
    metrics.groupSync(group, value, (remainingMs ?? 0) / 1000);
  const ofMarks = marks === null ? 0 : marks.problems.size + (marks.problem === null ? 0 : 1);
  metrics.ipvsProblems(problems.size + controlProblems.size + ofMarks);
}
