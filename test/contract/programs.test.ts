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
  type ProgramRequest,
  runProgram,
  startProgram,
} from '../../src/adapters/programs/run-program.ts';

const clock = createSystemClock();
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
  timeoutMs: 5_000,
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
      expect(await run([script('sleep 0.3; nice')])).toMatchObject({ output: '0\n' });
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

describe('time', () => {
  test('a program that hangs is told at its timeout and killed with its children', async () => {
    const child = join(directory, 'hanging-child');
    const path = script(`trap "" TERM; sleep 60 & echo $! > ${child}; wait; sleep 60`);
    const program = startProgram(requestOf([path], { timeoutMs: 300 }), { clock });
    const startedAt = clock.now();
    expect(await program.result).toEqual({ kind: 'timed-out' });
    expect(clock.now() - startedAt).toBeLessThan(900);
    await program.gone;
    // It ignores SIGTERM: SIGKILL came after the grace.
    expect(clock.now() - startedAt).toBeGreaterThan(1_200);
    await expect.poll(() => isAlive(pidIn(child))).toBe(false);
  });

  test('one that obeys SIGTERM ends at once; children that do not are killed', async () => {
    const child = join(directory, 'stubborn-child');
    const stubborn = script('trap "" TERM; while :; do sleep 0.1; done');
    const path = script(`${stubborn} & echo $! > ${child}; exec sleep 60`);
    const startedAt = clock.now();
    expect(await run([path], { timeoutMs: 300 })).toEqual({ kind: 'timed-out' });
    expect(clock.now() - startedAt).toBeLessThan(1_000);
    await expect.poll(() => isAlive(pidIn(child))).toBe(false);
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
    await expect.poll(() => isAlive(pid)).toBe(false);
  });

  test('one that ended while this thread stood still has not hung', async () => {
    const program = startProgram(requestOf([script('sleep 0.1')], { timeoutMs: 400 }), { clock });
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 700);
    expect(await program.result).toMatchObject({ kind: 'exited', code: 0 });
    const hanging = startProgram(requestOf([script('exec sleep 9')], { timeoutMs: 400 }), {
      clock,
    });
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 700);
    expect(await hanging.result).toEqual({ kind: 'timed-out' });
  });

  test('kill ends it early, once', async () => {
    const mark = join(directory, 'started');
    const program = startProgram(requestOf([script(`touch ${mark}; exec sleep 60`)]), { clock });
    await expect.poll(() => existsSync(mark)).toBe(true);
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
