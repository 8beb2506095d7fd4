/** What a candidate's way to standing in looks like to people, step by step (design 4.10). */
import { describe, expect, it } from 'vitest';
import { type Candidacy, createCandidacies } from '../../../../src/core/election/candidacy.ts';
import { ownedHolding } from '../../../../src/core/election/roster.ts';
import type { RoundState } from '../../../../src/core/election/state.ts';
import { type MonoMs, monoMs, sessionIdOf } from '../../../../src/model/ids.ts';
import { formatRecord } from '../../../../src/model/records.ts';
import {
  D1,
  D2,
  D3,
  directorsOf,
  type ElectionDriver,
  G1,
  group,
  holder,
  isTxn,
  keys,
  ownerOf,
  sessionOf,
  TIMING,
  WAIT_MS,
} from './election-driver.ts';
import { only, orphaned, promise, type Scene, withoutStore } from './isolation.ts';

const IN_SIGHT: Scene = { isGatewayThere: true, answer: only(D3, promise) };
const SEGMENT = { right: 'segment', mustProbe: false } as const;
const of = ({ state, config, now }: ElectionDriver): Candidacy | null =>
  createCandidacies(state, config, monoMs(now)).of(G1);
const standIn = ({ state, config, now }: ElectionDriver): string | null =>
  createCandidacies(state, config, monoMs(now)).standInOf(G1);

it('nobody stands in for who is named by a new record, though who did before is still heard', () => {
  const driver = orphaned();
  driver.audible = [];
  driver.hear(D3, [G1]);
  expect(standIn(driver)).toBe('d3');
  const record = ownerOf({ director: 'd1', session: driver.sessionId });
  driver.store.write(keys.owner(G1), formatRecord(record));
  driver.see();
  expect(standIn(driver)).toBeNull();
});

it('nobody stands in for an owner that speaks, though another one is heard to speak for it', () => {
  const driver = holder({ isolation: 'gateway', directors: directorsOf(D1, D2) });
  driver.audible = [];
  expect(driver.holding()).toBe('open');
  driver.hear(D2, [G1]);
  expect(standIn(driver)).toBeNull();
  driver.keep = isTxn('round', 'transfer');
  driver.advance(TIMING.holdMs);
  driver.hear(D2, [G1]);
  expect(driver.holding()).toBe('owned');
  expect(standIn(driver)).toBe('d2');
});

describe('a candidate', () => {
  it('waits for as long as the holder may speak, then probes, and stands in', () => {
    const driver = orphaned();
    const silentAt = driver.now;
    expect(of(driver)).toBeNull();
    withoutStore(driver, TIMING.suspectMs + 2000, IN_SIGHT);
    const waiting = of(driver);
    if (waiting?.phase !== 'waiting') throw new Error(`it is ${waiting?.phase}`);
    expect(waiting).toMatchObject({ holder: 'd2', silentMs: driver.now - silentAt });
    expect(waiting.neededMs).toBeGreaterThanOrEqual(WAIT_MS);
    // It is told for how long, and that is how long it takes.
    withoutStore(driver, waiting.neededMs - waiting.silentMs - 200, IN_SIGHT);
    expect(of(driver)?.phase).toBe('waiting');
    withoutStore(driver, 400, IN_SIGHT);
    expect(of(driver)).toEqual({ holder: 'd2', phase: 'probing' });
    expect(standIn(driver)).toBeNull();
    withoutStore(driver, 2 * WAIT_MS, IN_SIGHT);
    expect([standIn(driver), of(driver)]).toEqual(['d1', null]);
  });

  it('steps back for a while when somebody on the network answers', () => {
    const driver = orphaned();
    driver.isProbeAnswered = true;
    let longest = 0;
    for (let passed = 0; passed < 4 * WAIT_MS; passed += 200) {
      withoutStore(driver, 200, IN_SIGHT);
      const now = of(driver);
      if (now?.phase === 'stepped-back') longest = Math.max(longest, now.inMs);
    }
    expect(longest).toBeGreaterThan(WAIT_MS / 2);
    expect(standIn(driver)).toBeNull();
  });

  it('steps back in one outage, not in the next', () => {
    const driver = orphaned();
    driver.isProbeAnswered = true;
    for (let tries = 0; of(driver)?.phase !== 'stepped-back' && tries < 100; tries++)
      withoutStore(driver, 200, IN_SIGHT);
    expect(of(driver)?.phase).toBe('stepped-back');
    driver.keep = () => false;
    for (const { effect } of driver.kept.splice(0)) if (effect.kind === 'txn') driver.doubt(effect);
    // The holder is challenged, and by that etcd answers.
    const [until] = driver.state.standAfter.values();
    driver.advance(1500);
    expect(until).toBeGreaterThan(driver.now);
    expect(driver.state.standAfter.size).toBe(0);
  });

  it.each([
    ['gateway-silent', { isGatewayThere: false, answer: only(D3, promise) }],
    ['asking', { isGatewayThere: true }],
  ] satisfies [Candidacy['phase'], Scene][])('is %s when nobody has the VIPs', (phase, scene) => {
    const driver = orphaned();
    const seen = new Set<string>();
    for (let passed = 0; passed < 4 * WAIT_MS; passed += 200) {
      withoutStore(driver, 200, scene);
      seen.add(of(driver)?.phase ?? 'none');
    }
    expect(seen).toContain(phase);
    expect(standIn(driver)).toBeNull();
  });

  it('has promised the group to another one', () => {
    const driver = orphaned();
    withoutStore(driver, WAIT_MS - 500, IN_SIGHT);
    const session = driver.store.read(keys.session(D3)).modRevision;
    const { modRevision: ownerRev } = driver.store.read(keys.owner(G1));
    driver.feed({
      kind: 'peer',
      from: D3,
      message: {
        kind: 'hold',
        basis: 'segment',
        forMs: WAIT_MS,
        session: sessionIdOf(session),
        sessionRev: session,
        round: 9,
        part: 0,
        groups: [{ group: G1, epoch: driver.epochOf(), ownerRev }],
      },
    });
    expect(of(driver)).toEqual({ holder: 'd2', phase: 'promised', to: 'd3' });
  });

  it('waits for the end of what it has promised to the holder, too', () => {
    const driver = orphaned();
    withoutStore(driver, TIMING.suspectMs + 2000, IN_SIGHT);
    const until = monoMs(driver.now + 4000);
    driver.state = {
      ...driver.state,
      promises: new Map([[D2, { until, groups: new Map([[G1, driver.epochOf()]]) }]]),
    };
    const waiting = of(driver);
    if (waiting?.phase !== 'waiting') throw new Error(`it is ${waiting?.phase}`);
    expect(waiting.neededMs - waiting.silentMs).toBe(4000);
  });

  it('is none while the store answers, where the document says release, and where it may not hold', () => {
    const driver = orphaned();
    driver.advance(TIMING.suspectMs + 1000);
    expect(of(driver)).toBeNull();
    const released = orphaned({ isolation: 'release' });
    withoutStore(released, 2 * WAIT_MS, IN_SIGHT);
    expect(of(released)).toBeNull();
    const others = new Map([[D2, 100]]);
    const unnamed = orphaned({ groups: [group(G1, { priorities: others })] });
    withoutStore(unnamed, 2 * WAIT_MS, IN_SIGHT);
    expect(of(unnamed)).toBeNull();
  });

  it('is none while another director stands in, which is heard by the epoch of the record', () => {
    const driver = orphaned();
    withoutStore(driver, WAIT_MS - 500, IN_SIGHT);
    // Its next heartbeats would name nothing.
    driver.audible = [];
    driver.hear(D3, [G1]);
    expect([standIn(driver), of(driver)]).toEqual(['d3', null]);
    withoutStore(driver, TIMING.suspectMs, { isGatewayThere: false });
    expect(standIn(driver)).toBeNull();
  });
});

describe('an owner', () => {
  it('asks the network before it opens the group of a dead one, and tells who answers to yield', () => {
    const driver = orphaned();
    driver.store.write(keys.session(D2), formatRecord(sessionOf({ state: 'broken', by: 'd3' })));
    driver.isProbeAnswered = true;
    driver.advance(30);
    expect(of(driver)).toEqual({ holder: 'd1', phase: 'probing' });
    driver.advance(40);
    expect(of(driver)).toMatchObject({ phase: 'answered', isTold: true });
    driver.advance(1000);
    expect([driver.holding(), of(driver)]).toEqual(['open', null]);
  });

  it('is no candidate of its own group otherwise', () => {
    const driver = orphaned();
    const { sessionId: session } = driver;
    driver.store.write(keys.owner(G1), formatRecord(ownerOf({ director: 'd1', session })));
    driver.advance(1000);
    expect([driver.state.holdings.get(G1)?.kind, of(driver)]).toEqual(['open', null]);
    expect(standIn(driver)).toBeNull();
  });
});

describe('a stand-in that the store answers again', () => {
  const asks = (driver: ElectionDriver): void => {
    const { modRevision: sessionRev } = driver.store.read(keys.session(D2));
    const groups = [
      {
        group: G1,
        epoch: driver.epochOf(),
        ownerRev: driver.store.read(keys.owner(G1)).modRevision,
      },
    ];
    const session = sessionIdOf(sessionRev);
    const about = {
      session,
      sessionRev,
      round: 9,
      part: 0,
      basis: 'peers',
      forMs: WAIT_MS,
    } as const;
    driver.feed({ kind: 'peer', from: D2, message: { kind: 'hold', ...about, groups } });
    driver.run();
  };

  const standing = (): ElectionDriver => {
    const driver = orphaned();
    withoutStore(driver, 4 * WAIT_MS, IN_SIGHT);
    expect(standIn(driver)).toBe('d1');
    driver.forget();
    driver.kept = [];
    driver.keep = isTxn('relay');
    return driver;
  };

  const arming = (now: MonoMs): RoundState => {
    const base = {
      round: 1,
      startedAt: now,
      permitMs: 1,
      basis: 'segment',
      holdMs: WAIT_MS,
    } as const;
    return {
      kind: 'arming',
      ...base,
      until: monoMs(now + WAIT_MS),
      modes: new Map([[G1, 'open']]),
    };
  };

  const relayed = (driver: ElectionDriver) =>
    driver.of('tell').filter(({ message }) => message.kind === 'relayed');

  it('relays no round of the owner, who would open beside it', () => {
    const driver = standing();
    asks(driver);
    expect(driver.txns('relay')).toEqual([]);
  });

  it('tells of none that was under way when it opened', () => {
    const driver = standing();
    const { holdings } = driver.state;
    driver.state = { ...driver.state, holdings: new Map(), roster: null };
    asks(driver);
    const relay = driver.takeKept();
    driver.state = { ...driver.state, holdings, roster: null };
    driver.reply(relay, driver.commit(relay), monoMs(driver.now));
    expect(relayed(driver)).toEqual([]);
  });

  it('tells of none while its kernel is asked to let it speak', () => {
    const driver = standing();
    driver.state = { ...driver.state, holdings: new Map(), roster: null };
    asks(driver);
    const relay = driver.takeKept();
    const owned = ownedHolding(driver.epochOf(), monoMs(driver.now), [], SEGMENT);
    driver.state = {
      ...driver.state,
      holdings: new Map([[G1, owned]]),
      roster: null,
      round: arming(monoMs(driver.now)),
    };
    driver.reply(relay, driver.commit(relay), monoMs(driver.now));
    expect(relayed(driver)).toEqual([]);
  });

  it('nor keeps a round from the owner that has its groups', () => {
    const driver = standing();
    driver.state = { ...driver.state, holdings: new Map(), roster: null };
    asks(driver);
    const relay = driver.takeKept();
    driver.reply(relay, driver.commit(relay), monoMs(driver.now));
    expect(relayed(driver)).toHaveLength(1);
  });
});
