/** From spec and votes to this director's checks and the cluster's statuses. */
import { describe, expect, it } from 'vitest';
import { createHealthDesk, type HealthDesk } from '../../../src/agent/health-desk.ts';
import { runSteps } from '../../../src/lib/steps.ts';
import type { Vote } from '../../../src/model/health.ts';
import { checkId, directorId, monoMs } from '../../../src/model/ids.ts';
import { ip } from '../../fakes/fake-real-server-host.ts';
import { anyService, anySpec, server, TCP_CHECK } from '../core/desired/spec-builders.ts';

const directors = ['d1', 'd2', 'd3', 'd4'].map(directorId);
const service = anyService({ realServers: [server('10.90.0.21'), server('10.90.0.22')] });
const vote = (director: (typeof directors)[number], isUp: boolean): [typeof director, Vote] => [
  director,
  { director, isUp, since: '', detail: '' },
];

const live = (desk: HealthDesk, alive: typeof directors, now = 0, all = alive): boolean =>
  desk.setLiving({ directors: all, alive, now: monoMs(now) });

const checksOf = (desk: HealthDesk, me: (typeof directors)[number], alive: typeof directors) =>
  runSteps(desk.dutySteps({ me, held: new Set(), isAlone: false, overrides: [] }, alive)).checks;

describe('the health desk', () => {
  it('has nothing to do without a spec', () => {
    const desk = createHealthDesk();
    expect(desk.checks().checks).toEqual([]);
    expect(checksOf(desk, directorId('d1'), directors)).toEqual([]);
  });

  it('gives each check to as many directors as the spec asks for', () => {
    const desk = createHealthDesk();
    desk.setSpec({ ...anySpec([service]), checkers: 2 });
    for (const check of desk.checks().checks) {
      const mine = directors.filter((one) =>
        checksOf(desk, one, directors).some(({ id }) => id === check.id),
      );
      expect(mine).toHaveLength(2);
    }
    expect(checksOf(desk, directorId('d1'), [directorId('d1')])).toHaveLength(2);
  });

  it('recalls what was known before the start where nobody of the spec votes', () => {
    const desk = createHealthDesk();
    const [d1 = directorId('d1'), d2 = directorId('d2')] = directors;
    const address = ip('10.90.0.11');
    desk.setSpec({ ...anySpec([service]), directors: [{ id: d1, address, zone: null }] });
    const [a, b] = desk.checks().checks.map(({ id }) => id);
    if (a === undefined || b === undefined) throw new Error('two checks');
    const votes = new Map([
      [a, new Map([vote(directorId('left-long-ago'), true)])],
      [b, new Map([vote(d1, true)])],
    ]);
    const known = [a, b, checkId('gone')].map((id) => [id, false] as const);
    desk.recall(new Map(known), votes);
    live(desk, [d1, d2]);
    desk.count(votes);
    expect(desk.statuses().get(a)).toMatchObject({ isUp: false, basis: 'kept' });
    expect(desk.statuses().get(b)).toMatchObject({ isUp: true, basis: 'majority' });
    expect(desk.statuses().size).toBe(2);
  });

  it('counts the votes of directors that the spec names, and tells what changed', () => {
    const desk = createHealthDesk();
    desk.setSpec(anySpec([service]));
    const [check] = desk.checks().checks;
    if (check === undefined) throw new Error('no check');
    const [d1, d2, d3] = directors;
    if (d1 === undefined || d2 === undefined || d3 === undefined) throw new Error('three');
    const votes = new Map([
      [check.id, new Map([vote(d1, false), vote(d2, false), vote(d3, true)])],
    ]);
    live(desk, directors);
    expect(desk.count(votes).map((one) => one.current.isUp)).toEqual([false]);
    expect(desk.statuses().get(check.id)).toMatchObject({ isUp: false, basis: 'majority' });
    expect(desk.count(votes)).toEqual([]);
    // d1 and d2 left the spec: only d3's vote is left.
    live(desk, [d3]);
    expect(desk.count(votes).map((one) => one.current.isUp)).toEqual([true]);
  });

  it('makes one verdict and one weight of several checks, and asks again only where something changed', () => {
    const desk = createHealthDesk();
    const [d1, d2, d3] = directors;
    if (d1 === undefined || d2 === undefined || d3 === undefined) throw new Error('three');
    const tree = { kind: 'all', of: [TCP_CHECK, { ...TCP_CHECK, port: 81 }] } as const;
    const spec = anySpec([anyService({ check: tree, realServers: [server('10.90.0.21')] })]);
    desk.setSpec(spec);
    live(desk, directors);
    const { checks, compounds } = desk.checks();
    const [first, second] = checks.map(({ id }) => id);
    const [compound] = compounds;
    if (first === undefined || second === undefined || compound === undefined)
      throw new Error('two');
    expect(desk.statuses().get(compound.id)).toMatchObject({ isUp: true, basis: 'initial' });
    const weighs = (director: typeof d1, weight: number): [typeof d1, Vote] => [
      director,
      { director, isUp: true, since: '', detail: '', weight: { kind: 'set', weight } },
    ];
    const votes = new Map([
      [first, new Map([weighs(d1, 3), weighs(d2, 9), weighs(d3, 5)])],
      [second, new Map([vote(d1, true), vote(d2, true)])],
    ]);
    desk.count(votes);
    expect(desk.statuses().get(compound.id)).toMatchObject({ isUp: true, basis: 'majority' });
    expect(desk.dynamicWeights().get(compound.id)).toEqual({ kind: 'set', weight: 5 });
    const [statuses, weights] = [desk.statuses(), desk.dynamicWeights()];
    desk.count(votes);
    expect(desk.statuses()).toBe(statuses);
    expect(desk.dynamicWeights()).toBe(weights);
    votes.set(second, new Map([vote(d1, false), vote(d2, false)]));
    desk.count(votes);
    expect(desk.statuses().get(compound.id)).toMatchObject({ isUp: false });
  });

  it('takes the word of the holder alone on what only holders check, also of since when it is up', () => {
    const check = { ...TCP_CHECK, runBy: 'holder' } as const;
    const desk = createHealthDesk();
    const slow = { ...service, check, slowStartMs: 60_000 };
    desk.setSpec(anySpec([slow]));
    live(desk, directors);
    const [first] = desk.checks().checks;
    const [d1] = directors;
    if (first === undefined || d1 === undefined) throw new Error('a check');
    const since = new Date(5000).toISOString();
    const of = (isUp: boolean) =>
      new Map([[first.id, new Map([[d1, { director: d1, isUp, since, detail: '' }]])]]);
    desk.count(of(false));
    desk.count(of(true));
    expect(desk.statuses().get(first.id)).toMatchObject({ isUp: true, basis: 'majority' });
    expect(desk.upSince().get(first.id)).toBe(5000);
    expect(desk.dutiesFollow()).toEqual({ holders: true, overrides: false });
  });

  it('forgets the votes and weights of checks that leave the document', () => {
    const desk = createHealthDesk();
    const spec = anySpec([service]);
    desk.setSpec(spec);
    live(desk, directors);
    const [first] = desk.checks().checks;
    const [d1] = directors;
    if (first === undefined || d1 === undefined) throw new Error('a check');
    const said: Vote = { ...vote(d1, true)[1], weight: { kind: 'set', weight: 3 } };
    desk.count(new Map([[first.id, new Map([[d1, said]])]]));
    expect(desk.dynamicWeights().get(first.id)).toEqual({ kind: 'set', weight: 3 });
    desk.setSpec(anySpec([]));
    expect(desk.dynamicWeights().size).toBe(0);
    desk.setSpec(spec);
    desk.count(new Map(), new Set());
    expect(desk.dynamicWeights().size).toBe(0);
  });

  it('knows since when real servers that start slowly are up, whatever becomes of their checks', () => {
    const desk = createHealthDesk();
    const slow = { ...service, slowStartMs: 60_000 };
    desk.setSpec(anySpec([slow]));
    const [d1, d2, d3] = directors;
    if (d1 === undefined || d2 === undefined || d3 === undefined) throw new Error('three');
    const since = '2026-01-01T00:00:10.000Z';
    const up = (one: typeof d1): [typeof d1, Vote] => [one, { ...vote(one, true)[1], since }];
    const votesFor = () =>
      new Map(desk.checks().checks.map(({ id }) => [id, new Map([up(d1), up(d2), up(d3)])]));
    live(desk, directors);
    expect(desk.upSince().size).toBe(0);
    desk.count(votesFor());
    expect([...desk.upSince().values()]).toEqual([Date.parse(since), Date.parse(since)]);
    const before = desk.upSince();
    desk.count(votesFor());
    expect(desk.upSince()).toBe(before);
    // Another interval makes other checks of the same real servers: nobody has recovered.
    desk.setSpec(anySpec([{ ...slow, check: { ...TCP_CHECK, intervalMs: 500 } }]));
    desk.count(new Map());
    expect([...desk.upSince().values()]).toEqual([Date.parse(since), Date.parse(since)]);
    desk.setSpec(anySpec([service]));
    desk.count(votesFor());
    expect(desk.upSince().size).toBe(0);
  });

  describe('when directors come and go', () => {
    const three = directors.slice(0, 3);
    const [d1, d2, d3] = three;
    if (d1 === undefined || d2 === undefined || d3 === undefined) throw new Error('three');
    const only = anyService({ realServers: [server('10.90.0.21')] });

    /** d1 and d2 said up, d3 down. */
    const decided = () => {
      const desk = createHealthDesk();
      desk.setSpec(anySpec([only]));
      const [check] = desk.checks().checks;
      if (check === undefined) throw new Error('no check');
      const count = (...votes: (readonly [typeof d1, Vote])[]) => {
        desk.count(new Map([[check.id, new Map(votes)]]));
        return desk.statuses().get(check.id);
      };
      live(desk, three);
      expect(count(vote(d1, true), vote(d2, true), vote(d3, false))?.isUp).toBe(true);
      return { desk, count };
    };

    it('lets nobody decide alone because votes and reports of all were lost', () => {
      const { desk, count } = decided();
      // The dissenter is the first to be back, and for itself it is the only one that is.
      expect(live(desk, [d3], 1000, three)).toBe(true);
      expect(count(vote(d3, false))).toMatchObject({ isUp: true, basis: 'kept' });
      expect(live(desk, three, 3000)).toBe(true);
      expect(count(vote(d3, false), vote(d1, true))).toMatchObject({ isUp: true, basis: 'kept' });
    });

    it('waits for a director that is gone no longer than 5 s', () => {
      const { desk, count } = decided();
      live(desk, [d3], 1000, three);
      expect(live(desk, [d3], 5999, three)).toBe(false);
      expect(count(vote(d3, false))?.isUp).toBe(true);
      expect(live(desk, [d3], 6000, three)).toBe(true);
      expect(count(vote(d3, false))).toMatchObject({ isUp: false, basis: 'majority' });
    });

    it('waits for no director that is there and cannot see the target for ever', () => {
      const { desk, count } = decided();
      // Interval 2 s, timeout 1 s: a first probe, two failures, and 10 s more.
      live(desk, three, 1000, three);
      expect(count(vote(d3, false))).toMatchObject({ isUp: true, basis: 'kept' });
      live(desk, three, 17_000, three);
      expect(desk.overdue()).toEqual(new Set());
      expect(count(vote(d3, false))?.isUp).toBe(true);
      live(desk, three, 19_000, three);
      expect(desk.overdue().size).toBe(1);
      expect(count(vote(d3, false))).toMatchObject({ isUp: false, basis: 'majority' });
      expect(desk.overdue()).toEqual(new Set());
      // Its word is the only one, also when it says something else.
      expect(count(vote(d3, true))?.isUp).toBe(false);
      live(desk, three, 38_000, three);
      expect(count(vote(d3, true))).toMatchObject({ isUp: true, basis: 'majority' });
    });

    it('begins to wait anew when others have said something', () => {
      const { desk, count } = decided();
      live(desk, three, 1000, three);
      count(vote(d3, false));
      live(desk, three, 17_000, three);
      count(vote(d3, false), vote(d1, true));
      live(desk, three, 18_500, three);
      count(vote(d3, false));
      live(desk, three, 30_000, three);
      expect(desk.overdue()).toEqual(new Set());
      expect(count(vote(d3, false))?.isUp).toBe(true);
    });

    it('waits for no director that left the document', () => {
      const { desk, count } = decided();
      live(desk, [d3], 1000);
      expect(count(vote(d3, false))?.isUp).toBe(false);
    });

    it('counts what an ended director left only where nobody alive speaks', () => {
      const { desk, count } = decided();
      live(desk, [d3], 1000, three);
      live(desk, [d3], 9000, three);
      expect(count(vote(d1, true), vote(d3, false))?.isUp).toBe(false);
      expect(count(vote(d1, true))?.isUp).toBe(true);
    });
  });

  describe('when the document changes', () => {
    const withAlpha = (alpha: boolean) => ({
      ...service,
      realServers: service.realServers.map((one) => ({ ...one, alpha })),
    });
    const alpha = withAlpha(true);
    const [d1] = directors;
    if (d1 === undefined) throw new Error('one');

    /** The first real server was voted up, the second down. */
    const decided = () => {
      const desk = createHealthDesk();
      desk.setSpec(anySpec([alpha]));
      const votes = new Map(
        desk.checks().checks.map(({ id }, index) => [id, new Map([vote(d1, index === 0)])]),
      );
      live(desk, [d1]);
      desk.count(votes);
      return desk;
    };
    const after = (desk: ReturnType<typeof decided>, next: typeof alpha) => {
      desk.setSpec(anySpec([next]));
      desk.count(new Map());
      return desk.checks().checks.map(({ id }) => desk.statuses().get(id));
    };
    const slower = { ...TCP_CHECK, intervalMs: TCP_CHECK.intervalMs + 1000 };

    it('keeps what was known of each real server under its new check', () => {
      expect(after(decided(), { ...alpha, check: slower })).toMatchObject([
        { isUp: true, basis: 'kept' },
        { isUp: false, basis: 'kept' },
      ]);
    });

    it('keeps the weight that was asked for, once, until the new check says another', () => {
      const desk = createHealthDesk();
      const files = (intervalMs: number, count: number) => {
        const of = Array.from({ length: count }, (_, n) => ({
          ...TCP_CHECK,
          intervalMs,
          port: 81 + n,
        }));
        const realServers = [server('10.90.0.21')];
        return anySpec([anyService({ check: { kind: 'all', of }, realServers })]);
      };
      const says = (by: number) =>
        new Map(
          desk.checks().checks.map(({ id }) => {
            const said: Vote = { ...vote(d1, true)[1], weight: { kind: 'add', by } };
            return [id, new Map([[d1, said]])] as const;
          }),
        );
      desk.setSpec(files(2000, 1));
      live(desk, [d1]);
      desk.count(says(-3));
      desk.setSpec(files(5000, 2));
      desk.count(new Map());
      const [first, second] = desk.checks().checks.map(({ id }) => id);
      if (first === undefined || second === undefined) throw new Error('two');
      expect([...desk.dynamicWeights()]).toEqual([
        [first, { kind: 'add', by: -3 }],
        [desk.checks().compounds[0]?.id, { kind: 'add', by: -3 }],
      ]);
      desk.count(says(2));
      expect(desk.dynamicWeights().get(first)).toEqual({ kind: 'add', by: 2 });
    });

    it('knows nothing of a real server that moved to another address or port', () => {
      const moved = [server('10.90.0.31'), { ...server('10.90.0.22'), port: 8099 }].map(
        (one, index) => ({ ...one, id: alpha.realServers[index]?.id ?? one.id }),
      );
      const statuses = after(decided(), { ...alpha, check: slower, realServers: moved });
      expect(statuses.map((status) => status?.basis)).toEqual(['initial', 'initial']);
    });

    it('does not make knowledge of what was only assumed', () => {
      const desk = createHealthDesk();
      desk.setSpec(anySpec([withAlpha(false)]));
      desk.count(new Map());
      expect(after(desk, { ...alpha, check: slower })).toMatchObject([
        { isUp: false, basis: 'initial' },
        { isUp: false, basis: 'initial' },
      ]);
    });
  });
});
