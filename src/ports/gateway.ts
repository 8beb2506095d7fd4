/**
 * Asks addresses outside the cluster for a sign of life, ICMP and ICMPv6 echo (RFC 792, RFC 4443 4): what a
 * director goes by that hears neither etcd nor its peers (design 4.10).
 */
import type { IpAddress, IpFamily } from '../model/address.ts';

/**
 * Where echoes come from: the director's own address, never a VIP. An answer to a VIP would prove where the
 * VIP is, not that this director is on the network.
 */
export type GatewaySource =
  | { readonly kind: 'address'; readonly address: IpAddress }
  /** Some address of these devices, one in the target's network first, but none of `except` (the VIPs). */
  | {
      readonly kind: 'devices';
      readonly devices: readonly string[];
      readonly except: readonly IpAddress[];
    };

/** Null: this director has none; targets of that family stay unanswered. */
export type GatewaySources = Readonly<Record<IpFamily, GatewaySource | null>>;

export type GatewayRequest = {
  readonly targets: readonly IpAddress[];
  readonly mode: 'any' | 'all';
  readonly timeoutMs: number;
  readonly source: GatewaySources;
};

export type GatewayAnswer = {
  /** `any`: one of the targets answered; `all`: each did. Never without targets. */
  readonly isReachable: boolean;
  /** In the order of their answers; with `any` it may be all there is time for. */
  readonly answered: readonly IpAddress[];
  /** Why the others did not, for people. */
  readonly unanswered: readonly { readonly target: IpAddress; readonly reason: string }[];
};

export interface GatewayPing {
  /**
   * One echo to each target, and another at half of the time to those that are silent. Resolves as soon
   * as the answer is certain to be yes, or at the timeout, or when the signal aborts. What the network
   * refuses is no answer; it never rejects.
   */
  ask(request: GatewayRequest, signal?: AbortSignal): Promise<GatewayAnswer>;
  /** Ends what is asked now: no answer. */
  close(): void;
}
