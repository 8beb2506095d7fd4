/**
 * Applying 10,000 IPVS destinations: our adapter against `ipvsadm -R`, in one User Mode Linux guest, where
 * system calls are expensive: compare the figures with each other only. The agent's start is not
 * counted (it runs already), ipvsadm's is (one process).
 * Run: nice -n -19 npx tsx bench/ipvs-apply.ts >> bench/results/ipvs-apply.txt (the guest needs a core of its own)
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { runInGuest } from '../test/guest/boot.ts';

let figures = '';
const run = await runInGuest({
  command: (out) =>
    `modprobe ip_vs && modprobe ip_vs_wlc && node --import tsx bench/ipvs-apply.guest.ts ${out}/figures`,
  timeoutMs: 240_000,
  collect: (out) => {
    try {
      figures = readFileSync(join(out, 'figures'), 'utf8');
    } catch {
      // Without figures the console below says why.
    }
  },
});
if (run.exitCode !== 0 || figures === '') {
  process.stderr.write(run.console);
  process.exitCode = 1;
} else {
  process.stdout.write(`nice -n -19 npx tsx bench/ipvs-apply.ts\n${figures}\n`);
}
