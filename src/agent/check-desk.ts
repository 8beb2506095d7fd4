/** This director's part in checking real servers: who runs which check, and what the votes say. */
import { leavesOf } from '../core/health/compound.ts';
import { deriveUses, type Duties } from '../core/health/duties.ts';
import {
  checkOnDirector,
  type LookOrigin,
  lookOrigin,
  vipCheckOnDirector,
} from '../core/health/origin.ts';
import { othersNeedMs } from '../core/health/patience.ts';
import { createPace, runPaced, runSteps } from '../lib/steps.ts';
import type { CheckId, DirectorId, GroupId, MonoMs } from '../model/ids.ts';
import type { Vote, VoteEvidence } from '../model/health.ts';
import type { Keys } from '../model/keys.ts';
import type { HealthReading } from '../ports/service-reading.ts';
import { formatRecord, type VoteRecord } from '../model/records.ts';
import type { AgentParts, AgentPorts } from './agent-parts.ts';
import { livingOf, votesOf } from './health-desk.ts';
import { createProbeLoop, type ProbeLoop, SEEN_MAX } from './probe-loop.ts';
import type { ReconcileInput } from './reconcile-loop.ts';
import { isStoreConnected } from './status-desk.ts';
import { StatusKeeper } from './status-keeper.ts';
import type { StatusChange } from './vote-book.ts';
import type { KnownStatuses } from '../ports/status-ledger.ts';

type Ports = Pick<AgentPorts, 'prober' | 'clock' | 'log' | 'metrics' | 'store' | 'statuses'>;

/** So many are counted, or given out, in a few milliseconds; where there are more, one lot after the other. */
const AT_ONCE = 2000;
/** Of more that changed together the log has one line. */
const TOLD_MAX = 50;

/**
 * So long after etcd is back, what was found alone still stands: until then the votes in the store may be those of
 * before, and all directors write what they have seen meanwhile.
 */
const SETTLE_MS = 3000;

const NOBODY: ReadonlySet<CheckId> = new Set();

export class CheckDesk {
  readonly #me: DirectorId;
  readonly #keys: Keys;
  readonly #devices: ReadonlyMap<string, string>;
  readonly #ports: Ports;
  readonly #parts: AgentParts;
  readonly #probes: ProbeLoop;
  /** Null: nothing is kept on this machine. */
  readonly #keeper: StatusKeeper | null;
  /** Null: it has been said, or nothing is kept. */
  #known: KnownStatuses | null = null;
  #hasAdopted = false;
  /** What the duties were derived from; null: nothing yet. */
  #basis: string | null = null;
  #own = NOBODY;
  #lookOrigin: LookOrigin | null = null;
  #isAlone = false;
  /** When etcd answered again; null: it has not. */
  #backAt: MonoMs | null = null;
  /** What this director had said against the cluster's verdict before it was alone: it stays overruled. */
  readonly #dissent = new Map<CheckId, boolean>();
  /** Groups that it has held since it is alone: what it finds counts for them, though it may have given them away. */
  readonly #lonely = new Set<GroupId>();
  /** What stands by this director's word alone. */
  #alone = new Map<CheckId, boolean>();
  /** Checks that this director has voted on since its probes were read last, while it is alone. */
  readonly #voted = new Set<CheckId>();
  /** When verdicts changed, by the wall clock. */
  readonly #changedAt = new Map<CheckId, number>();
  #isTooMany = false;
  /** Still to be counted. */
  readonly #due = new Set<CheckId>();
  #isCounting = false;

  constructor(
    options: {
      readonly me: DirectorId;
      readonly keys: Keys;
      /** By logical name of the interface. */
      readonly devices: ReadonlyMap<string, string>;
    },
    ports: Ports,
    parts: AgentParts,
  ) {
    this.#me = options.me;
    this.#keys = options.keys;
    this.#devices = options.devices;
    this.#ports = ports;
    this.#parts = parts;
    const { prober, statuses, clock, log, metrics } = ports;
    this.#keeper =
      statuses === undefined ? null : new StatusKeeper({ ledger: statuses, clock, log });
    this.#probes = createProbeLoop(
      { me: options.me },
      { prober, clock, log, metrics, publish: (check, vote) => this.#publish(check, vote) },
    );
  }

  async run(signal: AbortSignal): Promise<void> {
    await this.#probes.run(signal);
    await this.#keeper?.end();
  }

  /** Before the store is looked at: what an earlier life knew. */
  async recall(): Promise<void> {
    if (this.#keeper !== null) this.#known = await this.#keeper.load();
  }

  /** Before the checks of the first document are looked at: once. */
  sayKnown(): void {
    if (this.#known === null) return;
    this.#parts.desk.recall(this.#known, this.#parts.records.votes);
    this.#known = null;
  }

  /** What this director saw last of a check that it runs; oldest first. */
  seen(check: CheckId): ReturnType<ProbeLoop['seen']> {
    return this.#probes.seen(check);
  }

  /** What the first snapshot of the store says of checks that this director goes on with. */
  adopt(): void {
    if (this.#hasAdopted) return;
    this.#hasAdopted = true;
    this.#probes.adopt(votesOf(this.#me, this.#parts.records.votes));
  }

  /** Time goes on: who is alive, what is held here and whether etcd answers may have changed. */
  look(): void {
    this.#lookForStore();
    const { desk } = this.#parts;
    if (desk.setLiving(this.#living())) this.#count(desk.checks().alphaByCheck.keys());
    else this.#count(desk.overdue());
    this.assign();
  }

  /**
   * Counts the votes on some checks, or on all. Who is alive is looked at with all, and by `look`: a hundred
   * directors that come together must not have everything counted a hundred times.
   */
  count(due: ReadonlySet<CheckId> | 'all'): void {
    const { desk, specs } = this.#parts;
    if (specs.spec() !== null) this.sayKnown();
    if (due === 'all') desk.setLiving(this.#living());
    this.#count(due === 'all' ? desk.checks().alphaByCheck.keys() : due);
  }

  #count(due: Iterable<CheckId>): void {
    for (const check of due) this.#due.add(check);
    if (!this.#isCounting) this.#countSome();
  }

  #countSome(): void {
    const { desk, records, specs, reconcile } = this.#parts;
    const lot = new Set<CheckId>();
    for (const check of this.#due) {
      if (lot.size === AT_ONCE) break;
      lot.add(check);
    }
    if (lot.size === 0) return;
    for (const check of lot) this.#due.delete(check);
    const weights = desk.dynamicWeights();
    this.#tell(desk.count(records.votes, lot));
    if (desk.dynamicWeights() !== weights) reconcile.wake();
    this.#isCounting = this.#due.size > 0;
    if (this.#isCounting)
      this.#ports.clock.schedule(0, () => {
        this.#isCounting = false;
        this.#countSome();
      });
    // Without a document there are no checks, and what is known of them stays on disk.
    else if (specs.spec() !== null) this.#keeper?.look(() => desk.statuses());
  }

  #tell(changes: readonly StatusChange[]): void {
    if (changes.length === 0) return;
    const { log, clock } = this.#ports;
    const isMany = changes.length > TOLD_MAX;
    const at = clock.wallMs();
    for (const { check, previous, current } of changes) {
      log[isMany ? 'debug' : 'info']({ check, ...current }, 'check.decided');
      if (previous === null || previous.basis === 'initial' || previous.isUp !== current.isUp)
        this.#changedAt.set(check, at);
    }
    const up = changes.filter(({ current }) => current.isUp).length;
    if (isMany) log.info({ up, down: changes.length - up }, 'checks.decided');
    this.#parts.reconcile.wake();
  }

  /** Those that are alive share the checks; where there are very many, that takes a while. */
  assign(): void {
    const { specs, desk, records } = this.#parts;
    if (specs.spec() === null) return;
    const { alive } = this.#living();
    const held = this.#held();
    const basis = this.#basisOf(alive, held);
    if (basis === this.#basis) return;
    this.#basis = basis;
    const { checks, alphaByCheck } = desk.checks();
    for (const check of this.#changedAt.keys())
      if (!alphaByCheck.has(check)) this.#changedAt.delete(check);
    const { overrides } = records;
    const director = { me: this.#me, held, isAlone: this.#isAlone, overrides };
    const steps = desk.dutySteps(director, alive);
    if (checks.length <= AT_ONCE) {
      this.#take(runSteps(steps));
      return;
    }
    void runPaced(steps, createPace(this.#ports.clock)).then((duties) => {
      if (this.#basis === basis) this.#take(duties);
    });
  }

  /** What duties follow, as a text; a group that comes or goes is no reason to look through all checks. */
  #basisOf(alive: readonly DirectorId[], held: ReadonlySet<GroupId>): string {
    const { specs, desk, records } = this.#parts;
    const follow = desk.dutiesFollow();
    const groups = this.#isAlone || follow.holders ? [...held] : [];
    const overrides = follow.overrides ? records.overrides : [];
    const resting = overrides.map(({ service, realServer, state }) => [service, realServer, state]);
    return JSON.stringify([specs.accepted(), alive, groups, this.#isAlone, resting]);
  }

  #take(duties: Duties): void {
    const { desk, specs } = this.#parts;
    this.#tellLimit(duties);
    const before = this.#own;
    this.#own = duties.own;
    const spec = specs.spec();
    this.#lookOrigin = spec === null ? null : lookOrigin(this.#me, spec, this.#lookOrigin);
    const checks = duties.checks.flatMap(
      (one) =>
        vipCheckOnDirector(checkOnDirector(one, this.#me, this.#devices), this.#lookOrigin) ?? [],
    );
    this.#probes.setAssignments(checks, desk.statuses());
    // What was this director's alone is for all now.
    for (const check of before) {
      const vote = this.#probes.currentVotes().get(check);
      if (!duties.own.has(check) && vote !== undefined) this.#publish(check, vote);
    }
    this.#judgeAlone();
  }

  /** What the metrics tell of a real server, by `realServerKey`; null: it is not checked. */
  health(realServer: string): HealthReading | null {
    const { desk } = this.#parts;
    const root = desk.checks().byRealServer.get(realServer);
    const status = root === undefined ? undefined : desk.statuses().get(root);
    if (root === undefined || status === undefined) return null;
    const leaves = leavesOf(root, desk.checks().compounds);
    const times = leaves.flatMap((check) => this.#changedAt.get(check) ?? []);
    const { votesUp, votesDown } = status;
    return { votesUp, votesDown, changedAtMs: times.length === 0 ? null : Math.max(...times) };
  }

  /** What keeps checks from being made, or as often as they should be, in words; null: nothing. */
  problem(): string | null {
    const { prober } = this.#ports;
    if (!this.#isTooMany) {
      const problem = prober.problem?.() ?? null;
      return problem === null ? null : `this director cannot make some of its checks: ${problem}`;
    }
    const { limit } = prober;
    return `this director runs more checks than it may have sockets at once (${limit}): with all targets silent they are checked less often; raise LimitNOFILE of the service, or add directors`;
  }

  #publish(check: CheckId, vote: Vote | null): void {
    if (this.#isAlone && vote !== null) this.#judgeSoon(check);
    if (this.#own.has(check)) return;
    const key = this.#keys.vote(check, this.#me);
    const { directorLease } = this.#parts;
    if (vote === null) return directorLease.publish(key, null);
    directorLease.publish(key, formatRecord(voteRecord(vote)));
  }

  /** Whether etcd answers; without it for a while, what this director finds counts for the groups it holds. */
  #lookForStore(): void {
    const { clock, store, log } = this.#ports;
    const now = clock.now();
    // Who holds nothing asks etcd now and then only.
    const isConcerned = this.#held().size > 0 && this.#parts.desk.checks().checks.length > 0;
    const hasAnswered = store.health().lastAnswerAt !== null;
    // What counts by its word alone does so until it has heard the others again.
    const isWaiting = isConcerned || (this.#isAlone && this.#backAt === null);
    const isAway = isWaiting && hasAnswered && !isStoreConnected(store, now);
    if (isAway) this.#backAt = null;
    else if (this.#isAlone) this.#backAt ??= now;
    const isAlone = isAway || (this.#backAt !== null && now - this.#backAt < SETTLE_MS);
    if (isAlone === this.#isAlone) return;
    this.#isAlone = isAlone;
    this.#backAt = null;
    this.#dissent.clear();
    this.#lonely.clear();
    if (isAlone) this.#lookForDissent(store.health().lastAnswerAt ?? now);
    log.warn({ groups: [...this.#held()] }, isAlone ? 'checks.alone' : 'checks.shared');
    if (!isAlone) this.#judgeAlone();
  }

  /** What was found as late as etcd fell silent nobody has weighed: that is news, and no dissent. */
  #lookForDissent(answeredAt: MonoMs): void {
    const { desk } = this.#parts;
    const statuses = desk.statuses();
    for (const { id, spec } of desk.checks().checks) {
      const isUp = this.#probes.currentVotes().get(id)?.isUp;
      if (isUp === undefined || statuses.get(id)?.isUp !== !isUp) continue;
      if (answeredAt - this.#seenSince(id, isUp) > othersNeedMs(spec)) this.#dissent.set(id, isUp);
    }
  }

  /** Since when this director has seen nothing else; `-Infinity`: for longer than it remembers. */
  #seenSince(check: CheckId, isUp: boolean): number {
    const runs = this.#probes.seen(check)?.runs ?? [];
    const others = runs.findLastIndex(({ said }) => said.isUp !== isUp);
    const first = runs[others + 1];
    if (first === undefined || (others < 0 && runs.length === SEEN_MAX)) return -Infinity;
    return first.firstAt;
  }

  /** Sets what has been found here against the cluster's verdicts, or takes that back. */
  #judgeAlone(): void {
    const before = this.#alone;
    this.#alone = new Map(this.#isAlone ? before : []);
    if (this.#isAlone) this.#judgeAll(this.#probes.currentVotes().keys());
    const changed = new Set<CheckId>();
    for (const [check, isUp] of this.#alone) if (before.get(check) !== isUp) changed.add(check);
    for (const check of before.keys()) if (!this.#alone.has(check)) changed.add(check);
    this.#parts.desk.judgeAlone(this.#alone);
    this.#count(changed);
  }

  #judgeAll(checks: Iterable<CheckId>): void {
    for (const group of this.#held()) this.#lonely.add(group);
    for (const check of checks) this.#judge(check);
  }

  #judge(check: CheckId): void {
    const spec = this.#parts.specs.spec();
    const isUp = this.#probes.currentVotes().get(check)?.isUp;
    if (spec === null || isUp === undefined || this.#dissent.get(check) === isUp) return;
    this.#dissent.delete(check);
    for (const group of deriveUses(spec).get(check)?.groups ?? [])
      if (this.#lonely.has(group)) this.#alone.set(check, isUp);
  }

  /** Thousands may change their mind at once: they are counted together, when the probes of now are all read. */
  #judgeSoon(check: CheckId): void {
    if (this.#voted.size === 0)
      queueMicrotask(() => {
        const voted = new Set(this.#voted);
        this.#voted.clear();
        if (!this.#isAlone) return;
        this.#judgeAll(voted);
        this.#count(voted);
      });
    this.#voted.add(check);
  }

  #held(): ReadonlySet<GroupId> {
    const held = new Set<GroupId>();
    for (const [group, { kind }] of this.#parts.hold.state().holdings)
      if (kind === 'open') held.add(group);
    return held;
  }

  #tellLimit({ checks }: Duties): void {
    const { prober, log } = this.#ports;
    const isTooMany = checks.length > (prober.limit ?? Infinity);
    if (isTooMany && !this.#isTooMany)
      log.error({ checks: checks.length, limit: prober.limit }, 'checks.too-many');
    this.#isTooMany = isTooMany;
  }

  #living(): ReturnType<typeof livingOf> {
    const { specs, records, hold } = this.#parts;
    const { reports } = records;
    const { sessions } = hold.state().view;
    return livingOf(this.#me, specs.spec(), { reports, sessions }, this.#ports.clock.now());
  }
}

const voteRecord = ({ isUp, since, detail, weight = null, seen }: Vote): VoteRecord => ({
  v: 1,
  up: isUp,
  since,
  detail,
  ...(weight === null ? {} : { weight }),
  ...(seen === undefined ? {} : { seen: seen.map((one) => ({ up: one.isUp, ...pickSeen(one) })) }),
});

const pickSeen = ({ detail, times, latencyMs }: VoteEvidence) => ({ detail, times, ms: latencyMs });

/** What the IPVS table is derived from; null: no usable spec. */
export function desiredInput({
  specs,
  desk,
  records,
}: Pick<AgentParts, 'specs' | 'desk' | 'records'>): ReconcileInput | null {
  const spec = specs.spec();
  if (spec === null) return null;
  return {
    spec,
    checks: desk.checks().byRealServer,
    overrides: records.overrides,
    statuses: desk.statuses(),
  };
}
