/** The lab itself: a judge that cannot see a fault judges nothing. */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  dualTimeMs,
  lostEchoes,
  startVoiceProbe,
  startVoicesProbe,
  turnsOf,
  type VoiceRecord,
} from '../support/client-probe.ts';
import { createNetwork, leftovers, type Network } from '../support/network.ts';
import { pausedMs } from '../support/pauses.ts';
import { monotonicMs, runOk, signalAll, sleep, stateOf, waitFor } from '../support/processes.ts';
import { waitedMs, waitMeter } from '../support/wait-meter.ts';

describe('a network of namespaces', () => {
  let network: Network;

  beforeAll(async () => {
    network = await createNetwork({ name: 'network' });
    await network.addHost('a', ['10.90.0.1/24', 'fd90::1/64']);
    await network.addHost('b', ['10.90.0.2/24', 'fd90::2/64']);
    await network.addHost('c', ['10.90.0.3/24']);
  });

  afterAll(() => network.close());

  const reaches = async (from: string, address: string, withinS = 0.3): Promise<boolean> =>
    (await network.exec(from, ['ping', '-c', '1', '-W', `${withinS}`, address])).code === 0;
  /** What answers does so at once; a machine may be late to hear it. */
  const expectReached = async (from: string, address: string): Promise<void> =>
    expect(await reaches(from, address, 3)).toBe(true);
  /** How much of a time a probe was at work. */
  const watchedMs = ({ pauses }: VoiceRecord, fromMs: number, toMs: number): number =>
    toMs - fromMs - pausedMs(pauses, fromMs, toMs);

  it('connects its hosts over IPv4 and IPv6', async () => {
    await expectReached('a', '10.90.0.2');
    await expectReached('b', 'fd90::1');
  });

  it('cuts two hosts from each other and nobody else, until healed', async () => {
    await network.cut('a', 'b');
    expect(await reaches('a', '10.90.0.2')).toBe(false);
    await expectReached('a', '10.90.0.3');
    await network.heal();
    await expectReached('a', '10.90.0.2');
  });

  it('filters IP between two hosts, and neither ARP nor ND', async () => {
    const asks = ['ip', 'neighbour', 'show', 'dev', 'eth0'];
    await network.execOk('a', ['ip', 'neighbour', 'flush', 'dev', 'eth0']);
    await network.cutOff('a', ['b'], 'ip');
    expect(await reaches('a', '10.90.0.2')).toBe(false);
    expect(await reaches('a', 'fd90::2')).toBe(false);
    const known = await network.execOk('a', asks);
    for (const address of ['10.90.0.2', 'fd90::2'])
      expect(known).toMatch(new RegExp(`^${address} lladdr 02:`, 'm'));
    await network.heal();
    await expectReached('a', 'fd90::2');
  });

  it('takes the carrier from a host whose cable is out', async () => {
    await network.cable('b', 'out');
    const link = await network.execOk('b', ['ip', 'link', 'show', 'eth0']);
    expect(link).toContain('NO-CARRIER');
    await network.cable('b', 'in');
    await waitFor('b is back', () => reaches('a', '10.90.0.2'), { timeoutMs: 3000 });
  });

  it('ends every process of a host at once', async () => {
    const daemon = network.spawn('c', 'sleeper', ['sleep', '60']);
    await network.killProcessesOf('c');
    await daemon.ended;
    expect(daemon.isRunning()).toBe(false);
  });

  it('hears one voice where one host has the VIP, and two where two have it', async () => {
    await network.execOk('b', ['ip', 'address', 'add', '10.90.0.100/24', 'dev', 'eth0']);
    const target = { client: 'a', ownAddress: '10.90.0.1', vip: '10.90.0.100' };
    const startMs = monotonicMs();
    const one = await startVoiceProbe(network, target);
    const readyMs = monotonicMs();
    await sleep(400);
    const untilMs = monotonicMs();
    const alone = await one.stop();
    // One each 5 ms.
    expect(alone.echoes.length).toBeGreaterThan(watchedMs(alone, readyMs, untilMs) / 10);
    expect(alone.echoes.length).toBeLessThan((monotonicMs() - startMs) / 4);
    expect(dualTimeMs(alone)).toBe(0);
    expect(turnsOf(alone)).toHaveLength(1);
    const probe = await startVoiceProbe(network, target);
    await network.execOk('c', ['ip', 'address', 'add', '10.90.0.100/24', 'dev', 'eth0']);
    const bothMs = monotonicMs();
    await sleep(400);
    const endMs = monotonicMs();
    const two = await probe.stop();
    expect(dualTimeMs(two)).toBeGreaterThan(watchedMs(two, bothMs, endMs) / 2);
  });

  it('hears one voice and two over IPv6 as well', async () => {
    const target = { client: 'a', ownAddress: 'fd90::1', vip: 'fd90::100' };
    const add = ['ip', 'address', 'add', 'fd90::100/64', 'dev', 'eth0', 'nodad'];
    await network.execOk('b', add);
    const probe = await startVoiceProbe(network, target);
    const readyMs = monotonicMs();
    await sleep(400);
    const aloneUntil = monotonicMs();
    await network.execOk('c', add);
    const bothMs = monotonicMs();
    await sleep(400);
    const endMs = monotonicMs();
    const record = await probe.stop();
    expect(record.echoes.length).toBeGreaterThan(watchedMs(record, readyMs, endMs) / 10);
    const alone = record.answers.filter((answer) => answer.atMs < aloneUntil);
    expect(new Set(alone.map((answer) => answer.mac)).size).toBe(1);
    expect(dualTimeMs(record)).toBeGreaterThan(watchedMs(record, bothMs, endMs) / 2);
  });

  it('loses no echo of a thousand a second, and counts those that a cut takes', async () => {
    const targets = [
      { ownAddress: '10.90.0.1', vip: '10.90.0.2' },
      { ownAddress: 'fd90::1', vip: 'fd90::2' },
    ];
    const probe = await startVoicesProbe(network, { client: 'a', targets, echo: 'kernel' });
    await sleep(300);
    const [from, to] = [monotonicMs() - 200, monotonicMs()];
    await network.cut('a', 'b');
    const cutMs = monotonicMs();
    await sleep(300);
    const endMs = monotonicMs();
    const records = await probe.stop();
    await network.heal();
    for (const record of records) {
      expect(lostEchoes(record, from, to)).toEqual([]);
      const lost = lostEchoes(record, cutMs, endMs);
      expect(lost.length).toBeGreaterThan(0.8 * watchedMs(record, cutMs, endMs) - 10);
    }
  });

  it('tells when the probe itself did not run, asks nothing anew for that time, and loses nothing by it', async () => {
    const targets = [{ ownAddress: '10.90.0.1', vip: '10.90.0.2' }];
    const probe = await startVoicesProbe(network, { client: 'a', targets, echo: 'kernel' });
    await sleep(100);
    const pids = await runOk(['ip', 'netns', 'pids', network.namespaceOf('a')]);
    const own = pids.split('\n').filter(Boolean).map(Number);
    const fromMs = monotonicMs();
    signalAll(own, 'SIGSTOP');
    await sleep(150);
    const toMs = monotonicMs();
    signalAll(own, 'SIGCONT');
    await sleep(100);
    const [record] = await probe.stop();
    if (record === undefined) throw new Error('no record');
    expect(pausedMs(record.pauses, fromMs, toMs)).toBeGreaterThan(0.8 * (toMs - fromMs));
    const isMeanwhile = ({ atMs }: { readonly atMs: number }): boolean =>
      atMs > fromMs && atMs < toMs + 10;
    expect(record.asked.filter(isMeanwhile).length).toBeLessThan(60);
    expect(lostEchoes(record, 0, Number.POSITIVE_INFINITY)).toEqual([]);
  });

  it('gives a host its interface back as it was', async () => {
    const before = await network.execOk('b', ['cat', '/sys/class/net/eth0/address']);
    await network.removeInterface('b');
    expect(await reaches('a', '10.90.0.2')).toBe(false);
    await network.recreateInterface('b');
    expect(await network.execOk('b', ['cat', '/sys/class/net/eth0/address'])).toBe(before);
    await waitFor('b is back', () => reaches('a', '10.90.0.2'), { timeoutMs: 3000 });
  });
});

describe('the meter of waits', () => {
  it('tells when one that wants a processor has to share it, and nothing of one that sleeps', async () => {
    const network = await createNetwork();
    try {
      await network.addHost('a', ['10.90.0.1/24']);
      const [cpu = ''] =
        (await runOk(['taskset', '-cp', `${process.pid}`])).match(/\d+(?=\D*$)/) ?? [];
      const busy = ['taskset', '-c', cpu, process.execPath, '-e', 'for (;;);'];
      const [one] = [1, 2].map((nth) => network.spawn('a', `busy-${nth}`, busy));
      const idle = network.spawn('a', 'idle', ['sleep', '60']);
      const comm = `/proc/${idle.pid}/comm`;
      // What it waited as it started belongs to no look of the meter.
      let waited = Number.NaN;
      const isAsleep = (): boolean => {
        const before = waited;
        waited = waitedMs(idle.pid);
        const isSleep = readFileSync(comm, 'utf8') === 'sleep\n';
        return isSleep && stateOf(idle.pid) === 'S' && waited === before;
      };
      await waitFor('it sleeps', isAsleep, { timeoutMs: 10_000, intervalMs: 50 });
      const meters = { busy: waitMeter([one?.pid ?? 0]), idle: waitMeter([idle.pid]) };
      await waitFor(
        'a wait of most of the time',
        () => {
          for (const meter of Object.values(meters)) meter.look();
          return meters.busy.starved.length > 20;
        },
        { timeoutMs: 20_000, intervalMs: 5 },
      );
      expect(meters.idle.starved).toEqual([]);
    } finally {
      await network.close();
    }
  });
});

describe('the end of a network', () => {
  it('leaves nothing', async () => {
    const network = await createNetwork();
    await network.addHost('a', ['10.90.0.1/24']);
    const daemon = network.spawn('a', 'sleeper', ['sleep', '60']);
    await network.close();
    await daemon.ended;
    expect(await leftovers(network.name)).toEqual([]);
    expect(existsSync(network.directory)).toBe(false);
  });

  it('leaves nothing even when the test is killed', async () => {
    const tsx = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href;
    const program = fileURLToPath(new URL('../support/abandon-network-main.ts', import.meta.url));
    const child = spawn(process.execPath, ['--import', tsx, program], { stdio: 'pipe' });
    const said = await new Promise<string>((resolve) => {
      child.stdout.once('data', (chunk: Buffer) => resolve(chunk.toString()));
    });
    const { name, directory } = JSON.parse(said) as { name: string; directory: string };
    expect(await leftovers(name)).toHaveLength(2);
    child.kill('SIGKILL');
    await waitFor(
      'the reaper did its work',
      async () => (await leftovers(name)).length === 0 && !existsSync(directory),
      { timeoutMs: 5000 },
    );
  });
});
