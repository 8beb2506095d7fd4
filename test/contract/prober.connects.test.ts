/** Plain TCP connects through the system calls themselves: what they find, and what they leave behind. */
import { randomInt } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ANY_ORIGIN, type CheckOrigin } from '../../src/model/check.ts';
import type { Check } from '../../src/model/cluster.ts';
import type { Observation } from '../../src/model/health.ts';
import { type Log, silentLog } from '../../src/ports/log.ts';
import type { Prober } from '../../src/ports/prober.ts';
import { monotonicMs } from '../support/processes.ts';
import { ip } from '../unit/core/desired/spec-builders.ts';
import { checkOf, collect } from './prober.contract.ts';
import { DeafPort } from './support/kernel-ports.ts';
import { openSockets } from './support/one-probe.ts';
import { openProber, Targets } from './support/probe-targets.ts';

/** What comes, comes soon; but the machine may be busy. */
const PATIENT = { timeout: 20_000, interval: 20 } as const;

/** Of proc_net_tcp: connections of ours to the port that wait for their time to end (state 06). */
function timeWaits(port: number): number {
  const hex = port.toString(16).toUpperCase().padStart(4, '0');
  const rows = readFileSync('/proc/net/tcp', 'utf8').split('\n').slice(1);
  return rows.filter((row) => {
    const [, , remote = '', state] = row.trim().split(/\s+/);
    return remote.endsWith(`:${hex}`) && state === '06';
  }).length;
}

describe('plain connects', () => {
  let targets: Targets;
  let prober: Prober;
  let end: AbortController;
  let seen: Observation[];
  const errors: { readonly event: string; readonly error: unknown }[] = [];
  const log: Log = {
    ...silentLog,
    error: (fields, event) => errors.push({ event, error: fields['error'] }),
  };
  beforeEach(() => {
    errors.length = 0;
    targets = new Targets();
    prober = openProber({ workers: 1 }, log);
    end = new AbortController();
    seen = collect(prober, end.signal);
  });
  afterEach(async () => {
    end.abort();
    await prober.close();
    await targets.close();
  });
  const of = (check: Check): Observation[] => seen.filter((each) => each.check === check.id);
  const tcp = (port: number, timing: { intervalMs?: number; timeoutMs?: number } = {}): Check =>
    checkOf(port, { kind: 'tcp' }, timing);
  const seenAll = (checks: readonly Check[]): Promise<void> =>
    expect.poll(() => checks.every((one) => of(one).length > 0), PATIENT).toBe(true);

  test('leave by the port that a check names, also several at once', async () => {
    const ports: number[] = [];
    const listen = (): Promise<number> =>
      targets.tcp((socket) => {
        // The prober may have reset it before it was asked.
        if (socket.remotePort !== undefined) ports.push(socket.remotePort);
        socket.resume();
      });
    // None that the kernel gives to others, nor one of an etcd of other tests (support/etcd.ts).
    const sourcePort = randomInt(10_000, 12_000);
    const checks = [await listen(), await listen(), await listen()].map((port): Check => {
      const check = tcp(port);
      const origin: CheckOrigin = { ...ANY_ORIGIN, sourcePort };
      return { ...check, spec: { ...check.spec, origin } };
    });
    prober.setChecks(checks);
    await expect.poll(() => checks.every((one) => of(one).length > 3), PATIENT).toBe(true);
    for (const check of checks)
      for (const { detail } of of(check)) expect(detail).toBe('connected');
    await expect.poll(() => ports.length, PATIENT).toBeGreaterThan(0);
    expect([...new Set(ports)]).toEqual([sourcePort]);
    expect(errors).toEqual([]);
  });

  test('find what listens, what refuses and what is deaf, by IPv4 and IPv6', async () => {
    const deaf = new DeafPort();
    try {
      const answering = await targets.tcp();
      const six = await targets.serve(
        createServer((socket) => socket.resume()),
        '::1',
      );
      const checks = [
        tcp(answering),
        tcp(targets.refusing()),
        tcp(deaf.port, { timeoutMs: 150 }),
        { ...tcp(six), address: ip('::1') },
      ];
      prober.setChecks(checks);
      await seenAll(checks);
      expect(checks.map((one) => of(one)[0]?.detail)).toEqual([
        'connected',
        'connection refused',
        'no connection within 150 ms',
        'connected',
      ]);
      expect(checks.map((one) => of(one)[0]?.reason ?? null)).toEqual([
        null,
        'refused',
        'timeout-connect',
        null,
      ]);
      expect(of(checks[0] as Check)[0]?.latencyMs).toBeGreaterThan(0);
      expect(of(checks[2] as Check)[0]?.latencyMs).toBeGreaterThanOrEqual(150);
      expect(errors).toEqual([]);
    } finally {
      deaf.close();
    }
  });

  test('call up who accepts, and ends the connection at once in whatever way', async () => {
    const checks = [
      tcp(await targets.tcp((socket) => socket.resetAndDestroy())),
      tcp(await targets.tcp((socket) => socket.end())),
      tcp(await targets.tcp((socket) => socket.end('220 hello\r\n'))),
    ];
    prober.setChecks(checks);
    await expect.poll(() => seen.length, PATIENT).toBeGreaterThan(30);
    expect(new Set(seen.map(({ detail }) => detail))).toEqual(new Set(['connected']));
  });

  test('leave from where they are told to, and name what keeps them from it', async () => {
    const from: string[] = [];
    const port = await targets.tcp((socket: Socket) => from.push(socket.remoteAddress ?? ''));
    const leaving = (origin: Partial<CheckOrigin>): Check => {
      const check = tcp(port);
      return { ...check, spec: { ...check.spec, origin: { ...ANY_ORIGIN, ...origin } } };
    };
    const source = leaving({ source: ip('127.0.0.7') });
    const device = leaving({ interface: 'lo' });
    const missing = leaving({ interface: 'no-such-device' });
    prober.setChecks([source, device, missing]);
    await seenAll([source, device]);
    // A connection that was reset before it is accepted has no address any more.
    await expect.poll(() => from, PATIENT).toContain('127.0.0.7');
    expect(of(source)[0]?.isUp).toBe(true);
    await expect.poll(() => errors.map(({ event }) => event), PATIENT).toContain('prober.starved');
    expect(String(errors[0]?.error)).toContain('interface');
    expect(of(missing)).toEqual([]);
  });

  test('leave nothing behind: no descriptor, no TIME_WAIT, and each connection was reset', async () => {
    const codes: string[] = [];
    const port = await targets.tcp((socket) =>
      socket.on('error', (error: NodeJS.ErrnoException) => codes.push(error.code ?? '')),
    );
    const checks = Array.from({ length: 50 }, () => tcp(port, { intervalMs: 100 }));
    const before = openSockets();
    prober.setChecks(checks);
    await expect.poll(() => seen.length, PATIENT).toBeGreaterThan(500);
    expect(seen.every((each) => each.isUp)).toBe(true);
    expect(timeWaits(port)).toBe(0);
    await prober.close();
    await expect.poll(openSockets, PATIENT).toBe(before);
    expect(new Set(codes)).toEqual(new Set(['ECONNRESET']));
    expect(codes.length).toBeGreaterThan(400);
  });

  test('1,000 deaf targets do not delay the others', async () => {
    const deaf = new DeafPort();
    try {
      const good = await targets.tcp();
      const timing = { intervalMs: 1_000, timeoutMs: 900 };
      const healthy = Array.from({ length: 100 }, () => tcp(good));
      const hung = Array.from({ length: 1_000 }, () => tcp(deaf.port, timing));
      prober.setChecks([...hung, ...healthy]);
      const known = (): number => new Set(seen.map(({ check }) => check)).size;
      await expect.poll(known, PATIENT).toBe(healthy.length + hung.length);
      const [from, startedAt] = [seen.length, monotonicMs()];
      const late = (check: Check): Observation[] =>
        seen.slice(from).filter((each) => each.check === check.id);
      const isDone = (): boolean => healthy.every((check) => late(check).length >= 12);
      await expect.poll(isDone, { ...PATIENT, interval: 100 }).toBe(true);
      // Two and a half seconds of rhythm.
      expect(monotonicMs() - startedAt).toBeLessThan(6_000);
      expect(healthy.flatMap(late).filter((each) => !each.isUp)).toEqual([]);
      // Nor do they delay each other: there are descriptors for all of them. Half of those would be half as many.
      const isDeaf = ({ detail }: Observation): boolean => detail === 'no connection within 900 ms';
      const deafSeen = seen.slice(from).filter(isDeaf).length;
      const beats = healthy.flatMap(late).length / healthy.length;
      expect(deafSeen / hung.length).toBeGreaterThan((0.75 * beats) / 5);
    } finally {
      deaf.close();
    }
  });
});
