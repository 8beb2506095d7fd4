/**
 * Decides whether an authentic datagram is news or a recording (design 4.8). No clocks of two machines
 * are compared, nothing is stored on disk, and a recording never passes for a sign of life:
 *
 * - Within one life of the sender (its nonce) counters grow; a window of 64 lets them arrive out of
 *   order, and none counts twice.
 * - A nonce that is not the current one must first prove to be alive now: we answer its datagram with a
 *   challenge made from a secret of our own life, and only datagrams that show it are news. Recordings from
 *   before our start do not know our secret.
 * - When a nonce has proved itself, the generation grows, and every challenge given before is void. So
 *   datagrams of the sender's earlier lives never come back either, also such as were held back on the way.
 *
 * Challenges are computed, not stored: strangers' nonces, replayed in any number, take no memory and
 * push nobody out. An attacker who records and replays can make us send hellos, at a bounded rate.
 */
import { equalBytes, toHex } from '../../lib/bytes.ts';
import type { DirectorId } from '../../model/ids.ts';

/** How far behind the newest counter a datagram may arrive. */
export const WINDOW = 64;
/** Directors remembered. Further ones are refused: forgetting one would make its old challenges valid again. */
export const SENDERS_MAX = 1_024;

export type Verdict =
  /** Alive, and not seen before. */
  | 'fresh'
  /** Seen before, too far behind, or shows a challenge that is void. */
  | 'replayed'
  /** Shows no challenge yet. */
  | 'unproven';

export type Claim = {
  readonly from: DirectorId;
  readonly nonce: Uint8Array;
  readonly counter: number;
  readonly challenge: Uint8Array;
};

type Sender = {
  generation: number;
  nonce: Uint8Array;
  challenge: Uint8Array;
  highest: number;
  /** Bit i: counter `highest - i` has been seen. */
  seen: bigint;
};

/** A keyed pseudo-random function of this process's life; 16 bytes. */
export type MakeChallenge = (text: string) => Uint8Array;

export class ReplayGuard {
  readonly #makeChallenge: MakeChallenge;
  readonly #senders = new Map<DirectorId, Sender>();

  constructor(makeChallenge: MakeChallenge) {
    this.#makeChallenge = makeChallenge;
  }

  judge(claim: Claim): Verdict {
    const sender = this.#senders.get(claim.from);
    const isCurrent = sender !== undefined && equalBytes(sender.nonce, claim.nonce);
    if (!equalBytes(claim.challenge, this.challengeFor(claim.from, claim.nonce)))
      return claim.challenge.every((byte) => byte === 0) ? 'unproven' : 'replayed';
    if (isCurrent) return take(sender, claim.counter) ? 'fresh' : 'replayed';
    if (sender === undefined && this.#senders.size >= SENDERS_MAX) return 'unproven';
    this.#senders.set(claim.from, {
      generation: (sender?.generation ?? 0) + 1,
      nonce: claim.nonce,
      challenge: claim.challenge,
      highest: claim.counter,
      seen: 1n,
    });
    return 'fresh';
  }

  /** What this nonce of this director has to show: the challenge it proved, or the one to offer now. */
  challengeFor(from: DirectorId, nonce: Uint8Array): Uint8Array {
    const sender = this.#senders.get(from);
    if (sender !== undefined && equalBytes(sender.nonce, nonce)) return sender.challenge;
    return this.#makeChallenge(`${from} ${toHex(nonce)} ${sender?.generation ?? 0}`);
  }
}

/** Marks the counter as seen; false when it was, or is too old to tell. */
function take(sender: Sender, counter: number): boolean {
  if (counter > sender.highest) {
    const ahead = counter - sender.highest;
    sender.seen =
      ahead >= WINDOW ? 1n : BigInt.asUintN(WINDOW, (sender.seen << BigInt(ahead)) | 1n);
    sender.highest = counter;
    return true;
  }
  const behind = sender.highest - counter;
  if (behind >= WINDOW) return false;
  const bit = 1n << BigInt(behind);
  if ((sender.seen & bit) !== 0n) return false;
  sender.seen |= bit;
  return true;
}
