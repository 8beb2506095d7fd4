/** A scripted IpvsView: rows and connections that a test gives it, and what it was asked to do. */
import { err, ok, type Result } from '../../src/lib/result.ts';
import type { ServiceId } from '../../src/model/ids.ts';
import type { TableHeadRow, TableRow } from '../../src/model/ipvs-listing.ts';
import type { IpvsConnection, KernelError } from '../../src/model/kernel.ts';
import type { IpvsView, TableListing } from '../../src/ports/ipvs-view.ts';
import type { ConnectionReading, ConnectionVisit } from '../../src/ports/kernel.ts';

export const NO_IPVS: KernelError = {
  code: 'UNAVAILABLE',
  message: 'the kernel has no IPVS: load it with "modprobe ip_vs" (CONFIG_IP_VS)',
};

/** How many connections a visitor gets at a time. */
const VISITED_AT_ONCE = 3;

export class FakeIpvsView implements IpvsView {
  head: TableHeadRow = {
    kind: 'table',
    director: 'd1',
    version: '1.2.1',
    size: 4096,
    dumpedMsAgo: 120,
    timeouts: { tcpS: 900, tcpFinS: 120, udpS: 300 },
    daemons: [],
  };
  rows: Iterable<TableRow> = [{ kind: 'end', services: 0, destinations: 0 }];
  connections: Iterable<IpvsConnection> = [];
  /** Not null: the kernel cannot be used. */
  failure: KernelError | null = null;
  /** After so many connections the kernel fails. */
  failsAfter = Infinity;
  asked: (string | null)[] = [];
  zeroed: ServiceId[] = [];
  /** Connections that were handed out. */
  read = 0;

  async table(service: string | null): Promise<Result<TableListing, KernelError>> {
    this.asked.push(service);
    const { head, rows, failure } = this;
    return failure === null ? ok({ head, rows: () => rows }) : err(failure);
  }

  async visitConnections(
    visit: ConnectionVisit,
    signal: AbortSignal,
  ): Promise<Result<ConnectionReading, KernelError>> {
    if (this.failure !== null) return err(this.failure);
    let some: IpvsConnection[] = [];
    const result = (isWhole: boolean) => ok({ connections: this.read, unreadable: 0, isWhole });
    for (const one of this.connections) {
      some.push(one);
      if (some.length < VISITED_AT_ONCE) continue;
      this.read += some.length;
      if (signal.aborted || !(await visit(some))) return result(false);
      if (this.read >= this.failsAfter) return err({ code: 'EIO', message: 'it broke in between' });
      some = [];
    }
    this.read += some.length;
    return result(some.length === 0 || (await visit(some)));
  }

  async zero(services: readonly ServiceId[]): Promise<Result<number, KernelError>> {
    if (this.failure !== null) return err(this.failure);
    this.zeroed.push(...services);
    return ok(services.length);
  }
}
