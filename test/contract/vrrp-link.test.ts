/**
 * The VrrpLink on real networks: keepalived of the distribution as a neighbour of every version and way,
 * tcpdump and Wireshark's decoder as the judges of our packets, and what only a kernel shows.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { IpAddress } from '../../src/model/address.ts';
import { VRRP_DROPS, type VrrpInstance } from '../../src/model/vrrp.ts';
import type { VrrpDelivery } from '../../src/ports/vrrp-link.ts';
import { FakeClock } from '../fakes/fake-clock.ts';
import { FakeVrrpSegment } from '../fakes/fake-vrrp-link.ts';
import { SeededRandom } from '../fakes/seeded-random.ts';
import { ensureKeepalived } from '../support/keepalived.ts';
import { type Daemon, waitFor } from '../support/processes.ts';
import { pass } from '../support/running-clock.ts';
import { cutTrailer, ensureTshark, readVrrp } from '../support/tshark.ts';
import { type Captured, type VrrpDirector, VrrpNetwork } from './support/vrrp-network.ts';
import {
  arrivedBy,
  ip,
  MULTICAST,
  neighbour as any,
  newDrops,
  unicastTo as to,
  vrrpLinkContract,
} from './vrrp-link.contract.ts';

/** For a busy machine. */
const LIMIT = { timeoutMs: 20_000, intervalMs: 20 } as const;
/** Long enough for more to arrive than should. */
const PASS_MS = 40;

const NO_DROPS = Object.fromEntries(VRRP_DROPS.map((drop) => [drop, 0]));

const BASE: VrrpInstance = {
  key: 'base',
  family: 4,
  routerId: 51,
  version: 3,
  device: 'eth0',
  source: ip('10.90.0.11'),
  to: to(any('10.90.0.13')),
  intervalMs: 100,
  addresses: [ip('10.90.0.100'), ip('10.90.0.101')],
  auth: { kind: 'none' },
  checksum: 'pseudo-header',
};
const PASS = { kind: 'pass', password: 'secret12345' } as const;

/** One virtual router for each version and way; keepalived takes part in all of them. */
function instancesOf(linkLocal: IpAddress): readonly VrrpInstance[] {
  const v6 = { ...BASE, family: 6 as const };
  const vips6 = (last: number): IpAddress[] => [ip(`fe80::${last}`), ip(`fd90::${last}`)];
  const vips4 = (last: number): IpAddress[] => [ip(`10.90.0.${last}`), ip(`10.90.0.${last - 50}`)];
  const second = { version: 2 as const, intervalMs: 1000, auth: PASS };
  return [
    { ...BASE, ...second, key: 'v2-unicast', routerId: 51, addresses: vips4(101) },
    { ...BASE, ...second, key: 'v2-multicast', routerId: 52, addresses: vips4(102), to: MULTICAST },
    { ...BASE, key: 'v3-unicast', routerId: 53, addresses: vips4(103) },
    { ...BASE, key: 'v3-multicast', routerId: 54, addresses: vips4(104), to: MULTICAST },
    {
      ...v6,
      key: 'v3-ipv6-unicast',
      routerId: 55,
      addresses: vips6(105),
      source: ip('fd90::11'),
      // keepalived 2.2.7 leaves the hop limit of unicast to the kernel.
      to: to({ address: ip('fd90::13'), ttlMin: 64, ttlMax: 64 }),
    },
    {
      ...v6,
      key: 'v3-ipv6-multicast',
      routerId: 56,
      addresses: vips6(106),
      source: linkLocal,
      to: MULTICAST,
    },
  ];
}

function keepalivedConfig(instances: readonly VrrpInstance[]): string {
  return instances
    .map((instance) => {
      const own = instance.family === 4 ? '10.90.0.13' : 'fd90::13';
      const unicast =
        instance.to.kind === 'unicast'
          ? [`unicast_src_ip ${own}`, `unicast_peer { `, `${instance.source}`, `}`]
          : [];
      const auth =
        instance.auth.kind === 'pass'
          ? ['authentication {', 'auth_type PASS', `auth_pass ${instance.auth.password}`, '}']
          : [];
      const prefix = instance.family === 4 ? 24 : 64;
      return [
        `vrrp_instance ${instance.key} {`,
        'interface eth0',
        'state BACKUP',
        'priority 100',
        `version ${instance.version}`,
        `virtual_router_id ${instance.routerId}`,
        `advert_int ${instance.intervalMs / 1000}`,
        ...unicast,
        ...auth,
        'virtual_ipaddress {',
        ...instance.addresses.map((address) => `${address}/${prefix}`),
        '}',
        '}',
      ].join('\n');
    })
    .join('\n');
}

/** Lines in which keepalived finds fault with a packet. */
const COMPLAINT =
  /invalid|mismatch|bogus|checksum|differ|malformed|too (short|long)|unexpected|error/i;

vrrpLinkContract('fake', async () => {
  const clock = new FakeClock();
  const segment = new FakeVrrpSegment({ clock, random: new SeededRandom(1) });
  const end = new AbortController();
  const links = { d1: segment.link('d1'), d2: segment.link('d2') };
  const heard: VrrpDelivery[] = [];
  void (async () => {
    for await (const delivery of links.d1.receive(end.signal)) heard.push(delivery);
  })();
  return {
    configure: async (host, instances) => links[host].configure(instances),
    send: async (host, instance, priority) => links[host].send(instance, priority, null),
    heard: (host) => (host === 'd1' ? heard : []),
    counters: async (host) => links[host].counters(),
    until: async (host, condition) => {
      for (let spent = 0; spent < 1000 && !condition(links[host].counters()); spent += 10)
        await clock.advance(10);
      expect(condition(links[host].counters())).toBe(true);
    },
    pass: () => clock.advance(10),
    close: async () => {
      end.abort();
      for (const link of Object.values(links)) await link.close();
    },
  };
});

vrrpLinkContract('raw sockets in network namespaces', async () => {
  const network = await VrrpNetwork.start();
  const directors = { d1: await network.director('d1'), d2: await network.director('d2') };
  return {
    configure: async (host, instances) => {
      await directors[host].command({ op: 'configure', instances });
    },
    send: async (host, instance, priority) => {
      await directors[host].command({ op: 'send', instance, priority, times: 1 });
    },
    heard: (host) => directors[host].heard,
    counters: async (host) => {
      const { sent, failed, received, dropped } = await directors[host].state();
      return { sent, failed, received, dropped };
    },
    until: async (host, condition) => {
      const look = async (): Promise<boolean> => condition(await directors[host].state());
      await waitFor(`what ${host} counts`, look, LIMIT);
    },
    pass: () => pass(PASS_MS),
    close: () => network.close(),
  };
});

describe('a keepalived neighbour', () => {
  let network: VrrpNetwork;
  let director: VrrpDirector;
  let daemon: Daemon;
  let instances: readonly VrrpInstance[];
  const isOurs = (source: string): boolean =>
    instances.some((instance) => instance.source === source);
  let capture: Captured;
  /** What keepalived had bound, phase by phase. */
  const bound = { whileWeHold: '', afterGoodbye: '', afterReturn: '' };
  let priorityOfNeighbour = new Map<string, number>();

  const advertiseAll = async (priority: number): Promise<void> => {
    for (const { key, intervalMs } of instances)
      await director.command({ op: 'advertise', instance: key, priority, everyMs: intervalMs });
  };
  /** Until keepalived has bound that many VIPs of each; what it has then. */
  const untilBound = (vips: number): Promise<string> =>
    waitFor(
      `keepalived has bound ${vips} of each`,
      async () => {
        const shown = await network.addressesOf('k1');
        return instances.every((instance) => vipsBound(shown, instance) === vips) ? shown : null;
      },
      { timeoutMs: 20_000, intervalMs: 100 },
    );
  const vipsBound = (shown: string, { addresses }: VrrpInstance): number =>
    addresses.filter((address) => shown.includes(` ${address}/`)).length;

  beforeAll(async () => {
    await ensureKeepalived(() => {});
    await ensureTshark();
    network = await VrrpNetwork.start();
    director = await network.director('d1');
    instances = instancesOf(ip(await network.linkLocalOf('d1')));
    await director.command({ op: 'configure', instances });
    await advertiseAll(200);
    daemon = network.keepalived(keepalivedConfig(instances));
    capture = await network.capture('k1', async () => {
      // Longer than its active-down interval of 3.6 s in version 2.
      await sleep(5_500);
      // Not in the moment after a pause of the machine, in which it heard nobody.
      bound.whileWeHold = await untilBound(0);
      for (const { key } of instances) await director.command({ op: 'leave', instance: key });
    });
    bound.afterGoodbye = await untilBound(2);
    const isHeard = (): boolean => {
      priorityOfNeighbour = new Map(
        director.heard.map(({ instance, advert }) => [instance, advert.priority]),
      );
      return instances.every(({ key }) => priorityOfNeighbour.has(key));
    };
    await waitFor('keepalived is heard in all', isHeard, LIMIT);
    await advertiseAll(200);
    bound.afterReturn = await untilBound(0);
  }, 120_000);
  afterAll(() => network.close());

  const keys = [
    'v2-unicast',
    'v2-multicast',
    'v3-unicast',
    'v3-multicast',
    'v3-ipv6-unicast',
    'v3-ipv6-multicast',
  ];
  const instance = (key: string): VrrpInstance => {
    const found = instances.find((each) => each.key === key);
    if (found === undefined) throw new Error(key);
    return found;
  };

  test.each(keys)('%s: stays BACKUP while we advertise 200', (key) => {
    expect(daemon.log()).toContain(`(${key}) Entering BACKUP STATE`);
    expect(vipsBound(bound.whileWeHold, instance(key))).toBe(0);
  });

  test.each(keys)('%s: takes over after our goodbye, and gives way when we are back', (key) => {
    expect(vipsBound(bound.afterGoodbye, instance(key))).toBe(2);
    expect(vipsBound(bound.afterReturn, instance(key))).toBe(0);
    expect(daemon.log()).toContain(`(${key}) Master received advert from`);
  });

  test.each(keys)('%s: its advertisements are delivered as it means them', (key) => {
    expect(priorityOfNeighbour.get(key)).toBe(100);
    const [first] = director.heardOf(key);
    expect(first?.hasOurAddresses).toBe(true);
    expect(first?.advert.intervalMs).toBe(instance(key).intervalMs);
    expect(first?.advert.addresses).toEqual(instance(key).addresses);
  });

  test('finds no fault with our packets', () => {
    const complaints = daemon
      .log()
      .split('\n')
      .filter((line) => COMPLAINT.test(line));
    expect(complaints).toEqual([]);
  });

  test('sends nothing that we drop, and we send all that we mean to', async () => {
    const state = await director.state();
    expect(state.dropped).toEqual(NO_DROPS);
    expect(state.failed).toBe(0);
    expect(state.sent).toBeGreaterThan(100);
    expect(state.sockets.map(({ error }) => error)).toEqual([null, null]);
  });

  test('tcpdump reads our packets as valid VRRP', () => {
    for (const { routerId } of instances)
      expect(capture.said).toContain(`vrid ${routerId}, prio 200`);
    expect(capture.said).toMatch(
      /VRRPv2, Advertisement, vrid 51, prio 200, authtype simple, intvl 1s/,
    );
    expect(capture.said).toMatch(/VRRPv3, Advertisement, vrid 53, prio 200, intvl 10cs/);
    expect(capture.said).toMatch(/10\.90\.0\.11 > 10\.90\.0\.13: VRRPv2/);
    expect(capture.said).toMatch(/10\.90\.0\.11 > 224\.0\.0\.18: VRRPv3/);
    expect(capture.said).toMatch(/fd90::11 > fd90::13: VRRPv3/);
    expect(capture.said).toMatch(/fe80:\S+ > ff02::12: VRRPv3/);
    expect(capture.said).toContain('(class 0xc0, hlim 255, next-header VRRP (112)');
    expect(capture.said).toContain('(tos 0xc0, ttl 255, offset 0, flags [none], proto VRRP (112)');
    expect(capture.said).not.toMatch(/bad vrrp cksum|bad-hlen|\[\|vrrp\]|invalid/);
  });

  test("Wireshark's decoder reads our packets as valid VRRP, each of them", () => {
    const ours = capture.packets.filter(({ source }) => isOurs(source));
    expect(ours.filter(({ faults }) => faults.length > 0)).toEqual([]);
    for (const { routerId, version, family, intervalMs, addresses, auth, to } of instances) {
      const said = ours.filter((packet) => packet.routerId === routerId);
      const priorities = said.map(({ priority }) => priority);
      expect(priorities.slice(-2)).toEqual([200, 0]);
      const unicast = family === 4 ? '10.90.0.13' : 'fd90::13';
      const group = family === 4 ? '224.0.0.18' : 'ff02::12';
      for (const packet of said)
        expect(packet).toMatchObject({
          version,
          type: 1,
          ttl: 255,
          intervalMs,
          addresses,
          destination: to.kind === 'multicast' ? group : unicast,
          password: auth.kind === 'pass' ? auth.password.slice(0, 8) : '',
        });
    }
  });
});

describe('the link', () => {
  let network: VrrpNetwork;
  let director: VrrpDirector;
  let other: VrrpDirector;
  beforeAll(async () => {
    network = await VrrpNetwork.start();
    director = await network.director('d1');
    other = await network.director('d2');
  });
  afterAll(() => network.close());

  const mirror = (instance: VrrpInstance): VrrpInstance => {
    const [own, his] =
      instance.family === 4 ? ['10.90.0.12', '10.90.0.11'] : ['fd90::12', 'fd90::11'];
    const isUnicast = instance.to.kind === 'unicast';
    return { ...instance, source: ip(own), to: isUnicast ? to(any(his)) : MULTICAST };
  };
  /** What d1 makes of advertisements of d2: deliveries, and drops by reason that are not 0. */
  const exchange = async (
    instance: VrrpInstance,
    sender: VrrpInstance = mirror(instance),
    times = 3,
  ): Promise<{ delivered: number; dropped: Readonly<Record<string, number>> }> => {
    await director.command({ op: 'configure', instances: [instance] });
    await other.command({ op: 'configure', instances: [sender] });
    const before = await director.state();
    await other.command({ op: 'send', instance: sender.key, priority: 150, times });
    const hasArrived = async (): Promise<boolean> =>
      arrivedBy(await director.state()) >= arrivedBy(before) + times;
    if (times < FLOOD) await waitFor('what was sent arrives', hasArrived, LIMIT);
    else await arrivesNoMore();
    await pass(PASS_MS);
    const after = await director.state();
    return { delivered: after.received - before.received, dropped: newDrops(before, after) };
  };
  /** Of a flood part is lost in the kernel. */
  const arrivesNoMore = async (): Promise<void> => {
    let last = -1;
    const look = async (): Promise<boolean> => {
      const before = last;
      await pass(300);
      last = arrivedBy(await director.state());
      return last === before;
    };
    await waitFor('the flood is over', look, { timeoutMs: 30_000, intervalMs: 1 });
  };
  const FLOOD = 20_000;
  const unicast = { ...BASE, to: to(any('10.90.0.12')) };
  const unicast6 = {
    ...BASE,
    family: 6 as const,
    source: ip('fd90::11'),
    addresses: [ip('fd90::100')],
    to: to(any('fd90::12')),
  };
  const limited = (address: string, ttlMin: number, ttlMax: number): VrrpInstance['to'] =>
    to({ address: ip(address), ttlMin, ttlMax });
  const key = Uint8Array.from({ length: 32 }, (_, i) => i);
  const hmac = { kind: 'hmac', keys: [{ id: 3, key }] } as const;

  test.each<[string, VrrpInstance]>([
    ['TTL 255 over IPv4', { ...unicast, to: limited('10.90.0.12', 255, 255) }],
    ['hop limit 255 over IPv6', { ...unicast6, to: limited('fd90::12', 255, 255) }],
    ['a trailer over IPv4', { ...unicast, auth: hmac }],
    ['a trailer over IPv6', { ...unicast6, auth: hmac }],
    ['255 addresses', { ...unicast, addresses: many(255) }],
  ])('delivers %s', async (_name, instance) => {
    expect(await exchange(instance)).toEqual({ delivered: 3, dropped: {} });
  });

  test.each<[string, VrrpInstance, string]>([
    ['a TTL over IPv4', { ...unicast, to: limited('10.90.0.12', 0, 254) }, 'ttl'],
    ['a hop limit over IPv6', { ...unicast6, to: limited('fd90::12', 0, 254) }, 'ttl'],
    ['who is no neighbour over IPv6', { ...unicast6, to: to(any('fd90::13')) }, 'source'],
  ])('drops %s, and counts it', async (_name, instance, reason) => {
    expect(await exchange(instance)).toEqual({ delivered: 0, dropped: { [reason]: 3 } });
  });

  test('drops what another key has signed, and what nobody has', async () => {
    const wrong = { kind: 'hmac', keys: [{ id: 3, key: key.map((byte) => byte ^ 1) }] } as const;
    const signed = { ...unicast, auth: hmac };
    const forged = await exchange(signed, { ...mirror(unicast), auth: wrong });
    expect(forged.dropped).toEqual({ 'hmac-mismatch': 3 });
    expect((await exchange(signed, mirror(unicast))).dropped).toEqual({ 'hmac-missing': 3 });
  });

  test('survives a flood and still sends and hears', async () => {
    const flood = await exchange(unicast, { ...mirror(unicast), routerId: 77 }, FLOOD);
    expect(flood.dropped['router-id']).toBeGreaterThan(1_000);
    expect(await exchange(unicast)).toEqual({ delivered: 3, dropped: {} });
    expect(director.isAlive).toBe(true);
  });

  test('leaves no socket open in programs that are started', async () => {
    await director.command({ op: 'configure', instances: [unicast, { ...unicast6, key: 'six' }] });
    const listing = String(await director.command({ op: 'descriptors' }));
    const beyond = listing.split('\n').filter((line) => /\s(?:[3-9]|\d\d+) -> socket:/.test(line));
    expect(listing).toContain('0 -> ');
    expect(beyond).toEqual([]);
  });

  test('a destination without a route is counted as failed', async () => {
    const nowhere = { ...unicast6, to: to(any('2001:db8::1')) };
    await network.net.execOk('d1', ['ip', '-6', 'route', 'add', 'unreachable', '2001:db8::/32']);
    await director.command({ op: 'configure', instances: [nowhere] });
    const before = await director.state();
    await director.command({ op: 'send', instance: nowhere.key, priority: 1, times: 2 });
    const hasFailed = async (): Promise<boolean> =>
      (await director.state()).failed >= before.failed + 2;
    await waitFor('both fail', hasFailed, LIMIT);
    const after = await director.state();
    expect([after.failed - before.failed, after.sent - before.sent]).toEqual([2, 0]);
    expect(after.sockets.map(({ error }) => error)).toEqual([null]);
  });

  test('opens again when the device was made anew', async () => {
    const both = [unicast, { ...unicast6, key: 'six' }];
    await director.command({ op: 'configure', instances: both });
    const untilAllSay = async (words: string | null): Promise<void> => {
      const look = async (): Promise<boolean> => {
        const { sockets } = await director.state();
        return sockets.length === both.length && sockets.every(({ error }) => error === words);
      };
      await waitFor(`both sockets say ${words}`, look, LIMIT);
    };
    await network.net.removeInterface('d1');
    await untilAllSay('the device does not exist');
    await director.command({ op: 'send', instance: unicast.key, priority: 9, times: 1 });
    await network.net.recreateInterface('d1');
    await network.net.untilConnected();
    await untilAllSay(null);
    const before = director.heard.length;
    const peers = both.map(mirror);
    await other.command({ op: 'configure', instances: peers });
    for (const peer of peers)
      await other.command({ op: 'send', instance: peer.key, priority: 150, times: 2 });
    await waitFor('all four are heard', () => director.heard.length >= before + 4, LIMIT);
    await pass(PASS_MS);
    expect(
      director.heard
        .slice(before)
        .map(({ instance }) => instance)
        .toSorted(),
    ).toEqual([unicast.key, unicast.key, 'six', 'six'].toSorted());
  });

  test('a device that does not exist is said, and nothing else happens', async () => {
    const states = await director.command({
      op: 'configure',
      instances: [{ ...unicast, device: 'nope0' }],
    });
    expect(states).toEqual([{ device: 'nope0', family: 4, error: 'the device does not exist' }]);
    await director.command({ op: 'send', instance: unicast.key, priority: 1, times: 1 });
    expect(director.isAlive).toBe(true);
  });

  test('a packet with a trailer is valid VRRP but for its length', async () => {
    const { packets, file } = await network.capture('d1', async () => {
      for (const instance of [
        { ...unicast, auth: hmac },
        { ...unicast6, auth: hmac },
      ])
        await exchange(instance, mirror(instance), 1);
    });
    // The decoder does not know the trailer, and counts it into the checksum: over IPv6 as it is meant.
    expect(packets.map(({ version, faults }) => [version, faults.length > 0])).toEqual([
      [3, true],
      [3, false],
    ]);
    cutTrailer(file);
    const [cut] = await readVrrp(file);
    expect(cut).toMatchObject({ version: 3, priority: 150, addresses: BASE.addresses, faults: [] });
  });

  test('the judges notice a wrong checksum: they can say no', async () => {
    await other.command({
      op: 'configure',
      instances: [{ ...mirror(unicast), checksum: 'message-only' }],
    });
    const { said, packets, file } = await network.capture('d1', async () => {
      await other.command({ op: 'send', instance: unicast.key, priority: 150, times: 1 });
    });
    expect(said).toContain('bad vrrp cksum');
    expect(packets.map(({ faults }) => faults)).toEqual([
      [expect.stringContaining('hecksum'), 'the checksum of VRRP'],
    ]);
    // Told that the message alone counts, it finds it right.
    const [told] = await readVrrp(file, ['vrrp.v3_checksum_as_in_v2:TRUE']);
    expect(told?.faults).toEqual([]);
  });

  test('a goodbye right before the end still goes out', async () => {
    await director.command({ op: 'configure', instances: [unicast] });
    await other.command({ op: 'configure', instances: [mirror(unicast)] });
    const before = director.heard.length;
    await other.command({ op: 'goodbye', instance: unicast.key });
    await waitFor('it is heard', () => director.heard.length > before, LIMIT);
    await pass(PASS_MS);
    expect(director.heard.slice(before).map(({ advert }) => advert.priority)).toEqual([0]);
  });
});

function many(count: number): IpAddress[] {
  return Array.from({ length: count }, (_, i) => ip(`10.91.${i >>> 7}.${i & 127}`));
}
