/** What agents cost while nothing happens: CPU and memory by proc(5), and what they write to etcd. */
import { readdirSync, readFileSync } from 'node:fs';
import { cpuTicksOf, kibOf } from '../../bench/proc.ts';
import { EventRecord, parseRecord } from '../../src/model/records.ts';
import { boundsOf, type ClusterLab } from './cluster-lab.ts';
import type { DirectorHost } from './director-host.ts';
import { type Pause, pausedMs } from './pauses.ts';
import { monotonicMs, run, sleep } from './processes.ts';
import { startWaitMeter } from './wait-meter.ts';

export type IdleCost = {
  readonly seconds: number;
  /** By the names of the directors. */
  readonly agents: ReadonlyMap<
    string,
    { readonly cpuPercent: number; readonly rssMb: number; readonly threads: number }
  >;
  readonly revisionBefore: number;
  readonly revisionAfter: number;
  /** Keys that were written meanwhile, and how often. */
  readonly writes: readonly { readonly key: string; readonly count: number }[];
  readonly raftEntries: number;
};

/** Looks at all agents for so long. */
export async function idleCost(lab: ClusterLab, durationMs: number): Promise<IdleCost> {
  const ticksPerSecond = Number((await run(['getconf', 'CLK_TCK'])).stdout);
  const keysBefore = await keysOf(lab);
  const raftBefore = await raftIndexOf(lab);
  const ticksBefore = new Map(lab.directors.map((each) => [each.name, ticksOf(each)]));
  const startMs = monotonicMs();
  await sleep(durationMs);
  const seconds = (monotonicMs() - startMs) / 1000;
  const agents = lab.directors.map((each) => {
    const ticks = ticksOf(each) - (ticksBefore.get(each.name) ?? 0);
    const pid = each.agentPid();
    const rssMb = kibOf(readFileSync(`/proc/${pid}/status`, 'utf8'), 'VmRSS') / 1024;
    const threads = readdirSync(`/proc/${pid}/task`).length;
    return [each.name, { cpuPercent: (100 * ticks) / ticksPerSecond / seconds, rssMb, threads }];
  });
  const raftAfter = await raftIndexOf(lab);
  const keysAfter = await keysOf(lab);
  return {
    seconds,
    agents: new Map(agents as [string, { cpuPercent: number; rssMb: number; threads: number }][]),
    revisionBefore: keysBefore.revision,
    revisionAfter: keysAfter.revision,
    writes: writesBetween(keysBefore, keysAfter),
    raftEntries: raftAfter - raftBefore,
  };
}

/** In the default profile 150 ms are enough to be challenged: 100 ms between two heartbeats, 250 ms until suspect. */
const STARVED_MS = 100;
const LOOK_MS = 20;
const TRIES = 3;

/**
 * Measures a cluster in which nothing happens: again, at most three times, where an agent had to wait for a processor,
 * or all had to, for so long that another one challenged it, and all that was written tells of that; or for so long
 * that its groups moved. Gives the last measurement.
 */
export async function measuredCalm<T extends { readonly cost: IdleCost }>(
  lab: ClusterLab,
  measure: () => Promise<T>,
): Promise<T> {
  const { suspectMs, waitMs } = boundsOf(lab.profile);
  for (let tries = 1; ; tries += 1) {
    const { measured, waits } = await withWaits(lab, measure);
    const { writes, revisionBefore, revisionAfter } = measured.cost;
    const mostMs = (withinMs: number): number =>
      Math.max(0, ...waits.map(({ toMs }) => pausedMs(waits, toMs - withinMs, toMs)));
    if (revisionAfter === revisionBefore || tries === TRIES) return measured;
    if (mostMs(suspectMs) < STARVED_MS) return measured;
    // Who lost so much of D cannot be sure to have renewed it.
    if (mostMs(waitMs) < suspectMs)
      for (const { key } of writes) if (!(await isOfChallenge(lab, key))) return measured;
    console.log('an agent waited for a processor, and was challenged: measured again');
  }
}

/** When an agent waited, or the machine stood still with everything on it, this process included. */
async function withWaits<T>(
  lab: ClusterLab,
  measure: () => Promise<T>,
): Promise<{ readonly measured: T; readonly waits: readonly Pause[] }> {
  const meter = startWaitMeter(lab.directors.map((each) => each.agentPid()));
  const stood: Pause[] = [];
  let last = monotonicMs();
  const timer = setInterval(() => {
    const now = monotonicMs();
    if (now - last > LOOK_MS + STARVED_MS) stood.push({ fromMs: last + LOOK_MS, toMs: now });
    last = now;
  }, LOOK_MS);
  let starved: readonly Pause[] = [];
  const measured = await measure().finally(() => {
    clearInterval(timer);
    starved = meter.stop();
  });
  return { measured, waits: [...starved, ...stood] };
}

/** A challenge, or an event that tells of one. */
async function isOfChallenge(lab: ClusterLab, key: string): Promise<boolean> {
  if (key.includes('/run/challenge/')) return true;
  if (!key.includes('/log/event/')) return false;
  const value = await lab.etcd.etcdctl(['get', '--print-value-only', key]);
  const event = parseRecord(EventRecord, value.trim());
  return event.ok && /^(holder\.challenged|challenge\..*)$/.test(event.value.kind);
}

function ticksOf(director: DirectorHost): number {
  return cpuTicksOf(readFileSync(`/proc/${director.agentPid()}/stat`, 'utf8'));
}

type Keys = {
  readonly revision: number;
  /** Of each key: how often it was written since it was made, and its last revision. */
  readonly writes: ReadonlyMap<string, { readonly version: number; readonly modified: number }>;
};

async function keysOf(lab: ClusterLab): Promise<Keys> {
  const answer = JSON.parse(
    await lab.etcd.etcdctl(['get', '--prefix', '/leasehold/', '--keys-only', '-w', 'json']),
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

function writesBetween(before: Keys, after: Keys): IdleCost['writes'] {
  return [...after.writes].flatMap(([key, { version, modified }]) => {
    if (modified <= before.revision) return [];
    return [{ key, count: version - (before.writes.get(key)?.version ?? 0) }];
  });
}

/** Entries of the raft log so far, the highest any member knows. */
async function raftIndexOf(lab: ClusterLab): Promise<number> {
  const answer = JSON.parse(
    await lab.etcd.etcdctl(['endpoint', 'status', '-w', 'json']),
  ) as readonly { readonly Status: { readonly raftIndex: number } }[];
  return Math.max(...answer.map(({ Status }) => Status.raftIndex));
}
