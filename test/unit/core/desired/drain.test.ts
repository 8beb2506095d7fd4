import { describe, expect, it } from 'vitest';
import { stepDrains } from '../../../../src/core/service/drain.ts';
import type { VirtualService } from '../../../../src/model/cluster.ts';
import { DesiredDriver } from './desired-driver.ts';
import { anyService, ip, server, sorryServer } from './spec-builders.ts';

const A = '10.0.0.1';
const B = '10.0.0.2';
const KEY = 'tcp 10.90.0.100:80';
const OTHER_KEY = 'tcp 10.90.0.101:80';
const DEADLINE_MS = 60_000;

type Fields = Parameters<typeof anyService>[0];
const web = (addresses: readonly string[], fields: Fields = {}): VirtualService =>
  anyService({
    drain: { deadlineMs: DEADLINE_MS },
    realServers: addresses.map((address) => server(address, { weight: 5 })),
    ...fields,
  });

/** In the table, both with connections. */
function running(fields: Fields = {}): DesiredDriver {
  const driver = new DesiredDriver([web([A, B], fields)]);
  driver.pass();
  driver.model.setConnections(KEY, A, { activeConnections: 3, inactiveConnections: 2 });
  return driver;
}

describe('an operator drains a real server', () => {
  it('has weight 0 until nobody is connected, then is gone, and stays gone', () => {
    const driver = running();
    driver.override(A, 'drain');
    const began = driver.pass();
    expect(began.operations).toEqual([`set-destination ${A} 0`]);
    expect(driver.why(began.desired, A)).toMatchObject({
      why: 'admin-drain',
      wantedWeight: 0,
      drain: {
        cause: 'admin',
        first: { active: 3, inactive: 2, persistent: 0 },
        left: { active: 3, inactive: 2, persistent: 0 },
        deadlineAtMs: driver.nowMs + DEADLINE_MS,
        end: null,
      },
    });
    driver.model.setConnections(KEY, A, { inactiveConnections: 1 });
    const later = driver.pass();
    expect(later.operations).toEqual([]);
    expect(driver.why(later.desired, A)?.drain).toMatchObject({
      first: { active: 3, inactive: 2 },
      left: { active: 0, inactive: 1 },
    });
    driver.model.setConnections(KEY, A, {});
    const ended = driver.pass();
    expect(ended.operations).toEqual([`delete-destination ${A}`]);
    expect(driver.why(ended.desired, A)).toMatchObject({
      why: 'drained',
      wantedWeight: null,
      drain: { end: 'gone' },
    });
    expect(driver.pass().operations).toEqual([]);
  });

  it('waits for persistence templates too: their clients may come back', () => {
    const driver = running();
    driver.model.setConnections(KEY, A, { persistentConnections: 1 });
    driver.override(A, 'drain');
    driver.pass();
    expect(driver.pass().operations).toEqual([]);
    driver.model.setConnections(KEY, A, {});
    expect(driver.pass().operations).toEqual([`delete-destination ${A}`]);
  });

  it('is not over before the kernel has weight 0, though nobody is connected', () => {
    const driver = running();
    driver.model.setConnections(KEY, A, {});
    driver.override(A, 'drain');
    expect(driver.pass().operations).toEqual([`set-destination ${A} 0`]);
    expect(driver.pass().operations).toEqual([`delete-destination ${A}`]);
  });

  it('is over at the deadline, and says when that will be', () => {
    const driver = running();
    driver.override(A, 'drain');
    expect(driver.pass().desired.dueAtMs).toBe(driver.nowMs + DEADLINE_MS);
    driver.nowMs += DEADLINE_MS - 1;
    expect(driver.pass().operations).toEqual([]);
    driver.nowMs += 1;
    const ended = driver.pass();
    expect(ended.operations).toEqual([`delete-destination ${A}`]);
    expect(driver.why(ended.desired, A)?.drain).toMatchObject({ end: 'deadline' });
    expect(ended.desired.dueAtMs).toBeNull();
  });

  it('takes as long as it takes where the service names no deadline', () => {
    const driver = running({ drain: { deadlineMs: 0 } });
    driver.override(A, 'drain');
    expect(driver.pass().desired.dueAtMs).toBeNull();
    driver.nowMs += 1e9;
    expect(driver.pass().operations).toEqual([]);
  });

  it('takes as long as the operator said, whatever the service says', () => {
    const driver = running();
    driver.override(A, 'drain', null, 5000);
    const began = driver.nowMs;
    expect(driver.pass().desired.dueAtMs).toBe(began + 5000);
    // Said again with another one: counted from when the drain began.
    driver.nowMs += 1000;
    driver.override(A, 'drain', null, 9000);
    expect(driver.pass().desired.dueAtMs).toBe(began + 9000);
    driver.override(A, 'drain', null, 0);
    expect(driver.pass().desired.dueAtMs).toBeNull();
    driver.override(A, 'drain');
    expect(driver.pass().desired.dueAtMs).toBe(began + DEADLINE_MS);
  });

  it('comes back at once when it is ready again, also after it was gone', () => {
    const driver = running();
    driver.override(A, 'drain');
    driver.pass();
    driver.override(A, null);
    expect(driver.pass().operations).toEqual([`set-destination ${A} 5`]);
    driver.override(A, 'drain');
    driver.model.setConnections(KEY, A, {});
    driver.pass();
    driver.pass();
    driver.override(A, null);
    expect(driver.pass().operations).toEqual([`add-destination ${A} 5`]);
  });

  it('goes on where a new process finds it, and is over where it finds none', () => {
    const driver = running();
    driver.override(A, 'drain');
    driver.pass();
    driver.restart();
    expect(driver.pass().operations).toEqual([]);
    driver.model.setConnections(KEY, A, {});
    expect(driver.pass().operations).toEqual([`delete-destination ${A}`]);
    driver.restart();
    const after = driver.pass();
    expect(after.operations).toEqual([]);
    expect(driver.why(after.desired, A)?.drain).toMatchObject({ end: 'absent' });
  });

  it('puts back what somebody else deleted while it had connections', () => {
    const driver = running();
    driver.override(A, 'drain');
    driver.pass();
    const [service] = driver.model.dump().services;
    if (service === undefined) throw new Error('no service');
    driver.model.apply({
      op: 'delete-destination',
      service: service.key,
      destination: { address: ip(A), port: 80 },
    });
    expect(driver.pass().operations).toEqual([`add-destination ${A} 0`]);
  });

  it('ends in each IPVS service of its virtual service on its own', () => {
    const at = (address: string) =>
      ({ kind: 'address', protocol: 'tcp', address: ip(address), port: 80 }) as const;
    const keys = [at('10.90.0.100'), at('10.90.0.101')];
    const driver = running({ keys });
    driver.model.setConnections(KEY, A, {});
    driver.model.setConnections(OTHER_KEY, A, { activeConnections: 4 });
    driver.override(A, 'drain');
    driver.pass();
    const half = driver.pass();
    expect(half.operations).toEqual([`delete-destination ${A}`]);
    expect(driver.why(half.desired, A)).toMatchObject({
      why: 'admin-drain',
      drain: { first: { active: 4 }, left: { active: 4 }, end: null },
    });
    driver.model.setConnections(OTHER_KEY, A, {});
    const whole = driver.pass();
    expect(whole.operations).toEqual([`delete-destination ${A}`]);
    expect(driver.why(whole.desired, A)?.why).toBe('drained');
  });

  it('stays beside the sorry server with weight 0', () => {
    const driver = running({ sorryServer: sorryServer('10.0.0.9') });
    driver.override(A, 'drain');
    driver.vote(B, 'down');
    driver.pass();
    expect(driver.weights()).toEqual({ [A]: 0, '10.0.0.9': 1 });
  });
});

describe('the document no longer names a real server', () => {
  it('has weight 0 until nobody is connected', () => {
    const driver = running();
    driver.apply([web([B])]);
    const began = driver.pass();
    expect(began.operations).toEqual([`set-destination ${A} 0`]);
    const [explained] = [...began.desired.serviceExplanations.values()];
    expect(explained?.leaving).toMatchObject([
      { realServer: `${A}:80`, cause: 'leaving', left: { active: 3, inactive: 2 }, end: null },
    ]);
    driver.before = null;
    expect(driver.pass().operations).toEqual([]);
    driver.model.setConnections(KEY, A, {});
    expect(driver.pass().operations).toEqual([`delete-destination ${A}`]);
    expect(driver.pass()).toMatchObject({ operations: [] });
    expect(driver.drains.size).toBe(0);
  });

  it('goes at the deadline, and at once where the service gives no time', () => {
    const driver = running();
    driver.apply([web([B])]);
    driver.pass();
    driver.nowMs += DEADLINE_MS;
    expect(driver.pass().operations).toEqual([`delete-destination ${A}`]);
    const hasty = running({ drain: { deadlineMs: 0 } });
    hasty.apply([web([B], { drain: { deadlineMs: 0 } })]);
    expect(hasty.pass().operations).toEqual([`delete-destination ${A}`]);
  });

  it('is found again by a new process, by its weight 0 and its connections', () => {
    const driver = running();
    driver.apply([web([B])]);
    driver.pass();
    driver.restart();
    expect(driver.pass().operations).toEqual([]);
    expect(driver.weights()).toEqual({ [A]: 0, [B]: 5 });
    driver.model.setConnections(KEY, A, {});
    driver.pass();
    expect(driver.weights()).toEqual({ [B]: 5 });
  });

  it('keeps its connections also where no process ran when the document dropped it', () => {
    const driver = running();
    driver.apply([web([B])]);
    driver.restart();
    expect(driver.pass().operations).toEqual([`set-destination ${A} 0`]);
    expect(driver.pass().operations).toEqual([]);
    driver.nowMs += DEADLINE_MS;
    expect(driver.pass().operations).toEqual([`delete-destination ${A}`]);
    expect(driver.pass().operations).toEqual([]);
    expect(driver.drains.size).toBe(0);
  });

  it('has its weight again when the document names it again', () => {
    const driver = running();
    driver.apply([web([B])]);
    driver.pass();
    driver.apply([web([A, B])]);
    expect(driver.pass().operations).toEqual([`set-destination ${A} 5`]);
    expect(driver.drains.size).toBe(0);
  });

  it('does not wait for what somebody else added with a weight', () => {
    const driver = running();
    const [service] = driver.model.dump().services;
    const [first] = service?.destinations ?? [];
    if (service === undefined || first === undefined) throw new Error('no service');
    const destination = { ...first, address: ip('10.0.0.77') };
    driver.model.apply({ op: 'add-destination', service: service.key, destination });
    driver.model.setConnections(KEY, '10.0.0.77', { activeConnections: 9 });
    expect(driver.pass().operations).toEqual(['delete-destination 10.0.0.77']);
  });

  it('does not wait on a director that has no connections of it', () => {
    const driver = running();
    driver.model.setConnections(KEY, A, {});
    driver.apply([web([B])]);
    driver.pass();
    expect(driver.pass().operations).toEqual([`delete-destination ${A}`]);
  });
});

describe('stepDrains', () => {
  it('gives the same book where nothing changed, and ends nothing without a table but by time', () => {
    const driver = running();
    driver.override(A, 'drain');
    driver.pass();
    const before = driver.drains;
    driver.pass();
    expect(driver.drains).toBe(before);
    const overrides = [
      {
        service: driver.spec.services[0]?.id,
        realServer: driver.spec.services[0]?.realServers[0]?.id,
      },
    ].flatMap(({ service, realServer }) =>
      service === undefined || realServer === undefined
        ? []
        : [{ service, realServer, state: 'drain' as const, weight: null, by: 'op', reason: '' }],
    );
    const blind = { spec: driver.spec, before: null, overrides, observed: null };
    expect(stepDrains(before, { ...blind, nowMs: driver.nowMs })).toBe(before);
    const late = stepDrains(before, { ...blind, nowMs: driver.nowMs + DEADLINE_MS });
    expect([...late.values()].map(({ end }) => end)).toEqual(['deadline']);
  });
});
