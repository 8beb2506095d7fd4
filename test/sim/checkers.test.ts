/** What the judge tells of epochs, on voices of which nothing else is wrong. */
import { beforeEach, describe, expect, it } from 'vitest';
import { ABSENT, directorId, monoMs, revision } from '../../src/model/ids.ts';
import { Checkers, type Speaker } from './checkers.ts';
import { addressOf, keys } from './spec.ts';

const VIP = addressOf(101);
/** A revision: nothing of what is told here is as new. */
const LATELY = 100;

type Voice = Speaker & { isOn: boolean };

function voice(
  name: string,
  epoch: number | null,
  { isBySegment = false, isExposed = false, knownRevision = LATELY } = {},
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
    hearsSince: () => 0,
    heartbeatMs: 100,
    knownRevision,
    goesOnUntil: 0,
    groupOf: () => one.holdingOf(VIP)?.group ?? null,
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
      longestHoldMs: () => 500,
    },
  });
});

/** The group's record names that director from this revision on. */
function write(at: number, director: string): void {
  owner = director;
  const value = JSON.stringify({ director, pending: [], reason: 'vacant' });
  const change = { key: `${keys.prefix}run/owner/g1`, value, modRevision: revision(at) };
  checkers.committed({ revision: revision(at), at: monoMs(0), changes: [change] });
}

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

  describe('by an older epoch, which the record names again', () => {
    /** Its record went at 6, when another one took the group, and came back at 7. */
    const speakAgain = (knownRevision: number): readonly string[] => {
      write(5, 'd2');
      write(6, 'd1');
      speak(voice('d1', 6));
      write(7, 'd2');
      return speak(voice('d2', 5, { knownRevision }));
    };

    it('is not told of where it has no etcd, and has missed that', () => {
      expect(speakAgain(5)).toEqual([]);
    });

    it('is told of where etcd has told it since', () => {
      expect(speakAgain(7)).toEqual(['I2']);
    });

    it('is told of where it has lost etcd after its record went, and before it came back', () => {
      expect(speakAgain(6)).toEqual(['I2']);
    });
  });

  describe('whose process shows the record as it is now', () => {
    const tell = (epoch: number, group = 'g1'): readonly string[] => {
      speak(voice('d1', 6));
      const one = voice('d2', 7);
      checkers.around(one, () => {
        one.isOn = true;
      });
      checkers.told(one, [{ group: 'g2', epoch: 1 }]);
      checkers.told(one, [{ group, epoch }]);
      checkers.told(one, [{ group, epoch: 4 }]);
      return checkers.violations.map(({ law }) => law);
    };

    it('and was opened by an older one, as its next heartbeat says, is told of', () => {
      expect(tell(5)).toEqual(['I2']);
      expect(checkers.violations[0]?.text).toContain('by epoch 5 of g1, d1 has by 6');
    });

    it('and was opened by that is not, whatever later heartbeats say', () => {
      expect(tell(7)).toEqual([]);
    });
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
