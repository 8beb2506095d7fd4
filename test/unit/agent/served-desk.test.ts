/** What a director that is a real server of its own VIPs tells its gate, its table, and people. */
import { describe, expect, it } from 'vitest';
import { ServedDesk } from '../../../src/agent/served-desk.ts';
import { formatMac, type MacAddress } from '../../../src/model/address.ts';
import type { ClusterSpec, VirtualService } from '../../../src/model/cluster.ts';
import { type DirectorId, directorId } from '../../../src/model/ids.ts';
import {
  ADDRESS_PROTOCOL,
  type BoundAddress,
  type GateKind,
  type LinkState,
} from '../../../src/model/kernel.ts';
import { anyService, anySpec, ip, server, sorryServer } from '../core/desired/spec-builders.ts';
import { group } from '../core/election/election-driver.ts';

const VIP = '10.90.0.100';
const [LO, ETH0, ETH1] = [1, 2, 3];
const D1 = directorId('d1');
const D2 = directorId('d2');
const mac = (last: number): MacAddress => formatMac(Uint8Array.of(2, 0, 0, 0, 0, last));

const bound = (
  linkIndex: number,
  address: string,
  protocol: number | null = null,
): BoundAddress => ({
  linkIndex,
  address: ip(address),
  prefix: 32,
  scope: 'global',
  label: null,
  validLifetimeS: null,
  protocol,
});

const link = (index: number, name: string, own: MacAddress | null): LinkState => ({
  index,
  name,
  mac: own,
  isAdminUp: true,
  isRunning: true,
  mtu: 1500,
});

const PAIR = anyService({ realServers: [server('10.90.0.11'), server('10.90.0.12')] });
const OWN = [bound(LO, '127.0.0.1'), bound(ETH0, '10.90.0.11'), bound(ETH1, '10.91.0.11')];
const ON_LO = bound(LO, VIP);

function setUp(
  services: readonly VirtualService[] = [PAIR],
  gateKind: GateKind = 'netdev',
  directors: readonly DirectorId[] = [D1, D2],
) {
  const vip = {
    address: ip(VIP),
    prefix: 24,
    interface: 'public',
    label: null,
    scope: 'global' as const,
  };
  const spec: ClusterSpec = {
    ...anySpec(services),
    directors: directors.map((id) => ({ id, zone: null, address: ip(`10.90.0.1${id.slice(1)}`) })),
    groups: [{ ...group(services[0]?.group ?? PAIR.group), addresses: [vip] }],
  };
  const reports = new Map<DirectorId, { record: { macs?: string[] } }>();
  const world = { spec: spec as ClusterSpec | null, places: 0, urgent: 0, addresses: 0 };
  const links = new Map(
    [link(LO, 'lo', mac(0)), link(ETH0, 'eth0', mac(1)), link(ETH1, 'eth1', mac(2))].map((one) => [
      one.name,
      one,
    ]),
  );
  const desk = new ServedDesk({
    me: D1,
    devices: new Map([['public', 'eth0']]),
    gateKind,
    links: () => links,
    spec: () => world.spec,
    reports: () => reports,
    placesChanged: () => world.places++,
    gateDue: () => world.urgent++,
    addressesChanged: () => world.addresses++,
  });
  const report = (id: DirectorId, ...macs: MacAddress[]): void => {
    reports.set(id, { record: macs.length === 0 ? {} : { macs } });
    desk.look();
  };
  return { desk, world, links, reports, report };
}

describe('its own addresses', () => {
  it('are those that no agent bound, but for VIPs and the loopback, and the one of the document', () => {
    const { desk, world } = setUp();
    desk.see([ON_LO, bound(ETH0, '10.90.0.100', ADDRESS_PROTOCOL), bound(ETH1, '10.91.0.11')]);
    expect([...desk.addresses()].toSorted()).toEqual(['10.90.0.11', '10.91.0.11']);
    const before = desk.addresses();
    desk.see([bound(ETH1, '10.91.0.11')]);
    expect(desk.addresses()).toBe(before);
    expect(world.addresses).toBe(1);
    desk.see(OWN.slice(0, 2));
    expect([...desk.addresses()]).toEqual(['10.90.0.11']);
    expect(world.addresses).toBe(2);
  });
});

describe('what the gate lets through', () => {
  it('is nothing known before the kernel and the document are', () => {
    const { desk, world } = setUp();
    desk.look();
    expect(desk.places()).toBeUndefined();
    world.spec = null;
    desk.see([...OWN, ON_LO]);
    expect(desk.places()).toBeUndefined();
  });

  it('are VIPs that it has beside the cards, from the MACs of the others, as these told last', () => {
    const { desk, report, reports, world } = setUp();
    desk.see([...OWN, ON_LO]);
    expect(desk.places()).toEqual({ vips: [VIP], directors: [], isComplete: false });
    report(D1, mac(1));
    report(D2, mac(9), mac(8));
    const known = { vips: [VIP], directors: [mac(8), mac(9)], isComplete: true };
    expect(desk.places()).toEqual(known);
    const changes = world.places;
    // Its lease ended, while it goes on by the promises of the others.
    reports.delete(D2);
    desk.look();
    expect(desk.places()).toEqual(known);
    report(D2);
    expect(desk.places(), 'one that does not say').toEqual(known);
    expect(world.places).toBe(changes);
    report(D2, mac(7));
    expect(desk.places()).toEqual({ ...known, directors: [mac(7)] });
    expect(world.places).toBe(changes + 1);
  });

  it('is nothing where the VIP is bound by an agent alone, or where it is no real server', () => {
    const { desk } = setUp();
    desk.see([...OWN, bound(ETH0, VIP, ADDRESS_PROTOCOL), bound(ETH0, VIP)]);
    expect(desk.places()?.vips).toEqual([]);
    const nat = anyService({ realServers: [server('10.90.0.11', { forward: 'nat' })] });
    for (const service of [nat, anyService({ realServers: [server('10.90.0.12')] })]) {
      const other = setUp([service]);
      other.desk.see([...OWN, ON_LO]);
      expect(other.desk.places()?.vips).toEqual([]);
    }
  });

  it('goes with the real server, with the VIP on lo, and with a director that the document drops', () => {
    const { desk, report, world } = setUp();
    desk.see([...OWN, ON_LO]);
    report(D2, mac(9));
    const spec = world.spec;
    if (spec === null) throw new Error('no document');
    world.spec = { ...spec, directors: spec.directors.filter(({ id }) => id === D1) };
    desk.look();
    expect(desk.places()).toEqual({ vips: [VIP], directors: [], isComplete: true });
    desk.see(OWN);
    expect(desk.places()?.vips).toEqual([]);
    desk.see([...OWN, ON_LO]);
    world.spec = { ...spec, services: [] };
    desk.look();
    expect(desk.places()?.vips).toEqual([]);
  });

  it('is looked at by the gate at once where it concerns a VIP', () => {
    const { desk, report, world } = setUp();
    desk.see(OWN);
    report(D2, mac(9));
    expect([world.places, world.urgent]).toEqual([1, 0]);
    desk.see([...OWN, ON_LO]);
    report(D2, mac(8));
    desk.see(OWN);
    expect([world.places, world.urgent]).toEqual([4, 3]);
  });

  it('takes no text for a MAC that is none', () => {
    const { desk, reports } = setUp();
    desk.see([...OWN, ON_LO]);
    reports.set(D2, { record: { macs: ['nonsense', '02:00:00:00:00:0F'] } });
    desk.look();
    expect(desk.places()?.directors).toEqual([mac(15)]);
  });
});

describe('the MACs that it reports', () => {
  it('are those of cards with addresses of its own', () => {
    const { desk, links } = setUp();
    expect(desk.macs()).toEqual([]);
    links.set('tap0', link(9, 'tap0', mac(77)));
    desk.see([...OWN, bound(9, '10.92.0.1', ADDRESS_PROTOCOL)]);
    expect(desk.macs()).toEqual([mac(1), mac(2)]);
    desk.see([bound(ETH0, VIP, ADDRESS_PROTOCOL), bound(ETH1, '10.91.0.11')]);
    expect(desk.macs(), 'the card of the VIP has no other address').toEqual([mac(1), mac(2)]);
  });

  it('are those of its cards, whatever number of containers run on it', () => {
    const { desk, links } = setUp();
    links.set('eth0', link(ETH0, 'eth0', mac(0xf0)));
    links.set('eth1', link(ETH1, 'eth1', mac(0xf1)));
    const ends = Array.from({ length: 100 }, (_, i) => link(100 + i, `veth${i}`, mac(i)));
    for (const end of ends) links.set(end.name, end);
    const local = (index: number): BoundAddress => ({ ...bound(index, 'fe80::1'), scope: 'link' });
    desk.see([...ends.map(({ index }) => local(index)), ...OWN]);
    expect(desk.macs()).toHaveLength(32);
    expect(desk.macs()).toEqual(expect.arrayContaining([mac(0xf0), mac(0xf1)]));
  });
});

describe('problems', () => {
  it('name a VIP that it should have as a real server, with the command', () => {
    const { desk } = setUp();
    desk.see(OWN);
    expect(desk.problems()).toEqual([
      expect.stringContaining('leasehold realserver up --mode dr --vip 10.90.0.100'),
    ]);
    expect(desk.problems()[0]).toContain('a real server of web and');
    desk.see([...OWN, ON_LO]);
    expect(desk.problems()).toEqual([]);
    const tun = anyService({
      realServers: [server('10.90.0.12')],
      sorryServer: sorryServer('10.90.0.11', { forward: 'tun' }),
    });
    const other = setUp([tun]);
    other.desk.see(OWN);
    expect(other.desk.problems()[0]).toContain('--mode tun');
  });

  it('name a director that does not tell its MACs, where rules go by them', () => {
    const { desk, report } = setUp();
    desk.see([...OWN, ON_LO]);
    report(D2);
    expect(desk.problems()).toEqual([expect.stringContaining('director d2 does not report')]);
    const lifetimes = setUp([PAIR], 'address-lifetime');
    lifetimes.desk.see([...OWN, ON_LO]);
    lifetimes.report(D2);
    expect(lifetimes.desk.problems()).toEqual([]);
  });
});
