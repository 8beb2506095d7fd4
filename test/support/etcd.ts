/**
 * Real etcd members for tests: started on free loopback ports in a directory that is removed at the end,
 * stopped, continued, killed and restarted by process id. Needs `etcd` and `etcdctl`, and `openssl` for TLS.
 */
import { execFile, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statfsSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

import { createSystemClock } from '../../src/adapters/clock/system-clock.ts';

const run = promisify(execFile);
const clock = createSystemClock();
const START_LIMIT_MS = 40_000;
const LEADER_LIMIT_MS = 30_000;
/** Of what etcdctl prints: thousands of keys are listed at times. */
const SAID_MAX_BYTES = 64 * 1024 * 1024;

export type EtcdListen = {
  readonly address: string;
  readonly clientPort: number;
  readonly peerPort: number;
};

export type EtcdSetup = {
  /** Default 1. */
  readonly members?: number;
  /** Default 50 and 500. */
  readonly heartbeatMs?: number;
  readonly electionMs?: number;
  /** Keys made with openssl; every client needs a certificate, and its CN is the etcd user. */
  readonly tls?: { readonly clientNames: readonly string[] };
  /** Password users besides `root`; each may read and write keys that start with its prefix. */
  readonly auth?: {
    readonly rootPassword: string;
    readonly users: readonly {
      readonly name: string;
      /** None: the user comes by its certificate only. */
      readonly password?: string;
      readonly prefix: string;
    }[];
    /** For example `simple,…` options of `--auth-token`, and `--auth-token-ttl` in seconds. */
    readonly tokenTtlS?: number;
  };
  /** Command prefix per member, for example `['ip', 'netns', 'exec', name]`; it must exec. */
  readonly wrap?: readonly string[] | ((member: number) => readonly string[]);
  /** The same for etcdctl; default: as the first member. */
  readonly wrapControl?: readonly string[];
  /** One per member; default: loopback with free ports. */
  readonly listen?: readonly EtcdListen[];
  readonly extraArguments?: readonly string[];
};

export type EtcdMember = {
  readonly name: string;
  readonly endpoint: string;
  readonly listen: EtcdListen;
  /** Throws while the member is not running. */
  pid(): number;
  /** SIGSTOP: it keeps its connections and says nothing. */
  stop(): void;
  cont(): void;
  /** SIGKILL, and waits for the end. */
  kill(): Promise<void>;
  /** Starts a killed member on its old data; does not wait for health. */
  restart(): void;
};

export type EtcdKeys = { readonly ca: Buffer; readonly cert: Buffer; readonly key: Buffer };

export type Etcd = {
  readonly endpoints: readonly string[];
  readonly members: readonly EtcdMember[];
  /** Of a client name given in `tls`. */
  keys(clientName: string): EtcdKeys;
  /** Index of the raft leader; throws where none is known within 30 s. */
  leader(): Promise<number>;
  /** Makes that member, by its index, the raft leader. */
  lead(member: number): Promise<void>;
  /** Waits until the member (default: all) serves linearizable reads. */
  healthy(member?: number): Promise<void>;
  /** etcdctl with endpoints and credentials set. */
  ctl(...args: readonly string[]): Promise<string>;
  close(): Promise<void>;
};

/** Pids that must not outlive this process, whatever ends it. */
const alive = new Set<number>();
const directories = new Set<string>();
let isHooked = false;

function hookExit(): void {
  if (isHooked) return;
  isHooked = true;
  process.on('exit', () => {
    for (const pid of alive) killQuietly(pid);
    for (const directory of directories) rmSync(directory, { recursive: true, force: true });
  });
}

const TMPFS = 0x01021994;
/** A member takes 128 MiB before it has written anything. */
const ROOM_BYTES = 2 * 1024 ** 3;

/**
 * Members write to memory where there is room: a disk that others write to may take a tenth of a second for one
 * write, which is longer than the profile fast waits. Slow members are a case of their own: they are stopped.
 */
function diskOf(): string {
  const memory = '/dev/shm';
  try {
    const { type, bavail, bsize } = statfsSync(memory);
    if (type === TMPFS && bavail * bsize > ROOM_BYTES) return memory;
  } catch {
    // None is mounted.
  }
  return tmpdir();
}

export async function startEtcd(setup: EtcdSetup = {}): Promise<Etcd> {
  hookExit();
  const directory = mkdtempSync(join(diskOf(), `leasehold-etcd-${basename(tmpdir())}-`));
  directories.add(directory);
  const cluster = new Cluster(setup, directory, await resolveListen(setup));
  try {
    if (setup.tls) await makeKeys(directory, setup.tls.clientNames, cluster.addresses());
    for (const member of cluster.members) member.restart();
    await cluster.healthy();
    if (setup.auth) await cluster.enableAuth(setup.auth);
  } catch (error) {
    await cluster.close();
    throw new Error(`etcd did not start: ${cluster.tail()}`, { cause: error });
  }
  return cluster;
}

class Cluster implements Etcd {
  readonly members: readonly Member[];
  readonly #setup: EtcdSetup;
  readonly #directory: string;
  #hasAuth = false;

  constructor(setup: EtcdSetup, directory: string, listen: readonly EtcdListen[]) {
    this.#setup = setup;
    this.#directory = directory;
    const scheme = setup.tls ? 'https' : 'http';
    const peers = listen.map((at, i) => `m${i}=http://${at.address}:${at.peerPort}`).join(',');
    this.members = listen.map((at, i) => {
      const name = `m${i}`;
      const client = `${scheme}://${at.address}:${at.clientPort}`;
      const peer = `http://${at.address}:${at.peerPort}`;
      const command = [
        ...wrapOf(setup, i),
        'etcd',
        ...flags({
          name,
          'data-dir': join(directory, name),
          'listen-client-urls': client,
          'advertise-client-urls': client,
          'listen-peer-urls': peer,
          'initial-advertise-peer-urls': peer,
          'initial-cluster': peers,
          'initial-cluster-token': directory,
          'heartbeat-interval': setup.heartbeatMs ?? 50,
          'election-timeout': setup.electionMs ?? 500,
          logger: 'zap',
          'log-level': 'error',
        }),
        ...(setup.tls ? tlsArguments(directory) : []),
        ...(setup.auth?.tokenTtlS ? flags({ 'auth-token-ttl': setup.auth.tokenTtlS }) : []),
        ...(setup.extraArguments ?? []),
      ];
      return new Member(name, client, at, command);
    });
  }

  get endpoints(): readonly string[] {
    return this.members.map((member) => member.endpoint);
  }

  addresses(): readonly string[] {
    return [...new Set(this.members.map((member) => member.listen.address))];
  }

  keys(clientName: string): EtcdKeys {
    const read = (file: string): Buffer => readFileSync(join(this.#directory, file));
    return {
      ca: read('ca.crt'),
      cert: read(`client-${clientName}.crt`),
      key: read(`client-${clientName}.key`),
    };
  }

  async ctl(...args: readonly string[]): Promise<string> {
    return this.#ctl(this.endpoints.join(','), args);
  }

  async leader(): Promise<number> {
    const endsAt = clock.now() + LEADER_LIMIT_MS;
    while (clock.now() < endsAt) {
      for (const [i, member] of this.members.entries()) {
        if (!member.isAnswering) continue;
        const status = await this.#status(member);
        if (status !== null && status.leader === status.header.member_id) return i;
      }
      await sleep(50);
    }
    throw new Error(`no leader within ${LEADER_LIMIT_MS} ms`);
  }

  async lead(member: number): Promise<void> {
    const next = this.members[member];
    const leader = this.members[await this.leader()];
    if (next === undefined || leader === undefined || next === leader) return;
    const status = await this.#status(next);
    if (status === null) throw new Error(`${next.name} does not answer`);
    const id = BigInt(status.header.member_id).toString(16);
    await this.#ctl(leader.endpoint, ['move-leader', id]);
  }

  async #status(member: Member): Promise<MemberStatus | null> {
    const text = await this.#ctl(member.endpoint, ['endpoint', 'status', '-w', 'json']).catch(
      () => '[]',
    );
    const [status] = JSON.parse(bigIdsToText(text)) as { Status: MemberStatus }[];
    return status?.Status ?? null;
  }

  async healthy(member?: number): Promise<void> {
    const endpoints = this.endpoints.filter((_, i) => member === undefined || i === member);
    const endsAt = clock.now() + START_LIMIT_MS;
    for (const endpoint of endpoints) {
      for (;;) {
        try {
          await this.#ctl(endpoint, ['get', 'leasehold-health', '--command-timeout', '1s']);
          break;
        } catch (error) {
          if (clock.now() > endsAt) throw error;
          await sleep(50);
        }
      }
    }
  }

  async enableAuth({ rootPassword, users }: NonNullable<EtcdSetup['auth']>): Promise<void> {
    await this.ctl('user', 'add', `root:${rootPassword}`);
    await this.ctl('user', 'grant-role', 'root', 'root').catch(async () => {
      await this.ctl('role', 'add', 'root');
      await this.ctl('user', 'grant-role', 'root', 'root');
    });
    for (const { name, password, prefix } of users) {
      if (password === undefined) await this.ctl('user', 'add', name, '--no-password');
      else await this.ctl('user', 'add', `${name}:${password}`);
      await this.ctl('role', 'add', name);
      await this.ctl('role', 'grant-permission', name, '--prefix=true', 'readwrite', prefix);
      await this.ctl('user', 'grant-role', name, name);
    }
    await this.ctl('auth', 'enable');
    this.#hasAuth = true;
  }

  /** The last lines that the members wrote, for messages. */
  tail(): string {
    return this.members.map((member) => `${member.name}: ${member.tail}`).join('\n');
  }

  async close(): Promise<void> {
    await Promise.all(this.members.map((member) => member.kill()));
    rmSync(this.#directory, { recursive: true, force: true });
    directories.delete(this.#directory);
  }

  async #ctl(endpoints: string, args: readonly string[]): Promise<string> {
    const { auth, tls } = this.#setup;
    const [command = 'etcdctl', ...rest] = [
      ...(this.#setup.wrapControl ?? wrapOf(this.#setup, 0)),
      'etcdctl',
      ...flags({ endpoints, 'dial-timeout': '2s' }),
      ...(tls ? this.#ctlTls() : []),
      ...(auth && this.#hasAuth ? flags({ user: `root:${auth.rootPassword}` }) : []),
      ...args,
    ];
    const { stdout } = await run(command, rest, { timeout: 15_000, maxBuffer: SAID_MAX_BYTES });
    return stdout;
  }

  #ctlTls(): readonly string[] {
    const name = this.#setup.tls?.clientNames[0] ?? '';
    const file = (path: string): string => join(this.#directory, path);
    return flags({
      cacert: file('ca.crt'),
      cert: file(`client-${name}.crt`),
      key: file(`client-${name}.key`),
    });
  }
}

type MemberStatus = { readonly leader: string; readonly header: { readonly member_id: string } };

class Member implements EtcdMember {
  readonly name: string;
  readonly endpoint: string;
  readonly listen: EtcdListen;
  readonly #command: readonly string[];
  #child?: ReturnType<typeof spawn> | undefined;
  #isStopped = false;
  #tail = '';

  constructor(name: string, endpoint: string, listen: EtcdListen, command: readonly string[]) {
    this.name = name;
    this.endpoint = endpoint;
    this.listen = listen;
    this.#command = command;
  }

  get tail(): string {
    return this.#tail;
  }

  get isAnswering(): boolean {
    return this.#child !== undefined && !this.#isStopped;
  }

  pid(): number {
    const pid = this.#child?.pid;
    if (pid === undefined) throw new Error(`${this.name} is not running`);
    return pid;
  }

  stop(): void {
    process.kill(this.pid(), 'SIGSTOP');
    waitStopped(this.pid());
    this.#isStopped = true;
  }

  cont(): void {
    process.kill(this.pid(), 'SIGCONT');
    this.#isStopped = false;
  }

  async kill(): Promise<void> {
    const child = this.#child;
    if (child === undefined) return;
    const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGKILL');
      await ended;
    }
    this.#child = undefined;
    this.#isStopped = false;
  }

  restart(): void {
    if (this.#child !== undefined) throw new Error(`${this.name} is running`);
    const [command = 'etcd', ...args] = this.#command;
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    const pid = child.pid;
    if (pid !== undefined) alive.add(pid);
    const keep = (chunk: Buffer): void => {
      this.#tail = (this.#tail + chunk.toString()).slice(-2000);
    };
    child.stdout.on('data', keep);
    child.stderr.on('data', keep);
    child.on('error', (error) => keep(Buffer.from(error.message)));
    child.on('exit', () => {
      if (pid !== undefined) alive.delete(pid);
      // Whoever kills its whole machine does not ask here.
      if (this.#child === child) this.#child = undefined;
    });
    this.#child = child;
  }
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended by itself.
  }
}

function wrapOf({ wrap }: EtcdSetup, member: number): readonly string[] {
  return typeof wrap === 'function' ? wrap(member) : (wrap ?? []);
}

async function resolveListen(setup: EtcdSetup): Promise<readonly EtcdListen[]> {
  if (setup.listen) return setup.listen;
  const ports = await freePorts(2 * (setup.members ?? 1));
  return Array.from({ length: setup.members ?? 1 }, (_, i) => ({
    address: '127.0.0.1',
    clientPort: ports[2 * i] ?? 0,
    peerPort: ports[2 * i + 1] ?? 0,
  }));
}

/** Below those that Linux gives to connections: one of these would keep a member from its port, at a restart too. */
const PORT_MIN = 12_000;
const PORT_END = 32_000;

/** Ports that are free now, all different: held together, then let go. */
export async function freePorts(count: number): Promise<readonly number[]> {
  const held: { readonly server: Server; readonly port: number }[] = [];
  while (held.length < count) {
    const port = randomInt(PORT_MIN, PORT_END);
    const server = await heldPort(port);
    if (server !== null) held.push({ server, port });
  }
  await Promise.all(
    held.map(({ server }) => new Promise((resolve) => server.close(() => resolve(null)))),
  );
  return held.map(({ port }) => port);
}

/** Null: somebody else has it. */
function heldPort(port: number): Promise<Server | null> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(null));
    server.listen(port, '127.0.0.1', () => resolve(server));
  });
}

/** etcd prints 64-bit ids as JSON numbers, which JavaScript would round. */
function bigIdsToText(json: string): string {
  return json.replace(/:(\d{16,})/g, ':"$1"');
}

function flags(values: Readonly<Record<string, string | number>>): readonly string[] {
  return Object.entries(values).flatMap(([name, value]) => [`--${name}`, String(value)]);
}

function tlsArguments(directory: string): readonly string[] {
  return [
    ...flags({
      'cert-file': join(directory, 'server.crt'),
      'key-file': join(directory, 'server.key'),
      'trusted-ca-file': join(directory, 'ca.crt'),
    }),
    '--client-cert-auth',
  ];
}

/** A fresh authority, a server certificate for the addresses, and one per client name. */
async function makeKeys(
  directory: string,
  clientNames: readonly string[],
  addresses: readonly string[],
): Promise<void> {
  const openssl = (command: string, ...more: readonly string[]): Promise<unknown> =>
    run('openssl', [...command.split(' '), ...more], { cwd: directory, timeout: 15_000 });
  const newKey = '-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes';
  await openssl(
    `req -x509 ${newKey} -keyout ca.key -out ca.crt -days 2 -subj`,
    '/CN=test authority',
  );
  const names = ['DNS:localhost', ...addresses.map((address) => `IP:${address}`)].join(',');
  const certificates = [
    { file: 'server', subject: 'etcd', extra: ['-addext', `subjectAltName=${names}`] },
    ...clientNames.map((name) => ({ file: `client-${name}`, subject: name, extra: [] })),
  ];
  for (const { file, subject, extra } of certificates) {
    await openssl(
      `req ${newKey} -keyout ${file}.key -out ${file}.csr -subj`,
      `/CN=${subject}`,
      ...extra,
    );
    await openssl(
      `x509 -req -in ${file}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -copy_extensions copy -days 2 -out ${file}.crt`,
    );
  }
}

/** On a busy machine a thread may run on for a moment after the signal, and answer. */
function waitStopped(pid: number): void {
  const isStopped = (thread: string): boolean => {
    const stat = readFileSync(`/proc/${pid}/task/${thread}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2)[0] === 'T';
  };
  for (let i = 0; i < 1000 && !readdirSync(`/proc/${pid}/task`).every(isStopped); i++)
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
}
