/** The streams of a real process: an output that takes nothing, a terminal that gives no answer. */
import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { askOn, columnsOf } from '../../../src/cli/process-io.ts';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));

async function runProgram(
  argv: readonly string[],
  stdout: 'pipe' | number,
  takesErrors = true,
): Promise<{ readonly code: number | null; readonly err: string }> {
  const child = spawn(process.execPath, ['--import', 'tsx', 'src/main.ts', ...argv], {
    cwd: ROOT,
    stdio: ['ignore', stdout, 'pipe'],
  });
  if (!takesErrors) child.stderr?.destroy();
  child.stdout?.resume();
  const ended = new Promise<number | null>((resolve) => child.on('close', resolve));
  const err = takesErrors && child.stderr !== null ? await text(child.stderr) : '';
  return { code: await ended, err };
}

it('calls a document that a full disk did not take no success', { timeout: 60_000 }, async () => {
  const full = openSync('/dev/full', 'w');
  try {
    expect(await runProgram(['validate', 'deploy/config/cluster.yaml'], full)).toEqual({
      code: 2,
      err: expect.stringContaining('cannot write: ENOSPC'),
    });
  } finally {
    closeSync(full);
  }
});

it('keeps its exit code where nobody reads the errors', { timeout: 60_000 }, async () => {
  const nowhere = ['status', '--api', 'http://127.0.0.1:1'];
  expect((await runProgram(nowhere, 'pipe', false)).code).toBe(5);
});

it('takes the end of the input for an empty answer, and Ctrl-D too', async () => {
  const ask = (input: string, isTerminal: boolean): Promise<string> => {
    const stdin = Object.assign(new PassThrough(), { isTTY: isTerminal });
    const stdout = Object.assign(new PassThrough().resume(), { isTTY: isTerminal });
    const answer = askOn('Apply? ', { stdin, stdout });
    if (isTerminal) stdin.write(input);
    else stdin.end(input);
    return answer;
  };
  expect(await ask('', false)).toBe('');
  expect(await ask('\u0004', true)).toBe('');
  expect(await ask('y\n', true)).toBe('y');
});

it('takes a terminal that does not know its width for one of any width', () => {
  // As a serial console, where `stty size` says "0 0".
  expect(columnsOf({ isTTY: true, columns: 0 })).toBe(null);
  expect(columnsOf({ isTTY: true, columns: 80 })).toBe(80);
  expect(columnsOf({ isTTY: false, columns: 80 })).toBe(null);
});
