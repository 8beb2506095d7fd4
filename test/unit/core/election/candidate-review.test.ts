/** Who stands in for a holder, and when not: what must not last, repeat, or take others with it (design 4.10). */
import { describe, expect, it } from 'vitest';
import { vrrpPart } from '../../../../src/core/vrrp/part.ts';
import { directorId, epochOf, monoMs, revision, sessionIdOf } from '../../../../src/model/ids.ts';
import { formatRecord } from '../../../../src/model/records.ts';
import {
  candidate,
  D1,
  D2,
  D3,
  directorsOf,
  type ElectionDriver,
  G1,
  G2,
  fit,
  holder,
  group,
  keys,
  live,
  operationOf,
  ownerOf,
  sessionOf,
  TIMING,
  WAIT_MS,
} from './election-driver.ts';
import { type Hold, only, promise, roundOf, type Scene, withoutStore } from './isolation.ts';

const IN_SIGHT: Scene = { isGatewayThere: true, answer: only(D3, promise) };
const TAKEN_MS = 2 * WAIT_MS + TIMING.suspectMs + 5 * TIMING.roundMs;

/** d2 holds g1; d1 and d3 see it. Then d2 falls silent, and the store with it. */
function orphaned(fields: Parameters<typeof candidate>[0] = {}): ElectionDriver {
  const directors = directorsOf(D1, D2, D3);
  const driver = candidate({ isolation: 'gateway', directors, ...fields });
  live(driver.store, D3);
  for (let passed = 0; passed < 2 * WAIT_MS; passed += 500) {
    driver.advance(500);
    driver.hear();
  }
  driver.audible = [D3];
  driver.forget();
  return driver;
}

function standIn(fields: Parameters<typeof candidate>[0] = {}): ElectionDriver {
  const driver = orphaned(fields);
  withoutStore(driver, TAKEN_MS + 1000, IN_SIGHT);
  expect(driver.holding()).toBe('open');
  driver.forget();
  return driver;
}

/** The store answers again. */
function back(driver: ElectionDriver): void {
  driver.keep = () => false;
  for (const { effect } of driver.kept.splice(0)) if (effect.kind === 'txn') driver.doubt(effect);
}

const three = (d1: number, d3: number) =>
  new Map([
    [D1, d1],
    [D2, 100],
    [D3, d3],
  ]);

describe('a stand-in that is not alone', () => {
  it('is silent as soon as it hears the holder by the record speak', () => {
    const driver = standIn();
    driver.hear(D2, [G1]);
    expect(driver.of('close')).toMatchObject([{ groups: [G1] }]);
    expect(driver.notices()).toContain('holder.yielded');
  });

  it.each([
    ['goes on', 'd3', 'better', 200, 0],
    ['goes on', 'd3', 'worse', 50, 0],
    ['is silent', 'd5', 'better', 200, 1],
    ['is silent', 'd5', 'worse', 50, 1],
    ['is silent', 'd5', 'unknown', null, 1],
  ] as const)(
    '%s when it hears %s, as both know, though it seems a %s one',
    (_, name, __, priority, closed) => {
      const other = directorId(name);
      const priorities = new Map([
        [D1, 150],
        [D2, 100],
        ...(priority === null ? [] : [[other, priority] as const]),
      ]);
      const driver = standIn({ groups: [group(G1, { priorities })] });
      driver.hear(other, [G1]);
      expect(driver.of('close')).toHaveLength(closed);
    },
  );

  it('goes on when it hears a holder that is dead by record', () => {
    const driver = standIn();
    const { modRevision: id } = driver.store.read(keys.session(D2));
    const broken = formatRecord(sessionOf({ state: 'broken', by: 'd3', id }));
    driver.store.write(keys.session(D2), broken);
    driver.see();
    driver.hear(D2, [G1], id);
    expect(driver.state.heard.get(D2)?.at).toBe(driver.now);
    expect(driver.holding()).toBe('open');
  });

  it('goes on while the holder is heard, and does not speak', () => {
    const driver = standIn();
    driver.hear(D2, []);
    expect(driver.holding()).toBe('open');
  });

  it('is silent when the holder lives in etcd, has it, and gives it not', () => {
    const driver = standIn();
    back(driver);
    for (let passed = 0; passed < 3 * 1000 && driver.holding() === 'open'; passed += 100) {
      driver.advance(100);
      driver.store.remove(keys.challenge(D2));
    }
    expect(driver.holding()).not.toBe('open');
    expect(driver.notices()).not.toContain('holder.killed');
  });
});

describe('a stand-in for the record of a handover', () => {
  it('leaves the entry of its former holder in it, for with another record it would stand in no more', () => {
    const driver = orphaned();
    const { store } = driver;
    const [d2, d3] = [D2, D3].map((id) => store.read(keys.session(id)).modRevision);
    const epoch = driver.epochOf();
    const former = { director: 'd3', session: d3 ?? 0, epoch };
    const record = ownerOf({ director: 'd2', session: d2 ?? 0, pending: [former] });
    store.write(keys.owner(G1), formatRecord(record));
    driver.see();
    const name = { session: sessionIdOf(revision(d3 ?? 0)), group: G1, epoch };
    driver.feed({ kind: 'peer', from: D3, message: { kind: 'muted', ...name } });
    withoutStore(driver, TAKEN_MS + 1000, IN_SIGHT);
    expect(driver.holding()).toBe('open');
    withoutStore(driver, 5000, IN_SIGHT);
    expect(driver.txns('resolve-pending')).toEqual([]);
    expect(driver.holding()).toBe('open');
  });
});

describe('a stand-in whose reasons end', () => {
  it('is silent when the document says release', () => {
    const driver = standIn();
    back(driver);
    driver.config = { ...driver.config, isolation: 'release' };
    driver.settle();
    expect(driver.of('close')).toMatchObject([{ groups: [G1] }]);
  });

  it('is silent when the group is for others only', () => {
    const driver = standIn();
    const groups = [group(G1, { priorities: new Map([[D2, 100]]) })];
    driver.config = { ...driver.config, groups };
    driver.settle();
    expect(driver.of('close')).toMatchObject([{ groups: [G1] }]);
  });

  it('is not left to the kernel alone by a freeze', () => {
    const driver = standIn();
    back(driver);
    driver.feed({ kind: 'freeze' });
    for (let passed = 0; passed < 2000; passed += 100) {
      driver.advance(100);
      const holding = driver.state.holdings.get(G1);
      const isStandIn = holding?.kind === 'open' && holding.right === 'segment';
      expect([isStandIn, driver.state.isFrozen]).not.toEqual([true, true]);
    }
  });

  it('does not end the operations of others', () => {
    const driver = standIn();
    back(driver);
    const operation = operationOf({ to: 'd1', from: 'd2', state: 'running' });
    driver.store.write(keys.operation('o1'), formatRecord(operation));
    driver.settle();
    expect(driver.of('operation')).toEqual([]);
  });
});

describe('a holder without the store', () => {
  /** g2 speaks; g1 is its own too, and silent. */
  const withSilent = (isolation: 'gateway' | 'release'): ElectionDriver => {
    const driver = holder({ groups: [group(G1), group(G2)], isolation });
    const { store, sessionId: session } = driver;
    const d2 = store.read(keys.session(D2)).modRevision;
    store.write(keys.owner(G1), formatRecord(ownerOf({ director: 'd2', session: d2 })));
    driver.settle();
    driver.feed(fit([G1, 'vrrp-listening'], [G2, null]));
    store.write(keys.owner(G1), formatRecord(ownerOf({ director: 'd1', session })));
    driver.advance(2 * TIMING.roundMs);
    expect([driver.holding(G1), driver.holding(G2)]).toEqual(['owned', 'open']);
    driver.forget();
    return driver;
  };
  const refusing: Scene['answer'] = only(D2, (from, question) =>
    question.groups.some((one) => one.group === G1)
      ? { kind: 'refusal', reason: 'promised', ...roundOf(question) }
      : promise(from, question),
  );

  it.each(['gateway', 'release'] as const)(
    'goes on with what speaks where a silent group is refused (isolation: %s)',
    (isolation) => {
      const driver = withSilent(isolation);
      withoutStore(driver, 3 * WAIT_MS, { isGatewayThere: true, answer: refusing });
      expect(driver.holding(G2)).toBe('open');
      expect(driver.notices()).not.toContain('holder.lapsed');
    },
  );

  it('opens the silent group by the promises of all, and waits for no word that does not come', () => {
    const driver = withSilent('release');
    const late: Scene['answer'] = only(D2, (from, question) =>
      question.groups.some((one) => one.group === G1) ? null : promise(from, question),
    );
    withoutStore(driver, 2 * WAIT_MS, { isGatewayThere: true, answer: late });
    expect(driver.holding(G2)).toBe('open');
    driver.feed(fit([G1, null], [G2, null]));
    withoutStore(driver, 2 * WAIT_MS, { isGatewayThere: true, answer: only(D2, promise) });
    expect([driver.holding(G1), driver.holding(G2)]).toEqual(['open', 'open']);
    expect(driver.notices()).not.toContain('holder.lapsed');
  });
});

describe('a holder by the gateway', () => {
  const superseded: Scene = {
    isGatewayThere: true,
    answer: (_, question) => ({
      kind: 'refusal',
      reason: 'superseded',
      ...roundOf(question),
    }),
  };
  const alone: Scene = { isGatewayThere: true };

  it('is silent as soon as it is told that the records have changed', () => {
    const driver = holder({ isolation: 'gateway' });
    driver.audible = [];
    withoutStore(driver, 2 * WAIT_MS, alone);
    expect([driver.holding(), driver.state.basis]).toEqual(['open', 'segment']);
    driver.forget();
    withoutStore(driver, TIMING.roundMs + 100, superseded);
    expect(driver.of('close')).toMatchObject([{ groups: [G1] }]);
  });

  it('waits for the deadline where the promises of all were its basis', () => {
    const driver = holder({ isolation: 'gateway' });
    withoutStore(driver, 2 * WAIT_MS, { isGatewayThere: true, answer: promise });
    expect([driver.holding(), driver.state.basis]).toEqual(['open', 'peers']);
    driver.forget();
    withoutStore(driver, TIMING.roundMs + 100, superseded);
    expect(driver.of('close')).toEqual([]);
  });

  it('opens soon after a lapse when all others promise', () => {
    const driver = holder({ isolation: 'gateway' });
    withoutStore(driver, 2 * WAIT_MS, { isGatewayThere: false });
    expect(driver.holding()).toBe('owned');
    withoutStore(driver, 3 * TIMING.roundMs, { isGatewayThere: false, answer: promise });
    expect(driver.holding()).toBe('open');
  });
});

describe('a candidate that cannot open', () => {
  const priorities = three(150, 50);
  const lost = { isGatewayThere: false, answer: only(D3, promise) };
  const asked = (driver: ElectionDriver) =>
    driver.of('tell').filter(({ message }) => message.kind === 'hold');

  it('neither asks nor probes without its gateway: both would keep others from it', () => {
    const driver = orphaned({ groups: [group(G1, { priorities })] });
    const told: unknown[] = [];
    const answer: Scene['answer'] = (_, question) => {
      told.push(question);
      return null;
    };
    withoutStore(driver, TAKEN_MS, { isGatewayThere: false, answer });
    expect(driver.notices()).toContain('candidate.started');
    expect([told, asked(driver), driver.of('probe')]).toEqual([[], [], []]);
    withoutStore(driver, TAKEN_MS, IN_SIGHT);
    expect(driver.holding()).toBe('open');
  });

  it('goes on asking the gateway', () => {
    const driver = orphaned();
    withoutStore(driver, TAKEN_MS, lost);
    expect(driver.of('ask-gateway').length).toBeGreaterThan(3);
  });

  it('opens where the kernel answers after the silence proves nothing any more', () => {
    const driver = orphaned();
    const probing = () => driver.state.probings.get(G1);
    while (probing()?.phase !== 'clear') withoutStore(driver, 100, { isGatewayThere: true });
    const [startedAt, until] = [monoMs(driver.now), monoMs(driver.now + 2 * WAIT_MS)];
    const base = { round: 999, startedAt, permitMs: TIMING.permitMs, holdMs: TIMING.holdMs };
    const modes = new Map([[G1, 'open']] as const);
    const round = { kind: 'arming', basis: 'segment', until, modes, ...base } as const;
    driver.state = { ...driver.state, round };
    driver.now = probing()?.until ?? Infinity;
    driver.feed({ kind: 'tick' });
    driver.feed({ kind: 'tick' });
    const told = { groups: [G1], opened: [G1], unsettled: [], failed: [], speaksUntil: until };
    driver.feed({ kind: 'armed', round: 999, isOk: true, ...told });
    expect(driver.of('close')).toEqual([]);
    expect(driver.holding()).toBe('open');
  });

  it('gives others their turn when the peers do not agree, and tries again', () => {
    const driver = orphaned({ groups: [group(G1, { priorities })] });
    const silent: Scene = { isGatewayThere: true };
    const answers = new Set<string>();
    for (let passed = 0; passed < 8 * WAIT_MS; passed += 500) {
      withoutStore(driver, 500, silent);
      answers.add(driver.holding());
    }
    expect(driver.notices().filter((one) => one === 'candidate.started').length).toBeGreaterThan(1);
    expect([...answers].toSorted()).toEqual(['none', 'owned']);
  });
});

describe('no candidate', () => {
  it('is who has asked the store nothing for long, and hears not a holder that lives', () => {
    const timing = { ...TIMING, suspectMs: 250, heartbeatMs: 100, roundMs: 100, holdMs: 500 };
    const quick = { ...timing, permitMs: 125, slackMs: 20 } as const;
    const driver = orphaned({ timing: quick });
    driver.store.write(
      keys.scope(D2),
      formatRecord({ v: 1, holdMs: 500, slackMs: 20, driftMargin: 0.25, session: 0, peers: [] }),
    );
    for (let passed = 0; passed < 3000; passed += 20) {
      driver.advance(20);
      driver.store.remove(keys.challenge(D2));
    }
    expect(driver.notices()).toContain('challenge.answered');
    expect(driver.notices()).not.toContain('candidate.started');
  });

  it('is whom the holder does not ask for promises', () => {
    const driver = orphaned();
    const { holdMs, slackMs, driftMargin } = TIMING;
    const scope = { v: 1, holdMs, slackMs, driftMargin, session: 0, peers: ['d3'] } as const;
    driver.store.write(keys.scope(D2), formatRecord(scope));
    driver.see();
    withoutStore(driver, 2 * TAKEN_MS, IN_SIGHT);
    expect(driver.notices()).not.toContain('candidate.started');
  });

  it('begins in each step anew, where the session record of the holder is gone', () => {
    const driver = orphaned();
    driver.store.remove(keys.session(D2));
    driver.see();
    driver.forget();
    withoutStore(driver, TAKEN_MS, IN_SIGHT);
    const started = driver.notices().filter((one) => one === 'candidate.started');
    expect(started).toHaveLength(1);
  });
});

describe('the former holder of a group that another stands in for', () => {
  /** It is silent, and the store has not answered for so long. */
  const former = (awayMs = 0, reason = 'released'): ElectionDriver => {
    const driver = orphaned();
    const session = driver.sessionId;
    driver.keep = (effect) => effect.kind === 'txn';
    driver.store.write(keys.owner(G1), formatRecord(ownerOf({ director: 'd1', session, reason })));
    driver.see();
    if (awayMs > 0) driver.advance(awayMs);
    driver.hear(D3, [G1]);
    return driver;
  };
  const question = (driver: ElectionDriver): Hold => {
    const { modRevision } = driver.store.read(keys.session(D3));
    const { modRevision: ownerRev } = driver.store.read(keys.owner(G1));
    const asked = { session: sessionIdOf(modRevision), sessionRev: modRevision, round: 9, part: 0 };
    const groups = [{ group: G1, epoch: epochOf(ownerRev), ownerRev }];
    return { kind: 'hold', basis: 'segment', forMs: WAIT_MS, groups, ...asked };
  };

  it('promises it to that one, also when the store has answered lately', () => {
    const driver = former(2 * TIMING.roundMs);
    const told = driver.feed({ kind: 'peer', from: D3, message: question(driver) });
    expect(told).toContainEqual(
      expect.objectContaining({ to: D3, message: expect.objectContaining({ kind: 'promise' }) }),
    );
  });

  it('keeps it while it cannot be given, for the stand-in may end first', () => {
    const driver = former(2 * TIMING.roundMs);
    for (let passed = 0; passed < WAIT_MS; passed += 500) {
      driver.advance(500);
      driver.hear(D3, [G1]);
    }
    expect(driver.holding()).toBe('owned');
    expect(driver.of('announce')).toEqual([]);
  });

  it('does not advertise that it is about to open', () => {
    const driver = former(2 * TIMING.roundMs, 'holder-dead');
    const now = monoMs(driver.now);
    const state = { ...driver.state, lastConfirmedAt: now };
    expect(driver.holding()).toBe('owned');
    expect(vrrpPart(state, G1, D1, { now, holdMs: TIMING.holdMs })).toEqual({ kind: 'named' });
  });

  it.each(['stood-in', 'released'])(
    'asks the network before it opens what its record says to be "%s"',
    (reason) => {
      const driver = orphaned();
      const session = driver.sessionId;
      const given = ownerOf({ director: 'd1', session, reason });
      driver.store.write(keys.owner(G1), formatRecord(given));
      driver.advance(20);
      expect(driver.of('probe')).toHaveLength(1);
    },
  );
});
