/**
 * Directors that write down what they have the kernel do with IPVS, and when (`recording-agent-main.ts`), and what
 * they log of their verdicts.
 */
import { existsSync, readFileSync } from 'node:fs';
import { sourceFile } from './client-probe.ts';
import type { ClusterLab } from './cluster-lab.ts';
import type { DirectorHost } from './director-host.ts';
import { GiveUp, waitFor } from './processes.ts';

/** Handed to the kernel. Of a destination as `10.90.0.21:80`; null: of a whole service, or beside the table. */
export type RecordedOperation = {
  readonly op: string;
  readonly target: string | null;
  readonly weight: number | null;
  readonly atMs: number;
};

/** A probe that failed, when its result was there. */
export type RecordedFailure = { readonly target: string; readonly atMs: number };

export type RecordLine =
  | { readonly operations: readonly RecordedOperation[] }
  | { readonly failures: readonly RecordedFailure[] };

export type DirectorRecord = {
  readonly operations: readonly RecordedOperation[];
  readonly failures: readonly RecordedFailure[];
};

/** Beside the logs: what a failed test leaves has it, too. */
const fileOf = (director: DirectorHost): string => `${director.directory}-record.log`;

/** As `lab.startAgents`; a record goes on over restarts. In namespaces only. */
export async function startRecordingAgents(
  lab: ClusterLab,
  names: readonly string[] = lab.directors.map(({ name }) => name),
): Promise<void> {
  for (const name of names) {
    const director = lab.director(name);
    await director.startProgram(sourceFile('./recording-agent-main.ts'), [fileOf(director)]);
  }
  await Promise.all(names.map((name) => listens(lab.director(name))));
}

async function listens(director: DirectorHost): Promise<void> {
  const look = async (): Promise<boolean> => {
    if ((await director.get('/livez')).status === 200) return true;
    if (await director.isAgentRunning()) return false;
    throw new GiveUp(`it ended: ${director.agentLog().slice(-2000)}`);
  };
  const limits = { timeoutMs: 30_000, intervalMs: 100 };
  await waitFor(`the agent of ${director.name} listens`, look, limits);
}

/** What was written down since a time of `monotonicMs`. */
export function recordSince(director: DirectorHost, sinceMs: number): DirectorRecord {
  const operations: RecordedOperation[] = [];
  const failures: RecordedFailure[] = [];
  const file = fileOf(director);
  for (const line of linesOf<RecordLine>(existsSync(file) ? readFileSync(file, 'utf8') : ''))
    if ('operations' in line) operations.push(...line.operations);
    else failures.push(...line.failures);
  const isSince = ({ atMs }: { readonly atMs: number }): boolean => atMs >= sinceMs;
  return { operations: operations.filter(isSince), failures: failures.filter(isSince) };
}

/** A verdict on a real server, as a director's log tells it. */
export type Decision = { readonly check: string; readonly isUp: boolean };

/**
 * Verdicts that changed after so many characters of a director's log, in order. That another word counts for the same
 * verdict is none.
 */
export function decisionsAfter(director: DirectorHost, start: number): readonly Decision[] {
  const log = director.agentLog();
  const known = new Map<string, boolean>();
  const take = (text: string): readonly Decision[] =>
    linesOf<Decision & { readonly event: string }>(text).flatMap(({ event, check, isUp }) => {
      if (event !== 'check.decided' || known.get(check) === isUp) return [];
      known.set(check, isUp);
      return [{ check, isUp }];
    });
  take(log.slice(0, start));
  return take(log.slice(start));
}

/** Whole lines only: the last one may be under way. */
function linesOf<T>(text: string): readonly T[] {
  const lines = text.slice(0, text.lastIndexOf('\n') + 1).split('\n');
  return lines.filter((line) => line.startsWith('{')).map((line): T => JSON.parse(line));
}
