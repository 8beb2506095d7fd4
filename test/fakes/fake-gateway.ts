/** Gateways of the simulator: each answers after its time, or not at all, as the world says. */
import { familyOf, type IpAddress } from '../../src/model/address.ts';
import type { Clock } from '../../src/ports/clock.ts';
import type { GatewayAnswer, GatewayPing, GatewayRequest } from '../../src/ports/gateway.ts';

export class FakeGatewayPing implements GatewayPing {
  readonly #answerMs: (target: IpAddress) => number | null;
  readonly #clock: Clock;
  readonly #endings = new Set<() => void>();
  #isClosed = false;
  /** What was asked, oldest first, for tests that look; at most the last thousand. */
  readonly asked: GatewayRequest[] = [];

  /** `answerMs`: milliseconds until the answer of a target arrives here, null for none; asked for each echo. */
  constructor(answerMs: (target: IpAddress) => number | null, ports: { readonly clock: Clock }) {
    this.#answerMs = answerMs;
    this.#clock = ports.clock;
  }

  ask(request: GatewayRequest, signal?: AbortSignal): Promise<GatewayAnswer> {
    this.asked.push(request);
    if (this.asked.length > 1_000) this.asked.shift();
    const { mode, timeoutMs, source } = request;
    const targets = [...new Set(request.targets)];
    const answered = new Set<IpAddress>();
    const cancels: (() => void)[] = [];
    return new Promise((resolve) => {
      const isReachable = (): boolean =>
        targets.length > 0 &&
        (mode === 'any' ? answered.size > 0 : answered.size === targets.length);
      const end = (): void => {
        for (const cancel of cancels) cancel();
        this.#endings.delete(end);
        signal?.removeEventListener('abort', end);
        const unanswered = targets
          .filter((target) => !answered.has(target))
          .map((target) => ({ target, reason: 'no answer' }));
        resolve({ isReachable: isReachable(), answered: [...answered], unanswered });
      };
      if (this.#isClosed || signal?.aborted === true || targets.length === 0) {
        end();
        return;
      }
      const take = (target: IpAddress): void => {
        answered.add(target);
        if (isReachable()) end();
      };
      const echo = (target: IpAddress): void => {
        if (answered.has(target) || source[familyOf(target)] === null) return;
        const ms = this.#answerMs(target);
        if (ms !== null) cancels.push(this.#clock.schedule(ms, () => take(target)));
      };
      this.#endings.add(end);
      signal?.addEventListener('abort', end, { once: true });
      cancels.push(this.#clock.schedule(timeoutMs, end));
      cancels.push(this.#clock.schedule(timeoutMs / 2, () => targets.forEach(echo)));
      targets.forEach(echo);
    });
  }

  close(): void {
    this.#isClosed = true;
    for (const end of this.#endings) end();
  }
}
