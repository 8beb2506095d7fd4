/** How many descriptors this process may have open (RLIMIT_NOFILE), and how many of them probes may use. */
import { readFileSync } from 'node:fs';

/** For etcd, the API, kernel sockets, programs: what an agent has open beside its probes, and room to spare. */
const RESERVED = 512;
/** Where the limit itself is small, probes have at least this share of it. */
const LEAST_SHARE = 0.5;
const UNKNOWN_LIMIT = 1024;

/** Node raises the soft limit to the hard one at its start. */
export function descriptorLimit(): number {
  try {
    return parseLimit(readFileSync('/proc/self/limits', 'utf8')) ?? UNKNOWN_LIMIT;
  } catch {
    return UNKNOWN_LIMIT;
  }
}

/** The soft limit out of proc_pid_limits(5); null: it is not there. */
export function parseLimit(limits: string): number | null {
  const found = /^Max open files\s+(\d+|unlimited)\s/m.exec(limits)?.[1];
  if (found === undefined) return null;
  return found === 'unlimited' ? Number.MAX_SAFE_INTEGER : Number(found);
}

/** Probes at once, of one descriptor each. */
export const probesAtOnce = (limit: number): number =>
  Math.max(Math.floor(limit * LEAST_SHARE), limit - RESERVED);
