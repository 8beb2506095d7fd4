/** How long no request was answered, out of the records of the HTTP probe. */
import { describe, expect, it } from 'vitest';
import {
  firstAnswerAfter,
  longestOutageMs,
  type RequestRecord,
} from '../../support/client-probe.ts';

const request = (startMs: number, endMs: number, answer: string | null): RequestRecord => ({
  startMs,
  endMs,
  answer,
  detail: '',
});

/** A move at 1000: what was asked at 1010 is answered when TCP asks again, later than what is asked anew. */
const RECORDS = [
  request(900, 950, 'rs1'),
  request(1010, 2015, 'rs1'),
  request(1100, 1500, null),
  request(1750, 1800, 'rs2'),
  request(2050, 2100, 'rs2'),
];

describe('an outage of a service', () => {
  it('ends with the first answer that comes, whichever request that was of', () => {
    expect(firstAnswerAfter(RECORDS, 1000)).toBe(1800);
    expect(firstAnswerAfter(RECORDS, 2060)).toBe(null);
  });

  it('is as long as no answer came, but for the time in which nobody could', () => {
    expect(longestOutageMs(RECORDS, 900, 2100)).toBe(850);
    expect(longestOutageMs(RECORDS, 900, 2100, [{ fromMs: 1000, toMs: 1600 }])).toBe(250);
  });
});
