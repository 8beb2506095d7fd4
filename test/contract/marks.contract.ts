/** What every MarkTable does; runs on the fake and, in a network namespace, on Linux. */
import assert from 'node:assert/strict';
import type { Result } from '../../src/lib/result.ts';
import { parseIp } from '../../src/model/address.ts';
import type { Protocol } from '../../src/model/cluster.ts';
import { serviceId } from '../../src/model/ids.ts';
import type { KernelError } from '../../src/model/kernel.ts';
import { formatMarkEntry, type MarkEntry } from '../../src/model/marks.ts';
import type { MarkTable } from '../../src/ports/marks.ts';
import { type ContractCase, waitUntil } from './contract-case.ts';

export type MarksWorld = {
  readonly marks: MarkTable;
  /** What a new process of this machine gets. */
  readonly successor: () => MarkTable;
  /** As somebody who empties the whole ruleset. */
  readonly flush: () => Promise<void>;
  /** As somebody who changes a rule of ours. */
  readonly alter: () => Promise<void>;
  readonly advance: (ms: number) => Promise<void>;
  /** Resolves when what the kernel has told until now was read. */
  readonly settle: () => Promise<void>;
};

export function succeeded<T>(result: Result<T, KernelError>): T {
  if (!result.ok) assert.fail(`${result.error.code}: ${result.error.message}`);
  return result.value;
}

/** `tcp 10.90.0.100 80-81 7 shop` */
export function entry(text: string): MarkEntry {
  const [protocol, place = '', ports = '', mark, service = ''] = text.split(' ');
  const address = parseIp(place);
  if (!address.ok) throw new Error(address.error);
  const [from, to = from] = ports.split('-').map(Number);
  return {
    address: address.value,
    protocol: protocol as Protocol,
    ports: { from: from ?? 0, to: to ?? 0 },
    mark: Number(mark),
    service: serviceId(service),
  };
}

export const SHOP = [
  entry('tcp 10.90.0.100 80 7 shop'),
  entry('tcp 10.90.0.100 443 7 shop'),
  entry('udp 10.90.0.100 443 7 shop'),
  entry('tcp 10.90.0.101 8000-8010 4294967295 ranges'),
  entry('udp 10.90.0.101 0-65535 2147483648 every-port'),
  entry('sctp fd90::100 80 8 shop6'),
  entry('tcp fd90::100 81-90 8 shop6'),
];

export async function entriesOf(marks: MarkTable): Promise<readonly string[]> {
  const contents = succeeded(await marks.observe()) ?? assert.fail('there is no table');
  assert.equal(contents.isIntact, true);
  return contents.entries.map(formatMarkEntry).toSorted();
}

export const textsOf = (entries: readonly MarkEntry[]): readonly string[] =>
  entries.map(formatMarkEntry).toSorted();

const MANY = Array.from({ length: 4096 }, (_, i) =>
  entry(`tcp fd90::${(i + 16).toString(16)} ${i + 1}-${i + 16} ${i + 1} ${'s'.repeat(63)}`),
);

export const marksCases: readonly ContractCase<MarksWorld>[] = [
  {
    name: 'nothing is there at first, and its removal is a success',
    run: async ({ marks }) => {
      assert.equal(succeeded(await marks.observe()), null);
      succeeded(await marks.remove());
      assert.equal(succeeded(await marks.observe()), null);
    },
  },
  {
    name: 'what was written reads back, by a new process too, with marks of all 32 bits',
    run: async ({ marks, successor }) => {
      succeeded(await marks.replace(SHOP));
      assert.deepEqual(await entriesOf(marks), textsOf(SHOP));
      const other = successor();
      assert.deepEqual(await entriesOf(other), textsOf(SHOP));
      if (other !== marks) other.close();
    },
  },
  {
    name: 'a new table takes the place of the old one, whatever they have in common',
    run: async ({ marks }) => {
      const steps = [
        SHOP,
        [entry('tcp 10.90.0.100 70-90 7 shop')],
        [entry('tcp 10.90.0.100 80-100 9 shop')],
        [entry('tcp 10.90.0.100 85 9 other'), entry('tcp 10.90.0.100 86 9 other')],
        [],
      ];
      for (const entries of steps) {
        succeeded(await marks.replace(entries));
        assert.deepEqual(await entriesOf(marks), textsOf(entries));
      }
    },
  },
  {
    name: 'a change takes some away and adds others in one step, also where these overlap those',
    run: async ({ marks }) => {
      const [web, ...others] = SHOP;
      assert.ok(web);
      const steps = [
        web,
        ...['70-90', '80-100', '85', '1-84', '80', '0-65535'].map((ports) =>
          entry(`tcp 10.90.0.100 ${ports} 9 wider`),
        ),
        entry('tcp 10.90.0.100 80 10 web'),
      ];
      const rest = others.filter(({ ports }) => ports.from !== 443);
      succeeded(await marks.replace([web, ...rest]));
      for (const [i, next] of steps.entries()) {
        const last = steps[i - 1];
        if (last === undefined) continue;
        succeeded(await marks.change({ add: [next], remove: [last] }));
        assert.deepEqual(await entriesOf(marks), textsOf([next, ...rest]));
      }
      succeeded(await marks.change({ add: [], remove: rest }));
      succeeded(await marks.change({ add: rest, remove: [] }));
      succeeded(await marks.change({ add: [], remove: [] }));
      assert.equal((await entriesOf(marks)).length, rest.length + 1);
    },
  },
  {
    name: 'a change is refused as a whole where what it removes is not there, or no table is',
    run: async ({ marks }) => {
      const strange = entry('tcp 10.90.0.100 81 7 shop');
      const more = entry('tcp 10.90.0.100 82 7 shop');
      assert.equal((await marks.change({ add: [more], remove: [] })).ok, false);
      assert.equal(succeeded(await marks.observe()), null);
      succeeded(await marks.replace(SHOP));
      assert.equal((await marks.change({ add: [more], remove: [strange] })).ok, false);
      assert.deepEqual(await entriesOf(marks), textsOf(SHOP));
    },
  },
  {
    name: 'entries that overlap are refused as a whole, and the old table stays',
    run: async ({ marks }) => {
      succeeded(await marks.replace(SHOP));
      const refused = await marks.replace([
        entry('tcp 10.90.0.100 80-90 7 shop'),
        entry('tcp 10.90.0.100 85-95 8 other'),
      ]);
      assert.equal(refused.ok, false);
      assert.deepEqual(await entriesOf(marks), textsOf(SHOP));
    },
  },
  {
    name: 'as many as a document may have, with the longest names, go in one batch',
    run: async ({ marks }) => {
      succeeded(await marks.replace(MANY));
      assert.deepEqual(await entriesOf(marks), textsOf(MANY));
      succeeded(await marks.remove());
    },
  },
  {
    name: 'removed twice is removed',
    run: async ({ marks }) => {
      succeeded(await marks.replace(SHOP));
      succeeded(await marks.remove());
      succeeded(await marks.remove());
      assert.equal(succeeded(await marks.observe()), null);
    },
  },
  {
    name: 'a flush by others takes the table away, and it can be written again',
    run: async ({ marks, flush }) => {
      succeeded(await marks.replace(SHOP));
      await flush();
      assert.equal(succeeded(await marks.observe()), null);
      succeeded(await marks.replace(SHOP));
      assert.deepEqual(await entriesOf(marks), textsOf(SHOP));
    },
  },
  {
    name: 'a table that somebody changed is not intact until it is written again',
    run: async ({ marks, alter }) => {
      succeeded(await marks.replace(SHOP));
      await alter();
      assert.equal(succeeded(await marks.observe())?.isIntact, false);
      succeeded(await marks.replace(SHOP));
      assert.deepEqual(await entriesOf(marks), textsOf(SHOP));
    },
  },
  {
    name: 'each change is told until the signal aborts, those of others too',
    run: async ({ marks, flush, alter, settle, advance }) => {
      const ending = new AbortController();
      let told = 0;
      const reading = (async () => {
        for await (const reason of marks.watch(ending.signal)) {
          assert.notEqual(reason, '');
          told++;
        }
      })();
      const changes = [
        async () => succeeded(await marks.replace(SHOP)),
        alter,
        flush,
        async () => succeeded(await marks.replace(SHOP)),
        async () => succeeded(await marks.remove()),
      ];
      for (const change of changes) {
        await settle();
        const before = told;
        await change();
        await waitUntil({ advance }, () => told > before);
        assert.ok(told > before, `change ${changes.indexOf(change)} was not told`);
      }
      await settle();
      const before = told;
      succeeded(await marks.observe());
      await settle();
      assert.equal(told, before, 'a look was told as a change');
      ending.abort();
      await reading;
    },
  },
];
