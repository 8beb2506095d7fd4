/** What Linux has: links, addresses, the IPVS table, and the operations that change the table. */

import type { IpAddress, MacAddress } from './address.ts';
import type { AddressScope, ForwardMethod, SchedulerFlag, ServiceKey, Tunnel } from './cluster.ts';
import type { MonoMs } from './ids.ts';

export type LinkState = {
  readonly index: number;
  readonly name: string;
  readonly mac: MacAddress | null;
  readonly isAdminUp: boolean;
  /** Carrier is there and the driver runs (IFF_RUNNING): the only meaning of "up" for a VIP. */
  readonly isRunning: boolean;
  readonly mtu: number;
};

/** Tag of our addresses, IFA_PROTO (kernel ≥ 5.18; older kernels drop it). Not in rt_addrprotos of iproute2. */
export const ADDRESS_PROTOCOL = 108;

export type BoundAddress = {
  readonly linkIndex: number;
  readonly address: IpAddress;
  readonly prefix: number;
  readonly scope: AddressScope;
  /** Full label of an IPv4 address, e.g. `eth0:vip`; null where none. */
  readonly label: string | null;
  /** Seconds until the kernel drops it; null: for ever. */
  readonly validLifetimeS: number | null;
  /** IFA_PROTO, null where the kernel does not report one. */
  readonly protocol: number | null;
};

/** Binds, or refreshes where it is bound already (CREATE | REPLACE). IPv6 is bound with `nodad`. */
export type BindRequest = {
  readonly linkIndex: number;
  readonly address: IpAddress;
  readonly prefix: number;
  readonly scope: AddressScope;
  readonly label: string | null;
  readonly validLifetimeS: number | null;
};

export type KernelEvent =
  | { readonly kind: 'link'; readonly link: LinkState; readonly isGone: boolean }
  | { readonly kind: 'address'; readonly address: BoundAddress; readonly isGone: boolean }
  /** Notifications may have been lost: dump again. */
  | { readonly kind: 'resync'; readonly reason: string };

export type IpvsServiceKey = ServiceKey;

export type IpvsService = {
  readonly key: IpvsServiceKey;
  readonly scheduler: string;
  /** IP_VS_SVC_F_* without the kernel's own HASHED bit (linux/ip_vs.h). */
  readonly flags: number;
  /** Persistence timeout in seconds; 0 where the persistent flag is off. */
  readonly timeoutS: number;
  /** IPv4: prefix length 0..32, IPv6: 0..128. Host prefix when not persistent by network. */
  readonly persistencePrefix: number;
  /** Name of the persistence engine (`sip`); null: none. */
  readonly persistenceEngine: string | null;
};

/** linux/ip_vs.h. */
export const IP_VS_SVC_F_PERSISTENT = 0x0001;
export const IP_VS_SVC_F_HASHED = 0x0002;
export const IP_VS_SVC_F_ONEPACKET = 0x0004;
/** sh and mh: another real server where the one by hash cannot take the connection. */
export const IP_VS_SVC_F_SCHED1 = 0x0008;
/** sh and mh: the source port takes part in the hash. */
export const IP_VS_SVC_F_SCHED2 = 0x0010;
export const IP_VS_SVC_F_SCHED3 = 0x0020;

const SCHEDULER_FLAG_BITS: Readonly<Record<SchedulerFlag, number>> = {
  'sh-fallback': IP_VS_SVC_F_SCHED1,
  'sh-port': IP_VS_SVC_F_SCHED2,
  'mh-fallback': IP_VS_SVC_F_SCHED1,
  'mh-port': IP_VS_SVC_F_SCHED2,
  'flag-1': IP_VS_SVC_F_SCHED1,
  'flag-2': IP_VS_SVC_F_SCHED2,
  'flag-3': IP_VS_SVC_F_SCHED3,
};

/** The bits of `IpvsService.flags` that some scheduler flags stand for. */
export const schedulerFlagBits = (flags: readonly SchedulerFlag[]): number =>
  flags.reduce((bits, flag) => bits | SCHEDULER_FLAG_BITS[flag], 0);

/** Its address may be of another family than its service's where `forward` is `tun`. */
export type IpvsDestination = {
  readonly address: IpAddress;
  readonly port: number;
  readonly forward: ForwardMethod;
  /** Null exactly where `forward` is not `tun`; kernels before 5.3 tell none: ipip. */
  readonly tunnel: Tunnel | null;
  readonly weight: number;
  readonly upperThreshold: number;
  readonly lowerThreshold: number;
};

/** Since the start or the last zero. 64 bits in the kernel; exact here up to 2^53. */
export type IpvsCounters = {
  readonly connections: number;
  readonly packetsIn: number;
  readonly packetsOut: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
};

/** Each second, as the kernel's estimator has it (smoothed over some seconds). */
export type IpvsRates = {
  readonly connections: number;
  readonly packetsIn: number;
  readonly packetsOut: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
};

export type ObservedDestination = IpvsDestination & {
  readonly activeConnections: number;
  readonly inactiveConnections: number;
  /** Persistence templates that lead here. */
  readonly persistentConnections: number;
  readonly counters: IpvsCounters;
  readonly rates: IpvsRates;
};

export type ObservedService = IpvsService & {
  readonly counters: IpvsCounters;
  readonly rates: IpvsRates;
  readonly destinations: readonly ObservedDestination[];
};

/** The whole table, as dumped. */
export type IpvsTable = {
  readonly services: readonly ObservedService[];
  /** When the oldest counts were read; absent: all of them for this dump. */
  readonly asOf?: MonoMs;
};

/** The table as wanted. */
export type DesiredService = IpvsService & { readonly destinations: readonly IpvsDestination[] };

/** How long the kernel keeps a connection without packets, in seconds; in a request 0 leaves it as it is. */
export type IpvsTimeouts = {
  readonly tcpS: number;
  /** After a FIN. */
  readonly tcpFinS: number;
  readonly udpS: number;
};

/** A connection sync daemon; each network namespace has at most one of either state. */
export type IpvsDaemon = {
  readonly state: 'master' | 'backup';
  /** Device name. */
  readonly interface: string;
  /** A backup with 0 takes what every master sends. */
  readonly syncId: number;
  /** Bytes; null in a request: what fits the interface; null in an answer: a kernel before 4.3. */
  readonly maxLength: number | null;
  readonly group: IpAddress;
  readonly port: number;
  readonly ttl: number;
};

/** One line of /proc/net/ip_vs_conn. */
export type IpvsConnection = {
  /** `TCP`, `UDP`, `SCTP`; `IP` for the template of a firewall mark, else `IP_<number>`. */
  readonly protocol: string;
  /** A template has client port 0, and its network where clients are taken together. */
  readonly client: { readonly address: IpAddress; readonly port: number };
  /** The template of a firewall mark has the mark as its address. */
  readonly virtual: { readonly address: IpAddress; readonly port: number };
  readonly realServer: { readonly address: IpAddress; readonly port: number };
  /** The kernel's word: `ESTABLISHED`, `FIN_WAIT`, `UDP`, `NONE` … */
  readonly state: string;
  readonly expiresS: number;
  readonly persistenceEngine: string | null;
  readonly persistenceData: string | null;
};

/** Changes the table of services and destinations. */
export type IpvsTableOperation =
  | { readonly op: 'add-service' | 'set-service'; readonly service: IpvsService }
  | { readonly op: 'delete-service'; readonly service: IpvsServiceKey }
  | {
      readonly op: 'add-destination' | 'set-destination';
      readonly service: IpvsServiceKey;
      readonly destination: IpvsDestination;
    }
  | {
      readonly op: 'delete-destination';
      readonly service: IpvsServiceKey;
      readonly destination: { readonly address: IpAddress; readonly port: number };
    };

/** Changes what is beside the table. */
export type IpvsControlOperation =
  /** Counters to 0: of one service with its destinations, or of all. */
  | { readonly op: 'zero'; readonly service: IpvsServiceKey | null }
  | { readonly op: 'set-timeouts'; readonly timeouts: IpvsTimeouts }
  | { readonly op: 'new-daemon'; readonly daemon: IpvsDaemon }
  | { readonly op: 'delete-daemon'; readonly daemon: Pick<IpvsDaemon, 'state'> };

export type IpvsOperation = IpvsTableOperation | IpvsControlOperation;

/** A kernel that refuses: the errno's name, and what a user can do about it. */
export type KernelError = {
  /** `EPERM`, `ENOENT`, `ESRCH`, `ENODEV`, … or `TIMEOUT`, `UNAVAILABLE` (no such family). */
  readonly code: string;
  readonly message: string;
};

/**
 * What silences VIPs in this kernel (design 4.4): rules with permits in the nftables families that it
 * has, or address lifetimes alone.
 */
export const GATE_KINDS = ['netdev', 'arp-inet-ip6', 'bridge', 'address-lifetime'] as const;
export type GateKind = (typeof GATE_KINDS)[number];

/** How a group is armed: `open` speaks; `prepared` is bound and silent; `muted` forwards and answers no ARP or ND. */
export type ArmMode = 'open' | 'prepared' | 'muted';

/** Stable text of a service key: `tcp 10.90.0.100:80`, `fwmark 7 inet6`. */
export function formatServiceKey(key: IpvsServiceKey): string {
  if (key.kind === 'fwmark') return `fwmark ${key.mark} ${key.family === 6 ? 'inet6' : 'inet'}`;
  const host = key.address.includes(':') ? `[${key.address}]` : key.address;
  return `${key.protocol} ${host}:${key.port}`;
}
