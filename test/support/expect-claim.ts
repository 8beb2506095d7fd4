/** Holds what the client saw of a fault against what the fault claims. */
import { expect } from 'vitest';
import { boundsOf, type ClusterLab } from './cluster-lab.ts';
import { describeVerdict } from './describe-verdict.ts';
import type { Fault } from './faults.ts';
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
