/**
 * A network with a director that runs the real GatewayPing with VIPs bound before its own address, and a
 * router that is nothing but Linux. Needs root, `ip` and `nft`.
 */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { createInterface } from 'node:readline';
import type { IpAddress } from '../../../src/model/address.ts';
import type { GatewayRequest } from '../../../src/ports/gateway.ts';
import { createNetwork, type Network } from '../../support/network.ts';
import { runOk } from '../../support/processes.ts';
import { FAR_4, NEAR_4, NEAR_6, type TimedAnswer } from '../gateway.contract.ts';

export type GatewayCommand =
  | { readonly op: 'ask'; readonly request: GatewayRequest; readonly abortAfterMs: number | null }
  /** By the real rules, on eth0. */
  | { readonly op: 'silence'; readonly index: number; readonly vips: readonly IpAddress[] };
export type GatewayLine = { readonly id: number; readonly answer: TimedAnswer | null };

export class GatewayNetwork {
  readonly net: Network;
  readonly #waiting = new Map<number, (answer: TimedAnswer | null) => void>();
  #director: ChildProcessWithoutNullStreams | null = null;
  #commands = 0;

  private constructor(net: Network) {
    this.net = net;
  }

  /** After a failure half-way nothing stays behind. */
  static async start(): Promise<GatewayNetwork> {
    const started = new GatewayNetwork(await createNetwork({ name: 'gateway' }));
    try {
      await started.#start();
      return started;
    } catch (cause) {
      await started.close();
      throw cause;
    }
  }

  async ask(request: GatewayRequest, abortAfterMs: number | null = null): Promise<TimedAnswer> {
    const answer = await this.#command({ op: 'ask', request, abortAfterMs });
    if (answer === null) throw new Error('no answer');
    return answer;
  }

  async silence(vips: readonly IpAddress[]): Promise<void> {
    const path = '/sys/class/net/eth0/ifindex';
    const index = Number(await this.net.execOk('d1', ['cat', path]));
    await this.#command({ op: 'silence', index, vips });
  }

  /** A silent one gets its echoes, and they end there. */
  async setTarget(target: IpAddress, state: 'answering' | 'silent'): Promise<void> {
    const family = target.includes(':') ? 'quiet6' : 'quiet4';
    const element = `inet silent ${family} { ${target} }`;
    await this.#nft(`${state === 'silent' ? 'add' : 'delete'} element ${element}\n`);
  }

  /** Counts echo requests by their source, from now on. */
  async countRequests(sources: readonly IpAddress[]): Promise<void> {
    const rules = sources.map((source) =>
      source.includes(':')
        ? `ip6 saddr ${source} icmpv6 type echo-request counter comment "${source}"`
        : `ip saddr ${source} icmp type echo-request counter comment "${source}"`,
    );
    const chain = `chain in { type filter hook prerouting priority -200;\n${rules.join('\n')}\n}`;
    await this.#nft(`table inet count {\n${chain}\n}\n`);
  }

  async requestCounts(): Promise<ReadonlyMap<string, number>> {
    const text = await this.net.execOk('gw', ['nft', 'list', 'table', 'inet', 'count']);
    const rows = text.matchAll(/counter packets (\d+) bytes \d+ comment "([^"]+)"/g);
    return new Map([...rows].map(([, count, source]) => [source ?? '', Number(count)]));
  }

  /** Sockets of the director's process, and how many of its raw ones a child would get. */
  async descriptors(): Promise<{ readonly sockets: number; readonly inheritable: number }> {
    const path = `/proc/${this.#director?.pid}`;
    const names = readdirSync(`${path}/fd`).filter((name) => {
      try {
        return readlinkSync(`${path}/fd/${name}`).startsWith('socket:');
      } catch {
        return false; // Closed meanwhile.
      }
    });
    const inheritable = names.filter((name) => {
      const flags = /flags:\s*(\d+)/.exec(readFileSync(`${path}/fdinfo/${name}`, 'utf8'))?.[1];
      return (Number.parseInt(flags ?? '0', 8) & 0o2000000) === 0 && Number(name) > 2;
    });
    return { sockets: names.length, inheritable: inheritable.length };
  }

  async close(): Promise<void> {
    const child = this.#director;
    if (child !== null && child.exitCode === null && child.signalCode === null) {
      child.kill('SIGTERM');
      await once(child, 'exit');
    }
    await this.net.close();
  }

  async #start(): Promise<void> {
    const vips = ['10.90.0.100/24', '10.90.0.101/32', 'fd90::100/64', 'fd90::101/128'];
    await this.net.addHost('d1', [...vips, '10.90.0.11/24', 'fd90::11/64']);
    await this.net.addHost('gw', [`${NEAR_4}/24`, `${NEAR_6}/64`]);
    await this.net.execOk('gw', ['ip', 'address', 'add', `${FAR_4}/32`, 'dev', 'lo']);
    await this.net.execOk('d1', ['ip', 'route', 'add', 'default', 'via', NEAR_4]);
    const chain = [
      'chain in { type filter hook input priority 0;',
      'ip daddr @quiet4 drop',
      'ip6 daddr @quiet6 icmpv6 type echo-request drop',
      '}',
    ];
    await this.#nft(
      `table inet silent {\nset quiet4 { type ipv4_addr; }\nset quiet6 { type ipv6_addr; }\n${chain.join('\n')}\n}\n`,
    );
    const script = new URL('gateway-child.ts', import.meta.url).pathname;
    const [program = '', ...args] = this.net.wrap('d1', ['node', '--import', 'tsx', script]);
    const child = spawn(program, args);
    child.stderr.pipe(process.stderr);
    this.#director = child;
    const lines = createInterface({ input: child.stdout });
    await once(lines, 'line');
    lines.on('line', (text) => {
      const line = JSON.parse(text) as GatewayLine;
      this.#waiting.get(line.id)?.(line.answer);
      this.#waiting.delete(line.id);
    });
    await this.#settle();
  }

  /** Until everybody knows everybody: before the carriers are seen, first packets may be lost. */
  async #settle(): Promise<void> {
    // Ends with the first answer.
    for (const [source, target] of [
      ['10.90.0.11', NEAR_4],
      ['10.90.0.11', FAR_4],
      ['fd90::11', NEAR_6],
    ] as const)
      await this.net.execOk('d1', ['ping', '-q', '-c', '1', '-w', '10', '-I', source, target]);
  }

  #command(command: GatewayCommand): Promise<TimedAnswer | null> {
    const id = ++this.#commands;
    const answer = new Promise<TimedAnswer | null>((resolve) => {
      this.#waiting.set(id, resolve);
    });
    this.#director?.stdin.write(`${JSON.stringify({ id, command })}\n`);
    return answer;
  }

  async #nft(input: string): Promise<void> {
    await runOk(['ip', 'netns', 'exec', this.net.namespaceOf('gw'), 'nft', '-f', '-'], { input });
  }
}
