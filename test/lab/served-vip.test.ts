/**
 * Two directors that are the real servers of their own VIP, with the rules of the gate. Where this kernel has
 * no IPVS, plain Linux does on the holder what DR does: it routes marked packets on to the other director
 * without a change. The cases share one cluster and run in order.
 */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { startVoicesProbe } from '../support/client-probe.ts';
import {
  CLIENT,
  CLIENT_ADDRESS,
  CLIENT_ADDRESS6,
  type ClusterLab,
  clusterDocument,
  createClusterLab,
  VIP as FIRST,
  VIP6 as FIRST6,
} from '../support/cluster-lab.ts';
import { ensurePackage } from '../support/debian-package.ts';
import type { DirectorHost } from '../support/director-host.ts';
import { sleep, waitFor } from '../support/processes.ts';
import { compiled, heldBy, settle } from '../support/settled.ts';

/** Beside the VIPs by which the lab knows the holder: these are on lo of both directors. */
const VIP = '10.90.0.101';
const VIP6 = 'fd90::101';
const SERVER = `require('node:net').createServer((s) => { s.on('error', () => {}); s.end(process.argv[1] + ' as ' + s.localAddress); }).listen(80, '::');`;
const ASK = `const s = require('node:net').connect({ host: process.argv[1], port: 80 });
s.setTimeout(2000, () => { process.stdout.write('silence'); process.exit(1); });
s.on('error', (e) => { process.stdout.write(e.code); process.exit(1); });
s.on('data', (d) => process.stdout.write(d));`;
const ADDRESS6: Readonly<Record<string, string>> = { d1: 'fd90::11', d2: 'fd90::12' };

let lab: ClusterLab;
const macs = new Map<string, string>();
const macOf = ({ name }: DirectorHost): string => macs.get(name) ?? '';

beforeAll(async () => {
  await ensurePackage('nftables', (text) => process.stderr.write(`${text}\n`));
  lab = await createClusterLab({ name: 'served', kind: 'namespace' });
  await lab.etcd.start();
  await lab.network.execOk(CLIENT, [
    'sh',
    '-c',
    'sysctl -qw net.ipv6.conf.all.accept_redirects=0 net.ipv6.conf.eth0.accept_redirects=0',
  ]);
  for (const director of lab.directors) {
    await director.execOk(ROUTING);
    macs.set(director.name, (await director.execOk('cat /sys/class/net/eth0/address')).trim());
    lab.network.spawn(director.name, 'server', [process.execPath, '-e', SERVER, director.name]);
    const up = ['realserver', 'up', '--mode', 'dr', '--vip', VIP, '--vip', VIP6];
    const done = await director.cli(up);
    if (done.code !== 0) throw new Error(`${director.name}: ${done.stdout}${done.stderr}`);
  }
  await lab.startAgents();
  const serving = (address: string, realServers: readonly string[]): object => ({
    group: 'web',
    address,
    port: 80,
    forward: 'dr',
    check: { tcp: {} },
    realServers: realServers.map((each) => ({ address: each })),
  });
  const services = {
    own: serving(VIP, ['10.90.0.11', '10.90.0.12']),
    own6: serving(VIP6, ['fd90::11', 'fd90::12']),
  };
  const web = {
    addresses: [`${FIRST}/24`, `${FIRST6}/64`, `${VIP}/24`, `${VIP6}/64`],
    interface: 'public',
    priorities: { d1: 150, d2: 100 },
    preempt: 'never',
  };
  await lab.applyOk(clusterDocument(lab, { services, groups: { web } }));
  await compiled(lab);
});

afterEach(async (context) => {
  if (context.task.result?.state === 'fail') await lab.collectEvidence(context.task.name);
});

afterAll(() => lab?.close());

/** What is marked leaves by a table of its own, before it would be delivered here. */
const ROUTING = `sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.eth0.send_redirects=0
for v in -4 -6; do ip $v rule add pref 10 lookup local; ip $v rule add pref 5 fwmark 1 lookup 100; ip $v rule del pref 0; done`;

/** As the table of a holder whose only real server is the other one. */
const shareOut = (from: DirectorHost, to: DirectorHost): Promise<string> =>
  from.execOk(`ip route replace ${VIP} via ${to.address} table 100
ip -6 route replace ${VIP6} via ${ADDRESS6[to.name] ?? ''} table 100
nft -f - <<'END'
table inet forwarding
delete table inet forwarding
table inet forwarding {
chain pre { type filter hook prerouting priority mangle;
ip daddr ${VIP} tcp dport 80 counter meta mark set 1
ip6 daddr ${VIP6} tcp dport 80 counter meta mark set 1
}
}
END`);
const shareNothing = (director: DirectorHost): Promise<string> =>
  director.execOk('nft delete table inet forwarding');

const ask = async (vip: string): Promise<string> =>
  (await lab.network.exec(CLIENT, [process.execPath, '-e', ASK, vip])).stdout;

/** The other one's gate has heard of the holder's cards, and takes both VIPs. */
const isExempt = async (director: DirectorHost, other: DirectorHost): Promise<boolean> => {
  const rules = (await director.exec('nft list ruleset')).stdout;
  const setOf = (name: string): string =>
    new RegExp(`set ${name} \\{[^}]*elements = \\{([^}]*)\\}`).exec(rules)?.[1] ?? '';
  return (
    setOf('served4').includes(VIP) &&
    setOf('served6').includes(VIP6) &&
    setOf('director').includes(macOf(other))
  );
};

async function expectServed(holder: DirectorHost, other: DirectorHost): Promise<void> {
  await waitFor(
    'the gate of the other one takes what the holder sends',
    () => isExempt(other, holder),
    {
      timeoutMs: 10_000,
    },
  );
  await shareOut(holder, other);
  const targets = [
    { ownAddress: CLIENT_ADDRESS, vip: VIP },
    { ownAddress: CLIENT_ADDRESS6, vip: VIP6 },
  ];
  const probe = await startVoicesProbe(lab.network, { client: CLIENT, targets, echo: 'neighbour' });
  const answers = [await ask(VIP), await ask(VIP6)];
  await sleep(300);
  const records = await probe.stop();
  expect(answers).toEqual([`${other.name} as ::ffff:${VIP}`, `${other.name} as ${VIP6}`]);
  for (const record of records)
    expect([...new Set(record.answers.map(({ mac }) => mac))]).toEqual([macOf(holder)]);
  await shareNothing(holder);
  expect(await ask(VIP)).toBe(`${holder.name} as ::ffff:${VIP}`);
}

describe('two directors that serve their VIP themselves', () => {
  it('serve what the holder sends, and the holder alone answers for the VIP', async () => {
    const { holder, other } = await settle(lab);
    await expectServed(holder, other);
    const problems = (await lab.status(other.name)).problems.join();
    expect(problems).not.toContain('realserver up');
  });

  it('take nothing of others than directors', async () => {
    for (const vip of [VIP, VIP6]) {
      const { other } = await settle(lab);
      const believe = `ip neigh replace ${vip} lladdr ${macOf(other)} dev eth0 nud permanent`;
      await lab.network.execOk(CLIENT, ['sh', '-c', believe]);
      expect(await ask(vip)).toBe('silence');
      await lab.network.execOk(CLIENT, ['sh', '-c', `ip neigh del ${vip} dev eth0`]);
    }
  });

  it('do so the other way round after the group has moved', async () => {
    const { holder, other } = await settle(lab);
    await holder.signalAgent('SIGTERM');
    await holder.agentEnded(10_000);
    await waitFor('the other one holds', () => lab.hasAddress(other.name, FIRST), {
      timeoutMs: 15_000,
    });
    await lab.startAgents([holder.name]);
    await heldBy(lab, other.name);
    const now = await settle(lab);
    await expectServed(now.holder, now.other);
  });

  it('send nothing to and fro where a holder stands still with its table', async () => {
    const { holder, other } = await settle(lab);
    await shareOut(holder, other);
    await holder.signalAgent('SIGSTOP');
    try {
      // What the one that stands still sends on is answered by the other one, too.
      await lab.until('the other one holds', other.name, ({ groups }) =>
        groups.some(({ name, state }) => name === 'web' && state === 'held-here'),
      );
      const isKnown = async (): Promise<boolean> => {
        const isServed = (await ask(VIP)).startsWith(other.name);
        const shown = await lab.network.execOk(CLIENT, ['ip', 'neigh', 'show', VIP]);
        return isServed && shown.includes(macOf(other));
      };
      await waitFor('the client knows it', isKnown, { timeoutMs: 15_000 });
      await shareOut(other, holder);
      await shareOut(holder, other);
      expect(await ask(VIP)).toBe('silence');
      const counted = (await holder.execOk('nft list table inet forwarding')).matchAll(
        /counter packets (\d+)/g,
      );
      const packets = [...counted].map(([, count]) => Number(count));
      // A connection attempt and its repetitions, each of which ended here.
      expect(packets[0]).toBeGreaterThan(0);
      expect(packets[0]).toBeLessThan(5);
      await shareNothing(holder);
      expect(await ask(VIP)).toBe(`${holder.name} as ::ffff:${VIP}`);
    } finally {
      await holder.signalAgent('SIGCONT');
      for (const director of lab.directors) await director.exec('nft delete table inet forwarding');
    }
    await settle(lab);
  });

  it('say what is missing where the VIP is not on lo', async () => {
    const { other } = await settle(lab);
    expect((await other.cli(['realserver', 'down', '--vip', VIP])).code).toBe(0);
    const isTold = async (): Promise<boolean> =>
      (await lab.status(other.name)).problems
        .join()
        .includes(`leasehold realserver up --mode dr --vip ${VIP}`);
    await waitFor('status names the command', isTold, { timeoutMs: 10_000 });
  });
});
