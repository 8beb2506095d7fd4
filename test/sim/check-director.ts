/** The part of a director that checks real servers, without what holds VIPs: a hundred of them fit into one test. */
import type { AgentParts } from '../../src/agent/agent-parts.ts';
import { CheckDesk } from '../../src/agent/check-desk.ts';
import { ClusterView } from '../../src/agent/cluster-view.ts';
import { createDirectorLease, type DirectorLease } from '../../src/agent/director-lease.ts';
import { createHealthDesk, type HealthDesk } from '../../src/agent/health-desk.ts';
import type { Check, ClusterSpec } from '../../src/model/cluster.ts';
import { type DirectorId, revision } from '../../src/model/ids.ts';
import type { Keys } from '../../src/model/keys.ts';
import { formatRecord, type ReportRecord } from '../../src/model/records.ts';
import { silentLog } from '../../src/ports/log.ts';
import type { FakeClock } from '../fakes/fake-clock.ts';
import { FakeProber, type FakeTarget } from '../fakes/fake-prober.ts';
import type { FakeStore } from '../fakes/fake-store.ts';
import type { SeededRandom } from '../fakes/seeded-random.ts';
import { silentMetrics } from '../fakes/silent-metrics.ts';

export type CheckDirectorOptions = {
  readonly me: DirectorId;
  readonly keys: Keys;
  readonly spec: ClusterSpec;
  readonly store: FakeStore;
  readonly clock: FakeClock;
  readonly random: SeededRandom;
  readonly target: (check: Check) => FakeTarget;
  /** False: it reads who is alive, and nobody's votes: a hundred that read all of them take minutes. */
  readonly readsVotes: boolean;
};

const TTL_S = 10;

export class CheckDirector {
  readonly me: DirectorId;
  readonly desk: HealthDesk = createHealthDesk();
  readonly prober: FakeProber;
  readonly #options: CheckDirectorOptions;
  readonly #records: ClusterView;
  readonly #lease: DirectorLease;
  readonly #checks: CheckDesk;
  readonly #end = new AbortController();
  #running: Promise<unknown> = Promise.resolve();

  constructor(options: CheckDirectorOptions) {
    const { me, keys, spec, store, clock, random, target } = options;
    this.me = me;
    this.#options = options;
    this.prober = new FakeProber({ target }, { clock, random });
    this.#records = new ClusterView(keys, silentLog);
    this.#lease = createDirectorLease(
      {
        ttlS: () => TTL_S,
        revisionOf: (key) => this.#records.revisionOf(key),
        outlives: () => true,
      },
      { store, clock, log: silentLog },
    );
    this.desk.setSpec(spec);
    const parts = {
      records: this.#records,
      specs: { spec: () => spec, accepted: () => revision(1) },
      desk: this.desk,
      directorLease: this.#lease,
      hold: { state: () => ({ holdings: new Map(), view: { sessions: new Map() } }) },
      reconcile: { wake: () => {} },
    } as unknown as AgentParts;
    const ports = { prober: this.prober, clock, log: silentLog, metrics: silentMetrics, store };
    this.#checks = new CheckDesk({ me, keys, devices: new Map() }, ports, parts);
  }

  start(): void {
    const { keys } = this.#options;
    const { signal } = this.#end;
    this.#lease.publish(keys.report(this.me), formatRecord(reportOf(this.me)));
    this.#running = Promise.all([
      this.#watch(signal),
      this.#lease.run(signal),
      this.#checks.run(signal),
    ]);
  }

  /** What housekeeping does each second. */
  look(): void {
    this.#checks.look();
  }

  async stop(): Promise<void> {
    this.#end.abort();
    await this.prober.close();
    await this.#options.clock.settle(this.#running.then(() => undefined));
  }

  async #watch(signal: AbortSignal): Promise<void> {
    const { store, keys, readsVotes } = this.#options;
    const prefix = readsVotes ? keys.prefix : `${keys.prefix}run/report/`;
    for await (const event of store.watch(prefix, signal)) {
      const update = this.#records.apply(event);
      const isSynced = event.kind === 'snapshot';
      if (isSynced) this.#checks.adopt();
      this.#checks.count(isSynced ? 'all' : update.voted);
      if (isSynced) this.#checks.assign();
    }
  }
}

const reportOf = (me: DirectorId): ReportRecord => ({
  v: 1,
  version: 'sim',
  address: me,
  session: 1,
  startedAt: '',
  specRevision: 1,
  eligible: [],
  ready: [],
  bonus: {},
  ineligible: {},
  gate: 'netdev',
  ipvs: { available: true, detail: '' },
  problems: [],
});
