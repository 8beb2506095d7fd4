/** The notifier's contract on the fake and with real programs, and what only real ones show. */
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createSystemClock } from '../../src/adapters/clock/system-clock.ts';
import { createNotifier } from '../../src/adapters/notify/create-notifier.ts';
import { silentLog } from '../../src/ports/log.ts';
import type { Notifier, NotifyJob, NotifyResult } from '../../src/ports/notifier.ts';
import { FakeClock } from '../fakes/fake-clock.ts';
import { FakeNotifier } from '../fakes/fake-notifier.ts';
import { run } from '../support/processes.ts';
import { RunningClock } from '../support/running-clock.ts';
import { notifierContract } from './notifier.contract.ts';

notifierContract('fake', async () => {
  const clock = new FakeClock();
  const notifier = new FakeNotifier({ clock });
  notifier.outcome = ({ command: [behaviour] }) => {
    const failed = { kind: 'failed', message: 'exit code 3', output: 'no such bridge\n' } as const;
    return {
      tookMs: behaviour === 'hang' ? null : 5,
      result: behaviour === 'fail' ? failed : { kind: 'ok' },
    };
  };
  return {
    notifier,
    command: (behaviour) => [behaviour],
    fifo: '/run/notify',
    settle: (promise) => clock.settle(promise),
    now: () => clock.now(),
    close: () => notifier.close(),
  };
});

/** For a busy machine. */
const LIMIT_MS = 20_000;

const SCRIPTS = {
  succeed: 'exit 0',
  fail: 'echo no such bridge >&2; exit 3',
  hang: 'sleep 600',
} as const;

function temporary(): string {
  const directory = mkdtempSync(join(tmpdir(), 'leasehold-notify-'));
  chmodSync(directory, 0o755);
  return directory;
}

function script(directory: string, name: string, body: string): string {
  const path = join(directory, name);
  writeFileSync(path, `#!/bin/sh\n${body}\n`);
  chmodSync(path, 0o755);
  return path;
}

notifierContract('programs and pipes of this machine', async () => {
  const directory = temporary();
  const clock = createSystemClock();
  const notifier = createNotifier({ clock, log: silentLog });
  return {
    notifier,
    command: (behaviour) => [script(directory, behaviour, SCRIPTS[behaviour])],
    fifo: join(directory, 'fifo'),
    settle: (promise) => promise,
    now: () => clock.now(),
    close: async () => {
      await notifier.close();
      rmSync(directory, { recursive: true });
    },
  };
});

describe('real programs', () => {
  let directory: string;
  let notifier: Notifier;
  beforeEach(() => {
    directory = temporary();
    notifier = createNotifier({ clock: createSystemClock(), log: silentLog });
  });
  afterEach(async () => {
    await notifier.close();
    rmSync(directory, { recursive: true });
  });

  const file = (name: string): string => join(directory, name);
  const runScript = (body: string, job: Partial<NotifyJob> = {}): Promise<NotifyResult> =>
    notifier.run(
      {
        command: [script(directory, 'program', body), 'a b', '$HOME'],
        environment: { LEASEHOLD_EPOCH: '42' },
        user: null,
        timeoutMs: 20_000,
        ...job,
      },
      new AbortController().signal,
    );

  test('get their arguments as they stand, a clean environment, / and no input', async () => {
    const out = file('seen');
    const seen = `{ echo "$1|$2|$#"; pwd; cat; env | cut -d= -f1 | sort; } > ${out}`;
    expect(await runScript(seen)).toEqual({ kind: 'ok' });
    const [words, cwd, ...rest] = readFileSync(out, 'utf8').trim().split('\n');
    expect([words, cwd]).toEqual(['a b|$HOME|2', '/']);
    const names = rest.filter((line) => /^[A-Z]/.test(line));
    // The shell itself adds these two.
    expect(names.filter((name) => !['OLDPWD', 'PWD', '_'].includes(name))).toEqual([
      'LEASEHOLD_EPOCH',
      'PATH',
    ]);
  });

  test('inherit no socket and no file of the agent', async () => {
    const before = socketsHere();
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const opened = await open(file('opened'), 'w');
    const out = file('descriptors');
    expect(await runScript(`ls -l /proc/$$/fd > ${out}`)).toEqual({ kind: 'ok' });
    const inherited = readFileSync(out, 'utf8');
    expect(inherited).toContain(out);
    const own = [file('opened'), ...socketsHere().filter((link) => !before.includes(link))];
    expect(own.length).toBeGreaterThan(1);
    expect(own.filter((link) => inherited.includes(link))).toEqual([]);
    await opened.close();
    server.close();
  });

  test('run as the user asked for, without the rights of the agent', async () => {
    const out = file('ids');
    writeFileSync(out, '');
    chmodSync(out, 0o666);
    expect(await runScript(`id -un > ${out}; id -G >> ${out}`, { user: 'nobody' })).toEqual({
      kind: 'ok',
    });
    const group = (await run(['id', '-g', 'nobody'])).stdout.trim();
    expect(readFileSync(out, 'utf8').trim().split('\n')).toEqual(['nobody', group]);
  });

  test('of a user or at a path that does not exist fail with words that say so', async () => {
    const unknown = await runScript('exit 0', { user: 'nobody-of-this-name' });
    expect(unknown).toMatchObject({
      kind: 'failed',
      message: expect.stringContaining('nobody-of-this-name'),
    });
    const missing = await runScript('', { command: [file('missing')] });
    expect(missing).toMatchObject({
      kind: 'failed',
      message: expect.stringContaining('does not exist'),
    });
  });

  test('have at most 4 KiB of their words kept', async () => {
    const result = await runScript('head -c 100000 /dev/zero | tr "\\0" x; exit 1');
    expect(result.kind === 'failed' && result.output).toBe('x'.repeat(4_096));
  });

  test('that hang are killed with their children, also those that do not heed SIGTERM', async () => {
    const pids = file('pids');
    const stubborn = `trap "" TERM; (trap "" TERM; sleep 601) & echo $$ $! > ${pids}; sleep 601; wait`;
    // Long enough for it to begin on a busy machine.
    expect(await runScript(stubborn, { timeoutMs: 3_000 })).toEqual({ kind: 'timed-out' });
    const ids = readFileSync(pids, 'utf8').trim().split(' ');
    expect(ids).toHaveLength(2);
    await expect.poll(() => ids.filter(isAlive), { timeout: LIMIT_MS }).toEqual([]);
  });

  test('may start a service that stays', async () => {
    const pid = file('pid');
    expect(await runScript(`sleep 30 & echo $! > ${pid}; exit 0`)).toEqual({ kind: 'ok' });
    const id = readFileSync(pid, 'utf8').trim();
    expect(isAlive(id)).toBe(true);
    process.kill(Number(id), 'SIGKILL');
  });

  test('a hundred at once do not hold up this thread', async () => {
    // What the machine itself holds up is not counted.
    const running = await RunningClock.start();
    await runScript('exit 0');
    const path = script(directory, 'quick', 'exit 0');
    let longestMs = 0;
    let last = running.now();
    const watch = setInterval(() => {
      longestMs = Math.max(longestMs, running.now() - last);
      last = running.now();
    }, 1);
    const job = { command: [path], environment: {}, user: null, timeoutMs: 30_000 };
    const results = await Promise.all(
      Array.from({ length: 100 }, () => notifier.run(job, new AbortController().signal)),
    );
    clearInterval(watch);
    await running.stop();
    expect(results.filter(({ kind }) => kind === 'ok')).toHaveLength(100);
    // Each start costs milliseconds: on this thread they would add up to a good part of a second.
    expect(longestMs).toBeLessThan(150);
  });

  test('a shell that reads the pipe gets every line', async () => {
    const path = file('fifo');
    const line = (n: number): string => `INSTANCE "web" ${n % 2 ? 'MASTER' : 'BACKUP'} ${n}\n`;
    await notifier.writeFifo({ path, line: line(0), user: null });
    const out = file('lines');
    const reader = run(['sh', '-c', `head -n 5 < ${path} > ${out}`]);
    let written = 0;
    for (let tries = 0; tries < 2_000 && written < 5; tries++) {
      const result = await notifier.writeFifo({ path, line: line(written + 1), user: null });
      if (result.kind === 'written') written++;
      else await sleep(10);
    }
    await reader;
    expect(readFileSync(out, 'utf8')).toBe([1, 2, 3, 4, 5].map(line).join(''));
    expect(existsSync(path)).toBe(true);
  });
});

/** As `socket:[12345]`. */
function socketsHere(): readonly string[] {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      const link = readlinkSync(`/proc/self/fd/${fd}`);
      return link.startsWith('socket:') ? [link] : [];
    } catch {
      return []; // Closed meanwhile: the listing's own.
    }
  });
}

function isAlive(pid: string): boolean {
  try {
    // A zombie that nobody has fetched yet is dead.
    return !/^State:\s*Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}
