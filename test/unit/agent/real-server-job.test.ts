/** `leasehold realserver` on a machine in memory: what comes, what goes, and what a kill in the middle leaves. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { runRealServer } from '../../../src/agent/real-server-job.ts';
import type {
  RealServerAnswer,
  RealServerRequest,
  TunnelSetup,
  VipWish,
} from '../../../src/model/real-server-host.ts';
import { FakeRealServer, ip, Killed } from '../../fakes/fake-real-server-host.ts';

const V4 = '10.90.0.100';
const V6 = 'fd90::100';

const dr = (vip: string, device: string | null = null): VipWish => ({
  address: ip(vip),
  tunnel: null,
  device,
});
const tun = (vip: string, fields: Partial<TunnelSetup> = {}): VipWish => ({
  address: ip(vip),
  device: null,
  tunnel: { kind: 'ipip', over: vip.includes(':') ? 6 : 4, guePort: null, ...fields },
});

async function run(host: FakeRealServer, request: RealServerRequest): Promise<RealServerAnswer> {
  const answer = await runRealServer(request, { host, store: host });
  if (!answer.ok) throw new Error(answer.error);
  return answer.value;
}
const up = (host: FakeRealServer, ...wishes: VipWish[]) => run(host, { verb: 'up', wishes });
const down = (host: FakeRealServer, ...vips: string[]) =>
  run(host, {
    verb: 'down',
    asked: vips.length === 0 ? null : vips.map((vip) => ({ vip: ip(vip), wish: null })),
  });
const status = (host: FakeRealServer, ...vips: string[]) =>
  run(host, {
    verb: 'status',
    asked: vips.length === 0 ? null : vips.map((vip) => ({ vip: ip(vip), wish: null })),
  });

const setting = (host: FakeRealServer, path: string) => host.settings.get(`net/ipv4/conf/${path}`);
const bound = (host: FakeRealServer) => host.addresses.map(({ address }) => String(address));
const linesOf = ({ lines }: RealServerAnswer) =>
  lines.map(({ state, what, detail }) => `${state} ${what}: ${detail}`);

describe('up and down', () => {
  it('silences ARP before it binds the VIP, and notes everything first', async () => {
    const host = new FakeRealServer();
    const answer = await up(host, dr(V4));
    expect(answer.isGood).toBe(true);
    const kinds = host.log.map((what) => /arp_\w+|add-address|save/.exec(what)?.[0]);
    expect(kinds).toEqual(['save', 'arp_ignore', 'arp_announce', 'add-address']);
    expect(setting(host, 'all/arp_ignore')).toBe(1);
    expect(setting(host, 'all/arp_announce')).toBe(2);
    expect(host.addresses.at(-1)).toMatchObject({ address: V4, prefix: 32, scope: 'host' });
  });

  it('unbinds the VIP before ARP may answer again', async () => {
    const host = new FakeRealServer();
    await up(host, dr(V4));
    host.log.length = 0;
    await down(host);
    expect(host.log[0]).toContain('delete-address');
  });

  it('passes over a device that has no IPv4, or went while it was looked at', async () => {
    const host = new FakeRealServer();
    host.addLink('veth7', {});
    for (const name of ['arp_ignore', 'arp_announce', 'rp_filter'])
      host.settings.delete(`net/ipv4/conf/veth7/${name}`);
    expect(await up(host, dr(V4))).toMatchObject({ isGood: true, summary: `ready: ${V4} (dr)` });
    expect(await status(host)).toMatchObject({ isGood: true });
  });

  it('does nothing the second time', async () => {
    const host = new FakeRealServer();
    await up(host, dr(V4), dr(V6), tun('10.90.0.101'));
    const before = host.state();
    host.log.length = 0;
    const again = await up(host, dr(V4), dr(V6), tun('10.90.0.101'));
    expect(again.isGood).toBe(true);
    expect(host.log).toEqual([]);
    expect(host.state()).toEqual(before);
  });

  it('needs no sysctl for IPv6', async () => {
    const host = new FakeRealServer();
    await up(host, dr(V6));
    expect(host.log.filter((what) => what.includes('"set"'))).toEqual([]);
    expect(bound(host)).toContain(V6);
  });

  it('keeps ARP silent until the last VIP of IPv4 is gone', async () => {
    const host = new FakeRealServer();
    await up(host, dr(V4));
    await up(host, dr('10.90.0.101'), dr(V6));
    await down(host, V4);
    expect(setting(host, 'all/arp_ignore')).toBe(1);
    const answer = await down(host, '10.90.0.101');
    expect(answer.summary).toBe(`down: 10.90.0.101; still up: ${V6} (dr)`);
    expect(setting(host, 'all/arp_ignore')).toBe(0);
    expect(setting(host, 'all/arp_announce')).toBe(0);
  });

  it('succeeds and says so where nothing is up', async () => {
    const host = new FakeRealServer();
    const answer = await down(host, V4);
    expect(answer).toMatchObject({
      isGood: true,
      summary: `nothing to do: ${V4} is not up here`,
    });
    expect((await down(host)).summary).toBe('nothing to do: no VIP is up here');
  });

  it('leaves a VIP that is up in another way than the command says', async () => {
    const host = new FakeRealServer();
    await up(host, dr(V4));
    const wrong = await run(host, { verb: 'down', asked: [{ vip: ip(V4), wish: tun(V4) }] });
    expect(wrong).toMatchObject({
      isGood: true,
      summary: `nothing to do; still up: ${V4} (dr)`,
      lines: [{ detail: 'stays: it is up as dr on lo, not as asked' }],
    });
    expect(bound(host)).toContain(V4);
    await run(host, { verb: 'down', asked: [{ vip: ip(V4), wish: dr(V4) }] });
    expect(bound(host)).not.toContain(V4);
  });

  it('leaves what was good already, and does not change it at the end', async () => {
    const host = new FakeRealServer();
    host.settings.set('net/ipv4/conf/all/arp_ignore', 2);
    host.settings.set('net/ipv4/conf/all/arp_announce', 2);
    await up(host, dr(V4));
    expect(setting(host, 'all/arp_ignore')).toBe(2);
    await down(host);
    expect(setting(host, 'all/arp_ignore')).toBe(2);
    expect(setting(host, 'all/arp_announce')).toBe(2);
  });

  it('takes no arp_announce above 2 for good: the kernel takes it for 0', async () => {
    const host = new FakeRealServer();
    host.settings.set('net/ipv4/conf/eth0/arp_announce', 3);
    expect((await up(host, dr(V4))).isGood).toBe(true);
    expect(setting(host, 'all/arp_announce')).toBe(2);
    expect(setting(host, 'eth0/arp_announce')).toBe(2);
    await down(host);
    expect(setting(host, 'eth0/arp_announce')).toBe(3);
  });

  it('takes an arp_ignore of 3 for good where it hides the VIP: with scope host', async () => {
    const host = new FakeRealServer();
    host.settings.set('net/ipv4/conf/all/arp_ignore', 3);
    await up(host, dr(V4));
    expect(setting(host, 'all/arp_ignore')).toBe(3);
    const other = new FakeRealServer();
    other.settings.set('net/ipv4/conf/all/arp_ignore', 3);
    other.bind(V4, 'lo');
    expect((await status(other, V4)).isGood).toBe(false);
    await up(other, dr(V4));
    expect(setting(other, 'all/arp_ignore')).toBe(1);
    // The VIP was there before and stays: it is not shown to the network either.
    await down(other);
    expect(setting(other, 'all/arp_ignore')).toBe(1);
    other.addresses.pop();
    await down(other);
    expect(setting(other, 'all/arp_ignore')).toBe(3);
  });

  it('leaves what somebody changed meanwhile, and says so', async () => {
    const host = new FakeRealServer();
    await up(host, dr(V4));
    host.settings.set('net/ipv4/conf/all/arp_ignore', 8);
    const answer = await down(host);
    expect(setting(host, 'all/arp_ignore')).toBe(8);
    expect(linesOf(answer)).toContain(
      'note net.ipv4.conf.all.arp_ignore: stays 8: set to 1 here, and changed by somebody since (0 before)',
    );
  });

  it('repairs what somebody undid, and gives back the first value', async () => {
    const host = new FakeRealServer();
    host.settings.set('net/ipv4/conf/all/arp_announce', 1);
    await up(host, dr(V4));
    host.settings.set('net/ipv4/conf/all/arp_announce', 0);
    await up(host, dr(V4));
    expect(setting(host, 'all/arp_announce')).toBe(2);
    await down(host);
    expect(setting(host, 'all/arp_announce')).toBe(0);
  });

  it('leaves a VIP that was there before, on kernels with and without tags', async () => {
    for (const keepsTags of [true, false]) {
      const host = new FakeRealServer();
      host.keepsTags = keepsTags;
      host.bind(V4, 'lo');
      await up(host, dr(V4));
      const answer = await down(host);
      expect(bound(host)).toContain(V4);
      expect(linesOf(answer)).toContain(`note ${V4}/32 on lo: stays: it was there before`);
    }
  });

  it('keeps ARP silent while a VIP that somebody bound by hand is on lo, and says so', async () => {
    const host = new FakeRealServer();
    await up(host, dr(V4));
    host.bind('10.90.0.105', 'lo');
    const answer = await down(host);
    expect(bound(host)).not.toContain(V4);
    expect(setting(host, 'all/arp_ignore')).toBe(1);
    expect(setting(host, 'all/arp_announce')).toBe(2);
    expect(answer.lines).toContainEqual({
      state: 'note',
      what: 'net.ipv4.conf.all.arp_ignore',
      detail:
        'stays 1 (0 before): 10.90.0.105 on lo was not bound by this command, and needs it if it is a VIP',
      remedy:
        'when it is gone: leasehold realserver down; if it is no VIP: sysctl -w net.ipv4.conf.all.arp_ignore=0',
    });
    // The address goes: what was kept for it is given back, and nothing is noted any more.
    host.addresses.pop();
    const later = await down(host);
    expect(later.summary).toBe('given back what was left');
    expect(setting(host, 'all/arp_ignore')).toBe(0);
    expect(setting(host, 'all/arp_announce')).toBe(0);
    expect(host.saved).toEqual(new FakeRealServer().saved);
  });

  it('takes neither 127.0.0.1 nor addresses of network cards for VIPs bound by hand', async () => {
    const host = new FakeRealServer();
    host.bind('127.0.0.1', 'lo', { prefix: 8, scope: 'host' });
    host.bind('10.90.0.106', 'eth0');
    host.bind('192.0.2.0', 'lo', { prefix: 24 });
    await up(host, dr(V4));
    await down(host);
    expect(setting(host, 'all/arp_ignore')).toBe(0);
  });

  it('keeps the rp_filter of a tunnel device with a VIP bound by hand', async () => {
    const host = new FakeRealServer();
    host.settings.set('net/ipv4/conf/all/rp_filter', 1);
    await up(host, tun(V4));
    host.bind('10.90.0.105', 'tunl0');
    await down(host);
    expect(setting(host, 'tunl0/rp_filter')).toBe(2);
  });

  it('takes its own VIP off without a tag, and with a tag after its notes were lost', async () => {
    const old = new FakeRealServer();
    old.keepsTags = false;
    await up(old, dr(V4));
    await down(old);
    expect(bound(old)).not.toContain(V4);
    const host = new FakeRealServer();
    await up(host, dr(V4));
    host.saved = new FakeRealServer().saved;
    await down(host, V4);
    expect(bound(host)).not.toContain(V4);
  });
});

describe('tunnels', () => {
  it.each([
    ['tunl0', tun(V4)],
    ['ip6tnl0', tun(V6)],
    ['sit0', tun(V6, { over: 4 })],
    ['ip6tnl0', tun(V4, { over: 6 })],
    ['tunl0', tun(V4, { kind: 'gue', guePort: 6080 })],
    ['sit0', tun(V6, { kind: 'gue', guePort: 6080, over: 4 })],
    ['gre0', tun(V4, { kind: 'gre' })],
    ['gre0', tun(V6, { kind: 'gre', over: 4 })],
    ['ip6gre0', tun(V6, { kind: 'gre' })],
  ] as const)('end at %s', async (device, wish) => {
    const host = new FakeRealServer();
    const answer = await up(host, wish);
    expect(linesOf(answer)).toContain(`done device ${device}: brought up`);
    const index = host.links.find(({ name }) => name === device)?.index;
    expect(host.addresses.at(-1)).toMatchObject({ address: wish.address, linkIndex: index });
    const { guePort } = wish.tunnel ?? {};
    if (guePort !== null) expect(host.guePorts).toEqual([{ port: guePort, family: 4 }]);
    await down(host);
    expect(host.links.find(({ name }) => name === device)?.isUp).toBe(false);
    expect(host.guePorts ?? []).toEqual([]);
    expect(bound(host)).toEqual(['10.90.0.21']);
  });

  it('makes ip6tnl0 take IPv4, and IPv6 only again when the last IPv4 VIP is gone', async () => {
    const host = new FakeRealServer();
    const protocol = () => host.links.find(({ name }) => name === 'ip6tnl0')?.innerProtocol;
    await up(host, tun(V6));
    expect(protocol()).toBe(41);
    await up(host, tun(V4, { over: 6 }));
    expect(protocol()).toBe(0);
    await down(host, V4);
    expect(protocol()).toBe(41);
    expect(host.links.find(({ name }) => name === 'ip6tnl0')?.isUp).toBe(true);
  });

  it('loosens a strict rp_filter on the tunnel device alone', async () => {
    const host = new FakeRealServer();
    host.settings.set('net/ipv4/conf/all/rp_filter', 1);
    await up(host, tun(V4));
    expect(setting(host, 'tunl0/rp_filter')).toBe(2);
    expect(setting(host, 'all/rp_filter')).toBe(1);
    expect(setting(host, 'eth0/rp_filter')).toBe(0);
    await down(host);
    expect(setting(host, 'tunl0/rp_filter')).toBe(0);
  });

  it.each([0, 2])('leaves an rp_filter of %d', async (value) => {
    const host = new FakeRealServer();
    host.settings.set('net/ipv4/conf/all/rp_filter', value);
    await up(host, tun(V4));
    expect(setting(host, 'tunl0/rp_filter')).toBe(0);
  });

  it('wants no rp_filter at all where the VIP is on lo and the tunnel has no address', async () => {
    const onLo = { ...tun(V4), device: 'lo' };
    const loose = new FakeRealServer();
    loose.settings.set('net/ipv4/conf/all/rp_filter', 2);
    const refusal = await up(loose, onLo);
    expect(refusal.isGood).toBe(false);
    expect(linesOf(refusal)).toContain(
      'refused net.ipv4.conf.tunl0.rp_filter: is 2 by net.ipv4.conf.all.rp_filter, must be 0: tunl0 has no IPv4 address, so packets of clients are dropped as they leave the tunnel',
    );
    expect(bound(loose)).toEqual(['10.90.0.21']);

    const host = new FakeRealServer();
    host.addLink('tunl0', { kind: 'ipip', hasArp: false });
    host.settings.set('net/ipv4/conf/tunl0/rp_filter', 2);
    expect((await up(host, onLo)).isGood).toBe(true);
    expect(setting(host, 'tunl0/rp_filter')).toBe(0);
    await down(host);
    expect(setting(host, 'tunl0/rp_filter')).toBe(2);

    // With an address of its own the device takes a loose check.
    host.bind('192.0.2.1', 'tunl0');
    expect((await up(host, onLo)).isGood).toBe(true);
    expect(setting(host, 'tunl0/rp_filter')).toBe(2);
  });

  it('makes the device where the module makes none, and removes it at the end', async () => {
    const host = new FakeRealServer();
    host.withoutModules.add('nothing');
    const load = host.apply.bind(host);
    host.apply = (step) =>
      step.kind === 'load-module' ? Promise.resolve({ ok: true, value: undefined }) : load(step);
    const answer = await up(host, tun(V4));
    expect(linesOf(answer)).toContain('done device tunl0: there now');
    await down(host);
    expect(host.links.map(({ name }) => name)).toEqual(['lo', 'eth0']);
  });

  it('names the module that is missing, and has changed nothing', async () => {
    for (const [module, wish] of [
      ['ipip', tun(V4)],
      ['fou', tun(V4, { kind: 'gue', guePort: 6080 })],
    ] as const) {
      const host = new FakeRealServer();
      host.withoutModules.add(module);
      const answer = await up(host, wish);
      expect(answer.isGood).toBe(false);
      expect(linesOf(answer).join('\n')).toMatch(
        new RegExp(`^failed .*: the kernel module ${module} cannot be loaded$`, 'm'),
      );
      expect(setting(host, 'all/arp_ignore')).toBe(0);
      expect(bound(host)).toEqual(['10.90.0.21']);
      await down(host);
      expect(host.saved).toEqual(new FakeRealServer().saved);
    }
  });

  it('leaves a device up that has got addresses of others', async () => {
    const host = new FakeRealServer();
    await up(host, tun(V4));
    host.bind('192.0.2.1', 'tunl0');
    const answer = await down(host);
    expect(host.links.find(({ name }) => name === 'tunl0')?.isUp).toBe(true);
    expect(linesOf(answer)).toContain('note device tunl0: stays up: it has 192.0.2.1');
  });

  it('brings a device down that has what the kernel gives by itself', async () => {
    const host = new FakeRealServer();
    await up(host, tun(V4, { kind: 'gre' }));
    host.bind('fe80::7f00:1', 'gre0', { prefix: 64, scope: 'host' });
    await down(host);
    expect(host.links.find(({ name }) => name === 'gre0')?.isUp).toBe(false);
  });

  it('leaves a port, a device and a mode that were there before', async () => {
    const host = new FakeRealServer();
    host.addLink('ip6tnl0', { kind: 'ip6tnl', hasArp: false, innerProtocol: 0 });
    host.guePorts = [{ port: 6080, family: 6 }];
    const before = host.state();
    await up(host, tun(V4, { kind: 'gue', guePort: 6080, over: 6 }));
    await down(host);
    expect(host.state()).toEqual(before);
  });
});

describe('refusals', () => {
  const refusedBecause = async (host: FakeRealServer, wish: VipWish): Promise<string> => {
    const before = host.state();
    const answer = await up(host, wish);
    expect(answer).toMatchObject({ isGood: false, summary: 'refused, nothing was changed' });
    expect(host.state()).toEqual(before);
    expect(host.log).toEqual([]);
    return linesOf(answer).join('\n');
  };

  it('of an address that another device answers for', async () => {
    const text = await refusedBecause(new FakeRealServer(), dr('10.90.0.21'));
    expect(text).toContain(
      'refused 10.90.0.21/24 on eth0: eth0 answers for the VIP on the network',
    );
  });

  it('of a device that speaks ARP', async () => {
    const text = await refusedBecause(new FakeRealServer(), dr(V4, 'eth0'));
    expect(text).toContain('eth0 would answer for the VIP');
  });

  it('of a device that is not there', async () => {
    expect(await refusedBecause(new FakeRealServer(), dr(V4, 'dummy7'))).toContain(
      'there is no device dummy7',
    );
    const wish = { ...tun(V4), device: 'mine' };
    expect(await refusedBecause(new FakeRealServer(), wish)).toContain('is not there');
  });

  it('of a VIP that takes the whole network', async () => {
    const host = new FakeRealServer();
    host.bind(V4, 'lo', { prefix: 24 });
    expect(await refusedBecause(host, dr(V4))).toContain('makes the whole network local');
  });

  it('of another mode than the VIP is up with', async () => {
    const host = new FakeRealServer();
    await up(host, dr(V4));
    host.log.length = 0;
    expect(await refusedBecause(host, tun(V4))).toContain('is up as dr on lo');
  });

  it('of IPv6 where it is switched off', async () => {
    const host = new FakeRealServer();
    host.settings.set('net/ipv6/conf/lo/disable_ipv6', 1);
    expect(await refusedBecause(host, dr(V6))).toContain('net.ipv6.conf.lo.disable_ipv6: is 1');
  });

  it('but not of a VIP that the agent of this machine holds, tagged or short-lived', async () => {
    for (const fields of [
      { protocol: 108, validLifetimeS: 5 },
      { protocol: null, validLifetimeS: 5 },
    ]) {
      const host = new FakeRealServer();
      host.bind(V4, 'eth0', fields);
      const answer = await up(host, dr(V4));
      expect(answer.isGood).toBe(true);
      expect(linesOf(answer).join('\n')).toContain('director and real server in one');
      await down(host);
      expect(host.addresses.filter(({ address }) => address === V4)).toHaveLength(1);
    }
  });
});

describe('status', () => {
  it('says what is missing, with the command that helps, and changes nothing', async () => {
    const host = new FakeRealServer();
    const answer = await status(host, V4);
    expect(answer.isGood).toBe(false);
    expect(answer.summary).toBe('not ready: 3 of 3 lines say what is missing');
    for (const { remedy } of answer.lines)
      expect(remedy).toBe(`leasehold realserver up --vip ${V4} --mode dr`);
    expect(host.log).toEqual([]);
  });

  it('knows what is up, and how', async () => {
    const host = new FakeRealServer();
    expect((await status(host)).summary).toContain('no VIP is up here');
    await up(host, tun(V6, { kind: 'gue', guePort: 6080, over: 4 }));
    const answer = await status(host);
    expect(answer).toMatchObject({
      isGood: true,
      summary: `ready: ${V6} (tun gue port 6080 over IPv4)`,
    });
    expect((await status(host, V6)).isGood).toBe(true);
  });

  it('sees a device that came later and answers by itself', async () => {
    const host = new FakeRealServer();
    await up(host, dr(V4));
    host.addLink('eth1', {});
    expect((await status(host)).isGood).toBe(true);
    host.settings.set('net/ipv4/conf/eth1/arp_ignore', 4);
    const answer = await status(host);
    expect(answer.isGood).toBe(false);
    expect(linesOf(answer).join('\n')).toContain('missing net.ipv4.conf.eth1.arp_ignore: is 4');
  });
});

describe('failures', () => {
  it('end the work, and down gives back what was done', async () => {
    const host = new FakeRealServer();
    const before = host.state();
    host.failing = { kind: 'add-address', error: { code: 'EPERM', message: 'not permitted' } };
    const answer = await up(host, dr(V4));
    expect(answer.isGood).toBe(false);
    expect(linesOf(answer)).toContain(`failed ${V4}/32 on lo: not permitted`);
    host.failing = null;
    await down(host);
    expect(host.state()).toEqual(before);
  });

  it('of down are reported, and a second try completes it', async () => {
    const host = new FakeRealServer();
    const before = host.state();
    await up(host, dr(V4));
    host.failing = { kind: 'set', error: { code: 'EROFS', message: 'read-only' } };
    expect((await down(host)).isGood).toBe(false);
    host.failing = null;
    expect((await down(host)).isGood).toBe(true);
    expect(host.state()).toEqual(before);
  });

  it('of another command at work are told', async () => {
    const host = new FakeRealServer();
    await host.lock();
    const answer = await runRealServer({ verb: 'down', asked: null }, { host, store: host });
    expect(answer).toEqual({ ok: false, error: 'locked' });
  });
});

const wishes: readonly VipWish[] = [
  dr(V4),
  dr(V6),
  tun('10.90.0.101'),
  tun('fd90::101'),
  tun('10.90.0.102', { over: 6 }),
  tun('10.90.0.103', { kind: 'gue', guePort: 6080 }),
  tun('fd90::103', { kind: 'gue', guePort: 6080, over: 4 }),
  tun('fd90::104', { kind: 'gre' }),
];

describe('a kill at any moment', () => {
  it('leaves nothing that down does not give back, and nothing that up does not complete', async () => {
    const sysctl = fc.constantFrom(0, 1, 2);
    await fc.assert(
      fc.asyncProperty(
        fc.subarray([...wishes], { minLength: 1 }),
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 1, max: 20 }),
        fc.record({
          ignore: sysctl,
          announce: sysctl,
          filter: sysctl,
          isKilledTwice: fc.boolean(),
        }),
        async (asked, at, again, { ignore, announce, filter, isKilledTwice }) => {
          const host = new FakeRealServer();
          host.settings.set('net/ipv4/conf/all/arp_ignore', ignore);
          host.settings.set('net/ipv4/conf/all/arp_announce', announce);
          host.settings.set('net/ipv4/conf/all/rp_filter', filter);
          // Modules stay loaded: their devices and the family fou are there before.
          for (const module of ['ipip', 'sit', 'ip6_tunnel', 'ip_gre', 'ip6_gre', 'fou'])
            await host.apply({ kind: 'load-module', module });
          const before = host.state();
          const killedIn = async (count: number, work: () => Promise<unknown>): Promise<void> => {
            host.log.length = 0;
            host.killedAt = count;
            await work().catch((error: unknown) => {
              if (!(error instanceof Killed)) throw error;
            });
            host.killedAt = null;
          };
          await killedIn(at, () => up(host, ...asked));
          if (isKilledTwice) await killedIn(again, () => down(host));
          else {
            expect((await up(host, ...asked)).isGood).toBe(true);
            await killedIn(again, () => down(host));
          }
          await down(host);
          expect(host.state()).toEqual(before);
          expect(host.saved).toEqual(new FakeRealServer().saved);
        },
      ),
      { numRuns: 300 },
    );
  });
});
