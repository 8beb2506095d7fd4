/**
 * What was seen of a real server along the path of a VIP, and what that means. The path is that of IPVS for DR and
 * tunnels: the VIP as destination, the real server's MAC or its tunnel. Every packet may go one hop only, so nobody
 * but the real server can answer it.
 */

/** How a real server may stand to a VIP. Closed. */
export type VipVerdict =
  /** Up: it answers as the VIP. */
  | 'answers'
  /** Up: it has the VIP, and gives the port to somebody behind it, such as a container. */
  | 'handed-on'
  /** The VIP is there, the port is closed. */
  | 'refused'
  /** A filter of the real server forbids it. */
  | 'prohibited'
  /** The VIP is there, and the port silent. */
  | 'silent-port'
  | 'vip-missing'
  /** It has no VIP and passes packets for it on. */
  | 'passes-on'
  /** It takes no packets of such a tunnel. */
  | 'no-tunnel'
  /** It tells the segment that it has the VIP, so that clients may go to it instead of the holder. */
  | 'answers-arp'
  /** It is on the segment, and answers nothing that is asked of it. */
  | 'silent'
  /** Nothing is known of it at all. */
  | 'unreachable';

export type VipEvidence = {
  readonly ask: 'tcp' | 'echo';
  /** Whether it was asked, on its own link, if it has the VIP; `asked` until its other answer shows that it has heard. */
  readonly arp: 'unasked' | 'asked' | 'quiet' | 'answered';
  readonly hasMac: boolean;
  /** What came from the VIP. */
  readonly tcp: 'nothing' | 'accepted' | 'refused';
  readonly hasEcho: boolean;
  /** Something came from its own address, other than about its MAC. */
  readonly isAlive: boolean;
  /** What errors of ICMP said about packets to the VIP. */
  readonly error: 'none' | 'expired' | 'unreachable' | 'prohibited' | 'no-tunnel';
};

/** Null: go on waiting, which is not said when `isOver`. */
export function judgePath(seen: VipEvidence, isOver: boolean): VipVerdict | null {
  if (seen.arp === 'answered') return 'answers-arp';
  if (seen.ask === 'tcp' && seen.tcp === 'refused') return 'refused';
  const hasAnswered = seen.ask === 'tcp' ? seen.tcp === 'accepted' : seen.hasEcho;
  if (hasAnswered) return seen.arp === 'asked' && !isOver ? null : 'answers';
  if (seen.error === 'prohibited') return 'prohibited';
  if (seen.error === 'no-tunnel') return 'no-tunnel';
  const isSettled = seen.arp !== 'asked' || isOver;
  if (seen.error === 'expired' && seen.hasEcho && isSettled) return 'handed-on';
  return isOver ? judgeSilence(seen) : null;
}

function judgeSilence(seen: VipEvidence): VipVerdict {
  if (seen.error === 'expired') return 'passes-on';
  if (seen.hasEcho) return 'silent-port';
  if (seen.isAlive || seen.error === 'unreachable') return 'vip-missing';
  return seen.hasMac ? 'silent' : 'unreachable';
}
