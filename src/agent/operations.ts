/** Writes what became of an operator's request into its record, step by step, each write guarded. */
import type { ElectionEffect } from '../core/election/state.ts';
import { formatRecord, OperationRecord, parseRecord } from '../model/records.ts';
import type { LeaseId } from '../model/ids.ts';
import type { Keys } from '../model/keys.ts';
import type { Clock } from '../ports/clock.ts';
import type { ClusterStore } from '../ports/cluster-store.ts';
import type { Log } from '../ports/log.ts';

type Report = ElectionEffect & { readonly kind: 'operation' };

const CALL_MS = 2000;
const RETRY_MS = 1000;
/** Another director wrote a step first: read again at once, so often. */
const CONFLICTS_MAX = 3;
/** Tries after which an operator is told, once, that a report waits. */
const TRIES_BEFORE_WARNING = 20;
/** Operations with reports that wait, and reports of one operation: more than a cluster ever has. */
const OPERATIONS_MAX = 64;
const REPORTS_MAX = 16;
/** A record is kept for a day after its last step. */
const KEEP_S = 24 * 3600;

/** Reports of one operation, oldest first; `lease` is granted once for all tries of the first. */
type Waiting = {
  readonly reports: { readonly report: Report; readonly at: string }[];
  lease: LeaseId | null;
  tries: number;
};

/** `beaten`: somebody wrote first. `later`: try again. `ended`: the store was closed, as the agent ends. */
type Try = 'done' | 'beaten' | 'later' | 'ended';

/**
 * A report is tried until it is written: an operation that stays `running` would be in the way of the next.
 * Reports of one operation are written in the order they were made; the oldest is dropped at the bound.
 */
export function createOperationWriter(
  options: { readonly keys: Keys },
  ports: { readonly store: ClusterStore; readonly clock: Clock; readonly log: Log },
): (report: Report) => void {
  const { clock, log } = ports;
  const waiting = new Map<string, Waiting>();
  let isWriting = false;

  const drop = (id: string): void => {
    log.warn({ operation: id }, 'operation.report-dropped');
  };

  /** One report of each operation; false where the agent ends. */
  const pass = async (): Promise<boolean> => {
    for (const [id, entry] of waiting) {
      const [next] = entry.reports;
      const outcome =
        next === undefined ? 'done' : await writeStep(options.keys.operation(id), entry, ports);
      if (outcome === 'ended') return false;
      if (outcome === 'later') {
        entry.tries += 1;
        if (entry.tries === TRIES_BEFORE_WARNING)
          log.warn({ operation: id, state: next?.report.state }, 'operation.unreported');
        continue;
      }
      // A report may have been dropped at the bound while this one was written.
      if (entry.reports[0] === next) entry.reports.shift();
      entry.lease = null;
      entry.tries = 0;
      if (entry.reports.length === 0 && waiting.get(id) === entry) waiting.delete(id);
    }
    return true;
  };

  const writeAll = async (): Promise<void> => {
    while (waiting.size > 0) {
      if (!(await pass())) return;
      const isStuck = [...waiting.values()].some(({ tries }) => tries > 0);
      if (isStuck) await clock.sleep(RETRY_MS);
    }
    isWriting = false;
  };

  return (report) => {
    const entry = waiting.get(report.id) ?? { reports: [], lease: null, tries: 0 };
    waiting.set(report.id, entry);
    entry.reports.push({ report, at: clock.wallTime() });
    if (entry.reports.length > REPORTS_MAX) {
      entry.reports.shift();
      drop(report.id);
    }
    const [oldest] = waiting.keys();
    if (waiting.size > OPERATIONS_MAX && oldest !== undefined) {
      waiting.delete(oldest);
      drop(oldest);
    }
    if (isWriting) return;
    isWriting = true;
    void writeAll();
  };
}

async function writeStep(
  key: string,
  entry: Waiting,
  ports: { readonly store: ClusterStore },
): Promise<Exclude<Try, 'beaten'>> {
  for (let i = 0; i < CONFLICTS_MAX; i++) {
    const outcome = await tryStep(key, entry, ports);
    if (outcome !== 'beaten') return outcome;
  }
  return 'later';
}

async function tryStep(
  key: string,
  entry: Waiting,
  { store }: { readonly store: ClusterStore },
): Promise<Try> {
  const [next] = entry.reports;
  if (next === undefined) return 'done';
  const { report, at } = next;
  const read = await store.get(key, { deadlineMs: CALL_MS });
  if (!read.ok) return read.error.code === 'aborted' ? 'ended' : 'later';
  if (read.value.value === null) return 'done';
  const parsed = parseRecord(OperationRecord, read.value.value);
  if (!parsed.ok || isOver(parsed.value)) return 'done';
  // An earlier try in doubt had committed.
  if (parsed.value.steps.some((step) => step.at === at && step.text === report.text)) return 'done';
  const record: OperationRecord = {
    ...parsed.value,
    state: report.state,
    steps: [...parsed.value.steps, { at, text: report.text }],
    result: report.state === 'running' ? null : report.text,
  };
  if (entry.lease === null) {
    const granted = await store.grantLease(KEEP_S, { deadlineMs: CALL_MS });
    if (!granted.ok) return 'later';
    entry.lease = granted.value.lease;
  }
  // A put without a lease would take the key off the one that it has.
  const answer = await store.txn(
    {
      compares: [{ key, modRevision: read.value.modRevision }],
      success: [{ op: 'put', key, value: formatRecord(record), lease: entry.lease }],
      failure: [],
    },
    { deadlineMs: CALL_MS },
  );
  if (answer.kind === 'refused') entry.lease = null;
  if (answer.kind === 'answered') return answer.succeeded ? 'done' : 'beaten';
  return 'later';
}

const isOver = (record: OperationRecord): boolean =>
  record.state === 'succeeded' || record.state === 'failed';
