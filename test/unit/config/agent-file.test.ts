/** agent.yaml: what is accepted, what is refused and with which words, and the files it names. */
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadAgentConfig, parseAgentConfig } from '../../../src/config/agent-file.ts';
import type { AgentConfig } from '../../../src/config/agent-file.ts';
import { formatProblems, type Problem } from '../../../src/config/problem.ts';
import { toHex } from '../../../src/lib/bytes.ts';
import { makeTestKeys } from '../../support/test-keys.ts';

const { certificate: CERTIFICATE, privateKey: PRIVATE_KEY } = makeTestKeys();
const { privateKey: OTHER_PRIVATE_KEY } = makeTestKeys();
const KEY = 'ab'.repeat(32);
const TOKEN = 'x'.repeat(24);
const EXAMPLE = new URL('../../../deploy/config/agent.yaml', import.meta.url);

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'leasehold-config-'));
  put('cluster.key', `${KEY}\n`);
});

afterEach(() => rmSync(directory, { recursive: true }));

function put(name: string, text: string, mode = 0o600): void {
  const path = join(directory, name);
  writeFileSync(path, text);
  chmodSync(path, mode);
}

const minimal = () => ({
  director: 'd1',
  cluster: 'lab',
  etcd: { endpoints: ['http://10.90.0.31:2379'] },
  interfaces: { public: 'eth0' },
  keyFile: 'cluster.key',
});

async function configOf(document: unknown): Promise<AgentConfig> {
  const parsed = await parseAgentConfig(document, directory);
  if (!parsed.ok) throw new Error(formatProblems(parsed.error));
  return parsed.value;
}

async function problemsOf(document: unknown): Promise<readonly Problem[]> {
  const parsed = await parseAgentConfig(document, directory);
  return parsed.ok ? [] : parsed.error;
}

describe('a good agent.yaml', () => {
  it('is the example in deploy/config', async () => {
    put('agent.yaml', readFileSync(EXAMPLE, 'utf8'));
    const loaded = await loadAgentConfig(join(directory, 'agent.yaml'));
    if (!loaded.ok) throw new Error(formatProblems(loaded.error));
    expect(loaded.value).toEqual({
      director: 'd1',
      cluster: 'lab',
      etcd: {
        endpoints: ['http://10.90.0.31:2379', 'http://10.90.0.32:2379', 'http://10.90.0.33:2379'],
        tls: null,
        user: null,
        password: null,
      },
      interfaces: new Map([['public', 'eth0']]),
      api: { host: '127.0.0.1', port: 7480, tls: null, tokens: null },
      keys: [new Uint8Array(32).fill(0xab)],
      peerPort: 7481,
      metrics: { realServers: 2000 },
      stateDir: '/run/leasehold',
      exit: 'release',
      log: { level: 'info' },
      identity: null,
    });
  });

  it('may say little: the rest has defaults', async () => {
    expect(await configOf(minimal())).toMatchObject({
      api: { host: '127.0.0.1', port: 7480, tls: null, tokens: null },
      peerPort: 7481,
      metrics: { realServers: 2000 },
      stateDir: '/run/leasehold',
      exit: 'release',
      log: { level: 'info' },
    });
  });

  it('may leave all to the next process when this one ends', async () => {
    expect(await configOf({ ...minimal(), exit: 'freeze' })).toMatchObject({ exit: 'freeze' });
  });

  it('may open the API to all, with TLS and tokens', async () => {
    put('api.pem', CERTIFICATE, 0o644);
    put('api-key.pem', PRIVATE_KEY, 0o640);
    put('tokens', `# who may what\nann admin ${TOKEN}\n\nwatch viewer ${TOKEN}2\n`);
    const tls = { cert: 'api.pem', key: 'api-key.pem' };
    const api = { listen: '[::]:443', tls, tokensFile: 'tokens' };
    expect((await configOf({ ...minimal(), api })).api).toEqual({
      host: '::',
      port: 443,
      tls: { cert: CERTIFICATE, key: PRIVATE_KEY },
      tokens: [
        { name: 'ann', role: 'admin', token: TOKEN },
        { name: 'watch', role: 'viewer', token: `${TOKEN}2` },
      ],
    });
  });

  it('may reach etcd by TLS and with a password', async () => {
    put('ca.pem', CERTIFICATE, 0o644);
    put('password', 'secret word\n');
    const etcd = {
      endpoints: ['https://etcd1.example:2379/'],
      tls: { ca: 'ca.pem' },
      user: 'lh',
      passwordFile: join(directory, 'password'),
    };
    expect((await configOf({ ...minimal(), etcd })).etcd).toEqual({
      endpoints: ['https://etcd1.example:2379'],
      tls: { ca: CERTIFICATE, cert: null, key: null },
      user: 'lh',
      password: 'secret word',
    });
  });

  it('trusts the authorities of the system for https without tls', async () => {
    const config = await configOf({
      ...minimal(),
      etcd: { endpoints: ['https://10.90.0.31:2379'] },
    });
    expect(config.etcd.tls).toEqual({ ca: null, cert: null, key: null });
  });

  it('may have a second key while rotating, hexadecimal or raw', async () => {
    const raw = 'a raw key of more than 32 bytes, as it is';
    // The blank belongs to nothing: with it the key would be another one than on the other directors.
    put('cluster.key', `${KEY.toUpperCase()} \r\n${raw}\n`);
    const { keys } = await configOf(minimal());
    expect(keys.map(toHex)).toEqual([KEY, Buffer.from(raw).toString('hex')]);
  });
});

describe('the address of the API', () => {
  it.each(['127.0.0.1:7480', '127.8.0.1:0', '[::1]:7480', 'localhost:7480'])(
    '%s needs neither TLS nor tokens',
    async (listen) => {
      expect(await problemsOf({ ...minimal(), api: { listen } })).toEqual([]);
    },
  );

  it.each(['0.0.0.0:7480', '[::]:7480', '10.90.0.11:7480', '[::ffff:127.0.0.1]:7480'])(
    '%s is refused without TLS and tokens',
    async (listen) => {
      const [problem, ...others] = await problemsOf({ ...minimal(), api: { listen } });
      expect(others).toEqual([]);
      expect(problem?.path).toBe('api.listen');
      expect(problem?.message).toMatch(/api\.tls and api\.tokensFile are missing/);
    },
  );

  it('open to all is refused with TLS alone and with tokens alone', async () => {
    put('api.pem', CERTIFICATE);
    put('api-key.pem', PRIVATE_KEY);
    put('tokens', `ann admin ${TOKEN}\n`);
    const listen = '0.0.0.0:7480';
    const tls = { cert: 'api.pem', key: 'api-key.pem' };
    const withTls = await problemsOf({ ...minimal(), api: { listen, tls } });
    const withTokens = await problemsOf({ ...minimal(), api: { listen, tokensFile: 'tokens' } });
    expect(withTls.map(({ message }) => message)).toEqual([
      expect.stringMatching(/api\.tokensFile is missing/),
    ]);
    expect(withTokens.map(({ message }) => message)).toEqual([
      expect.stringMatching(/api\.tls is missing/),
    ]);
  });

  it.each(['7480', '127.0.0.1', '::1:7480', '[127.0.0.1]:7480', '127.0.0.1:65536', 'host:1', ''])(
    '%j is none',
    async (listen) => {
      const problems = await problemsOf({ ...minimal(), api: { listen } });
      expect(problems.map(({ path }) => path)).toEqual(['api.listen']);
      expect(problems[0]?.message).toMatch(/no address to listen at/);
    },
  );
});

describe('etcd', () => {
  it.each([
    ['no scheme', { endpoints: ['10.90.0.31:2379'] }, 'etcd.endpoints[0]', /no endpoint/],
    ['no port', { endpoints: ['http://10.90.0.31'] }, 'etcd.endpoints[0]', /no endpoint/],
    [
      'a port too high',
      { endpoints: ['http://10.90.0.31:99999'] },
      'etcd.endpoints[0]',
      /no endpoint/,
    ],
    ['a path', { endpoints: ['http://10.90.0.31:2379/v3'] }, 'etcd.endpoints[0]', /no endpoint/],
    [
      'a password in the URL',
      { endpoints: ['http://a:b@10.90.0.31:2379'] },
      'etcd.endpoints[0]',
      /no endpoint/,
    ],
    ['none', { endpoints: [] }, 'etcd.endpoints', /0 entries/],
    [
      'two schemes',
      { endpoints: ['http://10.90.0.31:2379', 'https://10.90.0.32:2379'] },
      'etcd.endpoints',
      /mixes/,
    ],
    [
      'tls over http',
      { endpoints: ['http://10.90.0.31:2379'], tls: {} },
      'etcd.tls',
      /an endpoint is http/,
    ],
    [
      'a user alone',
      { endpoints: ['http://10.90.0.31:2379'], user: 'a' },
      'etcd.passwordFile',
      /missing, but etcd\.user/,
    ],
  ])('with %s is refused', async (_, etcd, path, message) => {
    const problems = await problemsOf({ ...minimal(), etcd });
    expect(problems.map((problem) => problem.path)).toEqual([path]);
    expect(problems[0]?.message).toMatch(message);
  });

  it('with a key of another certificate is refused', async () => {
    put('cert.pem', CERTIFICATE);
    put('key.pem', OTHER_PRIVATE_KEY);
    const tls = { cert: 'cert.pem', key: 'key.pem' };
    const problems = await problemsOf({
      ...minimal(),
      etcd: { endpoints: ['https://10.90.0.31:2379'], tls },
    });
    expect(problems.map(({ path }) => path)).toEqual(['etcd.tls.key']);
    expect(problems[0]?.message).toMatch(/not the key of the certificate/);
  });

  it('with files that are no PEM is refused, file by file', async () => {
    put('junk', 'no certificate');
    const tls = { ca: 'junk', cert: 'junk', key: 'junk' };
    const problems = await problemsOf({
      ...minimal(),
      etcd: { endpoints: ['https://10.90.0.31:2379'], tls },
    });
    expect(problems.map(({ path }) => path)).toEqual([
      'etcd.tls.ca',
      'etcd.tls.cert',
      'etcd.tls.key',
    ]);
  });
});

describe('the key file', () => {
  it.each([0o640, 0o604, 0o644])('of mode %o is refused', async (mode) => {
    put('cluster.key', KEY, mode);
    const [problem] = await problemsOf(minimal());
    expect(problem?.path).toBe('keyFile');
    expect(problem?.message).toMatch(/mode 06\d\d lets others use it/);
    expect(problem?.allowed).toBe('chmod 0600');
  });

  it.each([
    ['a short hexadecimal key', 'ab'.repeat(31), /31 bytes is too short/],
    ['40 hexadecimal digits, not 40 raw bytes', 'ab'.repeat(20), /20 bytes is too short/],
    ['a short raw key', 'not so secret', /13 bytes is too short/],
    ['nothing', '\n\n', /has 0 keys/],
    ['a key twice', `${KEY}\n${KEY}\n`, /line 2: the key is there twice/],
  ])('with %s is refused', async (_, text, message) => {
    put('cluster.key', text);
    const problems = await problemsOf(minimal());
    expect(problems.map(({ path }) => path)).toEqual(['keyFile']);
    expect(problems[0]?.message).toMatch(message);
  });

  it('that is not there is refused, with its whole path', async () => {
    const [problem] = await problemsOf({ ...minimal(), keyFile: 'none.key' });
    expect(problem?.message).toContain(join(directory, 'none.key'));
    expect(problem?.message).toMatch(/ENOENT/);
  });
});

describe('the tokens file', () => {
  it.each([
    ['two words', `ann ${TOKEN}`, /line 1: not three words/],
    ['an unknown role', `ann root ${TOKEN}`, /line 1: the second word is no role/],
    ['a short token', 'ann admin short', /too short/],
    ['a name twice', `ann admin ${TOKEN}\nann viewer ${TOKEN}2`, /line 2: the name or the token/],
    ['a token twice', `ann admin ${TOKEN}\nbob viewer ${TOKEN}`, /line 2: the name or the token/],
    ['comments only', '# nobody', /has no tokens/],
  ])('with %s is refused, and shows no token', async (_, text, message) => {
    put('tokens', text);
    const problems = await problemsOf({ ...minimal(), api: { tokensFile: 'tokens' } });
    expect(problems.map(({ path }) => path)).toEqual(['api.tokensFile']);
    expect(problems[0]?.message).toMatch(message);
    expect(formatProblems(problems)).not.toContain(TOKEN);
  });
});

describe('a bad agent.yaml', () => {
  it('gets all its problems at once', async () => {
    const problems = await problemsOf({
      director: 'd 1',
      etcd: { endpoints: ['nowhere'] },
      interfaces: { public: 'a-device-name-too-long' },
      api: { listen: '0.0.0.0:7480' },
      keyfile: 'cluster.key',
      stateDir: 'run',
      exit: 'stop',
      log: { level: 'loud' },
    });
    expect(problems.map(({ path }) => path)).toEqual([
      'cluster',
      'keyFile',
      'director',
      'interfaces.public',
      'keyfile',
      'stateDir',
      'exit',
      'log.level',
      'etcd.endpoints[0]',
      'api.listen',
    ]);
    expect(problems[4]?.message).toBe('unknown key; did you mean "keyFile"?');
  });

  it('that is not there, or no YAML, is told', async () => {
    const missing = await loadAgentConfig(join(directory, 'agent.yaml'));
    put('agent.yaml', 'director: [');
    const broken = await loadAgentConfig(join(directory, 'agent.yaml'));
    expect(missing.ok ? '' : formatProblems(missing.error)).toMatch(/cannot be read: ENOENT/);
    expect(broken.ok ? '' : formatProblems(broken.error)).toMatch(/^line 1, column /);
  });
});
