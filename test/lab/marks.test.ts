/**
 * Firewall marks that the agents write: seen on the packets of a client, on both directors, made good
 * after others took them away, and gone when nobody asks for them. The cases share one cluster and run in order.
 */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  CLIENT,
  type ClusterLab,
  clusterDocument,
  createClusterLab,
  VIP,
  VIP6,
} from '../support/cluster-lab.ts';
import { ensurePackage } from '../support/debian-package.ts';
import { expectRepair } from '../support/expect-claim.ts';
import { sleep, waitFor } from '../support/processes.ts';
import { heldBy, settle } from '../support/settled.ts';

const TABLE = 'inet leasehold-marks';
/** Later than ours: what IPVS would see. */
const OBSERVER = `table inet observer {
chain input { type filter hook input priority 97;
ip daddr ${VIP} tcp dport 80 meta mark 7 counter comment "v4 80"
ip daddr ${VIP} tcp dport 443 meta mark 7 counter comment "v4 443"
ip daddr ${VIP} udp dport 443 meta mark 7 counter comment "v4 udp"
ip6 daddr ${VIP6} tcp dport 443 meta mark 8 counter comment "v6 443"
ip daddr ${VIP} tcp dport 81 meta mark 0 counter comment "v4 81 unmarked"
meta l4proto { tcp, udp } ip daddr ${VIP} th dport { 80, 443 } meta mark 0 counter comment "missed"
}
}
`;

let lab: ClusterLab;

const serverOf = (last: number): object => ({ realServers: [{ address: `10.90.0.${last}` }] });
const SERVICES = {
  shop: {
    group: 'web',
    fwmark: 7,
    marks: [
      { address: VIP, ports: [80, 443] },
      { address: VIP, protocol: 'udp', port: 443 },
    ],
    persistence: { timeout: '6m' },
    check: { tcp: {}, port: 443 },
    ...serverOf(21),
  },
  'shop-six': {
    group: 'web',
    fwmark: 8,
    marks: [{ address: VIP6, ports: [80, 443] }],
    check: { tcp: {}, port: 443 },
    realServers: [{ address: 'fd90::21' }],
  },
  // Its mark is set by somebody else.
  foreign: { group: 'web', fwmark: 9, check: { tcp: {}, port: 25 }, ...serverOf(22) },
};

const list = async (director: string): Promise<string> => {
  const shown = await lab.director(director).exec(`nft list table ${TABLE}`);
  return shown.code === 0 ? shown.stdout : '';
};
const isMarked = (text: string): boolean =>
  text.includes(`${VIP} . tcp . 80 comment "shop" : 0x00000007`);
const marked = (director: string, timeoutMs: number): Promise<unknown> =>
  waitFor(`${director} marks`, async () => isMarked(await list(director)), { timeoutMs });
const unmarked = (director: string, timeoutMs: number): Promise<unknown> =>
  waitFor(`${director} has no table`, async () => (await list(director)) === '', { timeoutMs });
const say = (word: string): Promise<unknown> =>
  lab.network.exec(CLIENT, ['bash', '-c', `(${word}) 2>/dev/null || true`]);

/** By the comment of the observer's rule. */
async function packetsOf(director: string): Promise<ReadonlyMap<string, number>> {
  const text = await lab.director(director).execOk('nft list table inet observer');
  const found = text.matchAll(/counter packets (\d+) bytes \d+ comment "([^"]*)"/g);
  return new Map([...found].map(([, packets, name]) => [name ?? '', Number(packets)]));
}

beforeAll(async () => {
  await ensurePackage('nftables', (text) => process.stderr.write(`${text}\n`));
  lab = await createClusterLab({ name: 'marks', kind: 'namespace' });
  await lab.etcd.start();
  await lab.startAgents();
  await lab.applyOk(clusterDocument(lab, { services: SERVICES }));
  await heldBy(lab, 'd1');
});

afterEach(async (context) => {
  if (context.task.result?.state === 'fail')
    await lab.collectEvidence(`marks ${context.task.name}`);
});

afterAll(() => lab?.close());

describe('marks of the cluster document', () => {
  it('are in the kernel of every director, and what others mark is not', async () => {
    for (const director of ['d1', 'd2']) {
      await marked(director, 5000);
      const text = await list(director);
      expect(text).toContain(`${VIP} . tcp . 443 comment "shop" : 0x00000007`);
      expect(text).toContain(`${VIP} . udp . 443 comment "shop" : 0x00000007`);
      expect(text).toContain(`${VIP6} . tcp . 443 comment "shop-six" : 0x00000008`);
      expect(text).not.toContain('foreign');
    }
  });

  it("are on a client's packets to the holder, of both families, and on no others", async () => {
    const { holder } = await settle(lab);
    await holder.execOk(`nft -f - <<'END'\n${OBSERVER}\nEND`);
    for (const port of [80, 81, 443]) await say(`exec 3<>/dev/tcp/${VIP}/${port}`);
    await say(`printf x >/dev/udp/${VIP}/443`);
    await say(`exec 3<>/dev/tcp/${VIP6}/443`);
    const packets = await packetsOf(holder.name);
    expect(packets.size).toBe(6);
    for (const [name, count] of packets) {
      if (name === 'missed') expect(count).toBe(0);
      else expect(count, name).toBeGreaterThan(0);
    }
    await holder.execOk('nft delete table inet observer');
  });

  it('come back within a second after others flushed all rules', async () => {
    for (const director of ['d1', 'd2']) {
      const host = lab.director(director);
      await host.execOk('nft flush ruleset');
      await expectRepair(`${director} marks`, host.agentPid(), async () =>
        isMarked(await list(director)),
      );
    }
    const isTold = (): boolean => lab.director('d2').agentLog().includes('marks.repaired');
    await waitFor('the log tells of it', isTold, { timeoutMs: 5000 });
  });

  it('survive an agent that is killed, and are adopted by the next', async () => {
    const d2 = lab.director('d2');
    await d2.signalAgent('SIGKILL');
    await d2.agentEnded(5000);
    const before = await list('d2');
    expect(isMarked(before)).toBe(true);
    const handle = await d2.execOk(`nft -a list table ${TABLE}`);
    await lab.startAgents(['d2']);
    await lab.until('d2 is back', 'd2', (status) => status.groups.length > 0);
    await sleep(1000);
    expect(await d2.execOk(`nft -a list table ${TABLE}`)).toBe(handle);
  });

  it('follow the document, and go with the last service that asks for them', async () => {
    const { shop: _, ...rest } = SERVICES;
    await lab.applyOk(clusterDocument(lab, { services: rest }), ['--confirm-shrink']);
    await waitFor('the shop is gone', async () => !isMarked(await list('d2')), { timeoutMs: 5000 });
    expect(await list('d1')).toContain('shop-six');
    const { foreign } = SERVICES;
    await lab.applyOk(clusterDocument(lab, { services: { foreign } }), ['--confirm-shrink']);
    for (const director of ['d1', 'd2']) await unmarked(director, 5000);
  });

  it('go with an agent that ends in order', async () => {
    await lab.applyOk(clusterDocument(lab, { services: SERVICES }));
    const d2 = lab.director('d2');
    for (const director of ['d1', 'd2']) await marked(director, 5000);
    await d2.signalAgent('SIGTERM');
    await d2.agentEnded(10_000);
    expect(await list('d2')).toBe('');
    expect(isMarked(await list('d1'))).toBe(true);
  });
});
