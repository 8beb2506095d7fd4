/** The prober's contract on the fake and on real targets on loopback, and what only sockets and threads show. */
import { execFileSync } from 'node:child_process';
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
import { createServer as createHttpServer } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { parseIp } from '../../src/model/address.ts';
import { ANY_ORIGIN, type CheckKind } from '../../src/model/check.ts';
import type { Check } from '../../src/model/cluster.ts';
import type { Observation } from '../../src/model/health.ts';
import { type Log, silentLog } from '../../src/ports/log.ts';
import { checkId } from '../../src/model/ids.ts';
import type { Prober } from '../../src/ports/prober.ts';
import { monotonicMs } from '../support/processes.ts';
import { FakeClock } from '../fakes/fake-clock.ts';
import { FakeProber, type FakeTarget } from '../fakes/fake-prober.ts';
import { SeededRandom } from '../fakes/seeded-random.ts';
import { type Behaviour, checkOf, collect, LOOPBACK, proberContract } from './prober.contract.ts';
import { openProber, Targets } from './support/probe-targets.ts';

/** What comes, comes soon; but the machine may be busy. */
const PATIENT = { timeout: 30_000, interval: 20 } as const;

const FAKE_TARGETS: Readonly<Record<Behaviour, FakeTarget>> = {
  answers: { kind: 'up', detail: 'HTTP status 200', latencyMs: 1 },
  refuses: { kind: 'down', detail: 'connection refused', latencyMs: 1 },
  'wrong-status': { kind: 'down', detail: 'HTTP status 503, wanted 200', latencyMs: 1 },
  hangs: { kind: 'hang' },
};

proberContract('fake', async () => {
  const clock = new FakeClock();
  const behaviours: Behaviour[] = [];
  return {
    prober: new FakeProber(
      { target: (check) => FAKE_TARGETS[behaviours[check.port] ?? 'refuses'] },
      { clock, random: new SeededRandom(7) },
    ),
    target: async (behaviour) => behaviours.push(behaviour) - 1,
    advance: (ms) => clock.advance(ms),
    until: async (isSo) => {
      for (let passedMs = 0; !isSo(); passedMs += 10) {
        if (passedMs > 60_000) expect.fail('it does not come');
        await clock.advance(10);
      }
    },
    close: async () => {},
  };
});

proberContract('worker threads on loopback', async () => {
  const targets = new Targets();
  const prober = openProber();
  await warmUp(prober, targets);
  return {
    prober,
    target: (behaviour) => targets.behaving(behaviour),
    advance: (ms) => sleep(ms),
    until: (isSo) => expect.poll(isSo, PATIENT).toBe(true),
    close: () => targets.close(),
  };
});

/**
 * The threads are there, and have loaded what they need: on a busy machine that takes long. Nothing is under way then,
 * and no connection is left.
 */
async function warmUp(prober: Prober, targets: Targets): Promise<void> {
  const end = new AbortController();
  const seen = collect(prober, end.signal);
  const port = await targets.behaving('answers');
  const once = { intervalMs: 3_600_000 };
  const checks = [checkOf(port, {}, once), checkOf(port, { kind: 'tcp' }, once)];
  prober.setChecks(checks);
  for (const { id } of checks) prober.probeSoon(id);
  const isDone = (): boolean => new Set(seen.map(({ check }) => check)).size === checks.length;
  await expect.poll(isDone, PATIENT).toBe(true);
  await expect.poll(() => targets.sockets.size, PATIENT).toBe(0);
  prober.setChecks([]);
  end.abort();
}

describe('real probes', () => {
  let targets: Targets;
  let prober: Prober;
  let seen: Observation[];
  let end: AbortController;
  beforeEach(async () => {
    end = new AbortController();
    targets = new Targets();
    prober = openProber();
    await warmUp(prober, targets);
    seen = collect(prober, end.signal);
  });
  afterEach(async () => {
    end.abort();
    await prober.close();
    await targets.close();
  });
  const of = (check: Check): Observation[] => seen.filter((each) => each.check === check.id);
  /** Probes each once at once and gives the details, in order. */
  const details = async (checks: readonly Check[]): Promise<string[]> => {
    prober.setChecks(checks);
    for (const check of checks) prober.probeSoon(check.id);
    const isDone = (): boolean => checks.every((check) => of(check).length > 0);
    await expect.poll(isDone, PATIENT).toBe(true);
    return checks.map((check) => `${of(check)[0]?.isUp ? 'up' : 'down'}: ${of(check)[0]?.detail}`);
  };
  const once = { intervalMs: 60_000, timeoutMs: 10_000 };

  test('a target that drips is cut at the total deadline, in its header as in its body', async () => {
    const drip = (text: string) => (socket: Socket) => {
      socket.write(text);
      const timer = setInterval(() => socket.write('x'), 50);
      socket.on('close', () => clearInterval(timer));
    };
    const slow = { intervalMs: 60_000, timeoutMs: 800 };
    const header = checkOf(await targets.tcp(drip('HTTP/1.1 200 OK\r\nx-slow: ')), {}, slow);
    const body = checkOf(
      await targets.tcp(drip('HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n')),
      {},
      slow,
    );
    expect(await details([header, body])).toEqual([
      expect.stringMatching(/^down: the HTTP header was not complete \(\d+ bytes\) within 800 ms$/),
      expect.stringMatching(
        /^down: HTTP status 200, but the body was not complete \(\d+ bytes\) within 800 ms$/,
      ),
    ]);
    // Half of its time more, at most, where the machine was busy; a body at this pace takes minutes.
    for (const check of [header, body]) expect(of(check)[0]?.latencyMs).toBeLessThan(2_000);
  });

  test('why this machine cannot make a check is known until it can', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'leasehold-prober-'));
    const path = join(directory, 'later');
    const kind = { kind: 'script', command: [path], user: null, isDynamic: false } as const;
    const plain = (): Check => checkOf(80, { kind: 'tcp' }, once);
    const { spec, ...rest } = plain();
    const script: Check = { ...rest, spec: { ...spec, ...kind } };
    const nowhere = parseIp('192.0.2.77');
    if (!nowhere.ok) throw new Error(nowhere.error);
    const origin = { ...ANY_ORIGIN, source: nowhere.value };
    const base = plain();
    const tcp: Check = { ...base, spec: { ...base.spec, origin } };
    prober.setChecks([script, tcp]);
    for (const { id } of [script, tcp]) prober.probeSoon(id);
    const problems = (): (string | null | undefined)[] =>
      [script, tcp].map(({ id }) => prober.problemOf?.(id));
    await expect
      .poll(problems, PATIENT)
      .toEqual([
        `${path} does not exist, or the interpreter in its first line does not`,
        expect.stringMatching(/192\.0\.2\.77|source address/),
      ]);
    writeFileSync(path, '#!/bin/sh\nexit 0\n');
    chmodSync(path, 0o755);
    prober.probeSoon(script.id);
    await expect.poll(() => problems()[0], PATIENT).toBeNull();
    expect(of(script).at(-1)).toMatchObject({ isUp: true });
    prober.setChecks([]);
    expect(problems()).toEqual([null, null]);
    rmSync(directory, { recursive: true });
  });

  test('resets, early ends, nonsense and wrong status are told apart', async () => {
    const answer = (text: string) => (socket: Socket) => {
      socket.once('data', () => socket.end(text));
    };
    const checks = [
      checkOf(
        await targets.tcp((socket) => socket.once('data', () => socket.resetAndDestroy())),
        {},
        once,
      ),
      checkOf(await targets.tcp(answer('')), {}, once),
      checkOf(await targets.tcp(answer('SSH-2.0-OpenSSH\r\n')), {}, once),
      checkOf(
        await targets.tcp(answer('HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc')),
        {},
        once,
      ),
      checkOf(
        await targets.http(404),
        {
          status: [
            [200, 299],
            [301, 301],
          ],
        },
        once,
      ),
      checkOf(await targets.http(204), { status: [[200, 299]] }, once),
    ];
    expect(await details(checks)).toEqual([
      'down: connection reset',
      'down: connection closed without an answer',
      'down: not an HTTP answer: "SSH-2.0-OpenSSH\\r\\n"',
      'down: connection closed after 3 of 9 bytes of the body',
      'down: HTTP status 404, wanted 200-299, 301',
      'up: HTTP status 204',
    ]);
  });

  test('a TCP check ends its connection by reset', async () => {
    const codes: string[] = [];
    const port = await targets.tcp((socket) =>
      socket.on('error', (error: NodeJS.ErrnoException) => codes.push(error.code ?? '')),
    );
    expect(await details([checkOf(port, { kind: 'tcp' }, once)])).toEqual(['up: connected']);
    await expect.poll(() => codes, PATIENT).toEqual(['ECONNRESET']);
  });

  test('no descriptor stays open after a probe, however it ended', async () => {
    const sockets = (): number =>
      readdirSync('/proc/self/fd').filter((fd) => {
        try {
          return readlinkSync(`/proc/self/fd/${fd}`).startsWith('socket:');
        } catch {
          return false; // The descriptor of this very listing.
        }
      }).length;
    const answers = await targets.http(200);
    const ends = await targets.tcp((socket) => socket.once('data', () => socket.end('HTTP/1.1 ')));
    const hangs = await targets.tcp();
    const closed = targets.refusing();
    const before = sockets();
    const [often, impatient] = [{ intervalMs: 100 }, { intervalMs: 100, timeoutMs: 200 }];
    const checks = [
      checkOf(answers, {}, often),
      checkOf(answers, { kind: 'tcp' }, often),
      checkOf(answers, { kind: 'https' }, often),
      checkOf(answers, { status: [[404, 404]] }, often),
      checkOf(closed, {}, often),
      checkOf(ends, {}, often),
      checkOf(hangs, {}, impatient),
      checkOf(hangs, { kind: 'https' }, impatient),
    ];
    prober.setChecks(checks);
    const isDone = (): boolean => checks.every((check) => of(check).length > 2);
    await expect.poll(isDone, PATIENT).toBe(true);
    prober.setChecks([]);
    // The targets live in this process as well: their ends go with ours.
    // The thread of plain connects keeps the socket of one that ended well, and closes that of one that is taken back.
    await expect.poll(() => Math.abs(sockets() - before), PATIENT).toBeLessThanOrEqual(1);
  });

  test('a body is read to its end, but only up to a bound', async () => {
    let sent = 0;
    const port = await targets.serve(
      createHttpServer((_request, response) => {
        const chunk = Buffer.alloc(16_384);
        const pump = (): void => {
          while (response.writable && sent < 1e9) {
            sent += chunk.length;
            if (!response.write(chunk)) {
              response.once('drain', pump);
              return;
            }
          }
        };
        pump();
      }),
    );
    expect(await details([checkOf(port, {}, once)])).toEqual(['up: HTTP status 200']);
    expect(sent).toBeLessThan(50_000_000);
  });

  test('the request carries method, path and Host, and closes', async () => {
    const requests: string[] = [];
    const port = await targets.serve(
      createHttpServer((request, response) => {
        const { host, connection } = request.headers;
        requests.push(`${request.method} ${request.url} ${host} ${connection}`);
        response.end();
      }),
    );
    await details([
      checkOf(port, { method: 'HEAD', path: '/live?x=1', host: 'www.example.org' }, once),
      checkOf(port, {}, once),
    ]);
    expect(requests.toSorted()).toEqual([
      `GET / 127.0.0.1:${port} close`,
      'HEAD /live?x=1 www.example.org close',
    ]);
  });

  test('every kind runs in the threads, and weights come across', async () => {
    const timing = { ...once, rise: 1, fall: 1, port: null };
    const directory = mkdtempSync(join(tmpdir(), 'leasehold-prober-'));
    writeFileSync(join(directory, 'number'), '3');
    const greets = await targets.tcp((socket) => {
      socket.write('220 mx\r\n');
      socket.on('data', (bytes) =>
        socket.write(bytes.toString().startsWith('HELO') ? '250 hi\r\n' : '221 bye\r\n'),
      );
    });
    const closed = targets.refusing();
    const kinds: readonly (readonly [CheckKind, number])[] = [
      [{ kind: 'icmp', size: 56 }, 0],
      [{ kind: 'tcp' }, greets],
      [{ kind: 'tcp', expect: { kind: 'bytes', hex: '323230' } }, greets],
      [{ kind: 'smtp', helo: 'x', security: 'none', tls: null }, greets],
      [
        { kind: 'udp', payload: '70', requireReply: true, reply: null, minLength: 0, maxLength: 9 },
        closed,
      ],
      [{ kind: 'script', command: ['/bin/sh', '-c', 'exit 42'], user: null, isDynamic: true }, 0],
      [{ kind: 'file', path: join(directory, 'number'), factor: 2 }, 0],
      [{ kind: 'tcp' }, closed],
    ];
    const checks = kinds.map(
      ([kind, port], n): Check => ({
        id: checkId(`kind-${n}`),
        address: LOOPBACK,
        port,
        spec: { ...kind, ...timing },
      }),
    );
    try {
      expect(await details(checks)).toEqual([
        'up: echo reply',
        'up: connected',
        'up: expected answer',
        'up: SMTP welcome',
        'down: connection refused',
        'up: exit code 42',
        `up: ${join(directory, 'number')} holds 3`,
        'down: connection refused',
      ]);
      const said = checks.map((check) => [
        of(check)[0]?.reason ?? null,
        of(check)[0]?.weight ?? null,
      ]);
      expect(said.slice(4)).toEqual([
        ['refused', null],
        [null, { kind: 'set', weight: 40 }],
        [null, { kind: 'add', by: 6 }],
        ['refused', null],
      ]);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });

  test('programs end with the prober, those that will not too', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'leasehold-prober-'));
    const mark = join(directory, 'pid');
    const stubborn = `trap "" TERM; echo $$ > ${mark}; while :; do sleep 0.1; done`;
    const check: Check = {
      id: checkId('stubborn'),
      address: LOOPBACK,
      port: 0,
      spec: {
        kind: 'script',
        command: ['/bin/sh', '-c', stubborn],
        user: null,
        isDynamic: false,
        intervalMs: 60_000,
        timeoutMs: 60_000,
        rise: 1,
        fall: 1,
        port: null,
      },
    };
    const pid = (): number => (existsSync(mark) ? Number(readFileSync(mark, 'utf8')) : 0);
    try {
      prober.setChecks([check]);
      prober.probeSoon(check.id);
      await expect.poll(pid, PATIENT).toBeGreaterThan(0);
      await prober.close();
      await expect.poll(() => existsSync(`/proc/${pid()}`), PATIENT).toBe(false);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });

  test('1,000 hanging targets do not delay the others', async () => {
    // Half of its slots are for them: fewer than they would take.
    const own = openProber({ workers: 1, maxConcurrent: 512 });
    try {
      const heard = collect(own, end.signal);
      const good = await targets.http(200);
      const hanging = await targets.tcp();
      const timing = { intervalMs: 1_000, timeoutMs: 900 };
      const healthy = Array.from({ length: 20 }, () => checkOf(good));
      const hung = Array.from({ length: 1_000 }, () => checkOf(hanging, {}, timing));
      own.setChecks([...hung, ...healthy]);
      // Who hangs is known by then.
      const known = (): number => new Set(heard.map(({ check }) => check)).size;
      await expect.poll(known, PATIENT).toBe(healthy.length + hung.length);
      const [from, startedAt] = [heard.length, monotonicMs()];
      const late = (check: Check): Observation[] =>
        heard.slice(from).filter((each) => each.check === check.id);
      const isDone = (): boolean => healthy.every((check) => late(check).length >= 12);
      await expect.poll(isDone, { ...PATIENT, interval: 100 }).toBe(true);
      // Two and a half seconds of rhythm. Where they have to queue with the others it takes ten.
      expect(monotonicMs() - startedAt).toBeLessThan(6_000);
      expect(healthy.flatMap(late).filter((each) => !each.isUp)).toEqual([]);
      const cut = heard.slice(from).filter((each) => each.detail === 'no answer within 900 ms');
      expect(cut.length).toBeGreaterThan(200);
    } finally {
      await own.close();
    }
  });
});

describe('real TLS probes', () => {
  const directory = mkdtempSync(join(tmpdir(), 'leasehold-prober-'));
  const targets = new Targets();
  let prober: Prober;
  let tlsPort: number;
  const names: (string | false)[] = [];
  beforeAll(async () => {
    const [key, cert] = [join(directory, 'key.pem'), join(directory, 'cert.pem')];
    const openssl = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256'];
    const subject = ['-subj', '/CN=www.example.org', '-days', '2', '-nodes'];
    execFileSync('openssl', [...openssl, ...subject, '-keyout', key, '-out', cert], {
      stdio: 'pipe',
    });
    const server = createHttpsServer(
      { key: readFileSync(key), cert: readFileSync(cert) },
      (request, response) => {
        if (request.url === '/drop') request.socket.destroy();
        else response.writeHead(request.url === '/error' ? 500 : 200);
        if (request.url !== '/drop') response.end(Buffer.alloc(request.url === '/' ? 2 : 200_000));
      },
    );
    server.on('secureConnection', (socket) => {
      names.push(socket.servername ?? false);
      socket.on('error', () => {}); // Probes end by reset.
    });
    tlsPort = await targets.serve(server);
    prober = openProber();
  });
  afterAll(async () => {
    await prober.close();
    await targets.close();
    rmSync(directory, { recursive: true });
  });

  test('verification is per check, names go out by SNI, and plain servers are recognized', async () => {
    const end = new AbortController();
    const seen = collect(prober, end.signal);
    const once = { intervalMs: 60_000, timeoutMs: 10_000 };
    const checks = [
      checkOf(tlsPort, { kind: 'https' }, once),
      checkOf(tlsPort, { kind: 'https', host: 'www.example.org' }, once),
      checkOf(tlsPort, { kind: 'https', host: 'www.example.org', verify: true }, once),
      checkOf(await targets.http(200), { kind: 'https' }, once),
      checkOf(await targets.tcp(), { kind: 'https' }, { intervalMs: 60_000, timeoutMs: 1_000 }),
    ];
    prober.setChecks(checks);
    for (const check of checks) prober.probeSoon(check.id);
    const isDone = (): boolean =>
      checks.every((check) => seen.some((each) => each.check === check.id));
    await expect.poll(isDone, PATIENT).toBe(true);
    end.abort();
    expect(checks.map((check) => seen.find((each) => each.check === check.id)?.detail)).toEqual([
      'HTTP status 200',
      'HTTP status 200',
      'certificate: self-signed',
      'not a TLS server',
      'connected, but no end of the TLS handshake within 1000 ms',
    ]);
    expect(names).toContain('www.example.org');
    expect(names).toContain(false);
  });

  test('servers that drop TLS connections, answer with errors or hang leave the others alone', async () => {
    const crashes: string[] = [];
    const log: Log = { ...silentLog, error: (_fields, event) => crashes.push(event) };
    const own = openProber({ workers: 1 }, log);
    const end = new AbortController();
    const seen = collect(own, end.signal);
    const [often, impatient] = [{ intervalMs: 100 }, { intervalMs: 100, timeoutMs: 90 }];
    const kinds = ['/', '/drop', '/big', '/error'].map(
      (path) => ({ kind: 'https', path }) as const,
    );
    const repeated = <T>(make: () => T): T[] => Array.from({ length: 5 }, make);
    const checks = kinds.map((kind) => repeated(() => checkOf(tlsPort, kind, often)));
    const hanging = await targets.tcp();
    const hung = repeated(() => checkOf(hanging, { kind: 'https' }, impatient));
    try {
      own.setChecks([...checks.flat(), ...hung]);
      const patient = { timeout: 45_000, interval: 20 };
      await expect.poll(() => seen.length, patient).toBeGreaterThan(600);
      // A busy machine may not listen for half of 90 ms, and says so.
      expect(crashes.filter((event) => event !== 'prober.starved')).toEqual([]);
      const wanted = [
        'HTTP status 200',
        'connection closed without an answer',
        'HTTP status 200',
        'HTTP status 500, wanted 200',
      ];
      for (const [n, detail] of wanted.entries()) {
        const ids = new Set(checks[n]?.map((check) => check.id));
        const details = seen.filter((each) => ids.has(each.check)).map((each) => each.detail);
        expect(details.filter((each) => each === detail).length).toBeGreaterThan(10);
        expect(details.filter((each) => each !== detail)).toEqual([]);
      }
    } finally {
      end.abort();
      await own.close();
    }
  });
});
