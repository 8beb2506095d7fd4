/** The checks of a real server in lines: verdict, each voter and what it saw, what would change it. */
import type { CheckReport, CheckReports, CheckRun, CheckVoter } from '../model/status-checks.ts';
import { formatAge } from './service-words.ts';

const MODES = {
  all: 'It is up when all of these checks are:',
  any: 'It is up when any of these checks is:',
} as const;

const indent = (lines: readonly string[]): string[] => lines.map((line) => `  ${line}`);

export function explainChecks({ checks, mode }: CheckReports): string {
  if (checks.length === 0) return 'No check is configured, so it counts as up.\n';
  const lines = checks.flatMap((check) => [...checkLines(check), '']);
  return `${[...(mode === null ? [] : [MODES[mode]]), ...lines.slice(0, -1)].join('\n')}\n`;
}

const BASIS: Readonly<Record<CheckReport['basis'], string>> = {
  majority: 'by the majority of the votes',
  kept: 'kept: the votes do not overrule what was known',
  initial: 'nobody has voted yet, and what the document says for that stands',
  alone: 'etcd is away, and what this director finds counts here',
};

function checkLines(check: CheckReport): readonly string[] {
  const { kind, target, intervalMs, timeoutMs, isUp, basis, voters, change } = check;
  const pace = `every ${seconds(intervalMs)}, at most ${seconds(timeoutMs)} each`;
  return [
    `Check ${kind} ${target}, ${pace}: ${isUp ? 'up' : 'DOWN'}, ${BASIS[basis]}`,
    ...indent(voters.flatMap((voter) => voterLines(voter))),
    ...indent(change.map((line) => `- ${line}`)),
  ];
}

function voterLines(voter: CheckVoter): readonly string[] {
  const { director, isHere, isUp, since, detail, seen, problem } = voter;
  const name = isHere ? `${director} (here)` : director;
  const word =
    isUp === null
      ? 'has not voted yet'
      : `${isUp ? 'up' : 'DOWN'} since ${since ?? 'an unknown time'} (${detail ?? ''})`;
  const when = !isHere && seen.length > 0 ? ['it had seen, when it voted:'] : [];
  const unable = problem === null ? [] : [`cannot make this check now: ${problem}`];
  const lines = [...when, ...seen.map((run) => runWords(run)), ...unable];
  return [`${name}: ${word}`, ...indent(lines)];
}

function runWords({ isUp, detail, times, latencyMs, agoMs }: CheckRun): string {
  const count = times === 1 ? 'once' : `${times} times`;
  const ago =
    agoMs === null ? '' : `, the last ${agoMs < 1000 ? 'just now' : `${formatAge(agoMs)} ago`}`;
  return `${isUp ? 'up' : 'DOWN'}, ${detail}: ${count}${ago}, took ${latencyMs < 10 ? latencyMs.toFixed(2) : latencyMs.toFixed(0)} ms`;
}

const seconds = (ms: number): string => (ms < 1000 ? `${ms} ms` : `${ms / 1000} s`);
