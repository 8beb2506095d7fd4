/** The inequalities of design 4 and 5, with the records that others may have damaged. */
import { describe, expect, it } from 'vitest';
import {
  longestWaitMs,
  permitMsOf,
  usableHoldMs,
  waitMs,
} from '../../../../src/core/election/timing.ts';
import { EMPTY_VIEW, type ElectionView, type Known } from '../../../../src/core/election/view.ts';
import { ABSENT, type DirectorId, revision } from '../../../../src/model/ids.ts';
import type { ScopeRecord, SessionRecord } from '../../../../src/model/records.ts';
import { D1, D2, sessionOf, TIMING, WAIT_MS } from './election-driver.ts';

/** D' of a director of which nobody knows the D: 60 s × 1.25 + 1 s. */
const UNKNOWN_WAIT_MS = 76_000;

const scope = (holdMs: number, fields: Partial<ScopeRecord> = {}): ScopeRecord => ({
  v: 1,
  holdMs,
  slackMs: 1000,
  driftMargin: 0.25,
  session: 1,
  peers: [],
  ...fields,
});
const known = <T>(value: T | null, rev = revision(7)): Known<T> => ({ rev, asOf: rev, value });
const gone = { rev: ABSENT, asOf: revision(9), value: null };

function viewOf(
  sessions: readonly (readonly [DirectorId, Known<SessionRecord>])[],
  scopes: readonly (readonly [DirectorId, Known<ScopeRecord>])[],
): ElectionView {
  return { ...EMPTY_VIEW, sessions: new Map(sessions), scopes: new Map(scopes) };
}

describe('what others wait for', () => {
  it('is D with the greater margin and the greater slack of the two', () => {
    expect(waitMs(scope(4000), TIMING)).toBe(WAIT_MS);
    expect(waitMs(scope(4000, { driftMargin: 0.5 }), TIMING)).toBe(7000);
    expect(waitMs(scope(4000, { slackMs: 3000 }), TIMING)).toBe(8000);
    expect(waitMs(scope(4000, { slackMs: 0, driftMargin: 0 }), TIMING)).toBe(WAIT_MS);
    expect(waitMs(null, TIMING)).toBe(UNKNOWN_WAIT_MS);
  });
});

describe('the longest wait of anybody who may hold', () => {
  it('is never less than this director’s own', () => {
    expect(longestWaitMs(EMPTY_VIEW, TIMING)).toBe(WAIT_MS);
    const shorter = viewOf([[D2, known(sessionOf())]], [[D2, known(scope(1000))]]);
    expect(longestWaitMs(shorter, TIMING)).toBe(WAIT_MS);
  });

  it('follows the longest D that is told', () => {
    const view = viewOf(
      [],
      [
        [D1, known(scope(8000))],
        [D2, known(scope(12_000))],
      ],
    );
    expect(longestWaitMs(view, TIMING)).toBe(16_000);
  });

  it.each([
    ['unreadable', known<ScopeRecord>(null)],
    ['deleted', gone],
  ])('is that of an unknown D where the scope of an open session is %s', (_, record) => {
    const view = viewOf([[D2, known(sessionOf())]], [[D2, record]]);
    expect(longestWaitMs(view, TIMING)).toBe(UNKNOWN_WAIT_MS);
  });

  it('is that of an unknown D where an open session never had a scope, or any scope cannot be read', () => {
    expect(longestWaitMs(viewOf([[D2, known(sessionOf())]], []), TIMING)).toBe(UNKNOWN_WAIT_MS);
    const unreadable = viewOf([], [[D2, known<ScopeRecord>(null)]]);
    expect(longestWaitMs(unreadable, TIMING)).toBe(UNKNOWN_WAIT_MS);
  });

  it.each(['closed', 'broken'] as const)(
    'is not that of an unknown D where the session is %s and its scope was deleted',
    (state) => {
      const view = viewOf([[D2, known(sessionOf({ state }))]], [[D2, gone]]);
      expect(longestWaitMs(view, TIMING)).toBe(WAIT_MS);
    },
  );
});

describe('the D that may be used', () => {
  const view = viewOf([], [[D1, known(scope(4000))]]);

  it('is the least of what is told, what is wanted and what may be told yet', () => {
    expect(usableHoldMs(view, D1, 8000, null)).toBe(4000);
    expect(usableHoldMs(view, D1, 3000, null)).toBe(3000);
    expect(usableHoldMs(view, D1, 8000, { holdMs: 2000 })).toBe(2000);
  });

  it('is none where nothing readable is told', () => {
    expect(usableHoldMs(EMPTY_VIEW, D1, 8000, null)).toBe(0);
    expect(usableHoldMs(viewOf([], [[D1, known<ScopeRecord>(null)]]), D1, 8000, null)).toBe(0);
  });

  it('bounds the permit, a quarter of it at most', () => {
    expect(permitMsOf(4000, TIMING)).toBe(TIMING.permitMs);
    expect(permitMsOf(2000, TIMING)).toBe(500);
  });
});
