/** What a figure was taken on. */
import { statSync } from 'node:fs';
import { cpus, loadavg, release, totalmem } from 'node:os';
import { run } from '../test/support/processes.ts';

/** Sources, agent, kernel, cores and versions, as two lines; they hold for all benches of one start. */
export async function machineFacts(): Promise<string> {
  const etcd = (await run(['etcd', '--version'])).stdout;
  const version = /etcd Version: (\S+)/.exec(etcd)?.[1] ?? 'unknown';
  const cores = cpus();
  return [
    `revision ${await revision()}, agent built ${builtAt()}`,
    `Linux ${release()}, ${cores.length} cores (${cores[0]?.model ?? 'unknown'}), ${(totalmem() / 2 ** 30).toFixed(0)} GB, Node ${process.version}, etcd ${version}`,
  ].join('\n');
}

/** Of the sources; `-dirty` where they differ from it. */
async function revision(): Promise<string> {
  const described = await run(['git', 'describe', '--always', '--dirty', '--exclude=*']);
  return described.code === 0 ? described.stdout.trim() : 'unknown';
}

/** `2026-11-21, revision e2035ba`: what a row was taken at that may stand beside older ones. */
export async function rowStamp(): Promise<string> {
  const date = (await run(['date', '-u', '+%F'])).stdout.trim();
  return `${date}, revision ${await revision()}`;
}

/** The first lines of a result: command, date, machine, load before. */
export async function resultHead(command: string, facts: string): Promise<string> {
  const date = (await run(['date', '-u', '+%F %T UTC'])).stdout.trim();
  return `node --import tsx bench/run.ts ${command}\n${date}, ${facts}\nload average before: ${formatLoad()}`;
}

/** When dist/ was made; sources that changed since are not in it. */
function builtAt(): string {
  return statSync(new URL('../dist/main.js', import.meta.url)).mtime.toISOString();
}

/** Of the last minute, 5 and 15 minutes. */
export function formatLoad(): string {
  return loadavg()
    .map((each) => each.toFixed(2))
    .join(' ');
}
