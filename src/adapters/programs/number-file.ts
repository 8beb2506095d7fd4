/** Reads the integer that a file holds, in bounded time and memory, whatever the file is. */
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';

import { err, messageOf, ok, type Result } from '../../lib/result.ts';

const BYTES_MAX = 64;
/** keepalived's range. */
const NUMBER_MAX = 2 ** 31 - 1;

/** What the words about a file without a number end with. */
export const COUNTS_AS_ZERO = ', counts as 0';

export type NumberReading = {
  /** Null: there is none. */
  readonly number: number | null;
  readonly detail: string;
  /** There is a file, but no number in it: perhaps it is just being written. */
  readonly isTorn: boolean;
};

export function readNumber(path: string): NumberReading {
  let fd: number | null = null;
  try {
    // Opening a named pipe must not wait for its writer.
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    if (!fstatSync(fd).isFile()) return without('is no regular file', false);
    const buffer = Buffer.alloc(BYTES_MAX + 1);
    const length = readSync(fd, buffer, 0, buffer.length, 0);
    return parseNumber(buffer.toString('latin1', 0, length));
  } catch (error) {
    return without(describe(error), false);
  } finally {
    if (fd !== null) closeSync(fd);
  }
}

/**
 * The same on a thread of libuv's pool: a disk that does not answer holds up nobody else. The error is what keeps this
 * machine from reading, as words behind the path; a file that is missing is none.
 */
export async function readNumberAside(path: string): Promise<Result<NumberReading, string>> {
  let file: FileHandle | null = null;
  try {
    file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    if (!(await file.stat()).isFile()) return err('is no regular file');
    const buffer = Buffer.alloc(BYTES_MAX + 1);
    const { bytesRead } = await file.read(buffer, 0, buffer.length, 0);
    return ok(parseNumber(buffer.toString('latin1', 0, bytesRead)));
  } catch (error) {
    const words = describe(error);
    return words === MISSING ? ok(without(words, false)) : err(words);
  } finally {
    await file?.close();
  }
}

/** White space around the digits is allowed, anything else is not. */
export function parseNumber(text: string): NumberReading {
  if (text.length > BYTES_MAX) return without(`has more than ${BYTES_MAX} bytes`, true);
  const digits = /^\s*([+-]?\d+)\s*$/.exec(text)?.[1];
  if (digits === undefined)
    return without(text.trim() === '' ? 'is empty' : 'holds no integer', true);
  const number = Number(digits);
  if (Math.abs(number) > NUMBER_MAX) return without(`holds a number beyond ±${NUMBER_MAX}`, true);
  // Without the sign of a zero.
  return { number: number + 0, detail: `holds ${number + 0}`, isTorn: false };
}

function without(why: string, isTorn: boolean): NumberReading {
  return { number: null, detail: `${why}${COUNTS_AS_ZERO}`, isTorn };
}

const MISSING = 'does not exist';

function describe(error: unknown): string {
  switch (error instanceof Error && 'code' in error ? error.code : null) {
    case 'ENOENT':
    case 'ENOTDIR':
      return MISSING;
    case 'EACCES':
    case 'EPERM':
      return 'may not be read by the agent';
    default:
      return `cannot be read: ${messageOf(error)}`;
  }
}
