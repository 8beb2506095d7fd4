/** Where the other directors are told things: those of the document, and those that may go on without being named. */
import type { ElectionView } from '../core/election/view.ts';
import { type IpAddress, parseIp } from '../model/address.ts';
import type { ClusterSpec } from '../model/cluster.ts';
import type { DirectorId } from '../model/ids.ts';
import type { PeerLink } from '../ports/peer-link.ts';

type PeerTarget = Parameters<PeerLink['send']>[0];

export type Peer = PeerTarget & {
  /** By the document. Others are told what they must do; who holds what they hear only while they speak, too. */
  readonly isNamed: boolean;
};

export type Peers = (
  spec: ClusterSpec | null,
  view: Pick<ElectionView, 'sessions'>,
) => readonly Peer[];

/**
 * Each director once; where the document names it, at the address that it has there. A session that was opened
 * while no document named its director tells no address: it is told things where an earlier document had it.
 */
export function createPeers(me: DirectorId): Peers {
  const named = new Map<DirectorId, IpAddress>();
  return (spec, { sessions }) => {
    const peers = new Map<DirectorId, Peer>();
    for (const { id, address } of spec?.directors ?? []) {
      named.set(id, address);
      if (id !== me) peers.set(id, { director: id, address, isNamed: true });
    }
    for (const [id, { value }] of sessions) {
      if (id === me || peers.has(id) || value === null || value.state === 'closed') continue;
      const told = parseIp(value.address);
      const address = told.ok ? told.value : named.get(id);
      if (address !== undefined) peers.set(id, { director: id, address, isNamed: false });
    }
    return [...peers.values()];
  };
}
