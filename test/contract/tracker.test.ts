/** The tracker's contract on the fake and on real programs, /proc and files, and what only these show. */
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createSystemClock } from '../../src/adapters/clock/system-clock.ts';
import { createTracker } from '../../src/adapters/tracks/create-tracker.ts';
import type { TrackObservation, TrackTarget } from '../../src/model/track.ts';
import { type Log, silentLog } from '../../src/ports/log.ts';
import type { Tracker } from '../../src/ports/tracker.ts';
import { FakeClock } from '../fakes/fake-clock.ts';
import { type FakeScript, FakeTracker } from '../fakes/fake-tracker.ts';
import { SeededRandom } from '../fakes/seeded-random.ts';
import {
  collect,
  fileTarget,
  processTarget,
  type ScriptBehaviour,
  scriptTarget,
  trackerContract,
  wordsOf,
} from './tracker.contract.ts';

const FAKE_SCRIPTS: Readonly<Record<ScriptBehaviour, FakeScript>> = {
  passes: { kind: 'exit', code: 0, ms: 5 },
  fails: { kind: 'exit', code: 3, ms: 5, output: 'not well\n' },
  hangs: { kind: 'hang' },
  missing: { kind: 'missing', message: '/nonexistent does not exist' },
};

trackerContract('fake', async () => {
  const clock = new FakeClock();
  const files = new Map<string, string>();
  const processes = new Map<string, number>();
  let paths = 0;
  return {
    tracker: new FakeTracker(
      {
        script: ({ command }) => FAKE_SCRIPTS[command[0] as ScriptBehaviour],
        processes: (name) => processes.get(name) ?? 0,
        file: (path) => files.get(path) ?? null,
      },
      { clock, random: new SeededRandom(7) },
    ),
    command: (behaviour) => [behaviour],
    process: () => ({
      name: 'nginx',
      start: async () => void processes.set('nginx', 1),
      end: async () => void processes.delete('nginx'),
    }),
    path: () => `/run/file-${paths++}`,
    write: (path, text) => (text === null ? files.delete(path) : files.set(path, text)),
    advance: (ms) => clock.advance(ms),
    close: async () => {},
  };
});

const clock = createSystemClock();
/** For a busy machine. */
const LIMIT_MS = 20_000;
const directory = mkdtempSync(join(tmpdir(), 'leasehold-tracker-'));
chmodSync(directory, 0o755);
afterAll(() => rmSync(directory, { recursive: true }));

let files = 0;
const newPath = (): string => join(directory, `file-${files++}`);
/** At once, as every writer of such a file should: half of it would be seen where the machine pauses. */
function writeWhole(path: string, text: string): void {
  const before = existsSync(path) ? readFileSync(path).length : 0;
  if (0 < before && before <= text.length) {
    const fd = openSync(path, 'r+');
    writeSync(fd, text);
    closeSync(fd);
  } else {
    writeFileSync(`${path}.new`, text);
    renameSync(`${path}.new`, path);
  }
}

function script(body: string, mode = 0o755): string {
  const path = newPath();
  writeFileSync(path, `#!/bin/sh\n${body}\n`);
  chmodSync(path, mode);
  return path;
}

/** A program under a name of its own. */
class Sleeper {
  readonly path: string;
  readonly name: string;
  readonly #children: ChildProcess[] = [];

  constructor() {
    this.name = `lh-nap-${files++}`;
    this.path = join(directory, this.name);
    copyFileSync('/bin/sleep', this.path);
    chmodSync(this.path, 0o755);
  }

  async start(): Promise<void> {
    const child = spawn(this.path, ['60'], { stdio: 'ignore' });
    this.#children.push(child);
    await new Promise((resolve) => child.once('spawn', resolve));
  }

  async end(): Promise<void> {
    for (const child of this.#children.splice(0)) {
      const isOver = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGKILL');
      await isOver;
    }
  }
}

trackerContract('worker thread', async () => {
  const commands: Readonly<Record<ScriptBehaviour, string>> = {
    passes: script('exit 0'),
    fails: script('echo not well; exit 3'),
    hangs: script('exec sleep 30'),
    missing: '/nonexistent/check',
  };
  const sleeper = new Sleeper();
  return {
    tracker: createTracker({ clock, log: silentLog }),
    command: (behaviour) => [commands[behaviour]],
    process: () => sleeper,
    path: newPath,
    write: (path, text) => (text === null ? rmSync(path) : writeWhole(path, text)),
    advance: (ms) => sleep(ms),
    close: () => sleeper.end(),
  };
});

const isAlive = (pid: number): boolean => {
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
};

describe('real tracks', () => {
  let tracker: Tracker;
  let seen: TrackObservation[];
  let end: AbortController;
  const events: string[] = [];
  beforeEach(() => {
    events.length = 0;
    const log: Log = { ...silentLog, error: (_fields, event) => events.push(event) };
    tracker = createTracker({ clock, log });
    end = new AbortController();
    seen = collect(tracker, end.signal);
  });
  afterEach(async () => {
    end.abort();
    await tracker.close();
  });
  const of = (target: TrackTarget): string[] =>
    seen.filter((each) => each.target === target.id).map(wordsOf);
  const first = async (...targets: TrackTarget[]): Promise<string[]> => {
    tracker.setTargets(targets);
    const isDone = (): boolean => targets.every((target) => of(target).length > 0);
    await expect.poll(isDone, { timeout: 2 * LIMIT_MS, interval: 20 }).toBe(true);
    return targets.map((target) => of(target)[0] ?? '');
  };

  test('a script that hangs is killed with its children, and runs again', async () => {
    const children = newPath();
    const path = script(`sleep 30 & echo $! >> ${children}; wait`);
    const target = scriptTarget([path], { timeoutMs: 500 });
    const started = (): number[] =>
      existsSync(children) ? readFileSync(children, 'utf8').trim().split('\n').map(Number) : [];
    tracker.setTargets([target]);
    // On a busy machine one may be ended before it has begun.
    const hasRunTwice = (): boolean => of(target).length > 1 && started().length > 1;
    await expect.poll(hasRunTwice, { timeout: LIMIT_MS }).toBe(true);
    tracker.setTargets([]);
    await expect.poll(() => started().filter(isAlive), { timeout: LIMIT_MS }).toEqual([]);
    for (const words of of(target)) expect(words).toMatch(/^fails: no end within 500 ms/);
  });

  test('never runs a script twice at once', async () => {
    const log = newPath();
    const path = script(`echo + >> ${log}; sleep 0.5; echo - >> ${log}`);
    const marked = (): string =>
      existsSync(log) ? readFileSync(log, 'utf8').replaceAll('\n', '') : '';
    tracker.setTargets([scriptTarget([path], { intervalMs: 100, timeoutMs: LIMIT_MS })]);
    await expect.poll(() => marked().length, { timeout: LIMIT_MS }).toBeGreaterThan(6);
    tracker.setTargets([]);
    const marks = marked();
    expect(marks).toMatch(/^(\+-){3,}\+?$/);
  });

  test('what a script leaves behind goes with it', async () => {
    const children = newPath();
    const path = script(`sleep 30 & echo $! > ${children}`);
    const timing = { intervalMs: 60_000, timeoutMs: 5_000 };
    expect(await first(scriptTarget([path], timing))).toEqual(['passes: exit code 0']);
    const pid = Number(readFileSync(children, 'utf8'));
    await expect.poll(() => isAlive(pid), { timeout: LIMIT_MS }).toBe(false);
  });

  test('runs as another user, and says what that user may not', async () => {
    const who = script('test "$(id -un)" = nobody || { id -un; exit 1; }');
    const secret = script('exit 0', 0o700);
    const timing = { intervalMs: 60_000, timeoutMs: 5_000, user: 'nobody' };
    expect(
      await first(
        scriptTarget([who], timing),
        scriptTarget([secret], timing),
        scriptTarget([who], { ...timing, user: 'nosuchuser' }),
      ),
    ).toEqual([
      'passes: exit code 0',
      `fails: ${secret} may not be executed as nobody: see its mode and that of its directories`,
      'fails: there is no user nosuchuser in /etc/passwd',
    ]);
  });

  test('a hundred scripts do not start together', async () => {
    const log = newPath();
    const path = script(`date +%s%N >> ${log}`);
    const timing = { intervalMs: 60_000, timeoutMs: 20_000 };
    await first(...Array.from({ length: 100 }, () => scriptTarget([path], timing)));
    const times = readFileSync(log, 'utf8')
      .trim()
      .split('\n')
      .map((text) => Number(text) / 1e6);
    expect(times).toHaveLength(100);
    expect(Math.max(...times) - Math.min(...times)).toBeGreaterThan(500);
  });

  test('finds a process by its path, counts up to its quorum, and forgets the dead', async () => {
    const sleeper = new Sleeper();
    try {
      const [byPath, byName] = [processTarget(sleeper.path, 2), processTarget(sleeper.name, 2)];
      await sleeper.start();
      expect(await first(byPath, byName)).toEqual(['1', '1']);
      await sleeper.start();
      await expect.poll(() => of(byPath).at(-1), { timeout: LIMIT_MS }).toBe('2');
      await expect.poll(() => of(byName).at(-1), { timeout: LIMIT_MS }).toBe('2');
    } finally {
      await sleeper.end();
    }
  });

  test('a file that is replaced, in a directory that comes later, is seen', async () => {
    const folder = newPath();
    const path = join(folder, 'load');
    const target = fileTarget(path);
    const last = async (words: string): Promise<void> => {
      const limit = { timeout: LIMIT_MS, interval: 10 };
      await expect.poll(() => of(target).at(-1), limit).toBe(words);
    };
    expect(await first(target)).toEqual(['null']);
    mkdirSync(folder);
    writeFileSync(path, '1');
    await last('1');
    // From here on the kernel tells. Without it each would be seen a second after the one before.
    const startedAt = clock.now();
    for (const number of ['2', '3', '4', '5', '6']) {
      writeFileSync(`${path}.new`, number);
      renameSync(`${path}.new`, path);
      await last(number);
    }
    expect(clock.now() - startedAt).toBeLessThan(3_500);
    rmSync(folder, { recursive: true });
    await last('null');
    mkdirSync(folder);
    writeFileSync(path, '7');
    await last('7');
  });

  test('close ends what runs', async () => {
    const mark = newPath();
    const path = script(`trap "" TERM; echo $$ > ${mark}; while :; do sleep 0.1; done`);
    tracker.setTargets([scriptTarget([path], { timeoutMs: 60_000 })]);
    const isStarted = (): boolean => existsSync(mark) && readFileSync(mark, 'utf8') !== '';
    await expect.poll(isStarted, { timeout: LIMIT_MS }).toBe(true);
    await tracker.close();
    expect(isAlive(Number(readFileSync(mark, 'utf8')))).toBe(false);
    expect(events).toEqual([]);
  });

  test('a thread that dies is restarted with its targets, and that is logged', async () => {
    const script_ = scriptTarget([script('exit 0')]);
    expect(await first(script_)).toEqual(['passes: exit code 0']);
    // No parser lets such a target through: in the worker it is a bug, and bugs end it.
    const poison = { ...scriptTarget([]), command: null } as unknown as TrackTarget;
    tracker.setTargets([script_, poison]);
    await expect.poll(() => events, { timeout: LIMIT_MS }).toContain('tracker.restarted');
    expect(events).toContain('tracker.crashed');
    tracker.setTargets([script_]);
    const before = of(script_).length;
    await expect.poll(() => of(script_).length, { timeout: LIMIT_MS }).toBeGreaterThan(before + 1);
  });
});

/** Prints what it observed of `count` targets; nothing of the tracker may keep the process after that. */
const childScript = (file: string, count: number): string => `
import { createTracker } from '${file}/tracks/create-tracker.js';
import { createSystemClock } from '${file}/clock/system-clock.js';
const log = { error: console.error, warn() {}, info() {}, debug() {}, child: () => log };
const tracker = createTracker({ clock: createSystemClock(), log });
tracker.setTargets(JSON.parse(process.argv[2]));
const seen = [];
const end = new AbortController();
setTimeout(() => end.abort(), ${LIMIT_MS}).unref();
for await (const batch of tracker.observations(end.signal)) {
  seen.push(...batch);
  if (seen.length >= ${count}) end.abort();
}
await tracker.close();
console.log(JSON.stringify(seen.map(({ sight }) => sight.kind)));
`;

test('compiled it works, and lets its process end', { timeout: 120_000 }, async () => {
  const root = new URL('../..', import.meta.url).pathname;
  const place = mkdtempSync(join(tmpdir(), 'leasehold-tracker-child-'));
  try {
    const config = {
      extends: join(root, 'tsconfig.json'),
      compilerOptions: {
        rootDir: join(root, 'src'),
        outDir: join(place, 'dist'),
        typeRoots: [join(root, 'node_modules/@types')],
      },
      files: ['create-tracker.ts', 'track-worker.ts'].map((file) =>
        join(root, 'src/adapters/tracks', file),
      ),
      include: [],
    };
    writeFileSync(join(place, 'tsconfig.json'), JSON.stringify(config));
    const tsc = join(root, 'node_modules/.bin/tsc');
    execFileSync(tsc, ['-p', join(place, 'tsconfig.json')], { stdio: 'inherit' });
    writeFileSync(join(place, 'package.json'), '{"type":"module"}');
    const timing = { intervalMs: 60_000, timeoutMs: 5_000 };
    const targets = [
      scriptTarget(['true'], timing),
      fileTarget('/etc/hostname'),
      processTarget('x'),
    ];
    writeFileSync(join(place, 'child.mjs'), childScript('./dist/adapters', targets.length));
    const child = await promisify(execFile)(
      process.execPath,
      [join(place, 'child.mjs'), JSON.stringify(targets)],
      { timeout: 2 * LIMIT_MS, killSignal: 'SIGKILL' },
    );
    expect(child.stderr).toBe('');
    expect((JSON.parse(child.stdout) as string[]).toSorted()).toEqual([
      'file',
      'process',
      'script',
    ]);
  } finally {
    rmSync(place, { recursive: true });
  }
});
