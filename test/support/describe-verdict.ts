/** What the client saw, in one line for people. */
import type { Verdict } from './verdict.ts';

/** `outage 23 ms, lost 0 of 3000, dual 0 ms, old until 12 ms, new from 13 ms` */
export function describeVerdict(verdict: Verdict): string {
  const { outageMs, lost, asked, dualMs, isDualAtEnd, oldLastMs, newFirstMs } = verdict;
  const next = newFirstMs === null ? 'nobody else' : `new from ${newFirstMs.toFixed(0)} ms`;
  return (
    `outage ${outageMs.toFixed(0)} ms, lost ${lost} of ${asked}, ` +
    `dual ${dualMs} ms${isDualAtEnd ? ' until the end' : ''}, old until ${oldLastMs.toFixed(0)} ms, ${next}`
  );
}
