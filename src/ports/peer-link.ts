/** UDP between the directors' addresses (design 4.8): authenticated, replay-proof, may lose and reorder. */
import type { IpAddress } from '../model/address.ts';
import type { DirectorId, Epoch, GroupId, MonoMs, SessionId } from '../model/ids.ts';

/** Kinds of messages; promises, ballots and handover words join with the next rooms. */
export type PeerMessage = {
  readonly kind: 'heartbeat';
  readonly session: SessionId;
  /** The groups that speak here now. */
  readonly armed: readonly { readonly group: GroupId; readonly epoch: Epoch }[];
};

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
  readonly rejected: Readonly<Record<'malformed' | 'unauthentic' | 'replayed', number>>;
};
