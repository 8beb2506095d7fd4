/** What a heard frame says of addresses: who speaks as them, and whom it answers. Pure. */
import type { IpAddress, IpFamily, MacAddress } from '../../model/address.ts';
import { decodeArpFrame } from '../../wire/arp.ts';
import { decodeNeighborAdvertisement, decodeNeighborSolicitation } from '../../wire/ndp.ts';

/** Somebody with `mac` says that `address` is his. */
export type Statement = {
  readonly address: IpAddress;
  readonly mac: MacAddress;
  /** To whom it is said alone, as an answer to his question; null: no answer. */
  readonly answerTo: { readonly address: IpAddress; readonly mac: MacAddress } | null;
};

export type Claim = {
  readonly address: IpAddress;
  readonly mac: MacAddress;
  /** He only asks whether the address is free. */
  readonly isQuestion: boolean;
};

/**
 * Null: it says nothing. A probe (sender 0.0.0.0, RFC 5227 2.1.1) and a solicitation of duplicate
 * address detection (source `::`, RFC 4862 5.4.2) ask whether an address is free, and claim none.
 */
export function readStatement(frame: Uint8Array, family: IpFamily): Statement | null {
  return family === 4 ? readArp(frame) : readNeighborDiscovery(frame);
}

/**
 * Who lays claim to an address while somebody wants to know whether it is free: whoever speaks as it, and
 * whoever asks for it in the same way, because he is about to take it (RFC 5227 2.1.1, RFC 4862 5.4.3).
 */
export function readClaim(frame: Uint8Array, family: IpFamily): Claim | null {
  const statement = readStatement(frame, family);
  if (statement !== null)
    return { address: statement.address, mac: statement.mac, isQuestion: false };
  if (family === 4) {
    const arp = decodeArpFrame(frame);
    if (!arp.ok || arp.value.operation !== 'request') return null;
    return { address: arp.value.targetIp, mac: arp.value.senderMac, isQuestion: true };
  }
  const asked = decodeNeighborSolicitation(frame);
  if (!asked.ok) return null;
  return { address: asked.value.target, mac: asked.value.sourceMac, isQuestion: true };
}

function readArp(frame: Uint8Array): Statement | null {
  const arp = decodeArpFrame(frame);
  if (!arp.ok || arp.value.senderIp === '0.0.0.0') return null;
  const { operation, senderIp, senderMac, targetIp, targetMac, destination } = arp.value;
  const isAnswer = operation === 'reply' && destination === targetMac;
  return {
    address: senderIp,
    mac: senderMac,
    answerTo: isAnswer ? { address: targetIp, mac: targetMac } : null,
  };
}

function readNeighborDiscovery(frame: Uint8Array): Statement | null {
  const heard = decodeNeighborAdvertisement(frame);
  if (heard.ok) {
    const { target, targetMac, sourceMac, isSolicited, destination, destinationMac } = heard.value;
    return {
      address: target,
      mac: targetMac ?? sourceMac,
      answerTo: isSolicited ? { address: destination, mac: destinationMac } : null,
    };
  }
  const asked = decodeNeighborSolicitation(frame);
  if (!asked.ok || asked.value.source === '::') return null;
  const { source, sourceLinkMac, sourceMac } = asked.value;
  return { address: source, mac: sourceLinkMac ?? sourceMac, answerTo: null };
}
