/** Whoever else speaks as a VIP that is held here is counted, told of, and talked over (design 4.11). */
import { describe, expect, it } from 'vitest';
import { createConflictWatch } from '../../../src/agent/conflict-watch.ts';
import { groupId } from '../../../src/model/ids.ts';
import { FakeClock } from '../../fakes/fake-clock.ts';
import { FakeNeighbours } from '../../fakes/fake-neighbours.ts';
import { ip } from '../core/desired/spec-builders.ts';
import { RecordingLog } from './reconcile-loop.fixture.ts';

const WEB = groupId('web');
const VIP = { device: 'eth0', address: ip('10.90.0.100'), group: WEB };
const MAC = '02:00:00:00:00:66';

function setUp() {
  const clock = new FakeClock();
  const neighbours = new FakeNeighbours({ gateway: () => null }, { clock });
  const log = new RecordingLog();
  const seen = {
    announced: [] as string[],
    conflicts: 0,
    told: [] as string[],
    held: [VIP],
    awaited: [] as (typeof VIP)[],
    contested: [] as string[],
    isUrgent: false,
    isYielding: false,
  };
  const watch = createConflictWatch({
    neighbours,
    clock,
    log,
    defend: (vip) => void seen.announced.push(vip.address),
    metrics: { conflict: () => void seen.conflicts++ },
    held: () => seen.held,
    awaited: () => seen.awaited,
    contested: (group) => {
      seen.contested.push(group);
      return !seen.isYielding;
    },
    isUrgent: () => seen.isUrgent,
    tell: (group, message) => seen.told.push(`${group}: ${message}`),
  });
  const end = new AbortController();
  const running = watch.run(end.signal);
  const hear = async (): Promise<void> => {
    neighbours.hear({ ...VIP, mac: MAC });
    await clock.advance(1);
  };
  watch.look();
  return { clock, neighbours, log, seen, watch, end, running, hear };
}

describe('a voice of what may speak here next', () => {
  it('is told of, and neither counted nor answered', async () => {
    const { seen, watch, hear } = setUp();
    Object.assign(seen, { held: [], awaited: [VIP] });
    watch.look();
    await hear();
    expect(seen).toMatchObject({ contested: ['web'], conflicts: 0, announced: [], told: [] });
  });
});

describe('what changes many times in a row', () => {
  it('is looked at in a moment, and then with rests', async () => {
    const { clock, neighbours, seen, watch } = setUp();
    const listened: number[] = [];
    const listen = neighbours.listen.bind(neighbours);
    neighbours.listen = (vips, withinMs) => {
      listened.push(vips.length);
      listen(vips, withinMs);
    };
    await clock.advance(100);
    for (let i = 0; i < 20; i++) {
      seen.held.push({ ...VIP, address: ip(`10.90.1.${i}`) });
      watch.lookSoon();
      await clock.advance(1);
    }
    expect(listened.length).toBeGreaterThanOrEqual(2);
    expect(listened.length).toBeLessThanOrEqual(4);
    expect(listened[0]).toBe(2);
    await clock.advance(10);
    expect(listened.at(-1)).toBe(21);
  });
});

describe('a foreign voice', () => {
  it('is counted each time, answered once a second, told once a minute', async () => {
    const { clock, seen, hear, log } = setUp();
    for (let i = 0; i < 5; i++) await hear();
    expect(seen).toMatchObject({ conflicts: 5, announced: [VIP.address] });
    expect(seen.contested).toEqual(Array(5).fill('web'));
    expect(seen.told).toEqual([`web: ${MAC} speaks as 10.90.0.100 on eth0, too`]);
    expect(log.of('address.contested')).toHaveLength(1);
    await clock.advance(1000);
    await hear();
    expect(seen).toMatchObject({ conflicts: 6, announced: [VIP.address, VIP.address] });
    expect(seen.told).toHaveLength(1);
    await clock.advance(60_000);
    await hear();
    expect(seen.told).toHaveLength(2);
  });

  it('is told of and not talked over where the group yields to it', async () => {
    const { seen, hear } = setUp();
    seen.isYielding = true;
    await hear();
    expect(seen).toMatchObject({ conflicts: 1, announced: [], contested: ['web'] });
    expect(seen.told).toHaveLength(1);
  });

  it('is nobody’s business once the VIP is not held any more', async () => {
    const { seen, hear, watch } = setUp();
    seen.held = [];
    await hear();
    watch.look();
    await hear();
    expect(seen).toMatchObject({ conflicts: 0, announced: [], told: [] });
  });

  it('is not heard before the VIP is held, and ends with the agent', async () => {
    const { seen, hear, watch, end, running } = setUp();
    const held = seen.held;
    seen.held = [];
    watch.look();
    seen.held = held;
    await hear();
    expect(seen.conflicts).toBe(0);
    watch.look();
    await hear();
    expect(seen.conflicts).toBe(1);
    end.abort();
    await running;
    await hear();
    expect(seen.conflicts).toBe(1);
  });

  it('is listened for at once while it would silence the group', () => {
    const { seen, watch, neighbours } = setUp();
    expect(neighbours.withinMs).toBe(200);
    seen.isUrgent = true;
    watch.look();
    expect(neighbours.withinMs).toBe(5);
    seen.isUrgent = false;
    watch.look();
    expect(neighbours.withinMs).toBe(200);
  });
});
