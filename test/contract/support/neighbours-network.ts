/**
 * A network with directors that run the real Neighbours, a gateway that is nothing but Linux, and a
 * stranger who sends whatever frames a test wants. Needs root, `ip` and `nft`.
 */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { toHex } from '../../../src/lib/bytes.ts';
import type { IpAddress } from '../../../src/model/address.ts';
import type { FenceDevice, FenceKind } from '../../../src/ports/fence.ts';
import type { ForeignVoice } from '../../../src/ports/neighbours.ts';
import { AHEAD, createNetwork, type Network } from '../../support/network.ts';
import { monotonicMs, waitFor, within } from '../../support/processes.ts';
import { waitedMs } from '../../support/wait-meter.ts';
import type { Place, Probe, ProbeOptions } from '../neighbours.contract.ts';

export type NeighboursCommand =
  | { readonly op: 'listen'; readonly vips: readonly Place[]; readonly withinMs?: number }
  | {
      readonly op: 'verify';
      readonly vip: Place;
      readonly gateway: IpAddress;
      readonly timeoutMs: number;
    }
  | { readonly op: 'probe'; readonly vips: readonly Place[]; readonly options: ProbeOptions }
  /** Silences the VIPs by the real rules, on the device. */
  | {
      readonly op: 'fence';
      readonly fence: FenceKind;
      readonly device: FenceDevice;
      readonly vips: readonly Place[];
    };
type Answer = {
  readonly proof: boolean;
  readonly answered: readonly IpAddress[];
  readonly unasked: readonly IpAddress[];
};
export type NeighboursLine =
  | { readonly kind: 'ready' }
  | { readonly kind: 'voice'; readonly voice: ForeignVoice }
  | { readonly kind: 'begun'; readonly id: number }
  | ({ readonly kind: 'answer'; readonly id: number } & Answer);

/** Longer than any pause of the machine. */
const PATIENCE = { timeoutMs: 10_000, intervalMs: 10 };
/** Thousands of frames, where nothing else is done. */
const SENDING_MS = 30_000;

export class NeighboursNetwork {
  /** What the directors heard. */
  readonly voices: ForeignVoice[] = [];
  readonly net: Network;
  readonly #children: ChildProcessWithoutNullStreams[] = [];
  readonly #waiting = new Map<number, (answer: Answer) => void>();
  readonly #beginning = new Map<number, () => void>();
  readonly #sending: (() => void)[] = [];
  readonly #directors = new Map<string, ChildProcessWithoutNullStreams>();
  #stranger: ChildProcessWithoutNullStreams | null = null;
  #commands = 0;

  private constructor(net: Network) {
    this.net = net;
  }

  /** After a failure half-way nothing stays behind. */
  static async start(director: readonly string[]): Promise<NeighboursNetwork> {
    const started = new NeighboursNetwork(await createNetwork({ name: 'neighbours' }));
    try {
      await started.#start(director);
      return started;
    } catch (cause) {
      await started.close();
      throw cause;
    }
  }

  async #start(director: readonly string[]): Promise<void> {
    await this.addDirector('d1', director);
    await this.net.addHost('gw', ['10.90.0.1/24', 'fd90::1/64']);
    await this.net.addHost('s', []);
    this.#stranger = this.#spawn('s', 'frame-sender-child.ts');
    const sender = createInterface({ input: this.#stranger.stdout });
    await once(sender, 'line');
    sender.on('line', (line) => {
      if (line === 'sent') this.#sending.shift()?.();
    });
    await this.net.untilConnected();
  }

  /** Until the director's ears of both families are at its device as it is now (packet(7)). */
  async untilListening(device: string): Promise<void> {
    const index = await this.net.execOk('d1', ['cat', `/sys/class/net/${device}/ifindex`]);
    await waitFor(
      `it listens at ${device} with the index ${index.trim()}`,
      async () => {
        const table = await this.net.execOk('d1', ['cat', '/proc/net/packet']);
        const rows = table.split('\n').map((line) => line.trim().split(/\s+/));
        return ['0806', '86dd'].every((type) =>
          rows.some((row) => row[3] === type && row[4] === index.trim()),
        );
      },
      PATIENCE,
    );
  }

  /** The voices that come of it, without those that show that no more will come: of addresses that are listened to. */
  async voicesAfter(
    action: () => Promise<void>,
    controls: readonly { readonly voice: ForeignVoice; readonly frame: Uint8Array }[],
  ): Promise<readonly ForeignVoice[]> {
    const before = this.voices.length;
    await action();
    for (const { frame } of controls) await this.send(frame);
    const isOf = (one: ForeignVoice, other: ForeignVoice): boolean =>
      one.address === other.address && one.mac === other.mac;
    const heard = (): readonly ForeignVoice[] => this.voices.slice(before);
    await waitFor(
      'what is said behind it is heard',
      () => controls.every(({ voice }) => heard().some((each) => isOf(each, voice))),
      PATIENCE,
    );
    return heard().filter((each) => !controls.some(({ voice }) => isOf(each, voice)));
  }

  async addDirector(name: string, addresses: readonly string[]): Promise<void> {
    await this.net.addHost(name, addresses);
    const director = this.#spawn(name, 'neighbours-child.ts');
    this.#directors.set(name, director);
    const lines = createInterface({ input: director.stdout });
    await once(lines, 'line');
    lines.on('line', (line) => this.#take(JSON.parse(line) as NeighboursLine));
  }

  async command(command: NeighboursCommand, director = 'd1'): Promise<boolean> {
    return (await this.#ask(command, director).answer).proof;
  }

  probe(vips: readonly Place[], options: ProbeOptions, director = 'd1'): Probe {
    const { begun, answer } = this.#ask({ op: 'probe', vips, options }, director);
    const outcome = answer.then(({ answered, unasked }) => ({
      answered: new Set(answered),
      unasked: new Set(unasked),
    }));
    return { begun, outcome };
  }

  #ask(
    command: NeighboursCommand,
    director: string,
  ): { readonly begun: Promise<void>; readonly answer: Promise<Answer> } {
    const id = ++this.#commands;
    const begun = new Promise<void>((resolve) => {
      this.#beginning.set(id, resolve);
    });
    const answer = new Promise<Answer>((resolve) => {
      this.#waiting.set(id, resolve);
    });
    this.#directors.get(director)?.stdin.write(`${JSON.stringify({ id, command })}\n`);
    return { begun, answer };
  }

  /** The stranger's frame, that many times; resolves when the last is on the wire. */
  async send(frame: Uint8Array, times = 1): Promise<void> {
    const sent = new Promise<true>((resolve) => {
      this.#sending.push(() => resolve(true));
    });
    this.#stranger?.stdin.write(`${toHex(frame)} ${times}\n`);
    if ((await within(sent, SENDING_MS)) === undefined)
      throw new Error('the stranger did not send');
  }

  /** Milliseconds, without what the processes between a frame and its report waited for a processor. */
  ranMs(): number {
    // All of them are `exec`ed: these are the pids of Node.
    const pids = [process, this.#stranger, this.#directors.get('d1')].map((each) => each?.pid ?? 0);
    return monotonicMs() - pids.reduce((sum, pid) => sum + waitedMs(pid), 0);
  }

  async macOf(host: string, device = 'eth0'): Promise<string> {
    const out = await this.net.execOk(host, ['cat', `/sys/class/net/${device}/address`]);
    return out.trim();
  }

  async close(): Promise<void> {
    for (const child of this.#children)
      if (child.exitCode === null && child.signalCode === null) {
        child.kill('SIGTERM');
        await once(child, 'exit');
      }
    await this.net.close();
  }

  #spawn(host: string, file: string): ChildProcessWithoutNullStreams {
    const script = new URL(file, import.meta.url).pathname;
    const [program, ...ahead] = AHEAD;
    const argv = this.net.wrap(host, ['node', '--import', 'tsx', script]);
    const child = spawn(program, [...ahead, ...argv]);
    child.stderr.pipe(process.stderr);
    this.#children.push(child);
    return child;
  }

  #take(line: NeighboursLine): void {
    if (line.kind === 'voice') this.voices.push(line.voice);
    if (line.kind === 'begun') this.#beginning.get(line.id)?.();
    if (line.kind !== 'answer') return;
    this.#beginning.delete(line.id);
    this.#waiting.get(line.id)?.(line);
    this.#waiting.delete(line.id);
  }
}
