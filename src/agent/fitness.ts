/**
 * What this director could hold now, and how well: judged from its interfaces, its gate, its tracks,
 * VRRP and its IPVS table. The election and the report get the same answer.
 */
import type { ElectionEvent } from '../core/election/state.ts';
import { BONUS_MAX } from '../core/tracks/judge-tracks.ts';
import type { ClusterSpec, VipGroup, VirtualService } from '../model/cluster.ts';
import type { IneligibleReason } from '../model/decision.ts';
import type { DirectorId, GroupId } from '../model/ids.ts';
import { formatServiceKey, type GateKind, type IpvsTable } from '../model/kernel.ts';
import { VRRP_PRIORITY_OWNER } from '../model/vrrp.ts';
import type { GatewayWatch } from './gateway-watch.ts';
import { type InterfaceMap, judgeInterfaces, type Links } from './interfaces.ts';
import { LIFETIME_GATE_NEEDS } from './lifetime-gate.ts';
import type { MarkState } from './mark-loop.ts';
import type { ReconcileState } from './reconcile-state.ts';
import type { TrackLoop } from './track-loop.ts';
import type { VrrpDesk } from './vrrp-desk.ts';

export type FitnessInput = {
  readonly me: DirectorId;
  readonly spec: ClusterSpec | null;
  readonly devices: InterfaceMap;
  readonly links: Links;
  readonly hostProblems: readonly string[];
  /** Every other holder enforces the spec: a move of a VIP may be under way while not. */
  readonly isSpecSettled: boolean;
  readonly gateKind: GateKind;
  readonly tracks: Pick<TrackLoop, 'obstacle' | 'bonus' | 'isSettled'>;
  readonly reconcile: ReconcileState;
  /** Null: no firewall mark is written here. */
  readonly marks: Pick<MarkState, 'problems'> | null;
  readonly gateway: Pick<GatewayWatch, 'bonus' | 'isSettled'>;
  readonly holds: (group: GroupId) => boolean;
  /** Null: nothing of VRRP is said or heard. */
  readonly vrrp: Pick<VrrpDesk, 'obstacle'> | null;
};

export type Eligibility = Extract<ElectionEvent, { readonly kind: 'eligibility' }>;

export function deriveEligibility(input: FitnessInput): Eligibility {
  const groups = new Map<GroupId, IneligibleReason | null>();
  const ready = new Set<GroupId>();
  const bonus = new Map<GroupId, number>();
  const unready = unreadyGroups(input);
  for (const group of input.spec?.groups ?? []) {
    const obstacle = obstacleOf(input, group);
    // Of a group that nobody else holds the election takes no notice of this.
    const isBehind = obstacle === null && isAwaited(group, input.reconcile);
    groups.set(group.id, isBehind ? 'sync-catching-up' : obstacle);
    // Tracks that nobody has looked at yet say nothing of how well it would go.
    if (obstacle === null && !unready.has(group.id) && isSettled(input, group)) ready.add(group.id);
    const sum = bonusOf(input, group);
    if (sum !== 0) bonus.set(group.id, sum);
  }
  return { kind: 'eligibility', groups, ready, bonus };
}

/** Before the kernel was looked at nobody knows that its connections are here. */
const isAwaited = (
  { id, connectionSync }: VipGroup,
  { syncAwaited, syncReady }: Pick<ReconcileState, 'syncAwaited' | 'syncReady'>,
): boolean => syncAwaited.has(id) || (connectionSync !== null && !syncReady.has(id));

const isSettled = ({ tracks, gateway }: FitnessInput, { id }: VipGroup): boolean =>
  tracks.isSettled(id) && gateway.isSettled();

/**
 * Kept within what a report may say; beyond it no sum changes the order. Weights do not move the owner's priority, as
 * in keepalived; a lost gateway does.
 */
function bonusOf({ me, tracks, gateway, holds }: FitnessInput, group: VipGroup): number {
  const { id, priorities } = group;
  const weights = priorities?.get(me) === VRRP_PRIORITY_OWNER ? 0 : tracks.bonus(id);
  const sum = weights + gateway.bonus(holds(id) ? 'holder' : 'candidate');
  return Math.max(-BONUS_MAX, Math.min(BONUS_MAX, sum));
}

export function isSameEligibility(a: Eligibility, b: Eligibility): boolean {
  return (
    a.groups.size === b.groups.size &&
    a.ready.size === b.ready.size &&
    a.bonus.size === b.bonus.size &&
    [...a.groups].every(([group, obstacle]) => b.groups.get(group) === obstacle) &&
    [...a.ready].every((group) => b.ready.has(group)) &&
    [...a.bonus].every(([group, sum]) => b.bonus.get(group) === sum)
  );
}

/** What the gate of this kernel asks of the timing (design 4.4). */
export function gateNeedsOf(kind: GateKind): {
  readonly minHoldMs: number;
  readonly slackMs: number;
} {
  return kind === 'address-lifetime' ? LIFETIME_GATE_NEEDS : { minHoldMs: 0, slackMs: 0 };
}

function obstacleOf(input: FitnessInput, group: VipGroup): IneligibleReason | null {
  if (input.hostProblems.length > 0) return 'cannot-bind';
  if (isGateTooCoarse(input)) return 'gate-too-coarse';
  if (!input.isSpecSettled) return 'starting';
  const { obstacle } = judgeInterfaces(group, input.devices, input.links);
  return obstacle ?? input.tracks.obstacle(group.id) ?? input.vrrp?.obstacle(group.id) ?? null;
}

export function isGateTooCoarse({
  spec,
  gateKind,
}: Pick<FitnessInput, 'spec' | 'gateKind'>): boolean {
  return spec !== null && spec.timing.holdMs < gateNeedsOf(gateKind).minHoldMs;
}

/**
 * Groups with a service that the last pass of reconcile did not leave as wanted, or whose packets get no
 * mark. What a cold standby has not yet is none of them: it comes when the group does.
 */
function unreadyGroups({ spec, reconcile, marks }: FitnessInput): ReadonlySet<GroupId> {
  const services = spec?.services ?? [];
  const isDone = reconcile.problem === null && reconcile.lastReconcileAt !== null;
  const inKernel = reconcile.table === null ? NO_NAMES : namesIn(reconcile.table);
  const isHere = ({ id }: VirtualService): boolean =>
    spec?.ipvs.standby !== 'cold' || reconcile.serviceExplanations.get(id)?.isHere !== false;
  const isComplete = (service: VirtualService, key: string): boolean =>
    isDone && (inKernel.has(key) || !isHere(service)) && !reconcile.problems.has(key);
  return new Set(
    services
      .filter(
        (service) =>
          marks?.problems.has(service.id) === true ||
          !namesOf(service).every((name) => isComplete(service, name)),
      )
      .map((service) => service.group),
  );
}

const NO_NAMES: ReadonlySet<string> = new Set();

// Asked many times a second, of the same tables and services, of which there may be thousands.
const tableNames = new WeakMap<IpvsTable, ReadonlySet<string>>();
const serviceNames = new WeakMap<VirtualService, readonly string[]>();

function namesIn(table: IpvsTable): ReadonlySet<string> {
  const known = tableNames.get(table);
  if (known !== undefined) return known;
  const names = new Set(table.services.map(({ key }) => formatServiceKey(key)));
  tableNames.set(table, names);
  return names;
}

function namesOf(service: VirtualService): readonly string[] {
  const known = serviceNames.get(service);
  if (known !== undefined) return known;
  const names = service.keys.map(formatServiceKey);
  serviceNames.set(service, names);
  return names;
}
