/** What directors tell each other over UDP (design 4.8); its bytes are in `wire/`, its way in `ports/peer-link.ts`. */
import type { Epoch, GroupId, Revision, SessionId } from './ids.ts';

/** Names one holding of one life: the words of a handover are about nothing else. */
export type HoldingName = {
  readonly session: SessionId;
  readonly group: GroupId;
  readonly epoch: Epoch;
};

/** Names the round of a holder that its peers are asked about; `round` counts within one record of a session. */
export type AskedRound = {
  readonly session: SessionId;
  /** Mod revision of the session record: new with each process that goes on with the session. */
  readonly sessionRev: Revision;
  readonly round: number;
  /** From 0: more than `ASKED_GROUPS_MAX` groups are asked about in parts, each on its own. */
  readonly part: number;
};

/** So many groups fit into one datagram, whatever their names. */
export const ASKED_GROUPS_MAX = 12;

/** One group of a holder that asks, with the owner record that its rounds compare. */
export type AskedGroup = {
  readonly group: GroupId;
  readonly epoch: Epoch;
  readonly ownerRev: Revision;
};

/** Kinds of messages. */
export type PeerMessage =
  | {
      readonly kind: 'heartbeat';
      readonly session: SessionId;
      /** The groups that speak here now. */
      readonly armed: readonly { readonly group: GroupId; readonly epoch: Epoch }[];
    }
  /**
   * HOLD?: a holder without an answer of the store asks for a promise, and for its round to be relayed.
   * Nothing it names speaks longer than `forMs` (its D') after it was sent.
   */
  | ({
      readonly kind: 'hold';
      readonly basis: 'peers' | 'segment';
      readonly forMs: number;
      readonly groups: readonly AskedGroup[];
    } & AskedRound)
  /**
   * For `forMs` from now on the sender kills, claims and opens nothing of what it was asked about: this very
   * session of it. Another machine of its name, or a later life, is not bound.
   */
  | ({ readonly kind: 'promise'; readonly by: SessionId } & AskedRound)
  | ({ readonly kind: 'refusal'; readonly reason: RefusalReason } & AskedRound)
  /** The sender's store agreed to the round: success of the very txn that the holder would have sent. */
  | ({ readonly kind: 'relayed' } & AskedRound)
  /** Former holder without a store to the receiver: write yourself into the record; names the former holding. */
  | ({ readonly kind: 'consent' } & HoldingName)
  /** Who is asked, and opened the group by itself: whoever reads it is silent about the group at once. */
  | ({ readonly kind: 'yield' } & HoldingName)
  /** Successor to former holder: one kernel operation away from opening; names the successor's holding. */
  | ({ readonly kind: 'prepared' } & HoldingName)
  /** Former holder to successor: answers no ARP and no ND any more; names the former holding. */
  | ({ readonly kind: 'muted' } & HoldingName)
  /** Successor to former holder: the gateway sends to it; names the successor's holding. */
  | ({ readonly kind: 'verified' } & HoldingName);

/** Why a promise was refused; in this order on the wire. */
export const REFUSAL_REASONS = [
  /** A kill, claim or transfer of mine that concerns it may have been committed. */
  'in-doubt',
  /** By the records that I know the session is over, or the group another's. */
  'superseded',
  /** My own kernel may still speak for one of the groups. */
  'open-here',
  /** An earlier life of mine may have promised it to somebody. */
  'just-started',
  /** The asking director's scope record does not name me. */
  'not-in-scope',
  /** It is promised to somebody else. */
  'promised',
  /** I hear its holder by the record. */
  'holder-heard',
  /** I stand for it myself, and go before the asking director. */
  'candidate',
] as const;
export type RefusalReason = (typeof REFUSAL_REASONS)[number];
