/** Holds what the client saw of a fault against what the fault claims. */
import { expect } from 'vitest';
import { type Bounds, boundsOf, type ClusterLab } from './cluster-lab.ts';
import { describeVerdict } from './describe-verdict.ts';
import type { Fault } from './faults.ts';
import type { Played, Situation } from './situations.ts';
import type { Verdict } from './verdict.ts';
import type { Watched } from './watched.ts';

/** Service is back by then after what can be repaired. */
const REPAIR_MS = 1000;

/** Safety in any case: never two voices. Speed only as far as the profile promises it. */
export function expectClaim(lab: ClusterLab, fault: Fault, seen: Watched): void {
  console.log(`${lab.profile}: ${fault.name}: ${seen.verdicts.map(describeVerdict).join('; ')}`);
  const claim = fault.claim(lab.profile);
  for (const verdict of seen.verdicts) {
    expect(verdict.dualMs, 'two voices').toBe(0);
    expect(verdict.asked, 'echoes were sent').toBeGreaterThan(100);
    if (claim === 'crash') {
      expect(verdict.newFirstMs, 'another director answers').not.toBeNull();
      expect(verdict.outageMs).toBeLessThanOrEqual(boundsOf(lab.profile).takeoverMs);
    }
    if (claim === 'handover') expect(verdict.newFirstMs, 'another director answers').not.toBeNull();
    if (claim === 'nothing') expect(verdict.newFirstMs, 'nothing moves').toBeNull();
    if (claim === 'handover' || claim === 'nothing') expect(verdict.lost, 'lost echoes').toBe(0);
    if (claim === 'repair') expect(verdict.outageMs).toBeLessThanOrEqual(REPAIR_MS);
  }
}

/** The same for each step of a situation. */
export function expectSteps(lab: ClusterLab, { name }: Situation, played: readonly Played[]): void {
  for (const { step, seen, facts } of played) {
    const elected = Number.isNaN(facts.electionMs)
      ? ''
      : `elected ${facts.electionMs.toFixed(0)} ms; `;
    const told = seen.verdicts.map(describeVerdict).join('; ');
    console.log(`${lab.profile}: ${name}: ${step.name}: ${elected}${told}`);
  }
  for (const each of played)
    for (const verdict of each.seen.verdicts) expectStep(boundsOf(lab.profile), each, verdict);
}

function expectStep(bounds: Bounds, { step, facts }: Played, verdict: Verdict): void {
  const { claim } = step;
  const dualMaxMs = claim.kind === 'outage' ? (claim.dualMaxMs ?? 0) : 0;
  expect(verdict.dualMs, `${step.name}: two voices`).toBeLessThanOrEqual(dualMaxMs);
  expect(verdict.asked, 'echoes were sent').toBeGreaterThan(20);
  if (claim.kind === 'outage') {
    expect(verdict.outageMs, step.name).toBeLessThanOrEqual(claim.maxMs(bounds, facts));
    if (claim.voice === 'other') expect(verdict.newFirstMs, 'another answers').not.toBeNull();
    else expect(verdict.newFirstMs, 'nothing moves').toBeNull();
    return;
  }
  expect(verdict.newFirstMs, 'nothing moves').toBeNull();
  if (claim.kind === 'nothing') expect(verdict.lost, `${step.name}: lost echoes`).toBe(0);
  else {
    const dropsMs = claim.maxMs(bounds);
    expect(verdict.oldLastMs, `${step.name}: silent in time`).toBeLessThanOrEqual(dropsMs);
    expect(verdict.lost, `${step.name}: nobody answers`).toBeGreaterThan(0);
  }
}
