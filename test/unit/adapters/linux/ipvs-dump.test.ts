/** A large table is read by sums: what others change is found as soon as before, and little is read for it. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { TableReader, type TableReaderOptions } from '../../../../src/adapters/linux/ipvs-dump.ts';
import { toHex } from '../../../../src/lib/bytes.ts';
import { ok } from '../../../../src/lib/result.ts';
import {
  formatServiceKey,
  type IpvsDestination,
  type IpvsServiceKey,
  type IpvsTable,
} from '../../../../src/model/kernel.ts';
import type { Fresh } from '../../../../src/ports/kernel.ts';
import { silentLog } from '../../../../src/ports/log.ts';
import { IPVS_CMD_GET_DEST, startRequest } from '../../../../src/wire/ipvs-common.ts';
import { encodeDestination, encodeGetDestinations } from '../../../../src/wire/ipvs-destination.ts';
import { encodeGetServices, encodeService } from '../../../../src/wire/ipvs-service.ts';
import { TableSumReader, type TableSums } from '../../../../src/wire/ipvs-table-text.ts';
import type { NetlinkMessage } from '../../../../src/wire/netlink.ts';
import { real, service, tcp } from '../../../contract/ipvs-kernel.contract.ts';
import { FakeClock } from '../../../fakes/fake-clock.ts';
import { FakeIpvsKernel } from '../../../fakes/fake-kernel.ts';
import { formatTableText } from '../../../support/ipvs-table-text.ts';

const SERVICES = 12;
const keyOf = (index: number): IpvsServiceKey => tcp('10.90.0.100', 8000 + index);
const FIRST = keyOf(0);
const ONE = real('10.91.0.1', 80);
const NOTHING: Fresh = new Set();

/** A kernel whose answers are the bytes of requests that would make the same: they have the same attributes. */
class World {
  readonly kernel = new FakeIpvsKernel();
  readonly clock = new FakeClock();
  readonly reader: TableReader;
  /** Services whose destinations were asked for since the last look. */
  asked: string[] = [];
  /** After the sums were read, before anything else. */
  meanwhile: () => void = () => {};
  hasText = true;

  constructor(options: Pick<TableReaderOptions, 'largeTable'> = { largeTable: 10 }) {
    for (let index = 0; index < SERVICES; index++)
      this.kernel.drift(
        { op: 'add-service', service: service(keyOf(index)) },
        { op: 'add-destination', service: keyOf(index), destination: ONE },
        { op: 'add-destination', service: keyOf(index), destination: real('10.91.0.2', 80) },
      );
    const ports = { log: silentLog, clock: this.clock };
    this.reader = new TableReader(ports, { ...options, sums: async () => this.#sums() });
  }

  #sums(): TableSums | null {
    if (!this.hasText) return null;
    const reader = new TableSumReader();
    reader.read(new TextEncoder().encode(formatTableText(this.kernel.table())));
    const sums = reader.end();
    this.meanwhile();
    return sums;
  }

  readonly #socket = {
    dump: async ({ body }: { readonly body: Uint8Array }) => ok(this.#answer(toHex(body))),
  };

  #answer(question: string): readonly NetlinkMessage[] {
    const { services } = this.kernel.table();
    const messages = (bodies: readonly Uint8Array[]): readonly NetlinkMessage[] =>
      bodies.map((body) => ({ type: 20, flags: 2, seq: 1, port: 1, body }));
    const start = () => startRequest(IPVS_CMD_GET_DEST);
    if (question === toHex(encodeGetServices()))
      return messages(services.map((one) => encodeService(start(), one)));
    const found = services.find(({ key }) => question === toHex(encodeGetDestinations(key)));
    this.asked.push(found === undefined ? question : formatServiceKey(found.key));
    return messages(
      (found?.destinations ?? []).map((one) => encodeDestination(start(), FIRST, one)),
    );
  }

  async read(fresh: Fresh = NOTHING): Promise<IpvsTable> {
    this.asked = [];
    const table = await this.reader.read(this.#socket, 20, fresh);
    if (!table.ok) throw new Error(table.error.message);
    return table.value;
  }

  /** Twice: what is known afterwards has sums, and nobody's turn comes soon. */
  async settle(): Promise<void> {
    await this.read();
    await this.read();
  }

  set(change: Partial<IpvsDestination>, key = FIRST): void {
    this.kernel.drift({
      op: 'set-destination',
      service: key,
      destination: { ...ONE, ...change },
    });
  }
}

const plain = ({ services }: IpvsTable): unknown =>
  services.map(({ key, destinations }) => ({
    key,
    destinations: destinations.map(({ address, port, weight, upperThreshold, forward }) => ({
      address,
      port,
      weight,
      upperThreshold,
      forward,
    })),
  }));

describe('a table that is read by sums', () => {
  test('is the table, and nothing is asked for where nothing has changed', async () => {
    const world = new World();
    await world.settle();
    const table = await world.read();
    expect(world.asked).toEqual([]);
    expect(plain(table)).toEqual(plain(world.kernel.table()));
    expect(table.asOf).toBe(world.clock.now());
  });

  test('what has not changed is the very same', async () => {
    const world = new World();
    await world.settle();
    const before = await world.read();
    world.set({ weight: 5 }, keyOf(3));
    const after = await world.read('all');
    const isSame = after.services.map(
      ({ destinations }, i) => destinations === before.services[i]?.destinations,
    );
    expect(isSame).toEqual(Array.from({ length: SERVICES }, (_, i) => i !== 3));
  });

  test('what others change is found at once, and only that service is asked for', async () => {
    const world = new World();
    await world.settle();
    world.set({ weight: 7 });
    const table = await world.read();
    expect(world.asked).toEqual([formatServiceKey(FIRST)]);
    expect(plain(table)).toEqual(plain(world.kernel.table()));
    await world.read();
    expect(world.asked).toEqual([]);
  });

  test('what is changed after the sums were read is found the next time', async () => {
    const world = new World();
    await world.settle();
    world.set({ weight: 7 });
    world.meanwhile = () => world.set({ weight: 8 });
    await world.read();
    world.meanwhile = () => {};
    expect(plain(await world.read())).toEqual(plain(world.kernel.table()));
  });

  test('what the sums do not tell is found within twelve seconds, spread over the passes', async () => {
    const world = new World();
    await world.settle();
    for (let index = 0; index < SERVICES; index++) world.set({ upperThreshold: 9 }, keyOf(index));
    const counts: number[] = [];
    let table = await world.read();
    for (let pass = 0; pass < 6; pass++) {
      await world.clock.advance(2000);
      table = await world.read();
      counts.push(world.asked.length);
    }
    expect(plain(table)).toEqual(plain(world.kernel.table()));
    expect(Math.max(...counts)).toBeLessThanOrEqual(3);
    expect(world.clock.now() - (table.asOf ?? 0)).toBeLessThanOrEqual(10_000);
  });

  test('after a longer time without a look all of it is read', async () => {
    const world = new World();
    await world.settle();
    await world.clock.advance(10_000);
    expect((await world.read()).asOf).toBeUndefined();
    expect(world.asked).toHaveLength(SERVICES);
  });

  test('what we have changed is read, whatever the sums say', async () => {
    const world = new World();
    await world.settle();
    const destination = { ...ONE, upperThreshold: 9 };
    const operation = { op: 'set-destination', service: FIRST, destination } as const;
    await world.kernel.apply([operation]);
    world.reader.applied([operation]);
    expect(plain(await world.read())).toEqual(plain(world.kernel.table()));
    expect(world.asked).toEqual([formatServiceKey(FIRST)]);
    await world.read();
    expect(world.asked).toEqual([]);
    world.reader.applied([{ op: 'zero', service: null }]);
    await world.read();
    expect(world.asked).toHaveLength(SERVICES);
  });

  test('what we change while it is read is read again', async () => {
    const world = new World();
    await world.settle();
    world.set({ weight: 3 });
    const operation = { op: 'zero', service: keyOf(1) } as const;
    world.meanwhile = () => world.reader.applied([operation]);
    await world.read();
    world.meanwhile = () => {};
    await world.read();
    expect(world.asked).toEqual([FIRST, keyOf(1)].map(formatServiceKey));
  });

  test('what has to be fresh is read, for one service or for all', async () => {
    const world = new World();
    await world.settle();
    await world.read(new Set([formatServiceKey(keyOf(4))]));
    expect(world.asked).toEqual([formatServiceKey(keyOf(4))]);
    expect((await world.read('all')).asOf).toBeUndefined();
    expect(world.asked).toHaveLength(SERVICES);
    await world.read();
    expect(world.asked).toEqual([]);
  });

  test('without the text, and where it is small, all of it is read each time', async () => {
    for (const world of [new World(), new World({ largeTable: 1000 })]) {
      world.hasText = false;
      await world.settle();
      expect((await world.read()).asOf).toBeUndefined();
      expect(world.asked).toHaveLength(SERVICES);
    }
  });

  test('after any changes it is the table', async () => {
    const change = fc.record({
      kind: fc.constantFrom('weight', 'remove', 'add', 'delete-service', 'add-service', 'flush'),
      index: fc.nat({ max: SERVICES - 1 }),
      weight: fc.nat({ max: 3 }),
      isSeen: fc.boolean(),
      waitMs: fc.nat({ max: 3000 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(change, { maxLength: 30 }), async (changes) => {
        const world = new World();
        await world.settle();
        for (const { kind, index, weight, isSeen, waitMs } of changes) {
          const key = keyOf(index);
          const { kernel } = world;
          if (kind === 'flush')
            for (const one of kernel.table().services)
              kernel.drift({ op: 'delete-service', service: one.key });
          // Some of these fail where there is nothing to change: then nothing changes.
          else if (kind === 'weight') await kernel.apply([operationOf('set', key, weight)]);
          else if (kind === 'add') await kernel.apply([operationOf('add', key, weight)]);
          else if (kind === 'remove')
            await kernel.apply([{ op: 'delete-destination', service: key, destination: ONE }]);
          else if (kind === 'add-service')
            await kernel.apply([{ op: 'add-service', service: service(key) }]);
          else await kernel.apply([{ op: 'delete-service', service: key }]);
          await world.clock.advance(waitMs);
          if (isSeen) expect(plain(await world.read())).toEqual(plain(kernel.table()));
        }
        expect(plain(await world.read())).toEqual(plain(world.kernel.table()));
      }),
      { numRuns: 100 },
    );
  });
});

const operationOf = (verb: 'set' | 'add', key: IpvsServiceKey, weight: number) =>
  ({
    op: `${verb}-destination`,
    service: key,
    destination: { ...ONE, weight },
  }) as const;
