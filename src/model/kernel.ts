/** What Linux has: links, addresses, the IPVS table, and the operations that change the table. */
import type { AddressScope, ForwardMethod, Protocol } from './cluster.ts';
import type { IpAddress, IpFamily, MacAddress } from './address.ts';

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

export type IpvsServiceKey =
  | {
      readonly kind: 'address';
      readonly protocol: Protocol;
      readonly address: IpAddress;
      readonly port: number;
    }
  | { readonly kind: 'fwmark'; readonly family: IpFamily; readonly mark: number };

export type IpvsService = {
  readonly key: IpvsServiceKey;
  readonly scheduler: string;
  /** IP_VS_SVC_F_* without the kernel's own HASHED bit (linux/ip_vs.h). */
  readonly flags: number;
  /** Persistence timeout in seconds; 0 where the persistent flag is off. */
  readonly timeoutS: number;
  /** IPv4: prefix length 0..32, IPv6: 0..128. Host prefix when not persistent by network. */
  readonly persistencePrefix: number;
};

/** linux/ip_vs.h: persistent port 0x1, one-packet scheduling 0x4, scheduler flags 0x8 0x10 0x20. */
export const IP_VS_SVC_F_PERSISTENT = 0x0001;
export const IP_VS_SVC_F_HASHED = 0x0002;
export const IP_VS_SVC_F_ONEPACKET = 0x0004;

export type IpvsDestination = {
  readonly address: IpAddress;
  readonly port: number;
  readonly forward: ForwardMethod;
  readonly weight: number;
  readonly upperThreshold: number;
  readonly lowerThreshold: number;
};

export type IpvsCounters = {
  readonly connections: number;
  readonly packetsIn: number;
  readonly packetsOut: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
};

export type ObservedDestination = IpvsDestination & {
  readonly activeConnections: number;
  readonly inactiveConnections: number;
  readonly counters: IpvsCounters;
};

export type ObservedService = IpvsService & {
  readonly counters: IpvsCounters;
  readonly destinations: readonly ObservedDestination[];
};

/** The whole table, as dumped. */
export type IpvsTable = { readonly services: readonly ObservedService[] };

/** The table as wanted. */
export type DesiredService = IpvsService & { readonly destinations: readonly IpvsDestination[] };

export type IpvsOperation =
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
