/** What a director has of services that it is a real server of itself, while another one holds their group. */
import { describe, expect, it } from 'vitest';
import {
  type DesiredInput,
  deriveDesired,
  isStillDesired,
  NO_FACTS,
  recallQuorums,
} from '../../../../src/core/desired/desired-state.ts';
import { deriveChecks } from '../../../../src/core/health/checks.ts';
import { type OwnServing, servedVips } from '../../../../src/core/service/own-standby.ts';
import { groupId, serviceId } from '../../../../src/model/ids.ts';
import { DesiredDriver } from './desired-driver.ts';
import { ANY_IPVS, ANY_QUORUM, anyService, ip, server, sorryServer } from './spec-builders.ts';

const ME = '10.0.0.1';
const PEER = '10.0.0.2';
const OTHER = '10.0.0.3';
const ALL = [ME, PEER, OTHER];
const WEB = groupId('web');

type Fields = Parameters<typeof anyService>[0];
const pair = (fields: Fields = {}) =>
  anyService({ realServers: ALL.map((one) => server(one, { weight: 10 })), ...fields });

const own = (fields: Partial<OwnServing> = {}): OwnServing => ({
  addresses: new Set([ip(ME)]),
  held: new Set(),
  here: new Set(),
  ...fields,
});
const STANDBY = own();
const READY = own({ here: new Set([WEB]) });
const HOLDER = own({ here: new Set([WEB]), held: new Set([WEB]) });

/** All voted up but those named. */
function drive(service = pair(), down: readonly string[] = []): DesiredDriver {
  const driver = new DesiredDriver([service]);
  for (const one of ALL) driver.vote(one, down.includes(one) ? 'down' : 'up');
  return driver;
}

function pass(driver: DesiredDriver, serving: OwnServing) {
  driver.facts = { own: serving };
  return driver.pass();
}

describe('a director that is a real server of the service', () => {
  it('has itself alone while it does not hold, so that nothing is shared out twice', () => {
    const driver = drive();
    const { desired, operations } = pass(driver, STANDBY);
    expect(operations).toEqual(['add-service tcp 10.90.0.100:80', `add-destination ${ME} 1`]);
    expect(driver.why(desired, ME)).toMatchObject({ why: 'standby-own', wantedWeight: 1 });
    expect(driver.why(desired, PEER)).toMatchObject({
      why: 'standby-waits',
      wantedWeight: null,
      health: 'up',
    });
    const explained = desired.serviceExplanations.get(serviceId('web'));
    expect(explained).toMatchObject({ isHere: true, standby: 'own' });
  });

  it('has the others without weight when it is about to hold, and with theirs when it does', () => {
    const driver = drive();
    pass(driver, STANDBY);
    expect(pass(driver, READY).operations).toEqual([
      `add-destination ${PEER} 0`,
      `add-destination ${OTHER} 0`,
    ]);
    pass(driver, HOLDER);
    expect(driver.weights()).toEqual({ [ME]: 10, [PEER]: 10, [OTHER]: 10 });
    pass(driver, READY);
    expect(driver.weights()).toEqual({ [ME]: 1, [PEER]: 0, [OTHER]: 0 });
    expect(pass(driver, STANDBY).operations).toEqual([
      `delete-destination ${PEER}`,
      `delete-destination ${OTHER}`,
    ]);
  });

  it('never deletes the service in a move: connections of the real server that it is go on', () => {
    const driver = drive();
    pass(driver, STANDBY);
    const moves = [READY, HOLDER, READY, STANDBY, HOLDER, STANDBY];
    const operations = moves.flatMap((stage) => pass(driver, stage).operations);
    expect(operations.filter((one) => one.includes('service') || one.endsWith(ME))).toEqual([]);
  });

  it('takes what comes, whatever is decided of itself: the holder has decided', () => {
    const driver = drive(pair(), [ME]);
    driver.override(ME, 'maint');
    pass(driver, STANDBY);
    expect(driver.weights()).toEqual({ [ME]: 1 });
    pass(driver, HOLDER);
    expect(driver.weights()).toEqual({ [PEER]: 10, [OTHER]: 10 });
  });

  it('of others has, when it is about to hold, those alone whose connections go on', () => {
    const driver = drive(pair(), [PEER]);
    pass(driver, READY);
    expect(driver.weights()).toEqual({ [ME]: 1, [OTHER]: 0 });
    const inhibited = ALL.map((one) => server(one, { inhibitOnFailure: true }));
    const kept = drive(pair({ realServers: inhibited }), [PEER]);
    pass(kept, READY);
    expect(kept.weights()).toEqual({ [ME]: 1, [PEER]: 0, [OTHER]: 0 });
  });

  it('is so with a cold standby too, which has nothing of other services', () => {
    const driver = new DesiredDriver(
      [pair(), anyService({ id: 'b', port: 81, realServers: [server(PEER)] })],
      { ipvs: { ...ANY_IPVS, standby: 'cold' } },
    );
    driver.facts = { own: STANDBY, groupsHere: new Set() };
    const { desired } = driver.pass();
    expect(desired.services).toHaveLength(1);
    expect(driver.weights()).toEqual({ [ME]: 1 });
  });

  it('is one by its sorry server: it answers what the holder sends there', () => {
    const service = anyService({
      realServers: [server(PEER), server(OTHER)],
      sorryServer: sorryServer(ME),
    });
    const driver = drive(service);
    const { desired } = pass(driver, STANDBY);
    expect(driver.weights()).toEqual({ [ME]: 1 });
    expect(desired.sorryActive.size).toBe(0);
    expect(desired.serviceExplanations.get(serviceId('web'))?.sorry).toBe('elsewhere');
    pass(driver, HOLDER);
    expect(driver.weights()).toEqual({ [PEER]: 1, [OTHER]: 1 });
  });

  it('is none by NAT, nor by an address of another', () => {
    for (const realServers of [
      [server(ME, { forward: 'nat' }), server(PEER, { forward: 'nat' })],
      [server(PEER), server(OTHER)],
    ]) {
      const driver = drive(anyService({ realServers }));
      const { desired } = pass(driver, STANDBY);
      expect(Object.values(driver.weights())).toEqual([1, 1]);
      expect(desired.serviceExplanations.get(serviceId('web'))?.standby).toBeNull();
    }
  });

  it('is one by a tunnel', () => {
    const driver = drive(pair({ realServers: ALL.map((one) => server(one, { forward: 'tun' })) }));
    pass(driver, STANDBY);
    expect(driver.weights()).toEqual({ [ME]: 1 });
  });
});

describe('what was derived', () => {
  it('stands while its own services are the same object', () => {
    const service = pair();
    const { spec } = drive(service);
    const input = (serving: OwnServing): DesiredInput => ({
      spec,
      checks: deriveChecks(spec).byRealServer,
      overrides: [],
      statuses: new Map(),
      facts: { ...NO_FACTS, own: serving },
    });
    const [first, second] = [input(STANDBY), input(READY)];
    const statuses = first.statuses;
    const checks = first.checks;
    const desired = deriveDesired(first);
    expect(isStillDesired(first, desired, { ...input(STANDBY), statuses, checks })).toBe(true);
    expect(isStillDesired(first, desired, { ...second, statuses, checks })).toBe(false);
  });
});

describe('recallQuorums', () => {
  const quorum = { ...ANY_QUORUM, need: 20, hysteresis: 5 };

  it('learns nothing from a table with this director alone, which a standby has in any case', () => {
    for (const sorry of [ME, '10.0.0.9']) {
      const driver = drive(pair({ quorum, sorryServer: sorryServer(sorry) }));
      pass(driver, STANDBY);
      const table = driver.model.dump();
      expect([...recallQuorums(driver.spec, table, new Set([ip(ME)]))]).toEqual([]);
    }
    const holder = drive(pair({ quorum, sorryServer: sorryServer('10.0.0.9') }));
    pass(holder, HOLDER);
    const recalled = recallQuorums(holder.spec, holder.model.dump(), new Set([ip(ME)]));
    expect([...recalled]).toEqual([['web', true]]);
  });
});

describe('servedVips', () => {
  const group = {
    id: WEB,
    addresses: ['10.90.0.100', '10.90.0.101', 'fd90::100'].map((address) => ({
      address: ip(address),
      prefix: 24,
      interface: 'public',
      label: null,
      scope: 'global' as const,
    })),
  };
  const servedBy = (...services: ReturnType<typeof anyService>[]): readonly string[] => {
    const { spec } = new DesiredDriver(services);
    const groups = [group] as unknown as typeof spec.groups;
    return [...servedVips({ services, groups }, new Set([ip(ME)]))].toSorted();
  };

  it('are the VIPs of services that have this director by DR or a tunnel', () => {
    expect(servedBy(pair())).toEqual(['10.90.0.100']);
    expect(servedBy(anyService({ realServers: [server(PEER)] }))).toEqual([]);
    expect(servedBy(anyService({ realServers: [server(ME, { forward: 'nat' })] }))).toEqual([]);
  });

  it('are, of a firewall mark, all of its group and family', () => {
    const keys = [{ kind: 'fwmark' as const, mark: 7, family: 4 as const }];
    expect(servedBy(pair({ keys }))).toEqual(['10.90.0.100', '10.90.0.101']);
  });
});
