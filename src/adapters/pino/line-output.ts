/**
 * Lines into a descriptor, beside all other work. Neither a reader that is slow or gone nor a disk that is full holds
 * up the process or ends it: lines wait, up to a bound, and beyond it the new ones are lost.
 */
import { write, writeSync } from 'node:fs';
import type { Clock } from '../../ports/clock.ts';

export type LineOutput = {
  write(line: string): void;
  /** At the exit, when nothing is done beside it any more: what still waits, as far as it can be written at once. */
  flush(): void;
};

export type LineOutputPorts = {
  readonly clock: Pick<Clock, 'schedule'>;
  /** So many lines were lost, and lines can be written again. May write. */
  readonly lost: (lines: number) => void;
};

/** Waiting for a reader, or for room on the disk. */
export const WAITING_BYTES_MAX = 1 << 20;
/** A refused write is tried again so often; then with each new line, so that no timer keeps the process alive. */
const RETRIES = 20;
const RETRY_MS = 100;
/** At the exit, for a reader that is slow. */
const FLUSH_TRIES = 10;
const FLUSH_REST_MS = 20;

export function createLineOutput(fd: number, ports: LineOutputPorts): LineOutput {
  return new Output(fd, ports);
}

class Output implements LineOutput {
  readonly #fd: number;
  readonly #ports: LineOutputPorts;
  #waiting: Buffer[] = [];
  /** Of those and of what is being written. */
  #bytes = 0;
  #lost = 0;
  #failures = 0;
  #isWriting = false;
  #isResting = false;
  #isReaderGone = false;

  constructor(fd: number, ports: LineOutputPorts) {
    this.#fd = fd;
    this.#ports = ports;
  }

  write(line: string): void {
    if (this.#isReaderGone) return;
    const bytes = Buffer.from(line);
    if (this.#bytes + bytes.length > WAITING_BYTES_MAX) this.#lost++;
    else {
      this.#waiting.push(bytes);
      this.#bytes += bytes.length;
    }
    if (!this.#isResting) this.#writeNext();
  }

  flush(): void {
    let rest = Buffer.concat(this.#waiting);
    this.#waiting = [];
    for (let tries = 0; rest.length > 0 && tries < FLUSH_TRIES; ) {
      try {
        rest = rest.subarray(writeSync(this.#fd, rest));
      } catch (error) {
        if (codeOf(error) !== 'EAGAIN') return;
        tries++;
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, FLUSH_REST_MS);
      }
    }
  }

  #writeNext(): void {
    if (this.#isWriting || this.#waiting.length === 0) return;
    const chunk = Buffer.concat(this.#waiting);
    this.#waiting = [];
    this.#isWriting = true;
    write(this.#fd, chunk, (error, written) => {
      this.#isWriting = false;
      const left = chunk.subarray(error === null ? written : 0);
      this.#bytes -= chunk.length - left.length;
      if (left.length > 0) this.#waiting.unshift(left);
      if (error === null) this.#goOn();
      else if (error.code === 'EPIPE') this.#giveUp();
      else this.#retryLater();
    });
  }

  #goOn(): void {
    this.#failures = 0;
    const lost = this.#lost;
    this.#lost = 0;
    if (lost > 0) this.#ports.lost(lost);
    this.#writeNext();
  }

  /** It does not come back. */
  #giveUp(): void {
    this.#isReaderGone = true;
    this.#waiting = [];
  }

  #retryLater(): void {
    if (++this.#failures > RETRIES) return;
    this.#isResting = true;
    this.#ports.clock.schedule(RETRY_MS, () => {
      this.#isResting = false;
      this.#writeNext();
    });
  }
}

const codeOf = (error: unknown): unknown =>
  error instanceof Error && 'code' in error ? error.code : null;
