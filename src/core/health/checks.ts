/** Which probe jobs a spec needs: equal type, target and parameters are one check (design 8). */
import { hash64Hex } from '../../lib/hash.ts';
import { runSteps } from '../../lib/steps.ts';
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
export const deriveChecks = (spec: ClusterSpec): DerivedChecks => runSteps(deriveChecksSteps(spec));

/** The same in pieces. */
export function* deriveChecksSteps(spec: ClusterSpec): Generator<undefined, DerivedChecks> {
  const derived = known.get(spec) ?? (yield* deriveAnew(spec));
  known.set(spec, derived);
  return derived;
}

function* deriveAnew(spec: ClusterSpec): Generator<undefined, DerivedChecks> {
  const checks = new Map<CheckId, Check>();
  const byRealServer = new Map<string, CheckId>();
  const alphaByCheck = new Map<CheckId, boolean>();
  for (const service of spec.services) {
    if (service.check === null) continue;
    const nameCheck = createCheckNames(service.check);
    for (const realServer of service.realServers) {
      yield;
      const port = service.check.port ?? realServer.port;
      const id = nameCheck(realServer.address, port);
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
export const inheritChecks = (
  before: ClusterSpec,
  after: ClusterSpec,
): ReadonlyMap<CheckId, CheckId> => runSteps(inheritChecksSteps(before, after));

/** The same in pieces. */
export function* inheritChecksSteps(
  before: ClusterSpec,
  after: ClusterSpec,
): Generator<undefined, ReadonlyMap<CheckId, CheckId>> {
  const old = deriveChecks(before);
  const inherited = new Map<CheckId, CheckId>();
  // Only where a check is another one, which is rare, does anybody ask where its real server is.
  let endpoints: { readonly before: Endpoints; readonly after: Endpoints } | null = null;
  for (const [key, id] of deriveChecks(after).byRealServer) {
    yield;
    const was = old.byRealServer.get(key);
    if (was === undefined || old.alphaByCheck.has(id) || inherited.has(id)) continue;
    endpoints ??= {
      before: yield* endpointsOf(before),
      after: yield* endpointsOf(after),
    };
    if (endpoints.before.get(key) === endpoints.after.get(key)) inherited.set(id, was);
  }
  return inherited;
}

/** By `realServerKey`. */
type Endpoints = ReadonlyMap<string, string>;

function* endpointsOf(spec: ClusterSpec): Generator<undefined, Endpoints> {
  const endpoints = new Map<string, string>();
  for (const service of spec.services)
    for (const { id, address, port } of service.realServers) {
      endpoints.set(realServerKey(service.id, id), formatEndpoint(address, port));
      yield;
    }
  return endpoints;
}

/** The same on every director, hence a canonical text; what a kind does not use takes no part. */
function createCheckNames(spec: CheckSpec): (address: IpAddress, port: number) => CheckId {
  const rest = JSON.stringify(parametersOf(spec)).slice(1);
  // The text of one list of all of it; written out, as a service may have very many real servers.
  return (address, port) =>
    checkId(hash64Hex(`["${spec.kind}",${JSON.stringify(address)},${port},${rest}`));
}

function parametersOf(spec: CheckSpec): readonly unknown[] {
  const common = [spec.intervalMs, spec.timeoutMs, spec.rise, spec.fall];
  if (spec.kind === 'tcp') return common;
  const status = spec.status.toSorted((a, b) => a[0] - b[0] || a[1] - b[1]);
  const verify = spec.kind === 'https' && spec.verify;
  return [...common, spec.method, spec.path, status, spec.host, verify];
}
