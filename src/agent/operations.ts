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
/** Operations with reports that wait (a rebalance may move every group), and reports of one operation. */
const OPERATIONS_MAX = 1024;
const REPORTS_MAX = 16;
/** Records that are written at the same time. */
const PARALLEL = 8;
/** A record is kept for a day after its last step. */
const KEEP_S = 24 * 3600;

type Told = { readonly report: Report; readonly at: string };

/** Reports of one operation, oldest first; `lease` is granted once for all tries of the next write. */
type Waiting = {
  readonly reports: Told[];
  lease: LeaseId | null;
  tries: number;
  /** In the queue, being written, or waiting for its next try. */
  isDue: boolean;
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
  const due: string[] = [];
  let writers = 0;
  let hasEnded = false;

  const drop = (id: string): void => {
    log.warn({ operation: id }, 'operation.report-dropped');
  };

  const makeDue = (id: string, entry: Waiting): void => {
    entry.isDue = true;
    due.push(id);
    if (writers === PARALLEL || hasEnded) return;
    writers += 1;
    void work();
  };

  const work = async (): Promise<void> => {
    for (let id = due.shift(); id !== undefined && !hasEnded; id = due.shift()) {
      const entry = waiting.get(id);
      if (entry !== undefined) await write(id, entry);
    }
    writers -= 1;
  };

  const write = async (id: string, entry: Waiting): Promise<void> => {
    const told = [...entry.reports];
    const outcome = await writeSteps(options.keys.operation(id), { told, entry }, ports);
    if (outcome === 'ended') hasEnded = true;
    if (outcome === 'later') return tryLater(id, entry);
    // Some may have been dropped at the bound, and others added, while these were written.
    while (entry.reports[0] !== undefined && told.includes(entry.reports[0])) entry.reports.shift();
    entry.lease = null;
    entry.tries = 0;
    entry.isDue = false;
    if (entry.reports.length > 0) makeDue(id, entry);
    else if (waiting.get(id) === entry) waiting.delete(id);
  };

  const tryLater = (id: string, entry: Waiting): void => {
    entry.tries += 1;
    if (entry.tries === TRIES_BEFORE_WARNING)
      log.warn({ operation: id, state: entry.reports[0]?.report.state }, 'operation.unreported');
    void clock.sleep(RETRY_MS).then(() => {
      if (waiting.get(id) === entry) makeDue(id, entry);
    });
  };

  return (report) => {
    const entry = waiting.get(report.id) ?? { reports: [], lease: null, tries: 0, isDue: false };
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
    if (!entry.isDue) makeDue(report.id, entry);
  };
}

type Batch = { readonly told: readonly Told[]; readonly entry: Waiting };

async function writeSteps(
  key: string,
  batch: Batch,
  ports: { readonly store: ClusterStore },
): Promise<Exclude<Try, 'beaten'>> {
  for (let i = 0; i < CONFLICTS_MAX; i++) {
    const outcome = await tryWrite(key, batch, ports);
    if (outcome !== 'beaten') return outcome;
  }
  return 'later';
}

async function tryWrite(
  key: string,
  { told, entry }: Batch,
  { store }: { readonly store: ClusterStore },
): Promise<Try> {
  const read = await store.get(key, { deadlineMs: CALL_MS });
  if (!read.ok) return read.error.code === 'aborted' ? 'ended' : 'later';
  if (read.value.value === null) return 'done';
  const parsed = parseRecord(OperationRecord, read.value.value);
  if (!parsed.ok) return 'done';
  const record = withSteps(parsed.value, told);
  if (record === null) return 'done';
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

/** The record with what is new to it, up to the end of the operation; null: nothing is. */
function withSteps(before: OperationRecord, told: readonly Told[]): OperationRecord | null {
  let record = before;
  for (const { report, at } of told) {
    if (isOver(record)) break;
    // An earlier try in doubt had committed.
    if (record.steps.some((step) => step.at === at && step.text === report.text)) continue;
    record = {
      ...record,
      state: report.state,
      steps: [...record.steps, { at, text: report.text }],
      result: report.state === 'running' ? null : report.text,
    };
  }
  return record === before ? null : record;
}

const isOver = (record: OperationRecord): boolean =>
  record.state === 'succeeded' || record.state === 'failed';
