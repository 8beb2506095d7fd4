/** Writes what became of an operator's request into its record, step by step, each write guarded. */
import type { ElectionEffect } from '../core/election/state.ts';
import { formatRecord, OperationRecord, parseRecord } from '../model/records.ts';
import type { Keys } from '../model/keys.ts';
import type { Clock } from '../ports/clock.ts';
import type { ClusterStore } from '../ports/cluster-store.ts';
import type { Log } from '../ports/log.ts';

type Report = ElectionEffect & { readonly kind: 'operation' };

const CALL_MS = 2000;
const RETRY_MS = 300;
const TRIES = 20;
/** An operation that ended is kept for a day. */
const KEEP_S = 24 * 3600;

export function createOperationWriter(
  options: { readonly keys: Keys },
  ports: { readonly store: ClusterStore; readonly clock: Clock; readonly log: Log },
): (report: Report) => void {
  const { store, clock, log } = ports;
  /** Reports of one agent are written in the order they were made. */
  let queue: Promise<void> = Promise.resolve();

  const tryOnce = async (report: Report, at: string): Promise<boolean> => {
    const key = options.keys.operation(report.id);
    const read = await store.get(key, { deadlineMs: CALL_MS });
    if (!read.ok) return false;
    if (read.value.value === null) return true;
    const parsed = parseRecord(OperationRecord, read.value.value);
    if (!parsed.ok || isOver(parsed.value)) return true;
    // An earlier try in doubt had committed.
    if (parsed.value.steps.some((step) => step.at === at && step.text === report.text)) return true;
    const record: OperationRecord = {
      ...parsed.value,
      state: report.state,
      steps: [...parsed.value.steps, { at, text: report.text }],
      result: report.state === 'running' ? null : report.text,
    };
    const lease = isOver(record) ? await store.grantLease(KEEP_S, { deadlineMs: CALL_MS }) : null;
    if (lease !== null && !lease.ok) return false;
    const put = { op: 'put' as const, key, value: formatRecord(record) };
    const answer = await store.txn(
      {
        compares: [{ key, modRevision: read.value.modRevision }],
        success: [lease === null ? put : { ...put, lease: lease.value.lease }],
        failure: [],
      },
      { deadlineMs: CALL_MS },
    );
    return answer.kind === 'answered' && answer.succeeded;
  };

  const write = async (report: Report): Promise<void> => {
    const at = clock.wallTime();
    for (let i = 0; i < TRIES; i++) {
      if (await tryOnce(report, at)) return;
      await clock.sleep(RETRY_MS);
    }
    log.warn({ operation: report.id, state: report.state }, 'operation.unreported');
  };

  return (report) => {
    queue = queue.then(() => write(report));
  };
}

const isOver = (record: OperationRecord): boolean =>
  record.state === 'succeeded' || record.state === 'failed';
