import { describe, expect, it } from 'vitest';
import { ProcessWatch } from '../../../../src/adapters/tracks/process-watch.ts';
import type { ProcessTarget } from '../../../../src/adapters/tracks/track-protocol.ts';
import { monoMs } from '../../../../src/model/ids.ts';
import type { Clock } from '../../../../src/ports/clock.ts';
import { FakeClock } from '../../../fakes/fake-clock.ts';

const target = (process: string): ProcessTarget => ({
  id: process,
  kind: 'process',
  process,
  quorum: 1,
});

class Bench {
  readonly clock = new FakeClock();
  readonly counts = new Map<string, number>();
  readonly looks: { readonly at: number; readonly isThorough: boolean }[] = [];
  readonly seen: string[] = [];
  /** Milliseconds that each look takes. */
  costMs = 0;
  readonly watch: ProcessWatch;

  constructor() {
    let spentMs = 0;
    const { clock: base } = this;
    // Looking takes time although nothing else happens meanwhile.
    const clock: Clock = {
      now: () => monoMs(base.now() + spentMs),
      schedule: (ms, action) =>
        base.schedule(ms, () => {
          spentMs = 0;
          action();
        }),
      sleep: (ms, signal) => base.sleep(ms, signal),
      wallMs: () => base.wallMs(),
      wallTime: () => base.wallTime(),
    };
    this.watch = new ProcessWatch({
      clock,
      count: (targets, isThorough) => {
        this.looks.push({ at: base.now(), isThorough });
        spentMs = this.costMs;
        return new Map(targets.map(({ id }) => [id, this.counts.get(id) ?? 0]));
      },
      seen: (id, sight) => this.seen.push(`${id} ${sight.kind === 'process' ? sight.count : ''}`),
    });
  }
}

describe('ProcessWatch', () => {
  it('looks at once and every half second, and tells changes only', async () => {
    const bench = new Bench();
    bench.watch.set([target('a'), target('b')]);
    await bench.clock.advance(1_100);
    bench.counts.set('a', 2);
    await bench.clock.advance(1_000);
    expect(bench.seen).toEqual(['a 0', 'b 0', 'a 2']);
    expect(bench.looks.map(({ at }) => at)).toEqual([0, 500, 1000, 1500, 2000]);
  });

  it('looks at everything from time to time', async () => {
    const bench = new Bench();
    bench.watch.set([target('a')]);
    await bench.clock.advance(25_000);
    const thorough = bench.looks.filter(({ isThorough }) => isThorough);
    expect(thorough.map(({ at }) => at)).toEqual([0, 10_000, 20_000]);
  });

  it('looks less often where that is expensive: a twentieth of the time', async () => {
    const bench = new Bench();
    bench.costMs = 100;
    bench.watch.set([target('a')]);
    await bench.clock.advance(10_500);
    expect(bench.looks.map(({ at }) => at)).toEqual([0, 2000, 4000, 6000, 8000, 10_000]);
  });

  it('tells of a new target at once, keeps quiet of the others, and rests without targets', async () => {
    const bench = new Bench();
    bench.watch.set([]);
    await bench.clock.advance(5_000);
    expect(bench.looks).toEqual([]);
    bench.watch.set([target('a')]);
    await bench.clock.advance(100);
    bench.watch.set([target('a'), target('b')]);
    await bench.clock.advance(1);
    expect(bench.seen).toEqual(['a 0', 'b 0']);
    bench.watch.set([]);
    expect(bench.clock.pending).toBe(0);
    // One that comes back is told anew.
    bench.watch.set([target('a')]);
    await bench.clock.advance(1);
    expect(bench.seen).toEqual(['a 0', 'b 0', 'a 0']);
  });
});
