/** Several checks of one real server, together: their tree, their verdict, weight and votes. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { deriveChecks, inheritChecks, realServerKey } from '../../../../src/core/health/checks.ts';
import {
  combineAll,
  combineStatuses,
  combineVotes,
  compoundOf,
  leavesOf,
  withCompoundVotes,
  withCompoundTimes,
  withCompoundWeights,
} from '../../../../src/core/health/compound.ts';
import { stepDynamicWeights } from '../../../../src/core/health/dynamic-weights.ts';
import type { CheckSpec, CheckTree } from '../../../../src/model/cluster.ts';
import type { CheckStatus, DynamicWeight, Vote } from '../../../../src/model/health.ts';
import { type CheckId, checkId, directorId, realServerId } from '../../../../src/model/ids.ts';
import { anyService, anySpec, ip, server, TCP_CHECK } from '../desired/spec-builders.ts';

const icmp: CheckSpec = { ...TCP_CHECK, kind: 'icmp', size: 56 };
const on = (port: number): CheckSpec => ({ ...TCP_CHECK, port });
const status = (isUp: boolean, basis: CheckStatus['basis'] = 'majority'): CheckStatus => ({
  isUp,
  basis,
  votesUp: isUp ? 2 : 0,
  votesDown: isUp ? 0 : 2,
});
const [A, B, C] = ['a', 'b', 'c'].map(checkId) as [CheckId, CheckId, CheckId];

const derive = (check: CheckTree, addresses: readonly string[] = ['10.0.0.1']) =>
  deriveChecks(anySpec([anyService({ check, realServers: addresses.map((one) => server(one)) })]));

describe('trees of checks', () => {
  it('are made of checks that others may share', () => {
    const derived = deriveChecks(
      anySpec([
        anyService({
          check: { kind: 'all', of: [icmp, on(80)] },
          realServers: [server('10.0.0.1')],
        }),
        anyService({ id: 'b', port: 81, check: icmp, realServers: [server('10.0.0.1')] }),
      ]),
    );
    expect(derived.checks.map(({ spec, port }) => [spec.kind, port])).toEqual([
      ['icmp', 0],
      ['tcp', 80],
    ]);
    const [compound] = derived.compounds;
    expect(compound).toMatchObject({ mode: 'all', of: derived.checks.map(({ id }) => id) });
    expect([...derived.byRealServer.values()]).toEqual([compound?.id, derived.checks[0]?.id]);
  });

  it('of one check are that check, and of the same twice too', () => {
    const plain = derive(icmp).byRealServer;
    expect(derive({ kind: 'any', of: [icmp] }).byRealServer).toEqual(plain);
    expect(
      derive({ kind: 'all', of: [icmp, { kind: 'any', of: [icmp, icmp] }] }).byRealServer,
    ).toEqual(plain);
  });

  it('hold others, which come first', () => {
    const { compounds } = derive({
      kind: 'any',
      of: [{ kind: 'all', of: [icmp, on(80)] }, on(81)],
    });
    expect(compounds.map(({ mode, leaves }) => [mode, leaves.length])).toEqual([
      ['all', 2],
      ['any', 3],
    ]);
    expect(compounds[1]?.of).toContain(compounds[0]?.id);
  });

  it('are the same whatever the order, and others where the mode is', () => {
    const idOf = (tree: CheckTree) => [...derive(tree).byRealServer.values()][0];
    expect(idOf({ kind: 'all', of: [icmp, on(80)] })).toBe(
      idOf({ kind: 'all', of: [on(80), icmp] }),
    );
    expect(idOf({ kind: 'all', of: [icmp, on(80)] })).not.toBe(
      idOf({ kind: 'any', of: [icmp, on(80)] }),
    );
  });

  it('of a real server of its own stand before the service’s', () => {
    const derived = deriveChecks(
      anySpec([
        anyService({
          realServers: [
            server('10.0.0.1', { check: icmp }),
            server('10.0.0.2', { check: null }),
            server('10.0.0.3'),
          ],
        }),
      ]),
    );
    expect(derived.checks.map(({ spec, address }) => [spec.kind, address])).toEqual([
      ['icmp', '10.0.0.1'],
      ['tcp', '10.0.0.3'],
    ]);
    expect(
      derived.byRealServer.has(realServerKey(anyService({}).id, realServerId('10.0.0.2:80'))),
    ).toBe(false);
  });

  it('fill in address and port, and go to another address where one is named', () => {
    const script: CheckSpec = {
      ...TCP_CHECK,
      kind: 'script',
      command: ['/x', '{address}', '-p{port}'],
      user: null,
      isDynamic: false,
    };
    const file: CheckSpec = { ...TCP_CHECK, kind: 'file', path: '/run/{address}', factor: null };
    const shared: CheckSpec = { ...TCP_CHECK, kind: 'file', path: '/run/all', factor: null };
    const addresses = ['10.0.0.1', '10.0.0.2'];
    expect(
      derive(script, addresses).checks.map(({ spec }) => spec.kind === 'script' && spec.command),
    ).toEqual([
      ['/x', '10.0.0.1', '-p80'],
      ['/x', '10.0.0.2', '-p80'],
    ]);
    expect(
      derive(file, addresses).checks.map(({ spec }) => spec.kind === 'file' && spec.path),
    ).toEqual(['/run/10.0.0.1', '/run/10.0.0.2']);
    expect(derive(shared, addresses).checks).toHaveLength(1);
    const elsewhere = derive({ ...TCP_CHECK, address: ip('10.0.0.9') }, addresses);
    expect(elsewhere.checks.map(({ address }) => address)).toEqual(['10.0.0.9']);
  });
});

describe('what is handed down when a tree changes', () => {
  const spec = (check: CheckTree) =>
    anySpec([anyService({ check, realServers: [server('10.0.0.1')] })]);
  const idOf = (check: CheckSpec) => [...derive(check).byRealServer.values()][0];

  it('goes to the check of the same kind, else from the whole', () => {
    const before = spec({ kind: 'all', of: [icmp, on(80)] });
    const faster = { ...icmp, intervalMs: 1000, timeoutMs: 500 };
    const whole = [...deriveChecks(before).byRealServer.values()][0];
    const file: CheckSpec = { ...TCP_CHECK, kind: 'file', path: '/x', factor: null };
    const after = spec({ kind: 'all', of: [faster, on(80), file] });
    expect(inheritChecks(before, after)).toEqual(
      new Map([
        [idOf(faster), idOf(icmp)],
        [idOf(file), whole],
      ]),
    );
  });
});

describe('verdicts', () => {
  const all = { mode: 'all', alpha: false } as const;
  const any = { mode: 'any', alpha: false } as const;
  const initial = { isUp: true, basis: 'initial', votesUp: 0, votesDown: 0 };

  it.each([
    ['all up', all, [status(true), status(true)], { isUp: true, basis: 'majority' }],
    ['all, one down', all, [status(true), status(false)], { isUp: false, basis: 'majority' }],
    ['all, one down, one unknown', all, [null, status(false)], { isUp: false }],
    ['all, one unknown', all, [status(true), null], initial],
    ['all, one kept', all, [status(true, 'kept'), status(true)], { isUp: true, basis: 'kept' }],
    ['any, one up', any, [status(false), status(true)], { isUp: true, basis: 'majority' }],
    ['any, one up, one unknown', any, [null, status(true)], { isUp: true, basis: 'majority' }],
    ['any, one down, one unknown', any, [status(false), null], initial],
    ['any, all down', any, [status(false), status(false)], { isUp: false }],
    ['nothing known', any, [null, null], initial],
    [
      'nothing known, alpha',
      { ...all, alpha: true },
      [null, null],
      { isUp: false, basis: 'initial' },
    ],
    ['what is assumed is not known', all, [status(true, 'initial'), status(true)], initial],
  ] as const)('%s', (_, compound, members, wanted) =>
    expect(combineStatuses(compound, members)).toMatchObject(wanted),
  );

  it('of known members are those of logic', () => {
    fc.assert(
      fc.property(fc.array(fc.boolean(), { minLength: 1, maxLength: 5 }), (ups) => {
        const members = ups.map((isUp) => status(isUp));
        expect(combineStatuses(all, members).isUp).toBe(ups.every(Boolean));
        expect(combineStatuses(any, members).isUp).toBe(ups.some(Boolean));
      }),
    );
  });

  it('of compounds within compounds, in one pass', () => {
    const inner = { id: B, mode: 'any', of: [A, C], leaves: [A, C], alpha: false } as const;
    const outer = {
      id: checkId('o'),
      mode: 'all',
      of: [B, C],
      leaves: [A, C],
      alpha: false,
    } as const;
    const found = new Map([
      [A, status(true)],
      [C, status(false)],
    ]);
    const statuses = combineAll(found, [inner, outer], null).all;
    expect([statuses.get(B)?.isUp, statuses.get(outer.id)?.isUp]).toEqual([true, false]);
    const none = new Map([[A, status(true)]]);
    expect(combineAll(none, [], null).all).toBe(none);
  });

  it('are the same made anew from what changed alone, and what did not is the very same', () => {
    const ids = [A, B, C];
    const compounds = [
      { id: checkId('d'), mode: 'all', of: [A, B], leaves: [A, B], alpha: false },
      { id: checkId('e'), mode: 'any', of: [checkId('d'), C], leaves: ids, alpha: true },
      { id: checkId('f'), mode: 'any', of: [B, C], leaves: [B, C], alpha: false },
    ] as const;
    const change = fc.record({ id: fc.constantFrom(...ids), isUp: fc.boolean() });
    fc.assert(
      fc.property(fc.array(change, { maxLength: 20 }), (changes) => {
        let found: ReadonlyMap<CheckId, CheckStatus> = new Map();
        let last = combineAll(found, compounds, null);
        for (const { id, isUp } of changes) {
          found = new Map([...found, [id, status(isUp)]]);
          const next = combineAll(found, compounds, last);
          expect(next.all).toEqual(combineAll(found, compounds, null).all);
          for (const compound of compounds)
            if (!(compound.leaves as readonly CheckId[]).includes(id))
              expect(next.all.get(compound.id)).toBe(last.all.get(compound.id));
          expect(combineAll(found, compounds, next)).toBe(next);
          last = next;
        }
      }),
    );
  });

  it('are found by their name, and so is what they are made of', () => {
    const compounds = [{ id: C, mode: 'all', of: [A, B], leaves: [A, B], alpha: false }] as const;
    expect(compoundOf(C, compounds)).toBe(compounds[0]);
    expect(compoundOf(A, compounds)).toBeUndefined();
    expect([leavesOf(C, compounds), leavesOf(A, compounds)]).toEqual([[A, B], [A]]);
  });

  it('stand since the last of all, the first of any', () => {
    const of = { of: [A, B], leaves: [A, B], alpha: false } as const;
    const since = withCompoundTimes(
      new Map([
        [A, 5],
        [B, 9],
      ]),
      [
        { id: C, mode: 'all', ...of },
        { id: checkId('d'), mode: 'any', ...of },
      ],
    );
    expect([since.get(C), since.get(checkId('d'))]).toEqual([9, 5]);
    expect(withCompoundTimes(new Map([[A, 5]]), [{ id: C, mode: 'all', ...of }]).has(C)).toBe(
      false,
    );
  });
});

describe('weights', () => {
  const set = (weight: number): DynamicWeight => ({ kind: 'set', weight });
  const add = (by: number): DynamicWeight => ({ kind: 'add', by });
  const percent = (share: number): DynamicWeight => ({ kind: 'percent', percent: share });
  const compound = { id: C, mode: 'all', of: [A, B], leaves: [A, B], alpha: false } as const;

  it.each<[DynamicWeight, DynamicWeight, DynamicWeight]>([
    [set(5), set(3), set(3)],
    [set(5), add(-2), set(3)],
    [add(-9), set(5), set(0)],
    [add(1), add(-3), add(-2)],
    [percent(50), add(1), percent(50)],
    [percent(50), percent(20), percent(20)],
  ])('%j and %j are %j', (a, b, wanted) => {
    expect(
      withCompoundWeights(
        new Map([
          [A, a],
          [B, b],
        ]),
        [compound],
      ).get(C),
    ).toEqual(wanted);
  });

  const vote = (weight: DynamicWeight | null, isUp = true) => ({ isUp, weight });
  const up = new Map([[A, status(true)]]);
  const step = (
    before: ReadonlyMap<CheckId, DynamicWeight>,
    list: readonly ReturnType<typeof vote>[],
    statuses = up,
  ) => stepDynamicWeights(before, { votes: new Map([[A, list]]), statuses, only: null });

  it('are the word in the middle of those who see it up', () => {
    const votes = [vote(set(9)), vote(set(1)), vote(set(4)), vote(set(0), false)];
    expect(step(new Map(), votes).get(A)).toEqual(set(4));
    expect(step(new Map(), votes.slice(0, 2)).get(A)).toEqual(set(1));
  });

  it('stand while nobody speaks and it is up, and end with a vote that names none', () => {
    const before = new Map([[A, set(4)]]);
    expect(step(before, [])).toBe(before);
    expect(step(before, [], new Map([[A, status(false)]])).has(A)).toBe(false);
    expect(step(before, [vote(null)]).has(A)).toBe(false);
    expect(step(before, [vote(set(4))])).toBe(before);
  });

  it('are the same where only those are looked at that changed', () => {
    const word = fc.option(fc.nat(3), { nil: null });
    const change = fc.record({
      id: fc.constantFrom(A, B, C),
      isUp: fc.boolean(),
      says: fc.array(fc.tuple(word, fc.boolean()), { maxLength: 3 }),
    });
    fc.assert(
      fc.property(fc.array(change, { maxLength: 20 }), (changes) => {
        const votes = new Map<CheckId, ReturnType<typeof vote>[]>();
        const statuses = new Map<CheckId, CheckStatus>();
        let some: ReadonlyMap<CheckId, DynamicWeight> = new Map();
        let all = some;
        for (const { id, isUp, says } of changes) {
          votes.set(
            id,
            says.map(([weight, isVoteUp]) => vote(weight === null ? null : set(weight), isVoteUp)),
          );
          statuses.set(id, status(isUp));
          some = stepDynamicWeights(some, { votes, statuses, only: [id] });
          all = stepDynamicWeights(all, { votes, statuses, only: null });
          expect(new Map(some)).toEqual(new Map(all));
        }
      }),
    );
  });
});

describe('votes', () => {
  const d1 = directorId('d1');
  const vote = (isUp: boolean, since: string, detail: string): Vote => ({
    director: d1,
    isUp,
    since,
    detail,
  });
  const nameOf = (check: CheckId) => `check ${check}`;

  it('of a director are one, which tells what decides', () => {
    const votes = new Map([
      [A, new Map([[d1, vote(true, '2026-01-02', 'echo reply')]])],
      [B, new Map([[d1, vote(false, '2026-01-03', 'connection refused')]])],
    ]);
    const of = (mode: 'all' | 'any') =>
      combineVotes({ mode, leaves: [A, B] }, votes, nameOf).get(d1);
    expect(of('all')).toEqual(vote(false, '2026-01-03', 'check b: connection refused'));
    expect(of('any')).toEqual(vote(true, '2026-01-02', 'check a: echo reply'));
  });

  it('on a compound name its checks, and those on a check are its own', () => {
    const tree = { kind: 'all', of: [icmp, on(80)] } as const;
    const derived = derive(tree);
    const [compound] = derived.compounds;
    const [ping, connect] = derived.checks.map(({ id }) => id);
    if (compound === undefined || ping === undefined || connect === undefined)
      throw new Error('a compound of two');
    const votes = new Map([
      [ping, new Map([[d1, vote(false, '2026-01-02', 'no echo reply')]])],
      [connect, new Map([[d1, vote(false, '2026-01-03', 'connection refused')]])],
    ]);
    const votesOn = withCompoundVotes(votes, derived);
    expect(votesOn(ping)).toBe(votes.get(ping));
    expect(votesOn(compound.id)?.get(d1)?.detail).toBe(
      'icmp: no echo reply; tcp 80: connection refused',
    );
    expect(votesOn(checkId('unknown'))).toBeUndefined();
  });
});
