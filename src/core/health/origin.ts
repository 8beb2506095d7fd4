/** Where the probes of a check leave one director: the document names interfaces and directors, a socket wants its own. */
import type { VipCheck } from '../../model/check.ts';
import type { Check, ClusterSpec } from '../../model/cluster.ts';
import type { DirectorId } from '../../model/ids.ts';

/** The very same check where it names nothing of the kind. `devices`: by logical name; others are devices themselves. */
export function checkOnDirector(
  check: Check,
  me: DirectorId,
  devices: ReadonlyMap<string, string>,
): Check {
  const { origin } = check.spec;
  if (origin === undefined) return check;
  const own = origin.sources.find(([director]) => director === me)?.[1];
  const { interface: name } = origin;
  return {
    ...check,
    spec: {
      ...check.spec,
      origin: {
        ...origin,
        sources: [],
        source: own ?? origin.source,
        interface: name === null ? null : (devices.get(name) ?? name),
      },
    },
  };
}

/** What a director looks along the path of VIPs from. One object as long as it is the same. */
export type LookOrigin = NonNullable<VipCheck['own']>;

/** `before` itself where nothing of it is other. Null: the document does not name this director. */
export function lookOrigin(
  me: DirectorId,
  spec: Pick<ClusterSpec, 'directors' | 'groups'>,
  before: LookOrigin | null,
): LookOrigin | null {
  const address = spec.directors.find(({ id }) => id === me)?.address;
  if (address === undefined) return null;
  const vips = [
    ...new Set(spec.groups.flatMap(({ addresses }) => addresses.map((one) => one.address))),
  ];
  const isSame =
    before !== null &&
    before.address === address &&
    before.vips.length === vips.length &&
    before.vips.every((vip, n) => vip === vips[n]);
  return isSame ? before : { address, vips };
}

/**
 * A look along a VIP's path with what this director may send from: its own address, and never a VIP, which would say
 * that it has it. Null: the real server is this director itself, which only others can look at. The very same check
 * where it is of another kind.
 */
export function vipCheckOnDirector(check: Check, own: LookOrigin | null): Check | null {
  if (check.spec.kind !== 'vip' || own === null) return check;
  return check.address === own.address ? null : { ...check, spec: { ...check.spec, own } };
}

/** Whether two checks of one name are to be made alike on this director: the name does not tell where they leave it. */
export const isSameOnDirector = (a: Check, b: Check): boolean =>
  a.spec.kind !== 'vip' || b.spec.kind !== 'vip' || a.spec.own === b.spec.own;
