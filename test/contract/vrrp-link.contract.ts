/** What every VrrpLink does, the fake of the simulator included. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type IpAddress, type IpFamily, parseIp } from '../../src/model/address.ts';
import { VRRP_DROPS, type VrrpInstance, type VrrpNeighbour } from '../../src/model/vrrp.ts';
import type { VrrpCounters, VrrpDelivery } from '../../src/ports/vrrp-link.ts';

/** Hosts d1 and d2 with 10.90.0.11, .12 and fd90::11, ::12 on `eth0`. */
export interface VrrpLinkHarness {
  configure(host: 'd1' | 'd2', instances: readonly VrrpInstance[]): Promise<void>;
  send(host: 'd1' | 'd2', instance: string, priority: number): Promise<void>;
  /** All deliveries so far, the oldest first. */
  heard(host: 'd1' | 'd2'): readonly VrrpDelivery[];
  counters(host: 'd1' | 'd2'): Promise<VrrpCounters>;
  /** Waits until the counters fulfil it, for long on a busy machine; throws where they never do. */
  until(host: 'd1' | 'd2', condition: (counters: VrrpCounters) => boolean): Promise<void>;
  /** Long enough for more to arrive than should. */
  pass(): Promise<void>;
  close(): Promise<void>;
}

export const ip = (text: string): IpAddress => {
  const parsed = parseIp(text);
  if (!parsed.ok) throw new Error(parsed.error);
  return parsed.value;
};
export const neighbour = (address: string): VrrpNeighbour => ({
  address: ip(address),
  ttlMin: 0,
  ttlMax: 255,
});
export const unicastTo = (...neighbours: readonly VrrpNeighbour[]): VrrpInstance['to'] => ({
  kind: 'unicast',
  neighbours,
});
export const MULTICAST = { kind: 'multicast' } as const;

/** The same virtual router as d1 and as d2 have it. */
export function pairOf(
  family: IpFamily,
  changes: Partial<VrrpInstance> = {},
): readonly [d1: VrrpInstance, d2: VrrpInstance] {
  const prefix = family === 4 ? '10.90.0.' : 'fd90::';
  const instance = (own: number, other: number): VrrpInstance => ({
    key: `web/${family}`,
    family,
    routerId: 51,
    version: 3,
    device: 'eth0',
    source: ip(`${prefix}${own}`),
    to: unicastTo(neighbour(`${prefix}${other}`)),
    intervalMs: 100,
    addresses: [ip(`${prefix}100`), ip(`${prefix}101`)],
    auth: { kind: 'none' },
    checksum: 'pseudo-header',
    ...changes,
  });
  return [instance(11, 12), instance(12, 11)];
}

/** Drops that are not 0, by what has come since `before`. */
export function newDrops(before: VrrpCounters, after: VrrpCounters): Record<string, number> {
  return Object.fromEntries(
    VRRP_DROPS.flatMap((drop) => {
      const count = after.dropped[drop] - before.dropped[drop];
      return count === 0 ? [] : [[drop, count]];
    }),
  );
}

/** All that arrived, valid or not. */
export const arrivedBy = ({ received, dropped }: VrrpCounters): number =>
  VRRP_DROPS.reduce((sum, drop) => sum + dropped[drop], received);

export function vrrpLinkContract(name: string, create: () => Promise<VrrpLinkHarness>): void {
  describe(`VRRP link contract: ${name}`, () => {
    let harness: VrrpLinkHarness;
    beforeAll(async () => {
      harness = await create();
    });
    afterAll(() => harness.close());

    /** What d1 makes of two advertisements of d2. */
    const exchange = async (
      d1: VrrpInstance,
      d2: VrrpInstance,
    ): Promise<{ heard: readonly VrrpDelivery[]; dropped: Record<string, number> }> => {
      await harness.configure('d1', [d1]);
      await harness.configure('d2', [d2]);
      const before = await harness.counters('d1');
      const heardBefore = harness.heard('d1').length;
      for (const priority of [150, 0]) await harness.send('d2', d2.key, priority);
      await harness.until('d1', (counters) => {
        const isTold =
          harness.heard('d1').length - heardBefore >= counters.received - before.received;
        return isTold && arrivedBy(counters) >= arrivedBy(before) + 2;
      });
      await harness.pass();
      const after = await harness.counters('d1');
      const heard = harness.heard('d1').slice(heardBefore);
      expect(after.received - before.received).toBe(heard.length);
      return { heard, dropped: newDrops(before, after) };
    };

    test.each<[string, IpFamily, Partial<VrrpInstance>]>([
      ['unicast', 4, {}],
      ['unicast', 6, {}],
      ['multicast', 4, { to: MULTICAST }],
      ['multicast', 6, { to: MULTICAST }],
      ['version 2', 4, { version: 2, intervalMs: 2000 }],
      ['a password', 4, { version: 2, intervalMs: 1000, auth: { kind: 'pass', password: 'x' } }],
    ])('%s over IPv%i is delivered in order', async (_name, family, changes) => {
      const [d1, d2] = pairOf(family, changes);
      const { heard, dropped } = await exchange(d1, d2);
      const { source, intervalMs, addresses } = d2;
      expect(heard).toMatchObject(
        [150, 0].map((priority) => ({
          instance: d1.key,
          hasOurAddresses: true,
          advert: { source, priority, intervalMs, addresses },
        })),
      );
      expect(dropped).toEqual({});
    });

    test.each<[string, Partial<VrrpInstance>, Partial<VrrpInstance>]>([
      ['router-id', {}, { routerId: 52 }],
      ['version', {}, { version: 2, intervalMs: 1000 }],
      ['source', { to: unicastTo(neighbour('10.90.0.13')) }, {}],
      ['destination', { to: MULTICAST }, {}],
      ['interval-mismatch', { version: 2, intervalMs: 1000 }, { version: 2, intervalMs: 2000 }],
      [
        'auth-type',
        { version: 2, intervalMs: 1000, auth: { kind: 'pass', password: 'x' } },
        { version: 2, intervalMs: 1000 },
      ],
    ])('what is wrong by its %s is dropped and counted', async (reason, ours, theirs) => {
      const [d1, d2] = pairOf(4);
      const { heard, dropped } = await exchange({ ...d1, ...ours }, { ...d2, ...theirs });
      expect(heard).toEqual([]);
      expect(dropped).toEqual({ [reason]: 2 });
    });

    test('other VIPs are told of, and delivered', async () => {
      const [d1, d2] = pairOf(4);
      const { heard } = await exchange(d1, { ...d2, addresses: d2.addresses.slice(1) });
      expect(heard.map(({ hasOurAddresses }) => hasOurAddresses)).toEqual([false, false]);
    });

    test('nobody hears itself', async () => {
      const [d1, d2] = pairOf(4, { to: MULTICAST });
      await harness.configure('d1', [d1]);
      await harness.configure('d2', [d2]);
      const before = await harness.counters('d1');
      await harness.send('d1', d1.key, 200);
      await harness.until('d1', ({ sent }) => sent > before.sent);
      // What comes of this one comes after its own.
      await harness.send('d2', d2.key, 100);
      await harness.until('d1', (counters) => arrivedBy(counters) > arrivedBy(before));
      await harness.pass();
      const after = await harness.counters('d1');
      expect(after).toEqual({ ...before, sent: before.sent + 1, received: before.received + 1 });
    });

    test('each neighbour gets its own datagram, an unknown instance gets nobody anything', async () => {
      const [d1] = pairOf(4, { to: unicastTo(neighbour('10.90.0.12'), neighbour('10.90.0.13')) });
      await harness.configure('d1', [d1]);
      const before = await harness.counters('d1');
      await harness.send('d1', d1.key, 200);
      await harness.send('d1', 'another', 200);
      await harness.until('d1', ({ sent }) => sent >= before.sent + 2);
      await harness.pass();
      expect((await harness.counters('d1')).sent - before.sent).toBe(2);
    });

    test('an instance that is gone is neither sent nor heard', async () => {
      const [d1, d2] = pairOf(4);
      const other = pairOf(4, { key: 'db/4', routerId: 60 });
      await harness.configure('d1', [other[0]]);
      await harness.configure('d2', [d2, other[1]]);
      const before = await harness.counters('d1');
      await harness.send('d1', d1.key, 1);
      await harness.send('d2', d2.key, 1);
      await harness.until('d1', (counters) => arrivedBy(counters) > arrivedBy(before));
      await harness.pass();
      const after = await harness.counters('d1');
      expect(after.sent).toBe(before.sent);
      expect(newDrops(before, after)).toEqual({ 'router-id': 1 });
    });
  });
}
