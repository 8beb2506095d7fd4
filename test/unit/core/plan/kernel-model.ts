/** The model of the table, with what the kernel has beside it: sync daemons and timeouts. As strict as ip_vs. */
import { familyOf } from '../../../../src/model/address.ts';
import { familyOfKey } from '../../../../src/model/cluster.ts';
import type {
  DesiredService,
  IpvsDaemon,
  IpvsOperation,
  IpvsTimeouts,
} from '../../../../src/model/kernel.ts';
import { IpvsModel } from './ipvs-model.ts';

export const DEFAULT_TIMEOUTS: IpvsTimeouts = { tcpS: 900, tcpFinS: 120, udpS: 300 };

export class KernelModel {
  readonly table: IpvsModel;
  readonly #daemons = new Map<string, IpvsDaemon>();
  timeouts = DEFAULT_TIMEOUTS;

  constructor(services: readonly DesiredService[] = [], daemons: readonly IpvsDaemon[] = []) {
    this.table = IpvsModel.of(services);
    for (const daemon of daemons) this.#daemons.set(daemon.state, daemon);
  }

  get daemons(): readonly IpvsDaemon[] {
    return [...this.#daemons.values()];
  }

  apply(operation: IpvsOperation): void {
    switch (operation.op) {
      case 'zero':
        return;
      case 'set-timeouts': {
        const { tcpS, tcpFinS, udpS } = operation.timeouts;
        const now = this.timeouts;
        this.timeouts = {
          tcpS: tcpS === 0 ? now.tcpS : tcpS,
          tcpFinS: tcpFinS === 0 ? now.tcpFinS : tcpFinS,
          udpS: udpS === 0 ? now.udpS : udpS,
        };
        return;
      }
      case 'new-daemon': {
        const { daemon } = operation;
        if (this.#daemons.has(daemon.state)) throw new Error(`EEXIST ${daemon.state}`);
        if (this.#isMixed()) throw new Error('EINVAL daemon beside mixed families');
        // The kernel fills in what fits the interface.
        this.#daemons.set(daemon.state, { ...daemon, maxLength: daemon.maxLength ?? 1472 });
        return;
      }
      case 'delete-daemon':
        if (!this.#daemons.delete(operation.daemon.state))
          throw new Error(`ESRCH ${operation.daemon.state}`);
        return;
      default:
        this.table.apply(operation);
        if (operation.op === 'add-destination' && this.#daemons.size > 0 && this.#isMixed())
          throw new Error('EINVAL mixed families beside a daemon');
    }
  }

  #isMixed(): boolean {
    return this.table
      .dump()
      .services.some(({ key, destinations }) =>
        destinations.some(({ address }) => familyOf(address) !== familyOfKey(key)),
      );
  }
}
