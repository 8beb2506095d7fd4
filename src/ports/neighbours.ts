/** What the neighbours on the VIPs' networks say and know: conflicts, and proof that a takeover arrived. */
import type { IpAddress } from '../model/address.ts';

/** Somebody else spoke as one of our VIPs: ARP (either address field), or a neighbour advertisement. */
export type ForeignVoice = {
  readonly device: string;
  readonly address: IpAddress;
  /** `aa:bb:cc:dd:ee:ff` */
  readonly mac: string;
};

export type VipPlace = { readonly device: string; readonly address: IpAddress };

export type ProbeOutcome = {
  /** Somebody speaks as the address, or asks for it as we do. */
  readonly answered: ReadonlySet<IpAddress>;
  /** Not every question went out, or nobody listened all the time: their silence proves nothing. */
  readonly unasked: ReadonlySet<IpAddress>;
};

export interface Neighbours {
  /**
   * Replaces what is listened for; frames of this host's own interfaces are no voices. `withinMs`: how late
   * one may be heard, 200 by default, 5 at least; the sooner, the more it costs.
   */
  listen(vips: readonly VipPlace[], withinMs?: number): void;
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
  /**
   * Asks whether anybody has VIPs that are not open here: `count` questions about each, one every
   * `intervalMs`, and as long for the answers to the last (ARP with sender 0.0.0.0, RFC 5227 2.1.1; NS from
   * `::`, RFC 4862 5.4.2). They say nothing of this director, so neighbours learn nothing, and a gate that
   * silences the VIPs lets them pass. Ends when all have answered, at the end, or when the signal aborts.
   * Never rejects.
   */
  probe(
    vips: readonly VipPlace[],
    options: {
      readonly count: number;
      readonly intervalMs: number;
      readonly signal?: AbortSignal;
    },
  ): Promise<ProbeOutcome>;
  close(): void;
}
