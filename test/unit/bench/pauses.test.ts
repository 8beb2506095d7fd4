/** What the pauses of the lab's own machine explain of what a client saw, and what they do not. */
import { describe, expect, it } from 'vitest';
import type { VoiceRecord } from '../../support/client-probe.ts';
import { spreadMs } from '../../support/many-probe.ts';
import {
  describePauses,
  joined,
  judged,
  longestGapMs,
  type Pause,
  pausedMs,
  waitsOf,
} from '../../support/pauses.ts';
import { verdictOf } from '../../support/verdict.ts';

const OLD = '02:00:00:00:00:01';
const NEW = '02:00:00:00:00:02';
const SPAN = { faultMs: 1000, endMs: 4000 };
const pause = (fromMs: number, toMs: number): Pause => ({ fromMs, toMs });

/** An echo every millisecond from 0 to 5 s but in `silent`; those of `isLost` are not answered. */
function recordOf(seen: {
  readonly pauses?: readonly Pause[];
  readonly starved?: readonly Pause[];
  readonly silent?: readonly Pause[];
  readonly isLost?: (atMs: number) => boolean;
  readonly macAt?: (atMs: number) => string;
}): VoiceRecord {
  const {
    pauses = [],
    starved = [],
    silent = pauses,
    isLost = () => false,
    macAt = () => OLD,
  } = seen;
  const isAwake = (atMs: number): boolean =>
    silent.every(({ fromMs, toMs }) => atMs <= fromMs || atMs >= toMs);
  const times = Array.from({ length: 5000 }, (_, atMs) => atMs).filter(isAwake);
  const asked = times.map((atMs) => ({ atMs, sequence: atMs }));
  const echoes = asked.filter(({ atMs }) => !isLost(atMs));
  const answers = echoes
    .filter(({ atMs }) => atMs % 5 === 0)
    .map(({ atMs }) => ({ question: atMs, atMs, mac: macAt(atMs) }));
  return { questions: times, answers, announcements: [], asked, echoes, pauses, starved };
}

/** In the profile fast, whose D is 120 ms, or with another D. */
const judge = (record: VoiceRecord, holdMs = 120) =>
  judged(record, { ...SPAN, holdMs }, verdictOf(record, { ...SPAN, oldMac: OLD }));

describe('echoes that are lost', () => {
  it('count all where the machine was on time', () => {
    const record = recordOf({ isLost: (atMs) => atMs >= 2000 && atMs < 2066 });
    expect(judge(record)).toMatchObject({ lost: 66, asked: 3000, outageMs: 67 });
  });

  it('do not count in a pause, nor for as long after it', () => {
    const pauses = [pause(2000, 2035)];
    const inIt = recordOf({ pauses, silent: [], isLost: (atMs) => atMs >= 2000 && atMs <= 2070 });
    expect(judge(inIt)).toMatchObject({ lost: 0, asked: 2929 });
    const beyond = recordOf({ pauses, isLost: (atMs) => atMs >= 2035 && atMs < 2130 });
    expect(judge(beyond).lost).toBe(59);
    const before = recordOf({ pauses, isLost: (atMs) => atMs >= 1990 && atMs < 2000 });
    expect(judge(before).lost).toBe(10);
  });

  it('do not count for three times D after a pause of more than a third of it, and do after that', () => {
    const pauses = [pause(2000, 2061)];
    const isLost = (atMs: number): boolean => atMs >= 2061 && atMs < 2430;
    const record = recordOf({ pauses, isLost });
    expect(judge(record).lost).toBe(8);
    // For the profile default it was a short one.
    expect(judge(record, 500).lost).toBe(369 - 62);
  });

  it('do not count for a second at most, however long D is', () => {
    const pauses = [pause(1100, 1400)];
    const record = recordOf({ pauses, isLost: (atMs) => atMs >= 1400 && atMs < 2410 });
    expect(judge(record, 500).lost).toBe(9);
  });

  it('do not count after a pause that ended just before the fault', () => {
    const pauses = [pause(950, 985)];
    const record = recordOf({ pauses, isLost: (atMs) => atMs >= 1000 && atMs < 1060 });
    expect(judge(record).lost).toBe(39);
  });

  it('do not count for three times D after an agent waited for a processor for more than a third of it', () => {
    const isLost = (atMs: number): boolean => atMs >= 2030 && atMs < 2430;
    const starved = [pause(2000, 2020), pause(2030, 2055)];
    expect(judge(recordOf({ starved, isLost })).lost).toBe(2430 - 2416);
    expect(judge(recordOf({ starved: starved.slice(1), isLost })).lost).toBe(400);
    // An outage is without the waits in it, and no more.
    expect(judge(recordOf({ starved, isLost })).outageMs).toBe(401 - 25);
  });

  it('count beside a pause of another time', () => {
    const record = recordOf({
      pauses: [pause(1500, 1550), pause(3000, 3040)],
      isLost: (atMs) => atMs === 2000,
    });
    expect(judge(record).lost).toBe(1);
  });
});

describe('another voice', () => {
  const macAt =
    (fromMs: number) =>
    (atMs: number): string =>
      atMs < fromMs ? OLD : NEW;
  const moved = (fromMs: number, pauses: readonly Pause[]): VoiceRecord =>
    recordOf({ pauses, macAt: macAt(fromMs) });

  it('is what it is where the machine was on time, and after a short pause', () => {
    expect(judge(moved(2200, [])).newFirstMs).toBe(1200);
    expect(judge(moved(2200, [pause(2100, 2135)])).newFirstMs).toBe(1200);
  });

  it('is excused after a pause in which the gate may have shut, for three times D', () => {
    expect(judge(moved(2200, [pause(2000, 2130)])).newFirstMs).toBeNull();
    expect(judge(moved(2500, [pause(2000, 2130)])).newFirstMs).toBe(1500);
    expect(judge(moved(1900, [pause(2000, 2130)])).newFirstMs).toBe(900);
  });

  it('is excused where an agent waited for a processor for D within the last two, and not for less', () => {
    const after = (starved: readonly Pause[]) =>
      judge(recordOf({ starved, macAt: macAt(2250) })).newFirstMs;
    expect(after([pause(2030, 2100), pause(2110, 2165)])).toBeNull();
    expect(after([pause(2030, 2100), pause(2110, 2155)])).toBe(1250);
    expect(after([pause(1800, 2100)])).toBe(1250);
  });
});

describe('an outage', () => {
  it('is without the pauses in it, of whatever length, and no more', () => {
    const pauses = [pause(2100, 2200), pause(2150, 2250), pause(2400, 2430)];
    const isLost = (atMs: number): boolean => atMs > 2000 && atMs < 2600;
    expect(judge(recordOf({ pauses, isLost })).outageMs).toBe(600 - 150 - 30);
  });

  it('is the longest one beside a longer pause', () => {
    const isLost = (atMs: number): boolean => atMs > 3000 && atMs < 3080;
    const record = recordOf({ pauses: [pause(2000, 2200)], isLost });
    expect(judge(record).outageMs).toBe(80);
  });

  it('ends with the last word of the old voice, without the pauses before it', () => {
    const isLost = (atMs: number): boolean => atMs > 1700;
    const record = recordOf({ pauses: [pause(1200, 1300), pause(1800, 1900)], isLost });
    expect(judge(record).oldLastMs).toBe(600);
  });
});

describe('pauses', () => {
  it('are joined where they overlap', () => {
    const three = [pause(40, 60), pause(10, 30), pause(20, 35)];
    expect(joined(three)).toEqual([pause(10, 35), pause(40, 60)]);
    expect(joined([pause(0, 100), pause(10, 20)])).toEqual([pause(0, 100)]);
  });

  it('count once, and only between the moments', () => {
    const two = [pause(10, 30), pause(20, 40)];
    expect(pausedMs(two, 0, 100)).toBe(30);
    expect(pausedMs(two, 25, 35)).toBe(10);
    expect(pausedMs(two, 50, 60)).toBe(0);
  });

  it('within one D are as long as they are together', () => {
    const isLost = (atMs: number): boolean => atMs >= 2085 && atMs < 2400;
    const soon = recordOf({ pauses: [pause(2000, 2040), pause(2060, 2085)], isLost });
    expect(judge(soon).lost).toBe(0);
    const late = recordOf({ pauses: [pause(1950, 1970), pause(2060, 2085)], isLost });
    expect(judge(late).lost).toBe(400 - 111);
  });

  it('are told in one line', () => {
    const three = [pause(1100, 1120), pause(1389.4, 1455), pause(2000, 2044)];
    expect(describePauses({ pauses: three, starved: [] }, 1000)).toBe(
      '; the machine paused 3 times for 130 ms, at most 66 ms, 389 ms after the fault',
    );
    expect(describePauses({ pauses: [], starved: [] }, 1000)).toBe('');
    expect(describePauses({ pauses: [], starved: three.slice(0, 1) }, 1000)).toMatch(
      /^; an agent waited for a processor 1 times for /,
    );
  });

  it('of no kind hide a gap at the edges', () => {
    expect(longestGapMs([], 0, 100)).toBe(100);
    expect(longestGapMs([90], 0, 100, [pause(10, 20)])).toBe(80);
  });
});

describe('waits of an agent for a processor', () => {
  it('end at the look that counts them, and may have begun before the last one', () => {
    const looks = [
      { atMs: 100, waitedMs: 7 },
      { atMs: 102, waitedMs: 7 },
      { atMs: 104, waitedMs: 8.5 },
      { atMs: 106, waitedMs: 28.5 },
    ];
    expect(waitsOf(looks)).toEqual([pause(102.5, 104), pause(86, 106)]);
    expect(waitsOf(looks.slice(0, 1))).toEqual([]);
    expect(waitsOf([])).toEqual([]);
  });

  it('are none of an agent that has ended', () => {
    const looks = [0, 5, Number.NaN, Number.NaN].map((waitedMs, atMs) => ({ atMs, waitedMs }));
    expect(waitsOf(looks)).toEqual([pause(-4, 1)]);
  });
});

describe('the spread of groups that come back', () => {
  const FAULT_MS = 10_000;
  const back = [900, 950, 1040];
  const spread = (waits: readonly Pause[], pauses: readonly Pause[] = []): number =>
    spreadMs(back, FAULT_MS, { pauses, waits });

  it('is not less for what was waited before the first and after the last', () => {
    expect(spread([])).toBe(140);
    expect(spread([pause(10_100, 10_200), pause(11_040, 11_400)])).toBe(140);
    expect(spread([], [pause(10_800, 10_900)])).toBe(140);
  });

  it('is less for what was waited, or paused, between the two', () => {
    expect(spread([pause(10_910, 10_930), pause(10_950, 10_951.5)])).toBe(118.5);
    expect(spread([pause(10_800, 10_930)])).toBe(110);
    expect(spread([pause(11_000, 11_300)])).toBe(100);
    expect(spread([], [pause(10_910, 10_930)])).toBe(120);
  });

  it('is less but once for a time that was both', () => {
    expect(spread([pause(10_910, 10_940)], [pause(10_920, 10_950)])).toBe(100);
  });
});
