/** Durations as users write them: a whole number and its unit, `250ms`, `5s`, `5m`, `1h`. */
import { err, ok, type Result } from '../lib/result.ts';

export const DURATION_PATTERN = '^[0-9]{1,9}(ms|s|m|h)$';

/** What to tell a user who wrote something else. */
export const DURATION_HELP = 'a whole number with its unit: 250ms, 5s, 5m, 1h';

const UNIT_MS: ReadonlyMap<string, number> = new Map([
  ['ms', 1],
  ['s', 1000],
  ['m', 60_000],
  ['h', 3_600_000],
]);

/** Milliseconds of a duration; the error is a sentence fit for a user. */
export function parseDuration(text: string): Result<number, string> {
  const match = /^([0-9]{1,9})(ms|s|m|h)$/.exec(text);
  const unitMs = UNIT_MS.get(match?.[2] ?? '');
  if (match === null || unitMs === undefined) return err(`"${text}" is no duration`);
  return ok(Number(match[1]) * unitMs);
}

/** The shortest text in the largest unit that divides it: 1500 → `1500ms`, 60000 → `1m`. */
export function formatDuration(ms: number): string {
  for (const [unit, unitMs] of [...UNIT_MS].toReversed())
    if (ms >= unitMs && ms % unitMs === 0) return `${ms / unitMs}${unit}`;
  return `${ms}ms`;
}
