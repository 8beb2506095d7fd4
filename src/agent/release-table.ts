/** At an end that releases: takes our services and sync daemons out of the kernel, and looks what is left of them. */
import { daemonKey, planKernel } from '../core/plan/control-plan.ts';
import { err, ok, type Result } from '../lib/result.ts';
import { formatServiceKey, type IpvsDaemon, type IpvsOperation } from '../model/kernel.ts';
import type { IpvsKernel } from '../ports/kernel.ts';
import type { Log } from '../ports/log.ts';
import type { Metrics } from '../ports/metrics.ts';
import { applyPlan } from './apply-plan.ts';
import { type KernelLook, lookAtKernel } from './kernel-look.ts';

export type Released = {
  /** How many IPVS services are gone. */
  readonly services: number;
  readonly daemons: readonly IpvsDaemon['state'][];
};

export type ReleaseOutcome = {
  readonly released: Released;
  /** Ledger keys of what is left; it is ours still. */
  readonly left: ReadonlySet<string>;
  /** Why, one sentence for each thing that is left. */
  readonly problems: readonly string[];
};

type Ports = {
  readonly kernel: Pick<IpvsKernel, 'dump' | 'apply' | 'daemons' | 'timeouts'>;
  readonly metrics: Pick<Metrics, 'operationApplied'>;
  readonly log: Log;
};

const STATES = ['master', 'backup'] as const;
const NO_TIMEOUTS = { desired: { tcpS: null, tcpFinS: null, udpS: null }, observed: null };

/** The error is a sentence: nothing could be looked at, and nothing was touched. */
export async function releaseTable(
  ports: Ports,
  owned: ReadonlySet<string>,
): Promise<Result<ReleaseOutcome, string>> {
  const before = await lookAtKernel(ports.kernel);
  if (!before.ok)
    return err(`the IPVS table cannot be read: ${before.error.message} (${before.error.code})`);
  const look = before.value;
  const plan = planKernel({
    desired: [],
    observed: look.table,
    owned,
    daemons: { desired: [], observed: look.daemons },
    timeouts: NO_TIMEOUTS,
  });
  const { failed, controlFailed, done } = await applyPlan(ports, [
    ...unseenDaemons(look, owned),
    ...plan.operations,
  ]);
  const after = await lookAtKernel(ports.kernel);
  const left = new Set([
    ...servicesOf(after.ok ? after.value : look, owned),
    ...daemonsLeft(after.ok ? after.value.daemons : null, done, owned),
  ]);
  const failures = new Map<string, string>([...failed, ...controlFailed]);
  const problems = [...left].map(
    (key) => failures.get(key) ?? `${key}: still there after its removal`,
  );
  return ok({
    released: {
      services: servicesOf(look, owned).filter((key) => !left.has(key)).length,
      daemons: STATES.filter(
        (state) =>
          owned.has(daemonKey(state)) && !left.has(daemonKey(state)) && isDeleted(done, state),
      ),
    },
    left,
    problems,
  });
}

/** Where the kernel does not tell which daemons run, the ledger knows which are ours; one that does not run is gone. */
const unseenDaemons = (
  { daemons }: KernelLook,
  owned: ReadonlySet<string>,
): readonly IpvsOperation[] =>
  daemons !== null
    ? []
    : STATES.filter((state) => owned.has(daemonKey(state))).map((state) => ({
        op: 'delete-daemon',
        daemon: { state },
      }));

const servicesOf = ({ table }: KernelLook, owned: ReadonlySet<string>): readonly string[] =>
  table.services.map(({ key }) => formatServiceKey(key)).filter((key) => owned.has(key));

const daemonsLeft = (
  observed: readonly IpvsDaemon[] | null,
  done: readonly IpvsOperation[],
  owned: ReadonlySet<string>,
): readonly string[] =>
  STATES.filter((state) =>
    observed === null ? !isDeleted(done, state) : observed.some((one) => one.state === state),
  )
    .map(daemonKey)
    .filter((key) => owned.has(key));

const isDeleted = (done: readonly IpvsOperation[], state: IpvsDaemon['state']): boolean =>
  done.some((one) => one.op === 'delete-daemon' && one.daemon.state === state);
