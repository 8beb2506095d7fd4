/** What the status says of services and real servers, in the few words of a table or the sentences of an explanation. */
import type { RealServerStatus, ServiceStatus } from '../model/status.ts';
import type { ConnectionCount, DrainStatus, QuorumStatus } from '../model/status-ipvs.ts';

/** One number and its unit: `42s`, `12m`, `3h`, `25d`. */
export function formatAge(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m`;
  return seconds < 86_400 ? `${Math.floor(seconds / 3600)}h` : `${Math.floor(seconds / 86_400)}d`;
}

/** `12 active, 3 inactive, 1 template`. */
export function countWords({ active, inactive, persistent }: ConnectionCount): string {
  const templates =
    persistent === 0 ? '' : `, ${persistent} template${persistent === 1 ? '' : 's'}`;
  return `${active} active, ${inactive} inactive${templates}`;
}

const ENDS: Readonly<Record<string, string>> = {
  gone: 'all connections are gone',
  deadline: 'the deadline has passed',
  absent: 'nothing to wait for here',
};

/** How far a drain is: connections left, and when it ends at the latest. */
export function drainWords({ left, end, deadlineInMs, first }: DrainStatus): string {
  if (end !== null) return ENDS[end] ?? end;
  const start = first === null ? '' : ` of ${first.active + first.inactive + first.persistent}`;
  const rest = left === null ? 'connections not known yet' : `${countWords(left)} left${start}`;
  const until =
    deadlineInMs === null ? ', no deadline' : `, deadline in ${formatAge(deadlineInMs)}`;
  return rest + until;
}

/** Few words for a table; null: as on any day. */
export function weightNote({ why, ramp, drain }: RealServerStatus): string | null {
  if (ramp !== undefined) {
    const left = ramp.remainingMs === null ? '' : `, full in ${formatAge(ramp.remainingMs)}`;
    return `slow start: ${ramp.weight} of ${ramp.of}${left}`;
  }
  if (drain !== undefined) return drainWords(drain);
  return why === undefined ? null : (NOTES[why] ?? null);
}

const NOTES: Readonly<Record<string, string>> = {
  'fail-open': 'kept in by fail-open',
  'down-inhibited': 'weight 0 while it is down',
  'sorry-removed': 'the sorry server answers',
  'sorry-inhibited': 'the sorry server answers',
  'standby-own': 'takes what the holder sends here',
  'standby-waits': 'the holder shares out',
  duplicate: 'stands earlier in the document',
};

/** A service that does not do what it does on any day; null: it does. */
export function serviceNote(service: ServiceStatus): string | null {
  const { problem, isProgrammed, isHere, quorum, failOpen } = service;
  if (problem !== null) return problem;
  if (isHere === false) return 'cold standby: not in the table of this director';
  if (!isProgrammed) return 'not in the IPVS table of this director';
  const notes: string[] = [];
  if (quorum?.isUp === false) notes.push(quorumNote(quorum));
  if (failOpen?.isOpen === true) notes.push(`fail-open: less than ${failOpen.percent} % is up`);
  return notes.length === 0 ? null : notes.join('; ');
}

function quorumNote({ live, upAt, forMs }: QuorumStatus): string {
  const since = forMs === null ? '' : ` for ${formatAge(forMs)}`;
  return `QUORUM LOST${since}: weight ${live} is live, back at ${upAt}`;
}

/** Bytes as people read them: `1.2 GB`; decimal units, as links are rated. */
export function formatBytes(bytes: number): string {
  for (const [size, unit] of SIZES)
    if (bytes >= size) return `${(bytes / size).toFixed(1)} ${unit}`;
  return `${bytes} B`;
}
const SIZES = [
  [1e15, 'PB'],
  [1e12, 'TB'],
  [1e9, 'GB'],
  [1e6, 'MB'],
  [1e3, 'kB'],
] as const;
