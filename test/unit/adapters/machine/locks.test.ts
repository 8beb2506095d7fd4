/** Locks of this machine: one at a time, gone with their process, and not for others to take. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readPlace } from '../../../../src/adapters/machine/place.ts';
import { tryRunLock } from '../../../../src/adapters/machine/run-lock.ts';
import { takeInstanceLock } from '../../../../src/adapters/machine/single-instance.ts';
import { isSamePlace } from '../../../../src/model/place.ts';

const lockModule = import.meta.resolve('../../../../src/adapters/machine/run-lock.ts');
const koffiPath = fileURLToPath(import.meta.resolve('koffi'));

let directory: string;
let socketName: string;
const children: ChildProcess[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'leasehold-locks-'));
  socketName = `leasehold-test/${directory}`;
});
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  rmSync(directory, { recursive: true });
});

/** A process that does `code`, says so on its output, and stays. */
async function stay(code: string): Promise<ChildProcess> {
  const child = spawn(process.execPath, ['-e', `${code}; setInterval(() => {}, 1e6)`], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(child);
  await new Promise((resolve) => child.stdout?.once('data', resolve));
  return child;
}

const listenCode = (name: string): string =>
  `require('net').createServer((s) => s.destroy()).listen('\\0${name}', () => console.log('there'))`;

const take = () => takeInstanceLock({ directory, socketName });

describe('a run lock', () => {
  it('is one process’s at a time, says whose, and is free again after its release', () => {
    const first = tryRunLock('web', directory);
    expect(first.ok).toBe(true);
    const second = tryRunLock('web', directory);
    expect(second).toEqual({
      ok: false,
      error: { kind: 'taken', path: join(directory, 'web.lock'), pid: process.pid },
    });
    expect(tryRunLock('mail', directory).ok).toBe(true);
    if (first.ok) first.value.release();
    expect(readdirSync(directory)).toEqual(['mail.lock']);
    expect(tryRunLock('web', directory).ok).toBe(true);
  });

  it('is no lock on a file that its holder removed, and one on the next', () => {
    const first = tryRunLock('web', directory);
    // As one who had opened the file before its holder was done with it.
    rmSync(join(directory, 'web.lock'));
    const second = tryRunLock('web', directory);
    expect(second.ok).toBe(true);
    if (first.ok) first.value.release();
    expect(tryRunLock('web', directory).ok).toBe(false);
  });

  it('is on a file that nobody else can open, whatever it was before', () => {
    const path = join(directory, 'web.lock');
    writeFileSync(path, '', { mode: 0o666 });
    chmodSync(path, 0o666);
    expect(tryRunLock('web', directory).ok).toBe(true);
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it('is taken also where its disk is full, and then says of nobody whose it is', () => {
    const code = [
      `const { tryRunLock } = await import(${JSON.stringify(lockModule)});`,
      `const taken = () => tryRunLock('web', ${JSON.stringify(directory)});`,
      'console.log(JSON.stringify([taken().ok, taken().error.kind, taken().error.pid]));',
    ].join('');
    // Not a byte into any file: setrlimit(2).
    const script = 'trap \'\' XFSZ; ulimit -f 0; exec "$@"';
    const argv = [process.execPath, '--import', 'tsx', '--input-type=module', '-e', code];
    const output = execFileSync('bash', ['-c', script, 'bash', ...argv], { encoding: 'utf8' });
    expect(JSON.parse(output)).toEqual([true, 'taken', null]);
  });

  it('is refused where others may write to its directory', () => {
    chmodSync(directory, 0o777);
    expect(tryRunLock('web', directory)).toEqual({
      ok: false,
      error: {
        kind: 'failed',
        message: `others may write to ${directory}: chown root ${directory}, chmod 755 ${directory}`,
      },
    });
  });

  it('says what it needs where it cannot be made', () => {
    writeFileSync(join(directory, 'file'), '');
    const refused = tryRunLock('web', join(directory, 'file'));
    expect(refused).toMatchObject({ ok: false, error: { kind: 'failed' } });
  });
});

describe('the lock of the agent', () => {
  it('is one per network namespace, and is given back', async () => {
    const first = await take();
    expect(first).toMatchObject({ ok: true, value: { warning: null } });
    const second = await take();
    expect(second).toEqual({
      ok: false,
      error: `an agent runs here already (process ${process.pid}); stop it first (systemctl stop leasehold)`,
    });
    if (first.ok) first.value.release();
    const third = await take();
    expect(third.ok).toBe(true);
    if (third.ok) third.value.release();
  });

  it('names the namespace by its inode', async () => {
    const taken = await take();
    const place = readPlace();
    expect(readdirSync(directory)).toEqual([`agent-${place.ok ? place.value.namespace : ''}.lock`]);
    if (taken.ok) taken.value.release();
  });

  it('is refused where root has the name in another container, which has a /run of its own', async () => {
    const child = await stay(listenCode(socketName));
    expect(await take()).toEqual({
      ok: false,
      error: `an agent runs here already (process ${child.pid}); stop it first (systemctl stop leasehold)`,
    });
    // What was taken first is given back.
    expect(readdirSync(directory)).toEqual([]);
  });

  it('is not for any user to take: a foreign name is told, and no more', async () => {
    const child = await stay(listenCode(socketName));
    const taken = await takeInstanceLock({ directory, socketName, trusted: [4_711_000] });
    expect(taken).toMatchObject({
      ok: true,
      value: {
        warning: `user ${process.geteuid?.()} (process ${child.pid}), who is no agent, has the socket @${socketName} (see: ss -xlp): an agent in another container of this network namespace would not be seen`,
      },
    });
    if (taken.ok) taken.value.release();
  });

  it.each([
    ['is refused where the name was taken a moment ago, and nobody listens to it yet', 200, false],
    ['warns where nobody ever listens to a name that is taken', 1e6, true],
  ])('%s', async (_, listensAfterMs, isOk) => {
    const child = await stay(`
      const library = require(${JSON.stringify(koffiPath)}).load(null);
      const socket = library.func('int socket(int, int, int)');
      const bind = library.func('int bind(int, const uint8_t *, uint32_t)');
      const listen = library.func('int listen(int, int)');
      const exact = Buffer.concat([Buffer.from([1, 0, 0]), Buffer.from(${JSON.stringify(socketName)})]);
      // Some versions of Node fill a name up with zeros.
      const taken = [exact, Buffer.concat([exact], 110)].map((name) => {
        const fd = socket(1, 1, 0);
        if (bind(fd, name, name.length) !== 0) throw new Error('bind');
        return fd;
      });
      setTimeout(() => taken.forEach((fd) => listen(fd, 5)), ${listensAfterMs});
      console.log('there')`);
    const taken = await take();
    expect(taken.ok).toBe(isOk);
    if (!taken.ok) expect(taken.error).toContain(`(process ${child.pid})`);
    else {
      expect(taken.value.warning).toContain('somebody, who is no agent, has the socket');
      taken.value.release();
    }
  });

  it('is one of two at most that are started in the same moment and do not share /run', async () => {
    const module = new URL('../../../../src/adapters/machine/single-instance.ts', import.meta.url);
    const rounds = 25;
    const startAt = process.hrtime.bigint() + 2_000_000_000n;
    const contend = async (name: string): Promise<readonly boolean[]> => {
      const child = spawn(
        process.execPath,
        [
          '--import',
          'tsx',
          '--input-type=module',
          '-e',
          `import { takeInstanceLock } from ${JSON.stringify(module.href)};
           const taken = [];
           for (let round = 0; round < ${rounds}; round++) {
             const at = ${startAt}n + BigInt(round) * 20_000_000n;
             while (process.hrtime.bigint() < at);
             const socketName = ${JSON.stringify(socketName)} + round;
             const directory = ${JSON.stringify(directory)} + '/${name}' + round;
             taken.push((await takeInstanceLock({ directory, socketName })).ok);
           }
           console.log(JSON.stringify(taken));
           setInterval(() => {}, 1e6);`,
        ],
        { stdio: ['ignore', 'pipe', 'inherit'] },
      );
      children.push(child);
      return await new Promise((resolve) =>
        child.stdout.once('data', (data) => resolve(JSON.parse(String(data)))),
      );
    };
    const [first, second] = await Promise.all([contend('a'), contend('b')]);
    expect(first).toHaveLength(rounds);
    for (const [round, isFirst] of first.entries())
      expect(isFirst && second[round], `both in round ${round}`).toBe(false);
    expect([...first, ...second]).toContain(true);
  });

  it('is free when its process was killed', async () => {
    const module = new URL('../../../../src/adapters/machine/single-instance.ts', import.meta.url);
    const child = spawn(
      process.execPath,
      [
        '--import',
        'tsx',
        '--input-type=module',
        '-e',
        `import { takeInstanceLock } from ${JSON.stringify(module.href)};
         const taken = await takeInstanceLock(${JSON.stringify({ directory, socketName })});
         console.log(taken.ok);
         setInterval(() => {}, 1e6);`,
      ],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    children.push(child);
    const said = await new Promise<string>((resolve) =>
      child.stdout.once('data', (data) => resolve(String(data).trim())),
    );
    expect(said).toBe('true');
    expect((await take()).ok).toBe(false);
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
    const taken = await take();
    expect(taken.ok).toBe(true);
    if (taken.ok) taken.value.release();
  });
});

describe('a place', () => {
  const here = { bootId: 'b', namespace: '42', cookie: '7' };

  it('is told by the kernel, and the same for the same process', () => {
    const first = readPlace();
    expect(first).toEqual(readPlace());
    expect(first).toMatchObject({
      ok: true,
      value: { bootId: expect.stringMatching(/^[0-9a-f-]{36}$/) },
    });
  });

  it('is another one after a boot, in another namespace, and where an inode was used again', () => {
    expect(isSamePlace(here, here)).toBe(true);
    expect(isSamePlace({ ...here, bootId: 'c' }, here)).toBe(false);
    expect(isSamePlace({ ...here, namespace: '43' }, here)).toBe(false);
    expect(isSamePlace({ ...here, cookie: '8' }, here)).toBe(false);
  });

  it('is taken for the same where a kernel has no cookies, and in notes of earlier versions', () => {
    expect(isSamePlace({ ...here, cookie: null }, here)).toBe(true);
    expect(isSamePlace(here, { ...here, cookie: null })).toBe(true);
    expect(isSamePlace({}, here)).toBe(true);
  });
});
