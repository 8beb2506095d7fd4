/** What the client saw of a fault, out of a record of the voice probe. */
import { describe, expect, it } from 'vitest';
import { seenCells, seenOf } from '../../../bench/seen.ts';
import type { VoiceRecord } from '../../support/client-probe.ts';

const OLD = '02:00:00:00:00:01';
const NEW = '02:00:00:00:00:02';
const WINDOW = { faultMs: 1000, endMs: 5000, oldMac: OLD };

/** Every 5 ms from 0 to 5 s: who of the two answers then. */
function recordOf(isHeard: (mac: string, atMs: number) => boolean): VoiceRecord {
  const questions = Array.from({ length: 1000 }, (_, index) => index * 5);
  const answers = questions.flatMap((atMs, question) =>
    [OLD, NEW].filter((mac) => isHeard(mac, atMs)).map((mac) => ({ question, atMs, mac })),
  );
  const echoes = answers.map(({ question, ...rest }) => ({ ...rest, sequence: question }));
  return { questions, answers, echoes, announcements: [] };
}

describe('a fault, as the client sees it', () => {
  it('with a clean handover has an outage, an end of the old voice, and no dual time', () => {
    const record = recordOf((mac, atMs) => (mac === OLD ? atMs <= 1200 : atMs >= 1800));
    expect(seenOf(record, WINDOW)).toEqual({
      outageMs: 600,
      oldLastMs: 200,
      newFirstMs: 800,
      dualMs: 0,
      isDualAtEnd: false,
    });
  });

  it('with an overlap has dual time with an end', () => {
    const record = recordOf((mac, atMs) => (mac === OLD ? atMs < 2000 : atMs >= 1500));
    expect(seenOf(record, WINDOW)).toMatchObject({ outageMs: 5, dualMs: 500, isDualAtEnd: false });
  });

  it('with an old voice that never ends has dual time until the end', () => {
    const record = recordOf((mac, atMs) => mac === OLD || atMs >= 4000);
    expect(seenOf(record, WINDOW)).toMatchObject({ dualMs: 1000, isDualAtEnd: true });
  });

  it('with nobody to take over is an outage of the whole window', () => {
    const record = recordOf((mac, atMs) => mac === OLD && atMs < 1000);
    expect(seenOf(record, WINDOW)).toEqual({
      outageMs: 4000,
      oldLastMs: 0,
      newFirstMs: null,
      dualMs: 0,
      isDualAtEnd: false,
    });
  });
});

describe('the cells of a row', () => {
  const seen = seenOf(
    recordOf((mac, atMs) => mac === OLD || atMs >= 4000),
    WINDOW,
  );

  it('say where the dual time of all runs had no end', () => {
    expect(seenCells([seen, seen])).toEqual(['5 ms', '3995 ms', '1000 ms, until the end']);
    const ended = { ...seen, isDualAtEnd: false };
    expect(seenCells([seen, ended])[2]).toBe('1000 ms');
  });
});
