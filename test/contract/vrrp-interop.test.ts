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
import { RunningClock } from '../support/running-clock.ts';
import { waitedMs } from '../support/wait-meter.ts';
import { VrrpNetwork } from './support/vrrp-network.ts';
import { ip, MULTICAST, neighbour, pairOf, unicastTo } from './vrrp-link.contract.ts';

const VIPS = { 4: '10.90.0.100', 6: 'fd90::100' } as const;
/** Of our router on d1, and of keepalived on k1. */
const OURS = { 4: '10.90.0.11', 6: 'fd90::11' } as const;
const THEIRS = { 4: '10.90.0.13', 6: 'fd90::13' } as const;
/** keepalived opens in the moment of its first advertisement. */
const PREEMPTION_OVERLAP_MAX_MS = 50;
/** A pause of three of them is a lost neighbour for keepalived: longer than a busy machine makes. */
const FAST_INTERVAL_MS = 200;
const LIMIT_MS = 30_000;

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
  readonly #running: RunningClock;
  /** In its log, before it was started last. */
  #backupsBefore = 0;
  #judged = { overlapMs: 0, pausedMs: 0 };
  #router: ChildProcess | null = null;
  #keepalived: Daemon | null = null;
  #monitor: ChildProcess | null = null;

  constructor(network: VrrpNetwork, instance: VrrpInstance, running: RunningClock) {
    this.#network = network;
    this.#instance = instance;
    this.#running = running;
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

  /** What our router has waited for a processor so far: it gives way so much later. */
  waitedMs(): number {
    return waitedMs(this.#router?.pid ?? 0);
  }

  async endOurs(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    const child = this.#router;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const exit = once(child, 'exit');
    child.kill(signal);
    const killedAt = Date.now();
    await exit;
    this.ours.set(false, signal === 'SIGKILL' ? killedAt : Date.now());
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
    this.#backupsBefore = this.#backups();
    this.#keepalived = this.#network.keepalived(
      ['vrrp_instance web {', 'interface eth0', 'state BACKUP', `priority ${priority}`]
        .concat(`version ${version}`, `virtual_router_id ${routerId}`)
        .concat(`advert_int ${intervalMs / 1000}`, ...peers, ...pass)
        .concat('virtual_ipaddress {', vip, '}', '}', '')
        .join('\n'),
    );
  }

  /** Until keepalived has begun, beside one of us that speaks. */
  async theirsWaits(): Promise<void> {
    const look = (): boolean => this.#backups() > this.#backupsBefore;
    await waitFor('keepalived waits', look, { timeoutMs: LIMIT_MS });
  }

  async endTheirs(): Promise<void> {
    await this.#keepalived?.stop();
  }

  #backups(): number {
    return this.#keepalived?.log().split('Entering BACKUP STATE').length ?? 0;
  }

  async close(): Promise<void> {
    await this.endOurs('SIGKILL');
    await this.endTheirs();
    this.#monitor?.kill('SIGKILL');
    await this.#network.close();
  }

  /**
   * Waits until exactly that one speaks, and goes on doing so. Both spoke for no longer meanwhile than is allowed: what
   * somebody did just before a pause of the machine is told after it.
   */
  async settled(who: 'ours' | 'theirs', allowedMs = (): number => 0): Promise<void> {
    const other = who === 'ours' ? this.theirs : this.ours;
    const limit = { timeoutMs: LIMIT_MS, intervalMs: 10 };
    await waitFor(`${who} speaks alone`, async () => this[who].isOpen && !other.isOpen, limit);
    await sleep(4 * this.#instance.intervalMs);
    expect([this[who].isOpen, other.isOpen]).toEqual([true, false]);
    const before = this.#judged;
    this.#judged = {
      overlapMs: overlapMs(this.ours, this.theirs),
      pausedMs: this.#running.paused(),
    };
    const pausedMs = this.#judged.pausedMs - before.pausedMs;
    expect(this.#judged.overlapMs - before.overlapMs).toBeLessThanOrEqual(allowedMs() + pausedMs);
  }
}

/** Each in a network of its own, all at the same time. */
describe('keepalived and our router in one virtual router', () => {
  const pairs: Pair[] = [];
  let running: RunningClock;
  beforeAll(async () => {
    await ensureKeepalived(() => {});
    running = await RunningClock.start();
  });
  afterAll(async () => {
    for (const pair of pairs) await pair.close();
    await running.stop();
  });
  const begin = async (family: 4 | 6, changes: Partial<VrrpInstance>): Promise<Pair> => {
    const [base] = pairOf(family, { addresses: [ip(VIPS[family])], ...changes });
    const pair = new Pair(await VrrpNetwork.start(), base, running);
    pairs.push(pair);
    pair.watch();
    pair.startTheirs(100);
    await pair.settled('theirs');
    return pair;
  };

  test.concurrent.each([4, 6] as const)(
    'version 3, unicast over IPv%i: any order, any end',
    async (family) => {
      const to = unicastTo(neighbour(THEIRS[family]));
      const run = await begin(family, { to, intervalMs: FAST_INTERVAL_MS });
      await run.startOurs(200);
      await run.settled('ours');
      await run.endOurs('SIGTERM');
      await run.settled('theirs');
      await run.startOurs(200);
      await run.settled('ours');
      await run.endTheirs();
      run.startTheirs(100);
      await run.theirsWaits();
      await run.settled('ours');
      await run.endOurs('SIGKILL');
      await run.settled('theirs');
      await run.startOurs(50);
      await sleep(1_000);
      await run.settled('theirs');
      await run.endTheirs();
      await run.settled('ours');
      const before = run.waitedMs();
      run.startTheirs(100);
      await run.settled('theirs', () => PREEMPTION_OVERLAP_MAX_MS + run.waitedMs() - before);
    },
    120_000,
  );

  test.concurrent('version 2, multicast with a password: taken over and given back', async () => {
    const auth = { kind: 'pass', password: 'secret12' } as const;
    const run = await begin(4, { version: 2, intervalMs: 1000, to: MULTICAST, auth });
    await run.startOurs(200);
    await run.settled('ours');
    await run.endOurs('SIGTERM');
    await run.settled('theirs');
  }, 120_000);
});
