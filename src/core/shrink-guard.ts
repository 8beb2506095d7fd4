/** Stops an apply that would take most of the traffic away by mistake, until somebody confirms it. */
import { runSteps } from '../lib/steps.ts';
import type { RealServer, VipGroup, VirtualService } from '../model/cluster.ts';
import type { GroupId, ServiceId } from '../model/ids.ts';
import { formatServiceKey } from '../model/kernel.ts';

/** What of a `ClusterSpec` the guard looks at. */
export type ShrinkView = {
  readonly groups: readonly (Pick<VipGroup, 'id'> & {
    readonly addresses: readonly Pick<VipGroup['addresses'][number], 'address'>[];
  })[];
  readonly services: readonly (Pick<VirtualService, 'id' | 'keys'> & {
    readonly realServers: readonly Pick<RealServer, 'id' | 'weight'>[];
  })[];
};

export type Shrink = {
  /** VIP groups none of whose addresses is left: gone, or under their old name with others. */
  readonly removedGroups: readonly GroupId[];
  /** Services whose name and whose address and port are both gone. */
  readonly removedServices: readonly ServiceId[];
  /** `service/real server` of services that stay and are left with none that takes connections. */
  readonly removedRealServers: readonly string[];
  /** One sentence for the operator. */
  readonly message: string;
};

/**
 * Null where `after` may follow `before` without a question. Asks where more than half of the VIP groups,
 * of the services, or of the addresses and ports of a service that stays go, where a group that stays
 * loses all its addresses or a service that stays all its real servers (weight 0 is as good as gone), or
 * where the whole spec does.
 * A group or a service that was renamed, or a service moved to another address under its name, is not removed.
 * `before` is null where nothing was applied yet.
 */
export const checkShrink = (before: ShrinkView | null, after: ShrinkView): Shrink | null =>
  runSteps(checkShrinkSteps(before, after));

/** The same, with a rest now and then: thousands of services take longer than the hold loop may wait. */
export function* checkShrinkSteps(
  before: ShrinkView | null,
  after: ShrinkView,
): Generator<undefined, Shrink | null> {
  if (before === null) return null;
  const groups = checkGroups(before, after);
  const services = yield* checkServices(before, after);
  const sentences = [...groups.sentences, ...services.sentences];
  if (sentences.length === 0) return null;
  return {
    removedGroups: groups.removed,
    removedServices: services.removed,
    removedRealServers: services.removedRealServers,
    message: sentences.join('; '),
  };
}

type Found<T> = { readonly removed: readonly T[]; readonly sentences: readonly string[] };

function checkGroups(before: ShrinkView, after: ShrinkView): Found<GroupId> {
  const names = new Set(after.groups.map(({ id }) => id));
  const addresses = new Set(
    after.groups.flatMap((group) => group.addresses.map(({ address }) => address)),
  );
  const lost = before.groups.filter((group) =>
    group.addresses.length === 0
      ? !names.has(group.id)
      : !group.addresses.some(({ address }) => addresses.has(address)),
  );
  const gone = lost.filter(({ id }) => !names.has(id)).map(({ id }) => id);
  const stripped = lost.filter(({ id }) => names.has(id)).map(({ id }) => id);
  const sentences: string[] = [];
  if (gone.length * 2 > before.groups.length)
    sentences.push(
      `${gone.length} of ${before.groups.length} VIP groups would be removed: ${listSome(gone)}`,
    );
  if (stripped.length > 0)
    sentences.push(`no address would be left of what is in: ${listSome(stripped)}`);
  return { removed: lost.map(({ id }) => id), sentences };
}

function* checkServices(
  before: ShrinkView,
  after: ShrinkView,
): Generator<undefined, Found<ServiceId> & Pick<Shrink, 'removedRealServers'>> {
  const stays = yield* pairServices(before, after);
  const removed = before.services.filter((_, i) => stays[i] === null).map(({ id }) => id);
  const emptied = before.services.filter(
    ({ realServers }, i) => realServers.length > 0 && stays[i]?.realServers.length === 0,
  );
  const stopped = before.services.filter(({ realServers }, i) => {
    const next = stays[i]?.realServers ?? [];
    return next.length > 0 && realServers.some(takesConnections) && !next.some(takesConnections);
  });
  yield;
  const sentences: string[] = [];
  if (removed.length * 2 > before.services.length)
    sentences.push(
      `${removed.length} of ${before.services.length} services would be removed: ${listSome(removed)}`,
    );
  if (emptied.length > 0)
    sentences.push(`no real server would be left in: ${listSome(emptied.map(({ id }) => id))}`);
  if (stopped.length > 0)
    sentences.push(
      `every real server would have weight 0 in: ${listSome(stopped.map(({ id }) => id))}`,
    );
  const narrowed = before.services.filter(({ keys }, i) => {
    const next = stays[i] ?? null;
    return next !== null && next.keys.length * 2 < keys.length;
  });
  if (narrowed.length > 0)
    sentences.push(
      `more than half of the addresses and ports would be removed from: ${listSome(narrowed.map(({ id }) => id))}`,
    );
  yield;
  const had = countRealServers(before);
  if (had > 0 && countRealServers(after) === 0)
    sentences.push(`all ${had} real servers of the cluster would be removed`);
  else if (hasTakers(before) && !hasTakers(after))
    sentences.push('no real server of the cluster would take connections');
  const removedRealServers = [...emptied, ...stopped].flatMap((service) =>
    service.realServers.map((realServer) => `${service.id}/${realServer.id}`),
  );
  return { removed, removedRealServers, sentences };
}

const takesConnections = ({ weight }: Pick<RealServer, 'weight'>): boolean => weight > 0;

type Service = ShrinkView['services'][number];

/** Services between two steps: far less than a millisecond, but where they have ranges. */
const REST_EVERY = 50;

/** For each service of `before` what it is in `after`: by name, else by an address and port under a new name. */
function* pairServices(
  before: ShrinkView,
  after: ShrinkView,
): Generator<undefined, readonly (Service | null)[]> {
  const byName = new Map(after.services.map((service) => [service.id, service]));
  const known = new Set(before.services.map((service) => service.id));
  const renamed = new Map<string, Service>();
  for (const [i, service] of after.services.entries()) {
    if (i % REST_EVERY === 0) yield;
    if (!known.has(service.id)) for (const key of keysOf(service)) renamed.set(key, service);
  }
  const pairs: (Service | null)[] = [];
  for (const [i, service] of before.services.entries()) {
    if (i % REST_EVERY === 0) yield;
    pairs.push(byName.get(service.id) ?? findRenamed(service, renamed));
  }
  return pairs;
}

function findRenamed(service: Service, renamed: ReadonlyMap<string, Service>): Service | null {
  for (const key of service.keys) {
    const found = renamed.get(formatServiceKey(key));
    if (found !== undefined) return found;
  }
  return null;
}

const keysOf = ({ keys }: Service): readonly string[] => keys.map(formatServiceKey);

// No list of them is made: there may be tens of thousands.
const countRealServers = ({ services }: ShrinkView): number =>
  services.reduce((sum, { realServers }) => sum + realServers.length, 0);

const hasTakers = ({ services }: ShrinkView): boolean =>
  services.some(({ realServers }) => realServers.some(takesConnections));

const LISTED = 10;

function listSome(names: readonly string[]): string {
  const rest = names.length - LISTED;
  return names.slice(0, LISTED).join(', ') + (rest > 0 ? ` and ${rest} more` : '');
}
