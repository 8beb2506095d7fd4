/**
 * Locks between programs of this machine: flock(2) on files that only root can open, so that nobody else can take
 * one or keep it. The kernel lets go of a lock when its process ends, however that ends.
 */
import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  ftruncateSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  statSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import koffi from 'koffi';
import { err, messageOf, ok, type Result } from '../../lib/result.ts';
import type { LockFailure, RunLock } from '../../ports/run-lock.ts';

/** Fixed: whatever else is configured, two agents of one network namespace must meet here. */
export const RUN_DIRECTORY = '/run/leasehold';

const LOCK_EX_NB = 2 | 4;
/** Somebody may remove the file between the opening and the lock. */
const TRIES = 3;
/** A group that root lets in is root's choice. */
const WRITABLE_BY_OTHERS = 0o002;
const OPEN_TO_OTHERS = 0o077;

/** Taken at once or not; `name` without its ending. */
export function tryRunLock(
  name: string,
  directory: string = RUN_DIRECTORY,
): Result<RunLock, LockFailure> {
  const path = join(directory, `${name}.lock`);
  try {
    const problem = prepareDirectory(directory);
    if (problem !== null) return err({ kind: 'failed', message: problem });
    for (let i = 0; i < TRIES; i++) {
      const taken = tryOnce(path);
      if (taken !== null) return taken;
    }
    return err({ kind: 'failed', message: `${path} is removed again and again` });
  } catch (error) {
    const isDenied = hasCode(error, 'EACCES') || hasCode(error, 'EPERM');
    const remedy = isDenied ? '; run as root' : '';
    return err({ kind: 'failed', message: `${path}: ${messageOf(error)}${remedy}` });
  }
}

/** Who could put another file in its place could lock us out; null: nobody can. */
function prepareDirectory(directory: string): string | null {
  mkdirSync(directory, { recursive: true, mode: 0o755 });
  const found = lstatSync(directory);
  if (!found.isDirectory()) return `${directory} is no directory`;
  if (!isTrusted(found.uid) || (found.mode & WRITABLE_BY_OTHERS) !== 0)
    return `others may write to ${directory}: chown root ${directory}, chmod 755 ${directory}`;
  return null;
}

/** Null: the file was removed meanwhile. */
function tryOnce(path: string): Result<RunLock, LockFailure> | null {
  const { O_RDWR, O_CREAT, O_NOFOLLOW } = constants;
  const fd = openSync(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0o600);
  let isKept = false;
  try {
    const found = fstatSync(fd);
    if (!isTrusted(found.uid))
      return err({ kind: 'failed', message: `${path} belongs to user ${found.uid}: remove it` });
    if ((found.mode & OPEN_TO_OTHERS) !== 0) fchmodSync(fd, 0o600);
    const errno = lock(fd);
    if (errno === 'EAGAIN' || errno === 'EWOULDBLOCK')
      return err({ kind: 'taken', path, pid: readPid(fd) });
    if (errno !== null) return err({ kind: 'failed', message: `${path}: flock: ${errno}` });
    if (!isThere(path, found.ino)) return null;
    noteProcess(fd);
    isKept = true;
    return ok({ release: () => release(path, fd) });
  } finally {
    if (!isKept) closeSync(fd);
  }
}

/** For who finds it taken. The lock counts, not what is in the file: its disk may be full. */
function noteProcess(fd: number): void {
  try {
    ftruncateSync(fd);
    writeSync(fd, `${process.pid}\n`, 0);
  } catch {
    // Then nobody is told which process has it.
  }
}

/** While it is ours: who opened the file before finds after the lock that it is not there any more. */
function release(path: string, fd: number): void {
  try {
    // Somebody may have removed it, and another one may have made it anew.
    if (isThere(path, fstatSync(fd).ino)) unlinkSync(path);
  } catch (error) {
    // The lock counts, not the file; systemd may have removed the directory.
    if (!hasCode(error, 'ENOENT')) throw error;
  } finally {
    closeSync(fd);
  }
}

const isTrusted = (uid: number): boolean => uid === 0 || uid === process.geteuid?.();

/** Null: it is ours. */
function lock(fd: number): string | null {
  const flock = koffi.load(null).func('int flock(int fd, int operation)');
  if (flock(fd, LOCK_EX_NB) === 0) return null;
  const errno = koffi.errno();
  const names = Object.entries(koffi.os.errno);
  return names.find(([, value]) => value === errno)?.[0] ?? `errno ${errno}`;
}

function isThere(path: string, inode: number): boolean {
  try {
    return statSync(path).ino === inode;
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return false;
    throw error;
  }
}

function readPid(fd: number): number | null {
  const text = readFileSync(fd, 'utf8').trim();
  return /^\d{1,10}$/.test(text) ? Number(text) : null;
}

const hasCode = (error: unknown, code: string): boolean =>
  error instanceof Error && 'code' in error && error.code === code;
