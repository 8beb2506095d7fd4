/** What many seeds came to, added up; the parts of several processes add up to the whole. */
import type { SeedResult } from './chaos.ts';

export type Bad = {
  readonly seed: number;
  /** The first violations in words, or that it never settled. */
  readonly problems: readonly string[];
};

export type Summary = {
  schedules: number;
  /** Virtual minutes of faults, all schedules together. */
  virtualMinutes: number;
  events: number;
  bad: Bad[];
  /** Schedules by profile. */
  profiles: Record<string, number>;
  /** How often each fault was begun. */
  faults: Record<string, number>;
  /** Changes of a holder by their reason. */
  moves: Record<string, number>;
  exposedOverlaps: number;
  /** Schedules by what the document says of isolation. */
  isolation: Record<string, number>;
  /** Times at which two spoke because the segment let them, and the longest in which they could have heard it. */
  windows: number;
  longestWindowMs: number;
  /** Milliseconds from peace to settled, counted in classes that double: upper bound → schedules. */
  settled: Record<string, number>;
  worstSettledMs: number;
};

export function emptySummary(): Summary {
  return {
    schedules: 0,
    virtualMinutes: 0,
    events: 0,
    bad: [],
    profiles: {},
    faults: {},
    moves: {},
    exposedOverlaps: 0,
    isolation: {},
    windows: 0,
    longestWindowMs: 0,
    settled: {},
    worstSettledMs: 0,
  };
}

export function problemsOf(result: SeedResult): readonly string[] {
  const told = result.violations
    .slice(0, 3)
    .map(({ at, law, text }) => `${(at / 1000).toFixed(3)} s: ${law}: ${text}`);
  return result.healedMs === null ? [...told, 'I4: not settled after peace'] : told;
}

export function addSeed(summary: Summary, result: SeedResult, chaosMs: number): void {
  summary.schedules++;
  summary.virtualMinutes += chaosMs / 60_000;
  summary.events += result.events;
  summary.exposedOverlaps += result.exposedOverlaps;
  count(summary.profiles, result.profile, 1);
  count(summary.isolation, result.isolation, 1);
  summary.windows += result.windows;
  summary.longestWindowMs = Math.max(summary.longestWindowMs, Math.round(result.longestWindowMs));
  for (const [name, times] of result.faults) count(summary.faults, name, times);
  for (const [reason, times] of result.moves) count(summary.moves, reason, times);
  const problems = problemsOf(result);
  if (problems.length > 0) summary.bad.push({ seed: result.seed, problems });
  if (result.healedMs === null) return;
  summary.worstSettledMs = Math.max(summary.worstSettledMs, Math.round(result.healedMs));
  count(summary.settled, String(2 ** Math.ceil(Math.log2(Math.max(result.healedMs, 1)))), 1);
}

export function addSummary(total: Summary, part: Summary): void {
  total.schedules += part.schedules;
  total.virtualMinutes += part.virtualMinutes;
  total.events += part.events;
  total.exposedOverlaps += part.exposedOverlaps;
  total.windows += part.windows;
  total.longestWindowMs = Math.max(total.longestWindowMs, part.longestWindowMs);
  total.worstSettledMs = Math.max(total.worstSettledMs, part.worstSettledMs);
  total.bad.push(...part.bad);
  for (const name of ['profiles', 'isolation', 'faults', 'moves', 'settled'] as const)
    for (const [key, times] of Object.entries(part[name])) count(total[name], key, times);
}

/** Upper bound in milliseconds of the class that the median schedule settled in. */
export function medianSettledMs(summary: Summary): number {
  const classes = Object.entries(summary.settled)
    .map(([bound, times]) => ({ bound: Number(bound), times }))
    .toSorted((a, b) => a.bound - b.bound);
  const half = classes.reduce((sum, one) => sum + one.times, 0) / 2;
  let passed = 0;
  for (const { bound, times } of classes) {
    passed += times;
    if (passed >= half) return bound;
  }
  return Number.NaN;
}

function count(counts: Record<string, number>, key: string, times: number): void {
  counts[key] = (counts[key] ?? 0) + times;
}
