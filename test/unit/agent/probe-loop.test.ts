import { describe, expect, it } from 'vitest';
import { createProbeLoop } from '../../../src/agent/probe-loop.ts';
import { AsyncQueue } from '../../../src/lib/async.ts';
import { WEIGHTS_AT_ONCE, WEIGHTS_PER_S } from '../../../src/core/health/weight-pace.ts';
import type { Check } from '../../../src/model/cluster.ts';
import type { CheckStatus, DynamicWeight, Observation, Vote } from '../../../src/model/health.ts';
import { type CheckId, checkId, directorId } from '../../../src/model/ids.ts';
import type { Prober } from '../../../src/ports/prober.ts';
import { FakeClock } from '../../fakes/fake-clock.ts';
import { ip, TCP_CHECK } from '../core/desired/spec-builders.ts';
import { RecordingLog, recordingMetrics } from './reconcile-loop.fixture.ts';

const ME = directorId('d1');
const checkAt = (n: number): Check => ({
  id: checkId(`c${n}`),
  address: ip('10.90.0.21'),
  port: 80 + n,
  spec: { ...TCP_CHECK, rise: 2, fall: 3 },
});
const [C1, C2] = [checkAt(1), checkAt(2)];

const NOTHING: ReadonlyMap<CheckId, CheckStatus> = new Map();
const knownAs = (isUp: boolean, basis: CheckStatus['basis'] = 'majority') =>
  new Map([[C1.id, { isUp, basis, votesUp: 0, votesDown: 0 }]]);

class ScriptedProber implements Prober {
  readonly sets: CheckId[][] = [];
  last: readonly Check[] = [];
  readonly soon: CheckId[] = [];
  readonly queue = new AsyncQueue<readonly Observation[]>(10_000);
  setChecks(checks: readonly Check[]): void {
    this.last = checks;
    this.sets.push(checks.map((check) => check.id));
  }
  probeSoon(check: CheckId): void {
    this.soon.push(check);
  }
  async *observations(signal: AbortSignal): AsyncIterable<readonly Observation[]> {
    signal.addEventListener('abort', () => this.queue.end());
    for await (const batch of this.queue) if (!signal.aborted) yield batch;
  }
  async close(): Promise<void> {
    this.queue.end();
  }
}

function setUp() {
  const clock = new FakeClock();
  const prober = new ScriptedProber();
  const log = new RecordingLog();
  const { calls, metrics } = recordingMetrics();
  /** What was published last, and everything in order: `c1 up`, `c1 down`, `c1 gone`. */
  const store = new Map<CheckId, Vote>();
  const tries: string[] = [];
  const publish = (check: CheckId, vote: Vote | null): void => {
    tries.push(`${check} ${vote === null ? 'gone' : vote.isUp ? 'up' : 'down'}`);
    if (vote === null) store.delete(check);
    else store.set(check, vote);
  };
  const loop = createProbeLoop({ me: ME }, { prober, clock, log, metrics, publish });
  const stop = new AbortController();
  const start = (): Promise<void> => loop.run(stop.signal);
  /** `uud`: three observations, in one batch. */
  const see = async (check: Check, results: string): Promise<void> => {
    prober.queue.push(
      results.split('').map((letter) => ({
        check: check.id,
        isUp: letter === 'u',
        detail: letter === 'u' ? 'connected' : 'refused',
        latencyMs: 5,
        at: clock.now(),
      })),
    );
    await clock.advance(0);
  };
  return { clock, prober, log, calls, store, tries, loop, start, stop, see };
}

async function running() {
  const world = setUp();
  world.loop.setAssignments([C1, C2], NOTHING);
  void world.start();
  await world.clock.advance(0);
  return world;
}

describe('probe loop: observations to votes', () => {
  it('publishes the first verdict at once, then only changes', async () => {
    const world = await running();
    await world.see(C1, 'uuuuu');
    expect(world.tries).toEqual(['c1 up']);
    expect(world.store.get(C1.id)).toEqual({
      director: ME,
      isUp: true,
      since: '2026-01-01T00:00:00.000Z',
      detail: 'connected',
      seen: [{ isUp: true, detail: 'connected', times: 1, latencyMs: 5 }],
    });
    await world.see(C1, 'dduddd');
    expect(world.store.get(C1.id)?.seen?.map(({ isUp, times }) => [isUp, times])).toEqual([
      [false, 2],
      [true, 1],
      [false, 3],
    ]);
    expect(world.tries).toEqual(['c1 up', 'c1 down']);
    await world.see(C1, 'uu');
    expect(world.tries).toEqual(['c1 up', 'c1 down', 'c1 up']);
    expect(world.loop.currentVotes().get(C1.id)?.isUp).toBe(true);
  });

  it('tells another weight at once, without a verdict that changes', async () => {
    const world = await running();
    const says = async (weight: DynamicWeight | null, isUp = true): Promise<void> => {
      const detail = isUp ? 'exit code' : 'refused';
      const observation = { check: C1.id, isUp, detail, latencyMs: 5, at: world.clock.now() };
      world.prober.queue.push([{ ...observation, weight }]);
      await world.clock.advance(0);
    };
    const set = (weight: number): DynamicWeight => ({ kind: 'set', weight });
    await says(set(5));
    await says(set(5));
    expect(world.tries).toEqual(['c1 up']);
    await says(set(7));
    expect(world.tries).toEqual(['c1 up', 'c1 up']);
    expect(world.store.get(C1.id)).toMatchObject({ isUp: true, weight: set(7) });
    // A failure that does not decide yet says nothing of the weight; a success that names none ends it.
    await says(null, false);
    expect(world.store.get(C1.id)?.weight).toEqual(set(7));
    await says(null);
    expect(world.store.get(C1.id)?.weight).toBeUndefined();
    for (let i = 0; i < 3; i++) await says(set(9), false);
    expect(world.store.get(C1.id)).toMatchObject({ isUp: false });
    expect(world.store.get(C1.id)?.weight).toBeUndefined();
  });

  it('tells of many weights that change at every look some at once, each in its turn, and the latest', async () => {
    const world = setUp();
    const checks = Array.from({ length: 300 }, (_, n) => checkAt(n));
    world.loop.setAssignments(checks, NOTHING);
    void world.start();
    const look = async (weight: number): Promise<void> => {
      const at = world.clock.now();
      const said = { isUp: true, detail: 'exit code', latencyMs: 5, at };
      world.prober.queue.push(
        checks.map(({ id }) => ({ ...said, check: id, weight: { kind: 'set', weight } as const })),
      );
      await world.clock.advance(0);
    };
    await look(1);
    world.tries.length = 0;
    await look(2);
    expect(world.tries).toEqual(checks.slice(0, WEIGHTS_AT_ONCE).map(({ id }) => `${id} up`));
    await look(3);
    expect(world.tries).toHaveLength(WEIGHTS_AT_ONCE);
    await world.clock.advance(2000);
    const later = world.tries.slice(WEIGHTS_AT_ONCE);
    expect(later).toEqual(
      checks
        .slice(WEIGHTS_AT_ONCE, WEIGHTS_AT_ONCE + 2 * WEIGHTS_PER_S)
        .map(({ id }) => `${id} up`),
    );
    expect(world.store.get(checks[WEIGHTS_AT_ONCE]?.id as CheckId)?.weight).toMatchObject({
      weight: 3,
    });
    // Back to what was told: nothing is left to tell.
    await look(2);
    await world.clock.advance(5000);
    const all = [...world.store.values()].map(({ weight }) => weight);
    expect(new Set(all.map((one) => JSON.stringify(one)))).toEqual(
      new Set([JSON.stringify({ kind: 'set', weight: 2 })]),
    );
    expect(world.tries.length).toBe(WEIGHTS_AT_ONCE + 2 * WEIGHTS_PER_S + 100);
    world.stop.abort();
  });

  it('measures every probe and every vote, and logs changes only', async () => {
    const world = await running();
    await world.see(C1, 'ud');
    expect(world.calls).toEqual([
      ['probe', 'tcp', true, 0.005],
      ['vote', true],
      ['probe', 'tcp', false, 0.005],
      ['probeFailures', 'tcp', 'other', 1],
    ]);
    expect(world.log.events()).toEqual(['vote.changed']);
    expect(world.log.lines[0]?.fields).toMatchObject({ check: 'c1', isUp: true, port: 81 });
  });

  it('counts why probes fail, also those that change nothing', async () => {
    const world = await running();
    await world.see(C1, 'dddd');
    const counted = world.calls.filter(([name]) => name === 'probeFailures');
    const sum = counted.reduce((total, [, , , count]) => total + Number(count), 0);
    expect(sum).toBe(4);
    for (const call of counted) expect(call.slice(1, 3)).toEqual(['tcp', 'other']);
  });

  it('probes again soon after the first contrary observation', async () => {
    const world = await running();
    await world.see(C1, 'uddd');
    expect(world.prober.soon).toEqual(['c1']);
  });

  it('ignores observations of checks that are not assigned', async () => {
    const world = await running();
    await world.see(checkAt(9), 'ddd');
    expect(world.tries).toEqual([]);
    expect(world.calls).toEqual([]);
  });

  it('ends with its signal, and leaves no timer', async () => {
    const world = setUp();
    world.loop.setAssignments([C1], NOTHING);
    const ended = world.start();
    await world.see(C1, 'u');
    world.stop.abort();
    await ended;
    expect(world.clock.pending).toBe(0);
    expect(world.log.events()).not.toContain('prober.ended');
  });

  it('ends and says so when the prober ends by itself', async () => {
    const world = setUp();
    const ended = world.start();
    await world.prober.close();
    await ended;
    expect(world.log.events()).toEqual(['prober.ended']);
  });
});

describe('probe loop: assignments, leases, restarts', () => {
  it('gives the prober the complete set when it changes, and not when it does not', async () => {
    const world = await running();
    world.loop.setAssignments([C2, C1], NOTHING);
    world.loop.setAssignments([C2], NOTHING);
    expect(world.prober.sets).toEqual([['c1', 'c2'], ['c2']]);
  });

  it('hands on what is to leave this director in another way, and keeps what is known of it', async () => {
    const world = setUp();
    const look = (vip: string): Check => {
      const own = { address: ip('10.90.0.11'), vips: [ip(vip)] };
      const kind = { kind: 'vip', vip: ip('10.90.0.100'), ask: 'tcp', arp: 'fail' } as const;
      return { ...C1, spec: { ...C1.spec, ...kind, tunnel: null, own } };
    };
    const [first, second] = [look('10.90.0.100'), look('10.90.0.101')];
    world.loop.setAssignments([first, C2], NOTHING);
    void world.start();
    await world.clock.advance(0);
    await world.see(C1, 'udd');
    world.loop.setAssignments([first, C2], NOTHING);
    expect(world.prober.sets).toHaveLength(1);
    world.loop.setAssignments([second, C2], NOTHING);
    expect(world.prober.sets).toHaveLength(2);
    expect(world.prober.last).toEqual([second, C2]);
    await world.see(C1, 'd');
    expect(world.tries).toEqual(['c1 up', 'c1 down']);
  });

  it('withdraws the vote of a check that leaves', async () => {
    const world = await running();
    await world.see(C1, 'u');
    world.loop.setAssignments([C2], NOTHING);
    expect(world.store.has(C1.id)).toBe(false);
    expect(world.loop.currentVotes().size).toBe(0);
    expect(world.tries).toEqual(['c1 up', 'c1 gone']);
  });

  it('withdraws nothing for a check that never had a vote', async () => {
    const world = await running();
    world.loop.setAssignments([], NOTHING);
    await world.clock.advance(1000);
    expect(world.tries).toEqual([]);
  });

  it('keeps count and verdict of a check that stays, and starts anew with one that comes back', async () => {
    const world = await running();
    await world.see(C1, 'ud');
    world.loop.setAssignments([C1], NOTHING);
    await world.see(C1, 'd');
    expect(world.tries).toEqual(['c1 up']);
    await world.see(C1, 'd');
    expect(world.tries).toEqual(['c1 up', 'c1 down']);
    world.loop.setAssignments([], NOTHING);
    world.loop.setAssignments([C1], NOTHING);
    await world.see(C1, 'u');
    expect(world.store.get(C1.id)?.isUp).toBe(true);
  });

  const old = (isUp: boolean): Vote => ({ director: ME, isUp, since: 'before', detail: 'old' });

  it('goes on from the votes of its earlier life: one failure does not bring an up target down', async () => {
    const world = setUp();
    world.loop.adopt(new Map([[C1.id, old(true)]]));
    world.loop.setAssignments([C1, C2], NOTHING);
    void world.start();
    await world.see(C1, 'dd');
    expect(world.tries).toEqual(['c1 up']);
    expect(world.store.get(C1.id)).toEqual(old(true));
    await world.see(C1, 'd');
    expect(world.tries).toEqual(['c1 up', 'c1 down']);
  });

  it('withdraws adopted votes on checks that are not its own', async () => {
    const world = setUp();
    world.loop.adopt(new Map([[checkId('gone'), old(true)]]));
    world.loop.adopt(new Map([[C1.id, old(true)]]));
    void world.start();
    await world.clock.advance(0);
    expect(world.tries).toEqual([]);
    world.loop.setAssignments([C1], NOTHING);
    await world.clock.advance(0);
    expect(world.tries).toEqual(['gone gone', 'c1 up']);
  });

  it('adopts late too, but nothing against what it has seen itself', async () => {
    const world = await running();
    await world.see(C1, 'd');
    world.loop.adopt(new Map([C1, C2].map((check) => [check.id, old(true)])));
    await world.clock.advance(0);
    expect(world.store.get(C1.id)?.isUp).toBe(false);
    expect(world.store.get(C2.id)).toEqual(old(true));
  });

  it('goes on from what the cluster knows of a check that it takes over', async () => {
    const world = setUp();
    world.loop.setAssignments([C1], knownAs(true));
    void world.start();
    await world.see(C1, 'dd');
    expect(world.tries).toEqual([]);
    await world.see(C1, 'd');
    expect(world.tries).toEqual(['c1 down']);
  });

  it.each([true, false])(
    'votes as soon as it has seen what the cluster knows (%s)',
    async (isUp) => {
      const world = setUp();
      world.loop.setAssignments([C1], knownAs(isUp));
      void world.start();
      await world.see(C1, isUp ? 'uu' : 'dd');
      expect(world.tries).toEqual([isUp ? 'c1 up' : 'c1 down']);
    },
  );

  it('decides by the first observation where the cluster has only assumed', async () => {
    const world = setUp();
    world.loop.setAssignments([C1], knownAs(true, 'initial'));
    void world.start();
    await world.see(C1, 'd');
    expect(world.tries).toEqual(['c1 down']);
  });
});

describe('probe loop: silence', () => {
  it('withdraws a vote that nothing confirms any more, once', async () => {
    const world = await running();
    await world.see(C1, 'u');
    await world.clock.advance(9000);
    expect(world.tries).toEqual(['c1 up']);
    await world.clock.advance(30_000);
    expect(world.tries).toEqual(['c1 up', 'c1 gone']);
    expect(world.loop.currentVotes().size).toBe(0);
    expect(world.log.events()).toEqual(['vote.changed', 'vote.expired']);
  });

  it('votes again with the next observation that agrees, and by `fall` with others', async () => {
    const world = await running();
    await world.see(C1, 'u');
    await world.see(C2, 'u');
    await world.clock.advance(15_000);
    await world.see(C1, 'u');
    await world.see(C2, 'dd');
    expect(world.tries.slice(2)).toEqual(['c1 gone', 'c2 gone', 'c1 up']);
    await world.see(C2, 'd');
    expect(world.tries.at(-1)).toBe('c2 down');
  });

  it('waits for three intervals of a check that is probed seldom', async () => {
    const world = setUp();
    const slow = { ...C1, spec: { ...C1.spec, intervalMs: 20_000 } };
    world.loop.setAssignments([slow], NOTHING);
    void world.start();
    await world.see(slow, 'u');
    await world.clock.advance(59_000);
    expect(world.tries).toEqual(['c1 up']);
    await world.clock.advance(4000);
    expect(world.tries).toEqual(['c1 up', 'c1 gone']);
  });

  it('keeps the vote of a check whose observations arrive, whatever they say', async () => {
    const world = await running();
    await world.see(C1, 'u');
    for (let i = 0; i < 10; i++) {
      await world.clock.advance(5000);
      await world.see(C1, 'du');
    }
    expect(world.tries).toEqual(['c1 up']);
  });
});
