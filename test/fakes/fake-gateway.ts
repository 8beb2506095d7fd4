/** Gateways of the simulator: each answers after its time, or not at all, as the world says. */
import type { IpAddress } from '../../src/model/address.ts';
import type { Clock } from '../../src/ports/clock.ts';
import type { GatewayAnswer, GatewayPing, GatewayQuestion } from '../../src/ports/gateway.ts';

export class FakeGatewayPing implements GatewayPing {
  readonly #answerMs: (target: IpAddress) => number | null;
  readonly #clock: Clock;
  #isClosed = false;

  /** `answerMs`: milliseconds until the answer of a target arrives here, null for none. */
  constructor(answerMs: (target: IpAddress) => number | null, ports: { readonly clock: Clock }) {
    this.#answerMs = answerMs;
    this.#clock = ports.clock;
  }

  async ask({ targets, mode, timeoutMs }: GatewayQuestion): Promise<GatewayAnswer> {
    const times = targets.map((target) => [target, this.#answerMs(target)] as const);
    const answers = times.flatMap(([target, ms]) =>
      ms === null || ms > timeoutMs || this.#isClosed ? [] : [{ target, ms }],
    );
    const isReachable = mode === 'any' ? answers.length > 0 : answers.length === targets.length;
    const all = answers.map(({ ms }) => ms);
    const decidedMs = mode === 'any' ? Math.min(...all) : Math.max(...all);
    await this.#clock.sleep(isReachable ? decidedMs : timeoutMs);
    return { isReachable, answered: answers.map(({ target }) => target) };
  }

  close(): void {
    this.#isClosed = true;
  }
}
