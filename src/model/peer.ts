/** What directors tell each other over UDP (design 4.8); its bytes are in `wire/`, its way in `ports/peer-link.ts`. */
import type { Epoch, GroupId, SessionId } from './ids.ts';

/** Kinds of messages; promises, ballots and handover words join with the next rooms. */
export type PeerMessage = {
  readonly kind: 'heartbeat';
  readonly session: SessionId;
  /** The groups that speak here now. */
  readonly armed: readonly { readonly group: GroupId; readonly epoch: Epoch }[];
};
