import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { loadCliEnvironment } from '../../../src/config/cli-env.ts';
import { directorId, revision } from '../../../src/model/ids.ts';
import { CLUSTER_DOCUMENT, createEvent, createOperation } from '../../fakes/fake-agent-view.ts';
import { makeTestKeys } from '../../support/test-keys.ts';
import { applyDocument } from '../api/bench.ts';
import { NO_ENVIRONMENT, type Rig, runCli, startRig } from './harness.ts';

const rigs: Rig[] = [];
let folder = '';

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'leasehold-cli-'));
});
afterAll(() => rm(folder, { recursive: true }));
afterEach(async () => {
  await Promise.all(rigs.splice(0).map(({ api }) => api.close()));
});

async function rig(options: Parameters<typeof startRig>[0] = {}): Promise<Rig> {
  const started = await startRig(options);
  rigs.push(started);
  return started;
}

async function file(name: string, text: string): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, text);
  return path;
}

const without = (...names: string[]): string =>
  stringify({
    ...CLUSTER_DOCUMENT,
    services: Object.fromEntries(
      Object.entries(CLUSTER_DOCUMENT.services).filter(([name]) => !names.includes(name)),
    ),
  });

describe('usage', () => {
  it('shows how to name a director where one is asked, and nowhere else', async () => {
    for (const argv of ['status', 'ipvs zero', 'rs drain', 'export ipvsadm'])
      expect((await runCli([...argv.split(' '), '--help'])).out, argv).toContain('--api <urls>');
    for (const argv of ['agent', 'validate', 'realserver up', 'import ipvsadm', 'version'])
      expect((await runCli([...argv.split(' '), '--help'])).out, argv).not.toContain('--api');
  });

  it('answers help and version with 0, anything misspelt with 2', async () => {
    expect((await runCli(['--help'])).out).toContain('switchover');
    expect(await runCli(['version'])).toMatchObject({ code: 0, out: 'leasehold 0.1.0\n' });
    expect((await runCli(['--version'])).code).toBe(0);
    for (const argv of [['statsu'], ['status', '-o', 'xml'], ['director', 'drain', 'd1'], []])
      expect((await runCli(argv)).code, argv.join(' ')).toBe(2);
  });

  it('gives the agent its options and takes its exit code', async () => {
    let seen: unknown = null;
    const runAgent = async (options: unknown): Promise<number> => {
      seen = options;
      return 2;
    };
    expect((await runCli(['agent', '--config', 'a.yaml', '--dev'], {}, runAgent)).code).toBe(2);
    expect(seen).toEqual({ config: 'a.yaml', dev: true });
  });

  it('reads the environment, and lets options win', async () => {
    expect(loadCliEnvironment({ LEASEHOLD_API: 'http://a', LEASEHOLD_TOKEN: '' })).toEqual({
      ...NO_ENVIRONMENT,
      api: 'http://a',
    });
    const { url } = await rig();
    const environment = { ...NO_ENVIRONMENT, api: 'ftp://nowhere' };
    expect(await runCli(['status'], { environment })).toMatchObject({ code: 2 });
    expect((await runCli(['status', '--api', url], { environment })).code).toBe(1);
  });
});

const NOBODY = { holder: null, epoch: null, ownedForMs: null, state: 'vacant' };

describe('status', () => {
  it('shows the cluster in 120 columns', async () => {
    const { run } = await rig();
    const { code, out } = await run('status');
    expect(code).toBe(1);
    await expect(out).toMatchFileSnapshot('screens/status.txt');
    expect(Math.max(...out.split('\n').map((line) => line.length))).toBeLessThanOrEqual(120);
  });

  it('shows more when asked, and a bad day', async () => {
    const { run, view } = await rig();
    await expect((await run('status -o wide')).out).toMatchFileSnapshot('screens/status-wide.txt');
    const status = view.statusDocument;
    status.health = 'down';
    status.problems = ['etcd does not answer: deadline', 'no director holds "mail"'];
    status.store = { ...status.store, isConnected: false, lastError: 'deadline' };
    for (const group of status.groups)
      if (group.name === 'mail') Object.assign(group, { ...NOBODY, reason: 'holder-dead' });
    for (const director of status.directors)
      if (director.name === 'd2')
        Object.assign(director, {
          isAlive: false,
          isDraining: true,
          drainReason: 'disk',
          groups: [],
        });
    status.ipvs.foreignServices = ['tcp 10.90.0.200:443'];
    const { code, out } = await run('status');
    expect(code).toBe(7);
    await expect(out).toMatchFileSnapshot('screens/status-down.txt');
  });

  it('fits a narrow terminal and paints only there', async () => {
    const { run } = await rig();
    const { out } = await run('status', { isTerminal: true, columns: 80 });
    expect(out).toContain('\u001B[33mDEGRADED\u001B[0m');
    const table = out.split('\n').filter((line) => !line.includes('\u001B'));
    expect(Math.max(...table.map((line) => line.length))).toBeLessThanOrEqual(80);
    const environment = { ...NO_ENVIRONMENT, noColor: true };
    const plain = await run('status', { isTerminal: true, columns: 80, environment });
    expect(plain.out).not.toContain('\u001B');
  });

  it('is the whole document as json and yaml, and 0 when all is well', async () => {
    const { run, view } = await rig();
    view.statusDocument.health = 'ok';
    const { code, out } = await run('status -o json');
    expect(code).toBe(0);
    expect(JSON.parse(out)).toEqual(view.statusDocument);
    expect((await run('status -o yaml')).out).toContain('cluster: lab\n');
  });

  it('shows it again until interrupted', async () => {
    const { run } = await rig();
    const controller = new AbortController();
    let sleeps = 0;
    const onSleep = (): void => {
      if (++sleeps === 2) controller.abort();
    };
    const { out } = await run('status -w', { signal: controller.signal, onSleep });
    expect(out.split('Cluster lab').length - 1).toBe(2);
  });

  it('goes on watching when a look fails, but not when the first one does', async () => {
    const { run, view } = await rig();
    const good = view.status.bind(view);
    const controller = new AbortController();
    let sleeps = 0;
    const onSleep = (): void => {
      sleeps += 1;
      view.status = sleeps === 1 ? broken : good;
      if (sleeps === 3) controller.abort();
    };
    const broken = (): never => {
      throw new Error('not now');
    };
    const { code, out, err } = await run('status -w', { signal: controller.signal, onSleep });
    expect(code).toBe(1);
    expect(out.split('Cluster lab').length - 1).toBe(2);
    expect(err).toBe('no director answers; trying again\n');
    view.status = broken;
    expect((await run('status -w')).code).toBe(5);
  });
});

describe('the cluster document', () => {
  it('is judged without any director', async () => {
    const good = await file('good.yaml', stringify(CLUSTER_DOCUMENT));
    expect(await runCli(['validate', good])).toMatchObject({
      code: 0,
      out: `${good}: valid (2 directors, 2 VIP groups, 3 virtual services, 4 real servers)\n`,
    });
    expect((await runCli(['validate', '-f', good])).code).toBe(0);
    const readStdin = async (): Promise<string> => stringify(CLUSTER_DOCUMENT);
    expect((await runCli(['validate', '-'], { readStdin })).code).toBe(0);
    expect((await runCli(['validate'])).code).toBe(2);
    expect((await runCli(['validate', join(folder, 'none.yaml')])).err).toContain('cannot read');
  });

  it('has all its problems listed at once', async () => {
    const bad = await file(
      'bad.yaml',
      stringify({
        ...CLUSTER_DOCUMENT,
        groups: { web: { addresses: ['10.90.0.300/24'], interface: 'public' } },
        services: { s: { group: 'nope', address: '10.90.0.100', port: 'http' } },
      }),
    );
    const { code, err } = await runCli(['validate', bad]);
    expect(code).toBe(2);
    expect(err).toContain('groups.web.addresses[0]: ');
    expect(err).toContain('services.s.port: ');
    expect((await runCli(['apply', '-f', bad])).code).toBe(2);
  });

  it('is applied, read back, and compared', async () => {
    const { run, store, keys } = await rig();
    const all = await file('all.yaml', stringify(CLUSTER_DOCUMENT));
    const first = await run(`apply -f ${all}`);
    expect(first.code).toBe(0);
    expect(first.err).not.toContain('shrink');
    expect(first.out).toContain('cluster document applied');
    const back = await run('get -o json');
    expect(JSON.parse(back.out)).toEqual(CLUSTER_DOCUMENT);
    expect((await run('get')).out).toMatch(/^# revision \d+, applied by local at .*\napiVersion: /);
    const less = await file('less.yaml', without('smtp'));
    const diff = await run(`diff -f ${less}`);
    expect(diff.out).toContain('- services.smtp: {"group":"mail"');
    expect((await run(`diff -f ${all}`)).out).toContain('no differences');
    expect((await run(`apply -f ${all}`)).out).toContain('nothing to do: ');
    expect((await run(`apply -f ${less} --dry-run`)).out).toContain('dry run: ');
    expect(store.peek(keys.spec)).toMatchObject({ document: CLUSTER_DOCUMENT });
  });

  it('is not applied without --confirm-shrink where much would go', async () => {
    const started = await rig();
    applyDocument(started);
    const less = await file('little.yaml', without('smtp', 'web-http'));
    const refused = await started.run(`apply -f ${less}`);
    expect(refused.code).toBe(3);
    expect(refused.err).toContain('  - virtual service smtp\n');
    expect(refused.err).toContain('--confirm-shrink');
    expect((await started.run(`apply -f ${less} --confirm-shrink`)).code).toBe(0);
  });

  it('is applied only after a yes on a terminal', async () => {
    const started = await rig();
    const all = await file('ask.yaml', stringify(CLUSTER_DOCUMENT));
    const no = await started.run(`apply -f ${all}`, { ask: async () => 'n' });
    expect(no.out).toContain('nothing was applied');
    expect(no.code).toBe(3);
    expect(started.store.txns).toEqual([]);
    await started.run(`apply -f ${all}`, { ask: async () => 'y' });
    expect(started.store.txns).toHaveLength(1);
  });

  it('is compared with warnings about drains that outlived their director', async () => {
    const started = await rig();
    const drain = { v: 1, by: 'bob', reason: 'old', at: '' };
    started.store.put(started.keys.drain(directorId('d9')), drain);
    const all = await file('leftovers.yaml', stringify({ ...CLUSTER_DOCUMENT, checkers: 99 }));
    for (const command of ['diff', 'apply']) {
      const { err } = await started.run(`${command} -f ${all}`);
      expect(err.match(/director d9/g)).toHaveLength(1);
      expect(err.match(/checkers/g)).toHaveLength(1);
    }
    expect((await started.run('director undrain d9 --reason gone')).code).toBe(0);
  });

  it('gives exit code 3 when somebody else was faster', async () => {
    const started = await rig();
    applyDocument(started);
    const less = await file('race.yaml', without('smtp'));
    const ask = async (): Promise<string> => {
      applyDocument(started, { ...CLUSTER_DOCUMENT, isolation: 'release' });
      return 'y';
    };
    const { code, err } = await started.run(`apply -f ${less}`, { ask });
    expect(code).toBe(3);
    expect(err).toContain('read it again');
  });
});

describe('directors and real servers', () => {
  it('drains with a reason, dry first', async () => {
    const { run, store, keys } = await rig();
    expect((await run("director drain d2 --reason 'kernel update' --dry-run")).out).toBe(
      'dry run: drain d2\n',
    );
    expect(store.txns).toEqual([]);
    expect((await run("director drain d2 --reason 'kernel update'")).code).toBe(0);
    expect(store.peek(keys.drain(directorId('d2')))).toMatchObject({ reason: 'kernel update' });
    expect((await run('director undrain d2 --reason done')).out).toBe('undrain d2\n');
    expect((await run('director undrain d2 --reason done')).out).toContain('nothing to do');
    expect(await run('director drain d9 --reason x')).toMatchObject({
      code: 2,
      err: 'there is no director "d9"; known: d1, d2\n',
    });
  });

  it('lists directors', async () => {
    const { run } = await rig();
    await expect((await run('director list')).out).toMatchFileSnapshot('screens/directors.txt');
  });

  it('overrides a real server by service and address', async () => {
    const { run } = await rig();
    expect((await run('rs drain web-http/10.90.0.21 --reason x')).out).toBe(
      'web-http/10.90.0.21:80: drain\n',
    );
    expect((await run('rs maint [fd90::21]:80 --service web6-http --reason x')).out).toBe(
      'web6-http/[fd90::21]:80: maint\n',
    );
    expect((await run('rs weight web-http/10.90.0.21:80 7 --reason x')).out).toBe(
      'web-http/10.90.0.21:80: weight 7\n',
    );
    expect((await run('rs ready web-http/10.90.0.21:80 --reason x')).code).toBe(0);
    expect((await run('rs weight web-http/10.90.0.21:80 default --reason x')).code).toBe(0);
    for (const words of ['weight web-http/10.90.0.21 heavy', 'drain 10.90.0.21'])
      expect((await run(`rs ${words} --reason x`)).code).toBe(2);
  });

  it('prints warnings beside the result', async () => {
    const { run } = await rig();
    const { out, err } = await run('rs drain web-http/10.90.0.21 --reason x');
    expect(out).not.toContain('warning');
    expect(err).toMatch(/^warning: no other real server of "web-http"/);
  });
});

describe('switchover', () => {
  it('waits for the end and shows the steps', async () => {
    const { run, view, store, keys } = await rig();
    const onSleep = (): void => {
      const [key] = store.keys().filter((name) => name.includes('/operation/'));
      const parsed = key === undefined ? null : keys.parse(key);
      if (parsed?.kind !== 'operation') throw new Error('no operation was stored');
      view.operationList = [
        createOperation(parsed.id, { state: 'succeeded', result: 'd2 holds web' }),
      ];
    };
    const { code, out } = await run('switchover web --to d2 --reason test', { onSleep });
    expect(code).toBe(0);
    expect(out).toContain('switchover of web from d1 to d2\n');
    expect(out).toContain('d1 released web');
    expect(out).toMatch(/succeeded: d2 holds web\n$/);
  });

  it('gives 4 at the time limit, 0 without a wait, 3 when refused', async () => {
    const { run } = await rig();
    const other = await rig();
    expect((await other.run('switchover web --reason x --wait 2s')).code).toBe(4);
    expect((await other.run('switchover web --reason x --wait 2s')).code).toBe(3);
    expect((await run('switchover web --reason x --dry-run')).out).toContain('dry run');
    expect((await run('switchover web --reason x --wait 0s')).code).toBe(0);
    expect((await run('switchover web --reason x --from d2')).code).toBe(3);
    expect((await run('switchover web --reason x --wait soon')).code).toBe(2);
    expect((await run('switchover nope --reason x')).code).toBe(2);
  });

  it('asks again when a look fails, until the end or the time limit', async () => {
    const { run, view, store } = await rig();
    const onSleep = (): void => {
      const [key] = store.keys().filter((name) => name.includes('/operation/'));
      store.isDown = !store.isDown;
      if (!store.isDown && key !== undefined)
        view.operationList = [
          createOperation(key.slice(key.lastIndexOf('/') + 1), { state: 'succeeded' }),
        ];
    };
    expect((await run('switchover web --to d2 --reason x', { onSleep })).code).toBe(0);
    const other = await rig();
    const cut = (): void => {
      other.store.isDown = true;
    };
    const { code, err } = await other.run('switchover web --reason x --wait 2s', { onSleep: cut });
    expect(code).toBe(4);
    expect(err).toContain('no director answers');
  });

  it('gives 3 for one that failed, and says why among the errors as well', async () => {
    const { run, view, store, keys } = await rig();
    const onSleep = (): void => {
      for (const key of store.keys()) {
        const parsed = keys.parse(key);
        if (parsed?.kind === 'operation')
          view.operationList = [createOperation(parsed.id, { state: 'failed', result: 'd2 died' })];
      }
    };
    const { code, out, err } = await run('switchover web --reason x', { onSleep });
    expect(code).toBe(3);
    expect(out).toContain('failed: d2 died');
    expect(err).toMatch(/^operation \S+ failed: d2 died\n$/);
  });
});

describe('events', () => {
  it('shows the newest', async () => {
    const { run, view } = await rig();
    for (const n of [1, 2, 3]) view.emit(createEvent(n, n === 3 ? { by: 'alice' } : {}));
    const { out } = await run('events -n 2');
    expect(out).toBe(
      [
        '2026-01-01T00:00:02.000Z  info   d1  holder.gained  d1 holds web  (reason: vacant)',
        '2026-01-01T00:00:03.000Z  info   d1  holder.gained  d1 holds web  (reason: vacant, by alice)',
        '',
      ].join('\n'),
    );
    expect((await run('events -n many')).code).toBe(2);
  });

  it('follows new ones until interrupted', async () => {
    const { run, view } = await rig();
    view.emit(createEvent(1));
    const controller = new AbortController();
    const seen: string[] = [];
    const stdout = (text: string): void => {
      seen.push(text);
      if (seen.length === 3) controller.abort();
    };
    const following = run('events -f', { signal: controller.signal, stdout });
    await expect.poll(() => view.watcherCount).toBe(1);
    view.emit(createEvent(2, { message: 'second' }));
    view.emit(createEvent(3, { message: 'third' }));
    expect((await following).code).toBe(0);
    expect(seen.map((line) => line.includes('second'))).toEqual([false, true, false]);
    await expect.poll(() => view.watcherCount).toBe(0);
  });
});

describe('directors that do not answer', () => {
  /** A port where nothing listens. */
  const freePort = async (): Promise<number> =>
    await new Promise((resolve) => {
      const server = createServer().listen(0, '127.0.0.1', () => {
        const address = server.address();
        server.close(() => resolve(typeof address === 'object' && address ? address.port : 0));
      });
    });

  it('are skipped for the next one', async () => {
    const { url } = await rig();
    const dead = `http://127.0.0.1:${await freePort()}`;
    expect((await runCli(['status', '--api', `${dead},${url}`])).code).toBe(1);
    const { code, err } = await runCli(['status', '--api', dead]);
    expect(code).toBe(5);
    expect(err).toContain('connection refused');
    expect(err).toContain('--api URL');
  });

  it.each(['', ' , '])('are bad input where there is none: "%s"', async (none) => {
    const { code, err } = await runCli(['status', '--api', none]);
    expect(code).toBe(2);
    expect(err).toContain(`"${none}" is no URL of an API`);
  });

  it('are skipped for a write too, when the request never left or the store is away', async () => {
    const [cut, good] = [await rig(), await rig()];
    cut.store.isDown = true;
    const dead = `http://127.0.0.1:${await freePort()}`;
    const api = `${dead},${cut.url},${good.url}`;
    const drain = ['director', 'drain', 'd2', '--reason', 'x', '--api', api];
    expect((await runCli(drain)).code).toBe(0);
    expect(good.store.txns).toHaveLength(1);
    expect((await cut.run('director drain d2 --reason x')).code).toBe(5);
  });

  it('leave a guarded write in doubt, and that is said', async () => {
    const good = await rig();
    applyDocument(good);
    // The diff gets through; the connection of the write breaks after it was sent.
    const less = await file('doubt.yaml', without('smtp'));
    good.api.app.server.on('request', (request) => {
      if (request.method === 'PUT') request.socket.destroy();
    });
    const { code, err } = await good.run(`apply -f ${less}`);
    expect(code).toBe(5);
    expect(err).toContain('may have been carried out');
  });

  it('can be interrupted, and time out, when they hang', async () => {
    const hanging = createServer((socket) => socket.resume());
    await new Promise<void>((resolve) => hanging.listen(0, '127.0.0.1', resolve));
    const address = hanging.address();
    const port = typeof address === 'object' && address ? address.port : 0;
    const api = ['--api', `http://127.0.0.1:${port}`];
    const controller = new AbortController();
    const asking = runCli(['director', 'drain', 'd2', '--reason', 'x', ...api], {
      signal: controller.signal,
    });
    hanging.once('connection', (socket) => socket.once('data', () => controller.abort()));
    const screen = await asking;
    expect(screen.code).toBe(5);
    expect(screen.err).toMatch(/^interrupted; the request may have been carried out/);
    const slow = await runCli(['status', '--timeout', '50ms', ...api]);
    expect(slow.code).toBe(5);
    expect(slow.err).toContain('no answer in 50 ms');
    await new Promise((resolve) => hanging.close(resolve));
  });

  it('say when they speak something else', async () => {
    const server = createServer((socket) => {
      socket
        .resume()
        .end('HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 2\r\n\r\nhi');
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    const port = typeof address === 'object' && address ? address.port : 0;
    const { code, err } = await runCli(['status', '--api', `http://127.0.0.1:${port}`]);
    await new Promise((resolve) => server.close(resolve));
    expect(code).toBe(5);
    expect(err).toContain('this is no leasehold API');
  });

  it('say so of a list, too, and the next one is asked', async () => {
    const server = createServer((socket) => {
      socket
        .resume()
        .end('HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/html\r\ncontent-length: 2\r\n\r\nhi');
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    const port = typeof address === 'object' && address ? address.port : 0;
    const { run, url } = await rig();
    const proxy = `http://127.0.0.1:${port}`;
    const alone = await runCli(['ipvs', 'list', '--api', proxy]);
    expect(alone.code).toBe(5);
    expect(alone.err).toContain('this is no leasehold API (HTTP 502, text/html)');
    const both = await runCli(['ipvs', 'list', '--api', `${proxy},${url}`]);
    await new Promise((resolve) => server.close(resolve));
    expect(both).toEqual(await run('ipvs list'));
  });

  it('are waited for as long as a timer can', async () => {
    const { run } = await rig();
    expect((await run('status --timeout 2000h')).code).toBe(1);
  });

  it('deny without a token', async () => {
    const tokens = [{ name: 'alice', role: 'viewer', token: 'secret' }] as const;
    const { run } = await rig({ tokens });
    expect(await run('status')).toMatchObject({ code: 6 });
    expect((await run('status --token secret')).code).toBe(1);
    const tokenFile = await file('token', 'secret\n');
    const environment = { ...NO_ENVIRONMENT, tokenFile };
    expect((await run('status', { environment })).code).toBe(1);
    expect(await run('director drain d2 --reason x --token secret')).toMatchObject({
      code: 6,
      err: 'token "alice" has the role viewer; this needs operator\n',
    });
  });
});

describe('TLS', () => {
  it('is spoken with an authority of one’s own, and refused without', async () => {
    const { certificate, privateKey } = makeTestKeys();
    const tls = { cert: certificate, key: privateKey };
    const tokens = [{ name: 'alice', role: 'operator', token: 'secret' }] as const;
    const { run, url } = await rig({ tls, tokens, listen: { host: '0.0.0.0', port: 0 } });
    expect(url).toMatch(/^https:/);
    const cacert = await file('server.crt', certificate);
    expect((await run(`status --token secret --cacert ${cacert}`)).code).toBe(1);
    const { code, err } = await run('status --token secret');
    expect(code).toBe(5);
    expect(err).toContain('give its authority with --cacert FILE');
    const environment = { ...NO_ENVIRONMENT, caCert: cacert };
    expect((await run('rs drain web-http/10.90.0.21 --reason x', { environment })).code).toBe(6);
  });
});

describe('an answer of another version', () => {
  it('is refused in words', async () => {
    const { run, view } = await rig();
    Object.assign(view.statusDocument, { health: 'splendid', spec: { revision: revision(1) } });
    const { code, err } = await run('status');
    expect(code).toBe(5);
    expect(err).toContain('another version');
  });
});
