/**
 * Which kernel and which network namespace a note on disk is about. The inode of a namespace is given to another
 * one when it has ended, and to any other after a boot; boot id and cookie are not.
 */
export type Place = {
  readonly bootId: string;
  /** Inode of the network namespace (namespaces(7)), as digits. */
  readonly namespace: string;
  /** SO_NETNS_COOKIE: no other namespace of this boot ever has it. Null: a kernel before 5.14. */
  readonly cookie: string | null;
};

/** What stands on the left was written there; what either side does not know proves nothing. */
export function isSamePlace(written: Partial<Place>, now: Place): boolean {
  const isOther = (a: string | null | undefined, b: string | null): boolean =>
    a !== null && a !== undefined && b !== null && a !== b;
  return (
    !isOther(written.bootId, now.bootId) &&
    !isOther(written.namespace, now.namespace) &&
    !isOther(written.cookie, now.cookie)
  );
}
