/**
 * What checks cost: 1,000 and 5,000 TCP checks and 1,000 HTTP checks a second, beside HAProxy's with one thread in
 * the same run, over the same wire against the same nginx. Each target is an address of its own.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { formatTable } from '../src/cli/table.ts';
import type { Check } from '../src/model/cluster.ts';
import { checkId } from '../src/model/ids.ts';
import { ensurePackage } from '../test/support/debian-package.ts';
import { createNetwork, type Network } from '../test/support/network.ts';
import { nginxConfiguration } from '../test/support/nginx.ts';
import {
  type Daemon,
  descendantsOf,
  GiveUp,
  monotonicMs,
  run,
  sleep,
  waitFor,
} from '../test/support/processes.ts';
import { httpCheck, ip, TCP_CHECK } from '../test/unit/core/desired/spec-builders.ts';
import type { Bench, BenchOptions } from './bench-lab.ts';
import { cpuTicksOf, kibOf } from './proc.ts';
import { median } from './statistics.ts';

const CHECKER = 'checker';
export const TARGETS = 'targets';
const TARGETS_ADDRESS = '10.90.0.3';
/** All of them are the host of the targets. */
export const TARGETS_NETWORK = '10.92.0.0/16';
const INTERVAL_MS = 1000;
const TIMEOUT_MS = 900;
/** All targets have been checked by then, and what the engine compiles is compiled. */
const CALM_MS = 6000;
const MEASURE_MS = 12_000;
/** Before there are checks, to see what the machine itself does to a loop. */
const IDLE_MS = 4000;
/** Descriptors and ports for 5,000 targets that hang. */
const FILES_MAX = 16_384;

type Kind = 'tcp' | 'http';
type Load = { readonly kind: Kind; readonly targets: number };
const LOADS: readonly Load[] = [
  { kind: 'tcp', targets: 1000 },
  { kind: 'tcp', targets: 5000 },
  { kind: 'http', targets: 1000 },
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
type Row = { readonly load: Load; readonly ours: Cost[]; readonly theirs: Cost[] };

/** Processor time of one check. */
const eachUs = ({ cpuPercent, perSecond }: Cost): number => (cpuPercent * 10_000) / perSecond;

export const benchChecks: Bench = async (options) => {
  const version = await ensurePackage('haproxy', options.say);
  const network = await createNetwork({ name: 'bench-checks' });
  try {
    await network.addHost(CHECKER, ['10.90.0.1/24']);
    await startTargets(network, CHECKER);
    const rows = await measureAll(network, options);
    return { text: report(rows, version) };
  } finally {
    await network.close();
  }
};

/** nginx at every address of the targets' network, for a host that is there already. */
export async function startTargets(network: Network, checker: string): Promise<void> {
  await network.addHost(TARGETS, [`${TARGETS_ADDRESS}/24`]);
  await network.execOk(TARGETS, ['ip', 'route', 'add', 'local', TARGETS_NETWORK, 'dev', 'lo']);
  await network.execOk(TARGETS, ['sysctl', '-q', '-w', `net.core.somaxconn=${FILES_MAX}`]);
  await network.execOk(checker, ['ip', 'route', 'add', TARGETS_NETWORK, 'via', TARGETS_ADDRESS]);
  const prefix = network.directory;
  const configuration = nginxConfiguration(prefix, { name: 'ok' })
    .replace('error_log stderr notice', 'error_log stderr crit')
    .replace('worker_connections 512', `worker_connections ${FILES_MAX}`)
    .replace('listen 80;', `listen 80 backlog=${FILES_MAX};`);
  writeFileSync(join(prefix, 'nginx.conf'), configuration);
  const argv = ['nginx', '-p', prefix, '-c', join(prefix, 'nginx.conf')];
  const nginx = network.spawn(TARGETS, 'nginx', argv);
  const answers = async (): Promise<boolean> => {
    if (!nginx.isRunning()) throw new GiveUp(`nginx ended: ${nginx.log()}`);
    const connect = `exec 3<>/dev/tcp/${addressOf(0)}/80`;
    return (await network.exec(checker, ['bash', '-c', connect])).code === 0;
  };
  await waitFor('nginx answers at the address of a target', answers, { timeoutMs: 10_000 });
}

export const addressOf = (n: number): string => `10.92.${1 + Math.floor(n / 250)}.${1 + (n % 250)}`;

async function measureAll(network: Network, options: BenchOptions): Promise<readonly Row[]> {
  const rows = LOADS.map((load): Row => ({ load, ours: [], theirs: [] }));
  for (let turn = 0; turn < options.runs; turn += 1)
    for (const { load, ours, theirs } of rows) {
      const measure = [
        async () => void ours.push(await costOfOurs(network, load)),
        async () => void theirs.push(await costOfHaproxy(network, load)),
      ];
      // Who is first changes: what the machine does beside all this hits both.
      for (const each of turn % 2 === 0 ? measure : measure.toReversed()) {
        options.signal.throwIfAborted();
        await each();
      }
      const [mine, other] = [ours.at(-1), theirs.at(-1)];
      if (mine === undefined || other === undefined) throw new Error('both have been measured');
      options.say(`${loadWords(load)}: ${costWords(mine)}; HAProxy ${costWords(other)}`);
    }
  return rows;
}

const loadWords = ({ kind, targets }: Load): string => `${targets} ${kind.toUpperCase()} checks/s`;
const costWords = (cost: Cost): string =>
  `${cost.cpuPercent.toFixed(1)} % of a core for ${cost.perSecond.toFixed(0)}/s, ${eachUs(cost).toFixed(1)} us each`;

function checksOf({ kind, targets }: Load): readonly Check[] {
  const timing = { intervalMs: INTERVAL_MS, timeoutMs: TIMEOUT_MS };
  const spec = { ...(kind === 'tcp' ? TCP_CHECK : httpCheck({})), ...timing };
  return Array.from({ length: targets }, (_, n) => {
    return { id: checkId(`bench-${n}`), address: ip(addressOf(n)), port: 80, spec };
  });
}

async function costOfOurs(network: Network, load: Load): Promise<Cost> {
  const plan = join(network.directory, 'plan.json');
  writeFileSync(plan, JSON.stringify({ checks: checksOf(load), idleMs: IDLE_MS, calmMs: CALM_MS }));
  const child = fileURLToPath(new URL('./checks-child.mjs', import.meta.url));
  const name = `ours-${load.kind}-${load.targets}-${Math.round(monotonicMs())}`;
  const daemon = network.spawn(CHECKER, name, [process.execPath, child, plan]);
  await sleep(IDLE_MS);
  const cost = await costOf(network, daemon);
  await daemon.stop();
  const said = JSON.parse(daemon.log().trim().split('\n').at(-1) ?? '') as {
    readonly idleP99Ms: number;
    readonly lateP99Ms: number;
    readonly up: number;
  };
  if (said.up !== load.targets) throw new Error(`${said.up} of ${load.targets} targets were up`);
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
  const cost = await costOf(network, daemon);
  await daemon.stop();
  return { ...cost, late: null };
}

async function costOf(network: Network, daemon: Daemon): Promise<Omit<Cost, 'late'>> {
  await sleep(CALM_MS);
  if (!daemon.isRunning()) throw new Error(`${daemon.name} ended: ${daemon.log()}`);
  const ticksPerSecond = Number((await run(['getconf', 'CLK_TCK'])).stdout);
  const before = await snapshot(network, daemon);
  await sleep(MEASURE_MS);
  const after = await snapshot(network, daemon);
  const seconds = (after.atMs - before.atMs) / 1000;
  return {
    cpuPercent: (100 * (after.ticks - before.ticks)) / ticksPerSecond / seconds,
    perSecond: (after.opened - before.opened) / seconds,
    rssMb: after.rssMb,
  };
}

async function snapshot(
  network: Network,
  daemon: Daemon,
): Promise<{ atMs: number; ticks: number; opened: number; rssMb: number }> {
  const opened = activeOpens(await network.execOk(CHECKER, ['cat', '/proc/net/snmp']));
  const pids = descendantsOf(daemon.pid);
  const sum = (of: (pid: number) => number): number => pids.reduce((all, pid) => all + of(pid), 0);
  return {
    atMs: monotonicMs(),
    opened,
    ticks: sum((pid) => cpuTicksOf(readFileSync(`/proc/${pid}/stat`, 'utf8'))),
    rssMb: sum((pid) => kibOf(readFileSync(`/proc/${pid}/status`, 'utf8'), 'VmRSS')) / 1024,
  };
}

/** Connections that this network namespace began, out of /proc/net/snmp. */
function activeOpens(snmp: string): number {
  const [names = [], values = []] = snmp
    .split('\n')
    .filter((line) => line.startsWith('Tcp:'))
    .map((line) => line.split(' '));
  const value = Number(values[names.indexOf('ActiveOpens')]);
  if (!Number.isFinite(value)) throw new Error('no ActiveOpens in /proc/net/snmp');
  return value;
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
  const lines = rows.flatMap(({ load, ours, theirs }) => {
    const ratio = middle(ours, eachUs) / middle(theirs, eachUs);
    const line = (by: string, costs: readonly Cost[], more: readonly string[]): string[] => [
      loadWords(load),
      by,
      `${middle(costs, ({ cpuPercent }) => cpuPercent).toFixed(1)} % at ${middle(costs, ({ perSecond }) => perSecond).toFixed(0)}/s`,
      `${middle(costs, eachUs).toFixed(1)} us`,
      `${middle(costs, ({ rssMb }) => rssMb).toFixed(0)} MB`,
      ...more,
    ];
    const late = middle(ours, (cost) => cost.late?.withMs ?? 0);
    const idle = middle(ours, (cost) => cost.late?.beforeMs ?? 0);
    return [
      line('leasehold', ours, [`${late.toFixed(1)} ms (${idle.toFixed(1)})`, ratio.toFixed(2)]),
      line('HAProxy', theirs, ['-', '1']),
    ];
  });
  return `HAProxy ${version} with one thread, interval 1 s, one nginx; medians of ${rows[0]?.ours.length ?? 0} run(s) of ${MEASURE_MS / 1000} s each.
leasehold: prober, rise and fall, metrics and votes, in a process of their own; late: a loop on their main thread that
wakes every 50 ms, and in brackets before there were checks. The ratio is that of processor time for each check.

${formatTable(
  columns.map((title) => ({ title })),
  lines,
)}
`;
}
