/** Levels, not edges: what the table becomes follows from what is so now, whatever happened before. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DesiredDriver } from './desired-driver.ts';
import { ANY_QUORUM, anyService, server, sorryServer } from './spec-builders.ts';

const SORRY = '10.0.0.9';
const ADDRESSES = ['10.0.0.1', '10.0.0.2', '10.0.0.3', '10.0.0.4'];

const anyEvent = fc.oneof(
  fc.record({
    kind: fc.constant('vote' as const),
    address: fc.constantFrom(...ADDRESSES),
    health: fc.constantFrom('up' as const, 'down' as const),
  }),
  fc.record({
    kind: fc.constant('override' as const),
    address: fc.constantFrom(...ADDRESSES),
    state: fc.constantFrom(null, 'ready' as const, 'maint' as const),
    weight: fc.option(fc.integer({ min: 0, max: 4 })),
  }),
  fc.record({ kind: fc.constant('restart' as const) }),
);
type Event = typeof anyEvent extends fc.Arbitrary<infer E> ? E : never;

const anyFields = fc.record({
  inhibitOnFailure: fc.boolean(),
  alpha: fc.boolean(),
  hysteresis: fc.integer({ min: 0, max: 2 }),
  need: fc.integer({ min: 1, max: 12 }),
  failOpenPercent: fc.option(fc.integer({ min: 1, max: 100 })),
  sorry: fc.option(fc.record({ inhibit: fc.boolean() })),
});
type Fields = typeof anyFields extends fc.Arbitrary<infer F> ? F : never;

function driverOf({ need, hysteresis, sorry, ...fields }: Fields): DesiredDriver {
  return new DesiredDriver([
    anyService({
      ...fields,
      quorum: { ...ANY_QUORUM, need, hysteresis: Math.min(hysteresis, need - 1) },
      sorryServer: sorry === null ? null : sorryServer(SORRY, sorry),
      realServers: ADDRESSES.map((address, i) => server(address, { weight: i + 1 })),
    }),
  ]);
}

function play(driver: DesiredDriver, event: Event): void {
  if (event.kind === 'vote') driver.vote(event.address, event.health);
  else if (event.kind === 'override') driver.override(event.address, event.state, event.weight);
  else driver.restart();
}

const anyHistory = fc.array(anyEvent, { maxLength: 20 });

describe('any history', () => {
  it('without hysteresis ends in the table that a new director makes at once', () => {
    fc.assert(
      fc.property(anyFields, anyHistory, (fields, events) => {
        const flat = { ...fields, hysteresis: 0 };
        const [old, fresh] = [driverOf(flat), driverOf(flat)];
        for (const event of events) {
          play(old, event);
          old.pass();
          if (event.kind !== 'restart') play(fresh, event);
        }
        old.pass();
        fresh.pass();
        expect(old.weights()).toEqual(fresh.weights());
      }),
      { numRuns: 50 },
    );
  });

  it('leaves nothing to do, one explanation each that says what the table has, and one voice', () => {
    fc.assert(
      fc.property(anyFields, anyHistory, (fields, events) => {
        const driver = driverOf(fields);
        for (const event of events) {
          play(driver, event);
          driver.pass();
          const { operations, events: told, desired } = driver.pass();
          expect(operations).toEqual([]);
          expect(told).toEqual([]);
          const weights = driver.weights();
          for (const address of ADDRESSES)
            expect(weights[address] ?? null).toBe(driver.why(desired, address)?.wantedWeight);
          const isAnswering = (weights[SORRY] ?? 0) > 0;
          expect(desired.sorryActive.size).toBe(isAnswering ? 1 : 0);
          if (isAnswering) for (const address of ADDRESSES) expect(weights[address] ?? 0).toBe(0);
        }
      }),
      { numRuns: 50 },
    );
  });

  it('tells of the quorum in turns, beginning with its loss', () => {
    fc.assert(
      fc.property(anyFields, fc.array(anyEvent, { maxLength: 30 }), (fields, events) => {
        const driver = driverOf(fields);
        const told: string[] = [...driver.pass().events];
        for (const event of events.filter(({ kind }) => kind !== 'restart')) {
          play(driver, event);
          told.push(...driver.pass().events);
        }
        for (const [i, kind] of told.entries())
          expect(kind).toBe(i % 2 === 0 ? 'quorum-down' : 'quorum-up');
      }),
      { numRuns: 50 },
    );
  });
});
