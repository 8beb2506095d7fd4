/** Documents that come into force here: at once, or after a while where they are long. */
import { describe, expect, it } from 'vitest';
import type { StoredSpec } from '../../../src/agent/cluster-view.ts';
import { createSpecDesk, type SpecDesk, type Taking } from '../../../src/agent/spec-desk.ts';
import { err, ok, type Result } from '../../../src/lib/result.ts';
import type { ClusterSpec } from '../../../src/model/cluster.ts';
import { directorId, revision } from '../../../src/model/ids.ts';
import { createKeys } from '../../../src/model/keys.ts';
import type { SpecRecord } from '../../../src/model/records.ts';
import { silentLog } from '../../../src/ports/log.ts';
import { silentMetrics } from '../../fakes/silent-metrics.ts';
import { anySpec } from '../core/desired/spec-builders.ts';

type Judged = Result<ClusterSpec, string>;

const plain = (at: number, size = 10): StoredSpec => ({
  revision: revision(at),
  record: { v: 1, document: at, by: 'op', at: '' },
  size,
  by: 'op',
  at: '',
});
const packed = (at: number): StoredSpec => ({
  ...plain(at),
  record: { v: 2, packed: `${at}`, bytes: 1, by: 'op', at: '' },
});
const specs = new Map<unknown, ClusterSpec>();
const specOf = (document: unknown): ClusterSpec => {
  const spec = specs.get(document) ?? anySpec([]);
  specs.set(document, spec);
  return spec;
};

type Rig = {
  readonly desk: SpecDesk;
  readonly told: Taking[];
  /** Answers the oldest question for a long document that is open. */
  readonly answer: (judged: Judged | Promise<Judged>) => Promise<void>;
  readonly asked: SpecRecord[];
};

function createRig(hasLoader = true): Rig {
  const open: ((judged: Judged | Promise<Judged>) => void)[] = [];
  const asked: SpecRecord[] = [];
  const told: Taking[] = [];
  const loadSpec = (record: SpecRecord): Promise<Judged> => {
    asked.push(record);
    return new Promise((resolve) => {
      open.push(resolve);
    });
  };
  const desk = createSpecDesk(
    {
      me: directorId('d1'),
      identity: { boot: '', namespace: '', machine: '', nonce: '' },
      keys: createKeys('lab'),
      gateKind: 'netdev',
      parseSpec: (document) => (document === 13 ? err('thirteen') : ok(specOf(document))),
      ...(hasLoader ? { loadSpec } : {}),
      loaded: (taking) => told.push(taking),
    },
    { log: silentLog, metrics: silentMetrics },
  );
  const answer = async (judged: Judged | Promise<Judged>): Promise<void> => {
    open.shift()?.(judged);
    for (let turn = 0; turn < 5; turn++) await Promise.resolve();
  };
  return { desk, told, answer, asked };
}

describe('the documents of a director', () => {
  it('are in force at once where they are short', () => {
    const { desk, asked } = createRig();
    expect(desk.take(null)).toBe('kept');
    expect(desk.take(plain(4))).toBe('taken');
    expect(desk.take(plain(13))).toBe('kept');
    expect([desk.spec(), desk.accepted(), desk.problem()]).toEqual([specOf(4), 4, 'thirteen']);
    expect(asked).toEqual([]);
  });

  it.each([
    ['packed', packed(7)],
    ['long', plain(7, 40_000)],
  ])(
    'are in force when they are judged where they are %s, and the former one until then',
    async (_, stored) => {
      const { desk, told, answer } = createRig();
      desk.take(plain(4));
      expect(desk.take(stored)).toBe('loading');
      expect([desk.spec(), desk.accepted(), told]).toEqual([specOf(4), 4, []]);
      // A listing brings it again.
      expect(desk.take(stored)).toBe('loading');
      await answer(ok(specOf(7)));
      expect([desk.spec(), desk.accepted(), told]).toEqual([specOf(7), 7, ['taken']]);
      expect(desk.take(stored)).toBe('kept');
    },
  );

  it('stay as they are where a long one cannot be used', async () => {
    const { desk, told, answer, asked } = createRig();
    desk.take(plain(4));
    desk.take(packed(7));
    await answer(err('no document'));
    expect([desk.spec(), desk.problem(), told]).toEqual([specOf(4), 'no document', ['kept']]);
    expect(desk.take(packed(7))).toBe('kept');
    expect(asked).toHaveLength(1);
  });

  it('stay as they are where a long one breaks its reader, and the next one is read', async () => {
    const { desk, told, answer } = createRig();
    desk.take(plain(4));
    desk.take(packed(7));
    await answer(Promise.reject(new Error('out of order')));
    expect([desk.spec(), desk.problem(), told]).toEqual([specOf(4), 'out of order', ['kept']]);
    desk.take(packed(8));
    await answer(ok(specOf(8)));
    expect([desk.accepted(), desk.problem(), told]).toEqual([8, null, ['kept', 'taken']]);
  });

  it('are the newest, whichever is judged first', async () => {
    const { desk, told, answer, asked } = createRig();
    desk.take(packed(5));
    desk.take(packed(6));
    desk.take(packed(7));
    await answer(ok(specOf(5)));
    expect([desk.spec(), told, asked.length]).toEqual([null, [], 2]);
    await answer(ok(specOf(7)));
    expect([desk.accepted(), told]).toEqual([7, ['taken']]);
    desk.take(packed(8));
    expect(desk.take(plain(9))).toBe('taken');
    await answer(ok(specOf(8)));
    expect([desk.accepted(), told]).toEqual([9, ['taken']]);
    expect(desk.take(packed(8))).toBe('loading');
  });

  it('cannot be packed where nobody unpacks them', () => {
    const { desk } = createRig(false);
    expect(desk.take(packed(5))).toBe('kept');
    expect(desk.problem()).toContain('packed');
    expect(desk.take(plain(6, 40_000))).toBe('taken');
  });
});
