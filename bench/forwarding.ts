/**
 * The main job as the client sees it: two directors with real IPVS, LVS-DR to three nginx, HTTP through
 * the VIP. Directors are guests with their own kernel; where the running kernel has ip_vs, namespaces.
 */
import {
  dualTimeMs,
  longestOutageMs,
  type RequestRecord,
  startHttpProbe,
  startVoiceProbe,
} from '../test/support/client-probe.ts';
import {
  boundsOf,
  CLIENT,
  CLIENT_ADDRESS,
  type ClusterLab,
  clusterDocument,
  VIP,
} from '../test/support/cluster-lab.ts';
import { type DirectorHost, type DirectorKind, hasIpvs } from '../test/support/director-host.ts';
import { monotonicMs, sleep, waitFor } from '../test/support/processes.ts';
import { macOf, settle } from '../test/support/settled.ts';
import { formatTable } from '../src/cli/table.ts';
import { watch } from '../test/support/watched.ts';
import { type Bench, type BenchOptions, withLab } from './bench-lab.ts';
import { formatMs, formatSpread, median } from './statistics.ts';

const URL = `http://${VIP}/`;
const CHECK = { intervalMs: 1000, timeoutMs: 500, fall: 2 } as const;
/** Heartbeat + suspect + D' + 1 s. */
const TAKEOVER_MS = boundsOf('relaxed').takeoverMs;
const GONE_MS = CHECK.intervalMs * CHECK.fall + CHECK.timeoutMs + 500;
const HAND_WINDOW_MS = 4000;

type Figure = { readonly ms: number; readonly note: string };
type Case = {
  readonly name: string;
  readonly what: string;
  readonly boundMs: number;
  readonly measure: (lab: ClusterLab) => Promise<Figure>;
};

const CASES: readonly Case[] = [
  {
    name: 'holder loses power (its kernel is killed)',
    what: 'longest time without an answered request',
    boundMs: TAKEOVER_MS,
    measure: losePower,
  },
  {
    name: 'holder is drained',
    what: 'longest time without an answered request',
    boundMs: 1000,
    measure: drain,
  },
  {
    name: 'nginx of a real server stops',
    what: 'until it is in no kernel',
    boundMs: GONE_MS,
    measure: stopRealServer,
  },
  {
    name: 'ipvsadm -D on the holder',
    what: 'until the service is complete again in its kernel',
    boundMs: 5000,
    measure: deleteService,
  },
  {
    name: 'ip address delete VIP on the holder',
    what: 'longest time without an echo from the VIP',
    boundMs: 1000,
    measure: deleteAddress,
  },
];

export const benchForwarding: Bench = async (options) => {
  const kind = (await hasIpvs()) ? 'namespace' : 'guest';
  const lab = { name: 'bench-forwarding', kind, realServers: 3 } as const;
  const figures = await withLab(lab, options.signal, (built) => measureAll(built, options));
  return { text: report(figures, kind, options.runs) };
};

type Measured = { readonly case: Case; readonly figures: Figure[] };

async function measureAll(lab: ClusterLab, options: BenchOptions): Promise<readonly Measured[]> {
  await lab.etcd.start();
  for (const server of lab.realServers) {
    await server.start();
    await server.acceptVips([VIP]);
  }
  await lab.startAgents();
  await lab.applyOk(document(lab));
  const measured = CASES.map((each): Measured => ({ case: each, figures: [] }));
  for (const { case: each, figures } of measured)
    for (let run = 1; run <= options.runs; run += 1) {
      options.signal.throwIfAborted();
      await waitFor('all tables are complete', () => isComplete(lab), { timeoutMs: 30_000 });
      const figure = await each.measure(lab);
      figures.push(figure);
      options.say(`${each.name}, run ${run}: ${formatMs(figure.ms)}; ${figure.note}`);
    }
  return measured;
}

function document(lab: ClusterLab): object {
  const service = {
    group: 'web',
    address: VIP,
    port: 80,
    scheduler: 'rr',
    forward: 'dr',
    check: {
      http: { path: '/', status: 200 },
      interval: `${CHECK.intervalMs}ms`,
      timeout: `${CHECK.timeoutMs}ms`,
      rise: 2,
      fall: CHECK.fall,
    },
    realServers: lab.realServers.map((each) => ({ address: each.address })),
  };
  return clusterDocument(lab, { services: { 'web-http': service } });
}

/** Addresses of the real servers in one director's kernel. */
async function destinationsIn(director: DirectorHost): Promise<readonly string[]> {
  const { stdout } = await director.exec(`ipvsadm -Ln -t ${VIP}:80`);
  return [...stdout.matchAll(/-> (\d\S+):80\s+Route\s+1\b/g)].map((row) => row[1] ?? '');
}

async function isComplete(lab: ClusterLab): Promise<boolean> {
  for (const director of lab.directors)
    if ((await destinationsIn(director)).length !== lab.realServers.length) return false;
  return true;
}

type Requests = {
  readonly records: readonly RequestRecord[];
  readonly outageMs: number;
  readonly failed: number;
};

/** Asks 40 times a second from half a second before `act` until `act` is over and a bit longer. */
async function requestsDuring(
  lab: ClusterLab,
  restMs: number,
  act: () => Promise<unknown>,
): Promise<Requests> {
  const probe = await startHttpProbe(lab.network, { client: CLIENT, url: URL });
  await sleep(500);
  const startMs = monotonicMs();
  await act();
  await sleep(restMs);
  const endMs = monotonicMs();
  const records = await probe.stop();
  return {
    records,
    outageMs: longestOutageMs(records, startMs, endMs),
    failed: records.filter((each) => each.answer === null).length,
  };
}

const failedOf = (seen: Requests): string =>
  `${seen.failed} of ${seen.records.length} requests failed`;

async function losePower(lab: ClusterLab): Promise<Figure> {
  const { holder, other } = await settle(lab);
  const target = { client: CLIENT, ownAddress: CLIENT_ADDRESS, vip: VIP };
  const voices = await startVoiceProbe(lab.network, target);
  const seen = await requestsDuring(lab, 1500, async () => {
    await holder.powerOff();
    await holds(lab, other, TAKEOVER_MS + 5000);
  });
  const dual = dualTimeMs(await voices.stop());
  await holder.powerOn();
  await settle(lab);
  return { ms: seen.outageMs, note: `${failedOf(seen)}; two voices ${formatMs(dual)}` };
}

async function drain(lab: ClusterLab): Promise<Figure> {
  const { holder, other } = await settle(lab);
  const asked = (verb: string): Promise<string> => cliOk(other, [verb, holder.name]);
  const seen = await requestsDuring(lab, 1500, async () => {
    await asked('drain');
    await holds(lab, other, 15_000);
  });
  await asked('undrain');
  return { ms: seen.outageMs, note: failedOf(seen) };
}

async function cliOk(director: DirectorHost, args: readonly string[]): Promise<string> {
  const done = await director.cli(['director', ...args, '--reason', 'bench']);
  if (done.code !== 0) throw new Error(`${args.join(' ')}: code ${done.code}: ${done.stderr}`);
  return done.stdout;
}

async function holds(lab: ClusterLab, director: DirectorHost, timeoutMs: number): Promise<void> {
  const hasVip = (): Promise<boolean> => lab.hasAddress(director.name, VIP);
  await waitFor(`${director.name} holds`, hasVip, { timeoutMs });
}

async function stopRealServer(lab: ClusterLab): Promise<Figure> {
  await settle(lab);
  const [victim] = lab.realServers;
  if (victim === undefined) throw new Error('no real server in this lab');
  let goneMs: readonly number[] = [];
  const seen = await requestsDuring(lab, 500, async () => {
    const startMs = monotonicMs();
    await victim.stop();
    goneMs = await Promise.all(
      lab.directors.map((each) => goneAfter(each, victim.address, startMs)),
    );
  });
  await victim.start();
  return {
    ms: Math.max(...goneMs),
    note: `kernels ${goneMs.map(formatMs).join(', ')}; ${failedOf(seen)} meanwhile`,
  };
}

async function goneAfter(
  director: DirectorHost,
  address: string,
  startMs: number,
): Promise<number> {
  const isGone = async (): Promise<boolean> => !(await destinationsIn(director)).includes(address);
  const options = { timeoutMs: 15_000, intervalMs: 20 };
  await waitFor(`${director.name} has dropped the real server`, isGone, options);
  return monotonicMs() - startMs;
}

async function deleteService(lab: ClusterLab): Promise<Figure> {
  const { holder } = await settle(lab);
  let repairedMs = 0;
  const seen = await requestsDuring(lab, 1000, async () => {
    const deletedMs = monotonicMs();
    await holder.execOk(`ipvsadm -D -t ${VIP}:80`);
    const isBack = async (): Promise<boolean> =>
      (await destinationsIn(holder)).length === lab.realServers.length;
    await waitFor('the service is back', isBack, { timeoutMs: 15_000, intervalMs: 20 });
    repairedMs = monotonicMs() - deletedMs;
  });
  return { ms: repairedMs, note: `client: outage ${formatMs(seen.outageMs)}, ${failedOf(seen)}` };
}

async function deleteAddress(lab: ClusterLab): Promise<Figure> {
  const { holder } = await settle(lab);
  const { verdicts } = await watch(lab.network, {
    vips: [VIP],
    oldMac: await macOf(holder),
    echo: 'neighbour',
    windowMs: HAND_WINDOW_MS,
    act: () => holder.execOk(`ip address delete ${VIP}/24 dev ${holder.device}`),
  });
  const [seen] = verdicts;
  if (seen === undefined) throw new Error('the probe saw nothing');
  const who = seen.newFirstMs === null ? 'the same holder answers' : 'the other one answers';
  return { ms: seen.outageMs, note: `${who}; two voices ${formatMs(seen.dualMs)}` };
}

function report(measured: readonly Measured[], kind: DirectorKind, runs: number): string {
  const columns = ['case', 'what', 'median (least–most)', 'bound', ''];
  const rows = measured.map(({ case: each, figures }) => {
    const values = figures.map((figure) => figure.ms);
    const verdict = median(values) <= each.boundMs ? 'met' : 'MISSED';
    return [each.name, each.what, formatSpread(values), formatMs(each.boundMs), verdict];
  });
  const each = measured.flatMap((item) =>
    item.figures.map((figure) => `${item.case.name}: ${formatMs(figure.ms)}; ${figure.note}`),
  );
  const where = kind === 'guest' ? 'User Mode Linux guests' : 'namespaces of this kernel';
  return `Two directors as ${where}, LVS-DR to three nginx, each case ${runs} times; relaxed profile.
HTTP probe: 40 requests a second, each on a new connection, 400 ms to answer. Check: HTTP every ${CHECK.intervalMs} ms,
timeout ${CHECK.timeoutMs} ms, fall ${CHECK.fall}. Kernel tables are read every 20 ms, through the guest's console.

${formatTable(
  columns.map((title) => ({ title })),
  rows,
)}
Each run:
${each.map((line) => `  ${line}`).join('\n')}
`;
}
