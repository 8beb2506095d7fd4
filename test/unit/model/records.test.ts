/** Stored values: written and read back alike; what does not fit is told, never guessed. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  ChallengeRecord,
  ConfirmDeadRecord,
  DrainRecord,
  EventRecord,
  formatRecord,
  LeaseRecord,
  OperationRecord,
  OwnerRecord,
  parseRecord,
  RealOverrideRecord,
  ReportRecord,
  ScopeRecord,
  SessionRecord,
  SpecRecord,
  VoteRecord,
} from '../../../src/model/records.ts';

const at = '2026-01-02T03:04:05.678Z';
const by = 'ann';
const reason = 'upgrade';

/** One good value of each kind. */
const EXAMPLES = [
  ['spec', SpecRecord, { v: 1, document: { apiVersion: 'leasehold/v1' }, by, at }],
  [
    'session',
    SessionRecord,
    {
      v: 1,
      state: 'open',
      boot: 'b',
      namespace: 'n',
      machine: 'm',
      nonce: '0f',
      address: '10.0.0.1',
      id: 0,
    },
  ],
  [
    'owner',
    OwnerRecord,
    {
      v: 1,
      director: 'd1',
      session: 7,
      pending: [{ director: 'd2', session: 5, epoch: 6 }],
      vacant: false,
      reason: 'holder-dead',
    },
  ],
  [
    'scope',
    ScopeRecord,
    { v: 1, holdMs: 3000, slackMs: 1100, driftMargin: 0.25, session: 7, peers: ['d2'] },
  ],
  ['challenge', ChallengeRecord, { v: 1, by: 'd2', session: 7 }],
  ['confirm-dead', ConfirmDeadRecord, { v: 1, session: 7, by, reason, at }],
  ['lease', LeaseRecord, { v: 1, holder: 'd1', epoch: 8 }],
  [
    'report',
    ReportRecord,
    {
      v: 1,
      version: '0.1.0',
      address: '10.0.0.1',
      session: 7,
      startedAt: at,
      specRevision: 3,
      eligible: ['web'],
      ready: ['web'],
      bonus: { web: -20 },
      ineligible: { db: 'interface-down' },
      gate: 'address-lifetime',
      ipvs: { available: true, detail: '1.2.1' },
      problems: [],
    },
  ],
  ['vote', VoteRecord, { v: 1, up: false, since: at, detail: 'connection refused' }],
  ['drain', DrainRecord, { v: 1, by, reason, at }],
  ['real', RealOverrideRecord, { v: 1, state: 'drain', weight: null, by, reason, at }],
  [
    'operation',
    OperationRecord,
    {
      v: 1,
      kind: 'switchover',
      group: 'web',
      from: null,
      to: 'd2',
      by,
      reason,
      at,
      state: 'running',
      steps: [{ at, text: 'asked d2' }],
      result: null,
    },
  ],
  [
    'event',
    EventRecord,
    {
      v: 1,
      at,
      director: 'd1',
      severity: 'info',
      kind: 'holder.gained',
      subject: 'web',
      message: 'd1 holds web',
      reason: 'vacant',
      epoch: 8,
      by: null,
    },
  ],
] as const;

describe.each(EXAMPLES)('%s', (_, schema, record) => {
  it('is read as it was written', () => {
    expect(parseRecord(schema, formatRecord(record))).toEqual({ ok: true, value: record });
  });

  it('of another version is refused', () => {
    const parsed = parseRecord(schema, formatRecord({ ...record, v: 2 }));
    expect(parsed.ok ? '' : parsed.error).toMatch(/^\/v: /);
  });

  it('that lacks any of its fields is refused', () => {
    for (const key of Object.keys(record)) {
      const { [key]: _dropped, ...rest } = record as Record<string, unknown>;
      expect(parseRecord(schema, formatRecord(rest)).ok, key).toBe(false);
    }
  });

  it('keeps what a later version may add', () => {
    expect(parseRecord(schema, formatRecord({ ...record, added: 1 })).ok).toBe(true);
  });
});

describe('any text', () => {
  it('is read or refused, but nothing is thrown', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
        for (const [, schema] of EXAMPLES) expect(parseRecord(schema, text).ok).toBe(false);
      }),
    );
  });

  it('that is no JSON is told so', () => {
    const parsed = parseRecord(LeaseRecord, '{"v":1,');
    expect(parsed.ok ? '' : parsed.error).toMatch(/^not JSON: /);
  });
});

describe('bounds', () => {
  it.each([
    [
      'a weight over 2147483647',
      RealOverrideRecord,
      { v: 1, state: 'ready', weight: 2_147_483_648, by, reason, at },
    ],
    ['an unknown state', RealOverrideRecord, { v: 1, state: 'off', weight: 1, by, reason, at }],
    ['a negative revision', LeaseRecord, { v: 1, holder: 'd1', epoch: -1 }],
    ['a name with a slash', LeaseRecord, { v: 1, holder: 'd1/x', epoch: 1 }],
    [
      'a hold of 0',
      ScopeRecord,
      { v: 1, holdMs: 0, slackMs: 0, driftMargin: 0, session: 1, peers: [] },
    ],
  ])('%s is refused', (_, schema, record) => {
    expect(parseRecord(schema, formatRecord(record)).ok).toBe(false);
  });
});
