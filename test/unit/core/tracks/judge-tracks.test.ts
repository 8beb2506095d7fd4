import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type JudgedTrack, judgeTracks } from '../../../../src/core/tracks/judge-tracks.ts';
import { effectivePriority } from '../../../../src/core/placement/order.ts';
import { startTrack, type TrackState } from '../../../../src/core/tracks/track-state.ts';
import type { Track } from '../../../../src/model/cluster.ts';
import { fileTrack, interfaceTrack, processTrack, scriptTrack } from './track-builders.ts';

const seen = (track: Track, changes: Partial<TrackState>): JudgedTrack => ({
  track,
  state: { ...startTrack(track), isObserved: true, detail: 'exit code 1', ...changes },
});
const bonusOf = (track: Track, changes: Partial<TrackState>): number =>
  judgeTracks([seen(track, changes)]).bonus;

describe('judgeTracks', () => {
  it('says nothing of a group without tracks', () => {
    expect(judgeTracks([])).toEqual({ obstacle: null, detail: null, bonus: 0, isSettled: true });
  });

  it.each([
    [scriptTrack({ weight: 20 }), true, 20],
    [scriptTrack({ weight: 20 }), false, 0],
    [scriptTrack({ weight: -20 }), true, 0],
    [scriptTrack({ weight: -20 }), false, -20],
    [processTrack({ weight: -7 }), false, -7],
    [interfaceTrack({ weight: 5 }), true, 5],
    [scriptTrack(), true, 0],
    [scriptTrack(), false, 0],
  ])('$kind with weight $weight, passing: %s, is worth %i', (track, isPassing, bonus) => {
    expect(bonusOf(track, { isPassing })).toBe(bonus);
  });

  it.each([
    [1, 5, 5],
    [-2, 5, -10],
    [2, -5, -10],
    [253, 0, 0],
    [null, 5, 0],
  ])('a file with weight %s and number %i is worth %i', (weight, number, bonus) => {
    expect(bonusOf(fileTrack({ weight }), { number })).toBe(bonus);
  });

  it('forbids holding where a track without weight fails, and names it', () => {
    const tracks = [
      seen(scriptTrack({ id: 'script a', weight: -20 }), { isPassing: false }),
      seen(scriptTrack({ id: 'script b' }), { isPassing: false }),
      seen(processTrack({ id: 'process c' }), { isPassing: false, detail: '0 running, 1 wanted' }),
      seen(scriptTrack({ id: 'script d' }), { isPassing: true }),
    ];
    expect(judgeTracks(tracks)).toEqual({
      obstacle: 'track-failed',
      detail: 'script b fails: exit code 1; process c fails: 0 running, 1 wanted',
      bonus: -20,
      isSettled: true,
    });
  });

  it('forbids holding where a file with weight took all priority', () => {
    const track = fileTrack({ weight: -20 });
    expect(judgeTracks([seen(track, { isPassing: false, number: 13 })]).obstacle).toBe(
      'track-failed',
    );
    // One that only starts as failed moves nothing.
    const waiting = { ...track, initFail: true };
    expect(judgeTracks([{ track: waiting, state: startTrack(waiting) }])).toMatchObject({
      obstacle: null,
      bonus: 0,
      isSettled: false,
    });
  });

  it('is not settled while something was not seen', () => {
    const track = scriptTrack({ weight: 10 });
    expect(judgeTracks([{ track, state: startTrack(track) }])).toMatchObject({
      isSettled: false,
      bonus: 10,
    });
  });
});

const anyTrack: fc.Arbitrary<JudgedTrack> = fc
  .record({
    make: fc.constantFrom<(changes: Pick<Track, 'id' | 'weight'>) => Track>(
      scriptTrack,
      processTrack,
      fileTrack,
      interfaceTrack,
    ),
    weight: fc.option(
      fc.integer({ min: -253, max: 253 }).filter((weight) => weight !== 0),
      { nil: null },
    ),
    isPassing: fc.boolean(),
    isObserved: fc.boolean(),
    isWaiting: fc.boolean(),
    number: fc.oneof(fc.integer({ min: -20, max: 20 }), fc.integer()),
    name: fc.stringMatching(/^[a-z]{3,8}$/),
  })
  .map(({ make, weight, name, ...state }) => {
    const track = make({ weight, id: `track ${name}` });
    return { track, state: { ...startTrack(track), ...state } };
  });

describe('for any tracks', () => {
  const base = fc.integer({ min: 1, max: 254 });

  it('the priority that is left is the clamped sum, as keepalived counts', () => {
    fc.assert(
      fc.property(fc.array(anyTrack, { maxLength: 8 }), base, (tracks, priority) => {
        let sum = priority;
        for (const { track, state } of tracks) {
          if (track.weight === null) continue;
          if (track.kind === 'file') sum += track.weight * state.number;
          else if (track.weight > 0 && state.isPassing) sum += track.weight;
          else if (track.weight < 0 && !state.isPassing) sum += track.weight;
        }
        const { bonus } = judgeTracks(tracks);
        expect(effectivePriority(priority, bonus)).toBe(Math.min(254, Math.max(1, sum)));
        expect(Number.isInteger(bonus)).toBe(true);
        expect(Math.abs(bonus)).toBeLessThanOrEqual(253);
      }),
    );
  });

  it('their order does not matter to anything but the words', () => {
    fc.assert(
      fc.property(fc.array(anyTrack, { maxLength: 8 }), (tracks) => {
        const { detail: _, ...forwards } = judgeTracks(tracks);
        const { detail: __, ...backwards } = judgeTracks(tracks.toReversed());
        expect(backwards).toEqual(forwards);
      }),
    );
  });

  it('there is an obstacle exactly where one without weight fails or a file took all, and it is named', () => {
    fc.assert(
      fc.property(fc.array(anyTrack, { maxLength: 8 }), (tracks) => {
        const failing = tracks.filter(
          ({ track, state }) =>
            !state.isPassing &&
            (track.weight === null || (track.kind === 'file' && !state.isWaiting)),
        );
        const { obstacle, detail } = judgeTracks(tracks);
        expect(obstacle).toBe(failing.length > 0 ? 'track-failed' : null);
        expect(detail === null).toBe(failing.length === 0);
        for (const { track } of failing) expect(detail).toContain(`${track.id} fails`);
      }),
    );
  });

  it('one more failing track never helps', () => {
    fc.assert(
      fc.property(fc.array(anyTrack, { maxLength: 6 }), anyTrack, (tracks, { track, state }) => {
        if (track.kind === 'file') return;
        const up = judgeTracks([...tracks, { track, state: { ...state, isPassing: true } }]);
        const down = judgeTracks([...tracks, { track, state: { ...state, isPassing: false } }]);
        expect(down.bonus).toBeLessThanOrEqual(up.bonus);
        expect(up.obstacle === null || down.obstacle !== null).toBe(true);
      }),
    );
  });
});
