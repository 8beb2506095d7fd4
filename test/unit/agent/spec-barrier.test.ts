/** A moved VIP waits for all that may still speak by the spec before (design 4.13). */
import { describe, expect, it } from 'vitest';
import { createSpecBarrier, type SpecBarrier } from '../../../src/agent/spec-barrier.ts';
import { EMPTY_VIEW, type ElectionView, type Known } from '../../../src/core/election/view.ts';
import type { ClusterSpec, VipGroup } from '../../../src/model/cluster.ts';
import type { IpAddress } from '../../../src/model/address.ts';
import { type DirectorId, directorId, groupId, monoMs, revision } from '../../../src/model/ids.ts';
import type {
  OwnerRecord,
  ReportRecord,
  ScopeRecord,
  SessionRecord,
} from '../../../src/model/records.ts';
import { anySpec, ip } from '../core/desired/spec-builders.ts';

const known = <T>(rev: number, value: T): Known<T> => ({
  rev: revision(rev),
  asOf: revision(100),
  value,
});

const D1 = directorId('d1');
const D2 = directorId('d2');
const D3 = directorId('d3');
const START = monoMs(0);
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
  barrier.look(view, D3, START);
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
      barrier.look(at(spec), D3, START);
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
    barrier.look(viewWith('broken', 7), D3, START);
    expect(barrier.isReady()).toBe(true);
    barrier.look(viewWith('open', 0), D3, START);
    expect(barrier.isReady()).toBe(true);
  });
});

describe('a VIP that moves to another group', () => {
  const speaksAfter = (moves: readonly string[], view: ElectionView): boolean => {
    const barrier = barrierAt(viewWith('open', 6), 6);
    for (const [i, id] of moves.entries()) barrier.setSpec(specWith(id), revision(7 + i));
    barrier.look(view, D3, START);
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
    const unreported = { reports: new Map([[D2, known(20, report(7))]]) };
    const OTHER = ip('10.90.0.102');
    const groupAt = (id: string, ...vips: IpAddress[]): VipGroup => {
      const [one] = groupWith(id).addresses;
      const addresses = vips.flatMap((address) => (one === undefined ? [] : [{ ...one, address }]));
      return { ...groupWith(id), addresses };
    };
    const specOf = (...groups: VipGroup[]): ClusterSpec => ({ ...anySpec([]), groups });
    const before = specOf(groupAt('g1', VIP, OTHER));
    const after = specOf(groupAt('g1', OTHER), groupAt('g2', VIP));
    const scope = (...peers: string[]): ScopeRecord => ({
      v: 1,
      holdMs: 3000,
      slackMs: 100,
      driftMargin: 0.1,
      session: 2,
      peers,
    });
    const scopes = new Map([D1, D2].map((one) => [one, known(4, scope('d2', 'd3'))]));
    const deleted = { owners: new Map() };
    /** D' of each of them: by the greater margin and the greater slack of its scope and the document. */
    const DEAD_MS = 3000 * 1.25 + 1100;

    type Seen = readonly [number, Partial<ElectionView>];

    /** What the director sees one after the other, and when: may the VIP speak in its new group each time? */
    function speaks(spec: ClusterSpec, ...seen: readonly Seen[]): readonly boolean[] {
      const barrier = createSpecBarrier();
      barrier.setSpec(before, revision(6));
      barrier.look({ ...view, scopes }, D3, START);
      barrier.setSpec(spec, revision(7));
      const group = spec.groups.at(-1) ?? groupWith('g2');
      return seen.map(([at, one]) => {
        barrier.look({ ...view, scopes, ...unreported, ...one }, D3, monoMs(at));
        return barrier.allowed(group).length === group.addresses.length;
      });
    }

    it('waits for D’ since it has seen that, and no longer', () => {
      const seen: Seen[] = [5000, 5000 + DEAD_MS - 1, 5000 + DEAD_MS].map((at) => [at, deleted]);
      expect(speaks(after, ...seen)).toEqual([false, false, true]);
      // A moved group that the document has no more, as one is that got another name.
      expect(speaks(specOf(groupAt('g2', VIP)), ...seen)).toEqual([false, false, true]);
    });

    it('counts the time on when the record becomes a vacant one, and anew when it was there between', () => {
      const nobody = { ...ownedBy(D1), director: null, session: 0, vacant: true };
      const vacant = { owners: new Map([[G1, known(21, nobody)]]) };
      expect(speaks(after, [5000, deleted], [5000 + DEAD_MS, vacant])).toEqual([false, true]);
      const seen: Seen[] = [
        [5000, deleted],
        [6000, {}],
        [7000, vacant],
        [5000 + DEAD_MS, vacant],
      ];
      expect(speaks(after, ...seen)).toEqual([false, false, false, false]);
    });

    it('waits for the longest D’ of all: one that ends for a new process has a long one', () => {
      const long = new Map([...scopes, [D1, known(5, { ...scope('d2', 'd3'), holdMs: 10_000 })]]);
      const seen: Seen[] = [5000, 5000 + DEAD_MS, 5000 + 13_600].map((at) => [
        at,
        { ...deleted, scopes: long },
      ]);
      expect(speaks(after, ...seen)).toEqual([false, false, true]);
    });

    it('waits on where that holder need not ask this director for its promise', () => {
      const apart = new Map([...scopes, [D1, known(5, scope('d2'))]]);
      const seen: Seen[] = [5000, 99_000].map((at) => [at, { ...deleted, scopes: apart }]);
      expect(speaks(after, ...seen)).toEqual([false, false]);
    });

    it('waits on where the record is there, and cannot be read', () => {
      const unread = { owners: new Map([[G1, { ...known(21, ownedBy(D1)), value: null }]]) };
      expect(speaks(after, [5000, unread], [99_000, unread])).toEqual([false, false]);
      expect(speaks(after, [5000, unread], [99_000, deleted])).toEqual([false, false]);
    });

    it('waits no more when another one claims its former group, or its session is over', () => {
      const claimed = { owners: new Map([[G1, known(22, { ...ownedBy(D2), session: 3 })]]) };
      expect(speaks(after, [5000, deleted], [5001, claimed])).toEqual([false, true]);
      const over = new Map([...view.sessions, [D1, known(21, session('broken'))] as const]);
      const seen: Seen[] = [
        [5000, deleted],
        [5001, { ...deleted, sessions: over }],
      ];
      expect(speaks(after, ...seen)).toEqual([false, true]);
    });

    it('does not wait for a director that has never lived, nor where the holder released the group', () => {
      const alone = {
        sessions: new Map([[D2, known(3, { ...session('open'), id: 3 })]]),
        scopes: new Map([[D2, known(4, scope('d3'))]]),
      };
      expect(speaks(after, [5000, { ...deleted, ...alone }])).toEqual([true]);
      const released = { ...ownedBy(D1), director: null, session: 0 };
      expect(speaks(after, [5000, { owners: new Map([[G1, known(21, released)]]) }])).toEqual([
        true,
      ]);
    });

    it('waits for a director of which only the scope is left, as somebody deleted its session', () => {
      const sessions = new Map([[D2, known(3, { ...session('open'), id: 3 })]]);
      expect(speaks(after, [5000, { ...deleted, sessions }])).toEqual([false]);
    });

    it('lets other VIPs go on that never were in such a group', () => {
      const [OLD, NEW] = [ip('10.90.0.103'), ip('10.90.0.104')];
      const first = specOf(groupAt('g1', VIP), groupAt('g3', OLD, NEW));
      const owners = new Map([[groupId('g3'), known(5, ownedBy(D2))]]);
      const barrier = createSpecBarrier();
      barrier.setSpec(first, revision(6));
      barrier.look({ ...view, scopes, owners }, D3, START);
      barrier.setSpec(specOf(groupAt('g2', VIP, OLD), groupAt('g3', NEW)), revision(7));
      barrier.look({ ...view, scopes, owners, ...unreported }, D3, START);
      const allowed = barrier.allowed(groupAt('g2', VIP, OLD)).map(({ address }) => address);
      expect(allowed).toEqual([OLD]);
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
