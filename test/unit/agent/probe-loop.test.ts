import { describe, expect, it } from 'vitest';
import { createProbeLoop, type ProbeLoopOptions } from '../../../src/agent/probe-loop.ts';
import { AsyncQueue } from '../../../src/lib/async.ts';
import { err, ok, type Result } from '../../../src/lib/result.ts';
import type { Check } from '../../../src/model/cluster.ts';
import type { Observation, Vote } from '../../../src/model/health.ts';
import { type CheckId, checkId, directorId } from '../../../src/model/ids.ts';
import type { Prober } from '../../../src/ports/prober.ts';
import { FakeClock } from '../../fakes/fake-clock.ts';
import { SeededRandom } from '../../fakes/seeded-random.ts';
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

class ScriptedProber implements Prober {
  readonly sets: CheckId[][] = [];
  readonly soon: CheckId[] = [];
  readonly queue = new AsyncQueue<readonly Observation[]>(10_000);
  setChecks(checks: readonly Check[]): void {
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

function setUp(options: Partial<ProbeLoopOptions> = {}) {
  const clock = new FakeClock();
  const prober = new ScriptedProber();
  const log = new RecordingLog();
  const { calls, metrics } = recordingMetrics();
  /** What the store has, and every write that was tried: `c1 up`, `c1 down`, `c1 gone`. */
  const store = new Map<CheckId, Vote>();
  const tries: string[] = [];
  const world = {
    /** Null: the write arrives. */
    refuse: (_check: CheckId): string | null => null,
    writeMs: 0,
    inFlight: 0,
    mostInFlight: 0,
  };
  const write = async (check: CheckId, vote: Vote | null): Promise<Result<void, string>> => {
    tries.push(`${check} ${vote === null ? 'gone' : vote.isUp ? 'up' : 'down'}`);
    world.mostInFlight = Math.max(world.mostInFlight, ++world.inFlight);
    if (world.writeMs > 0) await clock.sleep(world.writeMs);
    world.inFlight--;
    const error = world.refuse(check);
    if (error !== null) return err(error);
    if (vote === null) store.delete(check);
    else store.set(check, vote);
    return ok(undefined);
  };
  const loop = createProbeLoop(
    { me: ME, ...options },
    {
      prober,
      clock,
      random: new SeededRandom(1),
      log,
      metrics,
      publishVote: write,
      withdrawVote: (check) => write(check, null),
    },
  );
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
  return Object.assign(world, { clock, prober, log, calls, store, tries, loop, start, stop, see });
}

async function running(options: Partial<ProbeLoopOptions> = {}) {
  const world = setUp(options);
  world.loop.setAssignments([C1, C2]);
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
    });
    await world.see(C1, 'dduddd');
    expect(world.tries).toEqual(['c1 up', 'c1 down']);
    await world.see(C1, 'uu');
    expect(world.tries).toEqual(['c1 up', 'c1 down', 'c1 up']);
    expect(world.loop.currentVotes().get(C1.id)?.isUp).toBe(true);
    expect(world.loop.pending()).toBe(0);
  });

  it('measures every probe and every vote, and logs changes only', async () => {
    const world = await running();
    await world.see(C1, 'ud');
    expect(world.calls).toEqual([
      ['probe', 'tcp', true, 0.005],
      ['vote', true],
      ['probe', 'tcp', false, 0.005],
    ]);
    expect(world.log.events()).toEqual(['vote.changed']);
    expect(world.log.lines[0]?.fields).toMatchObject({ check: 'c1', isUp: true, port: 81 });
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

  it('ends with its signal, also in the middle of a pause, and leaves no timer', async () => {
    const world = setUp();
    world.loop.setAssignments([C1]);
    world.refuse = () => 'unavailable';
    const ended = world.start();
    await world.see(C1, 'u');
    expect(world.clock.pending).toBe(1);
    world.stop.abort();
    await ended;
    expect(world.clock.pending).toBe(0);
    expect(world.log.events()).not.toContain('prober.ended');
    const early = setUp();
    early.stop.abort();
    await early.start();
  });

  it('ends and says so when the prober ends by itself', async () => {
    const world = setUp();
    const ended = world.start();
    await world.prober.close();
    await ended;
    expect(world.log.events()).toEqual(['prober.ended']);
  });
});

describe('probe loop: publication', () => {
  it('tries again with growing pauses until the vote stands, and says so once', async () => {
    const world = await running({ retry: { firstMs: 100, limitMs: 1000 } });
    world.refuse = () => 'unavailable';
    await world.see(C1, 'u');
    expect(world.loop.pending()).toBe(1);
    await world.clock.advance(10_000);
    const tries = world.tries.length;
    expect(tries).toBeGreaterThan(10);
    expect(tries).toBeLessThan(25);
    expect(world.log.of('votes.delayed')).toEqual([{ error: 'unavailable' }]);
    world.refuse = () => null;
    await world.clock.advance(1000);
    expect(world.store.get(C1.id)?.isUp).toBe(true);
    expect(world.tries).toHaveLength(tries + 1);
    expect(world.loop.pending()).toBe(0);
    expect(world.log.of('votes.resumed')).toHaveLength(1);
    await world.clock.advance(10_000);
    expect(world.tries).toHaveLength(tries + 1);
  });

  it('writes the newest vote only, where several came during an outage', async () => {
    const world = await running();
    world.refuse = () => 'unavailable';
    await world.see(C1, 'u');
    await world.see(C1, 'ddd');
    world.refuse = () => null;
    world.tries.length = 0;
    await world.clock.advance(2000);
    expect(world.tries).toEqual(['c1 down']);
  });

  it('never has two writes of one check under way; the later vote is the one that stays', async () => {
    const world = await running();
    world.writeMs = 50;
    await world.see(C1, 'u');
    await world.see(C1, 'ddd');
    expect(world.loop.pending()).toBe(2);
    await world.clock.advance(49);
    expect(world.tries).toEqual(['c1 up']);
    await world.clock.advance(60);
    expect(world.mostInFlight).toBe(1);
    expect(world.store.get(C1.id)?.isUp).toBe(false);
  });

  it('keeps a vote that changed while its refused write was under way', async () => {
    const world = await running();
    world.writeMs = 50;
    world.refuse = () => 'deadline';
    await world.see(C1, 'u');
    await world.see(C1, 'ddd');
    await world.clock.advance(50);
    world.refuse = () => null;
    await world.clock.advance(3000);
    expect(world.store.get(C1.id)?.isUp).toBe(false);
    expect(world.loop.pending()).toBe(0);
  });

  it('writes a vote that changed during the pause once, and not again after the pause', async () => {
    const world = await running();
    world.refuse = () => 'unavailable';
    await world.see(C1, 'u');
    world.refuse = () => null;
    await world.see(C1, 'ddd');
    expect(world.store.get(C1.id)?.isUp).toBe(false);
    expect(world.loop.pending()).toBe(0);
    await world.clock.advance(5000);
    expect(world.tries).toEqual(['c1 up', 'c1 down']);
  });

  it('writes a vote that changed under a refused write once, though others arrived beside it', async () => {
    const world = await running();
    world.writeMs = 50;
    world.refuse = (check) => (check === C1.id ? 'deadline' : null);
    world.prober.queue.push(
      [C1, C2].map((check) => ({
        check: check.id,
        isUp: true,
        detail: 'connected',
        latencyMs: 1,
        at: world.clock.now(),
      })),
    );
    await world.clock.advance(10);
    await world.see(C1, 'ddd');
    await world.clock.advance(45);
    world.refuse = () => null;
    await world.clock.advance(5000);
    expect(world.tries).toEqual(['c1 up', 'c2 up', 'c1 down']);
    expect(world.loop.pending()).toBe(0);
  });

  it('has one pause at a time, and a short first one after each recovery', async () => {
    const world = await running({ retry: { firstMs: 100, limitMs: 10_000 } });
    world.refuse = () => 'unavailable';
    await world.see(C1, 'u');
    await world.see(C2, 'u');
    await world.see(C2, 'ddd');
    expect(world.clock.pending).toBe(1);
    await world.clock.advance(5000);
    world.refuse = () => null;
    await world.clock.advance(10_000);
    expect(world.log.of('votes.resumed')).toHaveLength(1);
    world.refuse = () => 'unavailable';
    await world.see(C1, 'ddd');
    expect(world.log.of('votes.delayed')).toHaveLength(2);
    world.tries.length = 0;
    await world.clock.advance(100);
    expect(world.tries).toEqual(['c1 down']);
  });

  it('does not let one vote that is always refused delay the others', async () => {
    const world = await running();
    world.refuse = (check) => (check === C1.id ? 'bad request' : null);
    await world.see(C1, 'u');
    await world.clock.advance(5000);
    await world.see(C2, 'd');
    expect(world.store.get(C2.id)?.isUp).toBe(false);
    expect(world.store.has(C1.id)).toBe(false);
    expect(world.loop.pending()).toBe(1);
  });

  it('writes many votes in bounded batches, and stops at the first batch that all fails', async () => {
    const world = setUp({ parallel: 4 });
    const checks = Array.from({ length: 20 }, (_, n) => checkAt(n));
    world.loop.setAssignments(checks);
    void world.start();
    world.writeMs = 10;
    for (const check of checks) await world.see(check, 'u');
    await world.clock.advance(100);
    expect(world.store.size).toBe(20);
    expect(world.mostInFlight).toBe(4);
    world.refuse = () => 'unavailable';
    world.tries.length = 0;
    world.loop.republishAll();
    await world.clock.advance(40);
    expect(world.tries).toHaveLength(4);
    expect(world.loop.pending()).toBe(20);
    world.refuse = () => null;
    await world.clock.advance(1000);
    expect(world.loop.pending()).toBe(0);
  });
});

describe('probe loop: assignments, leases, restarts', () => {
  it('gives the prober the complete set when it changes, and not when it does not', async () => {
    const world = await running();
    world.loop.setAssignments([C2, C1]);
    world.loop.setAssignments([C2]);
    expect(world.prober.sets).toEqual([['c1', 'c2'], ['c2']]);
  });

  it('withdraws the vote of a check that leaves, until it is gone', async () => {
    const world = await running();
    await world.see(C1, 'u');
    world.refuse = () => 'unavailable';
    world.loop.setAssignments([C2]);
    await world.clock.advance(1000);
    expect(world.store.has(C1.id)).toBe(true);
    expect(world.loop.currentVotes().size).toBe(0);
    world.refuse = () => null;
    await world.clock.advance(2000);
    expect(world.store.has(C1.id)).toBe(false);
    expect(world.tries.at(-1)).toBe('c1 gone');
  });

  it('withdraws nothing for a check that never had a vote', async () => {
    const world = await running();
    world.loop.setAssignments([]);
    await world.clock.advance(1000);
    expect(world.tries).toEqual([]);
  });

  it('keeps count and verdict of a check that stays, and starts anew with one that comes back', async () => {
    const world = await running();
    await world.see(C1, 'ud');
    world.loop.setAssignments([C1]);
    await world.see(C1, 'd');
    expect(world.tries).toEqual(['c1 up']);
    await world.see(C1, 'd');
    expect(world.tries).toEqual(['c1 up', 'c1 down']);
    world.loop.setAssignments([]);
    world.loop.setAssignments([C1]);
    await world.see(C1, 'u');
    expect(world.store.get(C1.id)?.isUp).toBe(true);
  });

  it('writes everything again under a new lease', async () => {
    const world = await running();
    await world.see(C1, 'u');
    await world.see(C2, 'd');
    const before = new Map(world.store);
    world.store.clear();
    world.loop.republishAll();
    await world.clock.advance(0);
    expect(world.store).toEqual(before);
  });

  const old = (isUp: boolean): Vote => ({ director: ME, isUp, since: 'before', detail: 'old' });

  it('goes on from the votes of its earlier life: one failure does not bring an up target down', async () => {
    const world = setUp();
    world.loop.adopt(new Map([[C1.id, old(true)]]));
    world.loop.setAssignments([C1, C2]);
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
    world.loop.setAssignments([C1]);
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
});
