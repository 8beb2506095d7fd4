/** A table of marks as a kernel has it: whole or not there, and it outlives the process. */
import { AsyncQueue } from '../../src/lib/async.ts';
import { err, ok, type Result } from '../../src/lib/result.ts';
import type { KernelError } from '../../src/model/kernel.ts';
import {
  formatMarked,
  type MarkChange,
  type MarkContents,
  type MarkEntry,
} from '../../src/model/marks.ts';
import type { MarkTable } from '../../src/ports/marks.ts';

export type MarkCall = 'observe' | 'replace' | 'change' | 'remove';

export class FakeMarks implements MarkTable {
  readonly calls: MarkCall[] = [];
  /** Called at the end of each call, as another program that acts between two of ours. */
  afterCall: (call: MarkCall) => void = () => {};
  #contents: MarkContents | null = null;
  #failures = new Map<MarkCall, KernelError>();
  readonly #watchers = new Set<AsyncQueue<string>>();

  get contents(): MarkContents | null {
    return this.#contents;
  }

  get watchers(): number {
    return this.#watchers.size;
  }

  /** Calls of that kind fail until `heal`, and change nothing. */
  fail(call: MarkCall, error: KernelError): void {
    this.#failures.set(call, error);
  }

  heal(): void {
    this.#failures.clear();
  }

  /** What somebody else does; null: the table goes. `isSilent`: nobody is told. */
  disturb(contents: MarkContents | null, isSilent = false): void {
    this.#contents = contents;
    if (!isSilent) this.#tell();
  }

  observe(): Promise<Result<MarkContents | null, KernelError>> {
    return this.#answer('observe', () => ok(this.#contents));
  }

  replace(entries: readonly MarkEntry[]): Promise<Result<void, KernelError>> {
    return this.#answer('replace', () => {
      const twice = findOverlap(entries);
      if (twice !== null)
        return err({ code: 'EEXIST', message: `write the table of marks: EEXIST (${twice})` });
      this.#contents = { isIntact: true, entries: [...entries] };
      this.#tell();
      return ok(undefined);
    });
  }

  change({ add, remove }: MarkChange): Promise<Result<void, KernelError>> {
    return this.#answer('change', () => {
      const refused = (code: string): Result<void, KernelError> =>
        err({ code, message: `change the table of marks: ${code}` });
      if (this.#contents === null) return refused('ENOENT');
      const gone = new Set(remove.map(formatMarked));
      const left = this.#contents.entries.filter((entry) => !gone.has(formatMarked(entry)));
      if (left.length + gone.size !== this.#contents.entries.length) return refused('ENOENT');
      const entries = [...left, ...add];
      if (findOverlap(entries) !== null) return refused('EEXIST');
      this.#contents = { ...this.#contents, entries };
      this.#tell();
      return ok(undefined);
    });
  }

  remove(): Promise<Result<void, KernelError>> {
    return this.#answer('remove', () => {
      if (this.#contents !== null) {
        this.#contents = null;
        this.#tell();
      }
      return ok(undefined);
    });
  }

  async *watch(signal: AbortSignal): AsyncIterable<string> {
    const queue = new AsyncQueue<string>(1);
    this.#watchers.add(queue);
    const end = (): void => queue.end();
    signal.addEventListener('abort', end, { once: true });
    if (signal.aborted) end();
    try {
      yield* queue;
    } finally {
      signal.removeEventListener('abort', end);
      this.#watchers.delete(queue);
    }
  }

  close(): void {
    for (const queue of this.#watchers) queue.end();
  }

  async #answer<T>(
    call: MarkCall,
    act: () => Result<T, KernelError>,
  ): Promise<Result<T, KernelError>> {
    this.calls.push(call);
    const failure = this.#failures.get(call);
    const result = failure === undefined ? act() : err(failure);
    this.afterCall(call);
    return result;
  }

  #tell(): void {
    for (const queue of this.#watchers) queue.push('the table of marks was changed');
  }
}

/** As the kernel, which refuses the whole batch then. */
function findOverlap(entries: readonly MarkEntry[]): string | null {
  for (const [i, { address, protocol, ports }] of entries.entries())
    for (const other of entries.slice(0, i))
      if (
        other.address === address &&
        other.protocol === protocol &&
        other.ports.from <= ports.to &&
        ports.from <= other.ports.to
      )
        return formatMarked(other);
  return null;
}
