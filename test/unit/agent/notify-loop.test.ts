import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import {
  createNotifyLoop,
  END_MS,
  LAST_RUN_MS,
  type NotifyLoop,
  type ObservedGroup,
} from '../../../src/agent/notify-loop.ts';
import { WAITING_MAX } from '../../../src/core/notify/waiting-line.ts';
import type { NotifySpec } from '../../../src/model/cluster.ts';
import { directorId, epochOf, groupId, revision } from '../../../src/model/ids.ts';
import { type Log, silentLog } from '../../../src/ports/log.ts';
import { FakeClock } from '../../fakes/fake-clock.ts';
import { FakeNotifier } from '../../fakes/fake-notifier.ts';

const D1 = directorId('d1');
const SPEC: NotifySpec = {
  master: ['/n/master'],
  backup: ['/n/backup'],
  fault: ['/n/fault'],
  stop: ['/n/stop'],
  any: ['/n/any'],
  fifo: '/run/n.fifo',
  timeoutMs: 10_000,
  user: 'nobody',
};
const observed = (
  name: string,
  seen: Partial<ObservedGroup> = {},
  notify: NotifySpec | null = SPEC,
): ObservedGroup => ({
  group: { id: groupId(name), notify, priorities: new Map([[D1, 150]]) },
  phase: 'none',
  epoch: epochOf(revision(5)),
  ineligible: null,
  reason: null,
  bonus: 0,
  ...seen,
});
const open = (name: string, epoch = 5): ObservedGroup =>
  observed(name, { phase: 'open', epoch: epochOf(revision(epoch)), reason: 'vacant' });

let clock: FakeClock;
let notifier: FakeNotifier;
let loop: NotifyLoop;
let logged: string[];
let finished: string[];

beforeEach(() => {
  clock = new FakeClock();
  notifier = new FakeNotifier({ clock });
  logged = [];
  finished = [];
  const log: Log = { ...silentLog, warn: (_, event) => void logged.push(event) };
  const metrics = {
    notifyFinished: (state: string, result: string) => void finished.push(`${state} ${result}`),
  };
  loop = createNotifyLoop({ me: D1 }, { notifier, clock, log, metrics });
});

const commands = (): readonly string[] => notifier.jobs.map(({ command }) => command.join(' '));
const lines = (): readonly string[] => notifier.lines.map(({ line }) => line.trim());

describe('a transition', () => {
  test("runs the state's program, then the one for all, and writes the line at once", async () => {
    loop.observe([observed('web')]);
    loop.observe([open('web')]);
    expect(lines()).toEqual(['INSTANCE "web" BACKUP 150', 'INSTANCE "web" MASTER 150']);
    await clock.advance(100);
    expect(commands()).toEqual([
      '/n/backup',
      '/n/any INSTANCE web BACKUP 150',
      '/n/master',
      '/n/any INSTANCE web MASTER 150',
    ]);
    expect(notifier.jobs[2]).toMatchObject({
      user: 'nobody',
      timeoutMs: 10_000,
      environment: { LEASEHOLD_EPOCH: '5', LEASEHOLD_STATE: 'MASTER', LEASEHOLD_DIRECTOR: 'd1' },
    });
    expect(finished).toEqual(['BACKUP ok', 'BACKUP ok', 'MASTER ok', 'MASTER ok']);
    expect(clock.pending).toBe(0);
  });

  test('a group without programs, or without one for the state, runs nothing', async () => {
    const empty = { ...SPEC, master: null, backup: null, any: null, fifo: null };
    loop.observe([observed('web', {}, null), observed('mail', {}, empty)]);
    await clock.advance(100);
    expect([commands(), lines()]).toEqual([[], []]);
  });

  test('programs that appear in the spec are told the state once', async () => {
    loop.observe([observed('web', { phase: 'open' }, null)]);
    loop.observe([open('web')]);
    loop.observe([open('web')]);
    await clock.advance(100);
    expect(commands()).toEqual(['/n/master', '/n/any INSTANCE web MASTER 150']);
  });

  test('a group that leaves the spec is stopped with the programs it had; one that loses them is not', async () => {
    loop.observe([observed('web'), observed('mail')]);
    loop.observe([observed('mail', {}, null)]);
    await clock.advance(100);
    const stops = notifier.jobs.filter(
      ({ environment }) => environment['LEASEHOLD_STATE'] === 'STOP',
    );
    expect(stops.map(({ environment }) => environment['LEASEHOLD_GROUP'])).toEqual(['web', 'web']);
    expect(stops[0]?.environment['LEASEHOLD_REASON']).toBe('group-removed');
  });
});

describe('order and bounds', () => {
  test('one program at a time per group, in the order told; groups do not wait for each other', async () => {
    const step = fc.record({
      group: fc.constantFrom('a', 'b', 'c'),
      isOpen: fc.boolean(),
      waitMs: fc.integer({ min: 0, max: 400 }),
      tookMs: fc.integer({ min: 1, max: 150 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
        const time = new FakeClock();
        const fake = new FakeNotifier({ clock: time });
        let tookMs = 1;
        fake.outcome = () => ({ tookMs, result: { kind: 'ok' } });
        const metrics = { notifyFinished: () => {} };
        const each = createNotifyLoop(
          { me: D1 },
          { notifier: fake, clock: time, log: silentLog, metrics },
        );
        const now = new Map<string, ObservedGroup>();
        for (const [n, { group, isOpen, waitMs, ...rest }] of steps.entries()) {
          tookMs = rest.tookMs;
          now.set(group, isOpen ? open(group, n + 6) : observed(group));
          each.observe([...now.values()]);
          await time.advance(waitMs);
        }
        await time.advance(60_000);
        for (const group of ['a', 'b', 'c']) {
          const own = fake.jobs.filter((job) => job.environment['LEASEHOLD_GROUP'] === group);
          for (const [n, job] of own.entries())
            expect(job.startedAt).toBeGreaterThanOrEqual(own[n - 1]?.endedAt ?? 0);
          const states = own.filter((_, n) => n % 2 === 1).map((job) => job.command[3]);
          for (const [n, state] of states.entries()) expect(state).not.toBe(states[n - 1]);
          const told = fake.lines.filter(({ line }) => line.includes(`"${group}"`));
          expect(told.at(-1)?.line.split(' ')[2]).toBe(states.at(-1));
        }
        expect(time.pending).toBe(0);
      }),
      { numRuns: 40 },
    );
  });

  test('behind a program that hangs only the newest state is told, with a warning', async () => {
    notifier.outcome = ({ command }) =>
      command[0] === '/n/backup'
        ? { tookMs: null, result: { kind: 'ok' } }
        : { tookMs: 1, result: { kind: 'ok' } };
    loop.observe([observed('web')]);
    for (let n = 0; n < 2 * WAITING_MAX; n++) {
      loop.observe([open('web', 6 + n)]);
      loop.observe([observed('web', { epoch: epochOf(revision(6 + n)) })]);
    }
    loop.observe([open('web', 99)]);
    expect(lines()).toHaveLength(2 + 4 * WAITING_MAX);
    await clock.advance(SPEC.timeoutMs - 1);
    expect(commands()).toEqual(['/n/backup']);
    await clock.advance(3 * SPEC.timeoutMs);
    expect(logged.filter((event) => event === 'notify.skipped').length).toBeGreaterThan(0);
    expect(logged).toContain('notify.timed-out');
    expect(finished[0]).toBe('BACKUP timeout');
    const last = notifier.jobs.at(-1);
    expect(last?.command).toEqual(['/n/any', 'INSTANCE', 'web', 'MASTER', '150']);
    expect(last?.environment['LEASEHOLD_EPOCH']).toBe('99');
  });

  test('a failure is logged with what the program said, and the next one runs', async () => {
    notifier.outcome = () => ({
      tookMs: 1,
      result: { kind: 'failed', message: 'exit code 3', output: 'no such bridge' },
    });
    loop.observe([observed('web')]);
    await clock.advance(100);
    expect(commands()).toEqual(['/n/backup', '/n/any INSTANCE web BACKUP 150']);
    expect(logged).toEqual(['notify.failed', 'notify.failed']);
    expect(finished).toEqual(['BACKUP failed', 'BACKUP failed']);
  });

  test('a pipe without a reader is no failure; a broken one is logged once', async () => {
    notifier.fifo = () => ({ kind: 'no-reader' });
    loop.observe([observed('web')]);
    await clock.advance(1);
    expect(logged).toEqual([]);
    notifier.fifo = () => ({ kind: 'failed', message: 'no named pipe' });
    loop.observe([observed('web'), observed('mail'), observed('dns')]);
    await clock.advance(1);
    expect(logged).toEqual(['notify.pipe-failed']);
  });
});

describe('the end', () => {
  test('tells STOP to every group and waits for it', async () => {
    notifier.outcome = () => ({ tookMs: 300, result: { kind: 'ok' } });
    loop.observe([observed('web'), open('mail')]);
    await clock.advance(700);
    const before = notifier.jobs.length;
    const startedAt = clock.now();
    await clock.settle(loop.end('stop'));
    expect(clock.now() - startedAt).toBe(600);
    expect(commands().slice(before)).toEqual([
      '/n/stop',
      '/n/stop',
      '/n/any INSTANCE web STOP 150',
      '/n/any INSTANCE mail STOP 150',
    ]);
    expect(lines().slice(-2)).toEqual(['INSTANCE "web" STOP 150', 'INSTANCE "mail" STOP 150']);
    loop.observe([open('web', 9)]);
    await clock.advance(10_000);
    expect(notifier.jobs).toHaveLength(before + 4);
    expect(clock.pending).toBe(0);
  });

  test('ends what hangs so that STOP has its turn, and does not wait for a STOP that hangs', async () => {
    notifier.outcome = () => ({ tookMs: null, result: { kind: 'ok' } });
    loop.observe([open('web')]);
    await clock.advance(10);
    const startedAt = clock.now();
    await clock.settle(loop.end('stop'));
    expect(clock.now() - startedAt).toBe(END_MS);
    expect(commands()).toEqual(['/n/master', '/n/stop']);
    expect((notifier.jobs[1]?.startedAt ?? 0) - startedAt).toBe(LAST_RUN_MS);
    expect(logged).toContain('notify.abandoned');
    await notifier.close();
    expect(clock.pending).toBe(0);
  });

  test('of a process whose VIPs go on with another tells nothing, and does not wait', async () => {
    notifier.outcome = () => ({ tookMs: 500, result: { kind: 'ok' } });
    loop.observe([observed('web')]);
    loop.observe([open('web')]);
    const before = clock.now();
    await loop.end('freeze');
    expect(clock.now()).toBe(before);
    await clock.advance(60_000);
    expect(commands()).toEqual(['/n/backup', '/n/any INSTANCE web BACKUP 150']);
    expect(lines()).toHaveLength(2);
  });
});
