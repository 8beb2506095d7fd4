/**
 * What becomes of one virtual service: the weight of each real server, quorum, fail-open, sorry server.
 * Levels in, levels out: only the quorum's hysteresis needs to know what was decided before.
 *
 * Order of precedence: an operator's word; fail-open; the sorry server; health. Fail-open goes before the
 * sorry server, because where the checks are not believed they must not take the real servers away either.
 */
import type { RealServer, VirtualService } from '../../model/cluster.ts';
import type {
  AdminState,
  CheckStatus,
  DynamicWeight,
  RealServerOverride,
} from '../../model/health.ts';
import type { CheckId } from '../../model/ids.ts';
import { realServerKey } from '../health/checks.ts';
import type { DrainProgress, Explanation, SorryState, WeightReason } from './explanation.ts';
import { decideFailOpen, type FailOpenDecision } from './fail-open.ts';
import { isOwnTarget, type OwnStandby, type StandbyStage } from './own-standby.ts';
import { decideQuorum, type QuorumDecision } from './quorum.ts';
import { deriveWeight, type WeightSteps } from './weight.ts';

export type ServiceFacts = {
  /** By `realServerKey`; without an entry a real server is unchecked. */
  readonly checks: ReadonlyMap<string, CheckId>;
  readonly statuses: ReadonlyMap<CheckId, CheckStatus>;
  /** By `realServerKey`. */
  readonly overrides: ReadonlyMap<string, RealServerOverride>;
  readonly dynamicWeights: ReadonlyMap<CheckId, DynamicWeight>;
  /** Since when a check is up, on the clock of `nowMs`; none: not known, and no slow start. */
  readonly upSince: ReadonlyMap<CheckId, number>;
  readonly nowMs: number;
  /** By `realServerKey`: drains that an operator asked for. */
  readonly drains: ReadonlyMap<string, DrainProgress>;
  readonly wasUp: boolean | null;
  /** False: a cold standby for its group. */
  readonly isHere: boolean;
  /** Null: as on any director. */
  readonly standby: OwnStandby | null;
  /** Indices of real servers whose address and port, or whose whole service, stand earlier in the spec. */
  readonly duplicates: ReadonlySet<number>;
};

export type ServiceDecision = {
  /** One for each real server, in the order of the spec. */
  readonly explanations: readonly Explanation[];
  readonly quorum: QuorumDecision;
  readonly failOpen: FailOpenDecision;
  readonly sorry: SorryState;
  /** False: a cold standby for its group. */
  readonly isHere: boolean;
  readonly standby: StandbyStage | null;
  /** Until time alone changes a weight; null: never. */
  readonly nextInMs: number | null;
};

export function decideService(service: VirtualService, facts: ServiceFacts): ServiceDecision {
  const judged = service.realServers.map((server, i) => judge(service, server, i, facts));
  const counted = judged.filter(({ isDuplicate }) => !isDuplicate);
  const isReady = ({ admin }: Judged): boolean => admin === 'ready';
  const isAlive = ({ health }: Judged): boolean => health !== 'down';
  const ready = counted.filter(isReady);
  const quorum = decideQuorum(
    service.quorum,
    {
      // Without the ramp: else who comes back would wait for itself, out of the table.
      live: sumFull(ready.filter(isAlive)),
      total: counted.reduce((sum, { weight }) => sum + weight.configured, 0),
    },
    facts.wasUp,
  );
  const failOpen = decideFailOpen(service.failOpenPercent, {
    up: sumFull(ready.filter(isAlive)),
    down: sumFull(ready.filter(isVotedDown)),
  });
  const { isHere, standby } = facts;
  const sorry = decideSorry(service, { quorum, failOpen, isHere: isHere && standby === null });
  const isSorry = sorry === 'answering';
  const explanations = judged.map((one): Explanation => {
    const drain = one.admin === 'drain' ? (facts.drains.get(one.id) ?? null) : null;
    const shared = decideReason(one, { isHere, failOpen, isSorry, drain });
    const why = standby === null ? shared : onStandby(one, shared, standby);
    const { server, health, basis, admin, weight, fullAtMs } = one;
    return {
      service: service.id,
      realServer: server.id,
      wantedWeight: standby === null ? wantedOf(why, weight) : standbyWeight(why, shared, standby),
      why,
      health,
      basis,
      admin,
      weight,
      fullAtMs: why === 'slow-start' ? fullAtMs : null,
      drain,
    };
  });
  const nextInMs = minOf(judged.map((one) => one.nextInMs));
  const stage = standby?.stage ?? null;
  return { explanations, quorum, failOpen, sorry, isHere, standby: stage, nextInMs };
}

type Health = Pick<Explanation, 'health' | 'basis'>;

const UNCHECKED: Health = { health: 'unchecked', basis: 'unchecked' };

/** What a real server is taken for; status null: checked, and nothing is known yet. */
export function deriveHealth(
  server: Pick<RealServer, 'alpha'>,
  status: CheckStatus | 'unchecked' | null,
): Health {
  if (status === 'unchecked') return UNCHECKED;
  // Before the first vote each real server has its own view, also where two share the check.
  if (status === null || status.basis === 'initial')
    return { health: server.alpha ? 'down' : 'up', basis: 'initial' };
  return { health: status.isUp ? 'up' : 'down', basis: status.basis };
}

type Judged = Health & {
  readonly id: string;
  readonly server: RealServer;
  readonly admin: AdminState;
  readonly isDuplicate: boolean;
  readonly weight: WeightSteps;
  readonly fullAtMs: number | null;
  readonly nextInMs: number | null;
};

function judge(
  service: VirtualService,
  server: RealServer,
  index: number,
  facts: ServiceFacts,
): Judged {
  const id = realServerKey(service.id, server.id);
  const check = facts.checks.get(id) ?? null;
  const status = check === null ? 'unchecked' : (facts.statuses.get(check) ?? null);
  const { health, basis } = deriveHealth(server, status);
  const override = facts.overrides.get(id) ?? null;
  const isVotedUp = health === 'up' && basis !== 'initial';
  const since = check === null || !isVotedUp ? null : (facts.upSince.get(check) ?? null);
  const { nextInMs, ...weight } = deriveWeight({
    configured: server.weight,
    override: override?.weight ?? null,
    source: service.weightSource,
    dynamic: check === null ? null : (facts.dynamicWeights.get(check) ?? null),
    slowStartMs: service.slowStartMs,
    upForMs: since === null ? null : facts.nowMs - since,
  });
  const admin = override?.state ?? 'ready';
  const isDuplicate = facts.duplicates.has(index);
  // A beginning that another clock puts into the future is now.
  const fullAtMs = since === null ? null : Math.min(since, facts.nowMs) + service.slowStartMs;
  return { id, server, health, basis, admin, isDuplicate, weight, fullAtMs, nextInMs };
}

const isVotedDown = ({ health, basis }: Judged): boolean =>
  health === 'down' && basis !== 'initial';

const sumFull = (list: readonly Judged[]): number =>
  list.reduce((sum, { weight }) => sum + weight.full, 0);

function decideSorry(
  { sorryServer }: VirtualService,
  facts: {
    readonly quorum: QuorumDecision;
    readonly failOpen: FailOpenDecision;
    readonly isHere: boolean;
  },
): SorryState {
  if (sorryServer === null) return 'none';
  if (!facts.isHere) return 'elsewhere';
  if (facts.quorum.isUp) return sorryServer.inhibit ? 'inhibited' : 'idle';
  return facts.failOpen.isOpen ? 'held-back' : 'answering';
}

type ReasonFacts = {
  readonly isHere: boolean;
  readonly failOpen: FailOpenDecision;
  readonly isSorry: boolean;
  readonly drain: DrainProgress | null;
};

function decideReason(one: Judged, facts: ReasonFacts): WeightReason {
  const { server, admin, weight } = one;
  if (one.isDuplicate) return 'duplicate';
  if (!facts.isHere) return 'standby-cold';
  if (admin === 'maint') return 'admin-maint';
  const isTrusted = facts.failOpen.isOpen && isVotedDown(one);
  if (one.health === 'down' && !isTrusted)
    return server.inhibitOnFailure ? 'down-inhibited' : 'down-removed';
  if (admin === 'drain')
    return facts.drain === null || facts.drain.end === null ? 'admin-drain' : 'drained';
  if (isTrusted) return 'fail-open';
  // Without a weight it takes no new connections beside the sorry server, and keeps those it has.
  if (facts.isSorry && weight.full > 0)
    return server.inhibitOnFailure ? 'sorry-inhibited' : 'sorry-removed';
  if (weight.ramped < weight.full) return 'slow-start';
  return one.health === 'unchecked' ? 'unchecked' : 'up';
}

function wantedOf(why: WeightReason, weight: WeightSteps): number | null {
  switch (why) {
    case 'up':
    case 'unchecked':
    case 'slow-start':
      return weight.ramped;
    case 'fail-open':
      return weight.full;
    case 'down-inhibited':
    case 'sorry-inhibited':
    case 'admin-drain':
      return 0;
    case 'down-removed':
    case 'sorry-removed':
    case 'drained':
    case 'admin-maint':
    case 'standby-cold':
    case 'standby-own':
    case 'standby-waits':
    case 'duplicate':
      return null;
  }
}

function onStandby(
  { server }: Judged,
  shared: WeightReason,
  { addresses }: OwnStandby,
): WeightReason {
  if (shared === 'duplicate') return shared;
  return isOwnTarget(server, addresses) ? 'standby-own' : 'standby-waits';
}

/** Itself takes whatever comes: the holder has judged it already. */
function standbyWeight(
  why: WeightReason,
  shared: WeightReason,
  { stage }: OwnStandby,
): number | null {
  if (why === 'standby-own') return 1;
  return stage === 'ready' && TAKING.has(shared) ? 0 : null;
}

/** Those whose connections go on. */
const TAKING: ReadonlySet<WeightReason> = new Set([
  'up',
  'unchecked',
  'slow-start',
  'fail-open',
  'down-inhibited',
  'sorry-inhibited',
  'admin-drain',
]);

const minOf = (list: readonly (number | null)[]): number | null =>
  list.reduce((least, one) => {
    if (one === null || least === null) return least ?? one;
    return Math.min(least, one);
  }, null);
