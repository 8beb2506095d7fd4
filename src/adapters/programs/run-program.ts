/**
 * Runs a program of the operator's: no shell, a process group of its own, an environment of its own, as
 * another user where asked, and never longer than its timeout.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { constants, setPriority } from 'node:os';
import type { Readable } from 'node:stream';

import { messageOf } from '../../lib/result.ts';
import type { Clock } from '../../ports/clock.ts';
import { findUser, type ProgramUser } from './users.ts';

export type ProgramRequest = {
  /** Program and arguments; a program without a slash is looked up in `PROGRAM_PATH`. */
  readonly command: readonly string[];
  /** As `findUser` reads it; null: the agent's own. Supplementary groups are dropped. */
  readonly user: string | null;
  /** Joins PATH, and HOME, USER, LOGNAME and SHELL of the user; nothing of the agent's own is passed on. */
  readonly env: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
  /** Of standard output and error together; the rest is read and dropped. 0: both go nowhere. */
  readonly maxOutputBytes: number;
  /** Processes of its group that outlive the program; after a timeout they are always killed. */
  readonly leftovers: 'kill' | 'leave';
};

export type ProgramResult =
  | { readonly kind: 'exited'; readonly code: number; readonly output: string }
  | { readonly kind: 'timed-out' }
  /** A signal ended it; or, where `hasStarted` is absent, it could not be started. The words are for people. */
  | { readonly kind: 'failed'; readonly message: string; readonly hasStarted?: true };

export type RunningProgram = {
  /** At the latest when the timeout has passed, though the program may need time to die. */
  readonly result: Promise<ProgramResult>;
  /** The program has ended. Late, or never, where the kernel cannot kill it (a dead disk). */
  readonly gone: Promise<void>;
  /** Ends the group as a timeout would; the result is `failed` where there is none yet. */
  kill(): void;
};

export const PROGRAM_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
/** From SIGTERM to SIGKILL. */
export const KILL_GRACE_MS = 1000;
/** A timer later than this means that this thread stood still: the end may be waiting to be read. */
const STALL_MS = 50;
/** A process left behind may keep the pipes open: they are read this long after the end. */
const LAST_OUTPUT_MS = 100;

type ProgramPorts = { readonly clock: Clock };

/** Waits for the program to end, also after a timeout: the next one may start then. */
export async function runProgram(
  request: ProgramRequest,
  ports: ProgramPorts,
): Promise<ProgramResult> {
  const program = startProgram(request, ports);
  const result = await program.result;
  // Where even SIGKILL does not help, others must not wait for ever.
  const limit = new AbortController();
  await Promise.race([program.gone, ports.clock.sleep(2 * KILL_GRACE_MS, limit.signal)]);
  limit.abort();
  return result;
}

/** Never throws: what cannot be started has failed. */
export function startProgram(request: ProgramRequest, ports: ProgramPorts): RunningProgram {
  const [program, ...args] = request.command;
  if (program === undefined || program === '') return notStarted('the command is empty');
  const user = request.user === null ? null : findUser(request.user);
  if (user !== null && !user.ok) return notStarted(user.error);
  try {
    const child = spawn(program, args, spawnOptions(request, user?.value ?? null));
    return new Run(child, request, ports.clock);
  } catch (error) {
    return notStarted(describeStart(error, request));
  }
}

function notStarted(message: string): RunningProgram {
  return {
    result: Promise.resolve({ kind: 'failed', message }),
    gone: Promise.resolve(),
    kill: () => {},
  };
}

function spawnOptions({ env, maxOutputBytes }: ProgramRequest, user: ProgramUser | null) {
  const output = maxOutputBytes === 0 ? ('ignore' as const) : ('pipe' as const);
  const isOther =
    user !== null && (user.uid !== process.getuid?.() || user.gid !== process.getgid?.());
  return {
    cwd: '/',
    env: { PATH: PROGRAM_PATH, ...environmentOf(user), ...env },
    stdio: ['ignore' as const, output, output],
    // A session and a process group of its own: the group can be killed as a whole.
    detached: true,
    ...(isOther ? { uid: user.uid, gid: user.gid } : {}),
  };
}

function environmentOf(user: ProgramUser | null): Record<string, string> {
  if (user === null) return {};
  return {
    ...(user.name === null ? {} : { USER: user.name, LOGNAME: user.name }),
    ...(user.home === null ? {} : { HOME: user.home }),
    ...(user.shell === null ? {} : { SHELL: user.shell }),
  };
}

class Run implements RunningProgram {
  readonly result: Promise<ProgramResult>;
  readonly gone: Promise<void>;
  readonly #child: ChildProcess;
  readonly #request: ProgramRequest;
  readonly #clock: Clock;
  readonly #output: Buffer[] = [];
  #outputBytes = 0;
  #settle: (result: ProgramResult) => void = () => {};
  #markGone: () => void = () => {};
  #hasEnded = false;
  #isKilled = false;
  #cancelTimer: () => void;

  constructor(child: ChildProcess, request: ProgramRequest, clock: Clock) {
    this.#child = child;
    this.#request = request;
    this.#clock = clock;
    this.result = new Promise((resolve) => {
      this.#settle = resolve;
    });
    this.gone = new Promise((resolve) => {
      this.#markGone = resolve;
    });
    this.#cancelTimer = this.#armTimeout(request.timeoutMs);
    if (child.pid !== undefined) becomeOrdinary(child.pid);
    for (const stream of [child.stdout, child.stderr]) this.#read(stream);
    child.once('error', (error) => {
      // Also told when a signal could not be sent; only a start that failed has no process.
      if (child.pid !== undefined) return;
      this.#cancelTimer();
      this.#settle({ kind: 'failed', message: describeStart(error, request) });
      this.#markGone();
    });
    child.once('exit', (code, signal) => this.#onExit(code, signal));
  }

  kill(): void {
    if (!this.#hasEnded && !this.#isKilled)
      this.#end({ kind: 'failed', message: 'ended by leasehold', hasStarted: true });
  }

  #armTimeout(ms: number): () => void {
    const dueAt = this.#clock.now() + ms;
    return this.#clock.schedule(ms, () => {
      const hasStalled = this.#clock.now() - dueAt > STALL_MS;
      if (hasStalled) this.#cancelTimer = this.#armTimeout(STALL_MS);
      else this.#end({ kind: 'timed-out' });
    });
  }

  #read(stream: Readable | null): void {
    stream?.on('data', (chunk: Buffer) => {
      const kept = chunk.subarray(0, this.#request.maxOutputBytes - this.#outputBytes);
      this.#outputBytes += kept.length;
      if (kept.length > 0) this.#output.push(kept);
    });
    stream?.on('error', () => {}); // The end of the program says what there is to say.
  }

  #end(result: ProgramResult): void {
    this.#isKilled = true;
    this.#settle(result);
    this.#cancelTimer();
    this.#signal('SIGTERM');
    this.#cancelTimer = this.#clock.schedule(KILL_GRACE_MS, () => this.#signal('SIGKILL'));
  }

  #onExit(code: number | null, signal: NodeJS.Signals | null): void {
    this.#hasEnded = true;
    this.#cancelTimer();
    // Its number stays taken while the group has members, so this reaches nobody else.
    if (this.#isKilled || this.#request.leftovers === 'kill') this.#signal('SIGKILL');
    this.#markGone();
    const finish = (): void => {
      cancel();
      this.#child.stdout?.destroy();
      this.#child.stderr?.destroy();
      const output = Buffer.concat(this.#output).toString('utf8');
      if (code !== null) this.#settle({ kind: 'exited', code, output });
      else
        this.#settle({
          kind: 'failed',
          message: `ended by ${signal ?? 'a signal'}`,
          hasStarted: true,
        });
    };
    const cancel = this.#clock.schedule(LAST_OUTPUT_MS, finish);
    this.#child.once('close', finish);
  }

  #signal(signal: NodeJS.Signals): void {
    const { pid } = this.#child;
    if (pid === undefined) return;
    try {
      process.kill(-pid, signal);
    } catch {
      // Nobody of the group is left, or not ours to kill: the timeout has been told all the same.
    }
  }
}

/**
 * The agent comes before other work on its machine (deploy/systemd), its programs need not: they would take
 * the processor from the hold loop. As another user's they can only be told so with CAP_SYS_NICE.
 */
function becomeOrdinary(pid: number): void {
  try {
    setPriority(pid, constants.priority.PRIORITY_NORMAL);
  } catch {
    // It runs with the agent's priority.
  }
  try {
    writeFileSync(`/proc/${pid}/oom_score_adj`, '0');
  } catch {
    // It is as precious as the agent when memory runs out.
  }
}

/** What keeps a program from starting, in words that say where to look. */
function describeStart(error: unknown, { command, user }: ProgramRequest): string {
  const program = command[0] ?? '';
  const who = user === null ? '' : ` as ${user}`;
  switch (error instanceof Error && 'code' in error ? error.code : null) {
    case 'ENOENT':
      return `${program} does not exist, or the interpreter in its first line does not`;
    case 'EACCES':
      return `${program} may not be executed${who}: see its mode and that of its directories`;
    case 'EPERM':
      return `the agent may not run programs${who}: it lacks CAP_SETUID and CAP_SETGID`;
    case 'EAGAIN':
    case 'ENOMEM':
    case 'EMFILE':
    case 'ENFILE':
      return `this machine is short of processes, memory or descriptors: ${messageOf(error)}`;
    default:
      return messageOf(error);
  }
}
