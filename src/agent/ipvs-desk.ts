/** This director's IPVS for people: the table as it was dumped last, connections, counters to 0. */
import { err, ok, type Result } from '../lib/result.ts';
import type { DirectorId } from '../model/ids.ts';
import type { TableHeadRow } from '../model/ipvs-listing.ts';
import type { IpvsTable, KernelError } from '../model/kernel.ts';
import type { Clock } from '../ports/clock.ts';
import type { IpvsView } from '../ports/ipvs-view.ts';
import type { IpvsKernel } from '../ports/kernel.ts';
import type { AgentParts } from './agent-parts.ts';
import { listTable } from './ipvs-listing.ts';

/** A table that is older than two passes of the reconcile loop is read anew. */
const FRESH_MS = 5000;

export type IpvsDeskPorts = {
  readonly me: DirectorId;
  readonly kernel: Pick<
    IpvsKernel,
    'capability' | 'dump' | 'apply' | 'timeouts' | 'daemons' | 'visitConnections'
  >;
  readonly clock: Clock;
  readonly parts: Pick<AgentParts, 'specs' | 'reconcile'>;
};

type Dumped = { readonly table: IpvsTable; readonly msAgo: number };

export function createIpvsDesk({ me, kernel, clock, parts }: IpvsDeskPorts): IpvsView {
  /** Many who ask at once share one dump. */
  let dumping: Promise<Result<IpvsTable, KernelError>> | null = null;
  /** A table that was read before still has the old counters. */
  let zeroedAt = -Infinity;

  async function dump(): Promise<Result<Dumped, KernelError>> {
    const { table, lastReconcileAt, lastReconcileMs } = parts.reconcile.state();
    const readAt = table?.asOf ?? lastReconcileAt;
    const msAgo = readAt === null ? Infinity : clock.now() - readAt;
    const isSince = (lastReconcileAt ?? -Infinity) - (lastReconcileMs ?? 0) > zeroedAt;
    if (table !== null && msAgo < FRESH_MS && isSince)
      return ok({ table, msAgo: Math.round(msAgo) });
    const own = (dumping ??= kernel.dump('all'));
    const dumped = await own.finally(() => {
      if (dumping === own) dumping = null;
    });
    return dumped.ok ? ok({ table: dumped.value, msAgo: 0 }) : dumped;
  }

  async function head(version: string, size: number | null): Promise<TableHeadRow> {
    const [timeouts, daemons] = await Promise.all([kernel.timeouts(), kernel.daemons()]);
    return {
      kind: 'table',
      director: me,
      version,
      size,
      dumpedMsAgo: 0,
      timeouts: timeouts.ok ? timeouts.value : null,
      daemons: daemons.ok ? [...daemons.value] : null,
    };
  }

  return {
    table: async (service) => {
      const capability = await kernel.capability();
      if (!capability.available) return err({ code: 'UNAVAILABLE', message: capability.detail });
      const first = await head(capability.version, capability.tableSize ?? null);
      const dumped = await dump();
      if (!dumped.ok) return dumped;
      const { table, msAgo } = dumped.value;
      const { foreign, explanations } = parts.reconcile.state();
      const spec = parts.specs.spec();
      const input = { spec, table, foreign: new Set(foreign), explanations, service };
      return ok({ head: { ...first, dumpedMsAgo: msAgo }, rows: () => listTable(input) });
    },
    visitConnections: (visit, signal) => kernel.visitConnections(visit, signal),
    zero: async (services) => {
      const wanted = new Set(services);
      const keys = (parts.specs.spec()?.services ?? [])
        .filter(({ id }) => wanted.has(id))
        .flatMap((service) => service.keys);
      const results = await kernel.apply(keys.map((service) => ({ op: 'zero', service })));
      // The next listing shows it.
      zeroedAt = clock.now();
      dumping = null;
      parts.reconcile.wake();
      const missing = results.filter((one) => !one.ok && isGone(one.error)).length;
      const failed = results.find((one) => !one.ok && !isGone(one.error));
      if (failed?.ok === false) return failed;
      return ok(keys.length - missing);
    },
  };
}

/** A service that is not in the table has no counters either. */
const isGone = ({ code }: KernelError): boolean => code === 'ESRCH' || code === 'ENOENT';
