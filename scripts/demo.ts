/**
 * `make demo`: a whole cluster on this machine, shown step by step. On a terminal it stays up to be
 * played with until Ctrl-C; otherwise it ends by itself. Everything lives in namespaces and guests
 * with names of their own and is removed at the end.
 */
import { stringify } from 'yaml';
import {
  CLIENT,
  CLIENT_ADDRESS,
  type ClusterLab,
  clusterDocument,
  createClusterLab,
  VIP,
} from '../test/support/cluster-lab.ts';
import {
  dualTimeMs,
  longestOutageMs,
  startHttpProbe,
  startVoiceProbe,
} from '../test/support/client-probe.ts';
import { hasIpvs } from '../test/support/director-host.ts';
import { monotonicMs, sleep, waitFor } from '../test/support/processes.ts';
import { openDoors } from './demo-doors.ts';
import { showHolding } from './demo-hold.ts';

const LIMIT_MS = 280_000;
const START_MS = monotonicMs();
const URL = `http://${VIP}/`;
const isInteractive = process.stdin.isTTY && process.stdout.isTTY;

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

function step(text: string): void {
  const seconds = ((monotonicMs() - START_MS) / 1000).toFixed(1).padStart(6);
  say(`\n[${seconds} s] ${text}`);
}

function show(text: string): void {
  for (const line of text.trimEnd().split('\n')) say(`    ${line}`);
}

function document(lab: ClusterLab): object {
  return clusterDocument(lab, {
    services: {
      'web-http': {
        group: 'web',
        address: VIP,
        port: 80,
        scheduler: 'rr',
        forward: 'dr',
        check: {
          http: { path: '/', status: 200 },
          interval: '1s',
          timeout: '500ms',
          rise: 2,
          fall: 2,
        },
        realServers: lab.realServers.map((each) => ({ address: each.address })),
      },
    },
  });
}

/** Where everything is; one cluster at a time. */
let current: ClusterLab | null = null;

/** The hold protocol, between namespaces: this kernel has what the profile default asks for. */
async function buildForHolding(): Promise<ClusterLab> {
  step('Building: 3 etcd members, 2 directors as network namespaces, 1 client');
  return await createClusterLab({ name: 'demo-hold', kind: 'namespace', etcdMembers: 3 });
}

async function buildForServing(): Promise<ClusterLab> {
  const kind = (await hasIpvs()) ? 'namespace' : 'guest';
  step('Building: 3 etcd members, 2 directors, 3 real servers with nginx, 1 client');
  show(
    kind === 'guest'
      ? `This kernel has no IPVS: each director is a User Mode Linux guest with a kernel of its own.
That one has no nftables for its network card; its only gate counts whole seconds. So the profile is
relaxed here: a crash costs seconds, where it cost less than one above.`
      : 'This kernel has IPVS: each director is a network namespace.',
  );
  return await createClusterLab({ name: 'demo', kind, etcdMembers: 3, realServers: 3 });
}

async function start(lab: ClusterLab): Promise<void> {
  await lab.etcd.start();
  await Promise.all(
    lab.realServers.map(async (each) => {
      await each.start();
      await each.acceptVips([VIP]);
    }),
  );
  await lab.startAgents();
  step('Applying this cluster document: leasehold apply -f cluster.yaml');
  show(stringify(document(lab)));
  await lab.applyOk(document(lab));
  await waitFor('the service answers', () => answers(lab), { timeoutMs: 30_000 });
}

async function answers(lab: ClusterLab): Promise<boolean> {
  const status = await lab.status('d1');
  const healthy = status.services.flatMap((each) => each.realServers);
  return status.health === 'ok' && healthy.every((each) => each.health === 'up');
}

async function showStatus(lab: ClusterLab, director: string): Promise<void> {
  step(`leasehold status, asked of ${director}:`);
  const done = await lab.director(director).cli(['status']);
  show(done.stdout + done.stderr);
}

async function showTurns(lab: ClusterLab): Promise<void> {
  step(`The client asks ${URL} twelve times; the real servers answer in turn:`);
  const target = { client: CLIENT, url: URL, periodMs: 50, timeoutMs: 3000 };
  const probe = await startHttpProbe(lab.network, target);
  await sleep(700);
  const records = (await probe.stop()).slice(0, 12);
  show(records.map((each) => each.answer ?? `failed: ${each.detail}`).join(' '));
  if (records.some((each) => each.answer === null)) throw new Error('a request failed');
}

async function holderOf(lab: ClusterLab, director: string): Promise<string> {
  const status = await lab.status(director);
  const holder = status.groups.find((each) => each.name === 'web')?.holder;
  if (holder === null || holder === undefined) throw new Error('nobody holds the group web');
  return holder;
}

/** Gives the director that took over. */
async function killHolder(lab: ClusterLab): Promise<{ dead: string; heir: string }> {
  const dead = await holderOf(lab, 'd1');
  const heir = dead === 'd1' ? 'd2' : 'd1';
  step(`The holder is ${dead}. Cutting its power while the client keeps asking, 40 times a second`);
  const voices = await startVoiceProbe(lab.network, {
    client: CLIENT,
    ownAddress: CLIENT_ADDRESS,
    vip: VIP,
  });
  const requests = await startHttpProbe(lab.network, { client: CLIENT, url: URL });
  await sleep(1000);
  const faultMs = monotonicMs();
  await lab.director(dead).powerOff();
  await lab.until(`${heir} holds`, heir, (status) => status.groups[0]?.holder === heir, 30_000);
  await sleep(1500);
  const endMs = monotonicMs();
  const seen = await requests.stop();
  const outage = longestOutageMs(seen, faultMs, endMs) / 1000;
  show(`${heir} holds the VIP now. Outage as the client saw it: ${outage.toFixed(2)} s`);
  show(`Requests that failed: ${seen.filter((each) => each.answer === null).length}`);
  show(`Time with two directors answering for the VIP: ${dualTimeMs(await voices.stop())} ms`);
  return { dead, heir };
}

async function revive(lab: ClusterLab, dead: string, heir: string): Promise<void> {
  step(`Booting ${dead} again; it joins and does not take the VIP back (preempt: never)`);
  await lab.director(dead).powerOn();
  await lab.startAgents([dead]);
  await lab.until(`${dead} has joined`, heir, (status) => status.health === 'ok', 30_000);
}

async function tables(lab: ClusterLab): Promise<readonly string[]> {
  return await Promise.all(
    lab.directors.map(async (each) => (await each.execOk('ipvsadm -Ln')).trimEnd()),
  );
}

async function stopRealServer(lab: ClusterLab): Promise<void> {
  const [victim] = lab.realServers;
  if (victim === undefined) return;
  const isIn = async (): Promise<boolean> =>
    (await tables(lab)).some((table) => table.includes(`${victim.address}:80`));
  const isEverywhere = async (): Promise<boolean> =>
    (await tables(lab)).every((table) => table.includes(`${victim.address}:80`));
  await waitFor('every director has the real server', isEverywhere, { timeoutMs: 20_000 });
  step(`Stopping nginx of ${victim.host} (${victim.address}); every director's table follows:`);
  const start = monotonicMs();
  await victim.stop();
  await waitFor('it leaves every table', async () => !(await isIn()), { timeoutMs: 20_000 });
  show(`gone from both kernels after ${((monotonicMs() - start) / 1000).toFixed(2)} s`);
  const [first, second] = await tables(lab);
  show(`--- d1: ipvsadm -Ln\n${first}\n--- d2: ipvsadm -Ln\n${second}`);
  step(`Starting it again; after two good probes it is back:`);
  await victim.start();
  await waitFor('it is back in every table', isEverywhere, { timeoutMs: 20_000 });
  await showTurns(lab);
}

async function play(lab: ClusterLab): Promise<void> {
  const doors = await openDoors(lab);
  const first = doors[0]?.url ?? '';
  step('It keeps running. In another terminal, in this directory:');
  show(
    [
      `bin/leasehold --api ${first} status`,
      `bin/leasehold --api ${first} switchover web --reason "trying it"`,
      `bin/leasehold --api ${first} director drain d1 --reason "trying it"`,
      ...doors.map((door) => `REST of ${door.director}: ${door.url}/api/v1/status`),
      `a request as the client: ip netns exec ${lab.network.namespaceOf(CLIENT)} curl ${URL}`,
      'Ctrl-C ends it and removes everything.',
    ].join('\n'),
  );
  await new Promise(() => {}); // Until Ctrl-C.
}

async function serve(lab: ClusterLab): Promise<void> {
  await start(lab);
  await showStatus(lab, 'd1');
  await showTurns(lab);
  const { dead, heir } = await killHolder(lab);
  await revive(lab, dead, heir);
  await showStatus(lab, heir);
  await stopRealServer(lab);
  if (isInteractive) await play(lab);
  step('Done; removing everything.');
}

/** Both parts; a cluster that is built is removed at the end, also after a failure. */
async function run(): Promise<void> {
  current = await buildForHolding();
  await showHolding(current, { step, show });
  await current.close();
  current = null;
  current = await buildForServing();
  await serve(current);
}

async function main(): Promise<number> {
  if (process.getuid?.() !== 0) {
    say('The demo makes network namespaces: run it as root.');
    return 2;
  }
  const stop = (): void => {
    say('\nremoving everything…');
    void Promise.resolve(current?.close()).then(
      () => process.exit(0),
      (cause: unknown) => {
        say(String(cause));
        process.exit(1);
      },
    );
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, stop);
  const late = sleep(LIMIT_MS).then(() => 'late' as const);
  try {
    const result = await (isInteractive ? run() : Promise.race([run(), late]));
    if (result === 'late') throw new Error(`not done within ${LIMIT_MS / 1000} s`);
    return 0;
  } catch (cause) {
    say(`\nThe demo failed: ${cause instanceof Error ? cause.message : String(cause)}`);
    if (current !== null)
      say(`What the cluster looked like: ${await current.collectEvidence('demo')}`);
    return 1;
  } finally {
    await current?.close();
  }
}

process.exit(await main());
