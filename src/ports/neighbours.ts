/** What the neighbours on the VIPs' networks say and know: conflicts, and proof that a takeover arrived. */
import type { IpAddress } from '../model/address.ts';

/** Somebody else spoke as one of our VIPs: ARP (either address field), or a neighbour advertisement. */
export type ForeignVoice = {
  readonly device: string;
  readonly address: IpAddress;
  /** `aa:bb:cc:dd:ee:ff` */
  readonly mac: string;
};

export interface Neighbours {
  /** Replaces what is listened for; frames of this host's own interfaces are no voices. */
  listen(vips: readonly { readonly device: string; readonly address: IpAddress }[]): void;
  /** Foreign voices until the signal aborts; bounded, the oldest are dropped. */
  voices(signal: AbortSignal): AsyncIterable<ForeignVoice>;
  /**
   * Asks the gateway for its hardware address in the name of the VIP (directed ARP request RFC 826, NS
   * RFC 4861 7.2.2), again every 20 ms: an answer to this interface proves that it has learnt the
   * VIP's new place. False: no answer within `timeoutMs`.
   */
  verify(
    vip: { readonly device: string; readonly address: IpAddress },
    gateway: IpAddress,
    timeoutMs: number,
  ): Promise<boolean>;
  close(): void;
}
