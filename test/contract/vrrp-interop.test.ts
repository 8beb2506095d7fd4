/**
 * A keepalived of the distribution and our VRRP router in one virtual router, started and stopped either way
 * round: never two voices, but for the moment in which keepalived preempts, as between two keepalived.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { VrrpInstance } from '../../src/model/vrrp.ts';
import { ensureKeepalived } from '../support/keepalived.ts';
import { type Daemon, waitFor } from '../support/processes.ts';
import { VrrpNetwork } from './support/vrrp-network.ts';
import { ip, MULTICAST, neighbour, pairOf, unicastTo } from './vrrp-link.contract.ts';

const VIPS = { 4: '10.90.0.100', 6: 'fd90::100' } as const;
/** Of our router on d1, and of keepalived on k1. */
const OURS = { 4: '10.90.0.11', 6: 'fd90::11' } as const;
const THEIRS = { 4: '10.90.0.13', 6: 'fd90::13' } as const;
/** keepalived opens in the moment of its first advertisement. */
const PREEMPTION_OVERLAP_MAX_MS = 50;

type Span = { readonly from: number; to: number };

/** When somebody had the VIP open, in wall-clock milliseconds of this machine. */
class Voice {
  readonly spans: Span[] = [];

  set(isOpen: boolean, at: number): void {
    const last = this.spans.at(-1);
    const isOpenNow = last !== undefined && last.to === Number.POSITIVE_INFINITY;
    if (isOpen && !isOpenNow) this.spans.push({ from: at, to: Number.POSITIVE_INFINITY });
    if (!isOpen && isOpenNow) last.to = at;
  }

  get isOpen(): boolean {
    return this.spans.at(-1)?.to === Number.POSITIVE_INFINITY;
  }
}

const overlapMs = (a: Voice, b: Voice): number =>
  a.spans
    .flatMap((x) => b.spans.map((y) => Math.min(x.to, y.to) - Math.max(x.from, y.from)))
    .reduce((sum, ms) => sum + Math.max(0, ms), 0);

/** One run: our router on d1, keepalived on k1. */
class Pair {
  readonly ours = new Voice();
  readonly theirs = new Voice();
  readonly #network: VrrpNetwork;
  readonly #instance: VrrpInstance;
  readonly #limitMs: number;
  #router: ChildProcess | null = null;
  #keepalived: Daemon | null = null;
  #monitor: ChildProcess | null = null;

  constructor(network: VrrpNetwork, instance: VrrpInstance) {
    this.#network = network;
    this.#instance = instance;
    this.#limitMs = 10 * instance.intervalMs + 3_000;
  }

  /** Follows what the kernel of k1 has bound. */
  watch(): void {
    const [program = '', ...args] = this.#network.wrap('k1', [
      'stdbuf',
      '-oL',
      'ip',
      '-ts',
      'monitor',
      'address',
    ]);
    this.#monitor = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    if (this.#monitor.stdout === null) throw new Error('no output');
    createInterface({ input: this.#monitor.stdout }).on('line', (line) => {
      if (!line.includes(` ${VIPS[this.#instance.family]}/`)) return;
      const stamp = /^\[(\S+?)\]/.exec(line)?.[1];
      this.theirs.set(!line.includes('Deleted'), Date.parse(`${stamp}Z`));
    });
  }

  async startOurs(priority: number): Promise<void> {
    const script = new URL('support/vrrp-router-child.ts', import.meta.url).pathname;
    const given = JSON.stringify({ instance: this.#instance, priority });
    const [program = '', ...args] = this.#network.wrap('d1', [
      'node',
      '--import',
      'tsx',
      script,
      given,
    ]);
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    this.#router = child;
    const lines = createInterface({ input: child.stdout });
    await once(lines, 'line');
    lines.on('line', (line) => {
      const { isOpen, at } = JSON.parse(line) as { readonly isOpen: boolean; readonly at: number };
      this.ours.set(isOpen, at);
    });
  }

  async endOurs(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    const child = this.#router;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    child.kill(signal);
    await once(child, 'exit');
    this.ours.set(false, Date.now());
  }

  startTheirs(priority: number): void {
    const { version, routerId, intervalMs, auth, to, family } = this.#instance;
    const peers =
      to.kind === 'unicast'
        ? [`unicast_src_ip ${THEIRS[family]}`, 'unicast_peer {', OURS[family], '}']
        : [];
    const vip = `${VIPS[family]}/${family === 4 ? 24 : 64}`;
    const pass =
      auth.kind === 'pass'
        ? ['authentication {', 'auth_type PASS', `auth_pass ${auth.password}`, '}']
        : [];
    this.#keepalived = this.#network.keepalived(
      ['vrrp_instance web {', 'interface eth0', 'state BACKUP', `priority ${priority}`]
        .concat(`version ${version}`, `virtual_router_id ${routerId}`)
        .concat(`advert_int ${intervalMs / 1000}`, ...peers, ...pass)
        .concat('virtual_ipaddress {', vip, '}', '}', '')
        .join('\n'),
    );
  }

  async endTheirs(): Promise<void> {
    await this.#keepalived?.stop();
  }

  async close(): Promise<void> {
    await this.endOurs('SIGKILL');
    await this.endTheirs();
    this.#monitor?.kill('SIGKILL');
    await this.#network.close();
  }

  /** Waits until exactly that one speaks, and goes on doing so. */
  async settled(who: 'ours' | 'theirs'): Promise<void> {
    const other = who === 'ours' ? this.theirs : this.ours;
    const limit = { timeoutMs: this.#limitMs, intervalMs: 10 };
    await waitFor(`${who} speaks alone`, async () => this[who].isOpen && !other.isOpen, limit);
    await sleep(4 * this.#instance.intervalMs);
    expect([this[who].isOpen, other.isOpen]).toEqual([true, false]);
  }
}

/** Each in a network of its own, all at the same time. */
describe('keepalived and our router in one virtual router', () => {
  const pairs: Pair[] = [];
  beforeAll(() => ensureKeepalived(() => {}).then(() => {}));
  afterAll(async () => {
    for (const pair of pairs) await pair.close();
  });
  const begin = async (family: 4 | 6, changes: Partial<VrrpInstance>): Promise<Pair> => {
    const [base] = pairOf(family, { addresses: [ip(VIPS[family])], ...changes });
    const pair = new Pair(await VrrpNetwork.start(), base);
    pairs.push(pair);
    pair.watch();
    pair.startTheirs(100);
    await pair.settled('theirs');
    return pair;
  };

  test.concurrent.each([4, 6] as const)(
    'version 3, unicast over IPv%i: any order, any end',
    async (family) => {
      const run = await begin(family, { to: unicastTo(neighbour(THEIRS[family])) });
      await run.startOurs(200);
      await run.settled('ours');
      await run.endOurs('SIGTERM');
      await run.settled('theirs');
      await run.startOurs(200);
      await run.settled('ours');
      await run.endTheirs();
      run.startTheirs(100);
      await sleep(1_000);
      await run.settled('ours');
      await run.endOurs('SIGKILL');
      await run.settled('theirs');
      await run.startOurs(50);
      await sleep(1_000);
      await run.settled('theirs');
      await run.endTheirs();
      await run.settled('ours');
      expect(overlapMs(run.ours, run.theirs)).toBe(0);
      run.startTheirs(100);
      await run.settled('theirs');
      expect(overlapMs(run.ours, run.theirs)).toBeLessThan(PREEMPTION_OVERLAP_MAX_MS);
    },
  );

  test.concurrent('version 2, multicast with a password: taken over and given back', async () => {
    const auth = { kind: 'pass', password: 'secret12' } as const;
    const run = await begin(4, { version: 2, intervalMs: 1000, to: MULTICAST, auth });
    await run.startOurs(200);
    await run.settled('ours');
    await run.endOurs('SIGTERM');
    await run.settled('theirs');
    expect(overlapMs(run.ours, run.theirs)).toBe(0);
  });
});
