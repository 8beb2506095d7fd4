/**
 * What a client loses when a director goes, by ours and by keepalived, in the same run and on the same
 * network: two directors each as namespaces, faults by turns, so that the load of the machine falls
 * on both alike.
 */
import { type ClusterLab, clusterDocument, VIP } from '../test/support/cluster-lab.ts';
import type { DirectorHost } from '../test/support/director-host.ts';
import { sleep } from '../test/support/processes.ts';
import { macOf, settle } from '../test/support/settled.ts';
import { formatTable } from '../src/cli/table.ts';
import { type Bench, type BenchOptions, watch, withLab } from './bench-lab.ts';
import {
  createKeepalivedPair,
  ensureKeepalived,
  KEEPALIVED_VIP,
  type KeepalivedFault,
  type KeepalivedPair,
} from './keepalived.ts';
import { type Seen, seenCells } from './seen.ts';
import { formatMs } from './statistics.ts';

type Parties = { readonly holder: DirectorHost; readonly other: DirectorHost };

type Fault = {
  readonly name: string;
  readonly windowMs: number;
  readonly act: (parties: Parties) => Promise<unknown>;
  readonly undo?: (parties: Parties) => Promise<unknown>;
  /** What the same is called for keepalived; it knows no switchover and no drain. */
  readonly keepalived?: KeepalivedFault;
};

/** Of keepalived's advertisements and of our heartbeats: the runs' faults are spread over it. */
const PERIOD_MS = 1000;
const PLANNED_MS = 4000;
/** Longer than suspect + D' + 1 s of the relaxed profile. */
const CRASH_MS = 10_000;

const FAULTS: readonly Fault[] = [
  {
    name: 'SIGTERM',
    windowMs: PLANNED_MS,
    act: ({ holder }) => holder.signalAgent('SIGTERM'),
    keepalived: 'SIGTERM',
  },
  {
    name: 'switchover',
    windowMs: PLANNED_MS,
    act: ({ holder, other }) => cliOk(holder, ['switchover', 'web', '--to', other.name]),
  },
  {
    name: 'drain',
    windowMs: PLANNED_MS,
    act: ({ holder, other }) => cliOk(other, ['director', 'drain', holder.name]),
    undo: ({ holder, other }) => cliOk(other, ['director', 'undrain', holder.name]),
  },
  {
    name: 'kill -9',
    windowMs: CRASH_MS,
    act: ({ holder }) => holder.signalAgent('SIGKILL'),
    keepalived: 'kill',
  },
  {
    name: 'power off',
    windowMs: CRASH_MS,
    act: ({ holder }) => holder.powerOff(),
    undo: ({ holder }) => holder.powerOn(),
    keepalived: 'power',
  },
];

async function cliOk(director: DirectorHost, args: readonly string[]): Promise<void> {
  const done = await director.cli([...args, '--reason', 'bench']);
  if (done.code !== 0) throw new Error(`${args.join(' ')}: code ${done.code}: ${done.stderr}`);
}

type Measured = { readonly fault: Fault; readonly ours: Seen[]; readonly theirs: Seen[] };

export const benchFailover: Bench = async (options) => {
  const version = await ensureKeepalived(options.say);
  const lab = { name: 'bench-failover', kind: 'namespace', etcdMembers: 3 } as const;
  const measured = await withLab(lab, options.signal, (built) => measure(built, options));
  return report(measured, version, options.runs);
};

async function measure(lab: ClusterLab, options: BenchOptions): Promise<readonly Measured[]> {
  const pair = await createKeepalivedPair(lab.network);
  await lab.etcd.start();
  await lab.startAgents();
  await lab.applyOk(clusterDocument(lab));
  const measured = FAULTS.map((fault): Measured => ({ fault, ours: [], theirs: [] }));
  for (const { fault, ours, theirs } of measured)
    for (let run = 1; run <= options.runs; run += 1) {
      options.signal.throwIfAborted();
      const phaseMs = (PERIOD_MS * (run - 1)) / options.runs;
      const seen = await ofOurs(lab, fault, phaseMs);
      ours.push(seen);
      options.say(`${fault.name}, run ${run}: leasehold ${describe(seen)}`);
      if (fault.keepalived === undefined) continue;
      const other = await ofKeepalived(lab, pair, {
        fault: fault.keepalived,
        windowMs: fault.windowMs,
        phaseMs,
      });
      theirs.push(other);
      options.say(`${fault.name}, run ${run}: keepalived ${describe(other)}`);
    }
  return measured;
}

async function ofOurs(lab: ClusterLab, fault: Fault, phaseMs: number): Promise<Seen> {
  const parties = await settle(lab);
  await sleep(phaseMs);
  const seen = await watch(lab.network, {
    vip: VIP,
    oldMac: await macOf(parties.holder),
    windowMs: fault.windowMs,
    act: () => fault.act(parties),
  });
  await fault.undo?.(parties);
  return seen;
}

async function ofKeepalived(
  lab: ClusterLab,
  pair: KeepalivedPair,
  run: { readonly fault: KeepalivedFault; readonly windowMs: number; readonly phaseMs: number },
): Promise<Seen> {
  await pair.settle();
  await sleep(run.phaseMs);
  return await watch(lab.network, {
    vip: KEEPALIVED_VIP,
    oldMac: pair.holderMac,
    windowMs: run.windowMs,
    act: () => pair.fault(run.fault),
  });
}

function describe(seen: Seen): string {
  const next = seen.newFirstMs === null ? 'nobody took over' : `new ${formatMs(seen.newFirstMs)}`;
  const dual = `${formatMs(seen.dualMs)}${seen.isDualAtEnd ? ' until the end' : ''}`;
  return `outage ${formatMs(seen.outageMs)}, old last heard ${formatMs(seen.oldLastMs)}, ${next}, dual ${dual}`;
}

function report(measured: readonly Measured[], version: string, runs: number): string {
  const columns = [
    'fault on the holder',
    'directors run',
    'outage',
    'old voice last heard',
    'two voices',
  ].map((title) => ({ title }));
  const rows = measured.flatMap(({ fault, ours, theirs }) => [
    [fault.name, 'leasehold', ...seenCells(ours)],
    ...(theirs.length === 0 ? [] : [['', 'keepalived', ...seenCells(theirs)]]),
  ]);
  const each = measured.flatMap(({ fault, ours, theirs }) => [
    ...ours.map((seen) => `${fault.name}: leasehold: ${describe(seen)}`),
    ...theirs.map((seen) => `${fault.name}: keepalived: ${describe(seen)}`),
  ]);
  return `Two directors each, one VIP, each fault ${runs} times, spread over a second: median (least–most), seen by a client every 5 ms.
leasehold: relaxed profile (suspect 3 s, D 3 s, D' 4.85 s), three etcd members. keepalived ${version}: its
default, VRRP version 2, one advertisement a second, priorities 150/100; it has no switchover and no drain.
outage: longest gap between echo replies in the ${PLANNED_MS / 1000} s after a planned move, ${CRASH_MS / 1000} s after a crash.
old voice last heard: last ARP answer of the old holder, after the fault. Where an operator asks, the fault
begins with the start of the command line tool, a third of a second.
two voices: 5 ms for each ARP question that two directors answered.
kill -9: of the agent; of all processes of keepalived at once. power off: that, and the cable is out.

${formatTable(columns, rows)}
In this version the only gate is the lifetime that the kernel counts for the address, in whole seconds. It
needs D = 3 s, and the other one waits for its end: a crash costs more than keepalived's 3 s. In return a
dead agent's VIP leaves its kernel before anybody else has it: never two voices.

Each run, times after the fault:
${each.map((line) => `  ${line}`).join('\n')}
`;
}
