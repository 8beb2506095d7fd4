/** Asks the gateway every second, whatever this director holds, for the order of the candidates (design 4.7). */
import {
  gatewayBonus,
  type GatewayTrack,
  NEW_GATEWAY_TRACK,
  stepGatewayTrack,
} from '../core/tracks/gateway-track.ts';
import type { IpAddress } from '../model/address.ts';
import type { Clock } from '../ports/clock.ts';
import type { Log } from '../ports/log.ts';

export type GatewayWatchPorts = {
  /** Of the spec in force; empty: the gateway counts for nothing. */
  readonly targets: () => readonly IpAddress[];
  readonly ask: (timeoutMs: number, signal: AbortSignal) => Promise<boolean>;
  readonly clock: Clock;
  readonly log: Log;
  /** Bonus or settledness may differ from now on. May call the watch. */
  readonly changed: () => void;
};

export type GatewayWatch = {
  /** Joins this director's priority for a group, −253 or 0. */
  bonus(role: 'holder' | 'candidate'): number;
  /** It was asked at least once, or there is none. */
  isSettled(): boolean;
  run(signal: AbortSignal): Promise<void>;
};

const INTERVAL_MS = 1_000;
/** The answer of a target beyond the first hop may take a while. */
const TIMEOUT_MS = 500;

export function createGatewayWatch(ports: GatewayWatchPorts): GatewayWatch {
  return new Watch(ports);
}

class Watch implements GatewayWatch {
  readonly #ports: GatewayWatchPorts;
  #track: GatewayTrack = NEW_GATEWAY_TRACK;
  /** Those that the track is about. */
  #targets = '';

  constructor(ports: GatewayWatchPorts) {
    this.#ports = ports;
  }

  bonus(role: 'holder' | 'candidate'): number {
    return this.#isCurrent() ? gatewayBonus(this.#track, role) : 0;
  }

  isSettled(): boolean {
    const { length } = this.#ports.targets();
    return length === 0 || (this.#isCurrent() && this.#track.isAnswering !== null);
  }

  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#ports;
    while (!signal.aborted) {
      const from = clock.now();
      await this.#look(signal);
      await clock.sleep(Math.max(0, INTERVAL_MS - (clock.now() - from)), signal);
    }
  }

  async #look(signal: AbortSignal): Promise<void> {
    const { ask, targets, changed, log } = this.#ports;
    const asked = targets().join();
    if (asked !== this.#targets) {
      this.#targets = asked;
      this.#track = NEW_GATEWAY_TRACK;
    }
    if (asked === '') return;
    const isAnswering = await ask(TIMEOUT_MS, signal);
    // An answer to an older question than the document asks now says nothing.
    if (signal.aborted || !this.#isCurrent()) return;
    const before = this.#track;
    this.#track = stepGatewayTrack(before, isAnswering);
    const { isLostAsCandidate, isLostAsHolder } = this.#track;
    const isSame =
      isLostAsCandidate === before.isLostAsCandidate && isLostAsHolder === before.isLostAsHolder;
    if (isSame && before.isAnswering !== null) return;
    if (!isSame) log.info({ isLostAsCandidate, isLostAsHolder }, 'gateway.track-changed');
    changed();
  }

  #isCurrent(): boolean {
    return this.#ports.targets().join() === this.#targets;
  }
}
