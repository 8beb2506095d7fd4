/** A moved VIP waits for all that may still speak by the spec before (design 4.13). */
import { describe, expect, it } from 'vitest';
import { createSpecBarrier, type SpecBarrier } from '../../../src/agent/spec-barrier.ts';
import { EMPTY_VIEW, type ElectionView, type Known } from '../../../src/core/election/view.ts';
import type { ClusterSpec, VipGroup } from '../../../src/model/cluster.ts';
import { type DirectorId, directorId, groupId, revision } from '../../../src/model/ids.ts';
import type { OwnerRecord, ReportRecord, SessionRecord } from '../../../src/model/records.ts';
import { anySpec, ip } from '../core/desired/spec-builders.ts';

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

const ownedBy = (director: DirectorId): OwnerRecord => ({
  v: 1,
  director,
  session: 2,
  pending: [],
  vacant: false,
  reason: 'vacant',
});

/** d1 owns g1; d2 had it before, and nothing proves it silent unless its session is over. */
function viewWith(state: SessionRecord['state'], enforcedByD2: number): ElectionView {
  const pending = [{ director: D2, session: 3, epoch: 4 }];
  const owner: OwnerRecord = { ...ownedBy(D1), pending, reason: 'switchover' };
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

const VIP = ip('10.90.0.101');

function groupWith(id: string): VipGroup {
  const place = { address: VIP, prefix: 24, interface: 'public', label: null } as const;
  return {
    id: groupId(id),
    addresses: [{ ...place, scope: 'global' }],
    priorities: null,
    preempt: { kind: 'never' },
    virtualRouterId: null,
    vrrp: null,
    weight: 1,
    antiAffinity: [],
    tracks: [],
    notify: null,
    connectionSync: null,
  };
}

const specWith = (id: string): ClusterSpec => ({ ...anySpec([]), groups: [groupWith(id)] });

/** The barrier of d3 at that spec. */
function barrierAt(view: ElectionView, at: number): SpecBarrier {
  const barrier = createSpecBarrier();
  barrier.setSpec(specWith('g1'), revision(at));
  barrier.look(view, directorId('d3'));
  return barrier;
}

const isReady = (view: ElectionView): boolean => barrierAt(view, 6).isReady();

describe('a former holder that is not proven silent', () => {
  it('is waited for until it enforces the spec', () => {
    expect(isReady(viewWith('open', 5))).toBe(false);
    expect(isReady(viewWith('open', 6))).toBe(true);
  });

  it('is not waited for at the start when its session is over', () => {
    expect(isReady(viewWith('broken', 5))).toBe(true);
  });
});

describe('a holder that enforces a spec which was never in force here', () => {
  it('lets nothing be taken here, until it enforces one that was, or that one comes into force', () => {
    const at = (spec: number): ElectionView => viewWith('open', spec);
    const barrier = barrierAt(at(6), 6);
    const isReadyAt = (spec: number): boolean => {
      barrier.look(at(spec), directorId('d3'));
      return barrier.isReady();
    };
    expect([isReadyAt(6), isReadyAt(7), isReadyAt(6)]).toEqual([true, false, true]);
    isReadyAt(7);
    barrier.setSpec(specWith('g1'), revision(7));
    barrier.setSpec(specWith('g1'), revision(8));
    expect([isReadyAt(7), isReadyAt(6), isReadyAt(9)]).toEqual([true, true, false]);
  });

  it('is not waited for when its session is over, nor where it enforces none', () => {
    const barrier = barrierAt(viewWith('open', 6), 6);
    barrier.look(viewWith('broken', 7), directorId('d3'));
    expect(barrier.isReady()).toBe(true);
    barrier.look(viewWith('open', 0), directorId('d3'));
    expect(barrier.isReady()).toBe(true);
  });
});

describe('a VIP that moves to another group', () => {
  const speaksAfter = (moves: readonly string[], view: ElectionView): boolean => {
    const barrier = barrierAt(viewWith('open', 6), 6);
    for (const [i, id] of moves.entries()) barrier.setSpec(specWith(id), revision(7 + i));
    barrier.look(view, directorId('d3'));
    return barrier.allowed(groupWith(moves.at(-1) ?? 'g1')).length === 1;
  };
  const at = (view: ElectionView, specRevision: number): ElectionView => ({
    ...view,
    reports: new Map([D1, D2].map((one) => [one, known(20, report(specRevision))])),
  });

  it('waits for a director that no record names: somebody may have deleted the record', () => {
    const hidden = { ...viewWith('open', 6), owners: new Map() };
    expect(speaksAfter(['g2'], hidden)).toBe(false);
    expect(speaksAfter(['g2'], at(hidden, 7))).toBe(true);
  });

  describe('from a holder without a report, whose record somebody deletes', () => {
    const view = viewWith('open', 6);
    const unreported = new Map([[D2, known(20, report(7))]]);
    const left: VipGroup = { ...groupWith('g1'), addresses: [] };
    const moved = { ...anySpec([]), groups: [left, groupWith('g2')] };
    /** What the director sees one after the other: may the VIP speak in its new group each time? */
    const speaks = (spec: ClusterSpec, ...seen: Partial<ElectionView>[]): readonly boolean[] => {
      const barrier = barrierAt(view, 6);
      barrier.setSpec(spec, revision(7));
      return seen.map((one) => {
        barrier.look({ ...view, reports: unreported, ...one }, directorId('d3'));
        return barrier.allowed(groupWith('g2')).length === 1;
      });
    };
    const deleted = { owners: new Map() };

    it('waits until another one claims its former group', () => {
      const nobody = { ...ownedBy(D1), director: null, session: 0, vacant: true };
      const vacant = { owners: new Map([[G1, known(21, nobody)]]) };
      const claimed = { owners: new Map([[G1, known(22, { ...ownedBy(D2), session: 3 })]]) };
      expect(speaks(moved, {}, deleted, vacant, claimed)).toEqual([false, false, false, true]);
    });

    it('waits no more when the session of that holder is over', () => {
      const over = new Map([...view.sessions, [D1, known(21, session('broken'))] as const]);
      expect(speaks(moved, deleted, { ...deleted, sessions: over })).toEqual([false, true]);
    });

    it('does not wait for a holder that had released the group before', () => {
      const released = { ...ownedBy(D1), director: null, session: 0 };
      const owners = new Map([[G1, known(21, released)]]);
      const barrier = barrierAt(view, 6);
      barrier.look({ ...view, reports: unreported, owners }, directorId('d3'));
      barrier.setSpec(moved, revision(7));
      barrier.look({ ...view, reports: unreported, ...deleted }, directorId('d3'));
      expect(barrier.allowed(groupWith('g2'))).toHaveLength(1);
    });

    it('does not wait for a group that never had the VIP', () => {
      const elsewhere = { ...moved, groups: [groupWith('g2'), { ...left, id: groupId('g3') }] };
      const owners = new Map([[groupId('g3'), known(5, ownedBy(D1))]]);
      expect(speaks(elsewhere, { owners }, deleted)).toEqual([false, true]);
    });

    it('does not wait where the document has the former group no more: nobody will claim it', () => {
      expect(speaks(specWith('g2'), deleted)).toEqual([true]);
    });
  });

  it('and moves back waits too: somebody may be at the spec in between', () => {
    expect(speaksAfter(['g2', 'g1'], at(viewWith('open', 6), 7))).toBe(false);
    expect(speaksAfter(['g2', 'g1'], at(viewWith('open', 6), 8))).toBe(true);
  });

  it('waits for who is further on: it may have moved back', () => {
    expect(speaksAfter(['g2'], at(viewWith('open', 6), 8))).toBe(false);
  });

  it('does not wait where nothing moves', () => {
    expect(speaksAfter(['g1'], viewWith('open', 6))).toBe(true);
  });
});
