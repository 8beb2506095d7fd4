/** Which probe jobs a spec needs: equal type, target and parameters are one check (design 8). */
import { hash64Hex } from '../../lib/hash.ts';
import type { Check, CheckSpec, ClusterSpec } from '../../model/cluster.ts';
import { type CheckId, checkId, type RealServerId, type ServiceId } from '../../model/ids.ts';
import { formatEndpoint, type IpAddress } from '../../model/address.ts';

export type DerivedChecks = {
  /** In the order of the spec; each once. */
  readonly checks: readonly Check[];
  /** By `realServerKey`; a real server without an entry is unchecked. */
  readonly byRealServer: ReadonlyMap<string, CheckId>;
  /** True where a real server that uses the check is to be down before the first vote. */
  readonly alphaByCheck: ReadonlyMap<CheckId, boolean>;
};

/** Key of one real server within the whole spec; NUL occurs in neither part. */
export const realServerKey = (service: ServiceId, realServer: RealServerId): string =>
  `${service}\u0000${realServer}`;

/** A document that another one follows is asked again, and tens of thousands of hashes take a while. */
const known = new WeakMap<ClusterSpec, DerivedChecks>();

/** Sorry servers are never checked: they are what is left when every check has failed. */
export function deriveChecks(spec: ClusterSpec): DerivedChecks {
  const derived = known.get(spec) ?? deriveAnew(spec);
  known.set(spec, derived);
  return derived;
}

function deriveAnew(spec: ClusterSpec): DerivedChecks {
  const checks = new Map<CheckId, Check>();
  const byRealServer = new Map<string, CheckId>();
  const alphaByCheck = new Map<CheckId, boolean>();
  for (const service of spec.services) {
    if (service.check === null) continue;
    for (const realServer of service.realServers) {
      const port = service.check.port ?? realServer.port;
      const id = deriveCheckId(realServer.address, port, service.check);
      if (!checks.has(id)) {
        const { address } = realServer;
        checks.set(id, { id, address, port, spec: { ...service.check, port } });
      }
      byRealServer.set(realServerKey(service.id, realServer.id), id);
      alphaByCheck.set(id, realServer.alpha || alphaByCheck.get(id) === true);
    }
  }
  return { checks: [...checks.values()], byRealServer, alphaByCheck };
}

/**
 * Which check each new check of `after` takes the place of: the one that the same real server, at the
 * same address and port, had in `before`. Other parameters are no reason to forget what is known of it.
 */
export function inheritChecks(
  before: ClusterSpec,
  after: ClusterSpec,
): ReadonlyMap<CheckId, CheckId> {
  const old = deriveChecks(before);
  const inherited = new Map<CheckId, CheckId>();
  // Only where a check is another one, which is rare, does anybody ask where its real server is.
  let endpoints: { readonly before: Endpoints; readonly after: Endpoints } | null = null;
  for (const [key, id] of deriveChecks(after).byRealServer) {
    const was = old.byRealServer.get(key);
    if (was === undefined || old.alphaByCheck.has(id) || inherited.has(id)) continue;
    endpoints ??= { before: endpointsOf(before), after: endpointsOf(after) };
    if (endpoints.before.get(key) === endpoints.after.get(key)) inherited.set(id, was);
  }
  return inherited;
}

/** By `realServerKey`. */
type Endpoints = ReadonlyMap<string, string>;

const endpointsOf = (spec: ClusterSpec): Endpoints =>
  new Map(
    spec.services.flatMap((service) =>
      service.realServers.map((server) => [
        realServerKey(service.id, server.id),
        formatEndpoint(server.address, server.port),
      ]),
    ),
  );

/** The same on every director, hence a canonical text; what a kind does not use takes no part. */
function deriveCheckId(address: IpAddress, port: number, spec: CheckSpec): CheckId {
  const common = [spec.kind, address, port, spec.intervalMs, spec.timeoutMs, spec.rise, spec.fall];
  if (spec.kind === 'tcp') return checkId(hash64Hex(JSON.stringify(common)));
  const status = spec.status.toSorted((a, b) => a[0] - b[0] || a[1] - b[1]);
  const verify = spec.kind === 'https' && spec.verify;
  const http = [spec.method, spec.path, status, spec.host, verify];
  return checkId(hash64Hex(JSON.stringify([...common, ...http])));
}
