/** What the checks of the cluster document must satisfy, beyond their shape. */
import { DEFAULT_CHECK } from './defaults.ts';
import { formatDuration } from './durations.ts';
import type { Problem } from './problem.ts';
import { at, durationOf, itemsOf, type Raw, textOf } from './raw.ts';

const CHECK_KINDS = ['tcp', 'http', 'https'] as const;

/** Problems of one check; none where there is none. */
export function checkProblems(check: Raw): readonly Problem[] {
  if (check.value === undefined) return [];
  const problems: Problem[] = [];
  const kinds = CHECK_KINDS.filter((kind) => at(check, kind).value !== undefined);
  if (kinds.length !== 1)
    problems.push({
      path: check.path,
      message:
        kinds.length === 0 ? 'has no kind' : `has ${kinds.length} kinds: ${kinds.join(', ')}`,
      allowed: 'exactly one of tcp, http, https',
    });
  for (const kind of ['http', 'https'])
    problems.push(...statusProblems(at(at(check, kind), 'status')));
  return [...problems, ...checkTimingProblems(check)];
}

function statusProblems(status: Raw): readonly Problem[] {
  const ranges = Array.isArray(status.value) ? itemsOf(status) : [status];
  return ranges.flatMap((range) => {
    const match = /^([1-5]\d\d)-([1-5]\d\d)$/.exec(textOf(range) ?? '');
    if (match === null || Number(match[1]) <= Number(match[2])) return [];
    return [
      { path: range.path, message: 'ends before it begins', allowed: `"${match[2]}-${match[1]}"` },
    ];
  });
}

function checkTimingProblems(check: Raw): readonly Problem[] {
  const problems: Problem[] = [];
  for (const key of ['interval', 'timeout']) {
    const place = at(check, key);
    const ms = durationOf(place);
    if (ms !== null && (ms < 50 || ms > 3_600_000))
      problems.push({
        path: place.path,
        message: `${formatDuration(ms)} is out of range`,
        allowed: '50ms to 1h',
      });
  }
  const intervalMs = durationOf(at(check, 'interval')) ?? DEFAULT_CHECK.intervalMs;
  const timeoutMs = durationOf(at(check, 'timeout')) ?? DEFAULT_CHECK.timeoutMs;
  if (timeoutMs > intervalMs)
    problems.push({
      path: at(check, 'timeout').path,
      message: `${formatDuration(timeoutMs)} is longer than the interval (${formatDuration(intervalMs)}): probes would overlap`,
      allowed: `at most ${formatDuration(intervalMs)}`,
    });
  return problems;
}
