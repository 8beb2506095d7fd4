/** From the names in a URL to the objects of the cluster; an unknown name is answered with the known ones. */
import { parseIp } from '../model/address.ts';
import type { ClusterSpec, RealServer, VirtualService } from '../model/cluster.ts';
import { type DirectorId, directorId } from '../model/ids.ts';
import type { GroupStatus } from '../model/status.ts';
import type { ApiContext } from './context.ts';
import { type ProblemError, problemError } from './problem.ts';

/** Names listed in an answer. */
const KNOWN_MAX = 100;

export function unknownName(kind: string, name: string, names: readonly string[]): ProblemError {
  const known = names.slice(0, KNOWN_MAX);
  const rest = names.length - known.length;
  const list = known.length === 0 ? 'there are none' : `known: ${known.join(', ')}`;
  const detail = `there is no ${kind} "${name}"; ${list}${rest > 0 ? ` and ${rest} more` : ''}`;
  return problemError('unknown-name', detail, { known });
}

/** The usable spec; where there is none, a 404 that says what to do. */
export function requireSpec(ctx: ApiContext): ClusterSpec {
  const { spec } = ctx.view.spec();
  if (spec === null)
    throw problemError('unknown-name', 'no cluster document was applied yet; apply one first', {
      known: [],
    });
  return spec;
}

/** Directors of the spec, and those that the store still knows. */
export function findDirector(ctx: ApiContext, name: string): DirectorId {
  const inSpec = requireSpec(ctx).directors.map(({ id }) => String(id));
  const seen = ctx.view.status().directors.map((director) => director.name);
  const names = [...new Set([...inSpec, ...seen])];
  if (!names.includes(name)) throw unknownName('director', name, names);
  return directorId(name);
}

export function findGroup(ctx: ApiContext, name: string): GroupStatus {
  const { groups } = ctx.view.status();
  const found = groups.find((group) => group.name === name);
  if (found === undefined)
    throw unknownName(
      'VIP group',
      name,
      groups.map((group) => group.name),
    );
  return found;
}

export function findRealServer(
  ctx: ApiContext,
  serviceName: string,
  text: string,
): { readonly service: VirtualService; readonly realServer: RealServer } {
  const { services } = requireSpec(ctx);
  const service = services.find(({ id }) => id === serviceName);
  if (service === undefined)
    throw unknownName(
      'virtual service',
      serviceName,
      services.map(({ id }) => id),
    );
  const address = parseIp(text.replace(/^\[(.*)\]$/, '$1'));
  const matches = service.realServers.filter(
    (rs) => rs.id === text || (address.ok && rs.address === address.value),
  );
  const [realServer, ...others] = matches;
  if (realServer === undefined || others.length > 0)
    throw unknownName(
      `single real server of ${serviceName}`,
      text,
      (matches.length > 0 ? matches : service.realServers).map(({ id }) => id),
    );
  return { service, realServer };
}
