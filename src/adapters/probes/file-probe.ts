/** File checks: a number that somebody else writes on this director (keepalived's FILE_CHECK). */
import type { Result } from '../../lib/result.ts';
import type { FileCheck } from '../../model/check.ts';
import type { Check } from '../../model/cluster.ts';
import type { CheckId } from '../../model/ids.ts';
import { COUNTS_AS_ZERO, type NumberReading, readNumberAside } from '../programs/number-file.ts';
import { down } from './failure-words.ts';
import type { Outcome, RunningProbe } from './probe.ts';

/**
 * Reads at once. They take threads of a pool that the whole process shares, the hold loop's files too: a dead disk must
 * not take all of them. All file checks are one thread's (`create-prober.ts`), so this is the number of all.
 */
export const READS_MAX = 2;

type Waiting = { readonly id: CheckId; readonly begin: () => void };

export class FileProbes {
  /** Reads under way: one that a dead disk holds up is not begun again. */
  readonly #reading = new Set<CheckId>();
  /** In order: their turn comes when a place is free and their last read has ended, or their deadline. */
  readonly #waiting = new Set<Waiting>();

  start(check: Check, spec: FileCheck, done: (outcome: Outcome) => void): RunningProbe {
    const { timeoutMs } = check.spec;
    let isOver = false;
    let hasBegun = false;
    const finish = (outcome: Outcome): void => {
      if (isOver) return;
      isOver = true;
      done(outcome);
    };
    const begin = (): void => {
      hasBegun = true;
      void this.#look(check.id, spec, finish); // Every error of it is an outcome.
    };
    const waiting: Waiting = { id: check.id, begin };
    if (this.#mayBegin(check.id)) begin();
    else this.#waiting.add(waiting);
    const end = (): void => {
      isOver = true;
      this.#waiting.delete(waiting);
    };
    const expire = (): Outcome => {
      end();
      // The disk is this director's: nothing is known of the real server.
      const detail =
        hasBegun || this.#reading.has(check.id)
          ? `${spec.path} could not be read within ${timeoutMs} ms`
          : `${spec.path} was not read: other files are still being read`;
      return { kind: 'local', detail };
    };
    return { abort: end, expire };
  }

  #mayBegin(id: CheckId): boolean {
    return this.#reading.size < READS_MAX && !this.#reading.has(id);
  }

  async #look(id: CheckId, spec: FileCheck, finish: (outcome: Outcome) => void): Promise<void> {
    const { path } = spec;
    this.#reading.add(id);
    const read = await readNumberAside(path);
    this.#reading.delete(id);
    const next = [...this.#waiting].find((waiting) => this.#mayBegin(waiting.id));
    if (next !== undefined) {
      this.#waiting.delete(next);
      next.begin();
    }
    finish(outcomeOf(spec, read));
  }
}

function outcomeOf({ path, factor }: FileCheck, read: Result<NumberReading, string>): Outcome {
  if (!read.ok) return { kind: 'local', detail: `${path} ${read.error}` };
  const { number, detail, isTorn } = read.value;
  if (isTorn) return down('file-unreadable', `${path} ${detail.replace(COUNTS_AS_ZERO, '')}`);
  return outcomeOfNumber(factor, number ?? 0, `${path} ${detail}`);
}

function outcomeOfNumber(factor: number | null, number: number, detail: string): Outcome {
  if (factor !== null) return { kind: 'up', detail, weight: { kind: 'add', by: number * factor } };
  return number === 0 ? { kind: 'up', detail } : down('file-says-down', detail);
}
