/**
 * The notifier's work, on whatever thread it is told to run: programs beside each other up to a limit,
 * and lines into pipes. The clock and the way to start a program are arguments.
 */
import type { NotifyJob, NotifyResult } from '../../ports/notifier.ts';
import { KILL_GRACE_MS, type ProgramResult, type RunningProgram } from '../programs/run-program.ts';
import type { Clock } from '../../ports/clock.ts';
import type { FifoWriter } from './fifo-writer.ts';
import type { FromNotifyWorker, ToNotifyWorker } from './notify-protocol.ts';

/** What cannot be killed (a dead disk) gives its place to others after this. */
const UNKILLABLE_MS = 2 * KILL_GRACE_MS;

export type NotifyRunnerWorld = {
  readonly clock: Clock;
  readonly start: (job: NotifyJob) => RunningProgram;
  readonly fifos: Pick<FifoWriter, 'write' | 'close'>;
  readonly post: (message: FromNotifyWorker) => void;
};

type Job = { readonly id: number; readonly job: NotifyJob };

export class NotifyRunner {
  readonly #maxConcurrent: number;
  readonly #world: NotifyRunnerWorld;
  readonly #running = new Map<number, RunningProgram>();
  #waiting: Job[] = [];

  constructor(options: { readonly maxConcurrent: number }, world: NotifyRunnerWorld) {
    this.#maxConcurrent = options.maxConcurrent;
    this.#world = world;
  }

  handle(message: ToNotifyWorker): void {
    switch (message.kind) {
      case 'run':
        this.#waiting.push({ id: message.id, job: message.job });
        this.#startSome();
        return;
      case 'kill':
        this.#kill(message.id);
        return;
      case 'write':
        this.#world.post({
          kind: 'wrote',
          id: message.id,
          result: this.#world.fifos.write(message.write),
        });
        return;
      case 'close':
        void this.#close();
        return;
    }
  }

  #startSome(): void {
    while (this.#running.size < this.#maxConcurrent) {
      const next = this.#waiting.shift();
      if (next === undefined) return;
      const program = this.#world.start(next.job);
      this.#running.set(next.id, program);
      void this.#follow(next.id, program);
    }
  }

  /** Told only when the program has gone: the next of its group must not meet it. */
  async #follow(id: number, program: RunningProgram): Promise<void> {
    const result = resultOf(await program.result);
    const limit = new AbortController();
    await Promise.race([program.gone, this.#world.clock.sleep(UNKILLABLE_MS, limit.signal)]);
    limit.abort();
    this.#running.delete(id);
    this.#world.post({ kind: 'ran', id, result });
    this.#startSome();
  }

  #kill(id: number): void {
    this.#running.get(id)?.kill();
    const before = this.#waiting.length;
    this.#waiting = this.#waiting.filter((job) => job.id !== id);
    if (this.#waiting.length < before)
      this.#world.post({ kind: 'ran', id, result: resultOf(NEVER_STARTED) });
  }

  async #close(): Promise<void> {
    this.#waiting = [];
    const programs = [...this.#running.values()];
    for (const program of programs) program.kill();
    const limit = new AbortController();
    await Promise.race([
      Promise.all(programs.map(({ gone }) => gone)),
      this.#world.clock.sleep(UNKILLABLE_MS, limit.signal),
    ]);
    limit.abort();
    this.#world.fifos.close();
    this.#world.post({ kind: 'closed' });
  }
}

const NEVER_STARTED = { kind: 'failed', message: 'not started in time' } as const;

function resultOf(result: ProgramResult): NotifyResult {
  switch (result.kind) {
    case 'exited':
      if (result.code === 0) return { kind: 'ok' };
      return { kind: 'failed', message: `exit code ${result.code}`, output: result.output };
    case 'timed-out':
      return { kind: 'timed-out' };
    case 'failed':
      return { kind: 'failed', message: result.message, output: '' };
  }
}
