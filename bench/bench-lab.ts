/** What the benches on a cluster share: a lab that is always removed. */
import {
  type ClusterLab,
  type ClusterLabOptions,
  createClusterLab,
} from '../test/support/cluster-lab.ts';

export type BenchOptions = {
  /** How often each figure is taken. */
  readonly runs: number;
  /** Only these rows, by their ids; empty: all. */
  readonly only: readonly string[];
  /** Keeps what there is so far beside the result, as JSON. */
  readonly save: (data: object) => void;
  /** What `save` was given last time, for a bench that takes some of its rows anew; null: nothing. */
  readonly kept: unknown;
  /** Progress, one line. */
  readonly say: (text: string) => void;
  /** Ends the bench early: what it started is removed, and it throws. */
  readonly signal: AbortSignal;
};

export type BenchResult = {
  readonly text: string;
  /** Markdown for docs/bench.md, between the marks of the bench's name. */
  readonly table?: string;
};

export type Bench = (options: BenchOptions) => Promise<BenchResult>;

/** Runs `body` in a lab that is removed afterwards, also after a failure or an early end. */
export async function withLab<T>(
  options: ClusterLabOptions,
  signal: AbortSignal,
  body: (lab: ClusterLab) => Promise<T>,
): Promise<T> {
  signal.throwIfAborted();
  const lab = await createClusterLab(options);
  const aborted = new Promise<never>((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
  });
  try {
    return await Promise.race([body(lab), aborted]);
  } catch (cause) {
    if (signal.aborted) throw cause;
    throw new Error(`see ${await lab.collectEvidence(`bench-${options.name}`)}`, { cause });
  } finally {
    await lab.close();
  }
}
