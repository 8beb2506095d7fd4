/** Holds what the client saw of a fault against what the fault claims. */
import { expect } from 'vitest';
import { type Bounds, boundsOf, type ClusterLab } from './cluster-lab.ts';
import { describeVerdict } from './describe-verdict.ts';
import type { Fault } from './faults.ts';
import { describePauses, type Judged, judged, pausedMs } from './pauses.ts';
import { monotonicMs, waitFor } from './processes.ts';
import type { Played, Situation } from './situations.ts';
import type { Verdict } from './verdict.ts';
import { waitedMs } from './wait-meter.ts';
import type { Watched } from './watched.ts';

/** Service is back by then after what can be repaired. */
const REPAIR_MS = 1000;

/** One VIP: what was seen, and what is left of it beside the pauses of the machine. */
type View = { readonly verdict: Verdict; readonly net: Judged };

function viewsOf(seen: Watched, { holdMs }: Bounds): readonly View[] {
  const { faultMs, endMs, records, verdicts } = seen;
  return verdicts.flatMap((verdict, index) => {
    const record = records[index];
    if (record === undefined) return [];
    return { verdict, net: judged(record, { faultMs, endMs, holdMs }, verdict) };
  });
}

/** The pauses are the same for all VIPs. */
const describeAll = (views: readonly View[], { faultMs }: Watched): string =>
  views.map(({ verdict }) => describeVerdict(verdict)).join('; ') +
  describePauses(views[0]?.net ?? { pauses: [], starved: [] }, faultMs);

/** How long agents waited for a processor while two spoke. */
function bothWaitedMs({ verdict, net }: View, faultMs: number): number {
  const { newFirstMs, oldLastMs } = verdict;
  if (newFirstMs === null) return 0;
  return pausedMs(net.starved, faultMs + newFirstMs, faultMs + oldLastMs);
}

/** Safety in any case: never two voices. Speed only as far as the profile promises it. */
export function expectClaim(lab: ClusterLab, fault: Fault, seen: Watched): void {
  const bounds = boundsOf(lab.profile);
  const views = viewsOf(seen, bounds);
  console.log(`${lab.profile}: ${fault.name}: ${describeAll(views, seen)}`);
  const claim = fault.claim(lab.profile);
  for (const { verdict, net } of views) {
    expect(verdict.dualMs, 'two voices').toBe(0);
    const isLossless = claim === 'handover' || claim === 'nothing';
    // Of 3000, or of hundreds: a machine that paused all the time is no judge.
    const { asked } = isLossless ? net : verdict;
    expect(asked, 'echoes were sent').toBeGreaterThan(100);
    if (claim === 'crash' || claim === 'handover')
      expect(verdict.newFirstMs, 'another director answers').not.toBeNull();
    if (claim === 'crash' || claim === 'recovery')
      expect(net.outageMs).toBeLessThanOrEqual(bounds.takeoverMs);
    if (claim === 'nothing') expect(net.newFirstMs, 'nothing moves').toBeNull();
    if (isLossless) expect(net.lost, 'lost echoes').toBe(0);
    if (claim === 'repair') expect(net.outageMs).toBeLessThanOrEqual(REPAIR_MS);
  }
}

/**
 * An agent makes good within a second what others took away: what it waits for a processor meanwhile comes on top, below
 * another one. Counts to the beginning of the look that found it.
 */
export async function expectRepair(
  what: string,
  agentPid: number,
  look: () => Promise<boolean>,
): Promise<void> {
  const [fromMs, waitedBefore] = [monotonicMs(), waitedMs(agentPid)];
  let lookedMs = fromMs;
  const isMended = (): Promise<boolean> => {
    lookedMs = monotonicMs();
    return look();
  };
  await waitFor(what, isMended, { timeoutMs: 5000, intervalMs: 10 });
  const waited = waitedMs(agentPid) - waitedBefore;
  expect(lookedMs - fromMs, `${what}; it waited ${waited.toFixed(0)} ms`).toBeLessThanOrEqual(
    Math.min(REPAIR_MS + waited, 2 * REPAIR_MS - 1),
  );
}

/** The same for each step of a situation. */
export function expectSteps(lab: ClusterLab, { name }: Situation, played: readonly Played[]): void {
  const bounds = boundsOf(lab.profile);
  const steps = played.map((each) => ({ each, views: viewsOf(each.seen, bounds) }));
  for (const { each, views } of steps) {
    const { electionMs } = each.facts;
    const elected = Number.isNaN(electionMs) ? '' : `elected ${electionMs.toFixed(0)} ms; `;
    const told = describeAll(views, each.seen);
    console.log(`${lab.profile}: ${name}: ${each.step.name}: ${elected}${told}`);
  }
  for (const { each, views } of steps) for (const view of views) expectStep(bounds, each, view);
}

function expectStep(bounds: Bounds, { step, facts, seen }: Played, { verdict, net }: View): void {
  const { claim } = step;
  const { faultMs, doneMs } = seen;
  const dualMaxMs = claim.kind === 'outage' ? (claim.dualMaxMs ?? 0) : 0;
  // Where two may speak until one hears the other, that one needs a processor for it.
  const bothMs = dualMaxMs === 0 ? 0 : bothWaitedMs({ verdict, net }, faultMs);
  expect(verdict.dualMs, `${step.name}: two voices`).toBeLessThanOrEqual(dualMaxMs + bothMs);
  const { asked } = claim.kind === 'nothing' ? net : verdict;
  expect(asked, 'echoes were sent').toBeGreaterThan(20);
  if (claim.kind === 'outage') {
    expect(net.outageMs, step.name).toBeLessThanOrEqual(claim.maxMs(bounds, facts));
    if (claim.voice === 'other') expect(verdict.newFirstMs, 'another answers').not.toBeNull();
    else expect(net.newFirstMs, 'nothing moves').toBeNull();
    return;
  }
  expect(net.newFirstMs, 'nothing moves').toBeNull();
  if (claim.kind === 'nothing') expect(net.lost, `${step.name}: lost echoes`).toBe(0);
  else {
    const dropsMs = claim.maxMs(bounds);
    // It begins somewhere within the act: programs have to be started for it.
    const silentMs = net.oldLastMs - (doneMs - faultMs);
    expect(silentMs, `${step.name}: silent in time`).toBeLessThanOrEqual(dropsMs);
    expect(verdict.lost, `${step.name}: nobody answers`).toBeGreaterThan(0);
  }
}
