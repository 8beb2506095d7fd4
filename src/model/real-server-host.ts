/**
 * A machine that serves VIPs behind a director (DR or TUN): how each VIP is served, what the machine has, what
 * was changed on it, and what there is to say. Words of the kernel: ip-sysctl.rst, linux/if_tunnel.h, linux/fou.h.
 */
import type { IpAddress, IpFamily } from './address.ts';
import type { BoundAddress } from './kernel.ts';

export type TunnelKind = 'ipip' | 'gue' | 'gre';

export type TunnelSetup = {
  readonly kind: TunnelKind;
  /** Family of the outer header: that of the real server's own address in the cluster document. */
  readonly over: IpFamily;
  /** UDP port of gue; null for the others. */
  readonly guePort: number | null;
};

/** What somebody asks for. */
export type VipWish = {
  readonly address: IpAddress;
  /** Null: DR. */
  readonly tunnel: TunnelSetup | null;
  /** Null: the usual one, lo for DR and the kernel's own tunnel device for TUN. */
  readonly device: string | null;
};

/** How one VIP is served here. */
export type VipSetup = {
  readonly address: IpAddress;
  /** Null: DR. */
  readonly tunnel: TunnelSetup | null;
  /** The device that carries the VIP. */
  readonly device: string;
  /** Where the tunnel's packets come out; null for DR. */
  readonly tunnelDevice: string | null;
};

/** Tag (IFA_PROTO) of a VIP that this command bound; another than the agent's, which removes its own. */
export const REAL_SERVER_ADDRESS_PROTOCOL = 109;

export type HostLink = {
  readonly index: number;
  readonly name: string;
  /** Of the driver: `ipip`, `dummy`; null where it tells none (lo, network cards). */
  readonly kind: string | null;
  readonly isUp: boolean;
  readonly isLoopback: boolean;
  /** It speaks ARP: IFF_NOARP is off, and it is no loopback. */
  readonly hasArp: boolean;
  /** IFLA_IPTUN_PROTO of an `ip6tnl` device: the inner protocol it takes, 0 is any; null: tells none. */
  readonly innerProtocol: number | null;
};

export type GuePort = { readonly port: number; readonly family: IpFamily };

/** Path below /proc/sys, such as `net/ipv4/conf/all/arp_ignore`. */
export type SettingPath = string;

export type HostFacts = {
  readonly links: readonly HostLink[];
  readonly addresses: readonly BoundAddress[];
  /** What is missing is not in the kernel. */
  readonly settings: ReadonlyMap<SettingPath, number>;
  /** Null: the kernel has no `fou`, or not yet. */
  readonly guePorts: readonly GuePort[] | null;
};

/** One change; each is idempotent. */
export type HostStep =
  | { readonly kind: 'load-module'; readonly module: string }
  | {
      readonly kind: 'create-link';
      readonly name: string;
      readonly linkKind: string;
      /** Without it there is no such kind. */
      readonly module: string;
    }
  | { readonly kind: 'delete-link'; readonly index: number; readonly name: string }
  | {
      readonly kind: 'switch-link';
      readonly index: number;
      readonly name: string;
      readonly isUp: boolean;
    }
  | {
      readonly kind: 'set-inner-protocol';
      readonly index: number;
      readonly name: string;
      readonly before: number;
      readonly value: number;
    }
  | {
      readonly kind: 'set';
      readonly path: SettingPath;
      readonly before: number;
      readonly value: number;
    }
  | { readonly kind: 'add-gue-port'; readonly port: GuePort }
  | { readonly kind: 'delete-gue-port'; readonly port: GuePort }
  | {
      readonly kind: 'add-address' | 'delete-address';
      readonly index: number;
      readonly device: string;
      readonly address: IpAddress;
    };

/** What `up` changed and `down` gives back. Written before the change is made. */
export type SavedHost = {
  readonly vips: readonly (VipSetup & {
    /** The address was not there before. */
    readonly isAdded: boolean;
  })[];
  readonly settings: readonly {
    readonly path: SettingPath;
    readonly before: number;
    readonly value: number;
  }[];
  readonly links: readonly {
    readonly name: string;
    readonly isCreated: boolean;
    readonly isSwitchedOn: boolean;
    /** Null: not changed. */
    readonly innerProtocol: { readonly before: number; readonly value: number } | null;
  }[];
  readonly guePorts: readonly GuePort[];
};

export const NOTHING_SAVED: SavedHost = { vips: [], settings: [], links: [], guePorts: [] };

/** `done`: changed just now; `refused`: up would do harm; `note`: to be known, nothing is missing. */
export type RealServerLineState = 'ok' | 'done' | 'missing' | 'refused' | 'failed' | 'note';

export type RealServerLine = {
  readonly state: RealServerLineState;
  /** Of which thing it speaks: a sysctl by its name, `10.90.0.100/32 on lo`. */
  readonly what: string;
  readonly detail: string;
  /** A command or a sentence; null where nothing is to be done. */
  readonly remedy: string | null;
};

export type RealServerVerb = 'up' | 'down' | 'status';

/** Without a wish: however `up` made it. */
export type AskedVip = { readonly vip: IpAddress; readonly wish: VipWish | null };

export type RealServerRequest =
  | { readonly verb: 'up'; readonly wishes: readonly VipWish[] }
  /** Null: all that `up` knows of. `status` takes a VIP that is not up for one of DR where there is no wish. */
  | { readonly verb: 'down' | 'status'; readonly asked: readonly AskedVip[] | null };

export type RealServerAnswer = {
  /** `up`: done and ready; `down`: nothing is left; `status`: nothing is missing. */
  readonly isGood: boolean;
  readonly vips: readonly VipSetup[];
  readonly lines: readonly RealServerLine[];
  /** The result in one line, for people. */
  readonly summary: string;
};
