/** VRRP in the agent: what holders say and when they do not, and what other routers keep this director from. */
import { afterEach, describe, expect, it } from 'vitest';
import { ownerOf, sessionOf } from '../core/election/election-driver.ts';
import { type Known, mergeView } from '../../../src/core/election/view.ts';
import { directorId, monoMs, revision } from '../../../src/model/ids.ts';
import { LocalRouter } from '../../../src/agent/vrrp-routers.ts';
import type { BoundAddress } from '../../../src/model/kernel.ts';
import type { Clock } from '../../../src/ports/clock.ts';
import { FakeClock } from '../../fakes/fake-clock.ts';
import { FakeVrrpSegment } from '../../fakes/fake-vrrp-link.ts';
import { SeededRandom } from '../../fakes/seeded-random.ts';
import { ip } from '../core/desired/spec-builders.ts';
import {
  ADDRESS_OF,
  addressOf,
  foreignInstance,
  specOf,
  Bench,
  closing,
  DeskRig,
  INTERVAL_MS,
  K1,
  open,
  owned,
  shut,
  WEB,
} from './vrrp-bench.ts';

const D2 = directorId('d2');
/** Priority 150: three intervals and the skew. */
const DOWN_MS = 3 * INTERVAL_MS + (106 / 256) * INTERVAL_MS;
const SKEW_MS = (106 / 256) * INTERVAL_MS;

const knownAs = <T>(rev: number, value: T): Known<T> => ({
  rev: revision(rev),
  value,
  asOf: revision(9),
});

const benches: Bench[] = [];
afterEach(async () => {
  for (const bench of benches.splice(0)) await bench.close();
});

async function listening(options: ConstructorParameters<typeof Bench>[0] = {}): Promise<Bench> {
  const bench = new Bench(options);
  benches.push(bench);
  await bench.clock.advance(1);
  return bench;
}

/** Listened long enough, and holds the group until `forMs` from now. */
async function speaking(forMs = 60_000, options = {}): Promise<Bench> {
  const bench = await listening(options);
  await bench.clock.advance(DOWN_MS + 10);
  bench.rig.holds(open(bench.now + forMs));
  await bench.clock.advance(1);
  return bench;
}

describe('a holder', () => {
  it('advertises when it opens and at each interval, from its own address', async () => {
    const bench = await speaking();
    const from = bench.now;
    await bench.clock.advance(3 * INTERVAL_MS + 10);
    expect(bench.prioritiesSince(from - 10)).toEqual([150, 150, 150, 150]);
    expect(new Set(bench.told.map((one) => one.from))).toEqual(new Set([ADDRESS_OF.d1]));
    expect(bench.rig.desk.status(WEB)).toMatchObject([
      { family: 4, routerId: 51, state: 'active', priority: 150, active: null, problem: null },
    ]);
  });

  it('advertises the priority with what its tracks add', async () => {
    const bench = await speaking();
    bench.rig.state = { ...bench.rig.state, bonus: new Map([[WEB, -40]]) };
    const from = bench.now;
    await bench.clock.advance(INTERVAL_MS);
    expect(bench.prioritiesSince(from)).toEqual([110]);
  });

  it('says nothing for what the kernel silences by its deadline, not even goodbye', async () => {
    const bench = await speaking(1500);
    const from = bench.now;
    await bench.clock.advance(10_000);
    expect(bench.prioritiesSince(from)).toEqual([150]);
    bench.rig.holds(shut(null));
    await bench.clock.advance(10_000);
    expect(bench.prioritiesSince(from)).toEqual([150]);
  });

  it('says goodbye when the kernel has silenced the group, and not before', async () => {
    const bench = await speaking();
    const from = bench.now;
    bench.rig.holds(closing(bench.now + 500));
    await bench.clock.advance(100);
    expect(bench.prioritiesSince(from)).toEqual([]);
    bench.rig.holds(shut(null));
    await bench.clock.advance(10_000);
    expect(bench.prioritiesSince(from)).toEqual([0]);
  });

  it('says no goodbye where a successor is chosen', async () => {
    const bench = await speaking();
    const from = bench.now;
    bench.rig.holds(shut(D2));
    bench.rig.holds(null);
    await bench.clock.advance(10_000);
    expect(bench.prioritiesSince(from)).toEqual([]);
  });

  it('says no goodbye where the record names a successor', async () => {
    const bench = await speaking();
    const { state } = bench.rig;
    const view = mergeView(state.view, [
      { of: 'session', name: D2, known: knownAs(3, sessionOf({ id: 3 })) },
      { of: 'owner', name: WEB, known: knownAs(9, ownerOf({ director: 'd2', session: 3 })) },
    ]);
    bench.rig.state = { ...state, view };
    const from = bench.now;
    bench.rig.holds(null);
    await bench.clock.advance(10_000);
    expect(bench.prioritiesSince(from)).toEqual([]);
  });

  it('advertises before it opens, as long as its rounds are confirmed', async () => {
    const bench = await listening();
    await bench.clock.advance(DOWN_MS + 10);
    const from = bench.now;
    bench.rig.holds(owned(), { lastConfirmedAt: monoMs(bench.now) });
    await bench.clock.advance(10_000);
    expect(bench.prioritiesSince(from)).toEqual([150]);
  });

  it('does not advertise what is its own by a record of long ago', async () => {
    const bench = await listening();
    await bench.clock.advance(DOWN_MS + 10);
    const from = bench.now;
    bench.rig.holds(owned(), { lastConfirmedAt: monoMs(bench.now - 600) });
    await bench.clock.advance(10_000);
    expect(bench.prioritiesSince(from)).toEqual([]);
  });

  it('announces its VIPs again when a lower router has spoken, and answers it', async () => {
    const bench = await speaking();
    await bench.clock.advance(500);
    const from = bench.now;
    await bench.foreign(50);
    expect(bench.rig.announced).toEqual([WEB]);
    expect(bench.prioritiesSince(from)).toEqual([150]);
    expect(bench.rig.obstacle).toBeNull();
  });

  it('yields to a higher priority at once, without a goodbye', async () => {
    const bench = await speaking();
    let changes = 0;
    bench.rig.changed = () => {
      changes++;
    };
    const from = bench.now;
    await bench.foreign(200);
    expect(bench.rig.obstacle).toBe('vrrp-active-elsewhere');
    expect(changes).toBe(1);
    bench.rig.holds(shut(null));
    bench.rig.holds(null);
    await bench.foreign(200, 5 * INTERVAL_MS);
    expect(bench.prioritiesSince(from)).toEqual([]);
    expect(bench.rig.news.map(({ kind }) => kind)).toEqual([
      'vrrp.yielded',
      'vrrp.neighbour-active',
    ]);
    expect(bench.rig.news[0]?.message).toContain('10.90.0.14');
  });

  it('does not advertise on while the election has not yet silenced what was yielded', async () => {
    const bench = await speaking();
    const from = bench.now;
    await bench.foreign(200, 2 * INTERVAL_MS);
    bench.rig.desk.look();
    await bench.clock.advance(INTERVAL_MS);
    expect(bench.prioritiesSince(from)).toEqual([]);
  });

  it('yields to an equal priority of a higher address', async () => {
    const bench = await speaking();
    await bench.foreign(150);
    expect(bench.rig.obstacle).toBe('vrrp-active-elsewhere');
  });

  it('may open again at once after a lapse in which nobody was heard', async () => {
    const bench = await speaking(100);
    await bench.clock.advance(2 * INTERVAL_MS);
    bench.rig.holds(null);
    expect(bench.rig.obstacle).toBeNull();
  });
});

describe('a candidate', () => {
  it('listens before it may claim', async () => {
    const bench = await listening();
    expect(bench.rig.obstacle).toBe('vrrp-listening');
    await bench.clock.advance(DOWN_MS - 10);
    expect(bench.rig.obstacle).toBe('vrrp-listening');
    await bench.clock.advance(20);
    expect(bench.rig.obstacle).toBeNull();
    expect(bench.told).toEqual([]);
  });

  it('waits as long as another router speaks, whatever its priority, where the group does not preempt', async () => {
    const bench = await listening();
    await bench.foreign(50, 10 * INTERVAL_MS);
    expect(bench.rig.obstacle).toBe('vrrp-active-elsewhere');
    expect(bench.told).toEqual([]);
    await bench.clock.advance(DOWN_MS - INTERVAL_MS - 10);
    expect(bench.rig.obstacle).toBe('vrrp-active-elsewhere');
    await bench.clock.advance(20);
    expect(bench.rig.obstacle).toBeNull();
    expect(bench.rig.news.map(({ kind }) => kind)).toEqual([
      'vrrp.neighbour-active',
      'vrrp.neighbour-gone',
    ]);
  });

  it('waits for the skew alone after a goodbye', async () => {
    const bench = await listening();
    await bench.foreign(50, 2 * INTERVAL_MS);
    await bench.foreign(0);
    expect(bench.rig.obstacle).not.toBeNull();
    await bench.clock.advance(SKEW_MS + 5);
    expect(bench.rig.obstacle).toBeNull();
  });

  it('listens for more than an advertisement before it opens what a former life of it owned', async () => {
    const bench = await listening();
    const mine = (): void => bench.rig.holds(owned(), { lastConfirmedAt: monoMs(bench.now) });
    mine();
    expect(bench.rig.obstacle).toBe('vrrp-listening');
    await bench.clock.advance(1.25 * INTERVAL_MS - 10);
    mine();
    expect(bench.rig.obstacle).toBe('vrrp-listening');
    expect(bench.told).toEqual([]);
    await bench.clock.advance(20);
    expect(bench.rig.obstacle).toBeNull();
    expect(bench.prioritiesSince(0)).toEqual([150]);
  });

  it('gives up what a former life of it owned where another router speaks by now', async () => {
    const bench = await listening();
    bench.rig.holds(owned(), { lastConfirmedAt: monoMs(bench.now) });
    await bench.foreign(50);
    expect(bench.rig.obstacle).toBe('vrrp-active-elsewhere');
    await bench.clock.advance(2 * INTERVAL_MS);
    expect(bench.told).toEqual([]);
  });

  it('goes on at once with what a process handed on to it', async () => {
    const bench = await listening();
    const handedOn = { lastConfirmedAt: monoMs(bench.now), armedHoldMs: 10_000 };
    bench.rig.holds(owned(), handedOn);
    expect(bench.rig.obstacle).toBeNull();
    await bench.clock.advance(1);
    expect(bench.prioritiesSince(0)).toEqual([150]);
  });

  it('drops what it could claim when another router speaks', async () => {
    const bench = await listening();
    await bench.clock.advance(DOWN_MS + 10);
    expect(bench.rig.obstacle).toBeNull();
    await bench.foreign(50);
    expect(bench.rig.obstacle).toBe('vrrp-active-elsewhere');
  });

  it('gives up what it owns and has not opened', async () => {
    const bench = await listening();
    await bench.clock.advance(DOWN_MS + 10);
    await bench.foreign(50);
    bench.rig.holds(owned(), { lastConfirmedAt: monoMs(bench.now) });
    await bench.clock.advance(10);
    expect(bench.rig.obstacle).toBe('vrrp-active-elsewhere');
    expect(bench.told).toEqual([]);
  });

  it('preempts a lower router by advertisements, and claims when that is silent', async () => {
    const bench = await listening({ group: { preempt: 'immediate' } });
    await bench.foreign(50, 3 * INTERVAL_MS);
    const from = bench.now;
    await bench.foreign(50, INTERVAL_MS);
    expect(bench.prioritiesSince(from)).toContain(150);
    expect(bench.rig.obstacle).toBe('vrrp-active-elsewhere');
    await bench.clock.advance(1.25 * INTERVAL_MS + 10);
    expect(bench.rig.obstacle).toBeNull();
  });

  it('leaves preempting to the heir, and stops a claim when it is no heir any more', async () => {
    const bench = await listening({ group: { preempt: 'immediate' } });
    bench.rig.isHeir = false;
    await bench.foreign(50, 8 * INTERVAL_MS);
    expect(bench.told).toEqual([]);
    bench.rig.isHeir = true;
    await bench.foreign(50, 5 * INTERVAL_MS);
    expect(bench.told.length).toBeGreaterThan(0);
    bench.rig.isHeir = false;
    bench.rig.desk.look();
    const from = bench.now + 1;
    await bench.foreign(50, 5 * INTERVAL_MS);
    expect(bench.prioritiesSince(from)).toEqual([]);
  });

  it('takes directors for no rivals, and what they advertise for a sign of life', async () => {
    const bench = await listening();
    const other = bench.segment.link('d2');
    other.configure([
      {
        key: 'x',
        family: 4,
        routerId: 51,
        version: 3,
        device: 'eth0',
        source: ADDRESS_OF.d2,
        to: {
          kind: 'unicast',
          neighbours: [{ address: ADDRESS_OF.d1, ttlMin: 0, ttlMax: 255 }],
        },
        intervalMs: INTERVAL_MS,
        addresses: [],
        auth: { kind: 'none' },
        checksum: 'pseudo-header',
      },
    ]);
    await bench.clock.advance(DOWN_MS + 10);
    other.send('x', 200, null);
    await bench.clock.advance(10);
    expect(bench.rig.obstacle).toBeNull();
    expect(bench.rig.heard).toEqual([D2]);
    other.send('x', 0, null);
    await bench.clock.advance(10);
    expect(bench.rig.heard).toEqual([D2]);
  });
});

describe('the owner of the addresses', () => {
  const group = { priorities: { d1: 255, d2: 100 } };

  it('listens at its start as everybody does, and for the shortest skew', async () => {
    const bench = await listening({ group });
    await bench.clock.advance(3 * INTERVAL_MS);
    expect(bench.rig.obstacle).toBe('vrrp-listening');
    await bench.clock.advance((2 / 256) * INTERVAL_MS);
    expect(bench.rig.obstacle).toBeNull();
  });

  it('preempts the highest priority that others may have', async () => {
    const bench = await listening({ group });
    await bench.foreign(254, 4 * INTERVAL_MS);
    expect(bench.prioritiesSince(0)).toContain(255);
    await bench.clock.advance(1.25 * INTERVAL_MS + 10);
    expect(bench.rig.obstacle).toBeNull();
  });

  it('advertises 255 whatever is added, and less when its gateway is lost', async () => {
    const bench = await speaking(60_000, { group });
    // What is on its way arrives.
    await bench.clock.advance(INTERVAL_MS / 2);
    for (const [bonus, priority] of [
      [0, 255],
      [30, 255],
      [-253, 2],
    ] as const) {
      bench.rig.state = { ...bench.rig.state, bonus: new Map([[WEB, bonus]]) };
      const from = bench.now;
      await bench.clock.advance(INTERVAL_MS);
      expect(bench.prioritiesSince(from)).toEqual([priority]);
    }
  });

  it('yields to no lower priority, and to another owner of a higher address', async () => {
    const bench = await speaking(60_000, { group });
    await bench.foreign(254, 2 * INTERVAL_MS);
    expect(bench.rig.news).toEqual([]);
    await bench.foreign(255);
    expect(bench.rig.news.map(({ kind }) => kind)).toContain('vrrp.yielded');
  });
});

describe("a router at a director's address", () => {
  const vrrp = { version: 3, interval: '1s', neighbours: [ADDRESS_OF.d2] };

  async function beside(isOtherRunning: boolean): Promise<Bench> {
    const bench = await listening({ group: { vrrp } });
    bench.rig.isOtherRunning = isOtherRunning;
    await bench.clock.advance(DOWN_MS + 10);
    const other = bench.segment.link('d2');
    const to = [{ address: ADDRESS_OF.d1, ttlMin: 0, ttlMax: 255 }];
    const given = { ...foreignInstance(), source: ADDRESS_OF.d2 };
    other.configure([{ ...given, to: { kind: 'unicast', neighbours: to } }]);
    other.send('k', 50, null);
    await bench.clock.advance(10);
    return bench;
  }

  it('is that director while its agent runs', async () => {
    const bench = await beside(true);
    expect(bench.rig.obstacle).toBeNull();
    expect(bench.rig.heard).toEqual([D2]);
  });

  it('is waited for where no agent runs there', async () => {
    const bench = await beside(false);
    expect(bench.rig.obstacle).toBe('vrrp-active-elsewhere');
    expect(bench.rig.heard).toEqual([]);
  });
});

describe('routers that take turns', () => {
  it('are told of once, until nobody speaks', async () => {
    const k2 = ip('10.90.0.15');
    const vrrp = { version: 3, interval: '1s', neighbours: [K1, k2] };
    const bench = await listening({ group: { vrrp } });
    const second = bench.segment.link('k2');
    second.configure([{ ...foreignInstance(), source: k2 }]);
    for (let turn = 0; turn < 5; turn++) {
      await bench.foreign(50);
      second.send('k', 60, null);
      await bench.clock.advance(INTERVAL_MS);
    }
    await bench.clock.advance(2 * DOWN_MS);
    expect(bench.rig.news.map(({ kind }) => kind)).toEqual([
      'vrrp.neighbour-active',
      'vrrp.neighbour-gone',
    ]);
  });
});

describe('the address to advertise from', () => {
  const VIP6 = addressOf('fd90::100');
  const LINK_LOCAL: BoundAddress = { ...addressOf('fe80::11'), scope: 'link' };
  const TEMPORARY: BoundAddress = { ...addressOf('fd90::abcd'), validLifetimeS: 3600 };
  const LASTING = addressOf('fd90::11');

  async function sourceBy(vrrp: object, addresses: readonly BoundAddress[]): Promise<unknown> {
    const clock = new FakeClock();
    const segment = new FakeVrrpSegment({ clock, random: new SeededRandom(1) });
    const spec = specOf({ addresses: ['fd90::100/64'], vrrp: { interval: '1s', ...vrrp } });
    const rig = new DeskRig(segment, 'd1', { clock, spec, addresses });
    await clock.advance(1);
    const sources = rig.desk.sources();
    rig.end.abort();
    await clock.advance(10_000);
    await rig.running;
    return sources;
  }

  it('is a lasting one of the neighbours’ scope, and never a VIP', async () => {
    const all = [VIP6, LINK_LOCAL, TEMPORARY, LASTING];
    expect(await sourceBy({ neighbours: ['fd90::14'] }, all)).toEqual([LASTING.address]);
    expect(await sourceBy({ multicast: true }, all)).toEqual([LINK_LOCAL.address]);
  });

  it('is a temporary one rather than none', async () => {
    const some = [VIP6, LINK_LOCAL, TEMPORARY];
    expect(await sourceBy({ neighbours: ['fd90::14'] }, some)).toEqual([TEMPORARY.address]);
    expect(await sourceBy({ neighbours: ['fd90::14'] }, [VIP6])).toEqual([]);
  });
});

describe('a group', () => {
  it('with VRRP among directors alone waits for nobody', async () => {
    const bench = await listening({ group: { vrrp: { version: 3 } } });
    expect(bench.rig.obstacle).toBeNull();
    expect(bench.rig.desk.sources()).toEqual([ADDRESS_OF.d1]);
  });

  it('without VRRP has no routers', async () => {
    const bench = await listening({ group: { vrrp: null } });
    expect(bench.rig.obstacle).toBeNull();
    expect(bench.rig.desk.status(WEB)).toEqual([]);
  });

  it('whose VRRP cannot be spoken here is not claimed', async () => {
    const both = { addresses: ['10.90.0.100/24', 'fd90::100/64'] };
    const vrrp = { version: 3, interval: '1s', neighbours: [K1, 'fd90::14'] };
    const bench = await listening({ group: { ...both, vrrp } });
    await bench.clock.advance(DOWN_MS + 10);
    expect(bench.rig.obstacle).toBe('vrrp-unheard');
  });
});

describe('a router of a process that was stopped', () => {
  /** Its timers fire so late; turns are kept. */
  function late(byMs: number): { clock: FakeClock; router: LocalRouter; turns: string[] } {
    const clock = new FakeClock();
    let lateMs = byMs;
    const lateClock: Clock = {
      now: () => clock.now(),
      wallMs: () => clock.wallMs(),
      wallTime: () => clock.wallTime(),
      sleep: (ms, signal) => clock.sleep(ms, signal),
      schedule: (ms, action) => {
        // The one that believes in silence, and only the first time.
        const isIt = ms > 2 * INTERVAL_MS;
        const cancel = clock.schedule(isIt ? ms + lateMs : ms, action);
        if (isIt) lateMs = 0;
        return cancel;
      },
    };
    const turns: string[] = [];
    const instance = { ...foreignInstance(), source: ADDRESS_OF.d1 };
    const [group] = specOf().groups;
    if (group === undefined) throw new Error('no group');
    const router = new LocalRouter(group, instance, {
      clock: lateClock,
      settingsOf: () => ({
        version: 3,
        priority: 150,
        intervalMs: INTERVAL_MS,
        primary: ADDRESS_OF.d1,
        isPreempting: false,
        preemptDelayMs: 0,
      }),
      advertise: () => {},
      listened: () => {},
      turned: (_, { kind }) => turns.push(kind),
    });
    router.start();
    return { clock, router, turns };
  }
  const advert = { source: K1, priority: 50, intervalMs: INTERVAL_MS, addresses: [] };

  it('believes no silence before its sockets were read', async () => {
    const { clock, router, turns } = late(10_000);
    await clock.advance(DOWN_MS + 10_002);
    expect(turns).toEqual([]);
    // What waited in its socket is heard now.
    router.step({ kind: 'advert', advert });
    await clock.advance(DOWN_MS - 10);
    expect(turns).toEqual([]);
    expect(router.neighbour()).toMatchObject({ source: K1 });
    await clock.advance(20);
    expect(turns).toEqual(['may-open']);
  });

  it('goes on a moment later where nothing waited', async () => {
    const { clock, turns } = late(10_000);
    await clock.advance(DOWN_MS + 10_010);
    expect(turns).toEqual(['may-open']);
  });

  it('takes a timer that is a little late for what it is', async () => {
    const { clock, turns } = late(20);
    await clock.advance(DOWN_MS + 22);
    expect(turns).toEqual(['may-open']);
  });
});
