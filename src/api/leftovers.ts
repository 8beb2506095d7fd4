/** Drains and overrides of things that left the cluster document: they stay, and act again when it names them again. */
import { ABSENT } from '../model/ids.ts';
import type { ClusterSpec } from '../model/cluster.ts';
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
  const names = listing.value.entries.flatMap(({ key }) => subjectOf(ctx, key) ?? []);
  if (names.length === 0) return [];
  const [old, wanted] = [namesOf(before), namesOf(next)];
  const left = names.filter((name) => !wanted.has(name));
  const back = names.filter((name) => wanted.has(name) && !old.has(name));
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

function subjectOf({ keys }: ApiContext, key: string): string | null {
  const parsed = keys.parse(key);
  if (parsed?.kind === 'drain') return `director ${parsed.director}`;
  return parsed?.kind === 'real' ? `real server ${parsed.service}/${parsed.realServer}` : null;
}

const namesOf = (spec: ClusterSpec | null): ReadonlySet<string> =>
  new Set([
    ...(spec?.directors ?? []).map(({ id }) => `director ${id}`),
    ...(spec?.services ?? []).flatMap((service) =>
      service.realServers.map(({ id }) => `real server ${service.id}/${id}`),
    ),
  ]);

function listSome(names: readonly string[]): string {
  const rest = names.length - LISTED;
  return names.slice(0, LISTED).join(', ') + (rest > 0 ? ` and ${rest} more` : '');
}
