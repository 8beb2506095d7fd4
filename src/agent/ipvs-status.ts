/** What the status document says of the kernel's IPVS beside services: sync daemons, timeouts, marks, settings. */
import {
  equalDaemon,
  type SyncExplanation,
  type SyncReason,
} from '../core/desired/sync-daemons.ts';
import type { SyncReady, SyncReadyReason } from '../core/desired/sync-readiness.ts';
import type { ClusterSpec, VipGroup } from '../model/cluster.ts';
import type { GroupStatus, StatusDocument } from '../model/status.ts';
import type { SyncStatus } from '../model/status-ipvs.ts';
import type { MarkState } from './mark-loop.ts';
import type { ReconcileState } from './reconcile-state.ts';
import type { SysctlState } from './sysctl-keeper.ts';

export type IpvsStatusInput = {
  readonly spec: ClusterSpec | null;
  readonly reconcile: ReconcileState;
  readonly marks: MarkState | null;
  readonly sysctls: SysctlState | null;
  /** Metrics of each real server are exported up to so many. */
  readonly realServerLimit: number;
};

export function ipvsStatus(input: IpvsStatusInput): StatusDocument['ipvs'] {
  const { reconcile, sysctls, spec, realServerLimit: limit } = input;
  const { foreignDaemons, daemons, timeouts } = reconcile;
  const foreign = new Set(foreignDaemons.map(({ state }) => state));
  const realServers = countRealServers(spec);
  return {
    available: reconcile.available,
    detail: reconcile.problem ?? reconcile.detail,
    foreignServices: [...reconcile.foreign],
    lastReconcileMs: reconcile.lastReconcileMs,
    driftRepaired: reconcile.driftRepaired,
    timeouts,
    daemons:
      daemons?.map((daemon) => ({ ...daemon, isForeign: foreign.has(daemon.state) })) ?? null,
    problems: controlProblems(input),
    settings: (sysctls?.findings ?? []).map((finding) => ({ ...finding })),
    realServerSeries: { isExported: realServers <= limit, realServers, limit },
  };
}

export const countRealServers = (spec: ClusterSpec | null): number =>
  (spec?.services ?? []).reduce((sum, service) => sum + service.realServers.length, 0);

const controlProblems = ({ reconcile, marks }: IpvsStatusInput): string[] => [
  ...[...reconcile.controlProblems].map(([key, problem]) => `${key}: ${problem}`),
  ...(marks === null || marks.problem === null ? [] : [`firewall marks: ${marks.problem}`]),
];

/** What keeps something from working that the document asks for; advice is none. */
export const ipvsProblems = (input: IpvsStatusInput): readonly string[] => [
  ...controlProblems(input).map((problem) => `IPVS: ${problem}`),
  ...(input.sysctls?.findings ?? []).flatMap(({ severity, text }) =>
    severity === 'problem' ? [`kernel setting: ${text}`] : [],
  ),
];

/** Null: the group has no connection sync, or nothing was decided yet. */
export function syncStatus(group: VipGroup, reconcile: ReconcileState): SyncStatus | null {
  const explanation = reconcile.sync.get(group.id) ?? null;
  if (group.connectionSync === null || explanation === null) return null;
  const ready = reconcile.syncReady.get(group.id) ?? null;
  const { daemon } = explanation;
  const remainingMs = ready?.remainingMs ?? null;
  const isRunning =
    daemon !== null && (reconcile.daemons ?? []).some((one) => equalDaemon(daemon, one));
  return {
    why: explanation.why,
    detail: describeSync(explanation, ready, isRunning),
    daemon,
    isRunning,
    isReady: ready?.value ?? true,
    remainingMs: remainingMs === null ? null : Math.max(0, Math.round(remainingMs)),
  };
}

const WHY: Readonly<Record<SyncReason, string>> = {
  off: 'it has none',
  master: 'held here: its connections are told to the other directors',
  backup: 'held elsewhere: its connections are taken from there',
  'not-candidate': 'this director can never hold it, and takes none of its connections',
  'no-interface': 'agent.yaml maps no device to its interface: add it under interfaces',
  'mixed-families':
    'an IPv4 service has an IPv6 real server, or the reverse: the kernel syncs nothing then',
  differs:
    'another group held here needs the one daemon with another interface, address, port or length: make them equal',
  'backup-only':
    'this director serves another group, and with net.ipv4.vs.backup_only it would forward nothing while it listens: set that to 0',
};

const READY: Readonly<Record<SyncReadyReason, string | null>> = {
  'not-synced': null,
  held: null,
  'caught-up': 'it has caught up, the group may come here',
  'catching-up': 'it catches up before the group may come here',
  'no-daemon': 'the backup daemon does not run as wanted',
};

function describeSync(
  { why, daemon }: SyncExplanation,
  ready: SyncReady | null,
  isRunning: boolean,
): string {
  const isDead = daemon !== null && !isRunning && ready?.reason !== 'no-daemon';
  const parts = [
    WHY[why],
    isDead ? `the ${daemon.state} daemon does not run as wanted` : null,
    ready === null ? null : READY[ready.reason],
  ];
  return parts.filter((part) => part !== null).join('; ');
}

const FAULTS: readonly string[] = ['no-interface', 'mixed-families', 'differs', 'backup-only'];

/** Where connections would be cut at a failover that the document wants kept. */
export const syncProblem = ({ name, sync }: GroupStatus): readonly string[] =>
  sync !== undefined && FAULTS.includes(sync.why)
    ? [`group ${name}: its connections are not synced: ${sync.detail}`]
    : [];
