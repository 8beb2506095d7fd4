/** A notifier that runs nothing: jobs and lines are noted, and end as the test says, on virtual time. */
import type { Clock } from '../../src/ports/clock.ts';
import type {
  FifoResult,
  FifoWrite,
  Notifier,
  NotifyJob,
  NotifyResult,
} from '../../src/ports/notifier.ts';

/** What becomes of a job; `tookMs: null` hangs until its timeout. */
export type FakeOutcome = { readonly tookMs: number | null; readonly result: NotifyResult };

export type NotedJob = NotifyJob & { readonly startedAt: number; endedAt: number | null };

const OK_AT_ONCE: FakeOutcome = { tookMs: 1, result: { kind: 'ok' } };
const ENDED: NotifyResult = { kind: 'failed', message: 'ended by leasehold', output: '' };

export class FakeNotifier implements Notifier {
  readonly #clock: Clock;
  readonly #kills = new Set<() => void>();
  /** In the order of their starts. */
  readonly jobs: NotedJob[] = [];
  readonly lines: FifoWrite[] = [];
  /** Asked for each job. */
  outcome: (job: NotifyJob) => FakeOutcome = () => OK_AT_ONCE;
  fifo: (write: FifoWrite) => FifoResult = () => ({ kind: 'written' });
  #isClosed = false;

  constructor(ports: { readonly clock: Clock }) {
    this.#clock = ports.clock;
  }

  run(job: NotifyJob, signal: AbortSignal): Promise<NotifyResult> {
    if (this.#isClosed || signal.aborted) return Promise.resolve(ENDED);
    const noted: NotedJob = { ...job, startedAt: this.#clock.now(), endedAt: null };
    this.jobs.push(noted);
    const { tookMs, result } = this.outcome(job);
    return new Promise((resolve) => {
      const end = (how: NotifyResult): void => {
        cancel();
        this.#kills.delete(kill);
        signal.removeEventListener('abort', kill);
        noted.endedAt = this.#clock.now();
        resolve(how);
      };
      const kill = (): void => end(ENDED);
      const isLate = tookMs === null || tookMs > job.timeoutMs;
      const cancel = this.#clock.schedule(isLate ? job.timeoutMs : tookMs, () =>
        end(isLate ? { kind: 'timed-out' } : result),
      );
      this.#kills.add(kill);
      signal.addEventListener('abort', kill);
    });
  }

  async writeFifo(write: FifoWrite): Promise<FifoResult> {
    this.lines.push(write);
    return this.fifo(write);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    for (const kill of this.#kills) kill();
  }
}
