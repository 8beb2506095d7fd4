/**
 * Neighbours of the simulator: no frames and no timers but those of a running verification. Voices are
 * what a test or a world lets be heard; gateways answer as they are told.
 */
import { AsyncQueue } from '../../src/lib/async.ts';
import { familyOf, type IpAddress } from '../../src/model/address.ts';
import type { Clock } from '../../src/ports/clock.ts';
import type { ForeignVoice, Neighbours } from '../../src/ports/neighbours.ts';

export type FakeQuestion = {
  readonly device: string;
  readonly vip: IpAddress;
  readonly gateway: IpAddress;
};

export type FakeNeighboursOptions = {
  /**
   * Asked for each question on the wire: milliseconds until the answer arrives here, null for none.
   * A world that knows who speaks for the VIP can refuse the question of a silenced director.
   */
  readonly gateway: (question: FakeQuestion) => number | null;
};

const ASK_INTERVAL_MS = 20;
const VOICES_MAX = 256;

export class FakeNeighbours implements Neighbours {
  readonly #options: FakeNeighboursOptions;
  readonly #clock: Clock;
  readonly #queues = new Set<AsyncQueue<ForeignVoice>>();
  readonly #endings = new Set<() => void>();
  #listened = new Set<string>();
  #isClosed = false;
  /** Questions sent, oldest first, for tests that count; at most the last thousand. */
  readonly asked: FakeQuestion[] = [];

  constructor(options: FakeNeighboursOptions, ports: { readonly clock: Clock }) {
    this.#options = options;
    this.#clock = ports.clock;
  }

  /** A foreign frame arrives: heard when somebody listens for its address on that device. */
  hear(voice: ForeignVoice): void {
    if (this.#listened.has(`${voice.device} ${voice.address}`))
      for (const queue of this.#queues) queue.push(voice);
  }

  listen(vips: readonly { readonly device: string; readonly address: IpAddress }[]): void {
    this.#listened = new Set(vips.map(({ device, address }) => `${device} ${address}`));
  }

  voices(signal: AbortSignal): AsyncIterable<ForeignVoice> {
    const queue = new AsyncQueue<ForeignVoice>(VOICES_MAX);
    if (signal.aborted || this.#isClosed) queue.end();
    else {
      this.#queues.add(queue);
      const end = (): void => {
        this.#queues.delete(queue);
        queue.end();
      };
      signal.addEventListener('abort', end, { once: true });
    }
    return queue;
  }

  verify(
    vip: { readonly device: string; readonly address: IpAddress },
    gateway: IpAddress,
    timeoutMs: number,
  ): Promise<boolean> {
    if (this.#isClosed || familyOf(vip.address) !== familyOf(gateway))
      return Promise.resolve(false);
    const question = { device: vip.device, vip: vip.address, gateway };
    return new Promise((resolve) => {
      const cancels: (() => void)[] = [];
      const end = (isProven: boolean): void => {
        for (const cancel of cancels) cancel();
        this.#endings.delete(abandon);
        resolve(isProven);
      };
      const abandon = (): void => end(false);
      const ask = (): void => {
        this.asked.push(question);
        if (this.asked.length > 1_000) this.asked.shift();
        const latencyMs = this.#options.gateway(question);
        if (latencyMs !== null) cancels.push(this.#clock.schedule(latencyMs, () => end(true)));
        cancels.push(this.#clock.schedule(ASK_INTERVAL_MS, ask));
      };
      this.#endings.add(abandon);
      cancels.push(this.#clock.schedule(timeoutMs, abandon));
      ask();
    });
  }

  close(): void {
    this.#isClosed = true;
    for (const abandon of this.#endings) abandon();
    for (const queue of this.#queues) queue.end();
    this.#queues.clear();
    this.#listened.clear();
  }
}
