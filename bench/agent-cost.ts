/**
 * What an idle agent costs: CPU and memory of the holder and of a standby over half a minute with one
 * VIP group, and what the cluster writes to etcd meanwhile (design 4.3: a round makes no revision).
 */
import { readdirSync, readFileSync } from 'node:fs';
import { type ClusterLab, clusterDocument } from '../test/support/cluster-lab.ts';
import type { DirectorHost } from '../test/support/director-host.ts';
import { monotonicMs, run, sleep } from '../test/support/processes.ts';
import { settle } from '../test/support/settled.ts';
import { formatTable } from '../src/cli/table.ts';
import { type Bench, type BenchOptions, withLab } from './bench-lab.ts';
import { cpuTicksOf, kibOf } from './proc.ts';

/** Starts, announcements and first reports are over by then. */
const CALM_MS = 12_000;
const MEASURE_MS = 30_000;

export const benchAgentCost: Bench = async (options) => {
  const lab = { name: 'bench-cost', kind: 'namespace', etcdMembers: 3 } as const;
  return await withLab(lab, options.signal, (built) => measure(built, options));
};

async function measure(lab: ClusterLab, options: BenchOptions): Promise<string> {
  await lab.etcd.start();
  await lab.startAgents();
  await lab.applyOk(clusterDocument(lab));
  const { holder, other } = await settle(lab);
  await sleep(CALM_MS);
  const agents = [
    { role: 'holder', pid: await agentPid(lab, holder) },
    { role: 'standby', pid: await agentPid(lab, other) },
  ];
  const ticksPerSecond = Number((await run(['getconf', 'CLK_TCK'])).stdout);
  const keysBefore = await keysOf(lab);
  const raftBefore = await raftIndexOf(lab);
  const before = agents.map(({ pid }) => usageOf(pid));
  const startMs = monotonicMs();
  options.say(`measuring for ${MEASURE_MS / 1000} s`);
  await sleep(MEASURE_MS);
  const seconds = (monotonicMs() - startMs) / 1000;
  const after = agents.map(({ pid }) => usageOf(pid));
  const raftAfter = await raftIndexOf(lab);
  const keysAfter = await keysOf(lab);
  const rows = agents.map(({ role }, index) => {
    const ticks = (after[index]?.ticks ?? 0) - (before[index]?.ticks ?? 0);
    const cpu = (100 * ticks) / ticksPerSecond / seconds;
    const usage = after[index];
    return [
      role,
      `${cpu.toFixed(2)} %`,
      `${((usage?.rssKib ?? 0) / 1024).toFixed(1)} MB`,
      String(usage?.threads ?? 0),
    ];
  });
  const columns = ['agent', 'CPU of one core', 'resident', 'threads'].map((title) => ({ title }));
  return `One VIP group, no services, relaxed profile, three etcd members; ${seconds.toFixed(1)} s after everything was calm.

${formatTable(columns, rows)}
${writesOf(keysBefore, keysAfter, seconds)}etcd's raft log: ${((raftAfter - raftBefore) / seconds).toFixed(1)} entries a second; the holder's rounds make 1.7 (one each 0.6 s)
`;
}

/** The one Node process in the director's namespace. */
async function agentPid(lab: ClusterLab, director: DirectorHost): Promise<number> {
  const namespace = lab.network.namespaceOf(director.name);
  const { stdout } = await run(['ip', 'netns', 'pids', namespace]);
  const agents = stdout
    .split('\n')
    .filter(Boolean)
    .filter((pid) => readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('main.js'));
  if (agents.length !== 1) throw new Error(`${director.name}: ${agents.length} agents`);
  return Number(agents[0]);
}

type Usage = { readonly ticks: number; readonly rssKib: number; readonly threads: number };

function usageOf(pid: number): Usage {
  return {
    ticks: cpuTicksOf(readFileSync(`/proc/${pid}/stat`, 'utf8')),
    rssKib: kibOf(readFileSync(`/proc/${pid}/status`, 'utf8'), 'VmRSS'),
    threads: readdirSync(`/proc/${pid}/task`).length,
  };
}

type Keys = {
  readonly revision: number;
  /** Of each key: how often it was written since it was made, and its last revision. */
  readonly writes: ReadonlyMap<string, { readonly version: number; readonly modified: number }>;
};

async function keysOf(lab: ClusterLab): Promise<Keys> {
  const answer = JSON.parse(
    await lab.etcd.etcdctl(['get', '--prefix', '/leasehold/', '-w', 'json']),
  ) as {
    readonly header: { readonly revision: number };
    readonly kvs?: readonly {
      readonly key: string;
      readonly version: number;
      readonly mod_revision: number;
    }[];
  };
  const entries = (answer.kvs ?? []).map((each) => {
    const name = Buffer.from(each.key, 'base64').toString();
    return [name, { version: each.version, modified: each.mod_revision }] as const;
  });
  return { revision: answer.header.revision, writes: new Map(entries) };
}

/** Entries of the raft log so far, the highest any member knows. */
async function raftIndexOf(lab: ClusterLab): Promise<number> {
  const answer = JSON.parse(
    await lab.etcd.etcdctl(['endpoint', 'status', '-w', 'json']),
  ) as readonly { readonly Status: { readonly raftIndex: number } }[];
  return Math.max(...answer.map(({ Status }) => Status.raftIndex));
}

function writesOf(before: Keys, after: Keys, seconds: number): string {
  const grown = after.revision - before.revision;
  const changed = [...after.writes].flatMap(([key, { version, modified }]) => {
    if (modified <= before.revision) return [];
    return [{ key, count: version - (before.writes.get(key)?.version ?? 0) }];
  });
  const known = changed.reduce((sum, { count }) => sum + count, 0);
  const lines = changed.map(({ key, count }) => `  ${count} × ${key}`);
  if (known !== grown)
    lines.push(`  ${grown - known} other revisions: deleted keys, txns of several`);
  const head = `etcd's revision: ${before.revision} before, ${after.revision} after ${seconds.toFixed(1)} s: grown by ${grown}${grown === 0 ? '' : ', by'}`;
  return `${[head, ...lines].join('\n')}\n`;
}
