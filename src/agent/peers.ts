/** Where the other directors are told things: those of the document, and those that it names no more and that go on. */
import type { ElectionView } from '../core/election/view.ts';
import { parseIp } from '../model/address.ts';
import type { ClusterSpec } from '../model/cluster.ts';
import type { DirectorId } from '../model/ids.ts';
import type { PeerLink } from '../ports/peer-link.ts';

type PeerTarget = Parameters<PeerLink['send']>[0];

/** Each director once; where the document names it, at the address that it has there. */
export function peersOf(
  spec: ClusterSpec | null,
  { sessions }: Pick<ElectionView, 'sessions'>,
  me: DirectorId,
): readonly PeerTarget[] {
  const peers = new Map<DirectorId, PeerTarget>();
  for (const { id, address } of spec?.directors ?? [])
    if (id !== me) peers.set(id, { director: id, address });
  for (const [id, { value }] of sessions) {
    if (id === me || peers.has(id) || value?.state !== 'open') continue;
    const address = parseIp(value.address);
    if (address.ok) peers.set(id, { director: id, address: address.value });
  }
  return [...peers.values()];
}
