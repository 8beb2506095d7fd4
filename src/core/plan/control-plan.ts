/**
 * What is beside the table: sync daemons and timeouts, from what is wanted and what the kernel has to the
 * operations between them. A daemon that the ledger does not know and nobody wants is somebody else's.
 */
import { runSteps } from '../../lib/steps.ts';
import type { IpvsTimeoutSpec } from '../../model/cluster.ts';
import type {
  IpvsControlOperation,
  IpvsDaemon,
  IpvsOperation,
  IpvsTimeouts,
} from '../../model/kernel.ts';
import { equalDaemon } from '../desired/sync-daemons.ts';
import { type IpvsPlan, type IpvsPlanInput, planIpvsSteps } from './ipvs-plan.ts';

/** How the ledger names a daemon, beside the keys of services. */
export const daemonKey = (state: IpvsDaemon['state']): string => `sync ${state}`;

export type DaemonPlanInput = {
  readonly desired: readonly IpvsDaemon[];
  readonly observed: readonly IpvsDaemon[];
  readonly owned: ReadonlySet<string>;
};

export type DaemonPlan = {
  /** Before the table: daemons that go. While one runs the kernel takes no real server of another family. */
  readonly first: readonly IpvsControlOperation[];
  /** After the table: a backup can bind what it takes to real servers only where they are. */
  readonly last: readonly IpvsControlOperation[];
  /** Ledger keys of ours, what is still to go included. */
  readonly nextOwned: ReadonlySet<string>;
  /** Somebody else runs them, and nobody here wants one. */
  readonly foreign: readonly IpvsDaemon[];
};

/** A running daemon cannot be changed: it is deleted and made anew, at once one after the other. */
export function planDaemons({ desired, observed, owned }: DaemonPlanInput): DaemonPlan {
  const first: IpvsControlOperation[] = [];
  const last: IpvsControlOperation[] = [];
  const nextOwned = new Set<string>();
  const foreign: IpvsDaemon[] = [];
  for (const daemon of desired) {
    nextOwned.add(daemonKey(daemon.state));
    const present = observed.find(({ state }) => state === daemon.state);
    if (present !== undefined && equalDaemon(daemon, present)) continue;
    if (present !== undefined) last.push({ op: 'delete-daemon', daemon: { state: daemon.state } });
    last.push({ op: 'new-daemon', daemon });
  }
  for (const daemon of observed) {
    const key = daemonKey(daemon.state);
    if (nextOwned.has(key)) continue;
    if (owned.has(key)) {
      first.push({ op: 'delete-daemon', daemon: { state: daemon.state } });
      nextOwned.add(key);
    } else foreign.push(daemon);
  }
  return { first, last, nextOwned, foreign };
}

/** Null: as wanted. Only what differs is set; 0 leaves the others as they are. */
export function planTimeouts(
  desired: IpvsTimeoutSpec,
  observed: IpvsTimeouts | null,
): IpvsControlOperation | null {
  if (observed === null) return null;
  const change = (wanted: number | null, now: number): number =>
    wanted === null || wanted === now ? 0 : wanted;
  const timeouts = {
    tcpS: change(desired.tcpS, observed.tcpS),
    tcpFinS: change(desired.tcpFinS, observed.tcpFinS),
    udpS: change(desired.udpS, observed.udpS),
  };
  if (timeouts.tcpS === 0 && timeouts.tcpFinS === 0 && timeouts.udpS === 0) return null;
  return { op: 'set-timeouts', timeouts };
}

/** What was observed beside the table; null: not asked, or the kernel did not answer. */
export type KernelPlanInput = IpvsPlanInput & {
  readonly daemons: {
    readonly desired: readonly IpvsDaemon[];
    readonly observed: readonly IpvsDaemon[] | null;
  };
  readonly timeouts: {
    readonly desired: IpvsTimeoutSpec;
    readonly observed: IpvsTimeouts | null;
  };
};

export type KernelPlan = Omit<IpvsPlan, 'operations'> & {
  /** To be applied in this order. */
  readonly operations: readonly IpvsOperation[];
  readonly foreignDaemons: readonly IpvsDaemon[];
};

/** All of it in one order that is safe: timeouts, daemons that go, the table, daemons that come. */
export const planKernel = (input: KernelPlanInput): KernelPlan => runSteps(planKernelSteps(input));

/** The same in pieces, as `planIpvsSteps`. */
export function* planKernelSteps(input: KernelPlanInput): Generator<undefined, KernelPlan> {
  const { daemons, timeouts, owned } = input;
  const table = yield* planIpvsSteps(input);
  const timeout = planTimeouts(timeouts.desired, timeouts.observed);
  const sync =
    daemons.observed === null
      ? keepDaemons(owned)
      : planDaemons({ desired: daemons.desired, observed: daemons.observed, owned });
  return {
    ...table,
    operations: [
      ...(timeout === null ? [] : [timeout]),
      ...sync.first,
      ...table.operations,
      ...sync.last,
    ],
    nextOwned: new Set([...table.nextOwned, ...sync.nextOwned]),
    foreignDaemons: sync.foreign,
  };
}

const DAEMON_KEYS: readonly string[] = [daemonKey('master'), daemonKey('backup')];

const keepDaemons = (owned: ReadonlySet<string>): DaemonPlan => ({
  first: [],
  last: [],
  nextOwned: new Set(DAEMON_KEYS.filter((key) => owned.has(key))),
  foreign: [],
});
