/**
 * A whole agent that checks: one director that holds a VIP, with 2,000 and with 5,000 real servers that it asks by TCP
 * every second. Its processor time and memory, how late its hold loop wakes, and that etcd's revision stands still.
 */
import { formatTable } from '../src/cli/table.ts';
import { type ClusterLab, clusterDocument, VIP } from '../test/support/cluster-lab.ts';
import { API_PORT } from '../test/support/director-host.ts';
import { type IdleCost, idleCost } from '../test/support/idle-cost.ts';
import { sleep, waitFor } from '../test/support/processes.ts';
import { type Bench, type BenchOptions, withLab } from './bench-lab.ts';
import { addressOf, startTargets } from './checks.ts';

const COUNTS = [0, 2000, 5000] as const;
const SERVERS_EACH = 500;
const CALM_MS = 8000;
const MEASURE_MS = 15_000;
const LAG_EVERY_MS = 100;

type Measured = {
  readonly servers: number;
  readonly cost: IdleCost;
  /** How late the hold loop woke, in milliseconds, as its metric said ten times a second. */
  readonly lags: readonly number[];
};

export const benchChecksAgent: Bench = async (options) => {
  const lab = { name: 'bench-checks', kind: 'namespace', directors: 1 } as const;
  const measured = await withLab(lab, options.signal, (built) => measureAll(built, options));
  return { text: report(measured) };
};

async function measureAll(lab: ClusterLab, options: BenchOptions): Promise<readonly Measured[]> {
  await lab.etcd.start();
  await startTargets(lab.network, 'd1');
  await lab.startAgents();
  const measured: Measured[] = [];
  for (const servers of COUNTS) {
    options.signal.throwIfAborted();
    await lab.applyOk(document(lab, servers), ['--confirm-shrink']);
    await waitFor('all real servers are voted up', () => areUp(lab, servers), {
      timeoutMs: 40_000,
      intervalMs: 1000,
    });
    await sleep(CALM_MS);
    const lags: number[] = [];
    const end = new AbortController();
    const watching = watchLag(lab, lags, end.signal);
    const cost = await idleCost(lab, MEASURE_MS);
    end.abort();
    await watching;
    measured.push({ servers, cost, lags });
    options.say(rowOf({ servers, cost, lags }).join('  '));
  }
  return measured;
}

function document(lab: ClusterLab, count: number): object {
  const services = Array.from({ length: Math.ceil(count / SERVERS_EACH) }, (_, s) => {
    const own = Math.min(SERVERS_EACH, count - s * SERVERS_EACH);
    const realServers = Array.from({ length: own }, (_each, n) => ({
      address: addressOf(s * SERVERS_EACH + n),
    }));
    const service = {
      group: 'web',
      address: VIP,
      port: 80 + s,
      scheduler: 'rr',
      forward: 'nat',
      check: { tcp: {}, port: 80, interval: '1s', timeout: '900ms' },
      realServers: realServers.map((one) => ({ ...one, port: 80 })),
    };
    return [`s${s}`, service] as const;
  });
  return clusterDocument(lab, { services: Object.fromEntries(services) });
}

async function areUp(lab: ClusterLab, servers: number): Promise<boolean> {
  const { services, groups } = await lab.status('d1');
  const all = services.flatMap(({ realServers }) => realServers);
  const up = all.filter(({ votes }) => votes.some(({ isUp }) => isUp));
  return groups[0]?.holder === 'd1' && up.length === servers;
}

async function watchLag(lab: ClusterLab, lags: number[], signal: AbortSignal): Promise<void> {
  const director = lab.director('d1');
  while (!signal.aborted) {
    const { stdout } = await director.exec(
      `curl -s http://127.0.0.1:${API_PORT}/metrics | grep '^leasehold_event_loop_lag_seconds'`,
    );
    const seconds = Number(stdout.trim().split(' ').at(-1));
    if (Number.isFinite(seconds)) lags.push(seconds * 1000);
    await sleep(LAG_EVERY_MS);
  }
}

function rowOf({ servers, cost, lags }: Measured): string[] {
  const [agent] = cost.agents.values();
  const sorted = lags.toSorted((a, b) => a - b);
  const p99 = sorted[Math.floor(sorted.length * 0.99)] ?? 0;
  return [
    String(servers),
    `${agent?.cpuPercent.toFixed(1)} %`,
    `${agent?.rssMb.toFixed(0)} MB`,
    `${p99.toFixed(1)} ms`,
    String(cost.revisionAfter - cost.revisionBefore),
  ];
}

function report(measured: readonly Measured[]): string {
  const columns = ['real servers', 'CPU of one core', 'resident', 'lag p99', 'revisions'];
  return `One director that holds, profile default; TCP checks every second; ${MEASURE_MS / 1000} s each. The processor time
includes the answers to ${1000 / LAG_EVERY_MS} requests for metrics a second, and without real servers as well.

${formatTable(
  columns.map((title) => ({ title })),
  measured.map((one) => rowOf(one)),
)}
`;
}
