/**
 * VRRP on the wire (design 4.15): IP protocol 112, unicast to configured neighbours or multicast. It is not
 * authenticated in a way that one may act on: what is heard may make us wait or yield, never open.
 */
import type { IpFamily } from '../model/address.ts';
import type { MonoMs } from '../model/ids.ts';
import type { VrrpAdvert, VrrpDrop, VrrpInstance } from '../model/vrrp.ts';

export type VrrpDelivery = {
  /** Key of the instance that it is for. */
  readonly instance: string;
  readonly advert: VrrpAdvert;
  /** It names the same VIPs as we do; a neighbour that does not should be told about. */
  readonly hasOurAddresses: boolean;
  readonly at: MonoMs;
};

export interface VrrpLink {
  /**
   * Replaces the instances. Sockets that are needed are opened, others are closed; what cannot be opened
   * is tried again every second, as is a device that is not there or was made anew.
   */
  configure(instances: readonly VrrpInstance[]): void;
  /**
   * One advertisement of this priority to each neighbour of the instance, or to the group. Best effort:
   * what cannot be sent is counted. An unknown instance is ignored. Nothing leaves at `until` or later, also
   * where this process is stopped in between; null: no such limit.
   */
  send(instance: string, priority: number, until: MonoMs | null): void;
  /** Valid advertisements of others until the signal aborts; bounded, the oldest are dropped. */
  receive(signal: AbortSignal): AsyncIterable<VrrpDelivery>;
  counters(): VrrpCounters;
  /** One row for each device and family in use; the error is null where it works. */
  sockets(): readonly VrrpSocketState[];
  /** Lets go what was given to `send` before, but waits at most 200 ms for that, or a few turns after a pause. */
  close(): Promise<void>;
}

export type VrrpCounters = {
  /** Datagrams: one for each neighbour. */
  readonly sent: number;
  readonly failed: number;
  /** Valid ones. */
  readonly received: number;
  readonly dropped: Readonly<Record<VrrpDrop, number>>;
};

export type VrrpSocketState = {
  readonly device: string;
  readonly family: IpFamily;
  readonly error: string | null;
};
