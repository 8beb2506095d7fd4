/** What the API may see of this director's kernel, and the one thing that it may do there. */
import type { Result } from '../lib/result.ts';
import type { ServiceId } from '../model/ids.ts';
import type { TableHeadRow, TableRow } from '../model/ipvs-listing.ts';
import type { KernelError } from '../model/kernel.ts';
import type { ConnectionReading, ConnectionVisit } from './kernel.ts';

export type TableListing = {
  readonly head: TableHeadRow;
  /** Services in the order of ipvsadm, each before its destinations; made while they are asked for. */
  readonly rows: () => Iterable<TableRow>;
};

export interface IpvsView {
  /**
   * The table as it was dumped a moment ago, foreign services too. `service`: what belongs to this virtual
   * service, or the one IPVS service of this name (`tcp 10.90.0.100:80`).
   */
  table(service: string | null): Promise<Result<TableListing, KernelError>>;
  /** As `IpvsKernel.visitConnections`. */
  visitConnections(
    visit: ConnectionVisit,
    signal: AbortSignal,
  ): Promise<Result<ConnectionReading, KernelError>>;
  /**
   * Sets the counters of the services to 0 in this director's kernel; those of others stay. The value is how
   * many IPVS services it were.
   */
  zero(services: readonly ServiceId[]): Promise<Result<number, KernelError>>;
}
