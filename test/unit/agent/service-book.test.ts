/** Very many services: made with rests in between, and told from memory. */
import { describe, expect, it } from 'vitest';
import { NOTHING_RECONCILED } from '../../../src/agent/reconcile-state.ts';
import { AT_ONCE_MAX, ServiceBook } from '../../../src/agent/service-book.ts';
import { type ServiceStatusInput, serviceStatuses } from '../../../src/agent/service-status.ts';
import { deriveChecks } from '../../../src/core/health/checks.ts';
import { tcp } from '../../contract/ipvs-kernel.contract.ts';
import { FakeClock } from '../../fakes/fake-clock.ts';
import { anyService, anySpec, server } from '../core/desired/spec-builders.ts';

function inputOf(count: number): ServiceStatusInput {
  const realServers = Array.from({ length: count }, (_, n) => server(`10.1.${n >> 8}.${n & 255}`));
  const spec = anySpec([anyService({ realServers })]);
  return {
    spec,
    reconcile: NOTHING_RECONCILED,
    marks: null,
    realServerLimit: 2000,
    quorumForMs: () => null,
    checks: deriveChecks(spec).byRealServer,
    statuses: new Map(),
    votesOn: () => undefined,
    overrides: [],
  };
}

describe('few real servers', () => {
  it('are told as they are, at once', async () => {
    const book = new ServiceBook(new FakeClock());
    const input = inputOf(AT_ONCE_MAX);
    await book.prepare(() => input);
    expect(book.services(input)[0]?.realServers).toHaveLength(AT_ONCE_MAX);
  });
});

describe('very many', () => {
  it('are made piece by piece, once for all who ask, and the same as at once', async () => {
    const clock = new FakeClock();
    const book = new ServiceBook(clock);
    const input = inputOf(1000);
    expect(book.services(input)).toEqual([]);
    let asked = 0;
    const ask = () => {
      asked++;
      return input;
    };
    const both = Promise.all([book.prepare(ask), book.prepare(ask)]);
    let isDone = false;
    void both.then(() => {
      isDone = true;
    });
    await Promise.resolve();
    expect(isDone).toBe(false);
    await clock.settle(both);
    // Before, and for another document after.
    expect(asked).toBe(4);
    expect(book.services(input)).toEqual(serviceStatuses(input));
    const first = book.services(input);
    await clock.settle(book.prepare(ask));
    expect(book.services(input)).toBe(first);
    await clock.advance(1001);
    await clock.settle(book.prepare(ask));
    expect(book.services(input)).not.toBe(first);
  });

  it('are those that are so by the ranges of their service', async () => {
    const clock = new FakeClock();
    const book = new ServiceBook(clock);
    const few = inputOf(10);
    const spec = anySpec(
      (few.spec?.services ?? []).map((service) => ({
        ...service,
        keys: Array.from({ length: 100 }, (_, port) => tcp('10.90.0.100', 1 + port)),
      })),
    );
    const input = { ...few, spec };
    expect(book.services(input)).toEqual([]);
    let rests = 0;
    const sleep = clock.sleep.bind(clock);
    clock.sleep = (ms) => {
      rests++;
      return sleep(ms);
    };
    await clock.settle(book.prepare(() => input));
    expect(rests).toBeGreaterThanOrEqual(10);
    expect(book.services(input)).toEqual(serviceStatuses(input));
  });

  it('are there for who asks while another document comes', async () => {
    const clock = new FakeClock();
    const book = new ServiceBook(clock);
    let input = inputOf(1000);
    const ask = () => input;
    const first = book.prepare(ask);
    input = inputOf(1001);
    const second = book.prepare(ask);
    await clock.settle(Promise.all([first, second]));
    expect(book.services(input)[0]?.realServers).toHaveLength(1001);
  });

  it('of another document are not those of the former one', async () => {
    const clock = new FakeClock();
    const book = new ServiceBook(clock);
    const input = inputOf(1000);
    await clock.settle(book.prepare(() => input));
    expect(book.services(inputOf(1001))).toEqual([]);
  });
});
