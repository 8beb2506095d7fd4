import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  startTrack,
  stepTrack,
  tickTrack,
  trackDueAt,
  type TrackState,
} from '../../../../src/core/tracks/track-state.ts';
import type { Track } from '../../../../src/model/cluster.ts';
import { monoMs } from '../../../../src/model/ids.ts';
import type { TrackSight } from '../../../../src/model/track.ts';
import { fileTrack, interfaceTrack, processTrack, scriptTrack } from './track-builders.ts';

const ZERO = monoMs(0);
const ran = (isPassing: boolean): TrackSight => ({
  kind: 'script',
  isPassing,
  detail: isPassing ? 'exit code 0' : 'exit code 1',
});
const holds = (number: number | null): TrackSight => ({
  kind: 'file',
  number,
  detail: number === null ? 'does not exist, counts as 0' : `holds ${number}`,
});
const saw = (count: number): TrackSight => ({ kind: 'process', count });

const feed = (track: Track, sights: readonly TrackSight[], from?: TrackState): TrackState[] => {
  let state = from ?? startTrack(track);
  return sights.map((sight) => {
    state = stepTrack(track, state, sight, ZERO);
    return state;
  });
};
const verdicts = (track: Track, sights: readonly TrackSight[], from?: TrackState): string =>
  feed(track, sights, from)
    .map(({ isPassing }) => (isPassing ? 'p' : 'f'))
    .join('');
const runs = (letters: string): TrackSight[] =>
  letters.split('').map((letter) => ran(letter === 'p'));

describe('the start', () => {
  it.each([
    ['a script', scriptTrack(), true],
    ['a script with initFail', scriptTrack({ initFail: true }), false],
    ['a process', processTrack(), true],
    ['a file', fileTrack(), true],
    ['a file with initFail', fileTrack({ initFail: true }), false],
    ['an interface', interfaceTrack(), true],
  ])('of %s', (_name, track, isPassing) => {
    expect(startTrack(track)).toMatchObject({ isPassing, isObserved: false });
  });
});

describe('a script', () => {
  it.each([
    // The first result decides, whatever rise and fall are.
    ['f', { rise: 2, fall: 3 }, 'f'],
    ['p', { rise: 2, fall: 3 }, 'p'],
    ['pffpfff', { rise: 2, fall: 3 }, 'ppppppf'],
    ['fpfpp', { rise: 2, fall: 3 }, 'ffffp'],
    ['pfpf', { rise: 1, fall: 1 }, 'pfpf'],
    // A start that is failed takes all of rise.
    ['ppp', { rise: 3, fall: 1, initFail: true }, 'ffp'],
    ['fpp', { rise: 2, fall: 1, initFail: true }, 'ffp'],
    ['p', { rise: 1, fall: 1, initFail: true }, 'p'],
  ])('%s with %o gives %s', (results, changes, expected) => {
    expect(verdicts(scriptTrack(changes), runs(results))).toBe(expected);
  });

  it('says how far a change has come', () => {
    const track = scriptTrack({ rise: 2, fall: 3 });
    expect(feed(track, runs('pffffp')).map(({ detail }) => detail)).toEqual([
      'exit code 0',
      'exit code 1 (failed 1 of 3)',
      'exit code 1 (failed 2 of 3)',
      'exit code 1',
      'exit code 1',
      'exit code 0 (passed 1 of 2)',
    ]);
  });

  it('agrees with counting runs over the whole history', () => {
    const count = fc.integer({ min: 1, max: 5 });
    fc.assert(
      fc.property(
        fc.array(fc.boolean(), { minLength: 1, maxLength: 50 }),
        count,
        count,
        fc.boolean(),
        (history, rise, fall, initFail) => {
          const states = feed(scriptTrack({ rise, fall, initFail }), history.map(ran));
          const last = states.at(-1)?.isPassing;
          expect(last).toBe(verdictByRuns(history, rise, fall, initFail ? false : null));
        },
      ),
    );
  });
});

/** The dumb oracle: the last run that was long enough against what stood before it. */
function verdictByRuns(
  history: readonly boolean[],
  rise: number,
  fall: number,
  start: boolean | null,
): boolean | null {
  let verdict = start;
  for (let end = 1; end <= history.length; end++) {
    const last = history[end - 1] === true;
    let run = 0;
    while (run < end && history[end - 1 - run] === last) run++;
    if (verdict === null || run >= (last ? rise : fall)) verdict = last;
  }
  return verdict;
}

describe('a process', () => {
  it('passes with so many as the quorum says', () => {
    const track = processTrack({ quorum: 2 });
    expect(verdicts(track, [saw(0), saw(1), saw(2), saw(7), saw(1)])).toBe('ffppf');
    expect(feed(track, [saw(1)])[0]?.detail).toBe('1 running, 2 wanted');
  });

  it('counts as gone, and as back, only after its delay', () => {
    const track = processTrack({ delayMs: 500 });
    const up = feed(track, [saw(1)]).at(-1) ?? startTrack(track);
    const gone = stepTrack(track, up, saw(0), monoMs(1000));
    expect(gone).toMatchObject({
      isPassing: true,
      detail: '0 running, 1 wanted (counts after 500 ms)',
    });
    expect(trackDueAt(track, gone)).toBe(1500);
    expect(tickTrack(track, gone, monoMs(1499)).isPassing).toBe(true);
    const down = tickTrack(track, gone, monoMs(1500));
    expect(down).toMatchObject({ isPassing: false, detail: '0 running, 1 wanted' });
    expect(trackDueAt(track, down)).toBeNull();
    const back = stepTrack(track, down, saw(1), monoMs(2000));
    expect([back.isPassing, trackDueAt(track, back)]).toEqual([false, 2500]);
    expect(tickTrack(track, back, monoMs(2500)).isPassing).toBe(true);
  });

  it('forgets a gap shorter than its delay', () => {
    const track = processTrack({ delayMs: 500 });
    let [state = startTrack(track)] = feed(track, [saw(1)]);
    for (const [at, count] of [
      [100, 0],
      [400, 1],
      [500, 0],
    ] as const)
      state = stepTrack(track, state, saw(count), monoMs(at));
    expect([state.isPassing, trackDueAt(track, state)]).toEqual([true, 1000]);
  });

  it('lets the first look decide without delay', () => {
    expect(verdicts(processTrack({ delayMs: 60_000 }), [saw(0)])).toBe('f');
  });

  it('changes only when all that was seen for its delay says so', () => {
    const step = fc.record({ gapMs: fc.integer({ min: 1, max: 400 }), count: fc.nat(3) });
    fc.assert(
      fc.property(
        fc.array(step, { minLength: 1, maxLength: 40 }),
        fc.integer({ min: 0, max: 1000 }),
        fc.integer({ min: 1, max: 3 }),
        (steps, delayMs, quorum) => {
          const track = processTrack({ delayMs, quorum });
          let state = startTrack(track);
          let now = 0;
          let agreedAt = 0;
          for (const [n, { gapMs, count }] of steps.entries()) {
            const due = trackDueAt(track, state);
            if (due !== null && due <= now + gapMs) {
              expect(due - agreedAt).toBeGreaterThanOrEqual(delayMs);
              state = tickTrack(track, state, due);
              // Time alone is enough: nothing is left to wait for.
              expect(trackDueAt(track, state)).toBeNull();
            }
            now += gapMs;
            const before = state.isPassing;
            state = stepTrack(track, state, saw(count), monoMs(now));
            if (n > 0 && state.isPassing !== before) expect(delayMs).toBe(0);
            if (count >= quorum === before || n === 0) agreedAt = now;
            if (trackDueAt(track, state) === null) expect(state.isPassing).toBe(count >= quorum);
          }
        },
      ),
    );
  });
});

describe('a file', () => {
  it.each([
    // Without weight anything but 0 fails.
    [null, [0, 1, 0, -1, null], 'pfpfp'],
    // With weight only a product that eats all priority does.
    [1, [-253, -254, 300], 'pfp'],
    [-20, [12, 13, null], 'pfp'],
  ])('with weight %s and %o gives %s', (weight, numbers, expected) => {
    expect(verdicts(fileTrack({ weight }), numbers.map(holds))).toBe(expected);
  });

  it('that starts as failed needs a number once, and then may be gone', () => {
    const track = fileTrack({ initFail: true });
    expect(verdicts(track, [holds(null), holds(0), holds(null)])).toBe('fpp');
    expect(feed(track, [holds(null)])[0]).toMatchObject({
      isObserved: true,
      detail: 'does not exist, counts as 0, and starts as failed',
    });
  });
});

describe('an interface', () => {
  it('passes while it is up', () => {
    const track = interfaceTrack();
    const down = stepTrack(
      track,
      startTrack(track),
      { kind: 'interface', isUp: false, detail: 'device eth1 is down or has no carrier' },
      ZERO,
    );
    expect(down).toMatchObject({
      isPassing: false,
      isObserved: true,
      detail: 'device eth1 is down or has no carrier',
    });
  });
});

describe('new settings', () => {
  it('go on from what was known, without half-counted changes', () => {
    const failed = feed(scriptTrack({ fall: 1 }), runs('pf')).at(-1) ?? null;
    const stricter = scriptTrack({ rise: 3, initFail: true });
    expect(startTrack(stricter, failed)).toMatchObject({ isPassing: false, isObserved: true });
    const half = feed(scriptTrack({ fall: 3 }), runs('pff')).at(-1) ?? null;
    const next = startTrack(scriptTrack({ fall: 2 }), half);
    expect(verdicts(scriptTrack({ fall: 2 }), runs('f'), next)).toBe('p');
  });

  it('judge the number of a file anew', () => {
    const [heavy = null] = feed(fileTrack({ weight: -20 }), [holds(5)]);
    expect(startTrack(fileTrack({ weight: -20 }), heavy).isPassing).toBe(true);
    expect(startTrack(fileTrack({ weight: -51 }), heavy).isPassing).toBe(false);
    expect(startTrack(fileTrack(), heavy).isPassing).toBe(false);
  });

  it('keep a file waiting for its first number, unless it need not wait any more', () => {
    const [waiting = null] = feed(fileTrack({ initFail: true }), [holds(null)]);
    const heavy = fileTrack({ initFail: true, weight: 9 });
    expect(startTrack(heavy, waiting)).toMatchObject({ isPassing: false, isWaiting: true });
    expect(startTrack(fileTrack(), waiting)).toMatchObject({ isPassing: true, isWaiting: false });
  });

  it('start as new where nothing was seen', () => {
    const unseen = startTrack(scriptTrack());
    expect(startTrack(scriptTrack({ initFail: true }), unseen).isPassing).toBe(false);
  });
});

describe('what is not meant for a track', () => {
  const tracks: readonly Track[] = [scriptTrack(), processTrack(), fileTrack(), interfaceTrack()];
  const sights = [ran(false), saw(0), holds(9)];

  it('leaves it as it is', () => {
    for (const track of tracks) {
      const start = startTrack(track);
      for (const sight of sights.filter(({ kind }) => kind !== track.kind))
        expect(stepTrack(track, start, sight, ZERO)).toBe(start);
      expect(tickTrack(track, start, monoMs(1e9))).toBe(start);
    }
  });
});
