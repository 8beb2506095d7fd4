/**
 * What the operator wants, after parsing: the cluster document with defaults filled in.
 * The document itself (YAML or JSON) and its rules live in `config/`.
 */
import type { IpAddress } from './address.ts';
import type { CheckId, DirectorId, GroupId, RealServerId, ServiceId } from './ids.ts';
import type { VrrpSpec } from './vrrp.ts';

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

export type Director = {
  readonly id: DirectorId;
  readonly address: IpAddress;
  /** Directors of one zone share a fate (a rack, a power feed); null: a zone of its own. */
  readonly zone: string | null;
};

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
  /** Null: no VRRP on the wire. */
  readonly vrrp: VrrpSpec | null;
  /** Share of a director's load that the group is, for placement without priorities; 1 by default. */
  readonly weight: number;
  /** Groups that should not be on the same director, where that can be. */
  readonly antiAffinity: readonly GroupId[];
  readonly tracks: readonly Track[];
  readonly notify: NotifySpec | null;
};

/**
 * Something a group's holder depends on. `weight: null`: a failing track forbids holding. Else it
 * moves the director's priority as keepalived does: a positive weight is added while it passes, a
 * negative one while it fails; a file adds weight × its number.
 */
export type Track = { readonly id: string; readonly weight: number | null } & (
  | { readonly kind: 'interface'; readonly device: string }
  | {
      readonly kind: 'script';
      /** Program and arguments; no shell. */
      readonly command: readonly string[];
      readonly intervalMs: number;
      readonly timeoutMs: number;
      readonly rise: number;
      readonly fall: number;
      /** Counts as failed until it passed once. */
      readonly initFail: boolean;
      /** Null: the agent's own user. */
      readonly user: string | null;
    }
  | {
      readonly kind: 'process';
      /** Name of the program as the kernel knows it (`/proc/PID/comm`), or its path. */
      readonly process: string;
      /** Fewest processes of that name. */
      readonly quorum: number;
      /** It counts as gone, or as back, only after this. */
      readonly delayMs: number;
    }
  | { readonly kind: 'file'; readonly path: string; readonly initFail: boolean }
);

/** Programs that are told of a group's transitions, in order; null: none for this state. */
export type NotifySpec = {
  readonly master: readonly string[] | null;
  readonly backup: readonly string[] | null;
  readonly fault: readonly string[] | null;
  readonly stop: readonly string[] | null;
  /** Called for every state, with keepalived's arguments. */
  readonly any: readonly string[] | null;
  /** A named pipe that gets a line for every state. */
  readonly fifo: string | null;
  readonly timeoutMs: number;
  readonly user: string | null;
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
  /** Gateways of the VIPs' networks: a takeover is verified with them. */
  readonly gateways: readonly IpAddress[];
  readonly isolation: Isolation;
};

/** What a holder does that hears neither etcd nor all its peers (design 4.10). */
export type Isolation = {
  /** `gateway`: it goes on while the targets answer it; `release`: it falls silent. */
  readonly policy: 'gateway' | 'release';
  /** At least one with policy `gateway`; none of them is an address of this cluster. */
  readonly targets: readonly IpAddress[];
  /** How many of them must answer. */
  readonly mode: 'any' | 'all';
};

/** One probe job: equal jobs of many services are one (design 8). */
export type Check = {
  readonly id: CheckId;
  readonly address: IpAddress;
  readonly port: number;
  readonly spec: CheckSpec;
};
