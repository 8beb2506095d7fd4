/** Metrics that nobody reads. */
import type { Metrics } from '../../src/ports/metrics.ts';

const nothing = (): void => {};

export const silentMetrics: Metrics = {
  holder: nothing,
  transition: nothing,
  roundFinished: nothing,
  leaseRemaining: nothing,
  takeover: nothing,
  eventLoopLag: nothing,
  holdTiming: nothing,
  gate: nothing,
  handover: nothing,
  conflict: nothing,
  track: nothing,
  forgetTracks: nothing,
  notifyFinished: nothing,
  storeRevision: nothing,
  storeConnected: nothing,
  specRevision: nothing,
  specRejected: nothing,
  reconcileFinished: nothing,
  operationApplied: nothing,
  driftRepaired: nothing,
  foreignServices: nothing,
  ipvsAvailable: nothing,
  realServer: nothing,
  forgetRealServers: nothing,
  probe: nothing,
  vote: nothing,
  announcements: nothing,
  peer: nothing,
  peerRejected: nothing,
};
