/**
 * All ways of forwarding on real kernels, judged by which real server answers the client: NAT, DR and
 * tunnels in both families, TCP, UDP and firewall marks, schedulers by hash, and persistence. The cases
 * share one rack; each begins with a settled cluster.
 */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { askHttp, askUdp, type Question, tally } from '../support/rack-client.ts';
import {
  CHECK,
  createRackLab,
  type Method,
  METHODS,
  prepareServers,
  type RackLab,
  vipOf,
} from '../support/rack-lab.ts';
import { UDP_PORT } from '../support/rack-servers.ts';
import { monotonicMs, sleep } from '../support/processes.ts';
import { failover } from './cases/failover.ts';
import { listing } from './cases/listing.ts';
import { missingModule } from './cases/missing-module.ts';
import { quorum } from './cases/quorum.ts';
import { repair } from './cases/repair.ts';
import { twoNodes } from './cases/two-nodes.ts';
import { vipPath } from './cases/vip-path.ts';
import { settle } from '../support/settled.ts';

const ALL_METHODS = Object.keys(METHODS) as Method[];
const PERSISTENCE_S = 5;

let lab: RackLab;

beforeAll(async () => {
  lab = await createRackLab('methods');
  await lab.etcd.start();
  await Promise.all([
    lab.startAgents(),
    prepareServers(lab),
    ...lab.inside.map((each) => each.start()),
  ]);
  const services = {
    ...Object.assign({}, ...ALL_METHODS.map((each) => lab.carriers(each))),
    ...SPECIAL(),
  };
  await lab.applyAndWait(services);
  for (const director of lab.directors) await director.execOk(MARK_RULES);
  await settle(lab);
});

afterEach(async (context) => {
  if (context.task.result?.state === 'fail') await lab.collectEvidence(context.task.name);
});

afterAll(() => lab?.close());

/** Of the services below: all at the VIPs of DR. */
const PORTS = {
  sh: 8080,
  mh: 8081,
  onePort: 8082,
  marked: [8083, 8084],
  anyPort: [8085, 8086],
} as const;
const MARK = 7;

/** As an administrator would with iptables: 8083 and 8084 of one VIP are one service. */
const MARK_RULES = `
tc qdisc add dev vec0 ingress
for port in ${PORTS.marked.join(' ')}; do
  tc filter add dev vec0 ingress protocol ip flower ip_proto tcp dst_ip 10.90.0.101 dst_port $port action skbedit mark ${MARK}
  tc filter add dev vec0 ingress protocol ipv6 flower ip_proto tcp dst_ip fd90::101 dst_port $port action skbedit mark ${MARK}
done`;

function SPECIAL(): Readonly<Record<string, object>> {
  const at = (family: 4 | 6, words: object): object => ({
    group: 'web',
    ...words,
    scheduler: 'rr',
    forward: 'dr',
    check: CHECK,
    realServers: lab.servers.map((each) => ({
      address: family === 4 ? each.address : each.address6,
    })),
  });
  const persistence = { timeout: `${PERSISTENCE_S}s` };
  const address = '10.90.0.101';
  return {
    'by-sh': { ...at(4, { address, port: PORTS.sh }), scheduler: 'sh' },
    'by-mh': { ...at(4, { address, port: PORTS.mh }), scheduler: 'mh' },
    'one-port': at(4, { address, port: PORTS.onePort, persistence }),
    'any-port': at(4, { address, port: 0, persistence }),
    marked: at(4, { fwmark: MARK, persistence }),
    marked6: at(6, { fwmark: MARK }),
  };
}

const DR: Question = { host: vipOf('dr', 4), port: 80 };
const clientAddress = (last: number): string => `10.90.0.${last}`;

describe('each way of forwarding', () => {
  it('finds the settings of the kernel as the document has them', async () => {
    for (const director of lab.directors)
      expect(
        await director.execOk(
          'sysctl -n net.ipv4.ip_forward net.ipv6.conf.all.forwarding; ipvsadm -Ln --timeout',
        ),
      ).toMatch(/^1\n1\nTimeout \(tcp tcpfin udp\): 900 1 1$/m);
  });

  for (const method of ALL_METHODS)
    for (const family of [4, 6] as const) {
      const host = vipOf(method, family);
      const names = method === 'nat' ? { n1: 4, n2: 4 } : { g1: 4, g2: 4 };
      it(`${METHODS[method].what} carries HTTP and UDP over IPv${family}, to all in turn`, async () => {
        expect(tally(await askHttp(lab.network, { host, port: 80 }, 8))).toEqual(names);
        expect(tally(await askUdp(lab.network, { host, port: UDP_PORT }, 8))).toEqual(names);
      });
    }
});

describe('a scheduler by hash', () => {
  for (const [name, port] of [
    ['sh', PORTS.sh],
    ['mh', PORTS.mh],
  ] as const)
    it(`${name} keeps each client on its real server, and has work for all`, async () => {
      const used = new Set<string>();
      for (let last = 1; last < 10; last += 1) {
        const names = await askHttp(lab.network, { ...DR, port, from: clientAddress(last) }, 4);
        expect(new Set(names).size, `${clientAddress(last)}: ${names.join(' ')}`).toBe(1);
        used.add(names[0] ?? '');
      }
      expect([...used].toSorted()).toEqual(['g1', 'g2']);
    });
});

describe('a firewall mark', () => {
  it('takes IPv6 and IPv4 to the services of the mark', async () => {
    const [first] = PORTS.marked;
    const names = await askHttp(lab.network, { host: vipOf('dr', 6), port: first }, 8);
    expect(tally(names)).toEqual({ g1: 4, g2: 4 });
    const table = await lab.tableOf('d1');
    expect([...table.keys()].filter((key) => key.startsWith('-f'))).toEqual([
      `-f ${MARK} -s rr -p ${PERSISTENCE_S}`,
      `-f ${MARK} -6 -s rr`,
    ]);
  });
});

describe('persistence', () => {
  type Seen = {
    readonly ports: readonly number[];
    client: number;
    first: string;
    second: string;
    lastMs: number;
  };
  const unseen = { client: 0, first: '', second: '', lastMs: 0 };
  const kinds: Readonly<Record<string, Seen>> = {
    'of one port': { ports: [PORTS.onePort], ...unseen },
    'of all ports (port 0)': { ports: PORTS.anyPort, ...unseen },
    'of a firewall mark': { ports: PORTS.marked, ...unseen },
  };

  /** Who answered a client at all ports of a kind: names that differ, in one text. */
  async function askAll({ ports }: Seen, last: number, count: number): Promise<string> {
    const names = new Set<string>();
    for (const port of ports) {
      const question = { ...DR, port, from: clientAddress(last) };
      for (const name of await askHttp(lab.network, question, count)) names.add(name);
    }
    return [...names].join(' ');
  }

  for (const [kind, seen] of Object.entries(kinds))
    it(`${kind} keeps each client on its real server`, async () => {
      // Where the questions took as long as persistence lasts they show nothing: three other clients then.
      for (seen.client = 1; seen.client < 10; seen.client += 3) {
        seen.first = await askAll(seen, seen.client, 4);
        const fromMs = monotonicMs();
        seen.second = await askAll(seen, seen.client + 1, 4);
        const again = await askAll(seen, seen.client, 2);
        const third = await askAll(seen, seen.client + 2, 1);
        seen.lastMs = monotonicMs();
        if (seen.lastMs - fromMs > (PERSISTENCE_S - 1) * 1000) continue;
        // In turn: the second client is new, and goes to the other one.
        expect([seen.first, seen.second].toSorted()).toEqual(['g1', 'g2']);
        expect(again).toBe(seen.first);
        // A third client: whose turn it is next is not the old one of the first client.
        expect(third).toBe(seen.first);
        return;
      }
      throw new Error('nine clients were too slow to show what persistence does');
    });

  for (const [kind, seen] of Object.entries(kinds))
    it(`${kind} ends after its timeout`, async () => {
      await sleep(Math.max(0, seen.lastMs + (PERSISTENCE_S + 1.5) * 1000 - monotonicMs()));
      expect(await askAll(seen, seen.client, 4)).toBe(seen.second);
    });
});

listing(() => lab);
repair(() => lab);
missingModule(() => lab);
vipPath(() => lab);
quorum(() => lab);
failover(() => lab);
twoNodes(() => lab);
