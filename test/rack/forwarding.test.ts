/**
 * Two directors with real IPVS, LVS-DR to three nginx, judged from the client. Directors are guests
 * with their own kernel; where the running kernel has ip_vs they are namespaces of it. The cases share
 * one cluster and run in order; each begins with a settled cluster.
 */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  dualTimeMs,
  firstAnswerAfter,
  longestOutageMs,
  type RequestRecord,
  startHttpProbe,
  startVoiceProbe,
} from '../support/client-probe.ts';
import {
  boundsOf,
  CLIENT,
  CLIENT_ADDRESS,
  type ClusterLab,
  clusterDocument,
  createClusterLab,
  SORRY_ADDRESS,
  VIP,
  VIP6,
} from '../support/cluster-lab.ts';
import { hasIpvs } from '../support/director-host.ts';
import { pausedMs } from '../support/pauses.ts';
import { monotonicMs, PATIENCE_MS, sleep, waitFor } from '../support/processes.ts';
import { settle } from '../support/settled.ts';
import { startWaitMeter } from '../support/wait-meter.ts';

const INTERVAL_MS = 1000;
const TIMEOUT_MS = 500;
const FALL = 2;
/** For every request to be answered, on a busy machine too; an outage is measured by when the answers came. */
const ANSWER_MS = 3000;
/** Etcd counts as away by then. */
const ETCD_AWAY_MS = 4000;
/** Heartbeat + suspect + D' + 1 s. */
const TAKEOVER_MS = boundsOf('relaxed').takeoverMs;

let lab: ClusterLab;

beforeAll(async () => {
  const kind = (await hasIpvs()) ? 'namespace' : 'guest';
  lab = await createClusterLab({ name: 'rack', kind, realServers: 3, hasSorryServer: true });
  await lab.etcd.start();
  const servers = [...lab.realServers, ...(lab.sorryServer === null ? [] : [lab.sorryServer])];
  for (const server of servers) {
    await server.start();
    await server.acceptVips([VIP, VIP6]);
  }
  await lab.startAgents();
  await lab.applyOk(document());
  await waitFor('all tables are complete', everywhere(3), { timeoutMs: PATIENCE_MS });
});

afterEach(async (context) => {
  if (context.task.result?.state === 'fail') await lab.collectEvidence(context.task.name);
});

afterAll(() => lab?.close());

function document(extra: object = {}): object {
  const common = {
    group: 'web',
    port: 80,
    scheduler: 'rr',
    forward: 'dr',
    check: {
      http: { path: '/', status: 200 },
      interval: `${INTERVAL_MS}ms`,
      timeout: `${TIMEOUT_MS}ms`,
      rise: 2,
      fall: FALL,
    },
  };
  return clusterDocument(lab, {
    services: {
      'web-http': {
        ...common,
        address: VIP,
        realServers: lab.realServers.map((each) => ({ address: each.address })),
        sorryServer: { address: SORRY_ADDRESS, port: 80 },
      },
      'web-http6': {
        ...common,
        address: VIP6,
        realServers: lab.realServers.map((_, index) => ({ address: `fd90::${21 + index}` })),
      },
      ...extra,
    },
  });
}

/** Destinations of the IPv4 service in one director's kernel, with their weights. */
async function destinations(director: string): Promise<ReadonlyMap<string, number>> {
  const { stdout } = await lab.director(director).exec(`ipvsadm -Ln -t ${VIP}:80`);
  const rows = [...stdout.matchAll(/-> (10\.\S+)\s+Route\s+(\d+)/g)];
  return new Map(rows.map((row) => [row[1] ?? '', Number(row[2])]));
}

function everywhere(count: number): () => Promise<boolean> {
  return async () => {
    const tables = await Promise.all(lab.directors.map((each) => destinations(each.name)));
    return tables.every((table) => table.size === count);
  };
}

const PORTS = { first: 10_000, last: 64_999 } as const;
/** How many ports a request takes at most: the kernel leaves up to seven of every other out. */
const PORTS_EACH = 16;
const REQUEST_MS = 25;
/** A move of the VIP, watched. */
const LONG_MS = 30_000;
let nextPort: number = PORTS.first;

/**
 * Requests from ports that none had for minutes: with direct routing IPVS knows a closed connection for two (FIN_WAIT),
 * and what comes from its port meanwhile goes where it went (`conn_reuse_mode` 1), to a real server that is drained, too.
 */
async function askFromFreshPorts(
  target: Omit<Parameters<typeof startHttpProbe>[1], 'client'>,
  durationMs: number,
): ReturnType<typeof startHttpProbe> {
  const count = PORTS_EACH * (Math.ceil(durationMs / REQUEST_MS) + 1);
  if (nextPort + count > PORTS.last) nextPort = PORTS.first;
  const range = `net.ipv4.ip_local_port_range=${nextPort} ${nextPort + count - 1}`;
  nextPort += count;
  await lab.network.execOk(CLIENT, ['sysctl', '-qw', range]);
  return startHttpProbe(lab.network, { client: CLIENT, ...target });
}

async function requests(
  durationMs: number,
  url = `http://${VIP}/`,
): Promise<readonly RequestRecord[]> {
  const probe = await askFromFreshPorts({ url, timeoutMs: ANSWER_MS }, durationMs);
  await sleep(durationMs);
  return await probe.stop();
}

function failed(records: readonly RequestRecord[]): readonly RequestRecord[] {
  return records.filter((each) => each.answer === null);
}

/**
 * What balances a service while all its real servers are up: the director, its epoch, and each vote with its time. On a
 * busy machine probes of a moment may fail, and the table is right to change with them.
 */
async function balanceOf(service: string): Promise<string> {
  const { holder } = await settle(lab);
  const look = async (): Promise<string | null> => {
    const { groups, services } = await lab.status(holder.name);
    const servers = services.find(({ name }) => name === service)?.realServers ?? [];
    const isWhole = servers.length === 3 && servers.every((each) => each.kernelWeight === 1);
    if (!isWhole || servers.some(({ basis }) => basis !== 'majority')) return null;
    const votes = servers.map((each) => each.votes.map(({ isUp, since }) => [isUp, since]));
    return JSON.stringify([holder.name, groups.map(({ epoch }) => epoch), votes]);
  };
  const what = `all real servers of ${service} are in the table of ${holder.name}`;
  return await waitFor(what, look, { timeoutMs: PATIENCE_MS });
}

/** Requests for 1.5 s in which nothing of the balance changed; the first such of five. */
async function requestsOfOneTable(service: string, url: string): Promise<readonly RequestRecord[]> {
  for (let attempt = 1; attempt <= 5; attempt += 1) {
    const before = await balanceOf(service);
    const records = await requests(1500, url);
    const after = await balanceOf(service);
    if (before === after) return records;
    console.log(`${service}: the balance changed from ${before} to ${after}`);
  }
  throw new Error(`the balance of ${service} changed in each of five times`);
}

describe('a virtual service', () => {
  for (const [service, vip] of [
    ['web-http', VIP],
    ['web-http6', `[${VIP6}]`],
  ] as const)
    it(`answers at ${vip} through LVS-DR, by all real servers in turn`, async () => {
      const records = await requestsOfOneTable(service, `http://${vip}/`);
      expect(failed(records)).toEqual([]);
      expect(records.length).toBeGreaterThan(30);
      const counts = ['rs1', 'rs2', 'rs3'].map(
        (name) => records.filter((each) => each.answer === name).length,
      );
      expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(2);
      expect(counts.reduce((sum, count) => sum + count, 0)).toBe(records.length);
    });

  it('is programmed on every director, not only on the holder', async () => {
    await settle(lab);
    for (const { name } of lab.directors) {
      const isWhole = async (): Promise<boolean> =>
        [...(await destinations(name)).values()].join(' ') === '1 1 1';
      await waitFor(`${name} has all three`, isWhole, { timeoutMs: PATIENCE_MS });
    }
  });

  it('that somebody deletes on a director is repaired within 5 s', async () => {
    const { holder } = await settle(lab);
    const waits = startWaitMeter(holder.pids());
    await holder.execOk(`ipvsadm -D -t ${VIP}:80`);
    const start = monotonicMs();
    await waitFor('it is back', async () => (await destinations(holder.name)).size === 3, {
      timeoutMs: PATIENCE_MS,
    });
    const end = monotonicMs();
    expect(end - start - pausedMs(waits.stop(), start, end)).toBeLessThanOrEqual(5000);
  });

  it('of somebody else is left alone and reported', async () => {
    const { holder } = await settle(lab);
    await holder.execOk(
      `ipvsadm -A -t ${VIP}:9999 -s rr; ipvsadm -a -t ${VIP}:9999 -r 10.90.0.21:9999 -g`,
    );
    const extra = {
      group: 'web',
      address: VIP,
      port: 8080,
      realServers: [{ address: '10.90.0.21' }],
    };
    await lab.applyOk(document({ extra }));
    await waitFor(
      'the new service is there',
      async () => (await holder.exec('ipvsadm -Ln')).stdout.includes(`${VIP}:8080`),
      { timeoutMs: PATIENCE_MS },
    );
    await lab.applyOk(document());
    await waitFor(
      'the new service is gone',
      async () => !(await holder.exec('ipvsadm -Ln')).stdout.includes(`${VIP}:8080`),
      { timeoutMs: PATIENCE_MS },
    );
    await lab.until('the foreign service is reported', holder.name, (status) =>
      status.ipvs.foreignServices.some((each) => each.includes(`${VIP}:9999`)),
    );
    expect(await holder.execOk('ipvsadm -Ln')).toMatch(/:9999 rr\s+-> 10\.90\.0\.21:9999\b/);
    await holder.execOk(`ipvsadm -D -t ${VIP}:9999`);
  });
});

describe('a real server', () => {
  it('whose nginx stops leaves every kernel within interval × fall + timeout + 0.5 s', async () => {
    await settle(lab);
    const [victim] = lab.realServers;
    const waits = startWaitMeter(lab.directors.flatMap((each) => each.pids()));
    const start = monotonicMs();
    await victim?.stop();
    const gone = await Promise.all(
      lab.directors.map(async (director) => {
        await waitFor(
          `${director.name} has dropped it`,
          async () => !(await destinations(director.name)).has('10.90.0.21:80'),
          { timeoutMs: PATIENCE_MS, intervalMs: 20 },
        );
        return monotonicMs() - start;
      }),
    );
    console.log(`gone from the kernels after ${gone.map((each) => each.toFixed(0)).join(', ')} ms`);
    const paused = waits.stop();
    const own = gone.map((each) => each - pausedMs(paused, start, start + each));
    expect(Math.max(...own)).toBeLessThanOrEqual(INTERVAL_MS * FALL + TIMEOUT_MS + 500);
    expect(failed(await requests(500))).toEqual([]);
    await victim?.start();
    await waitFor('it is back', everywhere(3), { timeoutMs: PATIENCE_MS });
  });

  it('that dies while etcd is away leaves the table of the holder in time, and after it stays away', async () => {
    const { holder } = await settle(lab);
    const [victim] = lab.realServers;
    const healthAt = async (director: string) => {
      const { services } = await lab.status(director);
      const servers = services.find(({ name }) => name === 'web-http')?.realServers;
      return servers?.find(({ address }) => address === '10.90.0.21');
    };
    const has = async (director: string): Promise<boolean> =>
      (await destinations(director)).has('10.90.0.21:80');
    for (const member of lab.etcd.hosts.keys()) lab.etcd.stop(member);
    await sleep(ETCD_AWAY_MS);
    const isWhole = async (): Promise<boolean> => (await destinations(holder.name)).size === 3;
    await waitFor('the table is whole without etcd', isWhole, { timeoutMs: PATIENCE_MS });
    const waits = startWaitMeter(holder.pids());
    const start = monotonicMs();
    await victim?.stop();
    await waitFor('the holder has dropped it', async () => !(await has(holder.name)), {
      timeoutMs: PATIENCE_MS,
      intervalMs: 20,
    });
    const end = monotonicMs();
    const goneMs = end - start - pausedMs(waits.stop(), start, end);
    console.log(`etcd is away: gone from the holder's kernel after ${goneMs.toFixed(0)} ms`);
    expect(goneMs).toBeLessThanOrEqual(INTERVAL_MS * FALL + TIMEOUT_MS + 1000);
    expect((await healthAt(holder.name))?.basis).toBe('alone');
    lab.etcd.contAll();
    let hasCome = false;
    const isAgreed = async (): Promise<boolean> => {
      hasCome ||= await has(holder.name);
      const seen = await Promise.all(lab.directors.map(({ name }) => healthAt(name)));
      return seen.every((one) => one?.health === 'down' && one.basis === 'majority');
    };
    await waitFor('both have one verdict by votes', isAgreed, { timeoutMs: PATIENCE_MS });
    await waitFor('both kernels have dropped it', everywhere(2), { timeoutMs: PATIENCE_MS });
    for (const until = monotonicMs() + ETCD_AWAY_MS; monotonicMs() < until; await sleep(50))
      hasCome ||= await has(holder.name);
    expect(hasCome, 'it came back in between').toBe(false);
    await victim?.start();
    await waitFor('it is back', everywhere(3), { timeoutMs: PATIENCE_MS });
  });

  it('gets weight 0 in every kernel when drained, and its weight back when ready', async () => {
    const { holder } = await settle(lab);
    const hasWeight = async (): Promise<boolean> => {
      const tables = await Promise.all(lab.directors.map((each) => destinations(each.name)));
      return tables.every((table) => table.get('10.90.0.22:80') === 1);
    };
    // Who has no connection to it takes it out as soon as it saw weight 0 there.
    const isDrained = async (): Promise<boolean> => {
      const seen = await Promise.all(
        lab.directors.map(async ({ name }) => {
          const { services } = await lab.status(name);
          const servers = services.find((each) => each.name === 'web-http')?.realServers;
          return servers?.find(({ address }) => address === '10.90.0.22');
        }),
      );
      return seen.every((one) => one?.kernelWeight === 0 || one?.drain?.end === 'gone');
    };
    const rs = ['web-http/10.90.0.22:80', '--reason', 'lab'];
    expect(await holder.cli(['rs', 'drain', ...rs])).toMatchObject({ code: 0 });
    await waitFor('weight 0', isDrained, { timeoutMs: PATIENCE_MS });
    const records = await requests(500);
    expect(failed(records)).toEqual([]);
    expect(records.some((each) => each.answer === 'rs2')).toBe(false);
    expect(await holder.cli(['rs', 'ready', ...rs])).toMatchObject({ code: 0 });
    await waitFor('weight 1', hasWeight, { timeoutMs: PATIENCE_MS });
  });

  it('is stood in for by the sorry server when the last one is gone', async () => {
    await settle(lab);
    for (const each of lab.realServers) await each.stop();
    const isSorry = async (): Promise<boolean> => {
      const records = await requests(200);
      return records.length > 0 && records.every((each) => each.answer === 'sorry');
    };
    await waitFor('the sorry server answers', isSorry, { timeoutMs: PATIENCE_MS });
    for (const each of lab.realServers) await each.start();
    const isBack = async (): Promise<boolean> => {
      const tables = await Promise.all(lab.directors.map((each) => destinations(each.name)));
      return tables.every((table) => table.size === 3 && !table.has(`${SORRY_ADDRESS}:80`));
    };
    await waitFor('the real servers answer', isBack, { timeoutMs: PATIENCE_MS });
    expect((await requests(500)).some((each) => each.answer === 'sorry')).toBe(false);
  });
});

describe('the service through a move of its VIP', () => {
  it('is never down for more than 1 s when the holder is drained', async () => {
    const { holder, other } = await settle(lab);
    const target = { url: `http://${VIP}/`, timeoutMs: ANSWER_MS };
    const probe = await askFromFreshPorts(target, LONG_MS);
    const waits = startWaitMeter(lab.directors.flatMap((each) => each.pids()));
    await sleep(500);
    const start = monotonicMs();
    const drain = ['director', 'drain', holder.name, '--reason', 'lab'];
    expect(await other.cli(drain)).toMatchObject({ code: 0 });
    await waitFor('the other one holds', () => lab.hasAddress(other.name, VIP), {
      timeoutMs: PATIENCE_MS,
    });
    await sleep(1500);
    const end = monotonicMs();
    const records = await probe.stop();
    const outage = longestOutageMs(records, start, end, waits.stop());
    console.log(`drain: outage ${outage.toFixed(0)} ms, ${failed(records).length} requests failed`);
    expect(outage).toBeLessThanOrEqual(1000);
    const undrain = ['director', 'undrain', holder.name, '--reason', 'lab'];
    expect(await other.cli(undrain)).toMatchObject({ code: 0 });
  });

  it('is back within suspect + D′ + 1 s when the holder loses power', async () => {
    const { holder, other } = await settle(lab);
    const target = { client: CLIENT, ownAddress: CLIENT_ADDRESS, vip: VIP };
    const voices = await startVoiceProbe(lab.network, target);
    const url = `http://${VIP}/`;
    const probe = await askFromFreshPorts({ url, timeoutMs: ANSWER_MS }, LONG_MS);
    const waits = startWaitMeter(other.pids());
    await sleep(500);
    const faultMs = monotonicMs();
    await holder.powerOff();
    await waitFor('the other one holds', () => lab.hasAddress(other.name, VIP), {
      timeoutMs: PATIENCE_MS,
    });
    await sleep(1000);
    const records = await probe.stop();
    const backAtMs = firstAnswerAfter(records, faultMs + 50) ?? Number.POSITIVE_INFINITY;
    const back = backAtMs - faultMs - pausedMs(waits.stop(), faultMs, backAtMs);
    console.log(`power loss: service back after ${back.toFixed(0)} ms`);
    expect(back).toBeLessThanOrEqual(TAKEOVER_MS);
    expect(dualTimeMs(await voices.stop())).toBe(0);
    await holder.powerOn();
    await settle(lab);
    await waitFor('the rebooted one is programmed again', everywhere(3), {
      timeoutMs: PATIENCE_MS,
    });
  });
});
