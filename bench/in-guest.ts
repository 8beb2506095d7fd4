/** A script of the bench in a guest of its own, which nothing else on the machine goes before. */
import { readFileSync } from 'node:fs';
import { getPriority, setPriority } from 'node:os';
import { join } from 'node:path';
import { runInGuest } from '../test/guest/boot.ts';
import { descendantsOf, signalAll } from '../test/support/processes.ts';
import type { BenchOptions } from './bench-lab.ts';

/** Runs `bench/<script>.guest.ts` in a guest without a network; gives what it leaves in its file. */
export async function inGuest(
  { signal }: Pick<BenchOptions, 'signal'>,
  script: string,
  limits: { readonly timeoutMs: number; readonly memoryMb: number },
): Promise<string> {
  signal.throwIfAborted();
  const endGuest = (): void => signalAll(descendantsOf(process.pid).filter(isGuest), 'SIGKILL');
  signal.addEventListener('abort', endGuest, { once: true });
  const priority = getPriority();
  setPriority(-19); // Its children inherit it.
  let figures = '';
  const job = runInGuest({
    command: (out) =>
      `modprobe ip_vs && modprobe ip_vs_wlc && node --import tsx bench/${script}.guest.ts ${out}/figures`,
    ...limits,
    collect: (out) => {
      figures = textOf(join(out, 'figures'));
    },
  });
  setPriority(priority);
  const run = await job;
  signal.removeEventListener('abort', endGuest);
  signal.throwIfAborted();
  if (run.exitCode !== 0 || figures === '') throw new Error(`the guest says:\n${run.console}`);
  return figures;
}

function isGuest(pid: number): boolean {
  return textOf(`/proc/${pid}/cmdline`).startsWith('linux.uml');
}

/** Nothing where the file cannot be read. */
function textOf(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return ''; // Without figures the console says why; a process may have ended.
  }
}
