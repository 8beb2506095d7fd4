/**
 * Looks along the path of a VIP, by the holder and by a director that is not and whose card is a bridge's port, at real
 * servers that are as they should be and at others: Linux itself answers, or does not. Tunnels that end well are in the
 * rack, whose kernel has them. Needs root, `ip`, `nft`, `ss`.
 */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type IpAddress, parseIp } from '../../src/model/address.ts';
import type { VipCheck } from '../../src/model/check.ts';
import { createNetwork, type Network } from '../support/network.ts';
import type { VipAnswer, VipCommand, VipLookAt } from './support/vip-probe-child.ts';

const ip = (text: string): IpAddress => {
  const parsed = parseIp(text);
  if (!parsed.ok) throw new Error(parsed.error);
  return parsed.value;
};

const VIP = ip('10.90.0.100');
const VIP6 = ip('fd90::100');
const TIMEOUT_MS = 600;
/** A second and a half, but the machine may be busy. */
const SOON = { timeout: 5_000, interval: 100 } as const;
const HOSTS = {
  good: 21,
  bare: 22,
  loud: 23,
  closed: 24,
  router: 25,
  silent: 26,
  rejects: 28,
  container: 30,
} as const;
type Host = keyof typeof HOSTS;
const DOWN = 29;
/** More VIPs of the good one. */
const MANY = 50;
const OWN = { holder: '10.90.0.11', standby: '10.90.0.12' } as const;
type DirectorName = keyof typeof OWN;
const SERVE = "require('node:net').createServer((s) => s.end()).listen(80, '::')";

/** By a director: nothing that its own kernel sends about a look. */
const SAID = `table inet said { chain out { type filter hook output priority 0;
  tcp flags rst counter comment "rst"
}
}`;
/** Segments for the VIP, by what they are. */
const CAME = `table inet came { chain in { type filter hook prerouting priority -300;
  ip daddr ${VIP} tcp flags & (syn | rst) == syn counter comment "syn"
  ip daddr ${VIP} tcp flags & (syn | rst) == rst counter comment "rst"
}
}`;
/** By somebody who has nothing to do with it: ARP and ND that speak as the VIP, and frames for it. */
const HEARD = `table netdev heard { chain in { type filter hook ingress device eth0 priority 0;
  arp saddr ip ${VIP} counter comment "arp"
  icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } ip6 saddr ${VIP6} counter comment "nd"
  ip daddr ${VIP} counter comment "frames"
}
}`;

class Director {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #lines: AsyncIterator<string>;

  constructor(argv: readonly string[]) {
    const script = new URL('support/vip-probe-child.ts', import.meta.url).pathname;
    const [command, ...rest] = [...argv, process.execPath, '--import', 'tsx', script];
    this.#child = spawn(command ?? '', rest);
    this.#child.stderr.pipe(process.stderr);
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  async ready(): Promise<void> {
    expect((await this.#lines.next()).value).toBe('ready');
  }

  async ask(command: VipCommand): Promise<VipAnswer> {
    this.#child.stdin.write(`${JSON.stringify(command)}\n`);
    const line = await this.#lines.next();
    if (line.done === true) throw new Error('the director ended');
    return JSON.parse(line.value) as VipAnswer;
  }

  async end(): Promise<void> {
    if (this.#child.exitCode !== null) return;
    this.#child.stdin.end();
    await once(this.#child, 'exit');
  }
}

let net: Network;
const directors = new Map<DirectorName, Director>();

const sh = (host: string, script: string): Promise<string> =>
  net.execOk(host, ['sh', '-ec', script]);

const QUIET = ['all', 'eth0']
  .map((one) => `sysctl -qw net.ipv4.conf.${one}.arp_ignore=1 net.ipv4.conf.${one}.arp_announce=2`)
  .join('\n');
const ON_LO = `ip address add ${VIP}/32 dev lo; ip address add ${VIP6}/128 dev lo nodad`;
const SET_UP = `${QUIET}\n${ON_LO}`;
const filtering = (words: string): string => `${SET_UP}
nft 'table inet f { chain i { type filter hook input priority 0
tcp dport 80 ${words}
}
}'`;

/** What makes each real server what it is. */
const SETUP: Readonly<Record<Host, string>> = {
  good: `${SET_UP}\nfor n in $(seq ${MANY}); do echo address add 10.90.1.$n/32 dev lo; done | ip -batch -`,
  bare: 'true',
  loud: `sysctl -qw net.ipv4.conf.all.arp_ignore=0\n${ON_LO}\nip address add ${VIP6}/128 dev eth0 nodad`,
  closed: SET_UP,
  router: 'sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1',
  silent: filtering('drop'),
  rejects: filtering('reject with icmpx admin-prohibited'),
  // As the publishing of a container's port does: to another machine, which nobody is here.
  container: `${SET_UP}
sysctl -qw net.ipv4.ip_forward=1; ip link add inner0 type veth peer name inner1; ip address add 172.31.9.1/24 dev inner0; ip link set inner0 up; ip link set inner1 up
nft 'table ip n { chain p { type nat hook prerouting priority -100
ip daddr ${VIP} tcp dport 80 dnat to 172.31.9.2:80
}
}'`,
};

/** Each frame is heard twice then: at the card, and at the bridge that has the address. */
const BRIDGED = `mac=$(cat /sys/class/net/eth0/address)
ip link add br0 address $mac type bridge; ip link set br0 up
ip address flush dev eth0; ip link set eth0 master br0
ip address add 10.90.0.12/24 dev br0; ip address add fd90::12/64 dev br0 nodad`;

beforeAll(async () => {
  net = await createNetwork({ name: 'vip-path' });
  await net.addHost('holder', [`${OWN.holder}/24`, 'fd90::11/64']);
  await net.addHost('standby', [`${OWN.standby}/24`, 'fd90::12/64']);
  await net.addHost('passer', ['10.90.0.1/24', 'fd90::1/64']);
  for (const [name, number] of Object.entries(HOSTS))
    await net.addHost(name, [`10.90.0.${number}/24`, `fd90::${number}/64`]);
  // As the holder has them, behind its own address; a service there must never answer for a real server.
  await sh('holder', `ip address add ${VIP}/24 dev eth0; ip address add ${VIP6}/64 dev eth0 nodad`);
  await sh('standby', BRIDGED);
  net.spawn('holder', 'serve', [process.execPath, '-e', SERVE]);
  // Before others answer for the VIP, too.
  await sh('passer', `ping -c 1 -W 2 ${VIP}; ping -c 1 -W 2 ${VIP6}`);
  await Promise.all(
    Object.entries(SETUP).map(async ([name, script]) => {
      await sh(name, script);
      if (name !== 'closed') net.spawn(name, 'serve', [process.execPath, '-e', SERVE]);
    }),
  );
  for (const name of ['holder', 'standby'] as const) {
    await net.execOk(name, ['nft', '-f', '-'], { input: SAID });
    directors.set(name, new Director(net.wrap(name, [])));
  }
  for (const name of ['holder', 'good'])
    await net.execOk(name, ['nft', '-f', '-'], { input: CAME });
  const listening =
    'for n in $(seq 150); do ss -tln | grep -q :80 && exit 0; sleep 0.1; done; exit 1';
  for (const name of ['holder', 'good', 'loud', 'silent']) await sh(name, listening);
  await net.execOk('passer', ['nft', '-f', '-'], { input: HEARD });
  for (const director of directors.values()) await director.ready();
}, 90_000);

afterAll(async () => {
  await Promise.all([...directors.values()].map((director) => director.end()));
  await net.close();
});

const DR: VipCheck = { kind: 'vip', vip: VIP, ask: 'tcp', arp: 'fail', tunnel: null };

function lookAt(from: DirectorName, at: Host | number, fields: Partial<VipCheck> = {}): VipLookAt {
  const check = { ...DR, own: { address: ip(OWN[from]), vips: [VIP, VIP6] }, ...fields };
  const number = typeof at === 'number' ? at : HOSTS[at];
  const address = ip(`${check.vip?.includes(':') ? 'fd90::' : '10.90.0.'}${number}`);
  return { check, address, port: 80, timeoutMs: TIMEOUT_MS };
}

/** All at the same time, each told by its name. */
async function looks(
  from: DirectorName,
  at: Readonly<Record<string, VipLookAt>>,
): Promise<Readonly<Record<string, string>>> {
  const director = directors.get(from);
  if (director === undefined) throw new Error('not started');
  const names = Object.keys(at);
  const { told } = await director.ask({ op: 'look', at: Object.values(at) });
  expect(told).toHaveLength(names.length);
  return Object.fromEntries(names.map((name, n) => [name, told[n] ?? '']));
}

const each = (
  from: DirectorName,
  hosts: readonly (Host | number)[],
  fields: Partial<VipCheck> = {},
): Promise<Readonly<Record<string, string>>> =>
  looks(from, Object.fromEntries(hosts.map((host) => [host, lookAt(from, host, fields)])));

const counted = async (host: string, table: string, comment: string): Promise<number> => {
  const text = await net.execOk(host, ['nft', 'list', 'table', ...table.split(' ')]);
  const line = text.split('\n').find((one) => one.includes(`comment "${comment}"`)) ?? '';
  return Number(/packets (\d+)/.exec(line)?.[1] ?? Number.NaN);
};

const like = (text: string): unknown => expect.stringMatching(text);

describe.each(['holder', 'standby'] as const)('the %s', (from) => {
  test('finds of IPv4 what is wrong with a real server', async () => {
    const hosts = Object.keys(HOSTS) as Host[];
    const wanted = {
      good: 'up: answers as 10.90.0.100',
      bare: like('^vip-missing: answers as 10.90.0.22, not as 10.90.0.100.*--mode dr$'),
      loud: like('^answers-arp: answers ARP for 10.90.0.100'),
      closed: like('^refused: has 10.90.0.100, and port 80 is closed there'),
      router: like('^vip-missing: does not have 10.90.0.100, and would route it on'),
      silent: like('^timeout-connect: has 10.90.0.100, and port 80 there is silent'),
      rejects: like('^refused: a filter of the real server forbids port 80'),
      container: like('^up: has 10.90.0.100, and hands port 80 on'),
    };
    expect(await each(from, hosts)).toEqual(wanted);
    // Who is known already is asked in another order.
    const again = ['good', 'loud', 'closed', 'rejects'] as const;
    expect(await each(from, again)).toEqual(
      Object.fromEntries(again.map((host) => [host, wanted[host]])),
    );
  });

  test('finds of IPv6 what is wrong with a real server', async () => {
    const hosts = ['good', 'bare', 'loud', 'closed', 'router', 'silent', 'rejects'] as const;
    expect(await each(from, hosts, { vip: VIP6 })).toEqual({
      good: 'up: answers as fd90::100',
      bare: like('^vip-missing: answers as fd90::22, not as fd90::100'),
      loud: like('^answers-arp: answers neighbour discovery for fd90::100'),
      closed: like('^refused: has fd90::100'),
      router: like('^vip-missing: does not have fd90::100, and would route it on'),
      silent: like('^timeout-connect: has fd90::100'),
      rejects: like('^refused: a filter of the real server forbids port 80'),
    });
  });

  test('asks by echo where there is no port to ask, and leaves out what it is told to', async () => {
    const at = (host: Host, fields: Partial<VipCheck>): VipLookAt => lookAt(from, host, fields);
    const echo = { ask: 'echo' } as const;
    expect(
      await looks(from, {
        good: at('good', echo),
        good6: at('good', { ...echo, vip: VIP6 }),
        closed: at('closed', echo),
        bare: at('bare', echo),
        bare6: at('bare', { ...echo, vip: VIP6 }),
        loud: at('loud', echo),
        allowed: at('loud', { arp: 'ignore' }),
        allowed6: at('loud', { arp: 'ignore', vip: VIP6 }),
        down: lookAt(from, DOWN),
        itself: lookAt(from, from === 'holder' ? 11 : 12),
        ipip: at('good', { tunnel: { type: 'ipip', port: 0 } }),
        gre: at('closed', { tunnel: { type: 'gre', port: 0 } }),
        gue: at('bare', { tunnel: { type: 'gue', port: 6080 } }),
      }),
    ).toEqual({
      good: 'up: answers as 10.90.0.100',
      good6: 'up: answers as fd90::100',
      closed: 'up: answers as 10.90.0.100',
      bare: like('^vip-missing'),
      bare6: like('^vip-missing'),
      loud: like('^answers-arp'),
      allowed: 'up: answers as 10.90.0.100',
      allowed6: 'up: answers as fd90::100',
      down: like(`^unreachable: no answer within ${TIMEOUT_MS} ms`),
      itself: like('^local: .* is this director itself'),
      ipip: like('^vip-missing: takes no ipip packets; .*--mode tun$'),
      gre: like('^vip-missing: takes no gre packets; .*--tunnel gre$'),
      gue: like('^vip-missing: takes no gue packets; .*--gue-port 6080$'),
    });
  });

  test('makes many looks at once, each with an answer of its own', async () => {
    const at = new Map<string, VipLookAt>();
    for (let n = 1; n <= MANY; n++) {
      const vip = ip(`10.90.1.${n}`);
      at.set(vip, lookAt(from, 'good', { vip }));
      at.set(`no ${vip}`, lookAt(from, 'closed', { vip, ask: 'echo' }));
    }
    // Two of one sort, as of services with other timings: the kernel takes the second for a mistake of the first.
    at.set('twin 1', lookAt(from, 'good'));
    at.set('twin 2', lookAt(from, 'good', { arp: 'ignore' }));
    const told = Object.entries(await looks(from, Object.fromEntries(at)));
    const ups = told.filter(([, words]) => words.startsWith('up: answers as'));
    expect(ups.map(([name]) => name)).toEqual(
      [...at.keys()].filter((name) => !name.startsWith('no')),
    );
    for (const [name, words] of told)
      if (name.startsWith('no')) expect(words).toMatch(/^vip-missing: /);
      else if (name.startsWith('10')) expect(words).toBe(`up: answers as ${name}`);
  });
});

describe('what a look leaves behind', () => {
  test('no connection, half open or whole, and as many resets as segments', async () => {
    const connected = (): Promise<string> => sh('good', "ss -Htan state connected 'sport = 80'");
    await expect.poll(connected, SOON).toBe('');
    const syns = await counted('good', 'inet came', 'syn');
    expect(syns).toBeGreaterThan(5);
    const resets = (): Promise<number> => counted('good', 'inet came', 'rst');
    await expect.poll(resets, SOON).toBeGreaterThanOrEqual(syns);
  });

  test('nothing that a director’s own kernel says, nothing at the holder', async () => {
    for (const name of ['holder', 'standby'])
      expect(await counted(name, 'inet said', 'rst')).toBe(0);
    for (const what of ['syn', 'rst']) expect(await counted('holder', 'inet came', what)).toBe(0);
  });

  test('nothing that others hear, and nobody learns another place of the VIP', async () => {
    for (const what of ['arp', 'nd', 'frames'])
      expect(await counted('passer', 'netdev heard', what)).toBe(0);
    const mac = (await sh('holder', 'cat /sys/class/net/eth0/address')).trim();
    for (const vip of [VIP, VIP6])
      expect(await sh('passer', `ip neigh show to ${vip}`)).toContain(mac);
    for (const name of ['standby', 'good', 'bare'])
      expect(await sh(name, `ip neigh show to ${VIP}; ip neigh show to ${VIP6}`)).toBe('');
  });

  test('no socket, soon', async () => {
    for (const director of directors.values())
      await expect.poll(() => director.ask({ op: 'sockets' }), SOON).toEqual({ told: ['0'] });
  });
});
