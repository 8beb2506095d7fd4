/**
 * `leasehold realserver` on a kernel that has every tunnel: one guest with namespaces for a client, a director
 * (real ip_vs, plain ipvsadm) and a real server that nothing but the command has prepared.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bootGuest, type Guest, IPVS_MODULES } from '../support/guest.ts';
import { createNetwork, type Network } from '../support/network.ts';
import { waitFor } from '../support/processes.ts';

const LEASEHOLD = `${process.execPath} ${fileURLToPath(new URL('../../bin/leasehold', import.meta.url))}`;

const SET_UP = `set -e
ip link add br0 type bridge; ip link set br0 up
n=0
for host in cl di rs; do
  n=$((n+1))
  ip netns add $host
  ip link add eth0 netns $host type veth peer name p-$host
  ip link set p-$host master br0 up
  ip netns exec $host sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.eth0.accept_dad=0
  ip -n $host link set lo up; ip -n $host link set eth0 up
  ip -n $host address add 10.80.0.$n/24 dev eth0
  ip -n $host address add fd80::$n/64 dev eth0 nodad
  ip -n $host route add default via 10.80.0.1 2>/dev/null || true
done
ip -n di address add 10.80.0.100/32 dev eth0
ip -n di address add fd80::100/128 dev eth0 nodad preferred_lft 0
ip netns exec rs sysctl -qw net.ipv4.conf.all.rp_filter=1`;

const SERVER = `
const net = require('node:net');
net.createServer((s) => { s.on('error', () => {}); s.end('served as ' + s.localAddress + '\\n'); }).listen(80, '::', () => console.log('listening'));
`;
/** In a guest bash is there at once, and Node is not. */
const CLIENT = 'exec 3<>/dev/tcp/$0/80 && cat <&3';
const SILENCE_S = 3;
/** For what is answered: a first packet may be lost, and the machine be busy. */
const ANSWER_S = 15;
/** What timeout(1) gives then. */
const SILENT = 124;

type Vip = '10.80.0.100' | 'fd80::100';
type Case = {
  readonly name: string;
  readonly vip: Vip;
  readonly real: '10.80.0.3' | 'fd80::3';
  readonly options: string;
  /** The director's ways to send, one after the other. */
  readonly ipvs: readonly string[];
  /** A device of the operator's own. */
  readonly own?: string;
};

const GUE = '--mode tun --tunnel gue --gue-port 6080';
const GUE_SENDS = ['-i --tun-type gue --tun-port 6080'];
const GRE = '--mode tun --tunnel gre';
const GRE_SENDS = ['-i --tun-type gre'];

/**
 * Each on a machine where nothing else is up. DR alone is for the lab of namespaces; DR, ipip, gue and gre for
 * both families at once, over the same and over the other, are for the rack of all methods.
 */
const CASES: readonly Case[] = [
  {
    name: 'ipip',
    vip: '10.80.0.100',
    real: '10.80.0.3',
    options: '--mode tun',
    ipvs: ['-i'],
  },
  {
    name: '6in4',
    vip: 'fd80::100',
    real: '10.80.0.3',
    options: '--mode tun --over ipv4',
    ipvs: ['-i'],
  },
  {
    name: '4in6',
    vip: '10.80.0.100',
    real: 'fd80::3',
    options: '--mode tun --over ipv6',
    ipvs: ['-i'],
  },
  {
    name: 'gue of IPv4 over IPv6',
    vip: '10.80.0.100',
    real: 'fd80::3',
    options: `${GUE} --over ipv6`,
    ipvs: GUE_SENDS,
  },
  {
    name: 'gue of IPv6 over IPv4',
    vip: 'fd80::100',
    real: '10.80.0.3',
    options: `${GUE} --over ipv4`,
    ipvs: GUE_SENDS,
  },
  {
    name: 'gre',
    vip: '10.80.0.100',
    real: '10.80.0.3',
    options: GRE,
    ipvs: GRE_SENDS,
  },
  {
    name: 'gre of IPv4 over IPv6',
    vip: '10.80.0.100',
    real: 'fd80::3',
    options: `${GRE} --over ipv6`,
    ipvs: GRE_SENDS,
  },
  {
    name: 'gre of IPv6 over IPv4',
    vip: 'fd80::100',
    real: '10.80.0.3',
    options: `${GRE} --over ipv4`,
    ipvs: GRE_SENDS,
  },
  {
    name: 'gue with checksums of each kind',
    vip: '10.80.0.100',
    real: '10.80.0.3',
    options: '--mode tun --gue-port 6081',
    ipvs: ['nocsum', 'csum', 'remcsum'].map(
      (sum) => `-i --tun-type gue --tun-port 6081 --tun-${sum}`,
    ),
  },
  {
    name: 'gre with csum',
    vip: '10.80.0.100',
    real: '10.80.0.3',
    options: '--mode tun --tunnel gre --interface gre9',
    ipvs: ['-i --tun-type gre --tun-csum'],
    own: 'gre9 type gre local 10.80.0.3 icsum',
  },
];

describe('leasehold realserver', () => {
  let network: Network;
  let guest: Guest;
  let clean = '';

  beforeAll(async () => {
    network = await createNetwork({ name: 'realserver' });
    guest = await bootGuest({
      name: 'rs1',
      network,
      addresses: ['10.91.0.11/24'],
      modules: [...IPVS_MODULES, 'bridge', 'veth'],
    });
    await guest.execOk(SET_UP);
    await guest.execOk('modprobe ip6_tunnel; modprobe fou');
    clean = await state();
    await guest.spawn(['ip', 'netns', 'exec', 'rs', process.execPath, '-e', SERVER]);
    const listens = (): boolean => readFileSync(guest.logFile, 'utf8').includes('listening');
    await waitFor('the server listens', listens, { timeoutMs: 60_000 });
  });

  afterAll(() => network.close());

  const leasehold = (words: string) =>
    guest.exec(`ip netns exec rs ${LEASEHOLD} realserver ${words}`, { timeoutMs: 60_000 });
  const ask = (vip: string, limitS = ANSWER_S) =>
    guest.exec(
      ['ip', 'netns', 'exec', 'cl', 'timeout', String(limitS), 'bash', '-c', CLIENT, vip],
      { timeoutMs: 60_000 },
    );
  /** What `up` changes, but for devices that only come with their module. */
  const state = () =>
    guest.execOk(
      `ip netns exec rs sh -c 'grep . /proc/sys/net/ipv4/conf/all/arp_* /proc/sys/net/ipv4/conf/all/rp_filter; ip -o address show; ip fou show; ip -6 tunnel show | grep ip6tnl0; ip -o link show up | cut -d: -f2; grep -H [^01] /proc/sys/net/ipv4/conf/*/rp_filter; true'`,
    );

  /** A table with one real server. */
  const direct = (vip: string, real: string, ipvs: string): Promise<string> => {
    const [service, server] = [vip, real].map((address) =>
      address.includes(':') ? `[${address}]:80` : `${address}:80`,
    );
    return guest.execOk(
      `in_di='ip netns exec di'; $in_di ipvsadm -C; $in_di ipvsadm -A -t ${service} -s rr && $in_di ipvsadm -a -t ${service} -r ${server} ${ipvs}`,
    );
  };
  const servedAs = (vip: string): string =>
    `served as ${vip.includes(':') ? '' : '::ffff:'}${vip}\n`;

  it('is needed, and says so', async () => {
    await direct('10.80.0.100', '10.80.0.3', '-i');
    expect((await ask('10.80.0.100', SILENCE_S)).stdout).toBe('');
    const status = await leasehold('status');
    expect(status).toMatchObject({ code: 1 });
    expect(status.stdout).toContain('no VIP is up here');
  });

  it.each(CASES)('$name: $vip at $real', async ({ vip, real, options, ipvs, own }) => {
    if (own !== undefined) await guest.execOk(`ip -n rs link add ${own}`);
    const up = await leasehold(`up --vip ${vip} ${options}`);
    expect(up.code, `${up.stdout}${up.stderr}`).toBe(0);
    const answers: string[] = [];
    for (const way of ipvs) {
      await direct(vip, real, way);
      answers.push((await ask(vip)).stdout);
    }
    const status = await leasehold('status');
    const down = await leasehold('down');
    if (own !== undefined) await guest.execOk(`ip -n rs link del ${own.split(' ')[0]}`);
    expect(answers).toEqual(ipvs.map(() => servedAs(vip)));
    expect(status.code, status.stdout).toBe(0);
    expect(down.code, down.stdout).toBe(0);
    expect(await state()).toBe(clean);
  });

  it('knows what a reverse path check does to a tunnel device without an address', async () => {
    const vip = '10.80.0.100';
    const options = `--vip ${vip} --mode tun --interface lo`;
    const check = (device: string, value: number) =>
      guest.execOk(`ip netns exec rs sysctl -qw net.ipv4.conf.${device}.rp_filter=${value}`);
    await direct(vip, '10.80.0.3', '-i');
    const refused = await leasehold(`up ${options}`);
    expect(refused.code, refused.stdout).toBe(3);
    expect(refused.stdout).toContain('tunl0 has no IPv4 address');
    await check('all', 0);
    await check('tunl0', 2);
    const up = await leasehold(`up ${options}`);
    const served = await ask(vip);
    await check('tunl0', 2);
    const dropped = await ask(vip, SILENCE_S);
    const status = await leasehold('status');
    const down = await leasehold('down');
    await check('tunl0', 0);
    await check('all', 1);
    expect(up.code, up.stdout).toBe(0);
    expect(up.stdout).toMatch(/^done +net\.ipv4\.conf\.tunl0\.rp_filter +2 -> 0$/m);
    expect(served.stdout).toBe(servedAs(vip));
    expect(dropped).toMatchObject({ code: SILENT, stdout: '' });
    expect(status.code, status.stdout).toBe(1);
    expect(down.code, down.stdout).toBe(0);
  });

  it('has left nothing behind', async () => {
    expect((await ask('10.80.0.100', SILENCE_S)).stdout).toBe('');
    expect(await state()).toBe(clean);
  });
});
