/** Whether a director's agent runs, as far as VRRP must know; how it takes part is held to tests with the desk. */
import { describe, expect, it } from 'vitest';
import { EMPTY_VIEW, type Known, mergeView } from '../../../../src/core/election/view.ts';
import { isRunning } from '../../../../src/core/vrrp/part.ts';
import { directorId, monoMs, revision } from '../../../../src/model/ids.ts';
import type { SessionRecord } from '../../../../src/model/records.ts';
import { reportOf, sessionOf } from '../election/election-driver.ts';

const D2 = directorId('d2');
const SUSPECT_MS = 250;
const NOW = 10_000;

const known = <T>(value: T): Known<T> => ({ rev: revision(3), value, asOf: revision(9) });

function isThere(signs: {
  readonly session?: SessionRecord['state'];
  readonly hasReport?: boolean;
  readonly heardMs?: number;
}): boolean {
  const { session, hasReport = false, heardMs } = signs;
  const view = mergeView(EMPTY_VIEW, [
    ...(session === undefined
      ? []
      : [{ of: 'session', name: D2, known: known(sessionOf({ state: session })) } as const]),
    ...(hasReport ? [{ of: 'report', name: D2, known: known(reportOf()) } as const] : []),
  ]);
  const lastHeard = new Map(heardMs === undefined ? [] : [[D2, monoMs(NOW - heardMs)]]);
  return isRunning({ view, lastHeard }, D2, { now: monoMs(NOW), suspectMs: SUSPECT_MS });
}

describe("a director's agent", () => {
  it.each([
    ['that nobody knows', {}, false],
    ['that opened a session once, and shows nothing now', { session: 'open' }, false],
    ['that reports', { session: 'open', hasReport: true }, true],
    ['that reports, and whose session no record shows yet', { hasReport: true }, true],
    ['that is heard, where etcd shows nothing', { heardMs: 749 }, true],
    ['that was heard a while ago', { session: 'open', heardMs: 750 }, false],
    ['that has closed its session', { session: 'closed', hasReport: true, heardMs: 1 }, false],
    ['that was killed by record', { session: 'broken', hasReport: true, heardMs: 1 }, false],
  ] as const)('%s', (_name, signs, expected) => {
    expect(isThere(signs)).toBe(expected);
  });
});
