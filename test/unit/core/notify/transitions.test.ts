import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  EMPTY_BOOK,
  type GroupObservation,
  type Notification,
  type NotifyBook,
  phaseOf,
  SILENT_GRACE_MS,
  stepNotify,
  stopNotify,
} from '../../../../src/core/notify/transitions.ts';
import { INELIGIBLE_REASONS } from '../../../../src/model/decision.ts';
import { epochOf, type GroupId, groupId, monoMs, revision } from '../../../../src/model/ids.ts';

const WEB = groupId('web');
const epoch = (n: number) => epochOf(revision(n));
const CANDIDATE: GroupObservation = {
  group: WEB,
  phase: 'none',
  epoch: epoch(7),
  ineligible: null,
  reason: null,
  priority: 150,
};
const STARTING: GroupObservation = { ...CANDIDATE, ineligible: 'starting', epoch: null };
const OPEN: GroupObservation = { ...CANDIDATE, phase: 'open', reason: 'vacant' };
const SILENT: GroupObservation = { ...OPEN, phase: 'silent' };
const LEAVING: GroupObservation = { ...OPEN, phase: 'leaving' };
const DOWN: GroupObservation = { ...CANDIDATE, ineligible: 'interface-down' };

/** One observation after the other, a millisecond apart or as said. */
function tell(
  observations: readonly (GroupObservation | null)[],
  gapMs = 1,
): readonly Notification[] {
  let book: NotifyBook = EMPTY_BOOK;
  return observations.flatMap((observation, n) => {
    const seen = observation === null ? [] : [observation];
    const stepped = stepNotify(book, seen, monoMs(n * gapMs));
    book = stepped.book;
    return stepped.notifications;
  });
}
const statesOf = (told: readonly Notification[]): readonly string[] =>
  told.map(({ state }) => state);

describe('the states of a life', () => {
  test.each([
    ['starts as backup once it could hold', [STARTING, STARTING, CANDIDATE, CANDIDATE], ['BACKUP']],
    ['starts in fault where its interface is down', [STARTING, DOWN], ['FAULT']],
    ['adopts: the first word is that it holds', [STARTING, SILENT, OPEN], ['MASTER']],
    [
      'takes over only when the VIP is open',
      [CANDIDATE, SILENT, SILENT, OPEN],
      ['BACKUP', 'MASTER'],
    ],
    [
      'gives up only when the VIP is closed',
      [OPEN, LEAVING, LEAVING, CANDIDATE],
      ['MASTER', 'BACKUP'],
    ],
    ['loses its interface', [OPEN, LEAVING, DOWN, CANDIDATE], ['MASTER', 'FAULT', 'BACKUP']],
    [
      'loses etcd and with it the VIP',
      [OPEN, { ...STARTING, ineligible: 'no-session' }],
      ['MASTER', 'BACKUP'],
    ],
    ['is drained', [CANDIDATE, { ...CANDIDATE, ineligible: 'draining' }], ['BACKUP']],
    [
      'does not hear of itself in fault',
      [DOWN, { ...CANDIDATE, ineligible: 'no-session' }],
      ['FAULT'],
    ],
    ['leaves the spec', [CANDIDATE, null, null], ['BACKUP', 'STOP']],
    [
      'loses its place in the priorities',
      [OPEN, { ...CANDIDATE, ineligible: 'not-in-priorities' }],
      ['MASTER', 'STOP'],
    ],
    ['never had a place in them', [{ ...CANDIDATE, ineligible: 'not-in-priorities' }, null], []],
  ] as const)('a director %s', (_name, observations, states) => {
    expect(statesOf(tell(observations))).toEqual(states);
  });

  test('a late round is not told, a long silence is', () => {
    expect(statesOf(tell([OPEN, SILENT, SILENT, OPEN, OPEN], SILENT_GRACE_MS / 4))).toEqual([
      'MASTER',
    ]);
    expect(statesOf(tell([OPEN, SILENT, SILENT, OPEN], SILENT_GRACE_MS))).toEqual([
      'MASTER',
      'BACKUP',
      'MASTER',
    ]);
  });

  test('the end tells STOP to all that were told anything', () => {
    const { book } = stepNotify(
      EMPTY_BOOK,
      [OPEN, { ...CANDIDATE, group: groupId('mail') }, { ...STARTING, group: groupId('dns') }],
      monoMs(0),
    );
    expect(stopNotify(book)).toEqual([
      { group: WEB, state: 'STOP', epoch: 7, reason: 'shutdown', priority: 150 },
      { group: 'mail', state: 'STOP', epoch: 7, reason: 'shutdown', priority: 150 },
    ]);
  });

  test('says why', () => {
    const told = tell([CANDIDATE, OPEN, { ...DOWN, reason: 'interface-down' }, null]);
    expect(told.map(({ reason }) => reason)).toEqual([
      null,
      'vacant',
      'interface-down',
      'group-removed',
    ]);
  });

  test('every word for a holding has its phase', () => {
    expect(phaseOf(undefined)).toBe('none');
    const owned = {
      kind: 'owned',
      right: 'record',
      mustProbe: false,
      epoch: epoch(1),
      since: monoMs(0),
      failures: 0,
      preparedUntil: null,
      isOpening: false,
      formers: [],
    } as const;
    expect(phaseOf(owned)).toBe('silent');
    const { preparedUntil: _p, isOpening: _i, mustProbe: _m, ...rest } = owned;
    expect(phaseOf({ ...rest, kind: 'open', openedAt: monoMs(0), until: monoMs(1) })).toBe('open');
    const giveUp = { reason: 'drain', to: null, operation: null } as const;
    expect(phaseOf({ kind: 'shut', epoch: epoch(1), giveUp, nextTryAt: monoMs(0) })).toBe('none');
    expect(
      phaseOf({
        kind: 'closing',
        epoch: epoch(1),
        ownerRev: revision(1),
        giveUp,
        isLost: false,
        silentAt: monoMs(0),
        retryAt: null,
      }),
    ).toBe('leaving');
  });
});

describe('whatever is observed', () => {
  const GROUPS = [WEB, groupId('mail')];
  const seenOf = (group: GroupId) =>
    fc.record({
      group: fc.constant(group),
      phase: fc.constantFrom('none', 'silent', 'open', 'leaving'),
      epoch: fc.option(fc.integer({ min: 1, max: 20 }).map(epoch)),
      ineligible: fc.option(fc.constantFrom(...INELIGIBLE_REASONS)),
      reason: fc.option(fc.constantFrom('vacant', 'drain')),
      priority: fc.constant(100),
    } as const);
  /** Null: the group has left the spec, perhaps to come back. */
  const looks = fc.array(
    fc.tuple(...GROUPS.map((group) => fc.option(seenOf(group), { freq: 8 }))),
    {
      maxLength: 40,
    },
  );
  const present = (look: readonly (GroupObservation | null)[]): readonly GroupObservation[] =>
    look.filter((observation) => observation !== null);

  test('no state is told twice in a row, no epoch falls, MASTER is told of open VIPs only', () => {
    fc.assert(
      fc.property(looks, fc.integer({ min: 1, max: 600 }), (seen, gapMs) => {
        let book: NotifyBook = EMPTY_BOOK;
        const last = new Map<GroupId, Notification>();
        const epochs = new Map<GroupId, number>();
        for (const [n, look] of seen.entries()) {
          const stepped = stepNotify(book, present(look), monoMs(n * gapMs));
          book = stepped.book;
          for (const told of stepped.notifications) {
            const { group, state } = told;
            const observation = look.find((one) => one?.group === group);
            expect(state).not.toBe(last.get(group)?.state);
            expect(told.epoch ?? 0).toBeGreaterThanOrEqual(epochs.get(group) ?? 0);
            if (state === 'MASTER') {
              expect(observation?.phase).toBe('open');
              expect(told.epoch).toBe(observation?.epoch);
            }
            if (state === 'FAULT') expect(told.reason).toBe(observation?.ineligible);
            last.set(group, told);
            epochs.set(group, told.epoch ?? 0);
          }
          // What left the spec is forgotten: should it return, its record is newer anyway.
          for (const group of GROUPS)
            if (!look.some((one) => one?.group === group)) epochs.delete(group);
        }
        const ends = stopNotify(book).map(({ group }) => group);
        for (const [group, { state }] of last) expect(ends.includes(group)).toBe(state !== 'STOP');
      }),
      { numRuns: 500 },
    );
  });

  test('once nothing changes, nothing is told, and an open VIP has been told as MASTER', () => {
    fc.assert(
      fc.property(looks, (seen) => {
        let book: NotifyBook = EMPTY_BOOK;
        for (const [n, look] of seen.entries())
          book = stepNotify(book, present(look), monoMs(n)).book;
        const open = { ...OPEN, epoch: epoch(21) };
        const first = stepNotify(book, [open], monoMs(1_000_000));
        const second = stepNotify(first.book, [open], monoMs(2_000_000));
        expect(second.notifications).toEqual([]);
        expect(first.book.get(WEB)?.told).toBe('MASTER');
      }),
    );
  });
});
