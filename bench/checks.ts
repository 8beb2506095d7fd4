/**
 * What checks cost: 1,000 and 5,000 TCP checks and 1,000 HTTP checks a second, beside HAProxy's with one thread in
 * the same run, over the same wire against the same nginx. Each target is an address of its own. Ours by one director
 * that makes all of them, and by three at once that share them, each check made by two.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { formatTable } from '../src/cli/table.ts';
import { CheckPlacement } from '../src/core/health/assignment.ts';
import type { Check } from '../src/model/cluster.ts';
import { checkId, directorId } from '../src/model/ids.ts';
import { ensurePackage } from '../test/support/debian-package.ts';
import { createNetwork, type Network } from '../test/support/network.ts';
import { type Daemon, descendantsOf, monotonicMs, run, sleep } from '../test/support/processes.ts';
import { httpCheck, ip, TCP_CHECK } from '../test/unit/core/desired/spec-builders.ts';
import type { Bench, BenchOptions } from './bench-lab.ts';
import {
  activeOpens,
  addressOf,
  FILES_MAX,
  startTargets,
  type TargetKind,
} from './checks-targets.ts';
import { cpuTicksOf, kibOf } from './proc.ts';
import { median } from './statistics.ts';

/** The first of them makes all checks where one does. */
const DIRECTORS = ['d1', 'd2', 'd3'] as const;
const CHECKER = DIRECTORS[0];
/** How many directors make each check where all of them share. */
const CHECKERS = 2;
const INTERVAL_MS = 1000;
const TIMEOUT_MS = 900;
/** All targets have been checked by then, and what the engine compiles is compiled. */
const CALM_MS = 6000;
const MEASURE_MS = 10_000;
/** Before there are checks, to see what the machine itself does to a loop. */
const IDLE_MS = 3000;

type Load = { readonly id: string; readonly kind: TargetKind; readonly targets: number };
/** Rows that may be asked for alone. */
export const CHECK_LOADS: readonly Load[] = [
  { id: 'tcp-1000', kind: 'tcp', targets: 1000 },
  { id: 'tcp-5000', kind: 'tcp', targets: 5000 },
  { id: 'http-1000', kind: 'http', targets: 1000 },
];

type Cost = {
  /** Of a core. */
  readonly cpuPercent: number;
  /** Connections that were begun, as the kernel of the checking host counts them. */
  readonly perSecond: number;
  readonly rssMb: number;
  /** Of a loop that wakes as the hold loop does, with checks and before; null: it has none. */
  readonly late: { readonly withMs: number; readonly beforeMs: number } | null;
};
type Row = {
  readonly load: Load;
  readonly ours: Cost[];
  /** Of each of the three that share, in the mean. */
  readonly shared: Cost[];
  readonly theirs: Cost[];
};

/** Processor time of one check. */
const eachUs = ({ cpuPercent, perSecond }: Cost): number => (cpuPercent * 10_000) / perSecond;

export const benchChecks: Bench = async (options) => {
  const version = await ensurePackage('haproxy', options.say);
  const network = await createNetwork({ name: 'bench-checks' });
  try {
    for (const [n, name] of DIRECTORS.entries())
      await network.addHost(name, [`10.90.0.${11 + n}/24`]);
    await startTargets(network, DIRECTORS);
    const rows = await measureAll(network, options);
    return { text: report(rows, version) };
  } finally {
    await network.close();
  }
};

async function measureAll(network: Network, options: BenchOptions): Promise<readonly Row[]> {
  const { only, runs, signal, say } = options;
  const rows = CHECK_LOADS.filter(({ id }) => only.length === 0 || only.includes(id)).map(
    (load): Row => ({ load, ours: [], shared: [], theirs: [] }),
  );
  for (let turn = 0; turn < runs; turn += 1)
    for (const { load, ours, shared, theirs } of rows) {
      const checks = checksOf(load);
      const measure = [
        async () => void ours.push(await costOfOurs(network, CHECKER, checks)),
        async () => void theirs.push(await costOfHaproxy(network, load)),
        async () => void shared.push(await costOfShared(network, checks)),
      ];
      // Who is first changes: what the machine does beside all this hits all of them.
      for (const each of turn % 2 === 0 ? measure : measure.toReversed()) {
        signal.throwIfAborted();
        await each();
      }
      const [one, each, other] = [ours, shared, theirs].map((costs) => costWords(costs.at(-1)));
      say(`${loadWords(load)}: ${one}; each of three ${each}; HAProxy ${other}`);
    }
  return rows;
}

const loadWords = ({ kind, targets }: Load): string => `${targets} ${kind.toUpperCase()} checks/s`;
const costWords = (cost: Cost | undefined): string =>
  cost === undefined
    ? 'not measured'
    : `${cost.cpuPercent.toFixed(1)} % of a core for ${cost.perSecond.toFixed(0)}/s, ${eachUs(cost).toFixed(1)} us each`;

function checksOf({ kind, targets }: Load): readonly Check[] {
  const timing = { intervalMs: INTERVAL_MS, timeoutMs: TIMEOUT_MS };
  const spec = { ...(kind === 'tcp' ? TCP_CHECK : httpCheck({})), ...timing };
  return Array.from({ length: targets }, (_, n) => {
    return { id: checkId(`bench-${n}`), address: ip(addressOf(n)), port: 80, spec };
  });
}

/** Three directors at once, each with the checks that are its own where all of them live. */
async function costOfShared(network: Network, checks: readonly Check[]): Promise<Cost> {
  const live = DIRECTORS.map((name) => directorId(name));
  const placement = new CheckPlacement(live, CHECKERS);
  const costs = await Promise.all(
    live.map((me) =>
      costOfOurs(
        network,
        me,
        checks.filter(({ id }) => placement.isChecker(id, me)),
      ),
    ),
  );
  const mean = (of: (cost: Cost) => number): number =>
    costs.reduce((sum, cost) => sum + of(cost), 0) / costs.length;
  const most = (of: (late: NonNullable<Cost['late']>) => number): number =>
    Math.max(...costs.map(({ late }) => (late === null ? 0 : of(late))));
  return {
    cpuPercent: mean(({ cpuPercent }) => cpuPercent),
    perSecond: mean(({ perSecond }) => perSecond),
    rssMb: mean(({ rssMb }) => rssMb),
    late: { withMs: most(({ withMs }) => withMs), beforeMs: most(({ beforeMs }) => beforeMs) },
  };
}

async function costOfOurs(network: Network, host: string, checks: readonly Check[]): Promise<Cost> {
  const plan = join(network.directory, `plan-${host}.json`);
  writeFileSync(plan, JSON.stringify({ me: host, checks, idleMs: IDLE_MS, calmMs: CALM_MS }));
  const child = fileURLToPath(new URL('./checks-child.mjs', import.meta.url));
  const name = `ours-${checks.length}-${Math.round(monotonicMs())}`;
  const daemon = network.spawn(host, name, [process.execPath, child, plan]);
  await sleep(IDLE_MS);
  const cost = await costOf(network, host, daemon);
  await daemon.stop();
  const said = JSON.parse(daemon.log().trim().split('\n').at(-1) ?? '') as {
    readonly idleP99Ms: number;
    readonly lateP99Ms: number;
    readonly up: number;
  };
  if (said.up !== checks.length) throw new Error(`${said.up} of ${checks.length} targets were up`);
  return { ...cost, late: { withMs: said.lateP99Ms, beforeMs: said.idleP99Ms } };
}

async function costOfHaproxy(network: Network, { kind, targets }: Load): Promise<Cost> {
  const file = join(network.directory, 'haproxy.cfg');
  const checks = kind === 'http' ? '  option httpchk GET /\n  http-check expect status 200\n' : '';
  const servers = Array.from({ length: targets }, (_, n) => `  server s${n} ${addressOf(n)}:80`);
  const text = `global
  nbthread 1
  maxconn ${FILES_MAX / 4}
  spread-checks 10
  stats socket ${join(network.directory, 'haproxy.sock')}
defaults
  mode ${kind}
  timeout connect ${TIMEOUT_MS}ms
  timeout check ${TIMEOUT_MS}ms
  timeout client 5s
  timeout server 5s
frontend f
  bind 127.0.0.1:8080
  default_backend b
backend b
${checks}  default-server check inter ${INTERVAL_MS}ms rise 2 fall 2
${servers.join('\n')}
`;
  writeFileSync(file, text);
  const name = `haproxy-${kind}-${targets}-${Math.round(monotonicMs())}`;
  const daemon = network.spawn(CHECKER, name, ['haproxy', '-db', '-f', file]);
  const cost = await costOf(network, CHECKER, daemon);
  await daemon.stop();
  return { ...cost, late: null };
}

async function costOf(network: Network, host: string, daemon: Daemon): Promise<Omit<Cost, 'late'>> {
  await sleep(CALM_MS);
  if (!daemon.isRunning()) throw new Error(`${daemon.name} ended: ${daemon.log()}`);
  const ticksPerSecond = Number((await run(['getconf', 'CLK_TCK'])).stdout);
  const before = await snapshot(network, host, daemon);
  await sleep(MEASURE_MS);
  const after = await snapshot(network, host, daemon);
  const seconds = (after.atMs - before.atMs) / 1000;
  return {
    cpuPercent: (100 * (after.ticks - before.ticks)) / ticksPerSecond / seconds,
    perSecond: (after.opened - before.opened) / seconds,
    rssMb: after.rssMb,
  };
}

async function snapshot(
  network: Network,
  host: string,
  daemon: Daemon,
): Promise<{ atMs: number; ticks: number; opened: number; rssMb: number }> {
  const opened = activeOpens(await network.execOk(host, ['cat', '/proc/net/snmp']));
  const pids = descendantsOf(daemon.pid);
  const sum = (of: (pid: number) => number): number => pids.reduce((all, pid) => all + of(pid), 0);
  return {
    atMs: monotonicMs(),
    opened,
    ticks: sum((pid) => cpuTicksOf(readFileSync(`/proc/${pid}/stat`, 'utf8'))),
    rssMb: sum((pid) => kibOf(readFileSync(`/proc/${pid}/status`, 'utf8'), 'VmRSS')) / 1024,
  };
}

function report(rows: readonly Row[], version: string): string {
  const columns = [
    'checks',
    'by',
    'CPU of one core',
    'each',
    'resident',
    'late p99 (idle)',
    'ratio',
  ];
  const middle = (costs: readonly Cost[], of: (cost: Cost) => number): number =>
    median(costs.map(of));
  const lines = rows.flatMap(({ load, ours, shared, theirs }) => {
    const line = (by: string, costs: readonly Cost[], more: readonly string[]): string[] => [
      loadWords(load),
      by,
      `${middle(costs, ({ cpuPercent }) => cpuPercent).toFixed(1)} % at ${middle(costs, ({ perSecond }) => perSecond).toFixed(0)}/s`,
      `${middle(costs, eachUs).toFixed(1)} us`,
      `${middle(costs, ({ rssMb }) => rssMb).toFixed(0)} MB`,
      ...more,
    ];
    /** `share`: the part of the targets that each director checks. */
    const lineOfOurs = (by: string, costs: readonly Cost[], share: number): string[] => {
      const late = middle(costs, (cost) => cost.late?.withMs ?? 0);
      const idle = middle(costs, (cost) => cost.late?.beforeMs ?? 0);
      const ratio = (share * middle(costs, eachUs)) / middle(theirs, eachUs);
      return line(by, costs, [`${late.toFixed(1)} ms (${idle.toFixed(1)})`, ratio.toFixed(2)]);
    };
    return [
      lineOfOurs('leasehold', ours, 1),
      lineOfOurs('each of three', shared, CHECKERS / DIRECTORS.length),
      line('HAProxy', theirs, ['-', '1']),
    ];
  });
  return `HAProxy ${version} with one thread, interval 1 s, one nginx; medians of ${rows[0]?.ours.length ?? 0} run(s) of ${MEASURE_MS / 1000} s each.
leasehold: prober, rise and fall, metrics and votes, in a process of their own; late: a loop on their main thread that
wakes every 50 ms, and in brackets before there were checks. Each of three: three such processes at once share the
targets, each target checked by ${CHECKERS} of them; the mean of the three, and of late the most. The ratio is that of
processor time for each target that is to be checked once a second, to HAProxy's that checks all of them.

${formatTable(
  columns.map((title) => ({ title })),
  lines,
)}
`;
}
