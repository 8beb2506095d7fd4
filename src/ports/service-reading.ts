/** What the metrics tell of services and real servers: read off the agent's state when somebody asks, as it may be much. */
import type { IpvsCounters, IpvsRates } from '../model/kernel.ts';

/** Which way packets go, seen from the clients: to the real servers, or back from them (NAT alone). */
export const DIRECTIONS = ['in', 'out'] as const;

/** In this director's table. */
export type TrafficReading = {
  readonly active: number;
  readonly inactive: number;
  readonly templates: number;
  readonly counters: IpvsCounters;
  readonly rates: IpvsRates;
};

export type RealServerReading = {
  readonly realServer: string;
  readonly isUp: boolean;
  /** 0 also where it is not to be in the table. */
  readonly weight: number;
  /** Null: not in the table. */
  readonly traffic: TrafficReading | null;
  /** Connections and templates that a drain waits for; null: none is under way. */
  readonly draining: number | null;
  /** Null: it is not checked. */
  readonly health: HealthReading | null;
};

export type HealthReading = {
  /** On the check, or on the one of several that decides. */
  readonly votesUp: number;
  readonly votesDown: number;
  /** Wall clock; null: the verdict has not changed since this director began. */
  readonly changedAtMs: number | null;
};

export type ServiceReading = {
  readonly service: string;
  /** Null: nothing was decided yet, or this director is a cold standby for its group. */
  readonly quorum: {
    readonly isUp: boolean;
    readonly live: number;
    /** To stay up while it is, to come back while it is not. */
    readonly needed: number;
  } | null;
  readonly isSorryActive: boolean;
  readonly isFailOpen: boolean;
  /** Real servers on their way out. */
  readonly draining: number;
  readonly traffic: TrafficReading | null;
  readonly realServers: () => Iterable<RealServerReading>;
};

export type ServicesReading = {
  readonly services: () => Iterable<ServiceReading>;
  /** Of all services together. */
  readonly realServers: number;
};
