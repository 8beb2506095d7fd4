/** Laws of the whole step, under events drawn at random and by time alone (design 4.1, 4.3, 4.7). */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ElectionEffect, ElectionEvent } from '../../../../src/core/election/state.ts';
import { type GroupId, monoMs, revision, sessionIdOf } from '../../../../src/model/ids.ts';
import { formatRecord } from '../../../../src/model/records.ts';
import {
  candidate,
  D1,
  D2,
  D3,
  ElectionDriver,
  G1,
  G2,
  group,
  hold,
  holder,
  keys,
  live,
  operationOf,
  ownerOf,
  sessionOf,
  TIMING,
  type TxnEffect,
  fit,
  directorsOf,
} from './election-driver.ts';

const GROUPS = [G1, G2] as const;
const CONFIG = {
  directors: directorsOf(D1, D2, D3),
  groups: [group(G1), group(G2, { priorities: null })],
};

type Outstanding = { readonly effect: ElectionEffect; readonly at: number };

/** An adversary: time passes, effects are answered in any order, any way or twice, records change. */
class Adversary {
  readonly driver: ElectionDriver;
  readonly #outstanding: Outstanding[] = [];
  /** What the last confirmed round named; the only groups that may be armed. */
  #confirmed: ReadonlySet<GroupId> = new Set();
  #silenced = new Set<string>();
  #rounds = new Map<number, { groups: GroupId[]; open: number; isConfirmed: boolean }>();
  #armed = new Set<GroupId>();
  readonly #prepared = new Set<GroupId>();
  readonly #muted = new Set<GroupId>();
  #armedUntil = 0;

  /** From the start, or as the holder of both groups. */
  constructor(isHolder: boolean) {
    this.driver = isHolder ? holder(CONFIG) : new ElectionDriver(CONFIG);
    if (!isHolder) live(this.driver.store);
    this.driver.keep = () => true;
    this.#armed = new Set(this.driver.state.holdings.keys());
  }

  feed(event: ElectionEvent): void {
    const effects = this.driver.feed(event);
    this.driver.run();
    for (const effect of effects) this.#check(effect);
    for (const one of this.driver.kept.splice(0)) this.#outstanding.push(one);
    expect(this.driver.wakeAt).toBeGreaterThan(this.driver.now);
  }

  #check(effect: ElectionEffect): void {
    if (effect.kind === 'arm') {
      for (const { group: id } of effect.groups)
        expect(this.#confirmed.has(id), 'armed').toBe(true);
      expect(effect.until).toBeLessThanOrEqual(this.driver.now + TIMING.holdMs);
      this.#armedUntil = Math.max(this.#armedUntil, effect.until);
    }
    if (effect.kind === 'open') {
      for (const id of effect.groups) expect(this.#prepared.has(id), 'prepared').toBe(true);
      expect(effect.until, 'opened in time').toBeGreaterThan(this.driver.now);
    }
    if (effect.kind === 'tell' && effect.message.kind === 'muted')
      expect(this.#muted.has(effect.message.group), 'mute before it is said').toBe(true);
    if (effect.kind === 'heartbeat')
      for (const one of effect.armed) expect(this.#armed.has(one.group), 'named').toBe(true);
    if (effect.kind !== 'txn') return;
    const { purpose } = effect;
    if (purpose.kind === 'round' || purpose.kind === 'kill' || purpose.kind === 'claim') {
      const known = this.#rounds.get(purpose.round);
      const guarded = purpose.kind === 'round' ? purpose.groups : [];
      const groups = [...(known?.groups ?? []), ...guarded];
      this.#rounds.set(purpose.round, { groups, open: (known?.open ?? 0) + 1, isConfirmed: true });
    }
    if (purpose.kind === 'give-up')
      expect(
        this.#silenced.has(purpose.group) || this.driver.now > this.#armedUntil,
        'silenced, or long after the last deadline, before given up',
      ).toBe(true);
    for (const compare of effect.txn.compares)
      expect(compare.modRevision).toBeGreaterThanOrEqual(0);
    expect(effect.txn.compares.length).toBeLessThanOrEqual(128);
  }

  /** How an outstanding effect ends: 0 done, 1 failed or in doubt, 2 done but answered later. */
  end(index: number, how: number, delayMs: number): void {
    const [one] = this.#outstanding.splice(index % Math.max(this.#outstanding.length, 1), 1);
    if (one === undefined) return;
    const { effect } = one;
    if (effect.kind === 'txn') this.#endTxn(effect, one.at, how, delayMs);
    else this.#endKernel(effect, how);
  }

  #endTxn(effect: TxnEffect, at: number, how: number, delayMs: number): void {
    const { driver } = this;
    const answer = how === 1 ? null : driver.commit(effect);
    if (how === 2) driver.now += delayMs;
    const reply =
      answer === null
        ? { kind: 'ambiguous' as const, message: '', sentAt: monoMs(at) }
        : { ...answer, sentAt: monoMs(at) };
    const { purpose } = effect;
    if (purpose.kind === 'round' || purpose.kind === 'kill' || purpose.kind === 'claim') {
      const round = this.#rounds.get(purpose.round);
      if (round !== undefined) {
        const isDone = answer?.succeeded === true;
        if (purpose.kind === 'round') round.isConfirmed &&= isDone;
        else if (isDone) round.groups.push(...purpose.claims.keys());
        round.isConfirmed &&= driver.now - at <= TIMING.permitMs;
        round.open -= 1;
        if (round.open === 0) this.#confirmed = new Set(round.isConfirmed ? round.groups : []);
      }
    }
    this.feed({ kind: 'txn-replied', id: effect.id, slot: effect.slot, reply });
  }

  #endKernel(effect: ElectionEffect, how: number): void {
    const isOk = how !== 1;
    if (effect.kind === 'clear-gate')
      this.feed({ kind: 'gate-cleared', speaking: isOk ? new Map() : null });
    if (effect.kind === 'permit') this.feed({ kind: 'permit-given', round: effect.round, isOk });
    if (effect.kind === 'arm') {
      const { round, until: speaksUntil } = effect;
      const groups = effect.groups.map((one) => one.group);
      const failed = how === 2 ? groups.slice(0, 1) : [];
      for (const { group: id, mode } of isOk ? effect.groups : []) {
        if (failed.includes(id)) continue;
        if (mode === 'open') this.#armed.add(id);
        else this.#armed.delete(id);
        if (mode === 'prepared') this.#prepared.add(id);
        else this.#prepared.delete(id);
        if (mode === 'muted') this.#muted.add(id);
      }
      this.feed({
        kind: 'armed',
        round,
        isOk,
        groups,
        opened: groups,
        unsettled: [],
        failed,
        speaksUntil,
      });
    }
    if (effect.kind === 'open') {
      const { groups, until: speaksUntil } = effect;
      if (isOk) for (const id of groups) this.#armed.add(id);
      this.feed({ kind: 'opened', groups, isOk, failed: [], speaksUntil });
    }
    if (effect.kind === 'mute') {
      if (isOk)
        for (const id of effect.groups) {
          this.#muted.add(id);
          this.#armed.delete(id);
        }
      this.feed({ kind: 'muted', groups: effect.groups, isOk });
    }
    if (effect.kind === 'verify') this.feed({ ...effect, kind: 'verified', isOk });
    if (effect.kind === 'close') {
      if (isOk)
        for (const id of effect.groups) {
          this.#silenced.add(id);
          this.#armed.delete(id);
          this.#prepared.delete(id);
        }
      this.feed({ kind: 'closed', groups: effect.groups, isOk });
    }
  }
}

const WORDS = ['prepared', 'muted', 'verified'] as const;
type Move = (adversary: Adversary) => void;
const name = fc.constantFrom(D1, D2, D3);
const groupName = fc.constantFrom(...GROUPS);

const write =
  (key: string, value: unknown): Move =>
  ({ driver }) => {
    if (value === null) driver.store.remove(key);
    else driver.store.write(key, typeof value === 'string' ? value : formatRecord(value));
  };

const move: fc.Arbitrary<Move> = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.tuple(fc.nat(5), fc.constantFrom(0, 0, 0, 0, 1, 2), fc.nat(2000)).map(
      ([index, how, ms]): Move =>
        (one) =>
          one.end(index, how, ms),
    ),
  },
  {
    weight: 5,
    arbitrary: fc.nat(3000).map(
      (ms): Move =>
        (one) => {
          one.driver.now = Math.min(
            one.driver.now + ms,
            Math.max(one.driver.now, one.driver.wakeAt),
          );
          one.feed({ kind: 'tick' });
        },
    ),
  },
  { weight: 5, arbitrary: fc.constant<Move>((one) => one.driver.see()) },
  {
    weight: 1,
    arbitrary: fc
      .tuple(name, fc.constantFrom('open', 'broken', 'closed', 'gone', 'unreadable'))
      .map(([id, state]) =>
        write(
          keys.session(id),
          state === 'gone'
            ? null
            : state === 'unreadable'
              ? 'no'
              : sessionOf({ state: state as 'open' }),
        ),
      ),
  },
  {
    weight: 2,
    arbitrary: fc.tuple(groupName, fc.constantFrom('d1', 'd2', null, 'gone')).map(
      ([id, director]): Move =>
        (one) => {
          const { store } = one.driver;
          const session = store.read(keys.session(director as typeof D1)).modRevision;
          const record = director === 'gone' ? null : ownerOf({ director, session });
          write(keys.owner(id), record)(one);
        },
    ),
  },
  { weight: 1, arbitrary: name.map((id) => write(keys.challenge(id), null)) },
  { weight: 1, arbitrary: name.map((id) => write(keys.scope(id), null)) },
  {
    weight: 1,
    arbitrary: fc
      .tuple(name, fc.boolean())
      .map(([id, is]) => write(keys.drain(id), is ? { v: 1, by: '', reason: '', at: '' } : null)),
  },
  {
    weight: 1,
    arbitrary: fc
      .constantFrom('d1', 'd2', null)
      .map((to) => write(keys.operation('op'), operationOf({ to }))),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom(null, 'interface-down' as const).map(
      (why): Move =>
        (one) =>
          one.feed(fit([G1, why], [G2, null])),
    ),
  },
  {
    weight: 1,
    arbitrary: fc.tuple(name, groupName, fc.nat(20)).map(
      ([from, id, rev]): Move =>
        (one) =>
          one.feed({
            kind: 'peer',
            from,
            message: {
              kind: 'heartbeat',
              session: sessionIdOf(revision(rev)),
              armed: [{ group: id, epoch: one.driver.epochOf(id) }],
            },
          }),
    ),
  },
  {
    weight: 2,
    arbitrary: fc.tuple(name, groupName, fc.constantFrom(...WORDS)).map(
      ([from, id, kind]): Move =>
        (one) => {
          const session = sessionIdOf(one.driver.store.read(keys.session(from)).modRevision);
          const epoch = one.driver.epochOf(id);
          one.feed({ kind: 'peer', from, message: { kind, session, group: id, epoch } });
        },
    ),
  },
  {
    weight: 1,
    arbitrary: groupName.map(
      (id): Move =>
        (one) =>
          one.feed({ kind: 'address-lost', group: id }),
    ),
  },
);

describe('whatever happens', () => {
  it('only what the last confirmed round named is armed, only what is armed is named, and silence comes before giving up', () => {
    let armed = 0;
    let given = 0;
    fc.assert(
      fc.property(
        fc.boolean(),
        fc.array(move, { minLength: 20, maxLength: 250 }),
        (isHolder, moves) => {
          const adversary = new Adversary(isHolder);
          adversary.feed(fit([G1, null], [G2, null]));
          adversary.driver.see();
          for (const one of moves) one(adversary);
          armed += adversary.driver.of('arm').length;
          given += adversary.driver.txns('give-up').length;
        },
      ),
      { numRuns: 300, seed: 7 },
    );
    // The law must have been put to the test.
    expect(armed).toBeGreaterThan(40);
    expect(given).toBeGreaterThan(0);
  });

  it('the same state, event and time give the same step', () => {
    const a = holder();
    const b = holder();
    for (const one of [a, b]) one.advance(12_345);
    expect(a.effects).toEqual(b.effects);
    expect(a.state).toEqual(b.state);
  });
});

describe('by time alone, without any answer', () => {
  const scenes: readonly (readonly [string, () => ElectionDriver])[] = [
    [
      'a director that starts',
      () => {
        const driver = new ElectionDriver();
        driver.feed({ kind: 'tick' });
        return driver;
      },
    ],
    [
      'a director that is synced',
      () => {
        const driver = new ElectionDriver(CONFIG);
        hold(driver.store);
        driver.keep = () => true;
        return driver.begin();
      },
    ],
    ['a candidate', () => candidate(CONFIG)],
    ['a holder', () => holder(CONFIG)],
    [
      'a holder that stops',
      () => {
        const driver = holder(CONFIG);
        driver.keep = () => true;
        driver.feed({ kind: 'stop' });
        return driver;
      },
    ],
    [
      'a holder that is challenged',
      () => {
        const driver = holder();
        driver.store.write(
          keys.challenge(D1),
          formatRecord({ v: 1, by: 'd2', session: driver.sessionId }),
        );
        driver.keep = () => true;
        driver.see();
        return driver;
      },
    ],
    [
      'a namesake',
      () => {
        const driver = new ElectionDriver();
        driver.store.write(keys.session(D1), formatRecord(sessionOf()));
        return driver.begin();
      },
    ],
  ];

  it.each(scenes)('%s wakes ahead of now, not in a hot loop, and repeats nothing', (_, make) => {
    const driver = make();
    driver.keep = () => true;
    driver.run();
    driver.forget();
    const start = driver.now;
    for (let i = 0; i < 500 && Number.isFinite(driver.wakeAt); i++) {
      expect(driver.wakeAt).toBeGreaterThan(driver.now);
      driver.now = driver.wakeAt;
      driver.feed({ kind: 'tick' });
    }
    expect(driver.steps).toBeLessThanOrEqual(Math.max(driver.now - start, 1) + 1);
    const acts = driver.effects
      .filter(({ kind }) => kind !== 'heartbeat')
      .map((effect) =>
        effect.kind === 'txn' ? `${effect.slot} ${effect.purpose.kind}` : JSON.stringify(effect),
      );
    expect(new Set(acts).size, acts.join('\n')).toBe(acts.length);
  });
});
