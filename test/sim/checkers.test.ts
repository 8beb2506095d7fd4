/** What the judge tells of epochs, on voices of which nothing else is wrong. */
import { beforeEach, describe, expect, it } from 'vitest';
import { ABSENT, directorId } from '../../src/model/ids.ts';
import { Checkers, type Speaker } from './checkers.ts';
import { addressOf, keys } from './spec.ts';

const VIP = addressOf(101);

type Voice = Speaker & { isOn: boolean };

function voice(
  name: string,
  epoch: number | null,
  { isBySegment = false, isExposed = false } = {},
): Voice {
  const one: Voice = {
    name,
    director: name,
    id: directorId(name),
    isOn: false,
    isRunning: true,
    isExposed,
    stoppedAt: 0,
    startedAt: 0,
    hearsSince: 0,
    goesOnUntil: 0,
    answers: (address) => one.isOn && address === VIP,
    isOpen: (address) => one.answers(address),
    letsOut: (address) => one.answers(address),
    isBySegment: () => isBySegment,
    isLeft: () => false,
    withoutStoreMs: () => 0,
    holdingOf: () => (epoch === null ? null : { group: 'g1', epoch }),
  };
  return one;
}

let checkers: Checkers;
/** Null: the record was taken away, and names nobody. */
let owner: string | null;
beforeEach(() => {
  owner = null;
  checkers = new Checkers({
    now: () => 0,
    speakers: () => [],
    keys,
    read: (key) => ({
      key,
      value: owner === null ? null : JSON.stringify({ director: owner, pending: [] }),
      modRevision: ABSENT,
    }),
    mayHoldBySegment: () => false,
    network: {
      schedule: () => {},
      troubledAt: () => 0,
      unheardAt: () => 0,
      connects: () => true,
      probedMs: () => 0,
      isGiven: () => false,
      withoutGatewayMs: () => 0,
      hasWitness: () => false,
      heartbeatMs: () => 100,
      longestHoldMs: () => 500,
    },
  });
});

/** One after the other speaks, and is silent again. */
function speak(...voices: readonly Voice[]): readonly string[] {
  for (const one of voices) {
    checkers.around(one, () => {
      one.isOn = true;
    });
    one.isOn = false;
  }
  return checkers.violations.map(({ law }) => law);
}

describe('a voice', () => {
  it('by an older epoch than one before it is told of', () => {
    expect(speak(voice('d1', 6), voice('d2', 5))).toEqual(['I2']);
    expect(checkers.violations[0]?.text).toContain('by epoch 5 of g1, d1 has by 6');
  });

  it('by the same or a newer epoch is not', () => {
    expect(speak(voice('d1', 5), voice('d1', 5), voice('d2', 6))).toEqual([]);
  });

  it('by an older epoch is not where the record names it again, and it has missed that', () => {
    const voices = [voice('d1', 6), voice('d2', 5)];
    expect(speak(...voices.slice(0, 1))).toEqual([]);
    owner = 'd2';
    expect(speak(...voices.slice(1))).toEqual([]);
  });

  it('by the segment, or of a process that tells of no record, is not', () => {
    expect(speak(voice('d1', 6), voice('d2', 5, { isBySegment: true }), voice('d2', null))).toEqual(
      [],
    );
  });

  it('without its rules is not', () => {
    expect(speak(voice('d1', 6), voice('d2', 5, { isExposed: true }))).toEqual([]);
  });
});
