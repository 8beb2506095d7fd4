/** Feeds the metrics that are read off the agent's state, and those that count its transitions. */
import type { ElectionState } from '../core/election/state.ts';
import type { ElectionNotice } from '../core/election/notices.ts';
import { permitMsOf } from '../core/election/timing.ts';
import type { Explanation } from '../core/desired/desired-state.ts';
import type { Timing } from '../model/cluster.ts';
import { type GroupId, type MonoMs, monoMs } from '../model/ids.ts';
import type { Announcer } from '../ports/announcer.ts';
import type { Clock } from '../ports/clock.ts';
import type { Metrics } from '../ports/metrics.ts';
import type { PeerLink } from '../ports/peer-link.ts';
import type { VrrpLink } from '../ports/vrrp-link.ts';

export type Gauges = {
  /** A transition of the election, at the moment it is told. */
  noticed(notice: ElectionNotice, state: Pick<ElectionState, 'heard'>): void;
  measure(input: GaugeInput): void;
};

export type GaugeInput = {
  readonly isStoreConnected: boolean;
  readonly lagMs: number;
  readonly state: ElectionState;
  /** Null before there is a spec. */
  readonly timing: Timing | null;
  readonly groups: readonly { readonly group: GroupId; readonly leaseMs: number | null }[];
  readonly explanations: Iterable<Explanation>;
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
  /** The last sign of life of a holder that this director killed, until its groups are open here. */
  let silentSince: MonoMs | null = null;
  return {
    noticed: ({ kind, reason, director, group }, state) => {
      if (kind === 'holder.lapsed' && group !== null) metrics.holder(group, false, null);
      const step = HANDOVER_STEPS.get(kind);
      if (step !== undefined) metrics.handover(step);
      if (kind === 'holder.gained') metrics.transition('holder', reason ?? 'unknown');
      if (kind === 'holder.released' || kind === 'holder.lost' || kind === 'holder.lapsed')
        metrics.transition('candidate', reason ?? 'unknown');
      if (kind === 'holder.killed' && director !== null) {
        // Who never held anything leaves nothing to take over.
        const heard = [...(state.heard.get(director)?.values() ?? [])];
        silentSince = heard.length === 0 ? null : monoMs(Math.max(...heard));
      }
      if (kind !== 'holder.opened' || silentSince === null) return;
      metrics.takeover((clock.now() - silentSince) / 1000);
      silentSince = null;
    },
    measure: ({ isStoreConnected, lagMs, state, timing, groups, explanations }) => {
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
      for (const [director, heard] of state.heard) {
        const last = Math.max(...heard.values());
        metrics.peer(director, heard.size === 0 ? null : (clock.now() - last) / 1000);
      }
      metrics.forgetRealServers();
      for (const { service, realServer, health, wantedWeight } of explanations)
        metrics.realServer(service, realServer, health !== 'down', wantedWeight ?? 0);
    },
  };
}
