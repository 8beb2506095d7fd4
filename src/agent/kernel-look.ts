/** Reads what IPVS has: the table, and beside it sync daemons and timeouts, which not every kernel tells. */
import type { Result } from '../lib/result.ts';
import { ok } from '../lib/result.ts';
import type {
  IpvsDaemon,
  IpvsOperation,
  IpvsTable,
  IpvsTimeouts,
  KernelError,
} from '../model/kernel.ts';
import type { Fresh, IpvsKernel } from '../ports/kernel.ts';
import type { ControlKey } from './reconcile-state.ts';

export type KernelLook = {
  readonly table: IpvsTable;
  /** Null: the kernel did not tell; `unseen` says why. */
  readonly daemons: readonly IpvsDaemon[] | null;
  readonly timeouts: IpvsTimeouts | null;
  readonly unseen: ReadonlyMap<ControlKey, string>;
};

type Kernel = Pick<IpvsKernel, 'dump' | 'daemons' | 'timeouts'>;

/** An error where the table cannot be read: without it nothing can be said of the rest. */
export async function lookAtKernel(
  kernel: Kernel,
  fresh?: Fresh,
): Promise<Result<KernelLook, KernelError>> {
  const table = await kernel.dump(fresh);
  if (!table.ok) return table;
  return ok(withRest(table.value, await kernel.daemons(), await kernel.timeouts()));
}

/** Reads again what the operations may have changed. */
export async function lookAgain(
  kernel: Kernel,
  last: KernelLook,
  operations: readonly IpvsOperation[],
): Promise<Result<KernelLook, KernelError>> {
  const kinds = new Set(operations.map(kindOf));
  const table = kinds.has('table') ? await kernel.dump() : ok(last.table);
  if (!table.ok) return table;
  const daemons = kinds.has('daemons')
    ? await kernel.daemons()
    : told(last.daemons, last, 'sync backup');
  const timeouts = kinds.has('timeouts')
    ? await kernel.timeouts()
    : told(last.timeouts, last, 'timeouts');
  return ok(withRest(table.value, daemons, timeouts));
}

function kindOf({ op }: IpvsOperation): 'table' | 'daemons' | 'timeouts' {
  if (op === 'set-timeouts') return 'timeouts';
  return op === 'new-daemon' || op === 'delete-daemon' ? 'daemons' : 'table';
}

const told = <T>(value: T | null, { unseen }: KernelLook, key: ControlKey): Result<T, string> =>
  value === null ? { ok: false, error: unseen.get(key) ?? '' } : ok(value);

function withRest(
  table: IpvsTable,
  daemons: Result<readonly IpvsDaemon[], KernelError | string>,
  timeouts: Result<IpvsTimeouts, KernelError | string>,
): KernelLook {
  const unseen = new Map<ControlKey, string>();
  if (!daemons.ok) {
    const text = textOf('the sync daemons cannot be read', daemons.error);
    unseen.set('sync master', text);
    unseen.set('sync backup', text);
  }
  if (!timeouts.ok) unseen.set('timeouts', textOf('the timeouts cannot be read', timeouts.error));
  return {
    table,
    daemons: daemons.ok ? daemons.value : null,
    timeouts: timeouts.ok ? timeouts.value : null,
    unseen,
  };
}

const textOf = (what: string, error: KernelError | string): string =>
  typeof error === 'string' ? error : `${what}: ${error.message} (${error.code})`;
