/** Bad input and bad days: each says what is wrong, and nothing is half applied. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { dualTimeMs, startVoiceProbe, turnsOf } from '../support/client-probe.ts';
import {
  CLIENT,
  CLIENT_ADDRESS,
  type ClusterLab,
  clusterDocument,
  createClusterLab,
  VIP,
} from '../support/cluster-lab.ts';
import { API_PORT, type DirectorHost, hasIpvs, leaseholdArgv } from '../support/director-host.ts';
import { quote } from '../support/guest.ts';
import { type Completed, PATIENCE_MS, sleep, waitFor } from '../support/processes.ts';
import { macOf, settle } from '../support/settled.ts';

let lab: ClusterLab;

beforeAll(async () => {
  lab = await createClusterLab({ name: 'bad-days', kind: 'namespace' });
});

afterEach(async (context) => {
  if (context.task.result?.state === 'fail') await lab.collectEvidence(context.task.name);
});

afterAll(() => lab?.close());

/** Runs the agent in the foreground, behind a command if wanted, until it ends or the limit. */
function runAgent(
  director: DirectorHost,
  before: readonly string[] = [],
  timeoutMs = PATIENCE_MS,
): Promise<Completed> {
  const argv = [...before, ...leaseholdArgv(['agent', '--config', director.configFile])];
  return director.exec(argv.map(quote).join(' '), { timeoutMs });
}

const service = {
  group: 'web',
  address: VIP,
  port: 80,
  realServers: [{ address: '10.90.0.21' }],
};

async function stopAgent(director: DirectorHost): Promise<void> {
  await director.signalAgent('SIGTERM');
  await director.agentEnded(20_000);
}

/** A cluster that works: etcd, both agents, a document. Keeps what is there already. */
async function haveCluster(): Promise<void> {
  await lab.etcd.start();
  for (const director of lab.directors)
    if (!(await director.isAgentRunning())) await lab.startAgents([director.name]);
  if ((await lab.status('d1')).spec.revision === 0) await lab.applyOk(clusterDocument(lab));
}

describe('without etcd', () => {
  it('an agent runs on, is not ready, and says why', async () => {
    await lab.startAgents();
    for (const director of lab.directors) {
      const ready = await waitFor(
        'it says that etcd does not answer',
        async () => {
          const answer = await director.get('/readyz');
          return /etcd|store/i.test(answer.body) ? answer : null;
        },
        { timeoutMs: 10_000 },
      );
      expect(ready.status).toBe(503);
      expect(await director.isAgentRunning()).toBe(true);
    }
    const done = await lab.director('d1').cli(['status']);
    expect(done.code).not.toBe(0);
  });

  it('it joins by itself when etcd comes', async () => {
    await lab.etcd.start();
    await waitFor(
      'the document can be applied',
      async () => {
        const done = await lab.apply(clusterDocument(lab));
        if (done.code !== 0) throw new Error(`${done.stdout}${done.stderr}`);
        return true;
      },
      { timeoutMs: 20_000, intervalMs: 500 },
    );
    const { holder } = await settle(lab);
    expect((await holder.get('/readyz')).status).toBe(200);
  });
});

describe('without ip_vs in the kernel', () => {
  beforeAll(haveCluster);

  it('groups without services work, and the detail says what is missing', async () => {
    if (await hasIpvs()) return; // This kernel has it: there is nothing to miss.
    const { holder } = await settle(lab);
    const status = await lab.status(holder.name);
    expect(status.ipvs).toMatchObject({ available: false });
    expect(status.ipvs.detail).toMatch(/ip_vs/);
    await lab.network.execOk(CLIENT, ['ping', '-c', '1', '-W', '1', VIP]);
  });

  it('with services status is degraded and says why, and the VIP is still held', async () => {
    if (await hasIpvs()) return; // As above.
    await lab.applyOk(clusterDocument(lab, { services: { one: service } }));
    const { holder } = await settle(lab);
    const isToldTo = await waitFor(
      'status tells',
      async () => {
        const table = await holder.cli(['status']);
        return /ip_vs/.test(table.stdout) ? table : null;
      },
      { timeoutMs: 10_000 },
    );
    expect(isToldTo.code).toBe(1);
    expect((await lab.status(holder.name)).health).toBe('degraded');
    await lab.network.execOk(CLIENT, ['ping', '-c', '1', '-W', '1', VIP]);
    await lab.applyOk(clusterDocument(lab), ['--confirm-shrink']);
  });
});

describe('a bad document', () => {
  beforeAll(haveCluster);

  const expectRefused = async (change: object, words: readonly RegExp[]): Promise<void> => {
    const { holder } = await settle(lab);
    const before = (await lab.status(holder.name)).spec.revision;
    const done = await lab.apply({ ...clusterDocument(lab), ...change });
    expect(done.code).toBe(2);
    for (const word of words) expect(done.stderr + done.stdout).toMatch(word);
    expect((await lab.status(holder.name)).spec.revision).toBe(before);
  };

  it('is refused with every problem at once, each with its path', () =>
    expectRefused(
      {
        groups: {
          web: {
            addresses: [`${VIP}/24`],
            interface: 'public',
            priorities: { d1: 150, d9: 100 },
          },
          second: { addresses: [`${VIP}/24`, '10.90.0.300/24'], interface: 'public' },
        },
        services: {
          one: { ...service, scheduler: 'fastest' },
          two: { ...service, address: '10.90.0.77' },
        },
      },
      [/groups.*web.*priorities.*d9/, /second/, /10\.90\.0\.300/, /scheduler/, /10\.90\.0\.77/],
    ));

  it('is refused for two services on one address and port', () =>
    expectRefused({ services: { one: service, two: service } }, [/one/, /two/]));

  it('is refused for wrong types and unknown members', () =>
    expectRefused({ directors: { d1: { address: 7 } }, surprise: true }, [
      /directors.*d1.*address/,
      /surprise/,
    ]));

  it('is refused by validate as well, which asks no director', async () => {
    const director = lab.director('d1');
    const file = lab.writeDocument('d1', 'apiVersion: leasehold/v1\ndirectors: [1, 2]\n');
    const done = await director.cli(['validate', '-f', file]);
    expect(done.code).toBe(2);
    expect(done.stdout + done.stderr).toMatch(/directors/);
  });

  it('that takes most services away needs a confirmation', async () => {
    const ports = [80, 81, 82, 83];
    const services = Object.fromEntries(ports.map((port) => [`web-${port}`, { ...service, port }]));
    await lab.applyOk(clusterDocument(lab, { services }));
    const less = clusterDocument(lab, { services: { 'web-80': service } });
    const refused = await lab.apply(less);
    expect(refused.code).not.toBe(0);
    expect(refused.stdout + refused.stderr).toContain('--confirm-shrink');
    await lab.applyOk(less, ['--confirm-shrink']);
    await lab.applyOk(clusterDocument(lab), ['--confirm-shrink']);
  });
});

describe('a director', () => {
  beforeAll(haveCluster);

  it('whose interface is missing says so and does not hold; the other one does', async () => {
    const { holder, other } = await settle(lab);
    await stopAgent(holder);
    holder.writeConfig({ interfaces: { public: 'eth9' } });
    try {
      await lab.startAgents([holder.name]);
      const status = await lab.until('it says that eth9 is missing', holder.name, (seen) =>
        seen.problems.some((problem) => problem.includes('eth9')),
      );
      expect(status.health).not.toBe('ok');
      const isHeld = async (): Promise<boolean> =>
        (await lab.directorsWith(VIP)).join() === other.name;
      await waitFor('the other one holds, alone', isHeld, { timeoutMs: 10_000 });
    } finally {
      await stopAgent(holder);
      holder.writeConfig({});
    }
  });

  it('without CAP_NET_ADMIN names the capability', async () => {
    const { other } = await settle(lab);
    await stopAgent(other);
    const drop = ['setpriv', '--bounding-set=-net_admin', '--inh-caps=-net_admin'];
    // It says so, and runs on.
    const done = await runAgent(other, drop, 15_000);
    expect(done.stdout + done.stderr).toMatch(/CAP_NET_ADMIN/);
  });

  it('that runs already is not started twice', async () => {
    const { other } = await settle(lab);
    const done = await runAgent(other);
    expect(done.code).toBe(2);
    expect(done.stdout + done.stderr).toMatch(/runs here already/);
  });

  it('whose API port is taken ends with code 2 and says which', async () => {
    const { other } = await settle(lab);
    await stopAgent(other);
    const program = `require('net').createServer().listen(${API_PORT}, '127.0.0.1')`;
    const squatter = lab.network.spawn(other.name, 'squatter', [process.execPath, '-e', program]);
    try {
      const isTaken = async (): Promise<boolean> =>
        (await other.exec(`exec 3<>/dev/tcp/127.0.0.1/${API_PORT}`)).code === 0;
      await waitFor('the port is taken', isTaken, { timeoutMs: 5000 });
      const done = await runAgent(other);
      expect(done.code).toBe(2);
      expect(done.stdout + done.stderr).toContain(String(API_PORT));
    } finally {
      await squatter.kill();
    }
  });

  it('with a mistake in agent.yaml ends with code 2 and names the path', async () => {
    const { other } = await settle(lab);
    const file = `${other.directory}/broken.yaml`;
    await other.execOk(`printf 'director: d2\\ncluster: lab\\netcd: {}\\n' >${file}`);
    const argv = leaseholdArgv(['agent', '--config', file]);
    const done = await other.exec(argv.map(quote).join(' '), { timeoutMs: PATIENCE_MS });
    expect(done.code).toBe(2);
    expect(done.stdout + done.stderr).toMatch(/etcd/);
    expect(done.stdout + done.stderr).toMatch(/keyFile/);
  });

  it('with the name of the holder does not get its VIP while the holder lives', async () => {
    const { holder, other } = await settle(lab);
    await stopAgent(other);
    other.writeConfig({ director: holder.name, identity: { machine: 'clone', boot: 'clone' } });
    try {
      const target = { client: CLIENT, ownAddress: CLIENT_ADDRESS, vip: VIP };
      const probe = await startVoiceProbe(lab.network, target);
      await lab.startAgents([other.name]);
      await sleep(8000);
      const record = await probe.stop();
      expect(other.agentLog()).toMatch(
        /another machine is alive under the name d\d.*session\.refused/,
      );
      expect(turnsOf(record).map((turn) => turn.mac)).toEqual([await macOf(holder)]);
      expect(dualTimeMs(record)).toBe(0);
    } finally {
      await stopAgent(other);
      other.writeConfig({});
    }
  });
});

describe('a machine that is no director any more', () => {
  it('loses what an agent left by --uninstall-gate, and by nothing while one runs', async () => {
    const { holder } = await settle(lab);
    const left = async (): Promise<readonly boolean[]> => [
      await lab.hasAddress(holder.name, VIP),
      /leasehold/.test(await holder.execOk('nft list tables')),
    ];
    expect(await left()).toEqual([true, true]);
    const refused = await holder.cli(['agent', '--uninstall-gate']);
    expect(refused.code).toBe(2);
    expect(await left()).toEqual([true, true]);

    // What it leaves to a new process the kernel keeps for seconds, whatever else the machine does.
    await holder.signalAgent('SIGUSR2');
    await holder.agentEnded(8000);
    const done = await holder.cli(['agent', '--uninstall-gate', '--config', holder.configFile]);
    expect(done).toMatchObject({ code: 0 });
    expect(done.stdout).toMatch(/addresses of an earlier agent removed: 2\n.*gate was removed/);
    expect(await left()).toEqual([false, false]);
  });
});
