/**
 * A network with directors that run the real Neighbours, a gateway that is nothing but Linux, and a
 * stranger who sends whatever frames a test wants. Needs root, `ip` and `nft`.
 */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { toHex } from '../../../src/lib/bytes.ts';
import type { IpAddress } from '../../../src/model/address.ts';
import type { FenceDevice, FenceKind } from '../../../src/ports/fence.ts';
import type { ForeignVoice, ProbeOutcome } from '../../../src/ports/neighbours.ts';
import { createNetwork, type Network } from '../../support/network.ts';
import type { Place, ProbeOptions } from '../neighbours.contract.ts';

export type NeighboursCommand =
  | { readonly op: 'listen'; readonly vips: readonly Place[]; readonly withinMs: number }
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
  | ({ readonly kind: 'answer'; readonly id: number } & Answer);

export class NeighboursNetwork {
  /** What the directors heard. */
  readonly voices: ForeignVoice[] = [];
  readonly net: Network;
  readonly #children: ChildProcessWithoutNullStreams[] = [];
  readonly #waiting = new Map<number, (answer: Answer) => void>();
  readonly #directors = new Map<string, ChildProcessWithoutNullStreams>();
  #stranger: ChildProcessWithoutNullStreams | null = null;
  #commands = 0;
  #sent = 0;

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
      if (line === 'sent') this.#sent++;
    });
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
    return (await this.#ask(command, director)).proof;
  }

  async probe(
    vips: readonly Place[],
    options: ProbeOptions,
    director = 'd1',
  ): Promise<ProbeOutcome> {
    const { answered, unasked } = await this.#ask({ op: 'probe', vips, options }, director);
    return { answered: new Set(answered), unasked: new Set(unasked) };
  }

  async #ask(command: NeighboursCommand, director: string): Promise<Answer> {
    const id = ++this.#commands;
    const answer = new Promise<Answer>((resolve) => {
      this.#waiting.set(id, resolve);
    });
    this.#directors.get(director)?.stdin.write(`${JSON.stringify({ id, command })}\n`);
    return answer;
  }

  /** The stranger's frame, that many times; resolves when the last is on the wire. */
  async send(frame: Uint8Array, times = 1): Promise<void> {
    const before = this.#sent;
    this.#stranger?.stdin.write(`${toHex(frame)} ${times}\n`);
    for (let wait = 0; wait < 500 && this.#sent === before; wait++) await sleep(10);
    if (this.#sent === before) throw new Error('the stranger did not send');
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
    const [program = '', ...args] = this.net.wrap(host, ['node', '--import', 'tsx', script]);
    const child = spawn(program, args);
    child.stderr.pipe(process.stderr);
    this.#children.push(child);
    return child;
  }

  #take(line: NeighboursLine): void {
    if (line.kind === 'voice') this.voices.push(line.voice);
    if (line.kind !== 'answer') return;
    this.#waiting.get(line.id)?.(line);
    this.#waiting.delete(line.id);
  }
}
