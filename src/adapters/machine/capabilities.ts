/** What this process may do (capabilities(7)): asked before anything is held, so that the answer names the remedy. */
import { readFileSync } from 'node:fs';
import { messageOf } from '../../lib/result.ts';

/** Bit numbers of linux/capability.h. */
const NEEDED = [
  { bit: 12n, name: 'CAP_NET_ADMIN', use: 'bind VIPs and program IPVS' },
  { bit: 13n, name: 'CAP_NET_RAW', use: 'announce VIPs' },
] as const;

/** A sentence for each capability that is missing; empty where all are there. */
export function missingCapabilities(): readonly string[] {
  let status: string;
  try {
    status = readFileSync('/proc/self/status', 'utf8');
  } catch (error) {
    return [`the capabilities cannot be read: ${messageOf(error)}`];
  }
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1];
  if (effective === undefined) return ['the capabilities cannot be read from /proc/self/status'];
  const held = BigInt(`0x${effective}`);
  return NEEDED.filter(({ bit }) => (held & (1n << bit)) === 0n).map(
    ({ name, use }) => `${name} is missing: this agent cannot ${use}; run it as root or grant it`,
  );
}
