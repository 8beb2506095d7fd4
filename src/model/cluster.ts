/**
 * What the operator wants, after parsing: the cluster document with defaults filled in.
 * The document itself (YAML or JSON) and its rules live in `config/`.
 */
import type { IpAddress } from './address.ts';
import type { CheckId, DirectorId, GroupId, RealServerId, ServiceId } from './ids.ts';

export type TimingProfile = 'fast' | 'default' | 'relaxed';

/** Design 5. All in milliseconds but the last two. Relations are validated, never adjusted. */
export type Timing = {
  readonly profile: TimingProfile;
  readonly heartbeatMs: number;
  readonly suspectMs: number;
  /** R: start of one round to the start of the next. */
  readonly roundMs: number;
  /** D: how long a confirmed round lets the VIPs speak, counted from its send. */
  readonly holdMs: number;
  /** P = D/4: an answer later than this arms nothing. */
  readonly permitMs: number;
  /** δ: what the gate and the network may be late. */
  readonly slackMs: number;
  /** m: margin for the rates of two clocks. */
  readonly driftMargin: number;
  readonly leaseTtlS: number;
};

export type Director = { readonly id: DirectorId; readonly address: IpAddress };

export type AddressScope = 'global' | 'site' | 'link' | 'host';

export type GroupAddress = {
  readonly address: IpAddress;
  readonly prefix: number;
  /** Logical interface name; each director's agent.yaml maps it to a device. */
  readonly interface: string;
  /** Suffix of an IPv4 address label: `<device>:<label>`. */
  readonly label: string | null;
  readonly scope: AddressScope;
};

export type Preempt =
  | { readonly kind: 'never' }
  | { readonly kind: 'immediate' }
  | { readonly kind: 'after'; readonly ms: number };

export type VipGroup = {
  readonly id: GroupId;
  readonly addresses: readonly GroupAddress[];
  /** Higher is better. Null: every director of the spec, in rendezvous order. */
  readonly priorities: ReadonlyMap<DirectorId, number> | null;
  readonly preempt: Preempt;
  readonly virtualRouterId: number | null;
};

export type Protocol = 'tcp' | 'udp' | 'sctp';
export type ForwardMethod = 'dr' | 'nat' | 'tun';
export const SCHEDULERS = [
  'rr',
  'wrr',
  'lc',
  'wlc',
  'lblc',
  'lblcr',
  'dh',
  'sh',
  'sed',
  'nq',
  'fo',
  'ovf',
  'mh',
  'twos',
] as const;
export type Scheduler = (typeof SCHEDULERS)[number];

export type CheckTiming = {
  readonly intervalMs: number;
  /** Total deadline of one probe, name look-up and TLS included. */
  readonly timeoutMs: number;
  /** Consecutive successes that make a down target up. */
  readonly rise: number;
  /** Consecutive failures that make an up target down. */
  readonly fall: number;
};

export type CheckKind =
  | { readonly kind: 'tcp' }
  | {
      readonly kind: 'http' | 'https';
      readonly method: 'GET' | 'HEAD';
      readonly path: string;
      /** Inclusive ranges of acceptable status codes. */
      readonly status: readonly (readonly [number, number])[];
      /** Host header and SNI; null: the address. */
      readonly host: string | null;
      /** https only: check the certificate against the system's authorities. */
      readonly verify: boolean;
    };

export type CheckSpec = CheckKind & CheckTiming & { readonly port: number | null };

export type RealServer = {
  readonly id: RealServerId;
  readonly address: IpAddress;
  readonly port: number;
  readonly weight: number;
  readonly forward: ForwardMethod;
};

export type Persistence = { readonly timeoutS: number };

export type VirtualService = {
  readonly id: ServiceId;
  readonly group: GroupId;
  readonly address: IpAddress;
  readonly port: number;
  readonly protocol: Protocol;
  readonly scheduler: Scheduler;
  readonly persistence: Persistence | null;
  readonly check: CheckSpec | null;
  /** Before the first vote a real server is down. Off by default, as in keepalived. */
  readonly alpha: boolean;
  /** Down means weight 0 instead of removal. */
  readonly inhibitOnFailure: boolean;
  readonly realServers: readonly RealServer[];
  readonly sorryServer: RealServer | null;
};

export type ClusterSpec = {
  readonly timing: Timing;
  readonly directors: readonly Director[];
  readonly groups: readonly VipGroup[];
  readonly services: readonly VirtualService[];
  /** How many directors run each check; null: min(3, all). */
  readonly checkers: number | null;
};

/** One probe job: equal jobs of many services are one (design 8). */
export type Check = {
  readonly id: CheckId;
  readonly address: IpAddress;
  readonly port: number;
  readonly spec: CheckSpec;
};
