/** One record of the admin area, replaced under guard: read, decide, write, again when somebody was faster. */
import { ABSENT } from '../model/ids.ts';
import { formatRecord } from '../model/records.ts';
import { commitIntent, type Intent, readKey } from './commit.ts';
import type { ApiContext, Caller } from './context.ts';
import { problemError } from './problem.ts';
import type { ChangeResult } from './schemas/responses.ts';

/** Rounds lost to other writers before the caller hears of it. */
const TRIES = 4;

export type Wanted = {
  /** The record to be put; `null` deletes; `undefined`: it is so already. */
  readonly record: object | null | undefined;
  readonly summary: string;
  readonly warnings: readonly string[];
};

export type Change = {
  readonly key: string;
  readonly dryRun: boolean;
  readonly decide: (value: string | null) => Wanted;
  readonly event: Pick<Intent['event'], 'kind' | 'subject' | 'reason'>;
};

/** Throws a `ProblemError`: 409 under endless contention, 503, 504. */
export async function changeRecord(
  ctx: ApiContext,
  caller: Caller,
  change: Change,
): Promise<ChangeResult> {
  const { key, dryRun, event } = change;
  for (let i = 0; i < TRIES; i++) {
    const current = await readKey(ctx, key);
    const { record, summary, warnings } = change.decide(current.value);
    const isDeleted = record === null && current.modRevision === ABSENT;
    const changed = record !== undefined && !isDeleted;
    const result = { changed, dryRun, summary, warnings: [...warnings] };
    if (!changed || dryRun) return { ...result, revision: null, event: null };
    const committed = await commitIntent(ctx, caller, {
      compares: [{ key, modRevision: current.modRevision }],
      operations: [
        record === null ? { op: 'delete', key } : { op: 'put', key, value: formatRecord(record) },
      ],
      event: { ...event, message: summary },
    });
    if (committed.kind === 'committed')
      return { ...result, revision: committed.revision, event: committed.eventId };
  }
  throw problemError('conflict', 'others keep changing the same thing; try again');
}
