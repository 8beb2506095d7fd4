/**
 * Counts processes by looking into /proc. A look is cheap while the processes found last are enough: only
 * they are read again; else everything is. Only processes that this PID namespace shows are seen.
 */
import { closeSync, openSync, readdirSync, readlinkSync, readSync, realpathSync } from 'node:fs';
import { basename } from 'node:path';

import type { ProcessTarget } from './track-protocol.ts';

/** The kernel keeps this much of a program's name (TASK_COMM_LEN − 1, proc(5)). */
const COMM_BYTES_MAX = 15;
/** Enough for `pid (comm) state` of stat, and for the first words of a command line. */
const READ_BYTES = 8192;
const DELETED = ' (deleted)';

export class ProcessTable {
  readonly #root: string;
  readonly #buffer = Buffer.alloc(READ_BYTES);
  /** What was found last, by target. */
  #found = new Map<string, readonly number[]>();

  constructor(root = '/proc') {
    this.#root = root;
  }

  /**
   * Running processes of each target, by its id. Without `isThorough` the number may be too low where
   * it reaches the quorum.
   */
  count(targets: readonly ProcessTarget[], isThorough: boolean): ReadonlyMap<string, number> {
    const found = isThorough ? null : this.#lookAgain(targets);
    this.#found = found ?? this.#scan(targets);
    return new Map([...this.#found].map(([id, pids]) => [id, pids.length]));
  }

  /** Null: of some target there are not enough any more. */
  #lookAgain(targets: readonly ProcessTarget[]): Map<string, readonly number[]> | null {
    const found = new Map<string, readonly number[]>();
    for (const target of targets) {
      const match = this.#matcherOf(target);
      const pids = (this.#found.get(target.id) ?? []).filter((pid) => match(pid, this.#comm(pid)));
      if (pids.length < target.quorum) return null;
      found.set(target.id, pids);
    }
    return found;
  }

  #scan(targets: readonly ProcessTarget[]): Map<string, readonly number[]> {
    const rows = targets.map(({ id }) => ({ id, pids: [] as number[] }));
    const matchers = targets.map((target) => this.#matcherOf(target));
    for (const pid of this.#pids()) {
      const comm = this.#comm(pid);
      for (const [n, match] of matchers.entries()) if (match(pid, comm)) rows[n]?.pids.push(pid);
    }
    return new Map(rows.map(({ id, pids }) => [id, pids]));
  }

  #matcherOf({ process }: ProcessTarget): (pid: number, comm: string) => boolean {
    const wanted = bytesOf(process);
    if (!process.startsWith('/')) return (pid, comm) => comm === wanted && !this.#isZombie(pid);
    const paths = [process, realPathOf(process)];
    const name = bytesOf(basename(process)).slice(0, COMM_BYTES_MAX);
    return (pid, comm) => {
      const exe = this.#exe(pid);
      if (exe !== null && paths.includes(exe)) return true;
      // Of others' processes the link may be secret. A script's link is its interpreter: the kernel
      // gave the process the script's name, and its path as the second word, or, behind the one argument that
      // its first line may have for the interpreter (execve(2)), as the third.
      if (comm !== name && exe !== null) return false;
      const [program, ...words] = this.#read(pid, 'cmdline').split('\0', 3);
      return (exe === null && program === wanted) || (comm === name && words.includes(wanted));
    };
  }

  /** None where there is no /proc: what cannot be seen does not run. */
  #pids(): readonly number[] {
    try {
      return readdirSync(this.#root)
        .filter((name) => /^\d+$/.test(name))
        .map(Number);
    } catch {
      return [];
    }
  }

  #comm(pid: number): string {
    return this.#read(pid, 'comm').replace(/\n$/, '');
  }

  #isZombie(pid: number): boolean {
    const stat = this.#read(pid, 'stat');
    // The name in parentheses may hold anything, also parentheses.
    return /^[ZXx]?$/.test(stat.charAt(stat.lastIndexOf(')') + 2));
  }

  /** Null: it has none, or may not be asked. */
  #exe(pid: number): string | null {
    try {
      const path = readlinkSync(`${this.#root}/${pid}/exe`);
      return path.endsWith(DELETED) ? path.slice(0, -DELETED.length) : path;
    } catch {
      return null;
    }
  }

  /** Empty where the process is gone. Bytes, not characters: names may hold anything. */
  #read(pid: number, file: string): string {
    let fd: number | null = null;
    try {
      fd = openSync(`${this.#root}/${pid}/${file}`, 'r');
      return this.#buffer.toString('latin1', 0, readSync(fd, this.#buffer, 0, READ_BYTES, 0));
    } catch {
      return '';
    } finally {
      if (fd !== null) closeSync(fd);
    }
  }
}

/** Text as its bytes, one to a character: as the files of /proc are read here. */
const bytesOf = (text: string): string => Buffer.from(text).toString('latin1');

function realPathOf(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}
