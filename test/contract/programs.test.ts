/** Programs as they really start, speak, hang and die. */
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { getPriority, setPriority, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createSystemClock } from '../../src/adapters/clock/system-clock.ts';
import {
  KILL_GRACE_MS,
  type ProgramRequest,
  runProgram,
  startProgram,
} from '../../src/adapters/programs/run-program.ts';

const clock = createSystemClock();
/** For a busy machine. */
const LIMIT_MS = 20_000;
let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'leasehold-programs-'));
  chmodSync(directory, 0o777);
});
afterAll(() => rmSync(directory, { recursive: true }));

let files = 0;
function script(body: string, mode = 0o755): string {
  const path = join(directory, `script-${files++}`);
  writeFileSync(path, `#!/bin/sh\n${body}\n`);
  chmodSync(path, mode);
  return path;
}

const requestOf = (
  command: readonly string[],
  changes: Partial<ProgramRequest> = {},
): ProgramRequest => ({
  command,
  user: null,
  env: {},
  timeoutMs: LIMIT_MS,
  maxOutputBytes: 1_000,
  leftovers: 'kill',
  ...changes,
});
const run = (command: readonly string[], changes: Partial<ProgramRequest> = {}) =>
  runProgram(requestOf(command, changes), { clock });

const isAlive = (pid: number): boolean => {
  try {
    // A zombie that nobody has waited for yet is not alive.
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
};
const pidIn = (file: string): number => Number(readFileSync(file, 'utf8'));
const becomes = async <T>(look: () => T, value: T): Promise<void> => {
  await expect.poll(look, { timeout: LIMIT_MS }).toBe(value);
};

describe('what a program says', () => {
  test('its code and its output, of both streams', async () => {
    const path = script('echo out; echo err >&2; exit 3');
    const result = await run([path]);
    expect(result).toMatchObject({ kind: 'exited', code: 3 });
    expect(result.kind === 'exited' && result.output.split('\n').toSorted()).toEqual([
      '',
      'err',
      'out',
    ]);
  });

  test('arguments arrive as they are: there is no shell', async () => {
    const path = script('printf "%s|" "$@"');
    const words = ['a b', '$(id)', '; exit 9', ''];
    expect(await run([path, ...words])).toEqual({
      kind: 'exited',
      code: 0,
      output: `${words.join('|')}|`,
    });
  });

  test('more output than wanted is read and dropped', async () => {
    const flood = script('head -c 2000000 /dev/zero | tr "\\0" x');
    expect(await run([flood], { maxOutputBytes: 10 })).toEqual({
      kind: 'exited',
      code: 0,
      output: 'xxxxxxxxxx',
    });
    expect(await run([flood], { maxOutputBytes: 0 })).toMatchObject({ code: 0, output: '' });
  });

  test('the environment is its own, and standard input is empty', async () => {
    const path = script('cat; env');
    const result = await run([path], { env: { LEASEHOLD_EPOCH: '7' } });
    const names = (result.kind === 'exited' ? result.output : '')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => line.replace(/=.*/, ''));
    expect(names.toSorted()).toEqual(['LEASEHOLD_EPOCH', 'PATH', 'PWD']);
  });
});

describe('what is passed on', () => {
  test('no descriptor of the agent', async () => {
    const held = openSync('/etc/hostname', 'r');
    const result = await run(['ls', '-l', '/proc/self/fd']);
    closeSync(held);
    expect(result).toMatchObject({ kind: 'exited', code: 0 });
    expect(result.kind === 'exited' ? result.output : '').not.toMatch(/hostname|anon_inode/);
  });

  test('no precedence of the agent over other work', async () => {
    const before = getPriority();
    try {
      setPriority(-5);
      // The precedence goes when it has started already.
      const path = script('until [ "$(nice)" = 0 ]; do sleep 0.05; done; nice');
      expect(await run([path])).toMatchObject({ output: '0\n' });
    } finally {
      setPriority(before);
    }
  });
});

describe('another user', () => {
  test('gets its ids and nothing of the agent: no groups, no home of root', async () => {
    const path = script('id -un; id -G; echo "$USER $LOGNAME $HOME"');
    const result = await run([path], { user: 'nobody' });
    expect(result).toEqual({
      kind: 'exited',
      code: 0,
      output: 'nobody\n65534\nnobody nobody /nonexistent\n',
    });
  });

  test('and another group where it is named', async () => {
    const result = await run([script('id -gn')], { user: 'nobody:daemon' });
    expect(result).toMatchObject({ kind: 'exited', output: 'daemon\n' });
  });

  test.each([
    ['nosuchuser', 'there is no user nosuchuser in /etc/passwd'],
    ['nobody:nosuchgroup', 'there is no group nosuchgroup in /etc/group'],
  ])('%s is told to be missing', async (user, message) => {
    expect(await run(['/bin/true'], { user })).toEqual({ kind: 'failed', message });
  });

  test('may not run what only root may', async () => {
    const path = script('exit 0', 0o700);
    const message = `${path} may not be executed as nobody: see its mode and that of its directories`;
    expect(await run([path], { user: 'nobody' })).toEqual({ kind: 'failed', message });
  });
});

describe('what cannot be run', () => {
  test.each([
    ['/nonexistent/program', /^\/nonexistent\/program does not exist/],
    ['no-such-program-anywhere', /^no-such-program-anywhere does not exist/],
    ['/etc', /^\/etc may not be executed/],
    ['', /^the command is empty$/],
    ['/bin/tr\0ue', /null bytes/],
  ])('%j says why', async (program, words) => {
    const result = await run([program]);
    expect(result.kind).toBe('failed');
    expect(result.kind === 'failed' ? result.message : '').toMatch(words);
  });

  test('a missing interpreter is thought of', async () => {
    const path = join(directory, 'no-interpreter');
    writeFileSync(path, '#!/nonexistent/sh\n', { mode: 0o755 });
    const result = await run([path]);
    expect(result).toEqual({
      kind: 'failed',
      message: `${path} does not exist, or the interpreter in its first line does not`,
    });
  });

  test('a death by signal is told', async () => {
    expect(await run([script('kill -SEGV $$')])).toEqual({
      kind: 'failed',
      message: 'ended by SIGSEGV',
      hasStarted: true,
    });
  });
});

/** Of this thread. */
function standStill(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

describe('time', () => {
  /** A shell has begun by then, on a busy machine too. */
  const STARTED_MS = 3_000;

  test('a program that hangs is told at its timeout and killed with its children', async () => {
    const child = join(directory, 'hanging-child');
    const path = script(`trap "" TERM; sleep 60 & echo $! > ${child}; wait; sleep 60`);
    const startedAt = clock.now();
    const program = startProgram(requestOf([path], { timeoutMs: STARTED_MS }), { clock });
    let isGone = false;
    void program.gone.then(() => {
      isGone = true;
    });
    expect(await program.result).toEqual({ kind: 'timed-out' });
    const toldAt = clock.now();
    expect(toldAt - startedAt).toBeGreaterThanOrEqual(STARTED_MS - 1);
    // It is told before it has died.
    expect(isGone).toBe(false);
    await program.gone;
    // It ignores SIGTERM: SIGKILL came after the grace.
    expect(clock.now() - startedAt).toBeGreaterThanOrEqual(STARTED_MS + KILL_GRACE_MS - 2);
    await becomes(() => isAlive(pidIn(child)), false);
  });

  test('one that obeys SIGTERM ends at once; children that do not are killed', async () => {
    const child = join(directory, 'stubborn-child');
    const mark = join(directory, 'obeyed');
    const stubborn = script('trap "" TERM; while :; do sleep 0.1; done');
    const end = `trap 'echo yes > ${mark}; exit' TERM`;
    const path = script(`${stubborn} & echo $! > ${child}; ${end}; sleep 60 & wait $!`);
    const program = startProgram(requestOf([path], { timeoutMs: STARTED_MS }), { clock });
    expect(await program.result).toEqual({ kind: 'timed-out' });
    await program.gone;
    // It ended by itself: SIGKILL leaves no mark.
    expect(readFileSync(mark, 'utf8')).toBe('yes\n');
    await becomes(() => isAlive(pidIn(child)), false);
  });

  test.each([
    ['kill', false],
    ['leave', true],
  ] as const)('leftovers: %s', async (leftovers, isLeft) => {
    const child = join(directory, `leftover-${leftovers}`);
    // The child keeps the pipe open; the result does not wait for that.
    const path = script(`sleep 30 & echo $! > ${child}; echo done`);
    const result = await run([path], { leftovers });
    expect(result).toEqual({ kind: 'exited', code: 0, output: 'done\n' });
    const pid = pidIn(child);
    if (isLeft) {
      expect(isAlive(pid)).toBe(true);
      process.kill(pid);
    }
    await becomes(() => isAlive(pid), false);
  });

  test('one that ended while this thread stood still has not hung', async () => {
    const mark = join(directory, 'stood-still');
    const path = script(`echo $$ > ${mark}; sleep 0.1`);
    const hasEnded = (): boolean => existsSync(mark) && pidIn(mark) > 0 && !isAlive(pidIn(mark));
    // Of what waits then the timers come first.
    await new Promise((resolve) => setImmediate(resolve));
    const program = startProgram(requestOf([path], { timeoutMs: 400 }), { clock });
    standStill(700);
    const endsAt = clock.now() + LIMIT_MS;
    while (!hasEnded() && clock.now() < endsAt) standStill(20);
    expect(await program.result).toMatchObject({ kind: 'exited', code: 0 });
    const hanging = startProgram(requestOf([script('exec sleep 9')], { timeoutMs: 400 }), {
      clock,
    });
    standStill(700);
    expect(await hanging.result).toEqual({ kind: 'timed-out' });
  });

  test('kill ends it early, once', async () => {
    const mark = join(directory, 'started');
    const program = startProgram(requestOf([script(`touch ${mark}; exec sleep 60`)]), { clock });
    await becomes(() => existsSync(mark), true);
    program.kill();
    program.kill();
    expect(await program.result).toEqual({
      kind: 'failed',
      message: 'ended by leasehold',
      hasStarted: true,
    });
    await program.gone;
    program.kill();
  });
});
