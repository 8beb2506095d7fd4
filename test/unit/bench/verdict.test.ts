/** What the client saw of a fault, out of a record of the voice probe. */
import { describe, expect, it } from 'vitest';
import type { VoiceRecord } from '../../support/client-probe.ts';
import { verdictOf } from '../../support/verdict.ts';

const OLD = '02:00:00:00:00:01';
const NEW = '02:00:00:00:00:02';
const WINDOW = { faultMs: 1000, endMs: 5000, oldMac: OLD };

/** Every 5 ms from 0 to 5 s: who of the two answers then. */
function recordOf(isHeard: (mac: string, atMs: number) => boolean): VoiceRecord {
  const questions = Array.from({ length: 1000 }, (_, index) => index * 5);
  const answers = questions.flatMap((atMs, question) =>
    [OLD, NEW].filter((mac) => isHeard(mac, atMs)).map((mac) => ({ question, atMs, mac })),
  );
  const asked = questions.map((atMs, sequence) => ({ atMs, sequence }));
  const echoes = answers.map(({ question, atMs }) => ({ atMs, sequence: question }));
  return { questions, answers, announcements: [], asked, echoes, pauses: [], starved: [] };
}

describe('a fault, as the client sees it', () => {
  it('with a clean handover has an outage, an end of the old voice, and no dual time', () => {
    const record = recordOf((mac, atMs) => (mac === OLD ? atMs <= 1200 : atMs >= 1800));
    expect(verdictOf(record, WINDOW)).toEqual({
      outageMs: 600,
      // The echoes of 1205, 1210, … 1795 ms.
      lost: 119,
      asked: 800,
      oldLastMs: 200,
      newFirstMs: 800,
      dualMs: 0,
      isDualAtEnd: false,
    });
  });

  it('counts echoes that were lost between others that were not', () => {
    const record = recordOf((mac, atMs) => mac === OLD && atMs !== 2000 && atMs !== 3000);
    expect(verdictOf(record, WINDOW)).toMatchObject({ lost: 2, outageMs: 10 });
  });

  it('with an overlap has dual time with an end', () => {
    const record = recordOf((mac, atMs) => (mac === OLD ? atMs < 2000 : atMs >= 1500));
    const seen = verdictOf(record, WINDOW);
    expect(seen).toMatchObject({ outageMs: 5, lost: 0, dualMs: 500, isDualAtEnd: false });
  });

  it('with an old voice that never ends has dual time until the end', () => {
    const record = recordOf((mac, atMs) => mac === OLD || atMs >= 4000);
    expect(verdictOf(record, WINDOW)).toMatchObject({ dualMs: 1000, isDualAtEnd: true });
  });

  it('with nobody to take over is an outage of the whole window', () => {
    const record = recordOf((mac, atMs) => mac === OLD && atMs < 1000);
    expect(verdictOf(record, WINDOW)).toEqual({
      outageMs: 4000,
      lost: 800,
      asked: 800,
      oldLastMs: 0,
      newFirstMs: null,
      dualMs: 0,
      isDualAtEnd: false,
    });
  });
});
