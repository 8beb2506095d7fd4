/** A director that stands in for a holder which nobody hears, while the store answers nobody (design 4.10). */
import { describe, expect, it } from 'vitest';
import { type DirectorId, epochOf, revision, sessionIdOf } from '../../../../src/model/ids.ts';
import type { PeerMessage } from '../../../../src/model/peer.ts';
import { UNARMED_LIMIT } from '../../../../src/core/election/timing.ts';
import { formatRecord } from '../../../../src/model/records.ts';
import {
  D1,
  D2,
  D3,
  directorsOf,
  type ElectionDriver,
  fit,
  G1,
  G2,
  group,
  holder,
  isTxn,
  keys,
  live,
  ownerOf,
  sessionOf,
  TIMING,
  WAIT_MS,
} from './election-driver.ts';
import {
  type Hold,
  only,
  orphaned,
  promise,
  roundOf,
  type Scene,
  withoutStore,
} from './isolation.ts';

const IN_SIGHT: Scene = { isGatewayThere: true, answer: only(D3, promise) };

/** Silence for D', then probes for D', and a round. */
const TAKEN_MS = 2 * WAIT_MS + TIMING.suspectMs + 5 * TIMING.roundMs;

const owner = (driver: ElectionDriver) => driver.state.view.owners.get(G1)?.value?.director;
const right = (driver: ElectionDriver) => {
  const holding = driver.state.holdings.get(G1);
  return holding?.kind === 'open' || holding?.kind === 'owned' ? holding.right : null;
};

describe('a candidate without the store', () => {
  it('takes over after D′ of silence and D′ of unanswered probes, under the epoch of the record', () => {
    const driver = orphaned();
    const epoch = driver.epochOf();
    withoutStore(driver, 2 * WAIT_MS - 200, IN_SIGHT);
    expect(driver.holding()).not.toBe('open');
    withoutStore(driver, TAKEN_MS - 2 * WAIT_MS, IN_SIGHT);
    expect(driver.holding()).toBe('open');
    expect(right(driver)).toBe('segment');
    expect(driver.state.holdings.get(G1)?.epoch).toBe(epoch);
    expect(driver.state.basis).toBe('segment');
    const [probe, ...more] = driver.of('probe');
    expect(more).toEqual([]);
    expect(probe?.count).toBeGreaterThanOrEqual(4);
    expect((probe?.count ?? 0) * (probe?.intervalMs ?? 0)).toBeGreaterThanOrEqual(WAIT_MS);
    expect(driver.of('announce')).toHaveLength(1);
    expect(owner(driver)).toBe('d2');
  });

  it('takes over, too, where it once held what its kernel would not arm', () => {
    const driver = orphaned();
    driver.state = { ...driver.state, unarmedRounds: UNARMED_LIMIT };
    withoutStore(driver, TAKEN_MS, IN_SIGHT);
    expect(driver.holding()).toBe('open');
  });

  it('asks the peers about it apart, on the basis of the segment', () => {
    const asked: Hold[] = [];
    const driver = orphaned();
    const answer: Scene['answer'] = (from, question) => {
      if (from === D3) asked.push(question);
      return from === D3 ? promise(from, question) : null;
    };
    withoutStore(driver, TAKEN_MS, { isGatewayThere: true, answer });
    expect(asked.length).toBeGreaterThan(1);
    for (const { basis, groups } of asked) {
      expect(basis).toBe('segment');
      expect(groups.map(({ group }) => group)).toEqual([G1]);
    }
  });

  it.each([
    ['the gateway is silent', { isGatewayThere: false, answer: only(D3, promise) }],
    ['who is in sight says nothing', { isGatewayThere: true }],
    [
      'who is in sight refuses',
      {
        isGatewayThere: true,
        answer: only(D3, (_, question) => ({
          kind: 'refusal',
          reason: 'holder-heard',
          ...roundOf(question),
        })),
      },
    ],
    [
      'somebody has the store',
      {
        isGatewayThere: true,
        answer: only(D3, (_, question) => ({ kind: 'relayed', ...roundOf(question) })),
      },
    ],
  ] satisfies [string, Scene][])('stays silent when %s', (_, scene) => {
    const driver = orphaned();
    withoutStore(driver, 2 * TAKEN_MS, scene);
    expect(driver.holding()).not.toBe('open');
    expect(driver.of('announce')).toEqual([]);
  });

  it('asks the peers in the very round in which its gateway answers first: the next candidate may not begin', () => {
    const driver = orphaned();
    const rounds: number[] = [];
    const answer = (from: DirectorId, question: Hold): PeerMessage | null => {
      rounds.push(question.round);
      return promise(from, question);
    };
    withoutStore(driver, 3 * WAIT_MS, { isGatewayThere: true, answer });
    const [first] = driver.of('ask-gateway');
    expect(first).toBeDefined();
    expect(rounds[0]).toBe(first?.round);
  });

  it('stays silent when somebody has the VIPs, and asks again later', () => {
    const driver = orphaned();
    driver.isProbeAnswered = true;
    withoutStore(driver, 2 * TAKEN_MS, IN_SIGHT);
    expect(driver.holding()).not.toBe('open');
    expect(driver.of('probe').length).toBeGreaterThan(1);
    expect(driver.notices().filter((kind) => kind === 'vips.answered')).toHaveLength(1);
    driver.isProbeAnswered = false;
    withoutStore(driver, 2 * TAKEN_MS, IN_SIGHT);
    expect(driver.holding()).toBe('open');
  });

  it('leaves it to whoever begins to speak between its probes and the round that opens it', () => {
    const driver = orphaned();
    driver.gateway = 'silent';
    const isFree = (): boolean => driver.state.probings.get(G1)?.phase === 'clear';
    for (let passed = 0; !isFree() && passed < 3 * TAKEN_MS; passed += 100)
      withoutStore(driver, 100, IN_SIGHT);
    expect([isFree(), driver.holding()]).toEqual([true, 'owned']);
    driver.feed({ kind: 'contested', group: G1 });
    driver.forget();
    withoutStore(driver, WAIT_MS, IN_SIGHT);
    expect(driver.of('announce')).toEqual([]);
    expect(driver.holding()).not.toBe('open');
  });

  it('steps back from what an earlier life of its own held, too', () => {
    const driver = orphaned();
    const earlier = ownerOf({ director: D1, session: driver.sessionId - 1 });
    driver.store.write(keys.owner(G1), formatRecord(earlier));
    driver.isProbeAnswered = true;
    driver.keep = isTxn('claim');
    driver.see();
    withoutStore(driver, 4 * TAKEN_MS, IN_SIGHT);
    expect(driver.of('probe').length).toBeGreaterThan(1);
    // A probing takes D', and the pause between two of them longer.
    expect(driver.of('probe').length).toBeLessThan((4 * TAKEN_MS) / (2 * WAIT_MS));
  });

  it('stands in though it is drained, for a drain ends no traffic', () => {
    const driver = orphaned();
    driver.store.write(keys.drain(D1), formatRecord({ v: 1, by: '', reason: '', at: '' }));
    driver.see();
    withoutStore(driver, TAKEN_MS + WAIT_MS, IN_SIGHT);
    expect(driver.holding()).toBe('open');
  });

  it('is none where the document says release', () => {
    const driver = orphaned({ isolation: 'release' });
    withoutStore(driver, 2 * TAKEN_MS, IN_SIGHT);
    expect(driver.of('probe')).toEqual([]);
    expect(driver.holding()).toBe('none');
  });

  it('is none while the store answers', () => {
    const driver = orphaned();
    driver.advance(TAKEN_MS);
    expect(driver.notices()).not.toContain('candidate.started');
  });

  it('gives up as soon as the holder is heard again', () => {
    const driver = orphaned();
    withoutStore(driver, WAIT_MS + TIMING.suspectMs + 3 * TIMING.roundMs, IN_SIGHT);
    expect(driver.holding()).toBe('owned');
    driver.hear();
    expect(driver.holding()).toBe('none');
  });
});

describe('who is asked by a candidate', () => {
  const question = (driver: ElectionDriver, from = D3): Hold => {
    const { modRevision } = driver.store.read(keys.session(from));
    const { modRevision: ownerRev } = driver.store.read(keys.owner(G1));
    const asked = { session: sessionIdOf(modRevision), sessionRev: modRevision, round: 9, part: 0 };
    const groups = [{ group: G1, epoch: epochOf(ownerRev), ownerRev }];
    return { kind: 'hold', basis: 'segment', forMs: WAIT_MS, groups, ...asked };
  };
  const ask = (driver: ElectionDriver, from = D3): string => {
    const told = driver.feed({ kind: 'peer', from, message: question(driver, from) });
    const answers = told.flatMap((effect) =>
      effect.kind === 'tell' && effect.to === from ? [effect.message] : [],
    );
    const [answer] = answers;
    return answer?.kind === 'refusal' ? answer.reason : (answer?.kind ?? 'nothing');
  };

  it('refuses while it hears the holder', () => {
    const driver = orphaned();
    driver.hear();
    expect(ask(driver)).toBe('holder-heard');
  });

  it('promises when it hears nobody, and stands for the group no more', () => {
    const driver = orphaned();
    withoutStore(driver, WAIT_MS - 500, IN_SIGHT);
    expect(ask(driver)).toBe('promise');
    withoutStore(driver, WAIT_MS - 500, IN_SIGHT);
    expect(driver.notices()).not.toContain('candidate.started');
  });

  it('lets the better one ask first, though clocks count to the same time at different times', () => {
    const startedMs = (mine: number): number => {
      const priorities = new Map([
        [D1, mine],
        [D2, 200],
        [D3, 100],
      ]);
      const driver = orphaned({ groups: [group(G1, { priorities })] });
      const from = driver.now;
      while (!driver.notices().includes('candidate.started') && driver.now < from + 4 * WAIT_MS)
        withoutStore(driver, 100, IN_SIGHT);
      return driver.now - from;
    };
    const aheadMs = startedMs(50) - startedMs(150);
    expect(aheadMs).toBeGreaterThan(0.2 * WAIT_MS + TIMING.roundMs);
    expect(aheadMs).toBeLessThan(WAIT_MS);
  });

  it('refuses the worse candidate while it is one itself and a gateway answers it', () => {
    const priorities = new Map([
      [D1, 150],
      [D2, 100],
      [D3, 50],
    ]);
    const groups = [group(G1, { priorities })];
    const driver = orphaned({ groups });
    withoutStore(driver, WAIT_MS + TIMING.suspectMs + 2 * TIMING.roundMs, IN_SIGHT);
    expect(driver.holding()).toBe('owned');
    expect(ask(driver)).toBe('candidate');
    withoutStore(driver, TIMING.holdMs + 500, { isGatewayThere: false });
    expect(ask(driver)).toBe('promise');
    driver.settle();
    expect(driver.holding()).toBe('none');
  });
});

describe('a stand-in', () => {
  const standIn = (): ElectionDriver => {
    const driver = orphaned();
    withoutStore(driver, TAKEN_MS + 1000, IN_SIGHT);
    expect(driver.holding()).toBe('open');
    driver.forget();
    return driver;
  };
  const back = (driver: ElectionDriver): void => {
    driver.keep = () => false;
    for (const { effect } of driver.kept.splice(0)) if (effect.kind === 'txn') driver.doubt(effect);
  };

  it('goes on without a gap when the store is back, and kills the dead holder for its record', () => {
    const driver = standIn();
    back(driver);
    for (let passed = 0; passed < 2 * WAIT_MS; passed += 100) {
      driver.advance(100);
      expect(driver.holding()).toBe('open');
    }
    expect(owner(driver)).toBe('d1');
    expect(right(driver)).toBe('record');
    expect(driver.of('close')).toEqual([]);
    expect(driver.notices()).not.toContain('holder.lapsed');
  });

  it('rather arms nothing than silences what was not answered in time, while the next round can still come', () => {
    const driver = orphaned({ groups: [group(G1), group(G2)] });
    const mine = ownerOf({ director: 'd1', session: driver.sessionId });
    driver.store.write(keys.owner(G2), formatRecord(mine));
    driver.feed(fit([G1, null], [G2, null]));
    driver.advance(2 * TIMING.roundMs);
    withoutStore(driver, TAKEN_MS + 2000, IN_SIGHT);
    expect([driver.holding(G1), driver.holding(G2)]).toEqual(['open', 'open']);
    driver.forget();
    let late: number | null = null;
    const answer = only(D3, (from, question) => {
      if (question.basis !== 'segment') return promise(from, question);
      late ??= question.round;
      return question.round === late ? null : promise(from, question);
    });
    for (let rounds = 0; rounds < 4; rounds++)
      withoutStore(driver, TIMING.roundMs, { isGatewayThere: true, answer });
    expect(late).not.toBeNull();
    const armed = driver.of('arm').map(({ groups }) => groups.map((one) => one.group).toSorted());
    expect(armed.length).toBeGreaterThan(1);
    expect(new Set(armed.map(String))).toEqual(new Set(['g1,g2']));
    expect(driver.of('close')).toEqual([]);
    expect(driver.notices()).not.toContain('holder.lapsed');
  });

  it('asks the network anew before it opens what a round has left out: somebody refused it', () => {
    const driver = orphaned({ groups: [group(G1), group(G2)] });
    const session = driver.store.read(keys.session(D2)).modRevision;
    driver.store.write(keys.owner(G2), formatRecord(ownerOf({ director: 'd2', session })));
    driver.feed(fit([G1, null], [G2, null]));
    withoutStore(driver, TAKEN_MS + 1000, IN_SIGHT);
    expect([driver.holding(G1), driver.holding(G2)]).toEqual(['open', 'open']);
    const answer = only(D3, (from, question) =>
      question.groups.some((one) => one.group === G2)
        ? { kind: 'refusal', reason: 'promised', ...roundOf(question) }
        : promise(from, question),
    );
    driver.forget();
    const hasLeftOut = (): boolean =>
      driver.of('arm').some(({ groups }) => !groups.some((one) => one.group === G2));
    for (let passed = 0; !hasLeftOut() && passed < TIMING.holdMs; passed += 100)
      withoutStore(driver, 100, { isGatewayThere: true, answer });
    withoutStore(driver, TIMING.roundMs, IN_SIGHT);
    expect([hasLeftOut(), driver.holding(G1), driver.holding(G2)]).toEqual([true, 'open', 'owned']);
    expect(driver.of('announce')).toEqual([]);
    withoutStore(driver, TAKEN_MS + 2 * WAIT_MS, IN_SIGHT);
    expect(driver.holding(G2)).toBe('open');
    expect(driver.of('probe').map((one) => one.group)).toEqual([G2]);
    expect(driver.of('announce').map((one) => one.group)).toEqual([G2]);
  });

  it('goes on when the former holder gives the record to it', () => {
    const driver = standIn();
    back(driver);
    const record = ownerOf({ director: 'd1', session: driver.sessionId, reason: 'stood-in' });
    driver.store.write(keys.owner(G1), formatRecord(record));
    driver.advance(TIMING.roundMs);
    expect([driver.holding(), right(driver)]).toEqual(['open', 'record']);
    expect(driver.of('close')).toEqual([]);
  });

  it('tells who gave it the record, and answers yet, to go mute, until that one has', () => {
    const driver = standIn();
    back(driver);
    const session = driver.store.read(keys.session(D2)).modRevision;
    const pending = [{ director: 'd2', session, epoch: driver.epochOf() }];
    const record = { director: 'd1', session: driver.sessionId, pending, reason: 'drain' };
    const former = driver.epochOf();
    driver.store.write(keys.owner(G1), formatRecord(ownerOf(record)));
    const words = (): number =>
      driver.of('tell').filter(({ to, message }) => to === D2 && message.kind === 'prepared')
        .length;
    driver.settle();
    expect([driver.holding(), right(driver), words()]).toEqual(['open', 'record', 1]);
    driver.advance(2 * TIMING.roundMs);
    expect(words()).toBeGreaterThan(2);
    driver.word('muted', D2, former);
    driver.forget();
    driver.advance(2 * TIMING.roundMs);
    expect([driver.holding(), words()]).toEqual(['open', 0]);
  });

  it('is silent when the record names somebody else', () => {
    const driver = standIn();
    back(driver);
    const { modRevision: session } = driver.store.read(keys.session(D3));
    driver.store.write(keys.owner(G1), formatRecord(ownerOf({ director: 'd3', session })));
    driver.settle();
    expect(driver.of('close')).toHaveLength(1);
    expect(driver.holding()).toBe('none');
  });

  it('has no gateway any more when it asked it in vain, however lately that answered', () => {
    const driver = standIn();
    expect(driver.state.gatewaySeenAt).not.toBeNull();
    withoutStore(driver, 2 * TIMING.roundMs, { isGatewayThere: false, answer: only(D3, promise) });
    expect(driver.state.gatewaySeenAt).toBeNull();
  });

  it.each(['yield', 'contested'] as const)('is silent at once by %s', (kind) => {
    const driver = standIn();
    const session = sessionIdOf(revision(1));
    const message: PeerMessage = { kind: 'yield', session, group: G1, epoch: driver.epochOf() };
    driver.feed(
      kind === 'yield' ? { kind: 'peer', from: D2, message } : { kind: 'contested', group: G1 },
    );
    driver.run();
    expect(driver.of('close')).toHaveLength(1);
    expect(driver.notices()).toContain('holder.yielded');
  });

  it('is silent when it hears the holder, also one whose session record somebody has deleted', () => {
    for (const isDeleted of [false, true]) {
      const driver = standIn();
      const session = driver.store.read(keys.session(D2)).modRevision;
      if (isDeleted) driver.store.remove(keys.session(D2));
      driver.see();
      driver.hear(D2, [G1], session);
      expect(driver.of('close')).toHaveLength(1);
      expect(driver.holding()).not.toBe('open');
    }
  });

  it.each([0, 1])('is silent when it hears one that speaks by a record newer by %i', (newer) => {
    const driver = standIn();
    const epoch = epochOf(revision(driver.epochOf() + newer));
    const session = sessionIdOf(driver.store.read(keys.session(D3)).modRevision);
    const message: PeerMessage = { kind: 'heartbeat', session, armed: [{ group: G1, epoch }] };
    driver.feed({ kind: 'peer', from: D3, message });
    driver.run();
    expect(driver.of('close')).toHaveLength(newer);
    expect(driver.notices().includes('holder.yielded')).toBe(newer > 0);
  });

  it('is announced by who goes on when another begins and ends to speak for it', () => {
    const driver = orphaned();
    const session = driver.sessionId;
    driver.store.write(keys.owner(G1), formatRecord(ownerOf({ director: 'd1', session })));
    driver.advance(2 * TIMING.roundMs);
    expect(driver.holding()).toBe('open');
    driver.audible = [];
    driver.forget();
    driver.hear(D3, [G1]);
    expect(driver.of('announce')).toHaveLength(1);
    driver.hear(D3, [G1]);
    expect(driver.of('announce')).toHaveLength(1);
    driver.hear(D3, []);
    expect(driver.of('announce')).toHaveLength(2);
  });

  it('writes nothing of a record that is not its own when it is stopped', () => {
    const driver = standIn();
    driver.feed({ kind: 'stop' });
    driver.run();
    back(driver);
    driver.advance(1000);
    expect(driver.of('close').length).toBeGreaterThan(0);
    expect(driver.txns('give-up', 'transfer')).toEqual([]);
    expect(owner(driver)).toBe('d2');
  });
});

describe('the former holder of a group that another stands in for', () => {
  it('opens it not, and gives the record to the stand-in', () => {
    const driver = orphaned();
    const { store } = driver;
    const session = driver.sessionId;
    store.write(keys.owner(G1), formatRecord(ownerOf({ director: 'd1', session })));
    driver.see();
    driver.hear(D3, [G1]);
    for (let passed = 0; passed < 3000; passed += 250) {
      driver.advance(250);
      if (owner(driver) === 'd1') driver.hear(D3, [G1]);
    }
    expect(driver.of('announce')).toEqual([]);
    expect(owner(driver)).toBe('d3');
  });

  it('gives it to the stand-in also where another is the better candidate', () => {
    const priorities = new Map([D1, D2, D3].map((id, i) => [id, 150 - i]));
    const driver = holder({
      isolation: 'gateway',
      directors: directorsOf(D1, D2, D3),
      groups: [group(G1, { priorities })],
    });
    live(driver.store, D3);
    driver.settle();
    driver.keep = (effect) => effect.kind === 'close';
    driver.feed(fit([G1, 'interface-down']));
    driver.audible = [];
    driver.hear(D2, []);
    driver.hear(D3, [G1]);
    driver.feed({ kind: 'closed', groups: [G1], isOk: true });
    driver.settle();
    expect(owner(driver)).toBe('d3');
  });
});

describe('who is named by a record while another stood in under the one before', () => {
  const becomeOwner = (driver: ElectionDriver): void => {
    const record = ownerOf({ director: 'd1', session: driver.sessionId, reason: 'interface-down' });
    driver.store.write(keys.owner(G1), formatRecord(record));
    driver.see();
    driver.advance(TIMING.roundMs);
  };

  it('opens it not while that one is heard, and gives it to who speaks', () => {
    const driver = orphaned();
    driver.audible = [];
    driver.hear(D3, [G1]);
    becomeOwner(driver);
    expect(driver.of('announce')).toEqual([]);
    expect(owner(driver)).toBe('d3');
  });

  it.each([
    ['that one is silent by now', D3, []],
    ['it was the holder that was heard', D2, [G1]],
  ])('opens it where %s', (_, who, groups) => {
    const driver = orphaned();
    driver.audible = [];
    driver.hear(D3, who === D3 ? [G1] : []);
    driver.hear(who, groups);
    becomeOwner(driver);
    expect(driver.of('announce')).toHaveLength(1);
    expect(owner(driver)).toBe('d1');
  });
});

describe('an opening after a lapse, or of a group of a dead holder', () => {
  it('asks the network first, and tells who answers to yield', () => {
    const driver = orphaned();
    const closed = sessionOf({ state: 'broken', by: 'd3' });
    driver.store.write(keys.session(D2), formatRecord(closed));
    driver.isProbeAnswered = true;
    driver.advance(30);
    expect(driver.of('probe')).toMatchObject([{ group: G1, count: 2, intervalMs: 20 }]);
    expect(driver.holding()).toBe('owned');
    const openedAt = driver.now;
    while (driver.holding() !== 'open' && driver.now < openedAt + 2000) driver.advance(10);
    expect(driver.holding()).toBe('open');
    expect(driver.now - openedAt).toBeGreaterThanOrEqual(100);
    const told = driver.of('tell').filter(({ message }) => message.kind === 'yield');
    expect(new Set(told.map(({ to }) => to))).toEqual(new Set([D2, D3]));
    expect(told.length).toBeGreaterThan(4);
    expect(driver.state.holdings.get(G1)?.epoch).toBe(driver.epochOf());
  });

  it('tells who asks to stand in for it to yield, though nobody answered the probes', () => {
    const driver = orphaned();
    driver.store.write(keys.session(D2), formatRecord(sessionOf({ state: 'broken', by: 'd3' })));
    driver.keep = (effect) => effect.kind === 'probe';
    driver.advance(30);
    const yields = (): number =>
      driver.of('tell').filter(({ to, message }) => to === D3 && message.kind === 'yield').length;
    expect(yields()).toBe(0);
    const session = sessionIdOf(revision(driver.store.read(keys.session(D3)).modRevision));
    const rev = driver.store.read(keys.owner(G1)).modRevision;
    const groups = [{ group: G1, epoch: driver.epochOf(), ownerRev: revision(rev) }];
    const asked = { session, sessionRev: revision(session), round: 1, part: 0, forMs: 1 };
    const message = { kind: 'hold', ...asked, basis: 'segment', groups } as const;
    driver.feed({ kind: 'peer', from: D3, message });
    driver.feed({ kind: 'probed', answers: new Map([[G1, false]]) });
    driver.run();
    driver.advance(80);
    expect(yields()).toBeGreaterThan(2);
    expect(driver.of('announce')).toEqual([]);
    driver.advance(TIMING.roundMs);
    expect(driver.of('announce')).toHaveLength(1);
  });

  it('is asked about just before the holder is killed, and opens with the kill', () => {
    const driver = orphaned();
    const told: string[] = [];
    for (let passed = 0; driver.holding() !== 'open' && passed < 2 * WAIT_MS; passed += 5) {
      driver.advance(5);
      for (const { kind } of driver.effects.splice(0))
        if (kind === 'probe' || kind === 'announce') told.push(`${kind} ${driver.now}`);
    }
    const [probe, announce] = told.map((one) => Number(one.split(' ')[1]));
    expect(told).toHaveLength(2);
    expect(told[0]).toContain('probe');
    expect((announce ?? 0) - (probe ?? 0)).toBeGreaterThanOrEqual(40);
    expect((announce ?? 0) - (probe ?? 0)).toBeLessThanOrEqual(70);
  });

  it('is not asked about where nobody goes on without the store', () => {
    const driver = orphaned({ isolation: 'release' });
    const id = driver.store.read(keys.session(D2)).modRevision;
    const broken = sessionOf({ state: 'broken', by: 'd3', id });
    driver.store.write(keys.session(D2), formatRecord(broken));
    driver.advance(100);
    expect(driver.of('probe')).toEqual([]);
    expect(driver.holding()).toBe('open');
  });

  it('is asked about where the name of its holder has a later life: the scope record is of that one', () => {
    const driver = orphaned({ isolation: 'release' });
    driver.store.write(keys.session(D2), formatRecord(sessionOf({ nonce: 'later' })));
    driver.isProbeAnswered = true;
    driver.advance(30);
    expect(driver.of('probe')).toMatchObject([{ group: G1 }]);
    expect(driver.holding()).toBe('owned');
  });

  it('is asked about where that later life is dead, too', () => {
    const driver = orphaned({ isolation: 'release' });
    const id = driver.store.read(keys.session(D2)).modRevision + 1;
    const later = { nonce: 'later', state: 'broken', by: 'd3', id } as const;
    driver.store.write(keys.session(D2), formatRecord(sessionOf(later)));
    driver.isProbeAnswered = true;
    driver.advance(30);
    expect(driver.of('probe')).toMatchObject([{ group: G1 }]);
    expect(driver.holding()).toBe('owned');
  });

  it('is asked about also where somebody deleted the scope record that may have said who goes on', () => {
    const driver = orphaned({ isolation: 'release' });
    driver.store.remove(keys.scope(D2));
    driver.store.write(keys.session(D2), formatRecord(sessionOf({ state: 'broken', by: 'd3' })));
    driver.isProbeAnswered = true;
    driver.advance(30);
    expect(driver.of('probe')).toMatchObject([{ group: G1 }]);
    expect(driver.holding()).toBe('owned');
  });
});
