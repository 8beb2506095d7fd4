/**
 * Pauses of the machine that runs the lab, as the probe and its meters saw them, and what the client's view of a fault
 * is worth beside them. All that is judged here is judged as far as the machine was on time: a fault of the product
 * shows then, too. Two voices are never excused. Pure.
 */
import type { VoiceRecord } from './client-probe.ts';
import type { Verdict } from './verdict.ts';

/** On the monotonic clock, ms. */
export type Pause = { readonly fromMs: number; readonly toMs: number };

/** What is shorter no profile notices. */
export const PAUSE_MS = 10;
/**
 * After a pause in which the gate may have shut, service is back so soon: more than suspect and D' of the profile, in
 * which others may have taken over, as after a stall.
 */
const repairMs = (holdMs: number): number => Math.min(3 * holdMs, 1000);

const lengthOf = ({ fromMs, toMs }: Pause): number => toMs - fromMs;

/** The same times, in order, none of which overlap. */
export function joined(pauses: readonly Pause[]): readonly Pause[] {
  const found: Pause[] = [];
  for (const pause of pauses.toSorted((a, b) => a.fromMs - b.fromMs)) {
    const last = found.at(-1);
    if (last === undefined || pause.fromMs > last.toMs) found.push(pause);
    else found[found.length - 1] = { fromMs: last.fromMs, toMs: Math.max(last.toMs, pause.toMs) };
  }
  return found;
}

/** How long somebody had waited in all, by a moment. */
export type WaitLook = { readonly atMs: number; readonly waitedMs: number };

/** When somebody waited, by looks in their order. A wait is counted when it ends, and may have begun before a look. */
export function waitsOf(looks: readonly WaitLook[]): readonly Pause[] {
  return looks.slice(1).flatMap(({ atMs, waitedMs }, index) => {
    const ms = waitedMs - (looks[index]?.waitedMs ?? waitedMs);
    return ms > 0 ? [{ fromMs: atMs - ms, toMs: atMs }] : [];
  });
}

/** How much of the time between two moments was paused. */
export function pausedMs(pauses: readonly Pause[], fromMs: number, toMs: number): number {
  const parts = joined(pauses).map((pause) =>
    Math.max(0, Math.min(pause.toMs, toMs) - Math.max(pause.fromMs, fromMs)),
  );
  return parts.reduce((sum, part) => sum + part, 0);
}

/** Longest time between two of these times, both moments counted as edges; pauses do not count. */
export function longestGapMs(
  times: readonly number[],
  fromMs: number,
  toMs: number,
  pauses: readonly Pause[] = [],
): number {
  const inside = times.filter((time) => time > fromMs && time < toMs).toSorted((a, b) => a - b);
  let longest = 0;
  let last = fromMs;
  for (const time of [...inside, toMs]) {
    const gap = time - last;
    // Most gaps are a few milliseconds: nothing to look up.
    if (gap > longest) longest = Math.max(longest, gap - pausedMs(pauses, last, time));
    last = time;
  }
  return longest;
}

/** What a fault's verdict is worth: what the machine's own pauses explain is taken out of it. */
export type Judged = Pick<Verdict, 'outageMs' | 'lost' | 'asked' | 'oldLastMs' | 'newFirstMs'> & {
  readonly pauses: readonly Pause[];
  /** When an agent waited for a processor of the lab. */
  readonly starved: readonly Pause[];
};

/**
 * Out of the count are echoes that were sent in a pause, or so long after one as it lasted: what was due meanwhile is
 * made up for then. The gate is armed for 3/4 of D, of which a fifth of D is over before the next round, and another in
 * a slow one: where more than a third of D was paused within one D it may have shut, and whoever is first opens again. So
 * it is for an agent that waited for a processor; that excuses lost echoes, and a move only where it waited for D.
 * `outageMs` and `oldLastMs` are without the time that was paused, and `outageMs` without what agents waited.
 */
export function judged(
  record: VoiceRecord,
  window: { readonly faultMs: number; readonly endMs: number; readonly holdMs: number },
  verdict: Verdict,
): Judged {
  const { faultMs, endMs, holdMs } = window;
  const near = (all: readonly Pause[]): readonly Pause[] =>
    joined(all).filter((pause) => pause.toMs > faultMs - repairMs(holdMs) && pause.fromMs < endMs);
  const pauses = near(record.pauses);
  const starved = near(record.starved);
  const long = thatShut(pauses, holdMs);
  const isExcused = within([
    ...pauses.map((pause) => withMore(pause, lengthOf(pause))),
    ...long,
    ...thatShut(starved, holdMs),
  ]);
  const answered = new Set(record.echoes.map(({ sequence }) => sequence));
  const asked = record.asked.filter(
    ({ atMs }) => atMs >= faultMs && atMs < endMs && !isExcused(atMs),
  );
  const { newFirstMs, oldLastMs } = verdict;
  const isMoveExcused =
    newFirstMs !== null &&
    (within(long)(faultMs + newFirstMs) || wasDeaf(starved, faultMs + newFirstMs, holdMs));
  return {
    pauses,
    starved,
    asked: asked.length,
    lost: asked.filter(({ sequence }) => !answered.has(sequence)).length,
    outageMs: longestGapMs(
      record.echoes.map(({ atMs }) => atMs),
      faultMs,
      endMs,
      [...record.pauses, ...record.starved],
    ),
    oldLastMs: oldLastMs - pausedMs(record.pauses, faultMs, faultMs + oldLastMs),
    newFirstMs: isMoveExcused ? null : newFirstMs,
  };
}

/** Whether the gate may have shut in them: for whom nobody asks that it stays open. */
export const mayHaveShut = (pauses: readonly Pause[], holdMs: number): boolean =>
  thatShut(joined(pauses), holdMs).length > 0;

/** Whether an agent waited for D in the last two D: nobody hears it for suspect and D' then, and another one opens. */
const wasDeaf = (starved: readonly Pause[], atMs: number, holdMs: number): boolean =>
  pausedMs(starved, atMs - 2 * holdMs, atMs) > holdMs;

/** Those in which the gate may have shut, with the time that mends it. */
function thatShut(pauses: readonly Pause[], holdMs: number): readonly Pause[] {
  return pauses
    .filter(({ toMs }) => pausedMs(pauses, toMs - holdMs, toMs) > holdMs / 3)
    .map((pause) => withMore(pause, repairMs(holdMs)));
}

const withMore = ({ fromMs, toMs }: Pause, moreMs: number): Pause => ({
  fromMs,
  toMs: toMs + moreMs,
});

/** Whether a time is in one of the spans; to be asked of times in their order. */
function within(spans: readonly Pause[]): (atMs: number) => boolean {
  const rest = [...joined(spans)].toReversed();
  return (atMs) => {
    while ((rest.at(-1)?.toMs ?? atMs) < atMs) rest.pop();
    return (rest.at(-1)?.fromMs ?? Number.POSITIVE_INFINITY) <= atMs;
  };
}

/**
 * `; the machine paused 3 times for 130 ms, at most 66 ms, 389 ms after the fault`, and the same of an agent that had to
 * wait; empty where neither was.
 */
export function describePauses(
  { pauses, starved }: Pick<Judged, 'pauses' | 'starved'>,
  faultMs: number,
): string {
  return (
    describeSpans('the machine paused', pauses, faultMs) +
    describeSpans('an agent waited for a processor', starved, faultMs)
  );
}

function describeSpans(what: string, spans: readonly Pause[], faultMs: number): string {
  const [longest] = spans.toSorted((a, b) => lengthOf(b) - lengthOf(a));
  if (longest === undefined) return '';
  const allMs = spans.reduce((sum, span) => sum + lengthOf(span), 0);
  const [all, most, at] = [allMs, lengthOf(longest), longest.fromMs - faultMs].map((ms) =>
    ms.toFixed(0),
  );
  return `; ${what} ${spans.length} times for ${all} ms, at most ${most} ms, ${at} ms after the fault`;
}
