/** Stops an apply that would take most of the traffic away by mistake, until somebody confirms it. */
import { formatEndpoint } from '../model/address.ts';
import type { RealServer, VirtualService } from '../model/cluster.ts';
import type { ServiceId } from '../model/ids.ts';

/** What of a `ClusterSpec` the guard looks at. */
export type ShrinkView = {
  readonly services: readonly (Pick<VirtualService, 'id' | 'protocol' | 'address' | 'port'> & {
    readonly realServers: readonly Pick<RealServer, 'id'>[];
  })[];
};

export type Shrink = {
  /** Services whose name and whose address and port are both gone. */
  readonly removedServices: readonly ServiceId[];
  /** `service/real server` of services that stay and are left with none. */
  readonly removedRealServers: readonly string[];
  /** One sentence for the operator. */
  readonly message: string;
};

/**
 * Null where `after` may follow `before` without a question. Asks where more than half of the
 * services go, where a service that stays loses all its real servers, or where the whole spec does.
 * A service that was renamed, or moved to another address under its name, is not removed.
 * `before` is null where nothing was applied yet.
 */
export function checkShrink(before: ShrinkView | null, after: ShrinkView): Shrink | null {
  if (before === null) return null;
  const stays = pairServices(before, after);
  const removedServices = before.services.filter((_, i) => stays[i] === null).map(({ id }) => id);
  const emptied = before.services.filter(
    (service, i) => service.realServers.length > 0 && stays[i]?.realServers.length === 0,
  );
  const removedRealServers = emptied.flatMap((service) =>
    service.realServers.map((realServer) => `${service.id}/${realServer.id}`),
  );
  const had = countRealServers(before);
  const sentences: string[] = [];
  if (removedServices.length * 2 > before.services.length)
    sentences.push(
      `${removedServices.length} of ${before.services.length} services would be removed: ${listSome(removedServices)}`,
    );
  if (emptied.length > 0)
    sentences.push(
      `no real server would be left in: ${listSome(emptied.map((service) => service.id))}`,
    );
  if (had > 0 && countRealServers(after) === 0)
    sentences.push(`all ${had} real servers of the cluster would be removed`);
  if (sentences.length === 0) return null;
  return { removedServices, removedRealServers, message: sentences.join('; ') };
}

/** For each service of `before` what it is in `after`: by name, else by an address and port under a new name. */
function pairServices(
  before: ShrinkView,
  after: ShrinkView,
): readonly (ShrinkView['services'][number] | null)[] {
  const byName = new Map(after.services.map((service) => [service.id, service]));
  const known = new Set(before.services.map((service) => service.id));
  const renamed = new Map(
    after.services
      .filter((service) => !known.has(service.id))
      .map((service) => [endpointOf(service), service]),
  );
  return before.services.map(
    (service) => byName.get(service.id) ?? renamed.get(endpointOf(service)) ?? null,
  );
}

const endpointOf = (service: ShrinkView['services'][number]): string =>
  `${service.protocol} ${formatEndpoint(service.address, service.port)}`;

const countRealServers = (view: ShrinkView): number =>
  view.services.reduce((sum, service) => sum + service.realServers.length, 0);

const LISTED = 10;

function listSome(names: readonly string[]): string {
  const rest = names.length - LISTED;
  return names.slice(0, LISTED).join(', ') + (rest > 0 ? ` and ${rest} more` : '');
}
