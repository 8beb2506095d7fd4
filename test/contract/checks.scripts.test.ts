/** The scripts of deploy/checks, run as checks against real servers of their kind. */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Server, ServerCredentials, type sendUnaryData, type ServerUnaryCall } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { CheckKind } from '../../src/model/check.ts';
import { type Certificates, makeCertificates } from '../support/certificates.ts';
import { run } from '../support/processes.ts';
import { RefusingPort } from './support/kernel-ports.ts';
import { OneProbe } from './support/one-probe.ts';
import { freePort, RealDaemons } from './support/real-daemons.ts';

const one = new OneProbe();
const daemons = new RealDaemons();
const refusing = new RefusingPort();
let certificates: Certificates;
const script = (name: string, ...words: readonly (string | number)[]): string[] => [
  join(import.meta.dirname, '../../deploy/checks', name),
  ...words.map(String),
];
const tell = (command: readonly string[], isDynamic = false): Promise<string> => {
  const check: CheckKind = { kind: 'script', command, user: null, isDynamic };
  return one.tell(check, { timeoutMs: 20_000 });
};

beforeAll(async () => {
  certificates = await makeCertificates();
}, 60_000);
afterAll(async () => {
  await daemons.close();
  refusing.close();
  certificates.close();
});

test('each says how it is used', async () => {
  for (const name of ['redis-ping', 'mysql-ping', 'grpc-health.mjs'])
    expect(await tell(script(name))).toMatch(
      new RegExp(`^script-failed: exit code 1: usage: ${name}`),
    );
});

describe('redis-ping', () => {
  test('a master, its replica, a wrong password and what is no Redis', async () => {
    const port = await daemons.redis('s3cret');
    const password = join(daemons.directory, 'password');
    writeFileSync(password, 's3cret\n');
    const ping = (...words: readonly (string | number)[]) => tell(script('redis-ping', ...words));
    expect(await ping('127.0.0.1', port, password)).toBe('up: exit code 0: master');
    expect(await ping('127.0.0.1', port)).toMatch(/^script-failed: exit code 1: refused: NOAUTH/);
    writeFileSync(password, 'wrong\n');
    expect(await ping('127.0.0.1', port, password)).toMatch(
      /^script-failed: exit code 1: login refused: -WRONGPASS/,
    );
    expect(await ping('127.0.0.1', await freePort())).toMatch(/^script-failed: exit code 1: /);
    writeFileSync(password, 's3cret\n');
    const master = script('redis-ping', '--weights', '127.0.0.1', port, password);
    const check: CheckKind = { kind: 'script', command: master, user: null, isDynamic: true };
    expect(await one.run(check, { timeoutMs: 20_000 })).toMatchObject({
      kind: 'up',
      weight: { kind: 'set', weight: 100 },
    });
    const lost = await daemons.redis('s3cret', ['--replicaof', '127.0.0.1', `${await freePort()}`]);
    expect(await ping('127.0.0.1', lost, password)).toBe(
      'script-failed: exit code 1: replica, its link to the master is down',
    );
  }, 180_000);
});

describe('grpc-health', () => {
  const HEALTH = '/grpc.health.v1.Health/Check';
  const serve = async (status: number | null, credentials = ServerCredentials.createInsecure()) => {
    const server = new Server();
    const plain = (bytes: Buffer): Buffer => bytes;
    const check = {
      path: HEALTH,
      requestStream: false,
      responseStream: false,
      requestSerialize: plain,
      requestDeserialize: plain,
      responseSerialize: plain,
      responseDeserialize: plain,
    };
    const answer = (call: ServerUnaryCall<Buffer, Buffer>, done: sendUnaryData<Buffer>): void => {
      const isStrange = call.request.includes('strange');
      if (isStrange) done({ code: 5, details: 'unknown service' });
      else done(null, status === 0 ? Buffer.alloc(0) : Buffer.from([0x08, status ?? 0]));
    };
    if (status !== null) server.addService({ check }, { check: answer });
    const port = await new Promise<number>((resolve, reject) =>
      server.bindAsync('127.0.0.1:0', credentials, (error, bound) =>
        error === null ? resolve(bound) : reject(error),
      ),
    );
    return { port, close: () => server.forceShutdown() };
  };
  const ask = (...words: readonly (string | number)[]) => tell(script('grpc-health.mjs', ...words));

  test('every answer of the health service, and none', async () => {
    const wanted = [
      [1, 'up: exit code 0: SERVING'],
      [2, 'script-failed: exit code 1: NOT_SERVING'],
      [0, 'script-failed: exit code 1: UNKNOWN'],
      [null, 'script-failed: exit code 1: gRPC code 12: the server has no health service'],
    ] as const;
    for (const [status, words] of wanted) {
      const server = await serve(status);
      expect(await ask('127.0.0.1', server.port, 'shop.v1.Cart')).toBe(words);
      if (status === 1)
        expect(await ask('127.0.0.1', server.port, 'strange')).toBe(
          'script-failed: exit code 1: gRPC code 5: service unknown',
        );
      server.close();
    }
    expect(await ask('127.0.0.1', refusing.port)).toMatch(
      /exit code 1: no gRPC answer: .*ECONNREFUSED/,
    );
  }, 60_000);

  test('with TLS', async () => {
    const { good, caFile } = certificates;
    const pairs = [{ private_key: good.key, cert_chain: good.cert }];
    const server = await serve(1, ServerCredentials.createSsl(null, pairs));
    expect(await ask('--ca', caFile, '127.0.0.1', server.port)).toBe('up: exit code 0: SERVING');
    expect(await ask('--ca', caFile, '--name', 'www.example.org', '127.0.0.1', server.port)).toBe(
      'up: exit code 0: SERVING',
    );
    expect(
      await ask('--ca', caFile, '--name', 'ftp.example.org', '127.0.0.1', server.port),
    ).toMatch(/exit code 1: no gRPC answer: .*altnames/);
    expect(await ask('--tls', '127.0.0.1', server.port)).toMatch(/exit code 1: no gRPC answer: /);
    expect(await ask('127.0.0.1', server.port)).toMatch(/exit code 1: /);
    server.close();
  }, 60_000);

  test('a file that is missing, and a server that closes at once', async () => {
    expect(await ask('--ca', '/nowhere/ca.pem', '127.0.0.1', 1)).toMatch(
      /exit code 1: cannot read \/nowhere\/ca\.pem: ENOENT/,
    );
    const server = createServer((socket) => socket.end());
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    expect(await ask('127.0.0.1', (server.address() as AddressInfo).port)).toMatch(
      /exit code 1: no gRPC answer: /,
    );
    server.close();
  }, 30_000);

  test('what speaks HTTP/1 is told apart', async () => {
    const { createServer: createHttpServer } = await import('node:http');
    const server = createHttpServer((_, response) => response.end('hello'));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    expect(await ask('127.0.0.1', (server.address() as AddressInfo).port)).toMatch(
      /exit code 1: no gRPC answer: Protocol error/,
    );
    server.close();
  });
});

describe('mysql-ping', () => {
  test('a MariaDB, a wrong password and none', async () => {
    const { port, password } = await daemons.mariadb();
    const options = join(daemons.directory, 'mysql.cnf');
    const write = (secret: string): void => {
      writeFileSync(options, `[client]\nuser=leasehold\npassword=${secret}\n`);
      chmodSync(options, 0o600);
    };
    const ping = (...words: readonly (string | number)[]) =>
      tell(script('mysql-ping', '127.0.0.1', port, options, ...words));
    write(password);
    expect(await ping()).toMatch(/^up: exit code 0: \d+\.\d+\.\d+-MariaDB\S*, read_only 0$/);
    write('wrong');
    expect(await ping()).toMatch(/^script-failed: exit code 1: ERROR 1045 .*Access denied/);
    const gone = script('mysql-ping', '127.0.0.1', refusing.port, options);
    expect(await tell(gone)).toMatch(/^script-failed: exit code 1: ERROR 200[23] /);
    const none = join(daemons.directory, 'no-such-file');
    expect(await tell(script('mysql-ping', '127.0.0.1', port, none))).toBe(
      `script-failed: exit code 1: ${none} cannot be read`,
    );
  }, 240_000);
});

test('mysql-ping knows a replica by old and new words', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'leasehold-mysql-'));
  const options = join(directory, 'options');
  writeFileSync(options, '');
  // A client that knows one of both words, and tells what the file says.
  const client = (word: string, lines: string): void => {
    const text = `#!/bin/sh\ncase "$*" in *VERSION*) echo '8.4.0 1';; *'SHOW ${word} STATUS'*) printf '${lines}';; *) echo 'syntax error'; exit 1;; esac\n`;
    writeFileSync(join(directory, 'mariadb'), text);
    chmodSync(join(directory, 'mariadb'), 0o755);
  };
  const ping = async (): Promise<string> => {
    const words = script('mysql-ping', '127.0.0.1', 3306, options, 5);
    const { code, stdout } = await run(['env', `PATH=${directory}:/usr/bin:/bin`, ...words]);
    return `${code} ${stdout.trim()}`;
  };
  for (const [word, name] of [
    ['REPLICA', 'Source'],
    ['SLAVE', 'Master'],
  ] as const) {
    client(word, `   Seconds_Behind_${name}: 2\\n`);
    expect(await ping()).toBe('0 8.4.0, read_only 1');
    client(word, `  Seconds_Behind_${name}: 12\\n  Seconds_Behind_${name}: 3\\n`);
    expect(await ping()).toBe('1 replica, 12 s behind its master');
    client(word, `  Seconds_Behind_${name}: NULL\\n`);
    expect(await ping()).toBe('1 replica, but it does not follow its master');
    client(word, '');
    expect(await ping()).toBe('0 8.4.0, read_only 1');
  }
  client('NOTHING', '');
  expect(await ping()).toBe('1 syntax error');
  rmSync(directory, { recursive: true });
});

test('shells read them without a complaint', async () => {
  const [redis = '', mysql = ''] = ['redis-ping', 'mysql-ping'].map(
    (name) => script(name)[0] ?? '',
  );
  expect(await run(['bash', '-n', redis])).toMatchObject({ code: 0, stderr: '' });
  expect(await run(['sh', '-n', mysql])).toMatchObject({ code: 0, stderr: '' });
});
