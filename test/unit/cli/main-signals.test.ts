/** What the program does with signals, also before a command has begun with anything. */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { expect, it, vi } from 'vitest';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const SIGUSR2 = 12;

/** By proc_pid_status(5). */
const isCaught = (pid: number, signal: number): boolean => {
  const mask = /^SigCgt:\s*([0-9a-f]+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return ((BigInt(`0x${mask ?? '0'}`) >> BigInt(signal - 1)) & 1n) === 1n;
};

it('opens no debugger for whoever expects a dump at SIGUSR1', { timeout: 60_000 }, async () => {
  const argv = ['--import', 'tsx', 'src/main.ts', 'validate', '-'];
  const child = spawn(process.execPath, argv, { cwd: ROOT, stdio: ['pipe', 'ignore', 'pipe'] });
  const errors = text(child.stderr);
  const ended = new Promise<number | null>((resolve) => child.on('close', resolve));
  const pid = child.pid ?? 0;
  // The last one that it takes up, after all others.
  await vi.waitFor(() => expect(isCaught(pid, SIGUSR2)).toBe(true), { timeout: 50_000 });
  for (let i = 0; i < 3; i++) child.kill('SIGUSR1');
  child.stdin.end(readFileSync(`${ROOT}/deploy/config/cluster.yaml`));
  expect(await ended).toBe(0);
  expect(await errors).not.toMatch(/debugger/i);
});
