/** Every kind of check against a real server of its kind: nginx, Exim, dnsmasq, Redis, the kernel. */
import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type IpAddress, parseIp } from '../../src/model/address.ts';
import type { CheckKind, DnsCheck, HttpCheck, SmtpCheck } from '../../src/model/check.ts';
import { type Certificates, makeCertificates } from '../support/certificates.ts';
import { http, https, OneProbe, openSockets, REQUEST, TLS } from './support/one-probe.ts';
import { RealDaemons } from './support/real-daemons.ts';

const one = new OneProbe();
const daemons = new RealDaemons();
let certificates: Certificates;
const V6 = parse('::1');
const hex = (text: string) => ({ kind: 'bytes', hex: Buffer.from(text).toString('hex') }) as const;

beforeAll(async () => {
  certificates = await makeCertificates();
}, 60_000);
afterAll(async () => {
  await daemons.close();
  certificates.close();
});

describe('nginx', () => {
  let plain: number;
  let tls: number;
  beforeAll(async () => {
    ({ plain, tls } = await daemons.nginx(certificates));
  }, 60_000);

  test('virtual hosts by Host header, over IPv4 and IPv6, in both versions', async () => {
    for (const version of ['1.0', '1.1'] as const)
      for (const address of [undefined, V6])
        for (const host of ['www.example.org', 'other.example.org']) {
          const check = http({ path: '/name', host, match: hex(host) }, { version });
          const place = { port: plain, ...(address === undefined ? {} : { address }) };
          expect(await one.tell(check, place)).toBe('up: HTTP status 200');
        }
    const wrong = http({ path: '/name', host: 'other.example.org', match: hex('www.') });
    expect(await one.tell(wrong, { port: plain })).toMatch(/^no-match: /);
  });

  test('methods, headers, bodies and codes', async () => {
    const of = (request: object, fields: Partial<HttpCheck> = {}) =>
      one.tell(http(request, fields), { port: plain });
    const says = { path: '/agent', headers: [['X-Probe', 'p1']] as const };
    expect(await of({ ...says, match: hex('leasehold p1 HTTP/1.1') })).toBe('up: HTTP status 200');
    expect(await of({ ...says, match: hex('p1 HTTP/1.0') }, { version: '1.0' })).toBe(
      'up: HTTP status 200',
    );
    const body = Buffer.from('{"a":1}').toString('hex');
    expect(await of({ path: '/post', method: 'POST', body, match: hex('7') })).toBe(
      'up: HTTP status 201',
    );
    expect(await of({ path: '/post' })).toBe('wrong-status: HTTP status 405, wanted 200-299');
    expect(await of({ path: '/gone', status: [[410, 410]] })).toBe('up: HTTP status 410');
    expect(await of({ path: '/moved' })).toBe('wrong-status: HTTP status 302, wanted 200-299');
    expect(await of({ path: '/empty' })).toBe('up: HTTP status 204');
    expect(await of({ path: '/name', method: 'HEAD' })).toBe('up: HTTP status 200');
    expect(await of({ path: '/nowhere' })).toBe('wrong-status: HTTP status 404, wanted 200-299');
  });

  test('chunked and large bodies, and their digests', async () => {
    const chunked = http({
      path: '/page.shtml',
      host: 'www.example.org',
      match: { kind: 'pattern', source: '^www\\S+ page\\s*$', ignoreCase: false },
    });
    expect(await one.tell(chunked, { port: plain })).toBe('up: HTTP status 200');
    const sha256 = createHash('sha256').update(Buffer.alloc(3_000_000, 'x')).digest('hex');
    const big = (bodyMax: number) =>
      one.tell(http({ path: '/big', digest: { algorithm: 'sha256', hex: sha256 } }, { bodyMax }), {
        port: plain,
      });
    expect(await big(3_000_000)).toBe('up: HTTP status 200');
    expect(await big(1_000_000)).toBe(
      'too-large: a body of more than 1000000 bytes: no digest is made of it',
    );
    expect(await one.tell(http({ path: '/big' }), { port: plain })).toBe('up: HTTP status 200');
  });

  test('certificates by SNI', async () => {
    const ca = certificates.caFile;
    const of = (options: object, request: object = {}) =>
      one.tell(https({ ca, ...options }, { path: '/name', ...request }), { port: tls });
    expect(await of({}, { host: 'www.example.org', match: hex('www.example.org') })).toBe(
      'up: HTTP status 200',
    );
    expect(await of({}, { host: 'other.example.org' })).toBe('up: HTTP status 200');
    expect(await of({}, { host: 'old.example.org' })).toBe(
      'certificate-expired: certificate: expired',
    );
    expect(
      await of({ name: 'www.example.org' }, { host: 'other.example.org', match: hex('other') }),
    ).toBe('up: HTTP status 200');
    expect(await of({ name: 'other.example.org', daysLeft: 365 })).toMatch(
      /^certificate-expires-soon: certificate: expires in \d\d days/,
    );
    expect(await of({})).toBe('up: HTTP status 200');
    expect(await one.tell(https({ ca }, { path: '/name' }), { port: tls, address: V6 })).toBe(
      'up: HTTP status 200',
    );
    expect(
      await one.tell({ kind: 'tls', tls: { ...TLS, ca, name: 'www.example.org' } }, { port: tls }),
    ).toMatch(/^up: connected, certificate until/);
    expect(await one.tell({ kind: 'tls', tls: { ...TLS, ca } }, { port: plain })).toMatch(
      /^not-tls: /,
    );
    expect(await one.tell(http(), { port: tls })).toBe(
      'wrong-status: HTTP status 400, wanted 200-299',
    );
  });

  test('several paths, and TCP', async () => {
    const requests = ['/name', '/agent', '/empty'].map((path) => ({ ...REQUEST, path }));
    expect(await one.tell(http({}, { requests }), { port: plain })).toBe(
      'up: 3 requests, the last: HTTP status 204',
    );
    expect(await one.tell({ kind: 'tcp' }, { port: plain })).toBe('up: connected');
    const request = Buffer.from('GET /name HTTP/1.0\r\nHost: www.example.org\r\n\r\n').toString(
      'hex',
    );
    const expect200 = {
      kind: 'pattern',
      source: '^HTTP/1\\.1 200 [\\s\\S]*www',
      ignoreCase: false,
    } as const;
    expect(await one.tell({ kind: 'tcp', send: request, expect: expect200 }, { port: plain })).toBe(
      'up: expected answer',
    );
  });
});

describe('Exim', () => {
  let ports: { plain: number; tls: number };
  const smtp: SmtpCheck = { kind: 'smtp', helo: 'probe.example.org', security: 'none', tls: null };
  beforeAll(async () => {
    ports = await daemons.exim(certificates);
  }, 180_000);

  test('plain, with STARTTLS and with TLS', async () => {
    const options = { ...TLS, ca: certificates.caFile };
    const of = (fields: Partial<SmtpCheck>, port: number) =>
      one.tell({ ...smtp, ...fields }, { port });
    expect(await of({}, ports.plain)).toBe('up: SMTP welcome');
    expect(await of({ helo: null }, ports.plain)).toBe('up: SMTP welcome');
    expect(await of({ security: 'starttls', tls: options }, ports.plain)).toMatch(
      /^up: SMTP welcome with TLS, certificate until \d/,
    );
    expect(
      await of({ security: 'starttls', tls: { ...options, name: 'mx.other' } }, ports.plain),
    ).toBe('certificate-wrong-name: certificate: for another name');
    expect(await of({ security: 'starttls', tls: TLS }, ports.plain)).toMatch(
      /^certificate-unknown-authority/,
    );
    expect(await of({ security: 'tls', tls: options }, ports.tls)).toMatch(
      /^up: SMTP welcome with TLS/,
    );
    expect(await one.tell(smtp, { port: ports.tls, timeoutMs: 1_000 })).toMatch(
      /^(timeout-first-byte: no greeting|closed-early|not-this-protocol)/,
    );
    expect(await of({ security: 'tls', tls: options }, ports.plain)).toBe(
      'not-tls: not a TLS server',
    );
  });
});

describe('dnsmasq', () => {
  let port: number;
  beforeAll(async () => {
    port = await daemons.dnsmasq();
  }, 180_000);
  const dns = (fields: Partial<DnsCheck>): DnsCheck => ({
    kind: 'dns',
    name: 'www.lab.example',
    type: 'A',
    transport: 'udp',
    recursion: true,
    rcodes: ['NOERROR'],
    answers: [],
    match: null,
    ...fields,
  });
  const of = (fields: Partial<DnsCheck>, address?: IpAddress) =>
    one.tell(dns(fields), { port, ...(address === undefined ? {} : { address }) });

  test.each<[string, Partial<DnsCheck>, string]>([
    ['A', { answers: ['192.0.2.1'] }, 'up: DNS answer NOERROR, 1 record'],
    [
      'A in other case, with a dot',
      { name: 'WWW.Lab.Example.', answers: ['192.0.2.1'] },
      'up: DNS answer NOERROR, 1 record',
    ],
    ['AAAA', { type: 'AAAA', answers: ['2001:db8::1'] }, 'up: DNS answer NOERROR, 1 record'],
    [
      'CNAME, followed',
      { name: 'ftp.lab.example', answers: ['192.0.2.1'] },
      'up: DNS answer NOERROR, 1 record',
    ],
    [
      'MX',
      { name: 'lab.example', type: 'MX', answers: ['10 mx.lab.example.'] },
      'up: DNS answer NOERROR, 1 record',
    ],
    [
      'TXT',
      {
        name: 'lab.example',
        type: 'TXT',
        match: { kind: 'pattern', source: '^v=spf1 .*-all$', ignoreCase: false },
      },
      'up: DNS answer NOERROR, 1 record',
    ],
    [
      'SRV',
      { name: '_sip._udp.lab.example', type: 'SRV', answers: ['1 2 5060 sip.lab.example'] },
      'up: DNS answer NOERROR, 1 record',
    ],
    [
      'PTR',
      { name: '1.2.0.192.in-addr.arpa', type: 'PTR', answers: ['www.lab.example'] },
      'up: DNS answer NOERROR, 1 record',
    ],
    [
      'the wrong address',
      { answers: ['192.0.2.9'] },
      'wrong-answer: DNS answer has not 192.0.2.9: 192.0.2.1',
    ],
    [
      'no match',
      { match: hex('198.51.100.') },
      'wrong-answer: DNS answer has no record that matches: 192.0.2.1',
    ],
    [
      'a name that is not there',
      { name: 'none.lab.example' },
      'wrong-status: DNS answer NXDOMAIN, wanted NOERROR',
    ],
    [
      'a name that shall not be there',
      { name: 'none.lab.example', rcodes: ['NXDOMAIN'] },
      'up: DNS answer NXDOMAIN, 0 records',
    ],
    [
      'what it does not serve',
      { name: 'example.net' },
      'wrong-status: DNS answer REFUSED, wanted NOERROR',
    ],
  ])('%s, over UDP and TCP', async (_, fields, wanted) => {
    expect(await of(fields)).toBe(wanted);
    expect(await of({ ...fields, transport: 'tcp' })).toBe(wanted);
    expect(await of(fields, V6)).toBe(wanted);
  });

  test('what does not fit a datagram', async () => {
    const many = {
      name: 'many.lab.example',
      type: 'TXT',
      answers: Array.from({ length: 40 }, (_, n) => `${n}-${'x'.repeat(40)}`),
    } as const;
    expect(await of(many)).toBe('too-large: the DNS answer does not fit a datagram: ask by tcp');
    expect(await of({ ...many, transport: 'tcp' })).toBe('up: DNS answer NOERROR, 40 records');
  });

  test('the same as bare bytes over UDP', async () => {
    const query = `beef01000001000000000000${'03777777036c6162076578616d706c6500'}00010001`;
    const udp: CheckKind = {
      kind: 'udp',
      payload: query,
      requireReply: true,
      reply: 'beef8xx0 0001 0001'.replace(/\s/g, ''),
      minLength: 40,
      maxLength: 512,
    };
    expect(await one.tell(udp, { port })).toMatch(/^up: a reply of \d\d bytes$/);
  });
});

describe('Redis', () => {
  test('by what it is asked and what it answers', async () => {
    const port = await daemons.redis('s3cret');
    const ask = (send: string, wanted: string): CheckKind => ({
      kind: 'tcp',
      send: Buffer.from(send).toString('hex'),
      expect: hex(wanted),
    });
    expect(await one.tell(ask('AUTH s3cret\r\nPING\r\n', '+PONG'), { port })).toBe(
      'up: expected answer',
    );
    expect(await one.tell(ask('PING\r\nQUIT\r\n', '+PONG'), { port })).toMatch(
      /^no-match: the answer is not what is expected: "-NOAUTH Authentication required/,
    );
  }, 180_000);
});

describe('ICMP', () => {
  test('of IPv4 and IPv6, many at once, with nothing left open', async () => {
    const before = openSockets();
    const icmp: CheckKind = { kind: 'icmp', size: 56 };
    expect(await one.tell(icmp)).toBe('up: echo reply');
    expect(await one.tell(icmp, { address: V6 })).toBe('up: echo reply');
    expect(await one.tell({ kind: 'icmp', size: 1400 })).toBe('up: echo reply');
    const source = { origin: { source: parse('127.0.0.9') } };
    expect(await one.tell(icmp, source)).toBe('up: echo reply');
    const many = await Promise.all(
      Array.from({ length: 300 }, (_, n) =>
        one.tell(icmp, { address: parse(`127.0.${n % 200}.1`) }),
      ),
    );
    expect(new Set(many)).toEqual(new Set(['up: echo reply']));
    const foreign = { origin: { source: parse('192.0.2.77') } };
    expect(await one.tell(icmp, foreign)).toMatch(
      /^local: cannot send from 192\.0\.2\.77: the address is not bound here/,
    );
    await expect.poll(openSockets, { timeout: 10_000 }).toBe(before);
  });
});

function parse(text: string): IpAddress {
  const parsed = parseIp(text);
  if (!parsed.ok) throw new Error(parsed.error);
  return parsed.value;
}
