/** The txn of a round (design 4.3): fails unless the session and every group are unchanged; removes a challenge. */
import { ABSENT, type DirectorId, type GroupId, type Revision } from '../../model/ids.ts';
import type { Keys } from '../../model/keys.ts';
import type { TxnRequest } from './state.ts';

export function guardRequest(
  keys: Keys,
  director: DirectorId,
  sessionRev: Revision,
  guarded: ReadonlyMap<GroupId, Revision>,
  /** It answers challenges no more: a holder that cannot arm must not block the others. */
  { isYielding = false }: { readonly isYielding?: boolean } = {},
): TxnRequest {
  const compares = [
    { key: keys.session(director), modRevision: sessionRev },
    ...[...guarded].map(([group, rev]) => ({ key: keys.owner(group), modRevision: rev })),
  ];
  if (isYielding) compares.push({ key: keys.challenge(director), modRevision: ABSENT });
  return {
    compares,
    // Deleting a key that is not there is agreed upon by consensus and makes no revision.
    success: [{ op: 'delete', key: keys.challenge(director) }],
    failure: [
      { op: 'get', key: keys.session(director) },
      { op: 'get', key: keys.challenge(director) },
      ...[...guarded.keys()].map((group) => ({ op: 'get' as const, key: keys.owner(group) })),
    ],
  };
}
