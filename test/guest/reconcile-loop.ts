/**
 * Runs inside a guest: the reconcile loop and the keeper of kernel settings on a real kernel, with
 * connections of a client in the same guest, which IPVS takes as it takes those from outside.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createSystemClock } from '../../src/adapters/clock/system-clock.ts';
import { createFileLedger } from '../../src/adapters/ledger/file-ledger.ts';
import { createSysctlLedger } from '../../src/adapters/ledger/sysctl-ledger.ts';
import { createPlaceReader } from '../../src/adapters/machine/place.ts';
import { createIpvsKernel } from '../../src/adapters/linux/ipvs-kernel.ts';
import { createSysctls } from '../../src/adapters/linux/sysctls.ts';
import {
  createReconcileLoop,
  type ReconcileInput,
  type ReconcileLoop,
} from '../../src/agent/reconcile-loop.ts';
import { createSysctlKeeper } from '../../src/agent/sysctl-keeper.ts';
import { deriveChecks } from '../../src/core/health/checks.ts';
import type { ConnectionSync, IpvsSpec, VirtualService } from '../../src/model/cluster.ts';
import { directorId, groupId } from '../../src/model/ids.ts';
import { silentLog } from '../../src/ports/log.ts';
import { type ContractCase, runCases } from '../contract/contract-case.ts';
import { silentMetrics } from '../fakes/silent-metrics.ts';
import { anyService, anySpec, ip, server } from '../unit/core/desired/spec-builders.ts';
import { group } from '../unit/core/election/election-driver.ts';

const output = process.argv[2];
if (output === undefined) throw new Error('usage: reconcile-loop.ts FILE');

const ME = directorId('d1');
const WEB = groupId('web');
const SYNC_DEVICE = 'sync0';
const PORT = 8080;
/** IPVS keeps a connection that was reset for ten seconds, one that was closed for two minutes. */
const WAIT_MS = 30_000;
const clock = createSystemClock();
const log = silentLog;
const sh = (command: string): string => execFileSync('sh', ['-c', command]).toString().trim();

const SYNC: ConnectionSync = {
  syncId: 51,
  interface: 'sync',
  group: ip('224.0.0.81'),
  port: 8848,
  ttl: 1,
  maxLength: 1400,
  catchUpMs: 1000,
};
const A = server('10.98.0.21', { port: PORT, forward: 'nat', weight: 3 });
const B = server('10.98.0.22', { port: PORT, forward: 'nat', weight: 3 });
const SERVICE = anyService({
  address: '10.98.0.100',
  check: null,
  scheduler: 'rr',
  drain: { deadlineMs: 60_000 },
  realServers: [A, B],
});

type Fields = Partial<Pick<ReconcileInput, 'held' | 'overrides' | 'isBackupOnly'>> & {
  readonly ipvs?: Partial<IpvsSpec>;
  readonly sync?: ConnectionSync | null;
  /** Groups beside the one of the service, synced as it is. */
  readonly others?: readonly string[];
};

function inputOf(services: readonly VirtualService[], fields: Fields = {}): ReconcileInput {
  const plain = anySpec(services);
  const { ipvs, sync = null, overrides = [], held, others = [], isBackupOnly = false } = fields;
  const groups = [WEB, ...others.map(groupId)].map((id) => group(id, { connectionSync: sync }));
  const spec = { ...plain, groups, ipvs: { ...plain.ipvs, ...ipvs } };
  const checks = deriveChecks(spec).byRealServer;
  const base = { spec, checks, overrides, statuses: new Map(), isBackupOnly };
  return held === undefined ? base : { ...base, held };
}

type World = {
  readonly loop: ReconcileLoop;
  readonly want: (input: ReconcileInput) => void;
  readonly stop: () => Promise<void>;
};

async function createWorld(
  first = inputOf([]),
): Promise<{ world: World; end: () => Promise<void> }> {
  const kernel = createIpvsKernel({ clock, log });
  const folder = mkdtempSync(join(tmpdir(), 'lh-reconcile-'));
  const ledger = createFileLedger(join(folder, 'ledger.json'), createPlaceReader());
  let wanted = first;
  const loop = createReconcileLoop(
    {},
    {
      me: ME,
      devices: new Map([['sync', SYNC_DEVICE]]),
      kernel,
      ledger,
      clock,
      log,
      metrics: silentMetrics,
      input: () => wanted,
    },
  );
  const ending = new AbortController();
  const running = loop.run(ending.signal);
  const stop = async (): Promise<void> => {
    ending.abort();
    await running;
  };
  const want = (input: ReconcileInput): void => {
    wanted = input;
    loop.wake();
  };
  return {
    world: { loop, want, stop },
    end: async () => {
      await stop();
      await loop.release();
      kernel.close();
      sh('ipvsadm -C; ipvsadm --stop-daemon master; ipvsadm --stop-daemon backup; true');
    },
  };
}

/** Looks again and again; the last look is what a failure tells. */
async function until<T>(look: () => T, test: (seen: T) => boolean): Promise<T> {
  const endAt = clock.now() + WAIT_MS;
  let seen = look();
  while (!test(seen) && clock.now() < endAt) {
    await clock.sleep(100);
    seen = look();
  }
  assert.ok(test(seen), `waited in vain; last seen: ${JSON.stringify(seen)}`);
  return seen;
}

const rules = (): string[] =>
  sh('ipvsadm -Sn')
    .split('\n')
    .map((line) => line.trim());
const daemons = (): string => sh('ipvsadm -l --daemon');
const hasRule = (text: string) => (seen: readonly string[]) =>
  seen.some((line) => line.includes(text));
const sysctl = (name: string): string =>
  readFileSync(`/proc/sys/${name.replaceAll('.', '/')}`, 'utf8').trim();

const open = (): Promise<Socket> =>
  new Promise((resolve, reject) => {
    const socket = connect({ host: '10.98.0.100', port: 80 }, () => resolve(socket));
    socket.once('error', reject);
  });

const cases: readonly ContractCase<World>[] = [
  {
    name: 'a table that somebody flushes is back within five seconds, and nothing foreign is touched',
    run: async ({ want }) => {
      sh('ipvsadm -A -t 10.98.0.200:99 -s rr');
      want(inputOf([SERVICE]));
      const made = await until(rules, hasRule('-a -t 10.98.0.100:80 -r 10.98.0.22:8080 -m -w 3'));
      sh('ipvsadm -C; ipvsadm -A -t 10.98.0.200:99 -s rr');
      const flushedAt = clock.now();
      await until(rules, (seen) => seen.toSorted().join() === made.toSorted().join());
      assert.ok(clock.now() - flushedAt < 5000, 'it took too long');
    },
  },
  {
    name: 'sync daemons follow what is held, and somebody who stops one does not win',
    run: async ({ loop, want }) => {
      want(inputOf([SERVICE], { sync: SYNC }));
      await until(daemons, (seen) => /backup sync daemon.*mcast=sync0, syncid=51/.test(seen));
      want(inputOf([SERVICE], { sync: SYNC, held: new Set([WEB]) }));
      await until(
        daemons,
        (seen) =>
          /master sync daemon.*mcast=sync0, syncid=51, maxlen=1400/.test(seen) &&
          !seen.includes('backup'),
      );
      sh('ipvsadm --stop-daemon master');
      await until(daemons, (seen) => seen.includes('master'));
      assert.equal(loop.state().controlProblems.size, 0);
      want(inputOf([SERVICE]));
      await until(daemons, (seen) => seen === '');
    },
  },
  {
    name: 'with backup_only a director that serves one group listens to no other, and forwards',
    run: async ({ want }) => {
      const fields = { sync: SYNC, others: ['mail'], held: new Set([WEB]) };
      want(inputOf([SERVICE], fields));
      await until(daemons, (seen) => seen.includes('backup') && seen.includes('master'));
      (await open()).resetAndDestroy();
      sh('sysctl -qw net.ipv4.vs.backup_only=1');
      try {
        await assert.rejects(open, /ECONNREFUSED/, 'this kernel forwards while it listens');
        want(inputOf([SERVICE], { ...fields, isBackupOnly: true }));
        await until(daemons, (seen) => !seen.includes('backup') && seen.includes('master'));
        (await open()).resetAndDestroy();
      } finally {
        sh('sysctl -qw net.ipv4.vs.backup_only=0');
      }
    },
  },
  {
    name: 'a daemon on an interface that is not there is a problem, and the table is made all the same',
    run: async ({ loop, want }) => {
      const gone: ConnectionSync = { ...SYNC, interface: 'sync', ttl: 2 };
      sh(`ip link set ${SYNC_DEVICE} down; ip link set ${SYNC_DEVICE} name sync9`);
      want(inputOf([SERVICE], { sync: gone }));
      const problems = (): string => loop.state().controlProblems.get('sync backup') ?? '';
      await until(problems, (seen) => seen.includes(`there is no interface ${SYNC_DEVICE}`));
      assert.ok(hasRule('-A -t 10.98.0.100:80')(rules()));
      sh(`ip link set sync9 name ${SYNC_DEVICE}; ip link set ${SYNC_DEVICE} up`);
      await until(daemons, (seen) => seen.includes('backup'));
      await until(problems, (seen) => seen === '');
    },
  },
  {
    name: 'readiness comes after the time to catch up',
    run: async ({ loop, want }) => {
      want(inputOf([SERVICE], { sync: SYNC }));
      await until(
        () => [...loop.state().syncAwaited],
        (seen) => seen.length === 1,
      );
      const ready = (): string => loop.state().syncReady.get(WEB)?.reason ?? '';
      await until(ready, (seen) => seen === 'caught-up');
      assert.equal(loop.state().syncAwaited.size, 0);
    },
  },
  {
    name: 'timeouts are set as far as they are named',
    run: async ({ loop, want }) => {
      const before = sh('ipvsadm -l --timeout');
      const udp = / (\d+)$/.exec(before)?.[1];
      want(inputOf([], { ipvs: { timeouts: { tcpS: 1234, tcpFinS: 5, udpS: null } } }));
      await until(
        () => sh('ipvsadm -l --timeout'),
        (seen) => seen.endsWith(`1234 5 ${udp}`),
      );
      assert.equal(loop.state().timeouts?.tcpS, 1234);
    },
  },
  {
    name: 'a real server leaves when its last connection has gone',
    run: async ({ loop, want }) => {
      const ipvs = { timeouts: { tcpS: 900, tcpFinS: 2, udpS: null } };
      want(inputOf([SERVICE], { ipvs }));
      await until(rules, hasRule('10.98.0.22:8080 -m -w 3'));
      const sockets = [await open(), await open()];
      want(inputOf([{ ...SERVICE, realServers: [B] }], { ipvs }));
      await until(rules, hasRule('10.98.0.21:8080 -m -w 0'));
      const left = () => [...loop.state().drains.values()].map((one) => one.left);
      await until(left, ([one]) => one?.active === 1);
      for (const socket of sockets) socket.resetAndDestroy();
      await until(rules, (seen) => !hasRule('10.98.0.21')(seen));
      assert.ok(hasRule('10.98.0.22:8080 -m -w 3')(rules()));
    },
  },
  {
    name: 'a real server that was dropped while no agent ran leaves in the same way',
    run: async ({ want, stop }) => {
      const ipvs = { timeouts: { tcpS: 900, tcpFinS: 2, udpS: null } };
      want(inputOf([SERVICE], { ipvs }));
      await until(rules, hasRule('10.98.0.22:8080 -m -w 3'));
      const sockets = [await open(), await open()];
      await stop();
      const next = await createWorld(inputOf([{ ...SERVICE, realServers: [B] }], { ipvs }));
      await until(rules, hasRule('10.98.0.21:8080 -m -w 0'));
      for (const socket of sockets) socket.resetAndDestroy();
      await until(rules, (seen) => !hasRule('10.98.0.21')(seen));
      await next.end();
    },
  },
  {
    name: 'a persistence template keeps a drained real server, until it has expired',
    run: async ({ loop, want }) => {
      // Longer than its connection: a template that is due before is looked at again a minute later.
      const persistence = { timeoutS: 14, prefix: 32, engine: null };
      const ipvs = { timeouts: { tcpS: 900, tcpFinS: 1, udpS: null } };
      const sticky = { ...SERVICE, persistence };
      want(inputOf([sticky], { ipvs }));
      await until(rules, hasRule('10.98.0.22:8080 -m -w 3'));
      (await open()).resetAndDestroy();
      const used = await until(
        () =>
          loop
            .state()
            .table?.services[0]?.destinations.find((one) => one.persistentConnections > 0) ?? null,
        (seen) => seen !== null,
      );
      const one = used?.address === A.address ? A : B;
      const drain = {
        service: SERVICE.id,
        realServer: one.id,
        state: 'drain',
        weight: null,
        by: '',
        reason: '',
      } as const;
      want(inputOf([sticky], { ipvs, overrides: [drain] }));
      await until(rules, hasRule(`${one.address}:8080 -m -w 0`));
      const drains = () => [...loop.state().drains.values()];
      await until(drains, ([seen]) => seen?.left?.persistent === 1 && seen.end === null);
      await until(drains, ([seen]) => seen?.end === 'gone');
      await until(rules, (seen) => !hasRule(`${one.address}:8080`)(seen));
    },
  },
  {
    name: 'an end that releases leaves what is foreign',
    run: async ({ loop, want, stop }) => {
      sh('ipvsadm -A -t 10.98.0.200:99 -s rr');
      want(inputOf([SERVICE], { sync: SYNC }));
      await until(daemons, (seen) => seen.includes('backup'));
      await stop();
      const services = rules().filter((rule) => rule.startsWith('-A ')).length - 1;
      const states = ['master', 'backup'].filter((state) => daemons().includes(state));
      assert.deepEqual(await loop.release(), { ok: true, value: { services, daemons: states } });
      assert.deepEqual(rules(), ['-A -t 10.98.0.200:99 -s rr']);
      assert.equal(daemons(), '');
    },
  },
  {
    name: 'settings of ip_vs are set, set again, and given back',
    run: async () => {
      const name = 'net.ipv4.vs.conntrack';
      const was = sysctl('net.ipv4.vs.sync_threshold');
      let sysctls = [
        { name, value: '1' },
        { name: 'net.ipv4.vs.sync_threshold', value: '4 60' },
      ];
      const folder = mkdtempSync(join(tmpdir(), 'lh-sysctls-'));
      const keeper = createSysctlKeeper(
        { me: ME, devices: new Map() },
        {
          sysctls: createSysctls(),
          ledger: createSysctlLedger(join(folder, 'sysctls.json'), createPlaceReader()),
          clock,
          log,
          spec: () => inputOf([], { ipvs: { sysctls } }).spec,
        },
      );
      const ending = new AbortController();
      const running = keeper.run(ending.signal);
      await until(
        () => sysctl(name),
        (seen) => seen === '1',
      );
      await until(
        () => sysctl('net.ipv4.vs.sync_threshold'),
        (seen) => /^4\s+60$/.test(seen),
      );
      sh(`sysctl -qw ${name}=0`);
      keeper.wake();
      await until(
        () => sysctl(name),
        (seen) => seen === '1',
      );
      assert.deepEqual(keeper.state().findings, []);
      sysctls = [];
      keeper.wake();
      await until(
        () => sysctl(name),
        (seen) => seen === '0',
      );
      await until(
        () => sysctl('net.ipv4.vs.sync_threshold'),
        (seen) => seen === was,
      );
      ending.abort();
      await running;
    },
  },
];

sh(`modprobe ip_vs; modprobe dummy; ip link add ${SYNC_DEVICE} type dummy; ip link set lo up`);
sh(`ip link set ${SYNC_DEVICE} up; ip address add 10.98.0.1/24 dev ${SYNC_DEVICE}`);
for (const last of [21, 22, 100]) sh(`ip address add 10.98.0.${last}/32 dev lo`);
// Clients end by a reset here, and a server that is told so goes on.
const accept = (socket: Socket): void => void socket.on('error', () => {});
const servers = [A, B].map(({ address }) => createServer(accept).listen(PORT, address));
writeFileSync(output, JSON.stringify(await runCases(cases, createWorld)));
for (const one of servers) one.close();
process.exit(0);
