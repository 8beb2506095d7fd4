/** What the watch tells, parsed and kept: nothing is decided here, nothing unreadable is guessed. */
import { describe, expect, it } from 'vitest';
import { ClusterView, EVENT_LIMIT } from '../../../src/agent/cluster-view.ts';
import { checkId, directorId, groupId, revision } from '../../../src/model/ids.ts';
import { formatRecord } from '../../../src/model/records.ts';
import type { StoreEntry } from '../../../src/ports/cluster-store.ts';
import { operationOf, ownerOf, reportOf, sessionOf } from '../core/election/election-driver.ts';
import { RecordingLog } from './reconcile-loop.fixture.ts';
import { keys } from './store-bench.ts';

const D1 = directorId('d1');
const CHECK = checkId('c1');
const at = '2026-01-01T00:00:00.000Z';
const spec = (n: number) => ({ v: 1, document: { n }, by: 'op', at });
const vote = { v: 1, up: false, since: at, detail: 'refused' };
const event = (message: string) => ({
  v: 1,
  at,
  director: 'd1',
  severity: 'info',
  kind: 'holder.gained',
  subject: 'web',
  message,
  reason: null,
  epoch: null,
  by: null,
});

function setUp() {
  const log = new RecordingLog();
  const view = new ClusterView(keys, log);
  const entry = (key: string, value: unknown, rev: number): StoreEntry => ({
    key,
    value: typeof value === 'string' ? value : formatRecord(value),
    modRevision: revision(rev),
  });
  const change = (key: string, value: unknown, rev: number) =>
    view.apply({
      kind: 'changes',
      revision: revision(rev),
      changes: [
        value === null ? { key, value: null, modRevision: revision(rev) } : entry(key, value, rev),
      ],
    });
  const snapshot = (rev: number, ...entries: StoreEntry[]) =>
    view.apply({ kind: 'snapshot', revision: revision(rev), entries });
  return { log, view, entry, change, snapshot };
}

describe('a snapshot', () => {
  it('replaces all: what it does not name is gone', () => {
    const { view, entry, snapshot } = setUp();
    snapshot(
      5,
      entry(keys.vote(CHECK, D1), vote, 2),
      entry(keys.owner(groupId('web')), ownerOf(), 3),
      entry(keys.drain(D1), { v: 1, by: '', reason: 'why', at }, 4),
    );
    expect(view.votes.get(CHECK)?.get(D1)?.isUp).toBe(false);
    expect(view.drains.get(D1)?.reason).toBe('why');
    const update = snapshot(9, entry(keys.spec, spec(1), 8));
    expect(view.votes.size).toBe(0);
    expect(view.drains.size).toBe(0);
    expect(update.areas).toEqual(new Set(['votes', 'reports', 'spec']));
    expect(update.election).toContainEqual({
      of: 'owner',
      name: 'web',
      known: { rev: 0, asOf: 9, value: null },
    });
    expect([view.revision, view.revisionOf(keys.spec), view.revisionOf(keys.drain(D1))]).toEqual([
      9, 8, 0,
    ]);
  });

  it('gives the election every record as of its revision', () => {
    const { entry, snapshot } = setUp();
    const update = snapshot(7, entry(keys.session(D1), sessionOf(), 3));
    expect(update.election).toEqual([
      { of: 'session', name: 'd1', known: { rev: 3, asOf: 7, value: sessionOf() } },
    ]);
  });
});

describe('changes', () => {
  it.each([
    ['session', keys.session(D1), sessionOf()],
    ['owner', keys.owner(groupId('d1')), ownerOf()],
    [
      'scope',
      keys.scope(D1),
      { v: 1, holdMs: 3000, slackMs: 1, driftMargin: 0, session: 1, peers: [] },
    ],
    ['challenge', keys.challenge(D1), { v: 1, by: 'd2', session: 3 }],
    ['lease', keys.lease(groupId('d1')), { v: 1, holder: 'd1', epoch: 3 }],
    ['report', keys.report(D1), reportOf()],
    ['drain', keys.drain(D1), { v: 1, by: '', reason: '', at }],
    ['operation', keys.operation('d1'), operationOf()],
  ] as const)('of a %s reach the election, and so does its end', (of, key, record) => {
    const { change } = setUp();
    const value = of === 'lease' || of === 'drain' ? true : record;
    expect(change(key, record, 4).election).toEqual([
      { of, name: 'd1', known: { rev: 4, asOf: 4, value } },
    ]);
    expect(change(key, null, 5).election).toEqual([
      { of, name: 'd1', known: { rev: 0, asOf: 5, value: null } },
    ]);
  });

  it.each([
    ['session', keys.session(D1)],
    ['owner', keys.owner(groupId('web'))],
    ['vote', keys.vote(CHECK, D1)],
    ['report', keys.report(D1)],
    ['event', keys.event('e1')],
    ['operation', keys.operation('o1')],
  ])('that cannot be read are logged and not guessed: %s', (_, key) => {
    for (const value of ['no JSON', '{}', '{"v":2}', '[]', 'null']) {
      const { view, change, log } = setUp();
      const { election } = change(key, value, 4);
      expect(log.events()).toContain('record.unreadable');
      for (const one of election) expect(one.known).toMatchObject({ rev: 4, value: null });
      expect([
        view.votes.size,
        view.reports.size,
        view.events.length,
        view.operations.size,
      ]).toEqual([0, 0, 0, 0]);
    }
  });

  it('of keys that are not ours change nothing', () => {
    const { change, log } = setUp();
    const update = change('/elsewhere/run/session/d1', sessionOf(), 4);
    expect(update.election).toEqual([]);
    expect(update.areas.size).toBe(0);
    expect(log.lines).toEqual([]);
  });

  it('keep the spec when it vanishes or cannot be read', () => {
    const { view, change } = setUp();
    expect(view.spec).toBeNull();
    change(keys.spec, spec(1), 4);
    change(keys.spec, null, 5);
    expect(view.spec).toMatchObject({ revision: 4, record: { document: { n: 1 } }, by: 'op' });
    change(keys.spec, 'no', 6);
    expect(view.spec).toMatchObject({ revision: 4 });
    change(keys.spec, spec(2), 7);
    expect(view.spec).toMatchObject({ revision: 7, record: { document: { n: 2 } } });
  });

  it('take a vote away when its key is gone', () => {
    const { view, change } = setUp();
    change(keys.vote(CHECK, D1), vote, 4);
    change(keys.vote(CHECK, directorId('d2')), { ...vote, up: true }, 5);
    change(keys.vote(CHECK, D1), null, 6);
    expect([...(view.votes.get(CHECK)?.keys() ?? [])]).toEqual(['d2']);
  });

  it('are ignored while the watch is interrupted, and nothing is forgotten', () => {
    const { view, change } = setUp();
    change(keys.spec, spec(1), 4);
    const error = { code: 'unavailable', message: '', isRetryable: true } as const;
    const update = view.apply({ kind: 'interrupted', error });
    expect(update).toEqual({ election: [], areas: new Set(), voted: new Set(), newEvents: [] });
    expect(view.spec).not.toBeNull();
  });
});

describe('events', () => {
  it('are sorted by id, told once, and bounded', () => {
    const { view, change } = setUp();
    expect(change(keys.event('b'), event('second'), 4).newEvents).toHaveLength(1);
    expect(change(keys.event('a'), event('first'), 5).newEvents).toHaveLength(1);
    expect(change(keys.event('a'), event('first'), 6).newEvents).toHaveLength(0);
    expect(view.events.map(({ record }) => record.message)).toEqual(['first', 'second']);
    for (let i = 0; i < EVENT_LIMIT; i++)
      change(keys.event(`c${String(i).padStart(5, '0')}`), event('x'), 10 + i);
    expect(view.events).toHaveLength(EVENT_LIMIT);
    expect(view.events[0]?.id).toBe('c00000');
  });
});

describe('the reads of a txn', () => {
  it('are put into the election’s words and not kept', () => {
    const { view } = setUp();
    const reads = [
      { key: keys.session(D1), value: formatRecord(sessionOf()), modRevision: revision(3) },
      { key: keys.challenge(D1), value: null, modRevision: revision(0) },
      { key: 'other', value: 'x', modRevision: revision(2) },
    ];
    expect(view.electionReads(reads, revision(9)).map((one) => one.known)).toEqual([
      { rev: 3, asOf: 9, value: sessionOf() },
      { rev: 0, asOf: 9, value: null },
    ]);
    expect(view.revisionOf(keys.session(D1))).toBe(0);
  });
});
