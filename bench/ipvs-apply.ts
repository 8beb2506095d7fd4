/**
 * Applying 10,000 IPVS destinations: our adapter against `ipvsadm -R`, in a User Mode Linux guest, where
 * system calls are expensive: compare the figures with each other only. The agent's start is not
 * counted (it runs already), ipvsadm's is (one process). The guest runs at the highest priority, for it
 * needs a core of its own.
 */
import type { Bench } from './bench-lab.ts';
import { inGuest } from './in-guest.ts';

export const benchIpvsApply: Bench = async (options) => {
  options.say('10,000 destinations: nine rounds in a guest, at the highest priority');
  const figures = await inGuest(options, 'ipvs-apply', { timeoutMs: 180_000, memoryMb: 400 });
  return { text: figures };
};
