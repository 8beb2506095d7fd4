/**
 * What the operator wants, after parsing: the cluster document with defaults filled in.
 * The document itself (YAML or JSON) and its rules live in `config/`.
 */
import { familyOf, type IpAddress, type IpFamily } from './address.ts';
import type { CheckKind, CheckOrigin } from './check.ts';
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
  /** Null: the group's connections are not told to other directors. */
  readonly connectionSync: ConnectionSync | null;
};

/**
 * How the holder of a group tells its connections to the other directors (IPVS sync daemons). A kernel
 * has one master and one backup daemon: what groups of one holder ask for beyond the id must be equal.
 */
export type ConnectionSync = {
  /** 0 to 255, one for each group on an interface; a backup with id 0 takes what every master sends. */
  readonly syncId: number;
  /** Logical interface name, as in `GroupAddress`. */
  readonly interface: string;
  /** Multicast group that the daemons talk in. */
  readonly group: IpAddress;
  /** UDP. */
  readonly port: number;
  readonly ttl: number;
  /** Longest message in bytes; null: what fits the interface. */
  readonly maxLength: number | null;
  /** How long a backup daemon has to have run before its director is ready to take the group back. */
  readonly catchUpMs: number;
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

export const PROTOCOLS = ['tcp', 'udp', 'sctp'] as const;
export type Protocol = (typeof PROTOCOLS)[number];
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
  /** Consecutive failures that make an up target down; keepalived's `retry` and one more. */
  readonly fall: number;
  /**
   * From a result that contradicts the verdict to the next probe, until the verdict is confirmed or changed
   * (keepalived's `delay_before_retry`). Absent: the first follows at once, then the interval.
   */
  readonly retryMs?: number;
  /** The first probe of a new check comes at a random moment within this; 0: at once. Absent: the interval. */
  readonly warmupMs?: number;
  /** Part of the interval by which the rhythm varies up and down, 0 to 0.5. Absent: 0.1. */
  readonly jitter?: number;
  /** False: not probed while every real server that uses it is drained or in maintenance. Absent: true. */
  readonly whileDrained?: boolean;
  /**
   * Who probes. `holder`: only who holds a group of the services that use it, and whose verdict is the
   * cluster's (keepalived's `ha_suspend`). Absent: `directors`, as many as `ClusterSpec.checkers` says.
   */
  readonly runBy?: 'directors' | 'holder';
};

export type CheckSpec = CheckKind &
  CheckTiming & {
    /** Null: the real server's. */
    readonly port: number | null;
    /** Where the check goes instead of the real server's address; null or absent: there. */
    readonly address?: IpAddress | null;
    /** Absent: as the routes say. */
    readonly origin?: CheckOrigin;
  };

/** A real server is up when all, or any, of its checks are; groups hold groups one deep. */
export type CheckGroup = {
  readonly kind: 'all' | 'any';
  /** At least one. */
  readonly of: readonly CheckTree[];
};

export type CheckTree = CheckSpec | CheckGroup;

/** linux/ip_vs.h, IP_VS_CONN_F_TUNNEL_TYPE_*. */
export const TUNNEL_TYPES = ['ipip', 'gue', 'gre'] as const;
export type TunnelType = (typeof TUNNEL_TYPES)[number];
/** What protects the outer header of gue and gre; `remcsum` (remote checksum offload) is for gue alone. */
export const TUNNEL_CHECKSUMS = ['nocsum', 'csum', 'remcsum'] as const;
export type TunnelChecksum = (typeof TUNNEL_CHECKSUMS)[number];

export type Tunnel = {
  readonly type: TunnelType;
  /** UDP port that a gue real server listens on; 0 for the other types. */
  readonly port: number;
  readonly checksum: TunnelChecksum;
};

/** What `forward: tun` means where nothing else is said. */
export const DEFAULT_TUNNEL: Tunnel = { type: 'ipip', port: 0, checksum: 'nocsum' };

/** Where packets of a service go, and how. */
export type ForwardTarget = {
  readonly id: RealServerId;
  readonly address: IpAddress;
  /** 0: the port that the client asked for (services with several ports, with all, or with a mark). */
  readonly port: number;
  /** 0 to 2147483647. */
  readonly weight: number;
  readonly forward: ForwardMethod;
  /** Null exactly where `forward` is not `tun`. */
  readonly tunnel: Tunnel | null;
};

export type RealServer = ForwardTarget & {
  /** Connections from which on it gets no new ones until it is below the lower one; 0: no limit. */
  readonly upperThreshold: number;
  /** Below the upper one; 0: three quarters of the upper one (the kernel's rule). */
  readonly lowerThreshold: number;
  /** Before the first vote it is down. Off by default, as in keepalived. */
  readonly alpha: boolean;
  /** Down means weight 0 instead of removal. */
  readonly inhibitOnFailure: boolean;
  /** Its own; null: it is not checked. Absent: the service's. */
  readonly check?: CheckTree | null;
};

/** Answers while the quorum is lost; it is never checked and takes no part in the quorum. */
export type SorryServer = ForwardTarget & {
  /** With the quorum back it stays with weight 0 instead of going. */
  readonly inhibit: boolean;
};

export type Persistence = {
  /** 1 to 2678400 (31 days). */
  readonly timeoutS: number;
  /** Clients of one network of this prefix length go together: 1 to 32, IPv6 1 to 128. */
  readonly prefix: number;
  /** What else tells clients apart: `sip` goes by the Call-ID; null: nothing. */
  readonly engine: 'sip' | null;
};

/** Flags of the schedulers by the names of ipvsadm; the kernel has three bits (`schedulerFlagBits`). */
export const SCHEDULER_FLAGS = [
  'sh-fallback',
  'sh-port',
  'mh-fallback',
  'mh-port',
  'flag-1',
  'flag-2',
  'flag-3',
] as const;
export type SchedulerFlag = (typeof SCHEDULER_FLAGS)[number];

/** What the kernel knows a service by. Port 0: all ports, for persistent services only. */
export type ServiceKey =
  | {
      readonly kind: 'address';
      readonly protocol: Protocol;
      readonly address: IpAddress;
      readonly port: number;
    }
  | { readonly kind: 'fwmark'; readonly family: IpFamily; readonly mark: number };

/** Inclusive. */
export type PortRange = { readonly from: number; readonly to: number };

/** Packets to one address that leasehold gives the mark of their service. */
export type MarkRule = {
  readonly address: IpAddress;
  readonly protocol: Protocol;
  /** In ascending order, apart from each other; 0 to 65535 is every port. */
  readonly ports: readonly PortRange[];
};

/** IPVS services that one virtual service may become: its addresses times its ports. */
export const MAX_SERVICE_KEYS = 4096;
/** IPVS services and destinations of a whole document, after expansion. */
export const MAX_IPVS_SERVICES = 16_384;
export const MAX_IPVS_DESTINATIONS = 262_144;
/** Marking rules of a whole document, one for each address, protocol and port range. */
export const MAX_MARK_RANGES = 4096;

/**
 * keepalived's quorum (weights of real servers that are up, summed): lost below need − hysteresis or at
 * 0, back from need + hysteresis on.
 */
export type Quorum = {
  readonly need: number;
  /** Below `need`. */
  readonly hysteresis: number;
  /** Programs that are told; no shell. */
  readonly up: readonly string[] | null;
  readonly down: readonly string[] | null;
  readonly timeoutMs: number;
  /** Null: the agent's own user. */
  readonly user: string | null;
};

/** Where the weight of a real server comes from: the document, or what its check says. */
export type WeightSource = 'fixed' | 'check';

export type VirtualService = {
  readonly id: ServiceId;
  readonly group: GroupId;
  /** An IPVS service each: at least one, each once, of one family; addresses as written, ports ascending. */
  readonly keys: readonly ServiceKey[];
  /** What leasehold marks for a firewall-mark service; none: other keys, or the mark is set by others. */
  readonly marks: readonly MarkRule[];
  readonly scheduler: Scheduler;
  readonly schedulerFlags: readonly SchedulerFlag[];
  /** One-packet scheduling: each datagram on its own (UDP and firewall marks). */
  readonly ops: boolean;
  readonly persistence: Persistence | null;
  /** Of each of its real servers that has none of its own; null: they are not checked. */
  readonly check: CheckTree | null;
  readonly quorum: Quorum;
  /** Percent: where less than this share of the weight is up, all count as up. Null: never. */
  readonly failOpenPercent: number | null;
  /** How long a real server that came back takes to its full weight; 0: at once. */
  readonly slowStartMs: number;
  readonly weightSource: WeightSource;
  /** A real server that the document no longer names keeps its connections this long; 0: removed at once. */
  readonly drain: { readonly deadlineMs: number };
  readonly realServers: readonly RealServer[];
  readonly sorryServer: SorryServer | null;
};

export const familyOfKey = (key: ServiceKey): IpFamily =>
  key.kind === 'fwmark' ? key.family : familyOf(key.address);

/** The port of a real server in one of its service's keys. */
export function portIn(key: ServiceKey, target: Pick<ForwardTarget, 'port'>): number {
  if (target.port !== 0 || key.kind === 'fwmark') return target.port;
  return key.port;
}

/** Seconds; null: as the kernel has it. */
export type IpvsTimeoutSpec = {
  readonly tcpS: number | null;
  readonly tcpFinS: number | null;
  readonly udpS: number | null;
};

/**
 * A value that each director's kernel shall have, by its dotted name: `net.ipv4.vs.conntrack`. Several
 * numbers (`sync_threshold`) have a space between them.
 */
export type Sysctl = { readonly name: string; readonly value: string };

/** What concerns the whole IPVS of a director. */
export type IpvsSpec = {
  readonly timeouts: IpvsTimeoutSpec;
  /** `warm`: every director has the table; `cold`: a director has the services of the groups it holds. */
  readonly standby: 'warm' | 'cold';
  /** What becomes of our services when the agent ends: deleted, or left as they are. */
  readonly onExit: 'release' | 'freeze';
  /** Set because they are configured, in the document's order; nothing else is ever set. */
  readonly sysctls: readonly Sysctl[];
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
  readonly ipvs: IpvsSpec;
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
