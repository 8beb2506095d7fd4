/** Who runs which check, where there are very many: what that costs the thread that also holds the VIPs. */
import { describe, expect, it } from 'vitest';
import type { AgentParts } from '../../../src/agent/agent-parts.ts';
import { CheckDesk } from '../../../src/agent/check-desk.ts';
import { createHealthDesk } from '../../../src/agent/health-desk.ts';
import { formatIp } from '../../../src/model/address.ts';
import type { Check, CheckTiming } from '../../../src/model/cluster.ts';
import { directorId, groupId, monoMs, realServerId, revision } from '../../../src/model/ids.ts';
import { createKeys } from '../../../src/model/keys.ts';
import type { Clock } from '../../../src/ports/clock.ts';
import type { ClusterStore } from '../../../src/ports/cluster-store.ts';
import type { Prober } from '../../../src/ports/prober.ts';
import { silentLog } from '../../../src/ports/log.ts';
import { FakeClock } from '../../fakes/fake-clock.ts';
import { silentMetrics } from '../../fakes/silent-metrics.ts';
import { anyService, anySpec, server, TCP_CHECK } from '../core/desired/spec-builders.ts';

const MANY = 9000;
const [me, other] = [directorId('d1'), directorId('d2')];
const group = groupId('web');
/** Each look at the clock takes so long: work in pieces of that length looks after each. */
const LOOK_MS = 0.05;

function worldOf(count: number, timing: Partial<CheckTiming> = {}, checkers = 1) {
  const clock = new FakeClock();
  let [looks, rests] = [0, 0];
  const busy: Clock = {
    now: () => monoMs(clock.now() + ++looks * LOOK_MS),
    wallMs: () => clock.wallMs(),
    wallTime: () => clock.wallTime(),
    schedule: (ms, action) => clock.schedule(ms, action),
    sleep: (ms, signal) => (rests++, clock.sleep(ms, signal)),
  };
  const realServers = Array.from({ length: count }, (_, n) => {
    const address = formatIp(Uint8Array.of(10, 92, n >> 8, n & 255));
    return { ...server(address), id: realServerId(`${address}:80`), address };
  });
  const service = anyService({ check: { ...TCP_CHECK, ...timing }, realServers });
  const directors = [me, other].map((id) => ({
    id,
    address: server('10.90.0.1').address,
    zone: null,
  }));
  const spec = { ...anySpec([service]), directors, checkers };
  const desk = createHealthDesk();
  desk.setSpec(spec);
  const reports = new Map<string, unknown>();
  const holdings = new Map<string, unknown>();
  const sessions = new Map<string, unknown>();
  const votes = new Map<string, ReadonlyMap<string, unknown>>();
  const given: (readonly Check[])[] = [];
  const prober: Prober = {
    problem: () => 'no such program',
    setChecks: (checks) => void given.push(checks),
    probeSoon: () => {},
    observations: () => (async function* () {})(),
    close: async () => {},
  };
  const parts = {
    desk,
    records: { votes, overrides: [], reports },
    specs: { spec: () => spec, accepted: () => revision(1) },
    directorLease: { publish: () => {} },
    hold: { state: () => ({ holdings, view: { sessions } }) },
    reconcile: { wake: () => {} },
  } as unknown as AgentParts;
  const store = { health: () => ({ lastAnswerAt: null }) } as unknown as ClusterStore;
  const ports = { prober, clock: busy, log: silentLog, metrics: silentMetrics, store };
  const checks = new CheckDesk({ me, keys: createKeys('lab'), devices: new Map() }, ports, parts);
  return {
    clock,
    checks,
    desk,
    given,
    reports,
    holdings,
    sessions,
    votes,
    rests: () => rests,
    looks: () => looks,
  };
}

describe('the checks of a director', () => {
  it('say why they cannot be made', () => {
    const { checks } = worldOf(1);
    expect(checks.problem()).toBe('this director cannot make some of its checks: no such program');
  });

  it('are given out at once where they are a thousand', () => {
    const { checks, given, rests } = worldOf(1500);
    checks.assign();
    expect(given.map(({ length }) => length)).toEqual([1500]);
    expect(rests()).toBe(0);
  });

  it('are given out with rests where they are more', async () => {
    const { clock, checks, given, rests } = worldOf(MANY);
    checks.assign();
    expect(given).toEqual([]);
    await clock.advance(1);
    expect(given.map(({ length }) => length)).toEqual([MANY]);
    // Of four milliseconds each.
    expect(rests()).toBeGreaterThan((MANY * LOOK_MS) / 4 - 2);
  });

  it('are those of the directors that are alive at the end, whoever came meanwhile', async () => {
    const { clock, checks, given, reports } = worldOf(MANY);
    checks.assign();
    await clock.drain();
    reports.set(other, {});
    checks.assign();
    await clock.advance(1);
    expect(given).toHaveLength(1);
    expect(given[0]?.length).toBeGreaterThan(0.4 * MANY);
    expect(given[0]?.length).toBeLessThan(0.6 * MANY);
  });

  it('are not looked through again because a group comes or goes, unless holders check', async () => {
    for (const runBy of ['directors', 'holder'] as const) {
      const { clock, checks, holdings, given, looks } = worldOf(MANY, { runBy });
      checks.assign();
      await clock.advance(1);
      const before = looks();
      holdings.set(group, { kind: 'open' });
      checks.assign();
      await clock.advance(1);
      if (runBy === 'directors') expect(looks() - before).toBeLessThan(10);
      else expect(looks() - before).toBeGreaterThan(MANY);
      expect(given.at(-1)).toHaveLength(MANY);
    }
  });
});

describe('the votes of a director that the others had to end', () => {
  it.each([
    ['count no more five seconds later, though its lease goes on', 'broken', false],
    ['count while its session is open', 'open', true],
  ])('%s', async (_, state, isUp) => {
    const { clock, checks, desk, reports, sessions, votes } = worldOf(1, {}, 2);
    const [check] = desk.checks().checks;
    if (check === undefined) throw new Error('no check');
    const vote = (director: string, up: boolean) =>
      [director, { director, isUp: up, since: '', detail: '' }] as const;
    votes.set(check.id, new Map([vote(me, true), vote(other, true)]));
    reports.set(other, {});
    sessions.set(other, { value: { state: 'open' } });
    const isUpNow = (): boolean | undefined => {
      checks.look();
      return desk.statuses().get(check.id)?.isUp;
    };
    checks.count('all');
    votes.set(check.id, new Map([vote(me, false), vote(other, true)]));
    checks.count('all');
    expect(isUpNow()).toBe(true);
    sessions.set(other, { value: { state } });
    expect(isUpNow()).toBe(true);
    await clock.advance(4000);
    expect(isUpNow()).toBe(true);
    await clock.advance(2000);
    expect(isUpNow()).toBe(isUp);
  });
});
