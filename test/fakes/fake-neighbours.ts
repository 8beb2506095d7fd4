/**
 * Neighbours of the simulator: no frames and no timers but those of a running verification. Voices are
 * what a test or a world lets be heard; gateways answer as they are told.
 */
import { AsyncQueue } from '../../src/lib/async.ts';
import { familyOf, type IpAddress } from '../../src/model/address.ts';
import type { Clock } from '../../src/ports/clock.ts';
import type {
  ForeignVoice,
  Neighbours,
  ProbeOutcome,
  VipPlace,
} from '../../src/ports/neighbours.ts';

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
  /**
   * Asked for each probe on the wire: milliseconds until somebody's claim to the VIP arrives here; null, and
   * where it is missing: nobody has it.
   */
  readonly defender?: (vip: VipPlace) => number | null;
  /** Where no probe can be sent or heard. */
  readonly isDeaf?: (device: string) => boolean;
};

const ASK_INTERVAL_MS = 20;
const VOICES_MAX = 256;

export class FakeNeighbours implements Neighbours {
  readonly #options: FakeNeighboursOptions;
  readonly #clock: Clock;
  readonly #queues = new Set<AsyncQueue<ForeignVoice>>();
  readonly #endings = new Set<() => void>();
  /** Of running probes; true: it asked for this one. */
  readonly #claims = new Set<(vip: VipPlace) => boolean>();
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
    for (const claim of this.#claims) claim(voice);
    if (this.isListening(voice)) this.hearVoice(voice);
  }

  /** Whether voices of the address are listened for. */
  isListening({ device, address }: VipPlace): boolean {
    return this.#listened.has(`${device} ${address}`);
  }

  /** Whether anybody reads what is heard: not any more where the process ends. */
  get isHeard(): boolean {
    return this.#queues.size > 0;
  }

  /** Whether a probe is under way. */
  get isProbing(): boolean {
    return this.#claims.size > 0;
  }

  /** The voice alone, of a frame that came while it was listened for: a real ear is read some time later. */
  hearVoice(voice: ForeignVoice): void {
    for (const queue of this.#queues) queue.push(voice);
  }

  /**
   * A foreign probe arrives: no voice, but who probes the same at this time knows of it, and asks once more, so
   * that the other does, too.
   */
  hearProbe(vip: VipPlace): void {
    for (const claim of this.#claims) if (claim(vip)) this.#options.defender?.(vip);
  }

  /** How late the listener wants to hear at most; for tests that look. */
  withinMs = 200;

  listen(vips: readonly VipPlace[], withinMs = 200): void {
    this.withinMs = withinMs;
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

  probe(
    vips: readonly VipPlace[],
    {
      count,
      intervalMs,
      signal,
    }: { readonly count: number; readonly intervalMs: number; readonly signal?: AbortSignal },
  ): Promise<ProbeOutcome> {
    const open = new Map(vips.map((vip) => [vip.address, vip]));
    const answered = new Set<IpAddress>();
    const isDeaf = ({ device }: VipPlace): boolean => this.#options.isDeaf?.(device) ?? false;
    const unasked = new Set(vips.filter(isDeaf).map(({ address }) => address));
    const cancels: (() => void)[] = [];
    return new Promise((resolve) => {
      let rounds = 0;
      let isComplete = false;
      const end = (): void => {
        for (const cancel of cancels) cancel();
        this.#endings.delete(end);
        this.#claims.delete(claim);
        signal?.removeEventListener('abort', end);
        if (!isComplete) for (const address of open.keys()) unasked.add(address);
        resolve({ answered, unasked });
      };
      const claim = (vip: VipPlace): boolean => {
        if (open.get(vip.address)?.device !== vip.device || isDeaf(vip)) return false;
        open.delete(vip.address);
        answered.add(vip.address);
        if (open.size === 0) end();
        return true;
      };
      const ask = (): void => {
        if (rounds === count) {
          isComplete = count > 0;
          end();
          return;
        }
        rounds++;
        cancels.push(this.#clock.schedule(intervalMs, ask));
        for (const vip of open.values()) {
          const latencyMs = this.#options.defender?.(vip) ?? null;
          if (latencyMs !== null) cancels.push(this.#clock.schedule(latencyMs, () => claim(vip)));
        }
      };
      if (open.size === 0 || this.#isClosed || signal?.aborted === true) {
        end();
        return;
      }
      this.#endings.add(end);
      this.#claims.add(claim);
      signal?.addEventListener('abort', end, { once: true });
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
