/** Which marks are wanted, and what is done about the difference. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { deriveMarks, NO_MARKS } from '../../../../src/core/marks/desired-marks.ts';
import { planMarks } from '../../../../src/core/marks/plan-marks.ts';
import type { MarkRule, Protocol, VirtualService } from '../../../../src/model/cluster.ts';
import { formatMarkEntry, type MarkContents, type MarkEntry } from '../../../../src/model/marks.ts';
import { anyService, anySpec, ip } from '../desired/spec-builders.ts';

const rule = (address: string, ports: string, protocol: Protocol = 'tcp'): MarkRule => ({
  address: ip(address),
  protocol,
  ports: ports.split(',').map((text) => {
    const [from, to = from] = text.split('-').map(Number);
    return { from: from ?? 0, to: to ?? 0 };
  }),
});

const marked = (id: string, mark: number, ...marks: readonly MarkRule[]): VirtualService => {
  const family = marks[0]?.address.includes(':') ? 6 : 4;
  return anyService({ id, keys: [{ kind: 'fwmark', family, mark }], marks });
};

const textsOf = (entries: readonly MarkEntry[]): readonly string[] => entries.map(formatMarkEntry);
const intact = (entries: readonly MarkEntry[]): MarkContents => ({ isIntact: true, entries });

describe('the marks that a document wants', () => {
  it('gives 80 and 443 of one VIP one mark, each for its service', () => {
    const spec = anySpec([
      marked('shop', 7, rule('10.90.0.100', '80,443'), rule('10.90.0.100', '443', 'udp')),
      anyService({ id: 'plain', port: 25 }),
      marked('shop6', 7, rule('fd90::100', '80,8000-8010'), rule('fd90::101', '0-65535', 'sctp')),
    ]);
    const { entries, services, conflicts } = deriveMarks(spec);
    expect(textsOf(entries)).toEqual([
      'tcp 10.90.0.100:80 mark 7 for shop',
      'tcp 10.90.0.100:443 mark 7 for shop',
      'udp 10.90.0.100:443 mark 7 for shop',
      'tcp [fd90::100]:80 mark 7 for shop6',
      'tcp [fd90::100]:8000-8010 mark 7 for shop6',
      'sctp [fd90::101]:0-65535 mark 7 for shop6',
    ]);
    expect(services).toEqual(['shop', 'shop6']);
    expect(conflicts.size).toBe(0);
  });

  it('leaves the marks of others alone: without marks nothing is written', () => {
    const foreign = anyService({ id: 'foreign', keys: [{ kind: 'fwmark', family: 4, mark: 9 }] });
    expect(deriveMarks(anySpec([foreign, anyService()]))).toBe(NO_MARKS);
  });

  it('gives what two services want to the first, and says so of the second', () => {
    const { entries, conflicts } = deriveMarks(
      anySpec([
        marked('first', 7, rule('10.90.0.100', '80-90')),
        marked('second', 8, rule('10.90.0.100', '70,85-95,99'), rule('10.90.0.101', '85')),
      ]),
    );
    expect(textsOf(entries)).toEqual([
      'tcp 10.90.0.100:80-90 mark 7 for first',
      'tcp 10.90.0.100:70 mark 8 for second',
      'tcp 10.90.0.100:99 mark 8 for second',
      'tcp 10.90.0.101:85 mark 8 for second',
    ]);
    expect([...conflicts]).toEqual([
      [
        'second',
        'tcp 10.90.0.100:85-95 is not marked: service "first" marks tcp 10.90.0.100:80-90',
      ],
    ]);
  });
});

const arbitraryServices = fc
  .array(
    fc.record({
      mark: fc.integer({ min: 1, max: 0xffff_ffff }),
      place: fc.constantFrom('10.90.0.100', '10.90.0.101', 'fd90::100'),
      protocol: fc.constantFrom<Protocol>('tcp', 'udp', 'sctp'),
      from: fc.integer({ min: 0, max: 60 }),
      length: fc.integer({ min: 0, max: 8 }),
    }),
    { maxLength: 12 },
  )
  .map((all) =>
    all.map(({ mark, place, protocol, from, length }, i) =>
      marked(`s${i}`, mark, rule(place, `${from}-${from + length}`, protocol)),
    ),
  );

/** What a kernel has after a plan; the plan must not ask for what a kernel refuses. */
function applied(
  before: MarkContents | null,
  plan: ReturnType<typeof planMarks>,
  desired: readonly MarkEntry[],
): MarkContents | null {
  switch (plan.kind) {
    case 'nothing':
      return before;
    case 'remove':
      return null;
    case 'replace':
      return intact(desired);
    case 'change': {
      const gone = new Set(textsOf(plan.remove));
      const left = (before?.entries ?? []).filter((entry) => !gone.has(formatMarkEntry(entry)));
      expect(left).toHaveLength((before?.entries.length ?? 0) - gone.size);
      return intact([...left, ...plan.add]);
    }
  }
}

describe('properties', () => {
  it('every packet gets the mark of the first service that wants it, as a dumb look-up says', () => {
    fc.assert(
      fc.property(arbitraryServices, (services) => {
        const { entries } = deriveMarks(anySpec(services));
        for (const entry of entries)
          for (let port = entry.ports.from; port <= entry.ports.to; port++) {
            const others = entries.filter(
              (other) =>
                other !== entry &&
                other.address === entry.address &&
                other.protocol === entry.protocol &&
                other.ports.from <= port &&
                port <= other.ports.to,
            );
            expect(others).toEqual([]);
          }
        const [first] = services;
        if (first !== undefined)
          expect(entries.filter(({ service }) => service === first.id)).toHaveLength(1);
      }),
    );
  });

  it('a plan makes any table as wanted, and a table that is as wanted needs none', () => {
    fc.assert(
      fc.property(
        arbitraryServices,
        fc.option(fc.record({ services: arbitraryServices, isIntact: fc.boolean() })),
        (services, before) => {
          const { entries } = deriveMarks(anySpec(services));
          const observed =
            before === null
              ? null
              : {
                  isIntact: before.isIntact,
                  entries: deriveMarks(anySpec(before.services)).entries.toReversed(),
                };
          const after = applied(observed, planMarks(entries, observed), entries);
          expect(after === null).toBe(entries.length === 0);
          expect(textsOf(after?.entries ?? []).toSorted()).toEqual(textsOf(entries).toSorted());
          expect(after?.isIntact ?? true).toBe(true);
          expect(planMarks(entries, after)).toEqual({ kind: 'nothing' });
        },
      ),
    );
  });
});

describe('the plan', () => {
  const { entries } = deriveMarks(anySpec([marked('shop', 7, rule('10.90.0.100', '80,443'))]));
  const [web, secure] = entries;
  if (web === undefined || secure === undefined) throw new Error('no entries');

  it('touches nothing where no table is and none is wanted', () => {
    expect(planMarks([], null)).toEqual({ kind: 'nothing' });
  });

  it('names what is missing, altered, different or unwanted', () => {
    const [add, none] = [[secure], []];
    expect(planMarks(entries, null)).toMatchObject({ kind: 'replace', reason: 'missing' });
    const altered = { isIntact: false, entries };
    expect(planMarks(entries, altered)).toMatchObject({ kind: 'replace', reason: 'altered' });
    const differs = { kind: 'change', reason: 'differs', add, remove: none };
    expect(planMarks(entries, intact([web]))).toEqual(differs);
    const unwanted = { kind: 'remove', reason: 'unwanted', add: none, remove: [web] };
    expect(planMarks([], intact([web]))).toEqual(unwanted);
  });

  it('changes a mark, and the service that a mark is for, by taking it away and giving it anew', () => {
    for (const other of [
      { ...web, mark: 8 },
      { ...web, service: secure.service, mark: 9 },
    ])
      expect(planMarks([other, secure], intact(entries))).toMatchObject({
        kind: 'change',
        add: [other],
        remove: [web],
      });
  });
});
