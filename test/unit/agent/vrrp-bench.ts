/** A VRRP desk on fakes: a segment in memory, an election that tests write by hand, and a router that is no director. */
import { createVrrpDesk, type VrrpDesk, type VrrpNews } from '../../../src/agent/vrrp-desk.ts';
import { parseClusterDocument } from '../../../src/config/cluster-document.ts';
import { formatProblems } from '../../../src/config/problem.ts';
import { initialState } from '../../../src/core/election/initial-state.ts';
import type { ElectionState, Holding } from '../../../src/core/election/state.ts';
import { ok } from '../../../src/lib/result.ts';
import type { ClusterSpec } from '../../../src/model/cluster.ts';
import {
  directorId,
  type DirectorId,
  epochOf,
  type GroupId,
  groupId,
  monoMs,
  revision,
} from '../../../src/model/ids.ts';
import type { BoundAddress } from '../../../src/model/kernel.ts';
import type { VrrpInstance } from '../../../src/model/vrrp.ts';
import type { Clock } from '../../../src/ports/clock.ts';
import { silentLog } from '../../../src/ports/log.ts';
import type { VrrpLink } from '../../../src/ports/vrrp-link.ts';
import { FakeClock } from '../../fakes/fake-clock.ts';
import { FakeVrrpSegment } from '../../fakes/fake-vrrp-link.ts';
import { SeededRandom } from '../../fakes/seeded-random.ts';
import { ip } from '../core/desired/spec-builders.ts';

export const WEB = groupId('web');
export const INTERVAL_MS = 1000;
export const K1 = ip('10.90.0.14');
export const ADDRESS_OF = { d1: ip('10.90.0.11'), d2: ip('10.90.0.12') } as const;
export type Name = keyof typeof ADDRESS_OF;

/** Two directors, priority 150 and 100, and a neighbour; null takes a field away. */
export function specOf(group: object = {}): ClusterSpec {
  const isGiven = ([, value]: readonly [string, unknown]): boolean => value !== null;
  const parsed = parseClusterDocument({
    apiVersion: 'leasehold/v1',
    directors: { d1: { address: ADDRESS_OF.d1 }, d2: { address: ADDRESS_OF.d2 } },
    groups: {
      web: Object.fromEntries(
        Object.entries({
          addresses: ['10.90.0.100/24'],
          interface: 'public',
          virtualRouterId: 51,
          priorities: { d1: 150, d2: 100 },
          vrrp: { version: 3, interval: '1s', neighbours: [K1] },
          ...group,
        }).filter(isGiven),
      ),
    },
  });
  if (!parsed.ok) throw new Error(formatProblems(parsed.error));
  return parsed.value.spec;
}

export const addressOf = (text: string): BoundAddress => ({
  linkIndex: 2,
  address: ip(text),
  prefix: 24,
  scope: 'global',
  label: null,
  validLifetimeS: null,
  protocol: null,
});

const LINKS = new Map([
  ['eth0', { index: 2, name: 'eth0', mac: null, isAdminUp: true, isRunning: true, mtu: 1500 }],
]);

export const owned = (since = 0): Holding => ({
  kind: 'owned',
  right: 'record',
  mustProbe: false,
  epoch: epochOf(revision(7)),
  since: monoMs(since),
  failures: 0,
  preparedUntil: null,
  isOpening: false,
  formers: [],
});

export const open = (until: number): Holding => ({
  kind: 'open',
  right: 'record',
  epoch: epochOf(revision(7)),
  since: monoMs(0),
  openedAt: monoMs(0),
  until: monoMs(until),
  failures: 0,
  formers: [],
});

export const closing = (silentAt: number): Holding => ({
  kind: 'closing',
  epoch: epochOf(revision(7)),
  ownerRev: revision(7),
  giveUp: null,
  isLost: false,
  silentAt: monoMs(silentAt),
  retryAt: null,
});

export const shut = (to: DirectorId | null): Holding => ({
  kind: 'shut',
  epoch: epochOf(revision(7)),
  giveUp: { reason: 'shutdown', to, operation: null },
  nextTryAt: monoMs(0),
});

/** One director's desk; its election is what the test says. */
export class DeskRig {
  readonly name: Name;
  readonly clock: Clock;
  readonly link: VrrpLink;
  readonly desk: VrrpDesk;
  readonly news: VrrpNews[] = [];
  readonly heard: DirectorId[] = [];
  readonly announced: GroupId[] = [];
  readonly end = new AbortController();
  readonly running: Promise<void>;
  state: ElectionState;
  isHeir = true;
  isOtherRunning = true;
  changed: () => void = () => {};

  constructor(
    segment: FakeVrrpSegment,
    name: Name,
    {
      clock,
      spec,
      addresses = [addressOf(ADDRESS_OF[name]), addressOf('10.90.0.100')],
    }: {
      readonly clock: Clock;
      readonly spec: ClusterSpec;
      readonly addresses?: readonly BoundAddress[];
    },
  ) {
    this.name = name;
    this.clock = clock;
    this.link = segment.link(name, clock);
    this.state = initialState(clock.now());
    this.desk = createVrrpDesk(directorId(name), {
      link: this.link,
      kernel: { addresses: async () => ok(addresses) },
      clock,
      log: silentLog,
      devices: new Map([['public', 'eth0']]),
      links: () => LINKS,
      election: () => this.state,
      isHeir: () => this.isHeir,
      isRunning: () => this.isOtherRunning,
      reportedBy: () => null,
      changed: () => this.changed(),
      heard: (from) => this.heard.push(from),
      announce: (group) => this.announced.push(group),
      tell: (news) => this.news.push(news),
    });
    this.running = this.desk.run(this.end.signal);
    this.desk.place(spec);
  }

  /** What the election says from now on; null: nothing of the group is here. */
  holds(holding: Holding | null, fields: Partial<ElectionState> = {}): void {
    const until = holding?.kind === 'open' ? holding.until : this.state.armedUntil;
    const holdings = new Map(holding === null ? [] : [[WEB, holding]]);
    this.state = { ...this.state, armedUntil: until, ...fields, holdings };
    this.desk.look();
  }

  get obstacle(): ReturnType<VrrpDesk['obstacle']> {
    return this.desk.obstacle(WEB);
  }
}

/** The instance of a router that is no director, told by unicast. */
export const foreignInstance = (): VrrpInstance => ({
  key: 'k',
  family: 4,
  routerId: 51,
  version: 3,
  device: 'eth0',
  source: K1,
  to: {
    kind: 'unicast',
    neighbours: Object.values(ADDRESS_OF).map((address) => ({ address, ttlMin: 0, ttlMax: 255 })),
  },
  intervalMs: INTERVAL_MS,
  addresses: [ip('10.90.0.100')],
  auth: { kind: 'none' },
  checksum: 'pseudo-header',
});

export type Told = { readonly from: string; readonly priority: number; readonly at: number };

/** A segment with one desk, and k1 that hears and says what the test wants. */
export class Bench {
  readonly clock = new FakeClock();
  readonly segment = new FakeVrrpSegment({ clock: this.clock, random: new SeededRandom(1) });
  readonly told: Told[] = [];
  readonly #k1 = this.segment.link('k1');
  readonly #end = new AbortController();
  readonly #hearing: Promise<void>;
  rig: DeskRig;

  constructor({ name = 'd1', group = {} }: { readonly name?: Name; readonly group?: object } = {}) {
    this.#k1.configure([foreignInstance()]);
    this.#hearing = this.#hear();
    this.rig = new DeskRig(this.segment, name, { clock: this.clock, spec: specOf(group) });
  }

  async #hear(): Promise<void> {
    for await (const { advert, at } of this.#k1.receive(this.#end.signal))
      this.told.push({ from: advert.source, priority: advert.priority, at });
  }

  get now(): number {
    return this.clock.now();
  }

  /** k1 says this now, and every interval for so long. */
  async foreign(priority: number, forMs = 1): Promise<void> {
    for (const until = this.now + forMs; this.now < until; ) {
      this.#k1.send('k', priority, null);
      await this.clock.advance(Math.min(INTERVAL_MS, until - this.now));
    }
  }

  /** The priorities that k1 was told since then. */
  prioritiesSince(at: number): readonly number[] {
    return this.told.filter((one) => one.at >= at).map(({ priority }) => priority);
  }

  async close(): Promise<void> {
    this.rig.end.abort();
    this.#end.abort();
    await this.clock.advance(10_000);
    await Promise.all([this.rig.running, this.#hearing]);
  }
}
