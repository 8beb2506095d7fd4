/**
 * keepalived's event table for real servers and quorum, row by row: what an event does to the kernel and
 * whom it is told. The sum of live weights counts; the rules are those of its check daemon.
 */
import { describe, expect, it } from 'vitest';
import type { VirtualService } from '../../../../src/model/cluster.ts';
import { DesiredDriver, type Health } from './desired-driver.ts';
import { ANY_QUORUM, anyService, server, sorryServer } from './spec-builders.ts';

const A = '10.0.0.1';
const B = '10.0.0.2';
const C = '10.0.0.3';
const SORRY = '10.0.0.9';

type Fields = Parameters<typeof anyService>[0];
type Votes = Readonly<Record<string, Health>>;

type Row = {
  readonly name: string;
  readonly service?: Fields;
  /** Votes before the event; who is not named was never voted on. */
  readonly given: Votes;
  readonly event: Votes;
  readonly operations: readonly string[];
  readonly events: readonly string[];
};

const quorum = (need: number, hysteresis = 0): Fields => ({
  quorum: { ...ANY_QUORUM, need, hysteresis },
});
const sorry: Fields = { sorryServer: sorryServer(SORRY) };
const sorryInhibit: Fields = { sorryServer: sorryServer(SORRY, { inhibit: true }) };
const ALL_UP: Votes = { [A]: 'up', [B]: 'up', [C]: 'up' };

/** Weights 1, 2 and 3: 6 in all. */
const service = (fields: Fields = {}): VirtualService =>
  anyService({
    realServers: [server(A), server(B, { weight: 2 }), server(C, { weight: 3 })],
    ...fields,
  });

const ROWS: readonly Row[] = [
  {
    name: 'a real server goes down: it is deleted',
    given: ALL_UP,
    event: { [A]: 'down' },
    operations: [`delete-destination ${A}`],
    events: [],
  },
  {
    name: 'a real server comes back: it is added',
    given: { ...ALL_UP, [A]: 'down' },
    event: { [A]: 'up' },
    operations: [`add-destination ${A} 1`],
    events: [],
  },
  {
    name: 'inhibited, it goes down: its weight is 0',
    service: { inhibitOnFailure: true },
    given: ALL_UP,
    event: { [C]: 'down' },
    operations: [`set-destination ${C} 0`],
    events: [],
  },
  {
    name: 'inhibited, it comes back: it has its weight again',
    service: { inhibitOnFailure: true },
    given: { ...ALL_UP, [C]: 'down' },
    event: { [C]: 'up' },
    operations: [`set-destination ${C} 3`],
    events: [],
  },
  {
    name: 'without alpha the first vote for up changes nothing',
    given: {},
    event: ALL_UP,
    operations: [],
    events: [],
  },
  {
    name: 'without alpha the first vote for down deletes',
    given: {},
    event: { [B]: 'down' },
    operations: [`delete-destination ${B}`],
    events: [],
  },
  {
    name: 'with alpha the first vote for up adds, and brings the quorum',
    service: { alpha: true },
    given: {},
    event: { [B]: 'up' },
    operations: [`add-destination ${B} 2`],
    events: ['quorum-up'],
  },
  {
    name: 'the quorum is lost without a sorry server: it is told, and nobody else is removed',
    service: quorum(4),
    given: ALL_UP,
    event: { [C]: 'down' },
    operations: [`delete-destination ${C}`],
    events: ['quorum-down'],
  },
  {
    name: 'the last real server goes without a sorry server: the quorum is lost whatever it is',
    given: { [A]: 'down', [B]: 'down', [C]: 'up' },
    event: { [C]: 'down' },
    operations: [`delete-destination ${C}`],
    events: ['quorum-down'],
  },
  {
    name: 'the quorum comes back without a sorry server: it is told',
    service: quorum(4),
    given: { ...ALL_UP, [C]: 'down' },
    event: { [C]: 'up' },
    operations: [`add-destination ${C} 3`],
    events: ['quorum-up'],
  },
  {
    name: 'the quorum is lost with a sorry server: it is added, and all that live are deleted',
    service: { ...quorum(4), ...sorry },
    given: ALL_UP,
    event: { [C]: 'down' },
    operations: [
      `add-destination ${SORRY} 1`,
      `delete-destination ${A}`,
      `delete-destination ${B}`,
      `delete-destination ${C}`,
    ],
    events: ['quorum-down'],
  },
  {
    name: 'the quorum is lost, inhibited: all have weight 0 beside the sorry server',
    service: { ...quorum(4), ...sorry, inhibitOnFailure: true },
    given: ALL_UP,
    event: { [C]: 'down' },
    operations: [
      `add-destination ${SORRY} 1`,
      `set-destination ${A} 0`,
      `set-destination ${B} 0`,
      `set-destination ${C} 0`,
    ],
    events: ['quorum-down'],
  },
  {
    name: 'the quorum comes back with a sorry server: all that live are added, and it is deleted',
    service: { ...quorum(4), ...sorry },
    given: { ...ALL_UP, [C]: 'down' },
    event: { [C]: 'up' },
    operations: [
      `add-destination ${A} 1`,
      `add-destination ${B} 2`,
      `add-destination ${C} 3`,
      `delete-destination ${SORRY}`,
    ],
    events: ['quorum-up'],
  },
  {
    name: 'the quorum is lost with an inhibited sorry server: it gets its weight',
    service: { ...quorum(4), ...sorryInhibit },
    given: ALL_UP,
    event: { [C]: 'down' },
    operations: [
      `set-destination ${SORRY} 1`,
      `delete-destination ${A}`,
      `delete-destination ${B}`,
      `delete-destination ${C}`,
    ],
    events: ['quorum-down'],
  },
  {
    name: 'the quorum comes back with an inhibited sorry server: it stays with weight 0',
    service: { ...quorum(4), ...sorryInhibit },
    given: { ...ALL_UP, [C]: 'down' },
    event: { [C]: 'up' },
    operations: [
      `add-destination ${A} 1`,
      `add-destination ${B} 2`,
      `add-destination ${C} 3`,
      `set-destination ${SORRY} 0`,
    ],
    events: ['quorum-up'],
  },
  {
    name: 'while the sorry server answers, who comes back below the quorum stays out',
    service: { ...quorum(4), ...sorry },
    given: { [A]: 'down', [B]: 'up', [C]: 'down' },
    event: { [A]: 'up' },
    operations: [],
    events: [],
  },
  {
    name: 'while the sorry server answers, who goes down changes nothing',
    service: { ...quorum(4), ...sorry },
    given: { [A]: 'up', [B]: 'up', [C]: 'down' },
    event: { [B]: 'down' },
    operations: [],
    events: [],
  },
  {
    name: 'hysteresis: below the quorum, and not below quorum - hysteresis, it is kept',
    service: { ...quorum(4, 1), ...sorry },
    given: ALL_UP,
    event: { [C]: 'down' },
    operations: [`delete-destination ${C}`],
    events: [],
  },
  {
    name: 'hysteresis: at the quorum, and not at quorum + hysteresis, it is not regained',
    service: { ...quorum(4, 1), ...sorry },
    given: { [A]: 'up', [B]: 'down', [C]: 'down' },
    event: { [C]: 'up' },
    operations: [],
    events: [],
  },
  {
    name: 'hysteresis: at quorum + hysteresis it is regained',
    service: { ...quorum(4, 1), ...sorry },
    given: { [A]: 'down', [B]: 'down', [C]: 'up' },
    event: { [B]: 'up' },
    operations: [`add-destination ${B} 2`, `add-destination ${C} 3`, `delete-destination ${SORRY}`],
    events: ['quorum-up'],
  },
  {
    name: 'a quorum above the total weight is the total weight',
    service: { ...quorum(99), ...sorry },
    given: { ...ALL_UP, [A]: 'down' },
    event: { [A]: 'up' },
    operations: [
      `add-destination ${A} 1`,
      `add-destination ${B} 2`,
      `add-destination ${C} 3`,
      `delete-destination ${SORRY}`,
    ],
    events: ['quorum-up'],
  },
];

describe('the event table', () => {
  it.each(ROWS)('$name', ({ service: fields, given, event, operations, events }) => {
    const driver = new DesiredDriver([service(fields)]);
    for (const [address, health] of Object.entries(given)) driver.vote(address, health);
    driver.pass();
    for (const [address, health] of Object.entries(event)) driver.vote(address, health);
    const played = driver.pass();
    expect(played.operations).toEqual(operations);
    expect(played.events).toEqual(events);
    // Levels, not edges: the same again changes nothing.
    expect(driver.pass()).toMatchObject({ operations: [], events: [] });
  });

  it('starts down with alpha, tells so once, and with the sorry server in the table', () => {
    const driver = new DesiredDriver([service({ alpha: true, ...sorry })]);
    const started = driver.pass();
    expect(started.operations).toEqual([
      'add-service tcp 10.90.0.100:80',
      `add-destination ${SORRY} 1`,
    ]);
    expect(started.events).toEqual(['quorum-down']);
    expect(driver.pass().events).toEqual([]);
  });

  it('starts below quorum + hysteresis as lost', () => {
    const driver = new DesiredDriver([service({ ...quorum(4, 1), ...sorry })]);
    driver.vote(B, 'down');
    expect(driver.pass().events).toEqual(['quorum-down']);
    expect(driver.weights()).toEqual({ [SORRY]: 1 });
  });

  it('counts effective weights: an override brings the quorum down and up', () => {
    const driver = new DesiredDriver([service({ ...quorum(4), ...sorry })]);
    driver.pass();
    driver.override(C, 'ready', 0);
    expect(driver.pass().events).toEqual(['quorum-down']);
    // With weight 0 it takes nothing new beside the sorry server, and keeps what it has.
    expect(driver.weights()).toEqual({ [C]: 0, [SORRY]: 1 });
    driver.override(C, 'ready', 9);
    expect(driver.pass().events).toEqual(['quorum-up']);
    expect(driver.weights()).toEqual({ [A]: 1, [B]: 2, [C]: 9 });
  });

  it('takes a real server that a reload brings for up, and with alpha for down', () => {
    const driver = new DesiredDriver([service({ realServers: [server(A)] })]);
    driver.vote(A, 'up');
    driver.pass();
    driver.apply([service({ realServers: [server(A), server(B)] })]);
    expect(driver.pass().operations).toEqual([`add-destination ${B} 1`]);
    driver.apply([service({ realServers: [server(A), server(B), server(C, { alpha: true })] })]);
    expect(driver.pass().operations).toEqual([]);
  });
});
