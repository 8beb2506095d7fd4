/** Has the kernel carry out a plan, and sorts what it answered by service and by what is beside the table. */
import { describeFailure, formatOperation } from '../core/plan/failure-text.ts';
import { serviceKeyOf } from '../core/plan/ipvs-plan.ts';
import type { ServiceKey } from '../model/cluster.ts';
import {
  formatServiceKey,
  type IpvsControlOperation,
  type IpvsOperation,
  type IpvsTableOperation,
} from '../model/kernel.ts';
import type { IpvsKernel } from '../ports/kernel.ts';
import type { Log } from '../ports/log.ts';
import type { Metrics } from '../ports/metrics.ts';
import { controlKeyOf } from './control-book.ts';
import type { ControlKey } from './reconcile-state.ts';

export type Applied = {
  /** By service key: what went wrong first. */
  readonly failed: Map<string, string>;
  readonly controlFailed: Map<ControlKey, string>;
  readonly done: readonly IpvsOperation[];
};

type Ports = {
  readonly kernel: Pick<IpvsKernel, 'apply'>;
  readonly metrics: Pick<Metrics, 'operationApplied'>;
  readonly log: Log;
};

type ApplyResult = Awaited<ReturnType<IpvsKernel['apply']>>[number];

export const isOfTable = (operation: IpvsOperation): operation is IpvsTableOperation =>
  controlOf(operation) === null;

export function controlOf(operation: IpvsOperation): IpvsControlOperation | null {
  switch (operation.op) {
    case 'zero':
    case 'set-timeouts':
    case 'new-daemon':
    case 'delete-daemon':
      return operation;
    default:
      return null;
  }
}

/** A plan has the same key in thousands of operations, and each is asked for several times. */
const texts = new WeakMap<ServiceKey, string>();

export function keyOf(operation: IpvsTableOperation): string {
  const key = serviceKeyOf(operation);
  const known = texts.get(key);
  if (known !== undefined) return known;
  const text = formatServiceKey(key);
  texts.set(key, text);
  return text;
}

/** So many at a time: what is noted of their answers takes about a millisecond, and the hold loop waits. */
const LOT = 1000;

export async function applyPlan(
  { kernel, metrics, log }: Ports,
  operations: readonly IpvsOperation[],
): Promise<Applied> {
  const failed = new Map<string, string>();
  const controlFailed = new Map<ControlKey, string>();
  if (operations.length === 0) return { failed, controlFailed, done: [] };
  const done: IpvsOperation[] = [];
  const counts = new Counts();
  for (let start = 0; start < operations.length; start += LOT) {
    const lot = operations.slice(start, start + LOT);
    // oxlint-disable-next-line no-await-in-loop -- the order is the plan's
    const results = await kernel.apply(lot);
    for (const [i, operation] of lot.entries()) {
      const result = results[i];
      const isDone = result?.ok === true;
      counts.add(operation.op, isDone);
      if (isDone) done.push(operation);
      else if (isOfTable(operation))
        keepFirst(failed, keyOf(operation), tableFailure(operation, result));
      else keepFirst(controlFailed, controlKeyOf(operation), controlFailure(operation, result));
    }
  }
  counts.tell(metrics);
  log.info(
    { operations: operations.length, failed: operations.length - done.length },
    'plan.applied',
  );
  return { failed, controlFailed, done };
}

function keepFirst<K>(texts: Map<K, string>, key: K | null, text: string): void {
  if (key !== null && !texts.has(key)) texts.set(key, text);
}

const tableFailure = (operation: IpvsTableOperation, result: ApplyResult | undefined): string =>
  result === undefined || result.ok
    ? `${formatOperation(operation)}: no answer`
    : describeFailure(operation, result.error);

/** The kernel's adapter names the daemon and the remedy. */
const controlFailure = (
  operation: IpvsControlOperation,
  result: ApplyResult | undefined,
): string =>
  result === undefined || result.ok
    ? `${operation.op}: no answer`
    : `${result.error.message} (${result.error.code})`;

class Counts {
  readonly #counts = new Map<string, { op: string; result: 'ok' | 'failed'; count: number }>();

  add(op: string, isDone: boolean): void {
    const id = `${op} ${isDone}`;
    const entry = this.#counts.get(id) ?? { op, result: isDone ? 'ok' : 'failed', count: 0 };
    entry.count++;
    this.#counts.set(id, entry);
  }

  tell(metrics: Pick<Metrics, 'operationApplied'>): void {
    for (const { op, result, count } of this.#counts.values())
      metrics.operationApplied(op, result, count);
  }
}
