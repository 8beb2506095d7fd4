/** What the prober and its worker threads say to each other. */
import type { ProbeReason } from '../../model/check.ts';
import type { Check } from '../../model/cluster.ts';
import type { DynamicWeight } from '../../model/health.ts';
import type { CheckId } from '../../model/ids.ts';
import type { ProbeBatch, ProbeSaid } from '../../ports/prober.ts';

export type WorkerOptions = { readonly maxConcurrent: number; readonly seed: number };

/** The next probe comes not later than `afterMs` from now. */
export type SoonWish = { readonly check: CheckId; readonly afterMs: number };

export type ToWorker =
  /** The complete set of this worker. */
  | { readonly kind: 'set'; readonly checks: readonly Check[] }
  /** The same by what is new and what is gone; and how many probes may run at once from now on. */
  | {
      readonly kind: 'change';
      /** Also what stays, and is made otherwise from now on. */
      readonly added: readonly Check[];
      /** By which results name them, in the same order. */
      readonly numbers: readonly number[];
      readonly gone: readonly CheckId[];
      readonly maxConcurrent: number;
    }
  /** The next probe comes not later than `afterMs` from now. */
  | { readonly kind: 'soon'; readonly check: CheckId; readonly afterMs?: number }
  /** Many of these at once. */
  | { readonly kind: 'soons'; readonly wishes: readonly SoonWish[] }
  /** End all probes, and the thread. */
  | { readonly kind: 'stop' };

/** Two threads' clocks have different zeros: how long ago is said, not when. */
export type ProbeResult = {
  readonly check: CheckId;
  readonly isUp: boolean;
  readonly detail: string;
  readonly latencyMs: number;
  readonly ageMs: number;
  readonly reason: ProbeReason | null;
  readonly weight: DynamicWeight | null;
};

export type FromWorker = {
  readonly results: readonly ProbeResult[];
  /** Why this machine could not make some of the probes; null: it made them all. */
  readonly localFailure: string | null;
  /** The same by check, of some of them at least; absent: it made them all. */
  readonly unable?: ReadonlyMap<CheckId, string>;
};

/** Where thousands fail at once, the next batches name the others. */
export const UNABLE_MAX = 256;

/** The thread of plain connects tells where to write when a message waits; see `connect-worker.ts`. */
export type ConnectWorkerReady = { readonly wakeFd: number };

/** Results as numbers: thousands a second as objects would cost both threads more than the probes themselves. */
export type PackedResults = {
  /** For each result: number of the check, latency, age, and which of `said` it says. */
  readonly numbers: Float64Array<ArrayBuffer>;
  /** Each once: most of thousands say the same. */
  readonly said: readonly ProbeSaid[];
  readonly localFailure: string | null;
  /** By number of the check. */
  readonly unable?: readonly (readonly [number: number, detail: string])[];
};

/** Of each result in `numbers`. */
export const RESULT_FIELDS = 4;

/** The numbers by which a worker's results name its checks. */
export class CheckNumbers {
  readonly #numbers = new Map<CheckId, number>();

  take(message: ToWorker): void {
    if (message.kind !== 'change') return;
    for (const id of message.gone) this.#numbers.delete(id);
    for (const [n, { id }] of message.added.entries())
      this.#numbers.set(id, message.numbers[n] ?? -1);
  }

  pack(message: FromWorker): PackedResults {
    return packResults(message, (check) => this.#numbers.get(check) ?? -1);
  }
}

/** `numberOf`: of a check, as both threads know it. */
export function packResults(
  { results, localFailure, unable }: FromWorker,
  numberOf: (check: CheckId) => number,
): PackedResults {
  const numbers = new Float64Array(results.length * RESULT_FIELDS);
  const said: ProbeSaid[] = [];
  const plain = new Map<string, number>();
  let at = 0;
  for (const { check, isUp, detail, latencyMs, ageMs, reason, weight } of results) {
    // What says nothing of a weight is the same as another with its words: these go together.
    const word = weight === null ? `${isUp ? 'up' : reason} ${detail}` : null;
    let place = word === null ? undefined : plain.get(word);
    if (place === undefined) {
      place = said.push({ isUp, detail, reason, weight }) - 1;
      if (word !== null) plain.set(word, place);
    }
    numbers[at++] = numberOf(check);
    numbers[at++] = latencyMs;
    numbers[at++] = ageMs;
    numbers[at++] = place;
  }
  if (unable === undefined) return { numbers, said, localFailure };
  const failed = Array.from(unable, ([check, detail]) => [numberOf(check), detail] as const);
  return { numbers, said, localFailure, unable: failed };
}

/** Texts of targets may differ without end; what is forgotten is made anew. */
const SAID_MAX = 1_000;

/** One object for each thing that results say: who has seen it knows it at a glance. */
export class SaidBook {
  readonly #known = new Map<string, ProbeSaid>();

  /** What names a weight is an object of its own. */
  same(said: ProbeSaid): ProbeSaid {
    if (said.weight !== null) return said;
    const key = `${said.isUp ? 'up' : said.reason} ${said.detail}`;
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    if (this.#known.size >= SAID_MAX) this.#known.clear();
    this.#known.set(key, said);
    return said;
  }
}

/** `checkOf`: undefined where the check has been removed meanwhile; its results are left out. */
export function unpackResults(
  { numbers, said }: PackedResults,
  by: {
    readonly now: number;
    readonly checkOf: (number: number) => CheckId | undefined;
    readonly same: (said: ProbeSaid) => ProbeSaid;
  },
): ProbeBatch {
  const words = said.map((one) => by.same(one));
  const most = numbers.length / RESULT_FIELDS;
  const latencyMs = new Float64Array(most);
  const at = new Float64Array(most);
  const checks: CheckId[] = [];
  const what: ProbeSaid[] = [];
  for (let n = 0; n < numbers.length; n += RESULT_FIELDS) {
    const check = by.checkOf(numbers[n] ?? -1);
    const word = words[numbers[n + 3] ?? -1];
    if (check === undefined || word === undefined) continue;
    const place = checks.push(check) - 1;
    latencyMs[place] = numbers[n + 1] ?? 0;
    at[place] = by.now - (numbers[n + 2] ?? 0);
    what.push(word);
  }
  return { checks, latencyMs, at, said: what };
}
