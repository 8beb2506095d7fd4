/** What the election wants to know of the network is asked, and told to metrics and log, too (design 4.10). */
import { getEventListeners } from 'node:events';
import { describe, expect, it } from 'vitest';
import type { ProbeOptions } from '../../../src/core/election/state.ts';
import {
  createGatewayDesk,
  deriveGatewaySources,
  type GatewayDesk,
} from '../../../src/agent/gateway-desk.ts';
import type { IpAddress } from '../../../src/model/address.ts';
import type { Isolation } from '../../../src/model/cluster.ts';
import { directorId, groupId } from '../../../src/model/ids.ts';
import { FakeClock } from '../../fakes/fake-clock.ts';
import { FakeGatewayPing } from '../../fakes/fake-gateway.ts';
import { FakeNeighbours } from '../../fakes/fake-neighbours.ts';
import { ip } from '../core/desired/spec-builders.ts';
import { RecordingLog } from './reconcile-loop.fixture.ts';

const WEB = groupId('web');
const A = ip('10.90.0.1');
const B = ip('192.0.2.1');
const VIP = { device: 'eth0', address: ip('10.90.0.100') };
const VIP_6 = { device: 'eth0', address: ip('fd90::100') };
/** Before an opening that other evidence allows. */
const MOVED = { device: 'eth0', address: ip('10.90.0.101') };
const SOURCES = { 4: { kind: 'address', address: ip('10.90.0.11') }, 6: null } as const;
const FOUR = { length: 'long', count: 4, intervalMs: 20 } as const;

function setUp() {
  const clock = new FakeClock();
  const log = new RecordingLog();
  const latencies = new Map<IpAddress, number>([[A, 2]]);
  const gateway = new FakeGatewayPing((target) => latencies.get(target) ?? null, { clock });
  const world = {
    isolation: { policy: 'gateway', targets: [A, B], mode: 'any' } as Isolation | null,
    places: [VIP, VIP_6],
    defenderMs: null as number | null,
    defended: VIP_6.address,
    isDeaf: false,
  };
  const neighbours = new FakeNeighbours(
    {
      gateway: () => null,
      defender: ({ address }) => (address === world.defended ? world.defenderMs : null),
      isDeaf: () => world.isDeaf,
    },
    { clock },
  );
  const seen = { reachable: [] as boolean[], answered: [] as string[], forgotten: 0 };
  const desk = createGatewayDesk({
    gateway,
    neighbours,
    clock,
    log,
    metrics: {
      gateway: (isReachable) => void seen.reachable.push(isReachable),
      gatewayAnswered: (target, seconds) => void seen.answered.push(`${target} ${seconds}`),
      forgetGateways: () => void seen.forgotten++,
    },
    isolation: () => world.isolation,
    sources: () => SOURCES,
    places: (_, length) => (length === 'long' ? world.places : [...world.places, MOVED]),
  });
  return { clock, log, latencies, gateway, world, neighbours, seen, desk };
}

/** Null: ended, or asked anew, before it was known. */
const probeWeb = async (
  desk: Pick<GatewayDesk, 'probe'>,
  options: ProbeOptions,
): Promise<boolean | null> => (await desk.probe([WEB], options)).get(WEB) ?? null;

describe('the gateway', () => {
  it('is asked with the targets, mode and sources of the spec', async () => {
    const { clock, desk, gateway, seen } = setUp();
    expect(await clock.settle(desk.ask(30))).toBe(true);
    const { targets, mode, source, timeoutMs } = gateway.asked[0] ?? {};
    expect({ targets, mode, source, timeoutMs }).toEqual({
      targets: [A, B],
      mode: 'any',
      source: SOURCES,
      timeoutMs: 30,
    });
    expect(seen).toEqual({
      reachable: [true],
      answered: [`${A} ${clock.wallMs() / 1000}`],
      forgotten: 1,
    });
  });

  it('is not there where all must answer and one does not', async () => {
    const { clock, desk, world, seen } = setUp();
    world.isolation = { policy: 'gateway', targets: [A, B], mode: 'all' };
    expect(await clock.settle(desk.ask(30))).toBe(false);
    expect(seen.reachable).toEqual([false]);
    expect(seen.answered).toHaveLength(1);
  });

  it('is not there without targets, and nothing is told of it', async () => {
    const { clock, desk, world, seen, gateway } = setUp();
    for (const isolation of [null, { policy: 'release', targets: [], mode: 'any' } as const]) {
      world.isolation = isolation;
      expect(await clock.settle(desk.ask(30))).toBe(false);
    }
    expect(gateway.asked).toEqual([]);
    expect(seen).toEqual({ reachable: [], answered: [], forgotten: 0 });
  });

  it('tells when each target answered last, until it is another one', async () => {
    const { clock, desk, latencies, world } = setUp();
    expect(desk.seen()).toEqual({ wasAsked: false, answeredAt: new Map() });
    await clock.settle(desk.ask(30));
    const at = clock.now();
    latencies.clear();
    await clock.settle(desk.ask(30));
    expect(clock.now()).toBeGreaterThan(at);
    expect(desk.seen()).toEqual({ wasAsked: true, answeredAt: new Map([[A, at]]) });
    world.isolation = { policy: 'gateway', targets: [B], mode: 'any' };
    const asking = desk.ask(30);
    expect(desk.seen()).toEqual({ wasAsked: false, answeredAt: new Map() });
    expect(await clock.settle(asking)).toBe(false);
    expect(desk.seen()).toEqual({ wasAsked: true, answeredAt: new Map() });
  });

  it('is logged when it goes and comes, with the reasons', async () => {
    const { clock, desk, latencies, log } = setUp();
    const ask = () => clock.settle(desk.ask(30));
    await ask();
    await ask();
    expect(log.lines).toEqual([]);
    latencies.clear();
    await ask();
    await ask();
    expect(log.of('gateway.lost')).toHaveLength(1);
    latencies.set(B, 1);
    await ask();
    await ask();
    expect(log.of('gateway.found')).toHaveLength(1);
  });

  it('that takes too long for one and not for another is logged once for each', async () => {
    const { clock, desk, latencies, log } = setUp();
    latencies.set(A, 100);
    for (let i = 0; i < 3; i++) {
      expect(await clock.settle(desk.ask(30))).toBe(false);
      expect(await clock.settle(desk.ask(500))).toBe(true);
    }
    expect(log.lines).toHaveLength(1);
    expect(log.of('gateway.lost')).toMatchObject([{ timeoutMs: 30 }]);
  });

  it('is another one after a change of the targets', async () => {
    const { clock, desk, world, seen, log } = setUp();
    await clock.settle(desk.ask(30));
    world.isolation = { policy: 'gateway', targets: [B], mode: 'any' };
    await clock.settle(desk.ask(30));
    expect(seen).toMatchObject({ reachable: [true, false], forgotten: 2 });
    expect(log.of('gateway.lost')).toHaveLength(1);
  });
});

describe('the VIPs of a group', () => {
  it('are free when nobody answers, after all questions', async () => {
    const { clock, desk, log } = setUp();
    const from = clock.now();
    expect(await clock.settle(probeWeb(desk, FOUR))).toBe(false);
    expect(clock.now() - from).toBe(80);
    expect(log.of('vip.answered')).toEqual([]);
  });

  it('are not when somebody has one of them', async () => {
    const { clock, desk, world, log } = setUp();
    world.defenderMs = 3;
    expect(await clock.settle(probeWeb(desk, FOUR))).toBe(true);
    expect(await clock.settle(probeWeb(desk, FOUR))).toBe(true);
    expect(log.of('vip.answered')).toHaveLength(1);
    world.defenderMs = null;
    expect(await clock.settle(probeWeb(desk, FOUR))).toBe(false);
    world.defenderMs = 3;
    expect(await clock.settle(probeWeb(desk, FOUR))).toBe(true);
    expect(log.of('vip.answered')).toHaveLength(2);
  });

  it('count as taken where they cannot be probed', async () => {
    const { clock, desk, world } = setUp();
    world.isDeaf = true;
    expect(await clock.settle(probeWeb(desk, FOUR))).toBe(true);
    world.places = [];
    expect(await clock.settle(probeWeb(desk, FOUR))).toBe(true);
  });

  it('are those that the length of the probing is about', async () => {
    const { clock, desk, world } = setUp();
    world.defenderMs = 3;
    world.defended = MOVED.address;
    expect(await clock.settle(probeWeb(desk, FOUR))).toBe(false);
    expect(await clock.settle(probeWeb(desk, { ...FOUR, length: 'short' }))).toBe(true);
  });

  it('are told of by the last probe alone', async () => {
    const { clock, desk } = setUp();
    const old = probeWeb(desk, FOUR);
    await clock.advance(30);
    const fresh = probeWeb(desk, FOUR);
    expect(await clock.settle(Promise.all([old, fresh]))).toEqual([null, false]);
  });
});

describe('a question that is taken back', () => {
  it('is no answer of the gateway', async () => {
    const { clock, desk, seen } = setUp();
    const end = new AbortController();
    const asked = desk.ask(500, end.signal);
    end.abort();
    expect(await asked).toBe(false);
    expect(seen.reachable).toEqual([]);
    expect(clock.pending).toBe(0);
  });

  it('leaves nothing on a signal that lives as long as the agent', async () => {
    const { clock, desk } = setUp();
    const { signal } = new AbortController();
    const before = heldBy(signal);
    for (let i = 0; i < 3; i++) expect(await clock.settle(desk.ask(500, signal))).toBe(true);
    expect(heldBy(signal)).toBe(before);
  });
});

/** Listeners, and signals that follow it, which the runtime keeps in sets of its own. */
function heldBy(signal: AbortSignal): number {
  const kept = Object.getOwnPropertySymbols(signal).map((name): unknown =>
    Reflect.get(signal, name),
  );
  const sizes = kept.map((one) => Number(Object(one).size ?? 0));
  return sizes.reduce((sum, one) => sum + one, getEventListeners(signal, 'abort').length);
}

describe('closing', () => {
  it('ends what runs without a word, and nothing is asked afterwards', async () => {
    const { clock, desk, seen, gateway } = setUp();
    const asked = desk.ask(30);
    const probed = probeWeb(desk, FOUR);
    desk.close();
    expect(await asked).toBe(false);
    expect(await probed).toBeNull();
    expect(await desk.ask(30)).toBe(false);
    expect(await probeWeb(desk, FOUR)).toBeNull();
    expect(seen.reachable).toEqual([]);
    expect(gateway.asked).toHaveLength(1);
    expect(clock.pending).toBe(0);
  });
});

describe('the sources', () => {
  const spec = {
    directors: [{ id: directorId('d1'), address: ip('10.90.0.11'), zone: null }],
    groups: [],
  };

  it('are the own address, and for the other family any of the devices but VIPs', () => {
    const address = {
      address: VIP_6.address,
      prefix: 64,
      interface: 'public',
      label: null,
      scope: 'global',
    };
    const groups = [{ addresses: [address] }] as never;
    expect(deriveGatewaySources({ ...spec, groups }, directorId('d1'), ['eth0', 'eth0'])).toEqual({
      4: { kind: 'address', address: '10.90.0.11' },
      6: { kind: 'devices', devices: ['eth0'], except: [VIP_6.address] },
    });
  });

  it('are those of the devices where the spec does not name the director', () => {
    const sources = deriveGatewaySources(spec, directorId('d9'), ['eth0']);
    expect(sources[4]).toEqual({ kind: 'devices', devices: ['eth0'], except: [] });
    expect(deriveGatewaySources(spec, directorId('d9'), [])).toEqual({ 4: null, 6: null });
  });
});
