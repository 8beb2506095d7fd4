/**
 * Applying 10,000 IPVS destinations: our adapter against `ipvsadm -R`, in one User Mode Linux guest, where
 * system calls are expensive: compare the figures with each other only. The agent's start is not
 * counted (it runs already), ipvsadm's is (one process). The guest runs at the highest priority, for it
 * needs a core of its own.
 */
import { readFileSync } from 'node:fs';
import { getPriority, setPriority } from 'node:os';
import { join } from 'node:path';
import { runInGuest } from '../test/guest/boot.ts';
import { descendantsOf, signalAll } from '../test/support/processes.ts';
import type { Bench } from './bench-lab.ts';

const LIMIT_MS = 180_000;

export const benchIpvsApply: Bench = async ({ say, signal }) => {
  signal.throwIfAborted();
  say('nine rounds in a guest, at the highest priority');
  const endGuest = (): void => signalAll(descendantsOf(process.pid).filter(isGuest), 'SIGKILL');
  signal.addEventListener('abort', endGuest, { once: true });
  const priority = getPriority();
  setPriority(-19); // Its children inherit it.
  let figures = '';
  const job = runInGuest({
    command: (out) =>
      `modprobe ip_vs && modprobe ip_vs_wlc && node --import tsx bench/ipvs-apply.guest.ts ${out}/figures`,
    timeoutMs: LIMIT_MS,
    collect: (out) => {
      figures = textOf(join(out, 'figures'));
    },
  });
  setPriority(priority);
  const run = await job;
  signal.removeEventListener('abort', endGuest);
  signal.throwIfAborted();
  if (run.exitCode !== 0 || figures === '') throw new Error(`the guest says:\n${run.console}`);
  return { text: figures };
};

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
