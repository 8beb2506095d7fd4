/** A hundred directors and ten thousand real servers: what is written while all is well, and while something dies. */
import { describe, expect, it } from 'vitest';
import { deriveChecks } from '../../src/core/health/checks.ts';
import { formatIp } from '../../src/model/address.ts';
import type { Check, ClusterSpec } from '../../src/model/cluster.ts';
import { directorId, realServerId, serviceId } from '../../src/model/ids.ts';
import { createKeys } from '../../src/model/keys.ts';
import { FakeClock } from '../fakes/fake-clock.ts';
import type { FakeTarget } from '../fakes/fake-prober.ts';
import { FakeCluster } from '../fakes/fake-store.ts';
import { SeededRandom } from '../fakes/seeded-random.ts';
import { anyService, anySpec, server, TCP_CHECK } from '../unit/core/desired/spec-builders.ts';
import { CheckDirector } from './check-director.ts';

const DIRECTORS = 100;
const SERVICES = 100;
const SERVERS_EACH = 100;
const INTERVAL_MS = 10_000;
const CHECKERS = 3;
/** So many of them read all votes, as every director does. */
const READERS = 4;

const ANSWERS: FakeTarget = { kind: 'up', detail: 'connected', latencyMs: 1 };

function specOf(): ClusterSpec {
  const check = { ...TCP_CHECK, intervalMs: INTERVAL_MS };
  const services = Array.from({ length: SERVICES }, (_, s) => {
    const realServers = Array.from({ length: SERVERS_EACH }, (_each, n) => {
      const address = formatIp(Uint8Array.of(10, 92, s, n + 1));
      return { ...server(address), id: realServerId(`${address}:80`), address };
    });
    return anyService({ id: serviceId(`s${s}`), port: 1000 + s, check, realServers });
  });
  const directors = Array.from({ length: DIRECTORS }, (_, n) => ({
    id: directorId(`d${n + 1}`),
    address: formatIp(Uint8Array.of(10, 90, 0, n + 1)),
    zone: null,
  }));
  return { ...anySpec(services), directors, checkers: CHECKERS };
}

class Cluster {
  readonly clock = new FakeClock();
  readonly spec = specOf();
  readonly store: FakeCluster;
  readonly directors: CheckDirector[];
  target: (director: string, check: Check) => FakeTarget = () => ANSWERS;

  constructor() {
    const random = new SeededRandom(11);
    this.store = new FakeCluster({ clock: this.clock, random: random.fork() });
    const keys = createKeys('sim');
    this.directors = this.spec.directors.map(
      ({ id }, n) =>
        new CheckDirector({
          me: id,
          keys,
          spec: this.spec,
          store: this.store.connect(id, this.clock),
          clock: this.clock,
          random: random.fork(),
          target: (check) => this.target(id, check),
          readsVotes: n < READERS,
        }),
    );
  }

  async run(ms: number): Promise<void> {
    for (let at = 0; at < ms; at += 1000) {
      await this.clock.advance(1000);
      for (const one of this.directors) one.look();
    }
  }

  get probes(): number {
    return this.directors.reduce((sum, { prober }) => sum + prober.started, 0);
  }

  async close(): Promise<void> {
    for (const one of this.directors) await one.stop();
    this.store.close();
  }
}

describe('a hundred directors and ten thousand real servers', () => {
  it('write nothing while all is well, and a few votes where one dies', async () => {
    const cluster = new Cluster();
    for (const one of cluster.directors) one.start();
    await cluster.run(1.5 * INTERVAL_MS);
    const votes = cluster.store.entries('/leasehold/sim/run/vote/');
    const checks = deriveChecks(cluster.spec).checks.length;
    expect(checks).toBe(SERVICES * SERVERS_EACH);
    expect(votes).toHaveLength(checks * CHECKERS);

    const before = cluster.store.revision;
    const probes = cluster.probes;
    await cluster.run(2 * INTERVAL_MS);
    expect(cluster.store.revision).toBe(before);
    expect(cluster.probes - probes).toBeGreaterThan(1.8 * checks * CHECKERS);

    const [dying] = deriveChecks(cluster.spec).checks;
    cluster.target = (_director, check) =>
      check.id === dying?.id ? { kind: 'down', detail: 'refused', latencyMs: 1 } : ANSWERS;
    await cluster.run(1.5 * INTERVAL_MS);
    expect(cluster.store.revision - before).toBeLessThanOrEqual(CHECKERS);
    for (const { desk } of cluster.directors.slice(0, READERS))
      expect(desk.statuses().get(dying?.id ?? ('' as never))).toMatchObject({
        isUp: false,
        votesDown: CHECKERS,
      });
    await cluster.close();
  }, 280_000);
});
