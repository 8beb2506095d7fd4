/**
 * `leasehold realserver` judged from a client: one voice for the VIP, the director's; what the director forwards
 * without a change (DR) is served by the real server as the VIP; and nothing stays behind. The director here is
 * plain Linux: it has the VIP, and routes marked packets on to the real server, as IPVS does for DR.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  dualTimeMs,
  PROBE_PERIOD_MS,
  startVoicesProbe,
  type VoiceRecord,
} from '../support/client-probe.ts';
import { createNetwork, type Network } from '../support/network.ts';
import { type Completed, runOk, sleep, waitFor } from '../support/processes.ts';

const LEASEHOLD = fileURLToPath(new URL('../../bin/leasehold', import.meta.url));
const V4 = '10.90.0.100';
const V6 = 'fd90::100';
const BOTH = ['--vip', V4, '--vip', V6] as const;

const SERVER = `require('node:net').createServer((s) => { s.on('error', () => {}); s.end('served as ' + s.localAddress); }).listen(80, '::');`;
const CLIENT = `const s = require('node:net').connect({ host: process.argv[1], port: 80 });
s.setTimeout(2000, () => { process.stdout.write('silence'); process.exit(1); });
s.on('error', (e) => { process.stdout.write(e.code); process.exit(1); });
s.on('data', (d) => process.stdout.write(d));`;

const FORWARDING = `table inet forwarding {
chain pre { type filter hook prerouting priority mangle;
ip daddr ${V4} tcp dport 80 counter meta mark set 1
ip6 daddr ${V6} tcp dport 80 counter meta mark set 1
}
}
`;

describe('leasehold realserver', () => {
  let network: Network;
  let clean = '';
  const macs = new Map<string, string>();
  const macOf = (host: string): string => macs.get(host) ?? '';

  const sh = (host: string, command: string): Promise<string> =>
    network.execOk(host, ['sh', '-c', command]);
  const argvOf = (words: readonly string[]): readonly string[] => [
    process.execPath,
    LEASEHOLD,
    'realserver',
    ...words,
  ];
  const realserver = (...words: string[]): Promise<Completed> => network.exec('rs', argvOf(words));
  const up = async (...words: string[]): Promise<void> => {
    const done = await realserver('up', ...words);
    expect(done.code, `${done.stdout}${done.stderr}`).toBe(0);
  };
  const ask = async (vip: string): Promise<string> =>
    (await network.exec('cl', [process.execPath, '-e', CLIENT, vip])).stdout;
  /** All that `up` may change. */
  const state = (): Promise<string> =>
    sh(
      'rs',
      'for f in /proc/sys/net/ipv4/conf/*/arp_* /proc/sys/net/ipv4/conf/*/rp_filter; do echo $f $(cat $f); done; ip -o address show | sed "s/valid_lft.*//"; ip -o link show | sed "s/qlen.*//"',
    );
  /** Who answers for both VIPs, over a while. */
  async function listen(during: () => Promise<unknown> = () => sleep(400)) {
    const targets = [
      { ownAddress: '10.90.0.1', vip: V4 },
      { ownAddress: 'fd90::1', vip: V6 },
    ];
    const probe = await startVoicesProbe(network, { client: 'cl', targets, echo: 'neighbour' });
    await during();
    const records = await probe.stop();
    return records.map((record: VoiceRecord) => ({
      voices: [...new Set(record.answers.map(({ mac }) => mac))].toSorted(),
      dualMs: dualTimeMs(record),
      askedMs: record.questions.length * PROBE_PERIOD_MS,
      answers: record.answers.length,
    }));
  }

  beforeAll(async () => {
    network = await createNetwork({ name: 'realserver' });
    for (const [host, n] of [
      ['cl', 1],
      ['di', 10],
      ['rs', 21],
    ] as const) {
      await network.addHost(host, [`10.90.0.${n}/24`, `fd90::${n}/64`]);
      macs.set(host, (await network.execOk(host, ['cat', '/sys/class/net/eth0/address'])).trim());
    }
    await sh(
      'cl',
      'sysctl -qw net.ipv6.conf.all.accept_redirects=0 net.ipv6.conf.eth0.accept_redirects=0',
    );
    await sh(
      'di',
      `sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.eth0.send_redirects=0
ip address add ${V4}/32 dev eth0; ip address add ${V6}/128 dev eth0 nodad preferred_lft 0
for v in -4 -6; do ip $v rule add pref 10 lookup local; ip $v rule add pref 5 fwmark 1 lookup 100; ip $v rule del pref 0; done
ip route add ${V4} via 10.90.0.21 table 100; ip -6 route add ${V6} via fd90::21 table 100`,
    );
    await runOk(['ip', 'netns', 'exec', network.namespaceOf('di'), 'nft', '-f', '-'], {
      input: FORWARDING,
    });
    network.spawn('rs', 'server', [process.execPath, '-e', SERVER]);
    await waitFor(
      'the server listens',
      async () => (await ask('10.90.0.21')).startsWith('served'),
      {
        timeoutMs: 5000,
      },
    );
    clean = await state();
  });

  afterAll(async () => {
    await realserver('down');
    await network.close();
  });

  it('is needed: a VIP that is bound by hand is answered for twice, over IPv4', async () => {
    await sh('rs', `ip address add ${V4}/32 dev lo; ip address add ${V6}/128 dev lo`);
    const [v4, v6] = await listen();
    await sh('rs', `ip address del ${V4}/32 dev lo; ip address del ${V6}/128 dev lo`);
    expect(v4?.voices).toEqual([macOf('di'), macOf('rs')].toSorted());
    expect(v4?.dualMs).toBeGreaterThan((v4?.askedMs ?? 0) / 2);
    // Linux answers solicitations for addresses of the device alone: IPv6 needs nothing.
    expect(v6?.voices).toEqual([macOf('di')]);
  });

  it('leaves the director as the only voice, also while it comes and goes', async () => {
    const records = await listen(async () => {
      await up(...BOTH, '--mode', 'dr');
      await sleep(200);
      expect((await realserver('down')).code).toBe(0);
      await sleep(200);
    });
    for (const record of records) {
      expect(record.answers).toBeGreaterThan(50);
      expect(record.voices).toEqual([macOf('di')]);
    }
    expect(await state()).toBe(clean);
  });

  it('lets the real server serve what the director forwards, as the VIP', async () => {
    expect(await ask(V4)).not.toContain('served');
    await up(...BOTH, '--mode', 'dr');
    expect(await ask(V4)).toBe(`served as ::ffff:${V4}`);
    expect(await ask(V6)).toBe(`served as ${V6}`);
    const counted = await network.execOk('di', ['nft', 'list', 'ruleset']);
    expect([...counted.matchAll(/counter packets ([1-9]\d*)/g)]).toHaveLength(2);
    const status = await realserver('status');
    expect(status.code, status.stdout).toBe(0);
  });

  it('never lets the real server name the VIP when it asks for its neighbours', async () => {
    const dump = network.spawn('cl', 'tcpdump', [
      'tcpdump',
      '--immediate-mode',
      '-lenni',
      'eth0',
      `ether src ${macOf('rs')} and (arp or (icmp6 and (ip6[40] == 135 or ip6[40] == 136)))`,
    ]);
    const isHeard = (word: RegExp): Promise<unknown> =>
      waitFor(`tcpdump says ${word}`, () => word.test(dump.log()), { timeoutMs: 5000 });
    await isHeard(/listening on/);
    for (const vip of [V4, V6]) {
      await sh('rs', 'ip neighbour flush dev eth0');
      expect(await ask(vip)).toContain('served');
    }
    await isHeard(/who-has 10\.90\.0\.1 tell 10\.90\.0\.21/);
    await isHeard(/solicitation, who has fd90::1/);
    await dump.stop();
    const heard = dump.log();
    expect(heard).not.toContain(V4);
    expect(heard).not.toContain(V6);
    for (const vip of [V4, V6])
      expect(await network.execOk('cl', ['ip', 'neighbour', 'show', vip])).toContain(macOf('di'));
  });

  it('changes nothing the second time, and gives back everything at the end', async () => {
    const before = await state();
    await up(...BOTH, '--mode', 'dr');
    expect(await state()).toBe(before);
    const done = await realserver('down');
    expect(done.stdout).toContain(`down: ${V4}, ${V6}`);
    expect(await state()).toBe(clean);
    expect((await realserver('down', '--vip', V4)).stdout).toContain(
      `nothing to do: ${V4} is not up here`,
    );
  });

  it('is never the source of traffic of its own', async () => {
    await up(...BOTH, '--mode', 'dr');
    await sh('rs', 'ip address add 192.0.2.9/32 dev eth0; ip address del 10.90.0.21/24 dev eth0');
    const route = await sh(
      'rs',
      'ip route add 198.51.100.0/24 dev eth0; ip route get 198.51.100.1',
    );
    await sh(
      'rs',
      'ip route del 198.51.100.0/24 dev eth0; ip address del 192.0.2.9/32 dev eth0; ip address add 10.90.0.21/24 dev eth0',
    );
    expect(route).not.toContain(V4);
    expect(await sh('rs', 'ip -6 route get fd90::1')).not.toContain(V6);
    await realserver('down');
    expect(await state()).toBe(clean);
  });

  it('waits its turn: many at once, each for a VIP of its own', async () => {
    const vips = [1, 2, 3, 4, 5].map((n) => `10.90.1.${n}`);
    await Promise.all(vips.map((vip) => up('--vip', vip, '--mode', 'dr')));
    const status = await realserver('status');
    for (const vip of vips) expect(status.stdout).toContain(`${vip}/32 on lo`);
    await Promise.all(vips.map((vip) => realserver('down', '--vip', vip)));
    expect(await state()).toBe(clean);
  });

  it('killed in the middle of up, leaves nothing that down does not take back', async () => {
    const count = 400;
    const vips = Array.from({ length: count }, (_, n) => [
      '--vip',
      `10.90.${2 + (n >> 8)}.${n & 255}`,
    ]).flat();
    const [program = '', ...args] = network.wrap('rs', argvOf(['up', ...vips, '--mode', 'dr']));
    const inode = (await sh('rs', 'readlink /proc/self/ns/net')).replaceAll(/\D/g, '');
    const notes = `/run/leasehold/realserver-${inode}.json`;
    let halfDone = 0;
    for (let round = 0; round < 10; round++) {
      const child = spawn(program, args, { stdio: 'ignore' });
      const ended = once(child, 'exit');
      // From just before the first change on, a little later each time.
      const hasBegun = (): boolean => child.exitCode !== null || existsSync(notes);
      await waitFor('the notes', hasBegun, { timeoutMs: 10_000, intervalMs: 1 });
      await sleep(5 * round);
      child.kill('SIGKILL');
      await ended;
      const bound = (await sh('rs', 'ip -o -4 address show dev lo')).trim().split('\n').length - 1;
      if (bound < count) halfDone++;
      const done = await realserver('down');
      expect(done.code, done.stdout).toBe(0);
      expect(await state()).toBe(clean);
    }
    expect(halfDone).toBeGreaterThan(0);
    await up('--vip', V4, '--mode', 'dr');
    await realserver('down');
    expect(await state()).toBe(clean);
  });

  it('goes with a director in one machine: the VIP of its agent comes and goes on the card', async () => {
    const add = `ip address add ${V4}/32 dev eth0 valid_lft 30 preferred_lft 30`;
    await sh('rs', add);
    const shown = await realserver('up', '--vip', V4, '--mode', 'dr');
    expect(shown.code, shown.stdout).toBe(0);
    expect(shown.stdout).toMatch(/^note .*director and real server in one/m);
    // As holder it answers, beside the other one that this lab leaves there.
    expect((await listen())[0]?.voices).toContain(macOf('rs'));
    await sh('rs', `ip address del ${V4}/32 dev eth0`);
    expect((await listen())[0]?.voices).toEqual([macOf('di')]);
    expect(await ask(V4)).toContain('served');
    await sh('rs', add);
    expect((await listen())[0]?.voices).toContain(macOf('rs'));
    // `down` takes its own only.
    await realserver('down');
    expect(await sh('rs', 'ip -o -4 address show dev eth0')).toContain(V4);
    await sh('rs', `ip address del ${V4}/32 dev eth0`);
    expect(await state()).toBe(clean);
  });

  it('refuses a VIP that the machine answers for by itself', async () => {
    const refused = await realserver('up', '--vip', '10.90.0.21', '--mode', 'dr');
    expect(refused.code).toBe(3);
    expect(refused.stdout).toContain('eth0 answers for the VIP on the network');
    expect(await state()).toBe(clean);
  });

  it('tells without capabilities that it needs them; the status needs none', async () => {
    const bare = ['setpriv', '--inh-caps=-all', '--bounding-set=-all'];
    const status = await network.exec('rs', [...bare, ...argvOf(['status', '--vip', V4])]);
    expect(status.code, status.stderr).toBe(1);
    expect(status.stdout).toContain('10.90.0.100/32 on lo            is not bound');
    const tried = await network.exec('rs', [
      ...bare,
      ...argvOf(['up', '--vip', V4, '--mode', 'dr']),
    ]);
    expect(tried.code).toBe(3);
    expect(tried.stdout).toMatch(/^failed .*run as root or with CAP_NET_ADMIN/m);
    expect((await realserver('down')).code).toBe(0);
    expect(await state()).toBe(clean);
  });

  it('keeps no notes when nothing is up', async () => {
    const inode = (await sh('rs', 'readlink /proc/self/ns/net')).replaceAll(/\D/g, '');
    // An agent that was killed leaves its lock, and the kernel gives inodes of namespaces again.
    const own = readdirSync('/run/leasehold').filter((name) =>
      name.startsWith(`realserver-${inode}`),
    );
    expect(own).toEqual([]);
  });
});
