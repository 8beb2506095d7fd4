/** From spec and votes to this director's checks and the cluster's statuses. */
import { describe, expect, it } from 'vitest';
import { createHealthDesk } from '../../../src/agent/health-desk.ts';
import type { Vote } from '../../../src/model/health.ts';
import { directorId } from '../../../src/model/ids.ts';
import { anyService, anySpec, server, TCP_CHECK } from '../core/desired/spec-builders.ts';

const directors = ['d1', 'd2', 'd3', 'd4'].map(directorId);
const service = anyService({ realServers: [server('10.90.0.21'), server('10.90.0.22')] });
const vote = (director: (typeof directors)[number], isUp: boolean): [typeof director, Vote] => [
  director,
  { director, isUp, since: '', detail: '' },
];

describe('the health desk', () => {
  it('has nothing to do without a spec', () => {
    const desk = createHealthDesk();
    expect(desk.checks().checks).toEqual([]);
    expect(desk.assignmentsOf(directorId('d1'), directors)).toEqual([]);
  });

  it('gives each check to as many directors as the spec asks for', () => {
    const desk = createHealthDesk();
    desk.setSpec({ ...anySpec([service]), checkers: 2 });
    for (const check of desk.checks().checks) {
      const mine = directors.filter((one) =>
        desk.assignmentsOf(one, directors).some(({ id }) => id === check.id),
      );
      expect(mine).toHaveLength(2);
    }
    expect(desk.assignmentsOf(directorId('d1'), [directorId('d1')])).toHaveLength(2);
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
    expect(desk.count(votes, directors).map((one) => one.current.isUp)).toEqual([false]);
    expect(desk.statuses().get(check.id)).toMatchObject({ isUp: false, basis: 'majority' });
    expect(desk.count(votes, directors)).toEqual([]);
    // d1 and d2 left the spec: only d3's vote is left.
    expect(desk.count(votes, [d3]).map((one) => one.current.isUp)).toEqual([true]);
  });

  describe('when the document changes', () => {
    const alpha = { ...service, alpha: true };
    const [d1] = directors;
    if (d1 === undefined) throw new Error('one');

    /** The first real server was voted up, the second down. */
    const decided = () => {
      const desk = createHealthDesk();
      desk.setSpec(anySpec([alpha]));
      const votes = new Map(
        desk.checks().checks.map(({ id }, index) => [id, new Map([vote(d1, index === 0)])]),
      );
      desk.count(votes, [d1]);
      return desk;
    };
    const after = (desk: ReturnType<typeof decided>, next: typeof alpha) => {
      desk.setSpec(anySpec([next]));
      desk.count(new Map(), [d1]);
      return desk.checks().checks.map(({ id }) => desk.statuses().get(id));
    };
    const slower = { ...TCP_CHECK, intervalMs: TCP_CHECK.intervalMs + 1000 };

    it('keeps what was known of each real server under its new check', () => {
      expect(after(decided(), { ...alpha, check: slower })).toMatchObject([
        { isUp: true, basis: 'kept' },
        { isUp: false, basis: 'kept' },
      ]);
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
      desk.setSpec(anySpec([{ ...alpha, alpha: false }]));
      desk.count(new Map(), [d1]);
      expect(after(desk, { ...alpha, check: slower })).toMatchObject([
        { isUp: false, basis: 'initial' },
        { isUp: false, basis: 'initial' },
      ]);
    });
  });
});
