/** Drains and overrides of things that left the cluster document: they stay, and act again when it names them again. */
import type { ClusterSpec } from '../model/cluster.ts';
import { ABSENT, type DirectorId, type RealServerId, type ServiceId } from '../model/ids.ts';
import { readKey, STORE_DEADLINE_MS, storeProblem } from './commit.ts';
import type { ApiContext } from './context.ts';
import { ProblemError } from './problem.ts';

/** Names listed in a warning. */
const LISTED = 10;

/**
 * What an operator should know before `next` replaces `before`: records without a subject, and old ones
 * that act again. Throws a `ProblemError` (503) where the store does not answer.
 */
export async function leftoverWarnings(
  ctx: ApiContext,
  before: ClusterSpec | null,
  next: ClusterSpec,
): Promise<string[]> {
  const listing = await ctx.store.list(ctx.keys.adminPrefix, { deadlineMs: STORE_DEADLINE_MS });
  if (!listing.ok) throw storeProblem(listing.error);
  const subjects = listing.value.entries.flatMap(({ key }) => subjectOf(ctx, key) ?? []);
  if (subjects.length === 0) return [];
  const [wasNamed, isNamed] = [namedIn(before), namedIn(next)];
  const left = subjects.filter((one) => !isNamed(one)).map(textOf);
  const back = subjects.filter((one) => isNamed(one) && !wasNamed(one)).map(textOf);
  return [
    ...(left.length === 0
      ? []
      : [
          `drained or overridden, but not in the document: ${listSome(left)}; this acts again when they come back, unless "leasehold rs ready" or "director undrain" ends it`,
        ]),
    ...(back.length === 0 || before === null
      ? []
      : [`still drained or overridden from before: ${listSome(back)}`]),
  ];
}

/** What `find` gives; null where it knows no such name, but the store has a record under `key` to be cleared. */
export async function findOrLeftover<T>(
  ctx: ApiContext,
  key: string,
  find: () => T,
): Promise<T | null> {
  try {
    return find();
  } catch (error) {
    const isUnknown = error instanceof ProblemError && error.problem.code === 'unknown-name';
    if (!isUnknown || (await readKey(ctx, key)).modRevision === ABSENT) throw error;
    return null;
  }
}

/** What a record is about. */
type Subject =
  | { readonly kind: 'director'; readonly id: DirectorId }
  | { readonly kind: 'real'; readonly service: ServiceId; readonly realServer: RealServerId };

function subjectOf({ keys }: ApiContext, key: string): Subject | null {
  const parsed = keys.parse(key);
  if (parsed?.kind === 'drain') return { kind: 'director', id: parsed.director };
  if (parsed?.kind !== 'real') return null;
  return { kind: 'real', service: parsed.service, realServer: parsed.realServer };
}

const textOf = (subject: Subject): string =>
  subject.kind === 'director'
    ? `director ${subject.id}`
    : `real server ${subject.service}/${subject.realServer}`;

/** Looks only into services that somebody asks for: a document may name tens of thousands of real servers. */
function namedIn(spec: ClusterSpec | null): (subject: Subject) => boolean {
  const directors = new Set((spec?.directors ?? []).map(({ id }) => id));
  const services = new Map((spec?.services ?? []).map((service) => [service.id, service]));
  const known = new Map<ServiceId, ReadonlySet<RealServerId>>();
  return (subject) => {
    if (subject.kind === 'director') return directors.has(subject.id);
    const { service, realServer } = subject;
    const realServers =
      known.get(service) ?? new Set((services.get(service)?.realServers ?? []).map(({ id }) => id));
    known.set(service, realServers);
    return realServers.has(realServer);
  };
}

function listSome(names: readonly string[]): string {
  const rest = names.length - LISTED;
  return names.slice(0, LISTED).join(', ') + (rest > 0 ? ` and ${rest} more` : '');
}
