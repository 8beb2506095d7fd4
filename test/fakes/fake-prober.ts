/** The prober's real rhythm on virtual time; what a probe finds is what the test's world says. */
import type { Outcome } from '../../src/adapters/probes/probe.ts';
import { ProbeRunner } from '../../src/adapters/probes/probe-runner.ts';
import { AsyncQueue } from '../../src/lib/async.ts';
import type { Check } from '../../src/model/cluster.ts';
import type { Observation } from '../../src/model/health.ts';
import { type CheckId, monoMs } from '../../src/model/ids.ts';
import type { Clock } from '../../src/ports/clock.ts';
import type { Prober } from '../../src/ports/prober.ts';
import type { Random } from '../../src/ports/random.ts';

/** What the target does with a probe; `hang` runs into the deadline. */
export type FakeTarget =
  | { readonly kind: 'up' | 'down'; readonly detail: string; readonly latencyMs: number }
  | { readonly kind: 'hang' };

export type FakeProberOptions = {
  /** Asked at the start of each probe. */
  readonly target: (check: Check) => FakeTarget;
  readonly maxConcurrent?: number;
};

const BATCHES_MAX = 1_024;

export class FakeProber implements Prober {
  readonly #runner: ProbeRunner;
  readonly #queues = new Set<AsyncQueue<readonly Observation[]>>();
  #isClosed = false;
  /** Probes started, for tests that count. */
  started = 0;

  constructor(
    options: FakeProberOptions,
    ports: { readonly clock: Clock; readonly random: Random },
  ) {
    const { clock } = ports;
    const seed = Number.parseInt(ports.random.hex(4), 16);
    this.#runner = new ProbeRunner(
      { maxConcurrent: options.maxConcurrent ?? 512, seed },
      {
        now: () => clock.now(),
        setTimer: (ms, action) => clock.schedule(ms, action),
        probe: (check, done) => {
          this.started++;
          const target = options.target(check);
          const expire = (): Outcome => ({
            kind: 'down',
            reason: 'timeout-first-byte',
            detail: `no answer within ${check.spec.timeoutMs} ms`,
          });
          if (target.kind === 'hang') return { abort: () => {}, expire };
          const { kind, detail, latencyMs } = target;
          const outcome: Outcome =
            kind === 'up' ? { kind, detail } : { kind, detail, reason: 'other' };
          const cancel = clock.schedule(latencyMs, () => done(outcome));
          return { abort: cancel, expire: () => (cancel(), expire()) };
        },
        post: ({ results }) => {
          const now = clock.now();
          const batch = results.map(({ ageMs, ...rest }) => ({ ...rest, at: monoMs(now - ageMs) }));
          if (batch.length > 0) for (const queue of this.#queues) queue.push(batch);
        },
      },
    );
  }

  setChecks(checks: readonly Check[]): void {
    if (!this.#isClosed) this.#runner.handle({ kind: 'set', checks });
  }

  probeSoon(check: CheckId, afterMs = 0): void {
    if (!this.#isClosed) this.#runner.handle({ kind: 'soon', check, afterMs });
  }

  observations(signal: AbortSignal): AsyncIterable<readonly Observation[]> {
    const queue = new AsyncQueue<readonly Observation[]>(BATCHES_MAX);
    const end = (): void => {
      this.#queues.delete(queue);
      queue.end();
    };
    if (signal.aborted || this.#isClosed) queue.end();
    else {
      this.#queues.add(queue);
      signal.addEventListener('abort', end, { once: true });
    }
    return queue;
  }

  async close(): Promise<void> {
    if (!this.#isClosed) this.#runner.handle({ kind: 'set', checks: [] });
    this.#isClosed = true;
    for (const queue of this.#queues) queue.end();
    this.#queues.clear();
  }
}
