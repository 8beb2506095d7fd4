/** A moved VIP waits for all that may still speak by the spec before (design 4.13). */
import { describe, expect, it } from 'vitest';
import { createSpecBarrier } from '../../../src/agent/spec-barrier.ts';
import { EMPTY_VIEW, type ElectionView, type Known } from '../../../src/core/election/view.ts';
import { directorId, groupId, revision } from '../../../src/model/ids.ts';
import type { OwnerRecord, ReportRecord, SessionRecord } from '../../../src/model/records.ts';
import { anySpec } from '../core/desired/spec-builders.ts';

const known = <T>(rev: number, value: T): Known<T> => ({
  rev: revision(rev),
  asOf: revision(100),
  value,
});

const D1 = directorId('d1');
const D2 = directorId('d2');
const G1 = groupId('g1');

const session = (state: SessionRecord['state']): SessionRecord => ({
  v: 1,
  state,
  boot: '',
  namespace: '',
  machine: '',
  nonce: '',
  address: '',
  id: 0,
});

const report = (specRevision: number): ReportRecord => ({
  v: 1,
  version: '',
  address: '',
  session: 3,
  startedAt: '',
  specRevision,
  eligible: [],
  ready: [],
  bonus: {},
  ineligible: {},
  gate: 'netdev',
  ipvs: { available: true, detail: '' },
  problems: [],
});

/** d1 owns g1; d2 had it before, and nothing proves it silent unless its session is over. */
function viewWith(state: SessionRecord['state'], enforcedByD2: number): ElectionView {
  const owner: OwnerRecord = {
    v: 1,
    director: D1,
    session: 2,
    pending: [{ director: D2, session: 3, epoch: 4 }],
    vacant: false,
    reason: 'switchover',
  };
  return {
    ...EMPTY_VIEW,
    sessions: new Map([
      [D1, known(2, session('open'))],
      [D2, known(state === 'open' ? 3 : 7, { ...session(state), id: 3 })],
    ]),
    owners: new Map([[G1, known(5, owner)]]),
    reports: new Map([
      [D1, known(8, report(6))],
      [D2, known(9, report(enforcedByD2))],
    ]),
  };
}

function isReady(view: ElectionView): boolean {
  const barrier = createSpecBarrier();
  barrier.setSpec(anySpec([]), revision(6));
  barrier.look(view, directorId('d3'));
  return barrier.isReady();
}

describe('a former holder that is not proven silent', () => {
  it('is waited for until it enforces the spec', () => {
    expect(isReady(viewWith('open', 5))).toBe(false);
    expect(isReady(viewWith('open', 6))).toBe(true);
  });

  it('is not waited for when its session is over and it shows itself no more', () => {
    const view = viewWith('broken', 5);
    expect(isReady(view)).toBe(false);
    const gone = { rev: revision(0), asOf: revision(100), value: null };
    expect(isReady({ ...view, reports: new Map([...view.reports, [D2, gone]]) })).toBe(true);
  });
});

describe('a director that no record names', () => {
  it('is waited for as long as it shows itself: somebody may have deleted the record', () => {
    const view = { ...viewWith('open', 5), owners: new Map() };
    expect(isReady(view)).toBe(false);
    expect(isReady({ ...viewWith('open', 6), owners: new Map() })).toBe(true);
  });
});
