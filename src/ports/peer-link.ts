/** UDP between the directors' addresses (design 4.8): authenticated, replay-proof, may lose and reorder. */
import type { IpAddress } from '../model/address.ts';
import type { DirectorId, MonoMs } from '../model/ids.ts';
import type { PeerMessage } from '../model/peer.ts';

export type { PeerMessage };

export type PeerDelivery = {
  readonly from: DirectorId;
  readonly message: PeerMessage;
  readonly at: MonoMs;
};

export interface PeerLink {
  /** Best effort; an unreachable peer is not an error. */
  send(
    to: { readonly director: DirectorId; readonly address: IpAddress },
    message: PeerMessage,
  ): void;
  /** Authentic messages until the signal aborts; forged, replayed and malformed ones are counted and dropped. */
  receive(signal: AbortSignal): AsyncIterable<PeerDelivery>;
  counters(): PeerLinkCounters;
  close(): void;
}

export type PeerLinkCounters = {
  readonly sent: number;
  readonly received: number;
  /** Of those received, authentic ones of kinds that only newer versions know; dropped. */
  readonly unknown: number;
  readonly rejected: Readonly<Record<'malformed' | 'unauthentic' | 'replayed', number>>;
};
