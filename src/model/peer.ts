/** What directors tell each other over UDP (design 4.8); its bytes are in `wire/`, its way in `ports/peer-link.ts`. */
import type { Epoch, GroupId, SessionId } from './ids.ts';

/** Names one holding of one life: the words of a handover are about nothing else. */
export type HoldingName = {
  readonly session: SessionId;
  readonly group: GroupId;
  readonly epoch: Epoch;
};

/** Kinds of messages; promises and ballots join with the next rooms. */
export type PeerMessage =
  | {
      readonly kind: 'heartbeat';
      readonly session: SessionId;
      /** The groups that speak here now. */
      readonly armed: readonly { readonly group: GroupId; readonly epoch: Epoch }[];
    }
  /** Successor to former holder: one kernel operation away from opening; names the successor's holding. */
  | ({ readonly kind: 'prepared' } & HoldingName)
  /** Former holder to successor: answers no ARP and no ND any more; names the former holding. */
  | ({ readonly kind: 'muted' } & HoldingName)
  /** Successor to former holder: the gateway sends to it; names the successor's holding. */
  | ({ readonly kind: 'verified' } & HoldingName);
