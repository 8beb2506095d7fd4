/** What a figure was taken on. */
import { statSync } from 'node:fs';
import { cpus, loadavg, release, totalmem } from 'node:os';
import { run } from '../test/support/processes.ts';

/** The first lines of a result: command, date, machine, load before. */
export async function resultHead(name: string, runs: number): Promise<string> {
  const etcd = (await run(['etcd', '--version'])).stdout;
  const date = (await run(['date', '-u', '+%F %T UTC'])).stdout.trim();
  const revision = (await run(['git', 'rev-parse', '--short', 'HEAD'])).stdout.trim();
  const version = /etcd Version: (\S+)/.exec(etcd)?.[1] ?? 'unknown';
  const cores = cpus();
  return [
    `node --import tsx bench/run.ts ${name} --runs ${runs}`,
    `${date}, revision ${revision === '' ? 'unknown' : revision}, agent built ${builtAt()}`,
    `Linux ${release()}, ${cores.length} cores (${cores[0]?.model ?? 'unknown'}), ${(totalmem() / 2 ** 30).toFixed(0)} GB, Node ${process.version}, etcd ${version}`,
    `load average before: ${formatLoad()}`,
  ].join('\n');
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
