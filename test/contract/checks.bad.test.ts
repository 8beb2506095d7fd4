/** Every kind of check against targets that behave badly, each in its own words, at its deadline, leaving nothing. */
import { createSocket } from 'node:dgram';
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer as createTlsServer } from 'node:tls';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createSystemClock } from '../../src/adapters/clock/system-clock.ts';
import type { Outcome } from '../../src/adapters/probes/probe.ts';
import { ProbeSockets } from '../../src/adapters/probes/probe-sockets.ts';
import { startStream, type Talk } from '../../src/adapters/probes/stream-probe.ts';
import { Trust } from '../../src/adapters/probes/trust.ts';
import { type IpAddress, parseIp } from '../../src/model/address.ts';
import { ANY_ORIGIN } from '../../src/model/check.ts';
import type { CheckKind, DnsCheck, SmtpCheck, UdpCheck } from '../../src/model/check.ts';
import type { Check } from '../../src/model/cluster.ts';
import { checkId } from '../../src/model/ids.ts';
import { type Certificate, type Certificates, makeCertificates } from '../support/certificates.ts';
import { http, https, OneProbe, openSockets, TLS } from './support/one-probe.ts';
import { LOOPBACK } from './prober.contract.ts';
import { Targets } from './support/probe-targets.ts';

const one = new OneProbe();
let targets: Targets;
let certificates: Certificates;
let before: number;

beforeAll(async () => {
  certificates = await makeCertificates();
  targets = new Targets();
  before = openSockets();
}, 60_000);
afterAll(async () => {
  await targets.close();
  certificates.close();
});

const drips = (text: string, everyMs: number) => (socket: Socket) => {
  let at = 0;
  const timer = setInterval(() => socket.write(text[at++ % text.length] ?? ''), everyMs);
  socket.on('close', () => clearInterval(timer));
  socket.resume();
};
const says = (text: string | Buffer) => (socket: Socket) => {
  socket.once('data', () => socket.end(text));
};
const hears = (act: (socket: Socket) => void) => (socket: Socket) => {
  socket.once('data', () => act(socket));
};
const tlsServer = async (certificate: Certificate, options: object = {}): Promise<number> => {
  const { cert, key } = certificate;
  const server = createHttpsServer({ cert, key, ...options }, (_, response) => response.end('ok'));
  server.on('tlsClientError', () => {});
  return targets.serve(server);
};

const tcp: CheckKind = { kind: 'tcp' };
const expects = (text: string): CheckKind => ({
  kind: 'tcp',
  send: Buffer.from('PING\r\n').toString('hex'),
  expect: { kind: 'bytes', hex: Buffer.from(text).toString('hex') },
});
const smtp: SmtpCheck = { kind: 'smtp', helo: 'probe.example', security: 'none', tls: null };
const dns: DnsCheck = {
  kind: 'dns',
  name: 'example.org',
  type: 'A',
  transport: 'tcp',
  recursion: true,
  rcodes: ['NOERROR'],
  answers: [],
  match: null,
};
const slow = { timeoutMs: 400 };
/** What comes, comes soon; but the machine may be busy. */
const PATIENT = { timeout: 20_000, interval: 20 } as const;

describe('TCP', () => {
  test('refuses, hangs, drips, resets, ends early, answers wrong, never stops', async () => {
    const refusing = targets.refusing();
    expect(await one.tell(tcp, { port: refusing })).toBe('refused: connection refused');
    expect(await one.tell(expects('+PONG'), { port: await targets.tcp(), ...slow })).toBe(
      'timeout-first-byte: no answer within 400 ms',
    );
    const dripping = await targets.tcp(drips('+PON ', 90));
    expect(await one.tell(expects('+PONG'), { port: dripping, ...slow })).toMatch(
      /^timeout-answer: answered "\+P[PON +]*", but not what is expected within 400 ms$/,
    );
    const resetting = await targets.tcp(hears((socket) => socket.resetAndDestroy()));
    expect(await one.tell(expects('+PONG'), { port: resetting })).toBe('reset: connection reset');
    expect(await one.tell(expects('+PONG'), { port: await targets.tcp(says('')) })).toBe(
      'closed-early: connection closed without an answer',
    );
    expect(await one.tell(expects('+PONG'), { port: await targets.tcp(says('-ERR\r\n')) })).toBe(
      'no-match: the answer is not what is expected: "-ERR\\r\\n"',
    );
    const endless = await targets.tcp(hears((socket) => socket.write(Buffer.alloc(200_000, 'x'))));
    expect(await one.tell(expects('+PONG'), { port: endless })).toBe(
      'too-large: not what is expected in the first 65536 bytes of the answer',
    );
    expect(await one.tell(expects('+PONG'), { port: await targets.tcp(says('+PONG\r\n')) })).toBe(
      'up: expected answer',
    );
  });

  test('an address that nobody routes, one that is not ours, a device that is not there', async () => {
    const away = { address: parse('fd90:dead::1'), port: 80, timeoutMs: 300 };
    expect(await one.tell(tcp, away)).toMatch(
      /^(unreachable: network unreachable|timeout-connect: )/,
    );
    const foreign = { origin: { source: parse('192.0.2.77') } };
    expect(await one.tell(tcp, { port: await targets.http(200), ...foreign })).toMatch(
      /^local: no source address or port left/,
    );
    const nowhere = { origin: { interface: 'lh-nowhere0' } };
    expect(await one.tell(tcp, { port: 80, ...nowhere })).toBe(
      'local: cannot use interface lh-nowhere0: there is no such device (ENODEV)',
    );
  });
});

describe('HTTP', () => {
  const ok = 'HTTP/1.1 200 OK\r\n';

  test.each<[string, (socket: Socket) => void, CheckKind, RegExp]>([
    ['hangs', (socket) => socket.resume(), http(), /^timeout-first-byte: no answer within 400 ms$/],
    [
      'drips its header',
      drips('HTTP/1.1 200 OK\r\nX: yyyyyyyyyyyyyyyyyyyy', 50),
      http(),
      /^timeout-answer: the HTTP header was not complete \(\d+ bytes\) within 400 ms$/,
    ],
    [
      'drips its body',
      hears((socket) => {
        socket.write(`${ok}Content-Length: 999\r\n\r\n`);
        drips('z', 50)(socket);
      }),
      http(),
      /^timeout-answer: HTTP status 200, but the body was not complete \(\d+ bytes\) within 400 ms$/,
    ],
    ['resets', hears((socket) => socket.resetAndDestroy()), http(), /^reset: connection reset$/],
    [
      'closes at once',
      (socket) => socket.end(),
      http(),
      /^closed-early: connection closed without an answer$/,
    ],
    [
      'closes in its header',
      says('HTTP/1.1 200'),
      http(),
      /^closed-early: connection closed within the HTTP header, after 12 bytes$/,
    ],
    [
      'closes in its body',
      says(`${ok}Content-Length: 10\r\n\r\nabc`),
      http(),
      /^closed-early: connection closed after 3 of 10 bytes of the body$/,
    ],
    [
      'speaks SSH',
      says('SSH-2.0-x\r\n'),
      http(),
      /^not-this-protocol: not an HTTP answer: "SSH-2\.0-x\\r\\n"$/,
    ],
    [
      'has a wrong length',
      says(`${ok}Content-Length: ten\r\n\r\n`),
      http(),
      /^wrong-length: Content-Length is no number: "ten"$/,
    ],
    [
      'has broken chunks',
      says(`${ok}Transfer-Encoding: chunked\r\n\r\nxyz\r\n`),
      http(),
      /^wrong-length: broken chunks/,
    ],
    [
      'has endless headers',
      says(Buffer.concat([Buffer.from(ok), Buffer.alloc(40_000, 'a')])),
      http(),
      /^too-large: HTTP headers longer than 32768 bytes$/,
    ],
    [
      'says 503',
      says('HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n'),
      http(),
      /^wrong-status: HTTP status 503, wanted 200-299$/,
    ],
    [
      'says 503 and hangs',
      hears((socket) => socket.write('HTTP/1.1 503 No\r\nContent-Length: 9\r\n\r\n')),
      http(),
      /^wrong-status: HTTP status 503/,
    ],
  ])('a server that %s', async (_, server, kind, wanted) => {
    expect(await one.tell(kind, { port: await targets.tcp(server), ...slow })).toMatch(wanted);
  });

  test('bodies that are not as expected', async () => {
    const port = await targets.http(200, 'hello world');
    const of = (request: object, fields: object = {}) => one.tell(http(request, fields), { port });
    const hex = (text: string) =>
      ({ kind: 'bytes', hex: Buffer.from(text).toString('hex') }) as const;
    expect(await of({ match: hex('world') })).toBe('up: HTTP status 200');
    expect(await of({ match: hex('moon') })).toBe(
      'no-match: the body (11 bytes) has not what is expected',
    );
    expect(await of({ noMatch: hex('hello') })).toBe(
      'unwanted-match: the body has what it must not have',
    );
    expect(await of({ match: { kind: 'pattern', source: '^HELLO.*D$', ignoreCase: true } })).toBe(
      'up: HTTP status 200',
    );
    const digest = { algorithm: 'md5', hex: '5eb63bbbe01eeed093cb22bb8f5acdc3' } as const;
    expect(await of({ digest })).toBe('up: HTTP status 200');
    expect(await of({ digest: { ...digest, hex: '0'.repeat(32) } })).toBe(
      `wrong-digest: md5 of the body is ${digest.hex}, wanted ${'0'.repeat(32)}`,
    );
    expect(await of({ digest }, { bodyMax: 5 })).toBe(
      'too-large: a body of more than 5 bytes: no digest is made of it',
    );
    expect(await of({ match: hex('world') }, { bodyMax: 5 })).toBe(
      'too-large: the first 5 bytes of the body have not what is expected',
    );
    const trap = {
      kind: 'pattern',
      source: '^(([a-z])+.)+[A-Z]([a-z])+$',
      ignoreCase: false,
    } as const;
    const evil = await targets.http(200, 'a'.repeat(60_000));
    const before = process.cpuUsage();
    expect(await one.run(http({ match: trap }), { port: evil })).toMatchObject({
      reason: 'no-match',
    });
    expect(process.cpuUsage(before).user).toBeLessThan(1_500_000);
  });

  test('a huge body is read up to its bound and no further', async () => {
    let sent = 0;
    const port = await targets.tcp(
      hears((socket) => {
        socket.write(`${ok}Content-Length: 9999999999\r\n\r\n`);
        const chunk = Buffer.alloc(65_536);
        const pump = (): void => {
          while (socket.writable && sent < 1e9) {
            sent += chunk.length;
            if (!socket.write(chunk)) return void socket.once('drain', pump);
          }
        };
        pump();
      }),
    );
    expect(await one.tell(http(), { port })).toBe('up: HTTP status 200');
    expect(sent).toBeLessThan(50_000_000);
  });

  test('several paths share one deadline, and the one that fails is named', async () => {
    const port = await targets.tcp((socket) =>
      socket.once('data', (bytes: Buffer) => {
        const isGood = bytes.toString().startsWith('GET /good ');
        if (isGood) socket.end(`${ok}Content-Length: 0\r\n\r\n`);
        else if (bytes.toString().startsWith('GET /bad ')) socket.end('HTTP/1.1 500 No\r\n\r\n');
      }),
    );
    const paths = (...list: string[]) =>
      http({}, { requests: list.map((path) => ({ ...http().requests[0], path })) as never });
    expect(await one.tell(paths('/good', '/good'), { port })).toBe(
      'up: 2 requests, the last: HTTP status 200',
    );
    expect(await one.tell(paths('/good', '/bad'), { port })).toBe(
      'wrong-status: /bad: HTTP status 500, wanted 200-299',
    );
    const seen = await one.run(paths('/good', '/hang', '/good'), { port, ...slow });
    expect(seen).toMatchObject({
      reason: 'timeout-first-byte',
      detail: '/hang: no answer within 400 ms',
    });
  });
});

describe('TLS', () => {
  test('certificates, good and bad', async () => {
    const { good, wrongName, expired, shortly, selfSigned, caFile, strangeCaFile } = certificates;
    const ca = caFile;
    const host = 'www.example.org';
    const of = async (certificate: Certificate, tls: object, request: object = {}) =>
      one.tell(https(tls, request), { port: await tlsServer(certificate) });
    expect(await of(good, { ca })).toBe('up: HTTP status 200');
    expect(await of(good, { ca, daysLeft: 60 }, { host })).toBe('up: HTTP status 200');
    expect(await of(good, { ca, name: 'ftp.example.org' })).toBe(
      'certificate-wrong-name: certificate: for another name',
    );
    expect(await of(good, {})).toBe(
      'certificate-unknown-authority: certificate: unknown authority',
    );
    expect(await of(good, { ca: strangeCaFile })).toBe(
      'certificate-unknown-authority: certificate: unknown authority',
    );
    const named = await tlsServer(good, {
      SNICallback: (name: string, done: (error: Error | null) => void) =>
        done(name === host ? null : new Error(`no ${name}`)),
    });
    expect(await one.tell(https({ ca }, { host: `${host}.` }), { port: named })).toBe(
      'up: HTTP status 200',
    );
    expect(await of(wrongName, { ca })).toBe(
      'certificate-wrong-name: certificate: for another name',
    );
    expect(await of(wrongName, { ca }, { host })).toBe(
      'certificate-wrong-name: certificate: for another name',
    );
    expect(await of(expired, { ca })).toBe('certificate-expired: certificate: expired');
    expect(await of(expired, { verify: false })).toBe('up: HTTP status 200');
    expect(await of(expired, { verify: false, daysLeft: 1 })).toMatch(
      /^certificate-expired: certificate: expired since \d{4}-\d\d-\d\d$/,
    );
    expect(await of(shortly, { ca, daysLeft: 14 })).toMatch(
      /^certificate-expires-soon: certificate: expires in 5 days \(\d{4}-\d\d-\d\d\), wanted at least 14$/,
    );
    expect(await of(shortly, { ca, daysLeft: 5 })).toBe('up: HTTP status 200');
    expect(await of(selfSigned, { ca })).toBe('certificate-self-signed: certificate: self-signed');
    expect(await of(good, { ca: '/nowhere/ca.pem' })).toMatch(
      /^local: cannot use \/nowhere\/ca\.pem: ENOENT/,
    );
  });

  test('servers that are no TLS servers, hang, drop, or want a certificate', async () => {
    const tls: CheckKind = { kind: 'tls', tls: { ...TLS, verify: false } };
    expect(await one.tell(tls, { port: await targets.http(200) })).toBe(
      'not-tls: not a TLS server',
    );
    expect(await one.tell(tls, { port: await targets.tcp(), ...slow })).toBe(
      'timeout-tls: connected, but no end of the TLS handshake within 400 ms',
    );
    expect(await one.tell(tls, { port: await targets.tcp(hears((socket) => socket.end())) })).toBe(
      'closed-early: connection closed within the TLS handshake',
    );
    expect(
      await one.tell(tls, { port: await targets.tcp(hears((socket) => socket.resetAndDestroy())) }),
    ).toBe('reset: connection reset');
    expect(await one.tell(tls, { port: await tlsServer(certificates.good) })).toMatch(
      /^up: connected, certificate until \d{4}-\d\d-\d\d$/,
    );
    const { caFile, client } = certificates;
    const options = {
      requestCert: true,
      rejectUnauthorized: true,
      ca: [certificates.good.cert, read(caFile)],
    };
    const port = await tlsServer(certificates.good, options);
    expect(await one.tell(https({ ca: caFile }), { port })).toMatch(
      /^(tls-failed: TLS: client certificate wanted|reset: )/,
    );
    const own = { ca: caFile, cert: client.certFile, key: client.keyFile };
    expect(await one.tell(https(own), { port })).toBe('up: HTTP status 200');
    const old = createTlsServer({
      cert: certificates.good.cert,
      key: certificates.good.key,
      maxVersion: 'TLSv1.1',
      minVersion: 'TLSv1',
      ciphers: 'ALL:@SECLEVEL=0',
    });
    old.on('tlsClientError', () => {});
    expect(await one.tell(tls, { port: await targets.serve(old) })).toMatch(
      /^tls-failed: no common TLS/,
    );
  });
});

describe('SMTP', () => {
  test.each<[string, (socket: Socket) => void, RegExp]>([
    [
      'greets nobody',
      (socket) => socket.resume(),
      /^timeout-first-byte: no greeting within 400 ms$/,
    ],
    [
      'is full',
      (socket) => socket.write('421 too busy\r\n'),
      /^wrong-status: SMTP greeting answered 421 too busy$/,
    ],
    [
      'speaks HTTP',
      (socket) => socket.write('HTTP/1.1 400 Bad\r\n'),
      /^not-this-protocol: not an SMTP answer: "HTTP/,
    ],
    [
      'hangs after its greeting',
      (socket) => socket.write('220 mx\r\n'),
      /^timeout-answer: no answer to HELO within 400 ms$/,
    ],
    [
      'knows no HELO',
      (socket) => {
        socket.write('220 mx\r\n');
        socket.once('data', () => socket.write('502 what?\r\n'));
      },
      /^wrong-status: SMTP HELO answered 502 what\?$/,
    ],
    [
      'ends before HELO is answered',
      (socket) => {
        socket.write('220 mx\r\n');
        socket.once('data', () => socket.end());
      },
      /^closed-early: connection closed instead of an answer to HELO$/,
    ],
    [
      'ends at once',
      (socket) => socket.end(),
      /^closed-early: connection closed without a greeting$/,
    ],
    [
      'drips',
      drips(`220 mx ${'is here '.repeat(50)}\r\n`, 90),
      /^timeout-answer: no greeting within 400 ms$/,
    ],
    [
      'never ends its line',
      (socket) => socket.write(`220 ${'x'.repeat(9_000)}`),
      /^too-large: not an SMTP answer: a line longer than 2048 bytes$/,
    ],
    [
      'hangs after QUIT',
      (socket) => {
        socket.write('220 mx\r\n');
        socket.once('data', () => socket.write('250 hi\r\n'));
      },
      /^timeout-answer: no answer to QUIT/,
    ],
    [
      'is gone after QUIT',
      (socket) => {
        socket.write('220 mx\r\n');
        socket.once('data', () => {
          socket.write('250 hi\r\n');
          socket.once('data', () => socket.end());
        });
      },
      /^up: SMTP welcome$/,
    ],
  ])('a server that %s', async (_, server, wanted) => {
    expect(await one.tell(smtp, { port: await targets.tcp(server), ...slow })).toMatch(wanted);
  });

  test('STARTTLS that is not offered, and one with something slipped in', async () => {
    const starttls: SmtpCheck = { ...smtp, security: 'starttls', tls: TLS };
    const talk =
      (...answers: string[]) =>
      (socket: Socket) => {
        socket.write('220 mx\r\n');
        socket.on('data', () => socket.write(answers.shift() ?? ''));
      };
    expect(
      await one.tell(starttls, { port: await targets.tcp(talk('250-mx\r\n250 SIZE\r\n')) }),
    ).toBe('tls-failed: the server does not offer STARTTLS');
    const injected = talk('250-mx\r\n250 STARTTLS\r\n', '220 go\r\n250 slipped in\r\n');
    expect(await one.tell(starttls, { port: await targets.tcp(injected) })).toBe(
      'not-this-protocol: more than one answer to STARTTLS',
    );
    const plain = talk('250-mx\r\n250 STARTTLS\r\n', '220 go\r\n', 'hello?');
    expect(await one.tell(starttls, { port: await targets.tcp(plain) })).toBe(
      'not-tls: not a TLS server',
    );
  });
});

describe('DNS and UDP', () => {
  const answering = async (
    act: (message: Buffer) => Buffer | null,
  ): Promise<{ port: number; close: () => Promise<void> }> => {
    const socket = createSocket('udp4');
    socket.on('message', (message, from) => {
      const answer = act(message);
      if (answer !== null) socket.send(answer, from.port, from.address);
    });
    await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve));
    return {
      port: (socket.address() as AddressInfo).port,
      close: () => new Promise((resolve) => socket.close(resolve)),
    };
  };
  const flip = (change: (answer: Buffer) => void) => (query: Buffer) => {
    const answer = Buffer.from(query);
    answer[2] = 0x81;
    answer[3] = 0x80;
    change(answer);
    return answer;
  };

  test.each<[string, (query: Buffer) => Buffer | null, RegExp]>([
    ['hangs', () => null, /^timeout-first-byte: no answer within 400 ms$/],
    [
      'fails',
      flip((answer) => {
        answer[3] = 0x82;
      }),
      /^wrong-status: DNS answer SERVFAIL, wanted NOERROR$/,
    ],
    [
      'answers another question',
      flip((answer) => {
        answer[0] = (answer[0] ?? 0) ^ 1;
      }),
      /^wrong-answer: an answer to another question, and none of its own within 400 ms$/,
    ],
    ['asks back', (query) => query, /^wrong-answer: an answer to another question/],
    [
      'speaks nonsense',
      () => Buffer.from('hello'),
      /^not-this-protocol: not a DNS answer: a message of 5 bytes$/,
    ],
    ['answers', flip(() => {}), /^up: DNS answer NOERROR, 0 records$/],
  ])('a name server that %s', async (_, act, wanted) => {
    const server = await answering(act);
    expect(await one.tell({ ...dns, transport: 'udp' }, { port: server.port, ...slow })).toMatch(
      wanted,
    );
    await server.close();
  });

  test('over TCP: hangs, ends early, drips', async () => {
    expect(await one.tell(dns, { port: await targets.tcp(), ...slow })).toBe(
      'timeout-first-byte: no answer within 400 ms',
    );
    expect(await one.tell(dns, { port: await targets.tcp(says(Buffer.from([0, 40, 1]))) })).toBe(
      'closed-early: connection closed after 3 of 42 bytes',
    );
    expect(
      await one.tell(dns, {
        port: await targets.tcp(hears((socket) => socket.write(Buffer.from([0, 40, 1])))),
        ...slow,
      }),
    ).toBe('timeout-answer: the DNS answer was not complete (3 bytes) within 400 ms');
    expect(await one.tell(dns, { port: targets.refusing() })).toBe('refused: connection refused');
  });

  const udp: UdpCheck = {
    kind: 'udp',
    payload: '70',
    requireReply: true,
    reply: null,
    minLength: 0,
    maxLength: 65_507,
  };

  test('replies that are wrong, missing or refused', async () => {
    const server = await answering((message) => Buffer.concat([message, Buffer.from([1, 2])]));
    const of = (fields: Partial<UdpCheck>) =>
      one.tell({ ...udp, ...fields }, { port: server.port, ...slow });
    expect(await of({})).toBe('up: a reply of 3 bytes');
    expect(await of({ reply: '70x102' })).toBe('up: a reply of 3 bytes');
    expect(await of({ reply: '7003' })).toBe(
      'no-match: the reply is not what is expected: "p\\x01\\x02"',
    );
    expect(await of({ minLength: 4 })).toBe('wrong-length: a reply of 3 bytes, wanted 4 to 65507');
    expect(await of({ maxLength: 2 })).toBe('wrong-length: a reply of 3 bytes, wanted 0 to 2');
    await server.close();
    const silent = await answering(() => null);
    expect(await one.tell(udp, { port: silent.port, ...slow })).toBe(
      'timeout-first-byte: no answer within 400 ms',
    );
    expect(await one.tell({ ...udp, requireReply: false }, { port: silent.port, ...slow })).toBe(
      'up: no ICMP error within 400 ms',
    );
    await silent.close();
    for (const requireReply of [true, false])
      expect(await one.tell({ ...udp, requireReply }, { port: silent.port, ...slow })).toBe(
        'refused: connection refused',
      );
  });
});

describe('programs and files', () => {
  const directory = mkdtempSync(join(tmpdir(), 'leasehold-check-'));
  afterAll(() => rmSync(directory, { recursive: true, force: true }));
  let scripts = 0;
  const script = (text: string, fields: object = {}): CheckKind => {
    const path = join(directory, `check-${++scripts}`);
    writeFileSync(path, `#!/bin/sh\n${text}\n`);
    chmodSync(path, 0o755);
    chmodSync(directory, 0o755);
    return { kind: 'script', command: [path], user: null, isDynamic: false, ...fields };
  };

  const scriptCheck = (name: string, kind: CheckKind): Check => ({
    id: checkId(name),
    address: LOOPBACK,
    port: 0,
    spec: { ...kind, intervalMs: 60_000, timeoutMs: 60_000, rise: 1, fall: 2, port: null },
  });

  test('exit codes, as keepalived counts them', async () => {
    expect(await one.tell(script('echo fine; exit 0'))).toBe('up: exit code 0: fine');
    expect(await one.tell(script('echo "no disk" >&2; exit 3'))).toBe(
      'script-failed: exit code 3: no disk',
    );
    const dynamic = { isDynamic: true };
    expect(await one.run(script('exit 0', dynamic))).toEqual({
      kind: 'up',
      detail: 'exit code 0',
    });
    expect(await one.run(script('exit 1', dynamic))).toMatchObject({
      reason: 'script-failed',
    });
    for (const [code, weight] of [
      [2, 0],
      [3, 1],
      [255, 253],
    ])
      expect(await one.run(script(`exit ${code}`, dynamic))).toMatchObject({
        kind: 'up',
        weight: { kind: 'set', weight },
      });
  });

  test('the target is in the environment, and nothing of the agent’s', async () => {
    const said = await one.tell(
      script('echo "$LEASEHOLD_ADDRESS $LEASEHOLD_PORT $LEASEHOLD_REAL_SERVER ${HOME:-none}"'),
      { port: 81 },
    );
    expect(said).toBe('up: exit code 0: 127.0.0.1 81 127.0.0.1:81 none');
    expect(await one.tell(script('id -un', { user: 'nobody' }))).toBe('up: exit code 0: nobody');
    expect(await one.tell(script('exit 0', { user: 'nobody-of-that-name' }))).toMatch(
      /^local: there is no user/,
    );
  });

  test('what hangs is killed with all it started', async () => {
    const mark = join(directory, 'alive');
    const endless = script(`(while :; do date +%s%N > ${mark}; sleep 0.05; done) & wait`);
    const running = one.probes.start(scriptCheck('hangs', endless), () => {});
    await expect.poll(() => existsSync(mark), PATIENT).toBe(true);
    // The shell, and the one that it started.
    const path = endless.kind === 'script' ? (endless.command[0] ?? '') : '';
    expect(processesOf(path).length).toBeGreaterThanOrEqual(2);
    expect(running.expire()).toEqual({
      kind: 'down',
      reason: 'timeout-script',
      detail: 'no end within 60000 ms: killed',
    });
    await expect.poll(() => processesOf(path), PATIENT).toEqual([]);
  });

  test('what needs a moment to die is awaited by the next probe, not failed again', async () => {
    const { probes } = one;
    const path = join(directory, 'slow-to-die');
    const first = join(directory, 'first-run');
    writeFileSync(
      path,
      `#!/bin/sh\n[ -e ${first} ] && { echo second; exit 0; }\n: > ${first}\ntrap 'sleep 0.3; exit 0' TERM\nsleep 10 & wait\nwait\n`,
    );
    chmodSync(path, 0o755);
    const kind: CheckKind = { kind: 'script', command: [path], user: null, isDynamic: false };
    const check = scriptCheck('slow-to-die', kind);
    const running = probes.start(check, () => {});
    await expect.poll(() => existsSync(first), PATIENT).toBe(true);
    expect(running.expire()).toMatchObject({ reason: 'timeout-script' });
    const next = await new Promise<Outcome>((resolve) => probes.start(check, resolve));
    expect(next).toEqual({ kind: 'up', detail: 'exit code 0: second' });
  });

  test('more than run at once wait for their turn, within their deadline', async () => {
    const many = await Promise.all(
      Array.from({ length: 80 }, () => one.tell(script('sleep 0.2'), { timeoutMs: 30_000 })),
    );
    expect(new Set(many)).toEqual(new Set(['up: exit code 0']));
  });

  test('what is not there, or may not be run', async () => {
    const missing: CheckKind = {
      kind: 'script',
      command: ['/nowhere/x'],
      user: null,
      isDynamic: false,
    };
    expect(await one.tell(missing)).toMatch(/^local: \/nowhere\/x does not exist/);
    expect(await one.tell(script('kill -SEGV $$'))).toBe('script-failed: ended by SIGSEGV');
  });

  test('files', async () => {
    const path = join(directory, 'number');
    const file = (factor: number | null): CheckKind => ({ kind: 'file', path, factor });
    expect(await one.tell(file(null))).toBe(`up: ${path} does not exist, counts as 0`);
    writeFileSync(path, '0\n');
    expect(await one.tell(file(null))).toBe(`up: ${path} holds 0`);
    writeFileSync(path, '-3\n');
    expect(await one.tell(file(null))).toBe(`file-says-down: ${path} holds -3`);
    expect(await one.run(file(2))).toMatchObject({
      kind: 'up',
      weight: { kind: 'add', by: -6 },
    });
    writeFileSync(path, 'three');
    expect(await one.tell(file(null))).toBe(`file-unreadable: ${path} holds no integer`);
    // What keeps the director from reading is no verdict on the real server.
    const strange: CheckKind = { kind: 'file', path: directory, factor: null };
    expect(await one.tell(strange)).toBe(`local: ${directory} is no regular file`);
    const many = Array.from({ length: 20 }, () => one.tell(strange));
    expect(new Set(await Promise.all(many)).size).toBe(1);
  });
});

test('a fault in what reads answers ends that probe and nothing else', async () => {
  const clock = createSystemClock();
  const tools = { sockets: new ProbeSockets(), trust: new Trust(clock), wallMs: () => 0 };
  const port = await targets.tcp((socket) => socket.write('hello'));
  const place = { address: LOOPBACK, port, origin: ANY_ORIGIN };
  const talk: Talk = {
    onOpen: () => {},
    onData: () => {
      throw new Error('a fault');
    },
    onEnd: () => ({ kind: 'local', detail: 'ended' }),
    awaited: () => ({ reason: 'other', what: 'nothing' }),
  };
  const outcome = await new Promise<Outcome>((resolve) => {
    startStream({ place, timeoutMs: 1_000, tls: null, host: null }, talk, tools, resolve);
  });
  expect(outcome).toEqual({ kind: 'local', detail: 'cannot read the answer: a fault' });
});

test('nothing is left: neither sockets nor timers', async () => {
  const left = (): number => {
    // Some may be accepted only now; and servers of the tests listen in this process.
    for (const socket of targets.sockets) socket.destroy();
    return openSockets() - targets.held;
  };
  await expect.poll(left, PATIENT).toBe(before);
});

/** Pids of those that have the path among their words. */
function processesOf(path: string): readonly string[] {
  return readdirSync('/proc').filter((pid) => {
    try {
      return /^\d+$/.test(pid) && read(`/proc/${pid}/cmdline`).includes(path);
    } catch {
      return false; // It ended meanwhile.
    }
  });
}

const read = (path: string): Buffer => readFileSync(path);

function parse(text: string): IpAddress {
  const parsed = parseIp(text);
  if (!parsed.ok) throw new Error(parsed.error);
  return parsed.value;
}
