/**
 * A whole agent that checks: one director that holds a VIP, with 2,000 and with 5,000 real servers that it asks by TCP
 * every second. Its processor time and memory, how late a loop wakes that wakes as the hold loop does, and that etcd's
 * revision stands still.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { formatTable } from '../src/cli/table.ts';
import { type ClusterLab, clusterDocument, VIP } from '../test/support/cluster-lab.ts';
import { API_PORT } from '../test/support/director-host.ts';
import { type IdleCost, idleCost } from '../test/support/idle-cost.ts';
import { sleep, waitFor } from '../test/support/processes.ts';
import { type Bench, type BenchOptions, withLab } from './bench-lab.ts';
import { activeOpens, checkedService, startTargets } from './checks-targets.ts';

const COUNTS = [0, 2000, 5000] as const;
const SERVERS_EACH = 500;
const UP_LIMIT_MS = 60_000;
/** What follows from a document is done, and the engine has compiled most of what it will. */
const CALM_MS = 10_000;
const MEASURE_MS = 20_000;
/** As a Prometheus that looks often. */
const METRICS_EVERY_MS = 5000;

type Wakes = {
  /** How late each was, in milliseconds, in order. */
  readonly late: readonly number[];
  /** Of a core, by the main thread alone. */
  readonly mainPercent: number;
};

type Measured = {
  readonly servers: number;
  readonly cost: IdleCost;
  /** Connections that were begun. */
  readonly perSecond: number;
  readonly wakes: Wakes;
};

export const benchChecksAgent: Bench = async (options) => {
  const lab = {
    name: 'bench-checks',
    kind: 'namespace',
    directors: 1,
    hasWakeMeter: true,
  } as const;
  const measured = await withLab(lab, options.signal, (built) => measureAll(built, options));
  return { text: report(measured) };
};

async function measureAll(lab: ClusterLab, options: BenchOptions): Promise<readonly Measured[]> {
  await lab.etcd.start();
  await startTargets(lab.network, ['d1']);
  await lab.startAgents();
  const meter = new WakeMeter(join(lab.director('d1').directory, 'wakes.jsonl'));
  const measured: Measured[] = [];
  for (const servers of COUNTS) {
    options.signal.throwIfAborted();
    await lab.applyOk(document(lab, servers), ['--confirm-shrink']);
    await waitFor('all real servers are voted up', () => areUp(lab, servers), {
      timeoutMs: UP_LIMIT_MS,
      intervalMs: 2000,
    });
    await sleep(CALM_MS);
    const opensBefore = await opens(lab);
    meter.since();
    const end = new AbortController();
    const scraping = readMetrics(lab, end.signal);
    const cost = await idleCost(lab, MEASURE_MS);
    const wakes = meter.since();
    const perSecond = ((await opens(lab)) - opensBefore) / cost.seconds;
    end.abort();
    await scraping;
    measured.push({ servers, cost, wakes, perSecond });
    options.say(rowOf({ servers, cost, wakes, perSecond }).join('  '));
  }
  return measured;
}

function document(lab: ClusterLab, count: number): object {
  const services = Array.from({ length: Math.ceil(count / SERVERS_EACH) }, (_, s) => {
    const first = s * SERVERS_EACH;
    const own = { group: 'web', address: VIP, port: 80 + s };
    const targets = { first, count: Math.min(SERVERS_EACH, count - first) };
    return [`s${s}`, checkedService('tcp', own, targets)] as const;
  });
  return clusterDocument(lab, { services: Object.fromEntries(services) });
}

async function areUp(lab: ClusterLab, servers: number): Promise<boolean> {
  const { services, groups } = await lab.status('d1');
  const all = services.flatMap(({ realServers }) => realServers);
  const up = all.filter(({ votes }) => votes.some(({ isUp }) => isUp));
  return groups[0]?.holder === 'd1' && up.length === servers;
}

const opens = async (lab: ClusterLab): Promise<number> =>
  activeOpens(await lab.director('d1').execOk('cat /proc/net/snmp'));

async function readMetrics(lab: ClusterLab, signal: AbortSignal): Promise<void> {
  const director = lab.director('d1');
  while (!signal.aborted) {
    await director.execOk(`curl -sf -o /dev/null http://127.0.0.1:${API_PORT}/metrics`);
    for (let waited = 0; waited < METRICS_EVERY_MS && !signal.aborted; waited += 100)
      await sleep(100);
  }
}

type WakeLine = {
  readonly late: readonly number[];
  readonly atMs: number;
  readonly mainMs: number;
};

/** Reads what `wake-meter.mjs` writes in the agent. */
class WakeMeter {
  readonly #file: string;
  #read = 0;

  constructor(file: string) {
    this.#file = file;
  }

  /** Since it was asked last. */
  since(): Wakes {
    const lines = readFileSync(this.#file, 'utf8').trim().split('\n');
    const rows = lines.slice(this.#read).map((line): WakeLine => JSON.parse(line));
    this.#read = lines.length;
    const [first, last] = [rows[0], rows.at(-1)];
    if (first === undefined || last === undefined) throw new Error('the agent wrote no wakes');
    const mainPercent = (100 * (last.mainMs - first.mainMs)) / (last.atMs - first.atMs);
    return { late: rows.flatMap(({ late }) => late), mainPercent };
  }
}

/** Of 100 values, so many are not more. */
function percentile(values: readonly number[], percent: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor((sorted.length * percent) / 100))] ?? 0;
}

function rowOf({ servers, cost, wakes, perSecond }: Measured): string[] {
  const [agent] = cost.agents.values();
  return [
    String(servers),
    perSecond.toFixed(0),
    `${agent?.cpuPercent.toFixed(1)} %`,
    `${wakes.mainPercent.toFixed(1)} %`,
    `${agent?.rssMb.toFixed(0)} MB`,
    `${percentile(wakes.late, 50).toFixed(1)} ms`,
    `${percentile(wakes.late, 99).toFixed(1)} ms`,
    `${Math.max(...wakes.late).toFixed(1)} ms`,
    String(cost.revisionAfter - cost.revisionBefore),
  ];
}

function report(measured: readonly Measured[]): string {
  const columns = [
    'real servers',
    'connects/s',
    'CPU of one core',
    'main thread',
    'resident',
    'late p50',
    'p99',
    'most',
    'revisions',
  ];
  return `One director that holds, profile default; a TCP check of each real server every second; ${MEASURE_MS / 1000} s each.
Late: a loop on the agent's main thread that wakes every 50 ms. Somebody reads its metrics every ${METRICS_EVERY_MS / 1000} s.

${formatTable(
  columns.map((title) => ({ title })),
  measured.map((one) => rowOf(one)),
)}
`;
}
