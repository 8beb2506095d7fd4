/** What this director could hold now, how well, and what keeps it from it. */
import { describe, expect, it } from 'vitest';
import {
  deriveEligibility,
  type FitnessInput,
  gateNeedsOf,
  isSameEligibility,
} from '../../../src/agent/fitness.ts';
import { NOTHING_RECONCILED, type ReconcileState } from '../../../src/agent/reconcile-state.ts';
import { deriveDesired, NO_FACTS } from '../../../src/core/desired/desired-state.ts';
import type { ClusterSpec } from '../../../src/model/cluster.ts';
import { directorId, groupId, monoMs } from '../../../src/model/ids.ts';
import { anyService, anySpec, ip } from '../core/desired/spec-builders.ts';
import { group, TIMING } from '../core/election/election-driver.ts';

const WEB = groupId('web');
const PLAIN = groupId('plain');

const address = {
  address: ip('10.90.0.100'),
  prefix: 24,
  interface: 'public',
  label: null,
  scope: 'global' as const,
};
const spec: ClusterSpec = {
  ...anySpec([anyService()]),
  timing: TIMING,
  groups: [group(WEB, { addresses: [address] }), group(PLAIN, { addresses: [address] })],
};
const counters = { connections: 0, packetsIn: 0, packetsOut: 0, bytesIn: 0, bytesOut: 0 };

/** After a complete pass: every service of the spec is in the kernel. */
function reconciled(fields: Partial<ReconcileState> = {}): ReconcileState {
  const { services } = deriveDesired({
    spec,
    checks: new Map(),
    overrides: [],
    statuses: new Map(),
  });
  return {
    ...NOTHING_RECONCILED,
    available: true,
    lastReconcileMs: 1,
    lastReconcileAt: monoMs(1),
    table: {
      services: services.map((one) => ({ ...one, counters, rates: counters, destinations: [] })),
    },
    ...fields,
  };
}

const input = (fields: Partial<FitnessInput> = {}): FitnessInput => ({
  me: directorId('d1'),
  spec,
  devices: new Map([['public', 'eth0']]),
  links: new Map([
    ['eth0', { index: 2, name: 'eth0', mac: null, isAdminUp: true, isRunning: true, mtu: 1500 }],
  ]),
  hostProblems: [],
  isSpecSettled: true,
  gateKind: 'netdev',
  tracks: { obstacle: () => null, bonus: () => 0, isSettled: () => true },
  reconcile: reconciled(),
  marks: null,
  gateway: { bonus: () => 0, isSettled: () => true },
  holds: () => false,
  vrrp: null,
  ...fields,
});
const judge = (fields: Partial<FitnessInput> = {}) => deriveEligibility(input(fields));

describe('a director', () => {
  it('that lacks nothing could hold all, and is ready for all', () => {
    const { groups, ready, bonus } = judge();
    expect([...groups]).toEqual([
      [WEB, null],
      [PLAIN, null],
    ]);
    expect([...ready]).toEqual([WEB, PLAIN]);
    expect(bonus.size).toBe(0);
  });

  it.each([
    ['cannot-bind', { hostProblems: ['no CAP_NET_ADMIN'] }],
    ['starting', { isSpecSettled: false }],
    ['interface-missing', { links: new Map() }],
    ['vrrp-active-elsewhere', { vrrp: { obstacle: () => 'vrrp-active-elsewhere' as const } }],
    [
      'track-failed',
      {
        tracks: { obstacle: () => 'track-failed' as const, bonus: () => 0, isSettled: () => true },
      },
    ],
  ] as const)('is told %s, and is ready for nothing', (reason, fields) => {
    const { groups, ready } = judge(fields);
    expect([...groups.values()]).toEqual([reason, reason]);
    expect(ready.size).toBe(0);
  });

  it('without a spec could hold nothing', () => {
    expect(judge({ spec: null }).groups.size).toBe(0);
  });

  it('tells what its tracks add', () => {
    const tracks = { obstacle: () => null, bonus: () => -20, isSettled: () => true };
    expect([...judge({ tracks }).bonus.values()]).toEqual([-20, -20]);
  });
});

describe('a kernel with nothing but address lifetimes', () => {
  it.each([
    [2999, 'gate-too-coarse'],
    [3000, null],
  ] as const)('with a hold time of %i ms: %s', (holdMs, reason) => {
    const short = { ...spec, timing: { ...TIMING, holdMs } };
    const { groups } = judge({ spec: short, gateKind: 'address-lifetime' });
    expect([...new Set(groups.values())]).toEqual([reason]);
    expect([...new Set(judge({ spec: short }).groups.values())]).toEqual([null]);
  });

  it('needs more of the timing than one with rules', () => {
    expect(gateNeedsOf('address-lifetime')).toEqual({ minHoldMs: 3000, slackMs: 1100 });
    for (const kind of ['netdev', 'arp-inet-ip6', 'bridge'] as const)
      expect(gateNeedsOf(kind)).toEqual({ minHoldMs: 0, slackMs: 0 });
  });
});

describe('readiness', () => {
  it.each([
    ['before the first pass', { lastReconcileAt: null }],
    ['while the pass has a problem', { problem: 'the dump failed' }],
    ['without ip_vs', { available: false, table: null }],
    ['while a service is missing', { table: { services: [] } }],
    ['while the kernel refuses a service', { problems: new Map([['tcp 10.90.0.100:80', 'no']]) }],
  ] as const)('%s is that of groups without services only', (_, fields) => {
    const { ready, groups } = judge({ reconcile: reconciled(fields) });
    expect([...ready]).toEqual([PLAIN]);
    expect(groups.get(WEB)).toBeNull();
  });

  it('waits for tracks that nobody has looked at yet', () => {
    const tracks = { obstacle: () => null, bonus: () => 0, isSettled: () => false };
    expect(judge({ tracks }).ready.size).toBe(0);
  });
});

describe('telling again', () => {
  it('is for what changed only', () => {
    expect(isSameEligibility(judge(), judge())).toBe(true);
    const tracks = { obstacle: () => null, bonus: () => 5, isSettled: () => true };
    for (const other of [
      judge({ isSpecSettled: false }),
      judge({ tracks }),
      judge({ reconcile: reconciled({ lastReconcileAt: null }) }),
      judge({ spec: null }),
    ])
      expect(isSameEligibility(judge(), other)).toBe(false);
  });
});

describe('a director without its gateway', () => {
  const gateway = {
    bonus: (role: 'holder' | 'candidate') => (role === 'candidate' ? -253 : 0),
    isSettled: () => true,
  };
  const [first] = spec.groups;
  if (first === undefined) throw new Error('no group');

  it('stands behind all others, but what it holds is judged for itself', () => {
    const { groups, ready, bonus } = judge({ gateway });
    expect(bonus).toEqual(new Map(spec.groups.map(({ id }) => [id, -253])));
    expect([...groups.values()].every((obstacle) => obstacle === null)).toBe(true);
    expect(ready.size).toBe(spec.groups.length);
    expect(judge({ gateway, holds: () => true }).bonus.size).toBe(0);
  });

  it('adds to the tracks, within what a priority can have', () => {
    const tracks = (bonus: number) => ({
      obstacle: () => null,
      bonus: () => bonus,
      isSettled: () => true,
    });
    expect(judge({ gateway, tracks: tracks(20) }).bonus.get(first.id)).toBe(-233);
    expect(judge({ gateway, tracks: tracks(-20) }).bonus.get(first.id)).toBe(-253);
  });

  it('loses the priority of an owner by its gateway, and by no weight', () => {
    const owned = { ...first, priorities: new Map([[directorId('d1'), 255]]) };
    const tracks = { obstacle: () => null, bonus: () => -20, isSettled: () => true };
    const answering = { ...gateway, bonus: () => 0 };
    const of = (fields: Partial<FitnessInput>): number | undefined =>
      judge({ spec: { ...spec, groups: [owned] }, tracks, ...fields }).bonus.get(first.id);
    expect(of({ gateway: answering })).toBeUndefined();
    expect(of({ gateway })).toBe(-253);
    expect(of({ gateway: answering, me: directorId('d2') })).toBe(-20);
  });

  it('is ready for nothing before it was asked', () => {
    expect(judge({ gateway: { ...gateway, isSettled: () => false } }).ready.size).toBe(0);
  });
});

describe('a service whose packets get no mark', () => {
  it('makes its group unready, and no other', () => {
    const marks = { problems: new Map([[anyService().id, 'no nftables']]) };
    expect([...judge({ marks }).ready]).toEqual([PLAIN]);
  });
});

describe('connection sync', () => {
  it('that has not caught up keeps a group away, but for other obstacles, and makes nothing unready', () => {
    const reconcile = reconciled({ syncAwaited: new Set([WEB]) });
    const behind = judge({ reconcile });
    expect([...behind.groups]).toEqual([
      [WEB, 'sync-catching-up'],
      [PLAIN, null],
    ]);
    expect([...behind.ready]).toEqual([WEB, PLAIN]);
    const { groups } = judge({ reconcile, links: new Map() });
    expect(groups.get(WEB)).toBe('interface-missing');
  });

  it('keeps a group away also before the kernel was looked at', () => {
    const connectionSync = {
      syncId: 1,
      interface: 'public',
      group: ip('224.0.0.81'),
      port: 8848,
      ttl: 1,
      maxLength: null,
      catchUpMs: 5000,
    };
    const groups = spec.groups.map((one) => (one.id === WEB ? { ...one, connectionSync } : one));
    const synced = { ...spec, groups };
    const why = (fields: Partial<ReconcileState>) =>
      judge({ spec: synced, reconcile: reconciled(fields) }).groups.get(WEB);
    expect(why({})).toBe('sync-catching-up');
    const ready = { value: true, reason: 'not-synced', remainingMs: null } as const;
    expect(why({ syncReady: new Map([[WEB, ready]]) })).toBeNull();
  });
});

describe('a cold standby', () => {
  const cold: ClusterSpec = { ...spec, ipvs: { ...spec.ipvs, standby: 'cold' } };
  const explained = (isHere: boolean) => {
    const one = deriveDesired({
      spec: cold,
      checks: new Map(),
      overrides: [],
      statuses: new Map(),
      facts: { ...NO_FACTS, groupsHere: new Set(isHere ? [WEB] : []) },
    });
    return { serviceExplanations: one.serviceExplanations, table: { services: [] } };
  };

  it('is ready for what it does not have, and not for what it should have by now', () => {
    expect(judge({ spec: cold, reconcile: reconciled(explained(false)) }).ready).toContain(WEB);
    expect(judge({ spec: cold, reconcile: reconciled(explained(true)) }).ready).not.toContain(WEB);
    expect(judge({ reconcile: reconciled(explained(false)) }).ready).not.toContain(WEB);
  });
});
