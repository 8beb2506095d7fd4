/**
 * A network with directors that run the real VrrpLink, a host for keepalived of the distribution, and a
 * capture of what goes over the wire. Needs root, `ip`, `nft`, `keepalived`, `tcpdump` and
 * `tshark`.
 */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { VrrpInstance } from '../../../src/model/vrrp.ts';
import type { VrrpCounters, VrrpDelivery, VrrpSocketState } from '../../../src/ports/vrrp-link.ts';
import { AHEAD, createNetwork, type Network } from '../../support/network.ts';
import type { Daemon } from '../../support/processes.ts';
import { pass } from '../../support/running-clock.ts';
import { captureVrrp, type ReadVrrp, readVrrp } from '../../support/tshark.ts';

export type VrrpCommand =
  | { readonly op: 'configure'; readonly instances: readonly VrrpInstance[] }
  | {
      readonly op: 'advertise';
      readonly instance: string;
      readonly priority: number;
      readonly everyMs: number;
    }
  | { readonly op: 'leave' | 'goodbye'; readonly instance: string }
  | {
      readonly op: 'send';
      readonly instance: string;
      readonly priority: number;
      readonly times: number;
    }
  | { readonly op: 'counters' | 'descriptors' };

export type VrrpLine =
  | { readonly kind: 'ready' }
  | { readonly kind: 'advert'; readonly delivery: VrrpDelivery }
  | { readonly kind: 'answer'; readonly id: number; readonly value: unknown };

export type VrrpState = VrrpCounters & { readonly sockets: readonly VrrpSocketState[] };

/** One process that runs a link. */
export class VrrpDirector {
  readonly heard: VrrpDelivery[] = [];
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #died: Promise<never>;
  readonly #waiting = new Map<number, (value: unknown) => void>();
  #commands = 0;

  constructor(argv: readonly string[]) {
    const [program = '', ...args] = argv;
    this.#child = spawn(program, args);
    this.#child.stderr.pipe(process.stderr);
    this.#died = once(this.#child, 'exit').then(() => {
      throw new Error('the director ended');
    });
    // It ends at the end of a test too, when nobody waits for an answer.
    this.#died.catch(() => {});
  }

  async start(): Promise<this> {
    const lines = createInterface({ input: this.#child.stdout });
    await once(lines, 'line');
    lines.on('line', (line) => this.#take(JSON.parse(line) as VrrpLine));
    return this;
  }

  get isAlive(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  async command(command: VrrpCommand): Promise<unknown> {
    const id = ++this.#commands;
    const answer = new Promise<unknown>((resolve) => {
      this.#waiting.set(id, resolve);
    });
    this.#child.stdin.write(`${JSON.stringify({ id, command })}\n`);
    return Promise.race([answer, this.#died]);
  }

  async state(): Promise<VrrpState> {
    return (await this.command({ op: 'counters' })) as VrrpState;
  }

  heardOf(instance: string): readonly VrrpDelivery[] {
    return this.heard.filter((delivery) => delivery.instance === instance);
  }

  async stop(): Promise<void> {
    if (!this.isAlive) return;
    this.#child.kill('SIGKILL');
    await once(this.#child, 'exit');
  }

  #take(line: VrrpLine): void {
    if (line.kind === 'advert') this.heard.push(line.delivery);
    if (line.kind !== 'answer') return;
    this.#waiting.get(line.id)?.(line.value);
    this.#waiting.delete(line.id);
  }
}

export type Captured = {
  /** By tcpdump, each sentence once. */
  readonly said: string;
  /** By Wireshark's decoder, the oldest first. */
  readonly packets: readonly ReadVrrp[];
  readonly file: string;
};

export class VrrpNetwork {
  readonly net: Network;
  #captures = 0;
  readonly #directors: VrrpDirector[] = [];

  private constructor(net: Network) {
    this.net = net;
  }

  /** Hosts d1, d2 and k1 with 10.90.0.11, .12, .13 and fd90::11, ::12, ::13. */
  static async start(): Promise<VrrpNetwork> {
    const started = new VrrpNetwork(await createNetwork({ name: 'vrrp' }));
    try {
      for (const [host, last] of [
        ['d1', 11],
        ['d2', 12],
        ['k1', 13],
      ] as const)
        await started.net.addHost(host, [`10.90.0.${last}/24`, `fd90::${last}/64`]);
      return started;
    } catch (cause) {
      await started.close();
      throw cause;
    }
  }

  /** As keepalived runs: other work of the machine must not look like a lost neighbour. */
  wrap(host: string, argv: readonly string[]): readonly string[] {
    return [...AHEAD, ...this.net.wrap(host, argv)];
  }

  async director(host: string): Promise<VrrpDirector> {
    const script = new URL('vrrp-child.ts', import.meta.url).pathname;
    const director = new VrrpDirector(this.wrap(host, ['node', '--import', 'tsx', script]));
    this.#directors.push(director);
    return director.start();
  }

  /** The link-local address that Linux made. */
  async linkLocalOf(host: string): Promise<string> {
    const shown = await this.net.execOk(host, ['ip', '-6', '-o', 'address', 'show', 'dev', 'eth0']);
    const found = /inet6 (fe80:[0-9a-f:]+)\/64/.exec(shown)?.[1];
    if (found === undefined) throw new Error(`no link-local address: ${shown}`);
    return found;
  }

  keepalived(config: string): Daemon {
    const file = join(this.net.directory, 'keepalived.conf');
    writeFileSync(file, config);
    const pids = ['-p', `${file}.pid`, '-r', `${file}.vrrp.pid`];
    return this.net.spawn('k1', 'keepalived', [
      'keepalived',
      '-P',
      '-n',
      '-l',
      '-D',
      '-f',
      file,
      ...pids,
    ]);
  }

  async addressesOf(host: string): Promise<string> {
    return this.net.execOk(host, ['ip', '-o', 'address']);
  }

  /** The VRRP packets that pass a host while `action` runs, as two decoders read them. */
  async capture(host: string, action: () => Promise<void>): Promise<Captured> {
    const path = join(this.net.directory, `capture-${++this.#captures}.pcap`);
    const capture = await captureVrrp(this.net, host, path);
    await action();
    await pass(200);
    const file = await capture.stop();
    const said = await this.net.execOk(host, ['tcpdump', '-n', '-t', '-vv', '-r', file]);
    const lines = said.split('\n').map((line) => line.replace(/ id \d+,/, ''));
    return { said: [...new Set(lines)].join('\n'), packets: await readVrrp(file), file };
  }

  async close(): Promise<void> {
    for (const director of this.#directors) await director.stop();
    await this.net.close();
  }
}
