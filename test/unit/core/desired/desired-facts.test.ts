import { describe, expect, it } from 'vitest';
import {
  deriveDesired,
  type DesiredInput,
  isStillDesired,
  NO_FACTS,
  recallQuorums,
} from '../../../../src/core/desired/desired-state.ts';
import { deriveChecks } from '../../../../src/core/health/checks.ts';
import type { ServiceKey } from '../../../../src/model/cluster.ts';
import { groupId, serviceId } from '../../../../src/model/ids.ts';
import { DesiredDriver } from './desired-driver.ts';
import { ANY_IPVS, ANY_QUORUM, anyService, ip, server, sorryServer } from './spec-builders.ts';

const A = '10.0.0.1';
const B = '10.0.0.2';
const C = '10.0.0.3';
const D = '10.0.0.4';
const SORRY = '10.0.0.9';

type Fields = Parameters<typeof anyService>[0];
const four = (fields: Fields = {}) =>
  anyService({ realServers: [A, B, C, D].map((one) => server(one, { weight: 10 })), ...fields });

/** All voted on, those named down. */
function voted(driver: DesiredDriver, ...down: readonly string[]): DesiredDriver {
  for (const one of [A, B, C, D]) driver.vote(one, down.includes(one) ? 'down' : 'up');
  return driver;
}

const sorryOf = (driver: DesiredDriver) => {
  const [explained] = [...driver.pass().desired.serviceExplanations.values()];
  return explained;
};

describe('slow start', () => {
  const SLOW_MS = 10_000;
  const slow = (fields: Fields = {}) => four({ slowStartMs: SLOW_MS, ...fields });
  const upSinceOf = (driver: DesiredDriver, address: string, sinceMs: number) => {
    const check = deriveChecks(driver.spec).checks.find((one) => one.address === address);
    if (check === undefined) throw new Error('no check');
    driver.facts = { upSince: new Map([[check.id, sinceMs]]) };
  };

  it('gives a recovered real server its weight in steps, one operation each, and says when', () => {
    const driver = voted(new DesiredDriver([slow()]), A);
    driver.pass();
    driver.vote(A, 'up');
    upSinceOf(driver, A, driver.nowMs);
    const first = driver.pass();
    expect(first.operations).toEqual([`add-destination ${A} 1`]);
    expect(driver.why(first.desired, A)).toMatchObject({
      why: 'slow-start',
      wantedWeight: 1,
      weight: { full: 10, ramped: 1 },
    });
    expect(first.desired.dueAtMs).toBe(driver.nowMs + 1000);
    driver.nowMs += 1000;
    expect(driver.pass().operations).toEqual([]);
    for (const weight of [2, 3, 4, 5, 6, 7, 8, 9, 10]) {
      driver.nowMs += 1000;
      expect(driver.pass().operations).toEqual([`set-destination ${A} ${weight}`]);
    }
    const last = driver.pass();
    expect(last.desired.dueAtMs).toBeNull();
    expect(driver.why(last.desired, A)?.why).toBe('up');
  });

  it('does not begin anew with a new process, nor for the other services', () => {
    const driver = voted(new DesiredDriver([slow()]));
    upSinceOf(driver, A, driver.nowMs - SLOW_MS / 2);
    driver.pass();
    expect(driver.weights()).toEqual({ [A]: 5, [B]: 10, [C]: 10, [D]: 10 });
    driver.restart();
    expect(driver.pass().operations).toEqual([]);
  });

  it('knows none before the first vote: a cluster starts with full weights', () => {
    const driver = new DesiredDriver([slow()]);
    upSinceOf(driver, A, driver.nowMs);
    driver.pass();
    expect(driver.weights()[A]).toBe(10);
  });

  it('counts with the full weight for the quorum, so that nobody waits for himself', () => {
    const quorum = { ...ANY_QUORUM, need: 40 };
    const driver = new DesiredDriver([slow({ quorum, sorryServer: sorryServer(SORRY) })]);
    voted(driver, A).pass();
    expect(driver.weights()).toEqual({ [SORRY]: 1 });
    driver.vote(A, 'up');
    upSinceOf(driver, A, driver.nowMs);
    expect(driver.pass().events).toEqual(['quorum-up']);
    expect(driver.weights()).toEqual({ [A]: 1, [B]: 10, [C]: 10, [D]: 10 });
  });

  it('is nothing to what is drained', () => {
    const driver = voted(new DesiredDriver([slow()]));
    driver.pass();
    upSinceOf(driver, A, driver.nowMs);
    driver.override(A, 'drain');
    expect(driver.pass().operations).toEqual([`set-destination ${A} 0`]);
  });
});

describe('dynamic weight', () => {
  it('changes one destination, counts for the quorum, and is heeded only where the service says so', () => {
    const driver = voted(new DesiredDriver([four({ weightSource: 'check' })]));
    driver.pass();
    const check = deriveChecks(driver.spec).checks[0];
    if (check === undefined) throw new Error('no check');
    driver.facts = { dynamicWeights: new Map([[check.id, { kind: 'percent', percent: 50 }]]) };
    const played = driver.pass();
    expect(played.operations).toEqual([`set-destination ${A} 5`]);
    const [explained] = [...played.desired.serviceExplanations.values()];
    expect(explained?.quorum).toMatchObject({ live: 35, total: 40 });
    driver.apply([four()]);
    driver.pass();
    expect(driver.weights()[A]).toBe(10);
  });
});

describe('fail-open', () => {
  it('keeps all in where more is down at once than is believed, and lets them go one by one', () => {
    const driver = voted(new DesiredDriver([four({ failOpenPercent: 50 })]), A, B);
    driver.pass();
    expect(driver.weights()).toEqual({ [C]: 10, [D]: 10 });
    voted(driver, A, B, C);
    const open = driver.pass();
    expect(open.operations).toEqual([`add-destination ${A} 10`, `add-destination ${B} 10`]);
    expect(driver.why(open.desired, C)).toMatchObject({ why: 'fail-open', health: 'down' });
    expect(driver.why(open.desired, D)?.why).toBe('up');
    voted(driver, A);
    expect(driver.pass().operations).toEqual([`delete-destination ${A}`]);
  });

  it('goes before the sorry server; the quorum is lost all the same, and told', () => {
    const service = four({ failOpenPercent: 50, sorryServer: sorryServer(SORRY) });
    const driver = voted(new DesiredDriver([service]));
    driver.pass();
    voted(driver, A, B, C, D);
    const played = driver.pass();
    expect(played).toMatchObject({ operations: [], events: ['quorum-down'] });
    expect(played.desired.sorryActive.size).toBe(0);
    expect(sorryOf(driver)).toMatchObject({
      sorry: 'held-back',
      failOpen: { isOpen: true, up: 0, down: 40 },
      quorum: { isUp: false, live: 0 },
    });
  });

  it('leaves the sorry server its part: a lost quorum with fewer down', () => {
    const quorum = { ...ANY_QUORUM, need: 40 };
    const service = four({ quorum, failOpenPercent: 50, sorryServer: sorryServer(SORRY) });
    const driver = voted(new DesiredDriver([service]), A);
    driver.pass();
    expect(driver.weights()).toEqual({ [SORRY]: 1 });
    expect(sorryOf(driver)?.sorry).toBe('answering');
  });

  it('does not overrule an operator, nor alpha: who was never voted on stays out', () => {
    const driver = new DesiredDriver([four({ failOpenPercent: 90, alpha: true })]);
    for (const one of [A, C]) driver.vote(one, 'down');
    driver.pass();
    expect(driver.weights()).toEqual({ [A]: 10, [C]: 10 });
    driver.override(B, 'maint');
    driver.override(C, 'drain');
    driver.pass();
    expect(driver.weights()).toEqual({ [A]: 10, [C]: 0 });
  });
});

describe('IPVS services of a virtual service', () => {
  const at = (address: string, port: number): ServiceKey => ({
    kind: 'address',
    protocol: 'tcp',
    address: ip(address),
    port,
  });
  const mark: ServiceKey = { kind: 'fwmark', family: 4, mark: 7 };

  it('are one for each key, with all real servers, at the port that the client asked for', () => {
    const keys = [at('10.90.0.100', 80), at('10.90.0.100', 443), at('10.90.0.101', 80)];
    const realServers = [server(A, { port: 0 }), server(B, { port: 8080 })];
    const { desired } = new DesiredDriver([anyService({ keys, realServers })]).pass();
    expect(
      desired.services.map(({ key, destinations }) => [
        key.kind === 'address' && `${key.address}:${key.port}`,
        destinations.map(({ address, port }) => `${address}:${port}`),
      ]),
    ).toEqual([
      ['10.90.0.100:80', [`${A}:80`, `${B}:8080`]],
      ['10.90.0.100:443', [`${A}:443`, `${B}:8080`]],
      ['10.90.0.101:80', [`${A}:80`, `${B}:8080`]],
    ]);
    expect(desired.explanations.size).toBe(2);
  });

  it('of a mark keep port 0 for real servers and sorry server', () => {
    const service = anyService({
      keys: [mark],
      realServers: [server(A, { port: 0 })],
      sorryServer: sorryServer(SORRY, { port: 0, inhibit: true }),
    });
    const { desired } = new DesiredDriver([service]).pass();
    expect(desired.services).toMatchObject([
      {
        key: mark,
        destinations: [
          { address: A, port: 0, weight: 1 },
          { address: SORRY, port: 0, weight: 0 },
        ],
      },
    ]);
  });

  it('carry flags, persistence by network and its engine', () => {
    const service = anyService({
      protocol: 'udp',
      ops: true,
      scheduler: 'mh',
      schedulerFlags: ['mh-port', 'mh-fallback'],
      persistence: { timeoutS: 300, prefix: 24, engine: 'sip' },
    });
    expect(new DesiredDriver([service]).pass().desired.services).toMatchObject([
      {
        scheduler: 'mh',
        flags: 0x1 | 0x4 | 0x8 | 0x10,
        timeoutS: 300,
        persistencePrefix: 24,
        persistenceEngine: 'sip',
      },
    ]);
  });

  it('leave out a key that an earlier service has, and keep the others', () => {
    const first = anyService({ id: 'a', realServers: [server(A)] });
    const keys = [at('10.90.0.100', 80), at('10.90.0.100', 81)];
    const second = anyService({ id: 'b', keys, realServers: [server(B)] });
    const { desired } = new DesiredDriver([first, second]).pass();
    expect(desired.services.map(({ destinations }) => destinations.map((d) => d.address))).toEqual([
      [A],
      [B],
    ]);
  });
});

describe('a cold standby', () => {
  const mine = anyService({ id: 'a', group: groupId('mine') });
  const other = anyService({ id: 'b', group: groupId('other'), port: 81 });
  const cold = { ipvs: { ...ANY_IPVS, standby: 'cold' as const } };

  it('has the services of groups that are here, gets them with the group, and says why not', () => {
    const sorry = anyService({ ...other, id: 'b', port: 81, sorryServer: sorryServer(SORRY) });
    const driver = new DesiredDriver([mine, sorry], cold);
    driver.facts = { groupsHere: new Set([groupId('mine')]) };
    const { desired } = driver.pass();
    expect(desired.services).toHaveLength(1);
    const away = [...desired.explanations.values()].find(({ service }) => service === 'b');
    expect(away).toMatchObject({ why: 'standby-cold', wantedWeight: null, health: 'up' });
    expect(desired.serviceExplanations.get(serviceId('b'))).toMatchObject({
      isHere: false,
      sorry: 'elsewhere',
    });
    driver.facts = { groupsHere: new Set([groupId('mine'), groupId('other')]) };
    expect(driver.pass().operations[0]).toBe('add-service tcp 10.90.0.100:81');
    driver.facts = { groupsHere: new Set() };
    expect(driver.pass().operations).toEqual([
      'delete-service tcp 10.90.0.100:80',
      'delete-service tcp 10.90.0.100:81',
    ]);
  });

  it('is nothing to a warm one', () => {
    const driver = new DesiredDriver([mine, other]);
    driver.facts = { groupsHere: new Set() };
    expect(driver.pass().desired.services).toHaveLength(2);
  });
});

describe('recallQuorums', () => {
  const quorum = { ...ANY_QUORUM, need: 30, hysteresis: 5 };
  const service = four({ quorum, sorryServer: sorryServer(SORRY) });

  it.each<[string, string[], boolean]>([
    ['kept where it was there', [A], true],
    ['not there where the sorry server answered', [A, B], false],
  ])('in the band between the thresholds is %s', (_, down, isUp) => {
    const driver = voted(new DesiredDriver([service]));
    driver.pass();
    voted(driver, ...down);
    driver.pass();
    voted(driver, A);
    const quorums = recallQuorums(driver.spec, driver.model.dump());
    expect([...quorums]).toEqual([['web', isUp]]);
    driver.facts = { quorums };
    expect(driver.pass().operations).toEqual([]);
  });

  it('knows nothing of services without sorry server, not in the table, or with one that is a real server', () => {
    const table = new DesiredDriver([four()]);
    table.pass();
    const recall = (fields: Fields) =>
      recallQuorums(new DesiredDriver([four(fields)]).spec, table.model.dump()).size;
    expect(recall({})).toBe(0);
    expect(recall({ sorryServer: sorryServer(A) })).toBe(0);
    expect(recall({ port: 81, sorryServer: sorryServer(SORRY) })).toBe(0);
    expect(recall({ sorryServer: sorryServer(SORRY) })).toBe(1);
  });
});

describe('isStillDesired', () => {
  const spec = new DesiredDriver([four()]).spec;
  const input: DesiredInput = {
    spec,
    checks: deriveChecks(spec).byRealServer,
    overrides: [],
    statuses: new Map(),
    facts: { ...NO_FACTS, nowMs: 1000 },
  };
  const desired = { ...deriveDesired(input), dueAtMs: 2000 };
  const still = (fields: Partial<DesiredInput>) =>
    isStillDesired(input, desired, { ...input, ...fields });
  const facts = (fields: Partial<typeof NO_FACTS>) => ({
    facts: { ...NO_FACTS, nowMs: 1000, ...fields },
  });

  it('is so while nothing came in and nothing is due, also with the quorums that came of it', () => {
    expect(still({})).toBe(true);
    expect(still(facts({ nowMs: 1999 }))).toBe(true);
    expect(still(facts({ quorums: desired.quorums }))).toBe(true);
  });

  it.each<[string, Partial<DesiredInput>]>([
    ['the time', facts({ nowMs: 2000 })],
    ['the clock, which was set back,', facts({ nowMs: 999 })],
    ['the document', { spec: { ...spec } }],
    ['a status', { statuses: new Map() }],
    ['a check', { checks: new Map() }],
    ['the times of votes', facts({ upSince: new Map() })],
    ['a weight that a check says', facts({ dynamicWeights: new Map() })],
    ['a drain', facts({ drains: new Map() })],
    ['the groups held', facts({ groupsHere: new Set() })],
    ['quorums from elsewhere', facts({ quorums: new Map() })],
  ])('is not when %s changes', (_, fields) => {
    expect(still(fields)).toBe(false);
  });
});
