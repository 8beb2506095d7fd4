/** The status document: each health level, and every problem in its words. */
import { describe, expect, it } from 'vitest';
import { deriveReport, localProblems } from '../../../src/agent/report.ts';
import { NOTHING_RECONCILED } from '../../../src/agent/reconcile-state.ts';
import { deriveStatus, type StatusInput } from '../../../src/agent/status.ts';
import { initialState } from '../../../src/core/election/initial-state.ts';
import type { Holding } from '../../../src/core/election/state.ts';
import { deriveChecks } from '../../../src/core/health/checks.ts';
import { deriveDesired } from '../../../src/core/desired/desired-state.ts';
import type { CheckStatus } from '../../../src/model/health.ts';
import type { CandidacyPhase, IsolationStatus } from '../../../src/model/status.ts';
import { directorId, groupId, type MonoMs, monoMs, revision } from '../../../src/model/ids.ts';
import { formatRecord, parseRecord, ReportRecord } from '../../../src/model/records.ts';
import {
  D1,
  D2,
  D3,
  fit,
  G1,
  group,
  holder,
  keys,
  live,
  ownerOf,
  reportOf,
  sessionOf,
  TIMING,
  WAIT_MS,
  type ElectionDriver,
} from '../core/election/election-driver.ts';
import { only, orphaned, promise, type Scene, withoutStore } from '../core/election/isolation.ts';
import { anyService, anySpec, ip, server, sorryServer } from '../core/desired/spec-builders.ts';

const at = '2026-01-01T00:00:00.000Z';
const SERVICE = anyService({
  group: G1,
  realServers: [server('10.90.0.21'), server('10.90.0.22')],
});
const SPEC = {
  ...anySpec([SERVICE]),
  directors: [
    { id: D1, address: ip('10.90.0.11'), zone: null },
    { id: D2, address: ip('10.90.0.12'), zone: null },
  ],
  groups: [group(G1)],
};
const { checks, byRealServer } = deriveChecks(SPEC);

const NO_BOOK: StatusInput['standIns'] = { refusalOf: () => null, sinceOf: () => null };

/** Both directors live, d1 holds g1, everything is up. */
function well(driver: ElectionDriver = holder()): StatusInput {
  const stored = (name: typeof D1, fields: Partial<ReportRecord> = {}) =>
    [name, { id: name, revision: revision(9), record: reportOf(fields) }] as const;
  return {
    cluster: 'lab',
    me: D1,
    version: 'test',
    wallTime: at,
    now: monoMs(driver.now),
    store: { lastAnswerAt: monoMs(driver.now - 20), lastError: null, revision: revision(40) },
    isStoreConnected: true,
    storedSpec: {
      revision: revision(2),
      record: { v: 1, document: {}, by: 'op', at },
      size: 2,
      by: 'op',
      at,
    },
    spec: SPEC,
    specProblem: null,
    election: driver.state,
    config: driver.config,
    gateKind: 'netdev',
    tracks: new Map(),
    vrrp: () => [],
    lagMs: 1,
    reconcile: {
      ...NOTHING_RECONCILED,
      available: true,
      detail: 'version 1.2.1',
      lastReconcileMs: 3,
      lastReconcileAt: monoMs(1),
      table: { services: [] },
    },
    marks: null,
    sysctls: null,
    quorumForMs: () => null,
    realServerLimit: 2000,
    checks: byRealServer,
    statuses: new Map(),
    votesOn: () => undefined,
    overrides: [],
    drains: new Map(),
    reports: new Map([stored(D1), stored(D2)]),
    isolation: null,
    standIns: NO_BOOK,
    localProblems: [],
  };
}

const downOf = (...addresses: string[]): ReadonlyMap<(typeof checks)[number]['id'], CheckStatus> =>
  new Map(
    checks.map((check) => [
      check.id,
      { isUp: !addresses.includes(check.address), basis: 'majority', votesUp: 0, votesDown: 1 },
    ]),
  );

describe('the health', () => {
  it('is ok when all is well', () => {
    const status = deriveStatus(well());
    expect([status.health, status.problems, status.ready]).toEqual(['ok', [], true]);
  });

  it('is down when a group has no holder, with what keeps each candidate', () => {
    const driver = holder();
    driver.store.remove(keys.report(D2));
    driver.keep = () => true;
    driver.store.remove(keys.owner(G1));
    driver.see();
    driver.feed(fit([G1, 'interface-down']));
    const status = deriveStatus(well(driver));
    expect(status.health).toBe('down');
    expect(status.problems).toEqual([
      'group g1 has no holder (d1: interface-down, d2: no-session)',
    ]);
    expect(status.groups[0]).toMatchObject({
      state: 'vacant',
      holder: null,
      epoch: null,
      basis: null,
      remainingMs: null,
      reason: 'nobody has ever held it',
    });
  });

  const base = well();
  it.each<[string, Partial<StatusInput>, string]>([
    [
      'etcd that never answered',
      { isStoreConnected: false },
      'etcd does not answer: no answer yet',
    ],
    [
      'etcd that is away',
      {
        isStoreConnected: false,
        store: {
          ...base.store,
          lastError: { code: 'deadline', message: 'no answer within 750 ms', isRetryable: true },
        },
      },
      'etcd does not answer: no answer within 750 ms',
    ],
    [
      'a document that cannot be used',
      { specProblem: 'groups.web: no addresses' },
      'the stored cluster document cannot be used: groups.web: no addresses',
    ],
    [
      'no document',
      { storedSpec: null },
      'no cluster document was applied yet: leasehold apply -f cluster.yaml',
    ],
    [
      'IPVS that is missing',
      { reconcile: { ...base.reconcile, available: false, detail: 'modprobe ip_vs' } },
      'IPVS cannot be programmed here: modprobe ip_vs',
    ],
    [
      'a dump that failed',
      { reconcile: { ...base.reconcile, problem: 'dump: EPERM' } },
      'IPVS: dump: EPERM',
    ],
    [
      'a service that the kernel refused',
      {
        reconcile: {
          ...base.reconcile,
          problems: new Map([['tcp 10.90.0.100:80', 'no scheduler wlc']]),
        },
      },
      'service web: no scheduler wlc',
    ],
    [
      'one real server down',
      { statuses: downOf('10.90.0.21') },
      'service web: real server 10.90.0.21:80 is down',
    ],
    [
      'all real servers down',
      { statuses: downOf('10.90.0.21', '10.90.0.22') },
      'service web: all real servers are down',
    ],
    ['a director without a report', { reports: new Map() }, 'director d2 is not alive'],
    [
      'a director with problems of its own',
      {
        reports: new Map([
          [D2, { id: 'd2', revision: revision(9), record: reportOf({ problems: ['no eth1'] }) }],
        ]),
      },
      'director d2: no eth1',
    ],
    ['a local problem', { localProblems: ['needs CAP_NET_ADMIN'] }, 'needs CAP_NET_ADMIN'],
  ])('is degraded by %s', (_, fields, problem) => {
    const status = deriveStatus({ ...well(), ...fields });
    expect(status.health).toBe('degraded');
    expect(status.problems).toEqual([problem]);
  });

  it('says that the sorry server answers', () => {
    const sorry = { ...SERVICE, sorryServer: sorryServer('10.90.0.29') };
    const input = well();
    const status = deriveStatus({
      ...input,
      spec: { ...SPEC, services: [sorry] },
      statuses: downOf('10.90.0.21', '10.90.0.22'),
      reconcile: { ...input.reconcile, sorryActive: new Set([SERVICE.id]) },
    });
    expect(status.problems).toEqual([
      'service web: all real servers are down, the sorry server answers',
    ]);
    expect(status.services[0]?.sorryServer).toEqual({ id: '10.90.0.29:80', isActive: true });
  });

  it('is degraded while only one of several could hold', () => {
    const driver = holder();
    driver.store.write(keys.drain(D2), formatRecord({ v: 1, by: '', reason: '', at: '' }));
    driver.settle();
    expect(deriveStatus(well(driver)).problems).toEqual(['group g1: only d1 could hold it now']);
  });
});

describe('a group', () => {
  it('that is held here tells how long the kernel lets it speak', () => {
    const driver = holder();
    const [status] = deriveStatus(well(driver)).groups;
    expect(status).toMatchObject({
      holder: 'd1',
      epoch: driver.store.read(keys.owner(G1)).modRevision,
      state: 'held-here',
      basis: 'consensus',
    });
    expect(status?.remainingMs).toBeGreaterThan(2000);
  });

  it('that is mine and silent is opening, not held', () => {
    const driver = holder();
    const input = well(driver);
    const late = deriveStatus({ ...input, now: monoMs(driver.now + 60_000) });
    expect(late.groups[0]).toMatchObject({ state: 'opening-here', remainingMs: null });
    expect(late.problems).toContain('group g1 is owned here and does not speak yet');
  });

  it('that another holds is held elsewhere', () => {
    const driver = holder();
    const session = live(driver.store);
    driver.store.write(
      keys.owner(G1),
      formatRecord({
        v: 1,
        director: 'd2',
        session,
        pending: [],
        vacant: false,
        reason: 'switchover',
      }),
    );
    driver.settle();
    const status = deriveStatus(well(driver));
    expect(status.groups[0]).toMatchObject({
      holder: 'd2',
      state: 'held-elsewhere',
      reason: 'switchover',
    });
    expect(status.directors.map((one) => [one.name, one.groups])).toEqual([
      ['d1', []],
      ['d2', ['g1']],
    ]);
  });
});

/** d2 holds g1 by the record and is silent, and so is etcd, for this long; d3 is in sight. */
function withoutHolder(ms: number, scene: Partial<Scene> = {}): ElectionDriver {
  const driver = orphaned();
  withoutStore(driver, ms, { isGatewayThere: true, answer: only(D3, promise), ...scene });
  return driver;
}
/** Silence for D', probes for D', and some rounds. */
const TAKEN_MS = 2 * WAIT_MS + TIMING.suspectMs + 5 * TIMING.roundMs;

const cutOff = (driver: ElectionDriver, fields: Partial<StatusInput> = {}) => {
  const status = deriveStatus({ ...well(driver), isStoreConnected: false, ...fields });
  return { status, group: status.groups[0] };
};

describe('a group whose holder is not heard while etcd is away', () => {
  it('is held by this director, as a stand-in, by its gateway', () => {
    const driver = withoutHolder(TAKEN_MS + 5000);
    const { group: told, status } = cutOff(driver);
    const holding = driver.state.holdings.get(G1);
    expect(holding).toMatchObject({ kind: 'open', right: 'segment' });
    expect(told).toMatchObject({
      holder: 'd1',
      epoch: driver.epochOf(),
      state: 'held-here',
      standIn: { recordHolder: 'd2' },
      basis: 'segment',
      reason: 'stood-in',
    });
    expect(told?.remainingMs).toBeGreaterThan(0);
    expect(told?.remainingMs).toBeLessThanOrEqual(TIMING.holdMs);
    const openedAt = holding?.kind === 'open' ? holding.openedAt : Number.NaN;
    expect(told?.standIn?.forMs).toBe(driver.now - openedAt);
    expect(told).not.toHaveProperty('candidacy');
    expect(status.problems).toContain(
      'group g1: d1 stands in for d2, which the record still names',
    );
    expect(status.directors.map(({ name, groups }) => [name, groups])).toEqual([
      ['d1', ['g1']],
      ['d2', []],
      ['d3', []],
    ]);
    expect(status.health).toBe('degraded');
  });

  it('is not held here when the kernel has silenced it', () => {
    const driver = withoutHolder(TAKEN_MS + 5000);
    const { group: told } = cutOff(driver, { now: monoMs(driver.now + TIMING.holdMs) });
    expect(told).toMatchObject({ holder: 'd2', state: 'opening-here', remainingMs: null });
    expect(told).not.toHaveProperty('standIn');
  });

  it('is held by another stand-in that is heard, for as long as that was seen', () => {
    const driver = orphaned();
    driver.audible = [];
    driver.hear(D3, [G1]);
    const sinceOf = (): MonoMs => monoMs(driver.now - 400);
    const { group: told, status } = cutOff(driver, { standIns: { ...NO_BOOK, sinceOf } });
    expect(told).toMatchObject({
      holder: 'd3',
      state: 'held-elsewhere',
      standIn: { recordHolder: 'd2', forMs: 400 },
      basis: 'segment',
      reason: 'stood-in',
      remainingMs: null,
    });
    expect(cutOff(driver).group?.standIn).toEqual({ recordHolder: 'd2', forMs: null });
    expect(status.problems).toContain(
      'group g1: d3 stands in for d2, which the record still names',
    );
  });

  it('is not vacant where the session of its holder by the record is over already', () => {
    const driver = withoutHolder(TAKEN_MS + 5000);
    const { view } = driver.state;
    const known = view.sessions.get(D2);
    if (known === undefined) throw new Error('d2 has a session');
    const broken = { ...known, value: sessionOf({ state: 'broken', by: 'd3' }) };
    const sessions = new Map(view.sessions).set(D2, broken);
    const election = { ...driver.state, view: { ...view, sessions } };
    expect(cutOff(driver, { election })).toMatchObject({
      status: { health: 'degraded' },
      group: { holder: 'd1', state: 'held-here', standIn: { recordHolder: 'd2' } },
    });
  });

  it.each([
    ['waiting', TIMING.suspectMs + 2000, {}, /^waits: d2 was not heard for 5\d00 of \d+ ms$/],
    ['probing', WAIT_MS + TIMING.suspectMs, {}, /^asks the network whether anybody has the VIPs$/],
    [
      'gateway-silent',
      TAKEN_MS,
      { isGatewayThere: false },
      /^may not speak for it: no gateway answers$/,
    ],
    [
      'asking',
      TAKEN_MS - WAIT_MS / 4,
      { answer: () => null },
      /^finds nobody with the VIPs, and asks the other directors$/,
    ],
  ] satisfies [CandidacyPhase, number, Partial<Scene>, RegExp][])(
    'tells that its candidate here is %s',
    (phase, ms, scene, detail) => {
      const { group: told, status } = cutOff(withoutHolder(ms, scene));
      const state = phase === 'waiting' ? 'held-elsewhere' : 'opening-here';
      expect(told).toMatchObject({ holder: 'd2', state, remainingMs: null });
      expect(told?.candidacy).toEqual({ phase, detail: expect.stringMatching(detail) });
      const words = told?.candidacy?.detail;
      expect(status.problems).toContain(
        `group g1: its holder d2 is not heard, nor is etcd; d1 ${words}`,
      );
    },
  );

  it('tells while it asks that no gateway answers, as soon as that is known', () => {
    const driver = withoutHolder(WAIT_MS + TIMING.suspectMs);
    const isolation: IsolationStatus = {
      policy: 'gateway',
      mode: 'any',
      isReachable: false,
      targets: [],
    };
    expect(cutOff(driver, { isolation }).group?.candidacy?.phase).toBe('gateway-silent');
    const reached = { ...isolation, isReachable: true };
    expect(cutOff(driver, { isolation: reached }).group?.candidacy?.phase).toBe('probing');
  });

  it('tells who has refused, for as long as that is new', () => {
    const driver = withoutHolder(TAKEN_MS - WAIT_MS / 4, { answer: () => null });
    const refusalAt = (at: number) => ({
      standIns: {
        ...NO_BOOK,
        refusalOf: () => ({ by: D3, reason: 'candidate', at: monoMs(at) }) as const,
      },
    });
    expect(cutOff(driver, refusalAt(driver.now - 100)).group?.candidacy).toEqual({
      phase: 'refused',
      detail: 'was refused by d3: it stands for it itself, and goes first (candidate)',
    });
    const old = refusalAt(driver.now - 2 * TIMING.holdMs);
    expect(cutOff(driver, old).group?.candidacy?.phase).toBe('asking');
  });

  it('tells that nobody may take it, where the document says release', () => {
    const driver = orphaned({ isolation: 'release' });
    withoutStore(driver, TAKEN_MS + 20_000, { isGatewayThere: false });
    expect(cutOff(driver).status.problems).toContain(
      'group g1: its holder d2 is not heard, nor is etcd; nobody may take it',
    );
  });
});

describe('the isolation', () => {
  it('is told as soon as there is a document', () => {
    expect(deriveStatus(well())).not.toHaveProperty('isolation');
    const isolation: IsolationStatus = {
      policy: 'release',
      mode: 'any',
      isReachable: null,
      targets: [],
    };
    expect(deriveStatus({ ...well(), isolation }).isolation).toBe(isolation);
  });
});

describe('a group on its way', () => {
  const driver = holder();
  const session = live(driver.store);
  const own = driver.epochOf();
  driver.store.write(
    keys.owner(G1),
    formatRecord(
      ownerOf({
        session,
        reason: 'switchover',
        pending: [{ director: 'd1', session: driver.sessionId, epoch: own }],
      }),
    ),
  );
  driver.see();
  const leaving: Holding = {
    kind: 'leaving',
    epoch: own,
    ownerRev: driver.store.read(keys.owner(G1)).modRevision,
    since: monoMs(driver.now),
    giveUp: { reason: 'switchover', to: D2, operation: 'op1' },
    phase: 'muted',
    mutedAt: monoMs(driver.now),
    nextTellAt: monoMs(driver.now),
    closeAt: null,
    successorEpoch: driver.epochOf(),
    isByConsent: false,
  };
  const statusWith = (holding: Holding) => {
    const input = well(driver);
    const election = { ...driver.state, holdings: new Map([[G1, holding]]) };
    return deriveStatus({ ...input, election }).groups[0];
  };

  it('tells to whom, how far, and who is still to be proven silent', () => {
    expect(statusWith(leaving)).toMatchObject({
      state: 'leaving-here',
      holder: 'd2',
      epoch: driver.epochOf(),
      remainingMs: null,
      handover: { to: 'd2', phase: 'muted', reason: 'switchover', operation: 'op1' },
      pending: [{ director: 'd1', epoch: own }],
    });
  });

  it('is given up when it is silenced without a successor', () => {
    const mine = holder();
    const closing: Holding = {
      kind: 'closing',
      epoch: mine.epochOf(),
      ownerRev: mine.store.read(keys.owner(G1)).modRevision,
      giveUp: { reason: 'interface-down', to: null, operation: null },
      isLost: false,
      silentAt: monoMs(0),
      retryAt: null,
    };
    const election = { ...mine.state, holdings: new Map([[G1, closing]]) };
    expect(deriveStatus({ ...well(mine), election }).groups[0]).toMatchObject({
      state: 'leaving-here',
      holder: 'd1',
      handover: { to: null, phase: 'closing', reason: 'interface-down', operation: null },
    });
  });

  it('that was given to this director is silent until the former holder is proven silent', () => {
    const mine = holder();
    mine.store.write(
      keys.owner(G1),
      formatRecord(
        ownerOf({
          director: 'd1',
          session: mine.sessionId,
          pending: [{ director: 'd2', session: live(mine.store), epoch: 3 }],
        }),
      ),
    );
    mine.see();
    const owned: Holding = {
      kind: 'owned',
      right: 'record',
      mustProbe: false,
      epoch: mine.epochOf(),
      since: monoMs(mine.now),
      failures: 0,
      preparedUntil: null,
      isOpening: false,
      formers: [D2],
    };
    const election = { ...mine.state, holdings: new Map([[G1, owned]]) };
    const { groups, problems } = deriveStatus({ ...well(mine), election });
    expect(groups[0]).toMatchObject({
      state: 'opening-here',
      pending: [{ director: 'd2', epoch: 3 }],
    });
    expect(problems).toContain(
      'group g1 is owned here and does not speak yet: waits until d2 is proven silent',
    );
  });

  it('that this director stands in for is shown as its own, and by what', () => {
    const open: Holding = {
      kind: 'open',
      right: 'segment',
      epoch: driver.epochOf(),
      since: monoMs(driver.now),
      openedAt: monoMs(driver.now),
      until: monoMs(driver.now + 300),
      failures: 0,
      formers: [],
    };
    expect(statusWith(open)).toMatchObject({
      state: 'held-here',
      holder: 'd1',
      basis: 'segment',
      reason: 'stood-in',
      remainingMs: 300,
    });
    const { epoch, since, right, failures, formers } = open;
    const silent = { preparedUntil: null, isOpening: false, mustProbe: true } as const;
    const owned: Holding = { kind: 'owned', epoch, since, right, failures, formers, ...silent };
    expect(statusWith(owned)).toMatchObject({
      state: 'opening-here',
      holder: 'd2',
      basis: 'segment',
    });
  });

  it('that another took over is no longer its own', () => {
    const closing: Holding = {
      kind: 'closing',
      epoch: own,
      ownerRev: leaving.ownerRev,
      giveUp: null,
      isLost: true,
      silentAt: monoMs(0),
      retryAt: null,
    };
    expect(statusWith(closing)).toMatchObject({ state: 'held-elsewhere', handover: null });
  });
});

describe('what a group depends on', () => {
  it('is shown: its tracks, and each candidate with priority, bonus and readiness', () => {
    const driver = holder();
    driver.store.write(
      keys.report(D2),
      formatRecord(
        reportOf({
          session: driver.store.read(keys.session(D2)).modRevision,
          bonus: { g1: -20 },
          ready: [],
        }),
      ),
    );
    driver.settle();
    const track = {
      id: 'interface eth1',
      isPassing: true,
      weight: null,
      detail: 'up',
      since: at,
    };
    const { groups } = deriveStatus({ ...well(driver), tracks: new Map([[G1, [track]]]) });
    expect(groups[0]?.tracks).toEqual([track]);
    expect(groups[0]?.candidates).toEqual([
      { director: 'd1', eligible: true, reason: null, ready: true, priority: 150, bonus: 0 },
      { director: 'd2', eligible: true, reason: null, ready: false, priority: 80, bonus: -20 },
    ]);
  });

  it('tells for how long the holder has been known', () => {
    const driver = holder();
    const known = deriveStatus(well(driver)).groups[0]?.ownedForMs ?? -1;
    const later = deriveStatus({ ...well(driver), now: monoMs(driver.now + 5000) });
    expect(known).toBeGreaterThanOrEqual(0);
    expect(later.groups[0]?.ownedForMs).toBe(known + 5000);
  });
});

describe('the hold', () => {
  it("tells the gate in words, D, and D' by the scope that the others go by", () => {
    const driver = holder();
    expect(deriveStatus(well(driver)).hold).toMatchObject({
      phase: 'running',
      gate: 'netdev',
      gateDetail: 'nftables rules at ingress and egress of the interfaces',
      holdMs: TIMING.holdMs,
      takeoverWaitMs: WAIT_MS,
    });
  });

  it('knows no wait before the scope is written', () => {
    const input = { ...well(), election: initialState(monoMs(1)) };
    expect(deriveStatus(input).hold).toMatchObject({
      holdMs: TIMING.holdMs,
      takeoverWaitMs: null,
    });
  });

  it('says that the agent is about to end', () => {
    const input = well();
    const { election } = input;
    const phaseOf = (fields: Partial<typeof election>) =>
      deriveStatus({ ...input, election: { ...election, ...fields } }).hold.phase;
    expect(phaseOf({ isFreezing: true })).toBe('freezing');
    expect(phaseOf({ isStopping: true })).toBe('stopping');
  });
});

describe('the health of a real server', () => {
  const alpha = anyService({
    id: 'strict',
    group: G1,
    port: 81,
    alpha: true,
    realServers: SERVICE.realServers,
  });
  const both = { ...SPEC, services: [SERVICE, alpha] };
  const { byRealServer: shared } = deriveChecks(both);
  // The check they share is down from the start, because one of them asks for it.
  const initial = new Map(
    checks.map(({ id }) => [
      id,
      { isUp: false, basis: 'initial' as const, votesUp: 0, votesDown: 0 },
    ]),
  );
  const healths = (fields: Partial<StatusInput>) =>
    deriveStatus({ ...well(), spec: both, checks: shared, ...fields }).services.map((service) =>
      service.realServers.map(({ health, basis }) => `${health} ${basis}`),
    );

  it('is what its own service assumes before the first vote', () => {
    expect(healths({ statuses: initial })).toEqual([
      ['up initial', 'up initial'],
      ['down initial', 'down initial'],
    ]);
  });

  it('is what the table was made from', () => {
    const overrides = well().overrides;
    const made = deriveDesired({ spec: both, checks: shared, overrides, statuses: initial });
    const { reconcile } = well();
    expect(
      healths({
        statuses: downOf('10.90.0.21'),
        reconcile: { ...reconcile, explanations: made.explanations },
      }),
    ).toEqual([
      ['up initial', 'up initial'],
      ['down initial', 'down initial'],
    ]);
  });
});

describe('readiness', () => {
  it.each<[string, Partial<StatusInput>]>([
    ['without etcd', { isStoreConnected: false }],
    ['without a spec', { spec: null }],
    ['without a session', { election: { ...holder().state, session: { kind: 'closed' } } }],
  ])('is not given %s', (_, fields) => {
    expect(deriveStatus({ ...well(), ...fields }).ready).toBe(false);
  });
});

describe('directors', () => {
  it('that the spec does not name but etcd knows are shown as such', () => {
    const driver = holder();
    live(driver.store, directorId('d9'));
    driver.settle();
    const { directors } = deriveStatus(well(driver));
    expect(directors.map(({ name, inSpec }) => [name, inSpec])).toEqual([
      ['d1', true],
      ['d2', true],
      ['d9', false],
    ]);
  });

  it('that only an operator can tell dead are a problem, with the command that ends it', () => {
    const driver = holder();
    driver.audible = [];
    driver.keep = () => true;
    const scope = JSON.parse(driver.store.read(keys.scope(D2)).value ?? '{}') as object;
    driver.store.write(keys.scope(D2), formatRecord({ ...scope, peers: ['d3'] }));
    driver.advance(60_000);
    const told = deriveStatus(well(driver));
    const text =
      'd2 is not heard, and none of those that its scope names is left to take over from it';
    const command = 'leasehold director confirm-dead d2 --reason "powered off"';
    expect(told.problems).toContain(`director ${text}; once it is surely off: ${command}`);
    const { modRevision: session } = driver.store.read(keys.session(D2));
    const word = { v: 1, session, by: 'alice', reason: 'burnt', at };
    driver.store.write(keys.confirmDead(D2), formatRecord(word));
    driver.see();
    const said = deriveStatus(well(driver));
    expect(said.problems.join()).toContain('director d2 was confirmed dead by alice (burnt)');
    expect(said.directors.map(({ silence }) => silence?.confirmedDead?.by)).toContain('alice');
  });

  it('that drain show why', () => {
    const drains = new Map([[D2, { v: 1 as const, by: 'op', reason: 'kernel update', at }]]);
    const { directors } = deriveStatus({ ...well(), drains });
    expect(directors[1]).toMatchObject({ isDraining: true, drainReason: 'kernel update' });
  });
});

describe('a report', () => {
  const input = (driver: ElectionDriver) => ({
    config: driver.config,
    state: driver.state,
    now: monoMs(driver.now),
    version: '1',
    startedAt: at,
    specRevision: 2,
    gateKind: 'netdev' as const,
    ipvs: { available: true, detail: '' },
    problems: ['x'],
    vrrp: [],
    macs: [],
  });

  it('tells what this director could hold, with its session', () => {
    const driver = holder({ groups: [group(G1), group(groupId('g2'), { priorities: new Map() })] });
    const report = deriveReport(input(driver));
    expect(report).toMatchObject({
      session: driver.sessionId,
      eligible: ['g1'],
      ineligible: { g2: 'not-in-priorities' },
      problems: ['x'],
    });
    expect(parseRecord(ReportRecord, formatRecord(report)).ok).toBe(true);
  });

  it('tells why not', () => {
    const driver = holder();
    driver.feed(fit([G1, 'interface-down']));
    expect(deriveReport(input(driver))).toMatchObject({
      eligible: [],
      ineligible: { g1: 'interface-down' },
    });
  });

  it('is not made without a session', () => {
    const driver = holder();
    driver.state = { ...driver.state, session: { kind: 'closed' } };
    expect(deriveReport(input(driver))).toBeNull();
  });

  it('names what is wrong on this machine', () => {
    const none = {
      me: D1,
      spec: SPEC,
      devices: new Map(),
      links: new Map(),
      hostProblems: [],
      kernelProblem: null,
      gateKind: 'netdev' as const,
      gateProblem: null,
      refusals: new Map(),
    };
    expect(localProblems(none)).toEqual([]);
    expect(
      localProblems({
        ...none,
        me: directorId('d7'),
        hostProblems: ['no CAP_NET_RAW'],
        kernelProblem: 'EPERM',
        gateProblem: 'no table leasehold',
        refusals: new Map([[G1, 'bind: EPERM']]),
      }),
    ).toEqual([
      'no CAP_NET_RAW',
      'addresses cannot be managed: EPERM',
      'the gate is not whole: no table leasehold',
      'group g1: bind: EPERM',
      'the cluster document names no director d7',
    ]);
  });
});
