/** What holds where the cluster document says nothing. */
import type {
  CheckTiming,
  ForwardMethod,
  IpvsSpec,
  Isolation,
  Protocol,
  Quorum,
  Scheduler,
} from '../model/cluster.ts';

export const DEFAULT_PROTOCOL: Protocol = 'tcp';
/** As in keepalived. */
export const DEFAULT_SCHEDULER: Scheduler = 'wlc';
export const DEFAULT_FORWARD: ForwardMethod = 'dr';
export const DEFAULT_WEIGHT = 1;
/** keepalived's `persistence_timeout` without a number. */
export const DEFAULT_PERSISTENCE_S = 360;
/** What the kernel counts in seconds: up to 31 days, as in keepalived. */
export const KERNEL_SECONDS_MAX_MS = 31 * 24 * 3_600_000;
/** linux/ip_vs.h and ip_vs_sync.c. */
export const DEFAULT_SYNC = {
  group: '224.0.0.81',
  port: 8848,
  ttl: 1,
  catchUpMs: 10_000,
} as const;
export const DEFAULT_COMMAND_TIMEOUT_MS = 10_000;
/** As in keepalived. */
export const DEFAULT_QUORUM: Quorum = {
  need: 1,
  hysteresis: 0,
  up: null,
  down: null,
  timeoutMs: DEFAULT_COMMAND_TIMEOUT_MS,
  user: null,
};
/** Removal waits for connections this long. */
export const DEFAULT_DRAIN = { deadlineMs: 300_000 } as const;
export const DEFAULT_IPVS: IpvsSpec = {
  timeouts: { tcpS: null, tcpFinS: null, udpS: null },
  standby: 'warm',
  onExit: 'release',
  sysctls: [],
};
/** Any success of RFC 9110. */
export const DEFAULT_STATUS: readonly (readonly [number, number])[] = [[200, 299]];
export const DEFAULT_CHECK: CheckTiming = { intervalMs: 2000, timeoutMs: 1000, rise: 2, fall: 2 };

/** Bytes of a body that are looked at. */
export const DEFAULT_BODY_MAX = 65_536;
/** As ping(8). */
export const DEFAULT_ECHO_SIZE = 56;
/** Any datagram. */
export const DEFAULT_REPLY_MAX = 65_507;

/** As in keepalived; the timeout of a script is its interval. */
export const DEFAULT_TRACK = { intervalMs: 1000, rise: 1, fall: 1, quorum: 1, delayMs: 0 } as const;
export const DEFAULT_NOTIFY_TIMEOUT_MS = 10_000;
export const DEFAULT_GROUP_WEIGHT = 1;

/**
 * Version 2, and beside routers that are no directors, as keepalived has it; version 3 as fast as the default
 * profile's heartbeats.
 */
export const DEFAULT_VRRP_INTERVAL_MS = { 2: 1000, 3: 100, foreign: 1000 } as const;

/** One target in repair must not silence a holder. */
export const DEFAULT_ISOLATION_MODE: Isolation['mode'] = 'any';
