/** What is told of two voices by the words that reach each other, whatever became of the segment. */
import { describe, expect, it } from 'vitest';
import { type DirectorId, directorId } from '../../src/model/ids.ts';
import { FakeClock } from '../fakes/fake-clock.ts';
import { Overlaps, type Party } from './overlaps.ts';
import { addressOf } from './spec.ts';

const VIP = addressOf(101);
const HEARTBEAT_MS = 100;
/** From now on the processes have run for long. */
const LATER_MS = 10_000;

const speaker = (name: string): Party => ({
  name,
  id: directorId(name),
  isRunning: true,
  stoppedAt: 0,
  startedAt: 0,
  hearsSince: () => 0,
  heartbeatMs: HEARTBEAT_MS,
  goesOnUntil: 0,
  groupOf: () => 'g1',
  answers: () => true,
  isOpen: () => true,
  isBySegment: () => true,
  isLeft: () => false,
  withoutStoreMs: () => Number.POSITIVE_INFINITY,
});

/** Two stand-ins on parts of a segment that do not hear each other's frames, until they meet. */
async function parted(
  unheardAt: (now: number) => number,
  meetAt = Number.POSITIVE_INFINITY,
  { withoutGatewayMs = 0, ...party }: Partial<Party> & { readonly withoutGatewayMs?: number } = {},
): Promise<readonly string[]> {
  const clock = new FakeClock();
  const told: string[] = [];
  const overlaps = new Overlaps({
    now: () => clock.now(),
    schedule: (ms, action) => void clock.schedule(ms, action),
    troubledAt: () => clock.now(),
    unheardAt: () => unheardAt(clock.now()),
    connects: () => clock.now() >= meetAt,
    probedMs: () => 0,
    isGiven: () => false,
    withoutGatewayMs: () => withoutGatewayMs,
    hasWitness: () => false,
    longestHoldMs: () => 500,
    tell: (text) => told.push(text),
  });
  await clock.advance(LATER_MS);
  overlaps.note({ ...speaker('d1'), ...party }, { ...speaker('d2'), ...party }, VIP);
  await clock.advance(3000);
  return told;
}

/** One opens by the record beside the other, so long after their words reach each other again. */
async function healed(
  afterMs: number,
  isGiven: boolean,
  { hearsSince = () => 0, ...party }: Partial<Party> = {},
): Promise<readonly string[]> {
  const clock = new FakeClock();
  const told: string[] = [];
  const overlaps = new Overlaps({
    now: () => clock.now(),
    schedule: (ms, action) => void clock.schedule(ms, action),
    troubledAt: () => LATER_MS,
    unheardAt: () => LATER_MS,
    connects: () => true,
    probedMs: () => 0,
    isGiven: () => isGiven,
    withoutGatewayMs: () => 0,
    hasWitness: () => false,
    longestHoldMs: () => 500,
    tell: (text) => told.push(text),
  });
  await clock.advance(LATER_MS + afterMs);
  const endsAt = clock.now() + 5;
  const other = { ...speaker('d2'), isOpen: () => clock.now() < endsAt };
  const one = { ...speaker('d1'), ...party, hearsSince, isBySegment: () => false };
  overlaps.begin(one, other, VIP);
  await clock.advance(1000);
  return told;
}

describe('two voices of which one opens by the record', () => {
  it('are told where it asked the network, and so told the other one to yield', async () => {
    expect(await healed(70, false)).toHaveLength(1);
    expect(await healed(30, false)).toEqual([]);
  });

  it('are not told before it has known for a heartbeat to whom to listen', async () => {
    expect(await healed(150, false, { hearsSince: () => LATER_MS + 20 })).toEqual([]);
    expect(await healed(150, false, { hearsSince: () => LATER_MS - 20 })).toHaveLength(1);
  });

  it('are told whatever other directors it does not know to listen to', async () => {
    const knows = (name: string) => (other: DirectorId) => (other === name ? 0 : LATER_MS * 2);
    expect(await healed(150, false, { hearsSince: knows('d2') })).toHaveLength(1);
    expect(await healed(150, false, { hearsSince: knows('d3') })).toEqual([]);
  });

  it('are not told where an older document gives the VIP to another group: that is not named to who yields', async () => {
    expect(await healed(70, false, { groupOf: () => 'g2' })).toEqual([]);
  });

  it('are told where it was given the record and asked nobody, when heartbeats were due', async () => {
    expect(await healed(70, true)).toEqual([]);
    expect(await healed(180, true)).toHaveLength(1);
  });
});

describe('two voices whose frames do not reach each other', () => {
  it('are told when their heartbeats have had the time to', async () => {
    expect(await parted(() => LATER_MS + 400)).toEqual([
      'd1 and d2 answer for 10.90.0.101 since 580 ms, though each was heard to hold it',
    ]);
  });

  it('are told by the heartbeats of the one that makes the fewest, whatever document is the newest', async () => {
    const withHeartbeats = (heartbeatMs: number): Promise<readonly string[]> =>
      parted(() => LATER_MS + 400, Number.POSITIVE_INFINITY, { heartbeatMs });
    expect(await withHeartbeats(1000)).toEqual([
      'd1 and d2 answer for 10.90.0.101 since 1660 ms, though each was heard to hold it',
    ]);
  });

  it('are told where no gateway answers them, but for who has etcd again', async () => {
    const without = (withoutStoreMs: number): Promise<readonly string[]> =>
      parted((now) => now, Number.POSITIVE_INFINITY, {
        withoutGatewayMs: 1800,
        withoutStoreMs: () => withoutStoreMs,
      });
    expect(await without(1600)).toEqual([]);
    expect(await without(1800)).toEqual([
      'd1 and d2 answer for 10.90.0.101 since 0 ms, though no gateway answers the one that the segment lets speak',
    ]);
  });

  it('are not told while their heartbeats are lost', async () => {
    expect(await parted((now) => now)).toEqual([]);
  });

  it('are told when they meet, and neither announces itself again', async () => {
    const told = await parted((now) => now, LATER_MS + 700);
    expect(told).toEqual([
      expect.stringMatching(/since 28\d\d ms, longer than until it is announced again/),
    ]);
  });
});
