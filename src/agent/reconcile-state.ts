/** What the reconcile loop tells of this director's IPVS: to status, the API, metrics and the election. */
import {
  type Desired,
  type Explanation,
  NOTHING_DESIRED,
  type ServiceExplanation,
} from '../core/desired/desired-state.ts';
import type { SyncExplanation } from '../core/desired/sync-daemons.ts';
import type { SyncReady } from '../core/desired/sync-readiness.ts';
import { type Drains, NO_DRAINS } from '../core/service/drain.ts';
import type { GroupId, MonoMs, ServiceId } from '../model/ids.ts';
import type { IpvsDaemon, IpvsTable, IpvsTimeouts } from '../model/kernel.ts';

/** How problems beside the table are keyed: timeouts, and the sync daemon of either state. */
export const CONTROL_KEYS = ['timeouts', 'sync master', 'sync backup'] as const;
export type ControlKey = (typeof CONTROL_KEYS)[number];

export type ReconcileState = {
  readonly available: boolean;
  readonly detail: string;
  /** What keeps the loop as a whole from its work: the dump, the ledger; null where nothing. */
  readonly problem: string | null;
  /** By service key: what is wrong with single services. */
  readonly problems: ReadonlyMap<string, string>;
  /** What is wrong beside the table, each with its remedy where there is one. */
  readonly controlProblems: ReadonlyMap<ControlKey, string>;
  /** Keys of services that are somebody else's. */
  readonly foreign: readonly string[];
  /** Sync daemons that somebody else runs and nobody here wants. */
  readonly foreignDaemons: readonly IpvsDaemon[];
  /** How long the last complete pass took; null before the first. */
  readonly lastReconcileMs: number | null;
  readonly lastReconcileAt: MonoMs | null;
  /** Services, destinations, daemons and timeouts repaired since the start. */
  readonly driftRepaired: number;
  /** As last dumped; null before, and where ip_vs is missing. */
  readonly table: IpvsTable | null;
  /** As last dumped; null: not known, for example because this kernel does not tell. */
  readonly daemons: readonly IpvsDaemon[] | null;
  readonly timeouts: IpvsTimeouts | null;
  /** By `realServerKey`. */
  readonly explanations: ReadonlyMap<string, Explanation>;
  readonly serviceExplanations: ReadonlyMap<ServiceId, ServiceExplanation>;
  readonly sorryActive: ReadonlySet<ServiceId>;
  /** As decided last. */
  readonly quorums: ReadonlyMap<ServiceId, boolean>;
  /** Real servers on their way out, each with what is left of its connections. */
  readonly drains: Drains;
  /** The time of this state on the clock of `drains` and of every drain's `sinceMs` and `deadlineAtMs`. */
  readonly drainNowMs: number;
  /** What connection sync does for each group of the spec, or why it does nothing. */
  readonly sync: ReadonlyMap<GroupId, SyncExplanation>;
  /** Of the groups with connection sync: whether they may come here as far as their connections go. */
  readonly syncReady: ReadonlyMap<GroupId, SyncReady>;
  /** Those of them that wait for it: another director's as long as that one lives. */
  readonly syncAwaited: ReadonlySet<GroupId>;
};

type DesiredPart = 'explanations' | 'serviceExplanations' | 'sorryActive' | 'quorums';

export const desiredPartOf = (desired: Desired | null): Pick<ReconcileState, DesiredPart> => {
  const { explanations, serviceExplanations, sorryActive, quorums } = desired ?? NOTHING_DESIRED;
  return { explanations, serviceExplanations, sorryActive, quorums };
};

/** Before the first pass. */
export const NOTHING_RECONCILED: ReconcileState = {
  available: false,
  detail: 'not asked yet',
  problem: null,
  problems: new Map(),
  controlProblems: new Map(),
  foreign: [],
  foreignDaemons: [],
  lastReconcileMs: null,
  lastReconcileAt: null,
  driftRepaired: 0,
  table: null,
  daemons: null,
  timeouts: null,
  ...desiredPartOf(null),
  drains: NO_DRAINS,
  drainNowMs: 0,
  sync: new Map(),
  syncReady: new Map(),
  syncAwaited: new Set(),
};
