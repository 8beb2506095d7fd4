/**
 * 37,000 destinations in 2,300 services: our adapter, `ipvsadm -R` and keepalived's start in one guest, and
 * then a whole agent with that document in another one: how long it takes, and its memory.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createKeys } from '../src/model/keys.ts';
import type { ClusterLab } from '../test/support/cluster-lab.ts';
import { clusterDocument } from '../test/support/cluster-lab.ts';
import { ensureKeepalived } from '../test/support/keepalived.ts';
import { monotonicMs, sleep, waitFor } from '../test/support/processes.ts';
import { type Bench, withLab } from './bench-lab.ts';
import { inGuest } from './in-guest.ts';
import type { LargeFigures } from './ipvs-large.guest.ts';
import {
  LARGE,
  largeDocumentServices,
  listedDocumentServices,
  nameOf,
  portOf,
  realServersOf,
  VIPS,
  vipOf,
} from './ipvs-large-table.ts';
import { formatMs, median } from './statistics.ts';

const GUEST_LIMITS = { timeoutMs: 480_000, memoryMb: 900 } as const;
/** The compiler has done its work, and what the applying left behind is collected. */
const CALM_MS = 30_000;
/** What rest is measured for. */
const REST_MS = 20_000;
const APPLY_LIMIT_MS = 120_000;

const LAB = {
  name: 'bench-large',
  kind: 'guest',
  directors: 1,
  directorMemoryMb: 900,
  hasLagMeter: true,
} as const;
/** The services have other names then; and a guest takes its time to judge a long document. */
const CONFIRMED = ['--confirm-shrink', '--timeout', '60s'];
/** What follows from a document is done. */
const SETTLE_MS = 10_000;
/** Between two lines of the meter. */
const METER_MS = 500;
/** Real servers of one service that come and go together. */
const CHECKED = { count: 501, port: 900, listener: 9999 } as const;

/** How long the main thread of the agent did not turn: the longest time of each half second. */
type Lag = {
  readonly medianMs: number;
  readonly mostMs: number;
  /** The longest time that the collector took of it. */
  readonly collectorMs: number;
  /** The most that it did not take. */
  readonly otherMs: number;
  readonly cpuPercent: number;
  /** In which the thread was ready to run, and something else ran. */
  readonly waitPercent: number;
};

type MeterRow = {
  readonly lagMs: number;
  readonly gcMs: number;
  readonly waitMs: number;
  readonly cpuMs: number;
};

type AgentFigures = {
  readonly applyMs: number;
  readonly oneWeightMs: number;
  readonly emptyMb: number;
  readonly residentMb: number;
  readonly peakMb: number;
  readonly listed: {
    readonly jsonBytes: number;
    readonly storedBytes: number;
    readonly ms: number;
  };
  /** From the end of the listener that all checks ask until no real server is left, and back again. */
  readonly downMs: number;
  readonly upMs: number;
  readonly lag: Readonly<Record<'empty' | 'ranges' | 'idle' | 'listed' | 'down' | 'up', Lag>>;
};

export const benchLarge: Bench = async (options) => {
  const keepalived = await ensureKeepalived(options.say);
  options.say('37,000 destinations: three rounds and a start of keepalived in a guest');
  const figures: LargeFigures = JSON.parse(await inGuest(options, 'ipvs-large', GUEST_LIMITS));
  return { text: reportTable(figures, keepalived) };
};

export const benchAgent: Bench = async ({ say, signal }) => {
  say('37,000 destinations: a whole agent');
  return { text: reportAgent(await withLab(LAB, signal, (built) => measureAgent(built))) };
};

async function measureAgent(lab: ClusterLab): Promise<AgentFigures> {
  await lab.etcd.start();
  await lab.startAgents();
  await raisePriority(lab);
  const group = {
    addresses: VIPS.map((vip) => `${vip}/24`),
    interface: 'public',
    priorities: { d1: 150 },
  };
  const document = (services: object): object =>
    clusterDocument(lab, { groups: { web: group }, services });
  const meter = new LagMeter(lab);
  await lab.applyOk(document({}));
  await sleep(CALM_MS);
  meter.since();
  await sleep(REST_MS);
  const empty = meter.since();
  const { residentMb: emptyMb } = await memoryOf(lab);
  const startMs = monotonicMs();
  await lab.applyOk(document(largeDocumentServices('web')));
  await tableHas(lab, LARGE.services + LARGE.destinations);
  const applyMs = monotonicMs() - startMs;
  const ranges = meter.since();
  await sleep(CALM_MS);
  const memory = await memoryOf(lab);
  meter.since();
  await sleep(REST_MS);
  const idle = meter.since();
  const oneWeightMs = await weigh(lab);
  meter.since();
  const listed = await applyListed(lab, document(listedDocumentServices('web')));
  const ofListed = meter.since();
  const { downMs, upMs, lag } = await changeMany(lab, document(checkedServices('web')), meter);
  return {
    applyMs,
    oneWeightMs,
    emptyMb,
    ...memory,
    listed,
    downMs,
    upMs,
    lag: { empty, ranges, idle, listed: ofListed, ...lag },
  };
}

/** Waits until the kernel has so many services and destinations. */
async function tableHas(lab: ClusterLab, count: number): Promise<void> {
  // The head of the file has three lines.
  const isWhole = async (): Promise<boolean> =>
    Number(await lab.director('d1').execOk('wc -l </proc/net/ip_vs')) === count + 3;
  await waitFor('the table is whole', isWhole, { timeoutMs: APPLY_LIMIT_MS, intervalMs: 500 });
}

/** The same table from a document that lists every real server: until the agent works with it. */
async function applyListed(lab: ClusterLab, document: object): Promise<AgentFigures['listed']> {
  const startMs = monotonicMs();
  const { code, stdout, stderr } = await lab.apply(document, CONFIRMED);
  const revision = /^revision (\d+)$/m.exec(stdout)?.[1];
  if (code !== 0 || revision === undefined) throw new Error(`apply: ${stderr}`);
  const enforced = new RegExp(`"revision":${revision},.*"spec.enforced"`);
  const isInForce = (): boolean => enforced.test(lab.director('d1').agentLog());
  await waitFor('the long document is in force', isInForce, { timeoutMs: APPLY_LIMIT_MS });
  const ms = monotonicMs() - startMs;
  const stored = await lab.etcd.etcdctl(['get', createKeys('lab').spec, '--print-value-only']);
  await sleep(SETTLE_MS);
  await tableHas(lab, LARGE.services + LARGE.destinations);
  return { jsonBytes: JSON.stringify(document).length, storedBytes: stored.length, ms };
}

/** All services with ranges, and one with checks that one listener answers for all its real servers. */
const checkedServices = (group: string): Readonly<Record<string, object>> => ({
  ...largeDocumentServices(group),
  checked: {
    group,
    address: VIPS[0],
    port: CHECKED.port,
    check: { tcp: {}, port: CHECKED.listener, interval: '1s', timeout: '500ms', fall: 1, rise: 1 },
    realServers: Array.from({ length: CHECKED.count }, (_, d) => ({
      address: `10.94.${d >> 8}.${d & 255}`,
    })).slice(1),
  },
});

async function changeMany(
  lab: ClusterLab,
  document: object,
  meter: LagMeter,
): Promise<Pick<AgentFigures, 'downMs' | 'upMs'> & { lag: Record<'down' | 'up', Lag> }> {
  const director = lab.director('d1');
  await director.execOk('ip link set lo up; ip route add local 10.94.0.0/16 dev lo');
  const listen = async (): Promise<string> => {
    const script = `require("net").createServer((one) => one.on("error", () => {}).end()).listen(${CHECKED.listener})`;
    const command = `setsid nohup ${process.execPath} -e '${script}' >/dev/null 2>&1 </dev/null & echo $!`;
    return (await director.execOk(command)).trim();
  };
  const whole = LARGE.services + 1 + LARGE.destinations;
  let pid = await listen();
  await lab.applyOk(document, CONFIRMED);
  await tableHas(lab, whole + CHECKED.count - 1);
  await sleep(CALM_MS);
  meter.since();
  const downAt = monotonicMs();
  await director.execOk(`kill ${pid}`);
  await tableHas(lab, whole);
  const downMs = monotonicMs() - downAt;
  const down = meter.since();
  await sleep(SETTLE_MS);
  meter.since();
  const upAt = monotonicMs();
  pid = await listen();
  await tableHas(lab, whole + CHECKED.count - 1);
  const upMs = monotonicMs() - upAt;
  const up = meter.since();
  await director.execOk(`kill ${pid}`);
  return { downMs, upMs, lag: { down, up } };
}

/** A shorter stop of the collector was another one. */
const otherMsOf = ({ lagMs, gcMs }: MeterRow): number =>
  gcMs < lagMs / 2 ? lagMs : Math.max(0, lagMs - gcMs);

/** As its systemd unit has it: the guest has one processor, and the bench's own tools run there too. */
async function raisePriority(lab: ClusterLab): Promise<void> {
  await lab
    .director('d1')
    .execOk(`for pid in $(ps -eo pid,args | awk '/main.js agent/ && !/awk/ { print $1 }'); do
      for task in /proc/$pid/task/*; do renice -n -10 -p \${task##*/} >/dev/null; done; done`);
}

/** Reads what the agent writes of its main thread. */
class LagMeter {
  readonly #file: string;
  #read = 0;
  #cpuMs = 0;

  constructor(lab: ClusterLab) {
    this.#file = join(lab.director('d1').directory, 'lag.jsonl');
  }

  /** Since it was asked last. */
  since(): Lag {
    const lines = readFileSync(this.#file, 'utf8').trim().split('\n');
    const rows = lines.slice(this.#read).map((line): MeterRow => JSON.parse(line));
    this.#read = lines.length;
    const lags = rows.map(({ lagMs }) => lagMs);
    const cpuMs = rows.at(-1)?.cpuMs ?? this.#cpuMs;
    const wholeMs = rows.length * METER_MS;
    const cpuPercent = ((cpuMs - this.#cpuMs) / wholeMs) * 100;
    this.#cpuMs = cpuMs;
    return {
      medianMs: median(lags),
      mostMs: Math.max(...lags),
      collectorMs: Math.max(...rows.map(({ gcMs }) => gcMs)),
      otherMs: Math.max(...rows.map(otherMsOf)),
      cpuPercent,
      waitPercent: (rows.reduce((sum, { waitMs }) => sum + waitMs, 0) / wholeMs) * 100,
    };
  }
}

/** One real server of a VIP, at all its ports: from the end of the command until the kernel has the weight. */
async function weigh(lab: ClusterLab): Promise<number> {
  const director = lab.director('d1');
  const service = LARGE.services >> 1;
  const [address] = realServersOf(service);
  const target = `${nameOf(service)}/${address}`;
  const done = await director.cli(['rs', 'weight', target, '7', '--reason', 'bench']);
  if (done.code !== 0) throw new Error(`rs weight: ${done.stdout}${done.stderr}`);
  const startMs = monotonicMs();
  const isSo = async (): Promise<boolean> => {
    const shown = await director.execOk(`ipvsadm -Ln -t ${vipOf(service)}:${portOf(service)}`);
    return new RegExp(`-> ${address}:\\d+ +Route +7 `).test(shown);
  };
  await waitFor('the kernel has the weight', isSo, { timeoutMs: 30_000, intervalMs: 20 });
  return monotonicMs() - startMs;
}

/** Of all processes of the agent, in MiB: now, and the most it ever was. */
async function memoryOf(lab: ClusterLab): Promise<{ residentMb: number; peakMb: number }> {
  const shown = await lab
    .director('d1')
    .execOk(`for pid in $(ps -eo pid,args | awk '/main.js agent/ && !/awk/ { print $1 }'); do
      grep -E '^Vm(RSS|HWM)' /proc/$pid/status; done`);
  const sum = (name: string): number =>
    [...shown.matchAll(new RegExp(`^${name}:\\s+(\\d+) kB`, 'gm'))].reduce(
      (total, row) => total + Number(row[1]),
      0,
    ) / 1024;
  return { residentMb: sum('VmRSS'), peakMb: sum('VmHWM') };
}

const mb = (value: number): string => `${value.toFixed(0)} MiB`;

function reportTable(figures: LargeFigures, keepalived: string): string {
  const each = (values: readonly number[]): string =>
    `median ${formatMs(median(values))} (${values.map((value) => formatMs(value)).join(', ')})`;
  return `${LARGE.services} services, ${LARGE.destinations} destinations, in a guest; rounds in order, the first one cold
full apply, dump + plan + apply:   ${each(figures.fullMs)}
ipvsadm -R, same rules:            ${each(figures.ipvsadmMs)}
keepalived ${keepalived}, start, no checks:  ${formatMs(figures.keepalivedMs)}, resident ${mb(figures.keepalivedMb)}
nothing to do, dump + plan:        ${each(figures.noopMs)}; CPU ${each(figures.noopCpuMs)}
ipvsadm -Sn >/dev/null:            ${each(figures.savedMs)}; CPU ${each(figures.savedCpuMs)}
ratio of the medians of CPU time:  ${(median(figures.noopCpuMs) / median(figures.savedCpuMs)).toFixed(2)} (target: at most 2)
one weight, dump + plan + apply:   ${each(figures.oneWeightMs)}
one weight by ipvsadm -e:          ${each(figures.ipvsadmOneMs)}
`;
}

function reportAgent(agent: AgentFigures): string {
  return `${LARGE.services} services, ${LARGE.destinations} destinations, a whole agent in a guest, no checks but where they are named
  from "leasehold apply" to the whole table: ${formatMs(agent.applyMs)} (with the command's own start)
  from the answer of "leasehold rs weight", one real server of 100 services, to the kernel: ${formatMs(agent.oneWeightMs)}
  a document that lists all 37,000: ${agent.listed.jsonBytes} bytes of JSON, ${agent.listed.storedBytes} in etcd; from "leasehold apply" until it is in force: ${formatMs(agent.listed.ms)}
  500 real servers stop answering (checked every second): gone from the kernel after ${formatMs(agent.downMs)}; they answer again: back after ${formatMs(agent.upMs)}
  resident: ${mb(agent.emptyMb)} without services, ${mb(agent.residentMb)} with them after ${CALM_MS / 1000} s, ${mb(agent.peakMb)} at most
longest time in which the agent's main thread did not turn, of each half second: median, most (the collector's longest stop;
the longest of anything else); CPU of one core; of the time, ready to run while something else ran on the one processor
${lagRow('no services', agent.lag.empty)}
${lagRow('the document with ranges is applied, and the table made', agent.lag.ranges)}
${lagRow('at rest, a pass every two seconds', agent.lag.idle)}
${lagRow('the document that lists all of them is applied', agent.lag.listed)}
${lagRow('500 real servers go down', agent.lag.down)}
${lagRow('500 real servers come up', agent.lag.up)}
`;
}

const lagRow = (what: string, lag: Lag): string => {
  const { medianMs, mostMs, collectorMs, otherMs, cpuPercent, waitPercent } = lag;
  const stops = `${medianMs.toFixed(1)} ms, ${mostMs.toFixed(0)} ms (${collectorMs.toFixed(0)} ms; ${otherMs.toFixed(0)} ms)`;
  return `  ${`${what}:`.padEnd(58)} ${stops}; ${cpuPercent.toFixed(0)} %; ${waitPercent.toFixed(0)} %`;
};
