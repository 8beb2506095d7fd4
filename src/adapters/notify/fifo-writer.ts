/**
 * Lines into named pipes (fifo(7)). A pipe is kept open once somebody reads, so that a reader does not
 * come to its end after every line; nothing here waits for a reader.
 */
import { chownSync, closeSync, constants, openSync, statSync, writeSync } from 'node:fs';
import koffi from 'koffi';
import { err, messageOf, ok, type Result } from '../../lib/result.ts';
import type { FifoResult, FifoWrite } from '../../ports/notifier.ts';
import { findUser } from '../programs/users.ts';

/** Pipes kept open; beyond it the one unused for longest is closed. */
export const OPEN_PIPES_MAX = 64;
const MODE = 0o600;

export class FifoWriter {
  readonly #open = new Map<string, number>();
  #mkfifo: ((path: string, mode: number) => number) | null = null;

  write({ path, line, user }: FifoWrite): FifoResult {
    const kept = this.#open.get(path);
    if (kept !== undefined) {
      const result = this.#writeTo(path, kept, line);
      // Its reader has gone, perhaps with the pipe itself: there may be a new one.
      if (result.kind !== 'no-reader') return result;
    }
    const ready = this.#makeReady(path, user);
    if (!ready.ok) return { kind: 'failed', message: ready.error };
    try {
      // Fails with ENXIO where nobody reads; is closed at exec, as all that Node opens.
      const fd = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
      this.#keep(path, fd);
      return this.#writeTo(path, fd, line);
    } catch (error) {
      return codeOf(error) === 'ENXIO'
        ? { kind: 'no-reader' }
        : { kind: 'failed', message: messageOf(error) };
    }
  }

  close(): void {
    for (const path of this.#open.keys()) this.#drop(path);
  }

  #writeTo(path: string, fd: number, line: string): FifoResult {
    try {
      // Less than PIPE_BUF (4096): all of it or nothing, also beside other writers.
      writeSync(fd, line);
      return { kind: 'written' };
    } catch (error) {
      if (codeOf(error) === 'EAGAIN')
        return { kind: 'failed', message: `${path} is full: its reader does not read` };
      this.#drop(path);
      return codeOf(error) === 'EPIPE'
        ? { kind: 'no-reader' }
        : { kind: 'failed', message: messageOf(error) };
    }
  }

  /** Never writes into what is no pipe: a path may be mistyped. */
  #makeReady(path: string, user: string | null): Result<void, string> {
    try {
      const status = statSync(path, { throwIfNoEntry: false });
      if (status !== undefined)
        return status.isFIFO() ? ok(undefined) : err(`${path} is no named pipe`);
    } catch (error) {
      return err(messageOf(error));
    }
    const owner = user === null ? null : findUser(user);
    if (owner !== null && !owner.ok) return owner;
    this.#mkfifo ??= koffi.load(null).func('int mkfifo(const char *path, uint32_t mode)');
    if (this.#mkfifo(path, MODE) !== 0) return err(`${path} cannot be made: ${lastErrorName()}`);
    if (owner === null) return ok(undefined);
    try {
      chownSync(path, owner.value.uid, owner.value.gid);
      return ok(undefined);
    } catch (error) {
      return err(`${path} cannot be given to ${user ?? ''}: ${messageOf(error)}`);
    }
  }

  #keep(path: string, fd: number): void {
    this.#drop(path);
    this.#open.set(path, fd);
    const [oldest] = this.#open.keys();
    if (this.#open.size > OPEN_PIPES_MAX && oldest !== undefined) this.#drop(oldest);
  }

  #drop(path: string): void {
    const fd = this.#open.get(path);
    if (fd === undefined) return;
    this.#open.delete(path);
    closeSync(fd);
  }
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : null;
}

function lastErrorName(): string {
  const number = koffi.errno();
  const found = Object.entries(koffi.os.errno).find(([, value]) => value === number);
  return found?.[0] ?? `errno ${number}`;
}
