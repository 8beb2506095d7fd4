/** The prober's worker threads: compiled and from the sources, their death and their end. */
import { execFile, execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import type { Check } from '../../src/model/cluster.ts';
import { checkId } from '../../src/model/ids.ts';
import { type Log, silentLog } from '../../src/ports/log.ts';
import { checkOf, collect } from './prober.contract.ts';
import { openProber, Targets } from './support/probe-targets.ts';

/**
 * Argument: the prober's checks. Prints what it observed, and what processor time a second and a half of that took when
 * all was there; and ends by itself: nothing of the prober may keep the process. That a thread could not listen for
 * half of a probe's time is true on a busy machine, and all that it may complain of.
 */
const childScript = (base: string, extension: string): string => `
import { createProber } from '${base}/adapters/probes/create-prober${extension}';
import { createSystemRandom } from '${base}/adapters/clock/system-random${extension}';
import { createSystemClock } from '${base}/adapters/clock/system-clock${extension}';
const error = (fields, event) => { if (event !== 'prober.starved') console.error(fields, event); };
const log = { error, warn() {}, info() {}, debug() {}, child: () => log };
const clock = createSystemClock();
const prober = createProber({ workers: 1 }, { clock, log, random: createSystemRandom() });
const checks = JSON.parse(process.argv[2]);
const observations = [];
const heard = prober.observations(AbortSignal.timeout(30_000));
prober.setChecks(checks);
for await (const batch of heard) {
  observations.push(...batch);
  if (checks.every(({ id }) => observations.filter(({ check }) => check === id).length > 1)) break;
}
const before = process.cpuUsage();
await clock.sleep(1500);
const { user, system } = process.cpuUsage(before);
await prober.close();
console.log(JSON.stringify({ observations, cpuMs: (user + system) / 1000 }));
`;

const ROOT = new URL('../..', import.meta.url).pathname;
/** What comes, comes soon; but the machine may be busy. */
const PATIENT = { timeout: 20_000, interval: 20 } as const;
const execFileAsync = promisify(execFile);

/** Compiles the prober and what it needs into `<directory>/dist`. */
function compile(directory: string): void {
  const config = {
    extends: join(ROOT, 'tsconfig.json'),
    compilerOptions: {
      rootDir: join(ROOT, 'src'),
      outDir: join(directory, 'dist'),
      typeRoots: [join(ROOT, 'node_modules/@types')],
    },
    files: [
      'probes/create-prober.ts',
      'probes/probe-worker.ts',
      'probes/connect-worker.ts',
      'clock/system-random.ts',
    ].map((file) => join(ROOT, 'src/adapters', file)),
    include: [],
  };
  writeFileSync(join(directory, 'tsconfig.json'), JSON.stringify(config));
  const tsc = join(ROOT, 'node_modules/.bin/tsc');
  execFileSync(tsc, ['-p', join(directory, 'tsconfig.json')], { stdio: 'inherit' });
}

describe('worker threads', () => {
  test.each(['compiled', 'from the sources'])(
    '%s the prober works, idles and lets its process end',
    async (mode) => {
      const isCompiled = mode === 'compiled';
      const directory = mkdtempSync(join(tmpdir(), 'leasehold-prober-child-'));
      const targets = new Targets();
      try {
        // Nothing of ours is above the temporary directory: compiled code finds no tsx there.
        if (isCompiled) {
          compile(directory);
          mkdirSync(join(directory, 'node_modules'));
          for (const name of ['koffi', '@koromix'])
            symlinkSync(join(ROOT, 'node_modules', name), join(directory, 'node_modules', name));
        }
        const script = join(directory, 'child.mjs');
        const base = isCompiled ? './dist' : join(ROOT, 'src');
        writeFileSync(script, childScript(base, isCompiled ? '.js' : '.ts'));
        writeFileSync(join(directory, 'package.json'), '{"type":"module"}');
        const loader = isCompiled ? [] : ['--import', import.meta.resolve('tsx')];
        const [up, hanging] = [await targets.http(200), await targets.tcp()];
        const refused = targets.refusing();
        const checks = [
          checkOf(up),
          checkOf(refused),
          checkOf(hanging, {}, { timeoutMs: 150 }),
          checkOf(up, { kind: 'tcp' }),
        ];
        const child = await execFileAsync(
          process.execPath,
          [...loader, script, JSON.stringify(checks)],
          { timeout: 40_000, killSignal: 'SIGKILL' },
        );
        const { observations, cpuMs } = JSON.parse(child.stdout) as {
          observations: { check: string; detail: string }[];
          cpuMs: number;
        };
        const details = checks.map(
          ({ id }) => observations.find((each) => each.check === id)?.detail,
        );
        expect(details).toEqual([
          'HTTP status 200',
          'connection refused',
          'no answer within 150 ms',
          'connected',
        ]);
        expect(child.stderr).toBe('');
        // Four checks, five times a second, for a second and a half; a loop would take all of that.
        expect(cpuMs).toBeLessThan(500);
      } finally {
        await targets.close();
        rmSync(directory, { recursive: true });
      }
    },
  );

  test('a worker that dies is restarted with its checks, and that is logged', async () => {
    const events: string[] = [];
    const log: Log = { ...silentLog, error: (_fields, event) => events.push(event) };
    const targets = new Targets();
    const prober = openProber({ workers: 1 }, log);
    const end = new AbortController();
    const seen = collect(prober, end.signal);
    const check = checkOf(await targets.http(200));
    prober.setChecks([check]);
    await expect.poll(() => seen.length, PATIENT).toBeGreaterThan(0);
    // No parser lets such a check through: in the worker it is a bug, and bugs end it.
    const spec = { ...check.spec, intervalMs: 1n };
    const poison = { ...check, id: checkId('poison'), spec } as unknown as Check;
    prober.setChecks([check, poison]);
    await expect.poll(() => events, PATIENT).toContain('prober.restarted');
    expect(events).toContain('prober.crashed');
    prober.setChecks([check]);
    const before = seen.length;
    await expect.poll(() => seen.length, PATIENT).toBeGreaterThan(before + 1);
    end.abort();
    await prober.close();
    await targets.close();
  });

  test.each(['connects', 'other checks'])(
    'thousands of %s reach their threads in parts, in order, whatever is set meanwhile',
    async (what) => {
      const targets = new Targets();
      const prober = openProber({ workers: 1 });
      const end = new AbortController();
      const seen = collect(prober, end.signal);
      const size = what === 'connects' ? 600 : 300;
      const timing = { intervalMs: 1_000, timeoutMs: 900 };
      const port = await targets.http(200);
      const many = (count: number): Check[] =>
        Array.from({ length: count }, () =>
          checkOf(port, what === 'connects' ? { kind: 'tcp' } : { method: 'HEAD' }, timing),
        );
      try {
        const first = many(1);
        prober.setChecks(first);
        await expect.poll(() => seen.length, PATIENT).toBeGreaterThan(0);
        const [goes, stays, comes] = [many(size), many(size), many(size)];
        prober.setChecks([...first, ...goes, ...stays]);
        // Most of these are still on their way.
        prober.setChecks([...stays, ...comes]);
        prober.setChecks([...stays, ...comes, ...first]);
        const wanted = [...stays, ...comes, ...first].map(({ id }) => id);
        const missing = (): number => {
          const found = new Set(seen.map(({ check }) => check));
          return wanted.filter((id) => !found.has(id)).length;
        };
        await expect.poll(missing, PATIENT).toBe(0);
        const gone = new Set(goes.map(({ id }) => id));
        expect(seen.filter(({ check }) => gone.has(check))).toEqual([]);
      } finally {
        end.abort();
        await prober.close();
        await targets.close();
      }
    },
  );

  test('a set that becomes empty is idle, and one that comes back is probed again', async () => {
    const targets = new Targets();
    const prober = openProber();
    const end = new AbortController();
    const seen = collect(prober, end.signal);
    const check = checkOf(await targets.http(200));
    try {
      prober.setChecks([]);
      prober.setChecks([check]);
      await expect.poll(() => seen.length, PATIENT).toBeGreaterThan(0);
      prober.setChecks([]);
      const [count, before] = [seen.length, process.cpuUsage()];
      await sleep(1_000);
      const { user, system } = process.cpuUsage(before);
      expect(seen).toHaveLength(count);
      expect(user + system).toBeLessThan(400_000);
      prober.setChecks([check]);
      await expect.poll(() => seen.length, PATIENT).toBeGreaterThan(count);
    } finally {
      end.abort();
      await prober.close();
      await targets.close();
    }
  });

  test('close ends the threads in the middle of probes, twice is harmless, and all is silent after', async () => {
    const ports = (): number =>
      process.getActiveResourcesInfo().filter((kind) => /MessagePort|Worker/.test(kind)).length;
    const targets = new Targets();
    const before = ports();
    const prober = openProber({ workers: 3 });
    try {
      const hanging = await targets.tcp();
      prober.setChecks(Array.from({ length: 60 }, () => checkOf(hanging)));
      await expect.poll(() => targets.sockets.size, PATIENT).toBeGreaterThan(5);
      expect(ports()).toBeGreaterThan(before);
      await prober.close();
      await prober.close();
      await expect.poll(ports, PATIENT).toBe(before);
      await expect.poll(() => targets.sockets.size, PATIENT).toBe(0);
      prober.setChecks([checkOf(hanging)]);
      prober.probeSoon(checkOf(hanging).id);
      for await (const _ of prober.observations(new AbortController().signal)) expect.fail('heard');
      expect(ports()).toBe(before);
    } finally {
      await prober.close();
      await targets.close();
    }
  });
});
