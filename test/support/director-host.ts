/**
 * A director of the lab: a namespace of the running kernel, or a User Mode Linux guest with its own.
 * Both are driven in the same way. The agent is the built one, `dist/main.js`.
 */
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { bootGuest, type Guest, quote } from './guest.ts';
import type { Network } from './network.ts';
import {
  type Completed,
  type Daemon,
  descendantsOf,
  PATIENCE_MS,
  run,
  signalAll,
  waitFor,
} from './processes.ts';

export type DirectorKind = 'namespace' | 'guest';
export const API_PORT = 7480;

export interface DirectorHost {
  readonly name: string;
  readonly address: string;
  /** Its network device: eth0 or vec0. */
  readonly device: string;
  /** Readable and writable from inside, under the same path. */
  readonly directory: string;
  readonly configFile: string;
  /** Writes agent.yaml anew with these top-level entries changed; read by the next agent. */
  writeConfig(changes: object): void;
  /** Shell text, run inside. */
  exec(command: string, options?: { timeoutMs?: number }): Promise<Completed>;
  execOk(command: string, options?: { timeoutMs?: number }): Promise<string>;
  /** The command line tool with these arguments, inside. */
  cli(args: readonly string[], options?: { timeoutMs?: number }): Promise<Completed>;
  /** GET from the agent's API, inside. Code 0: nothing listens. */
  get(path: string): Promise<{ readonly status: number; readonly body: string }>;
  startAgent(): Promise<void>;
  /**
   * An agent of another main program, which is given agent.yaml and these arguments. In namespaces only.
   */
  startProgram(file: string, args: readonly string[]): Promise<void>;
  isAgentRunning(): Promise<boolean>;
  /** SIGTERM and SIGUSR2 to the agent; any other signal also to every process that it started. */
  signalAgent(signal: 'SIGTERM' | 'SIGUSR2' | 'SIGKILL' | 'SIGSTOP' | 'SIGCONT'): Promise<void>;
  /** Blocks the agent's main thread for so long. In namespaces only. */
  stallAgent(milliseconds: number): void;
  /** Of the Node process; throws where none runs. In namespaces only. */
  agentPid(): number;
  /** On this machine, of what it needs processors for: the agent of a namespace, everything in a guest. */
  pids(): readonly number[];
  /** Waits for the end of the agent. */
  agentEnded(timeoutMs: number): Promise<void>;
  agentLog(): string;
  /** Loss of power: nothing of it runs on; in a namespace the cable goes as well. */
  powerOff(): Promise<void>;
  /** After `powerOff`, or the first time. */
  powerOn(): Promise<void>;
}

export type DirectorOptions = {
  readonly network: Network;
  readonly name: string;
  readonly address: string;
  readonly addresses: readonly string[];
  /** Of a second card on the wire inside, `vec1`. In guests only. */
  readonly inside?: readonly string[];
  /** Of a guest. Default 256. */
  readonly memoryMb?: number;
  /** Whether `test/support/lag-meter.mjs` writes to `lag.jsonl` of its directory. Guests only. */
  readonly hasLagMeter?: boolean;
  /** Whether `test/support/wake-meter.mjs` writes to `wakes.jsonl` of its directory. Namespaces only. */
  readonly hasWakeMeter?: boolean;
  /** Contents of agent.yaml, as an object; written as JSON, which is YAML. */
  readonly config: (device: string, directory: string) => object;
};

const repository = fileURLToPath(new URL('../../', import.meta.url));
/** A build that stays as it is while others build: what a long measurement runs. */
// oxlint-disable-next-line no-restricted-properties -- the lab's own switch, of no use to the product
const mainFile = process.env['LEASEHOLD_MAIN'] ?? join(repository, 'dist/main.js');

/** The command line of the built tool. Throws where it has not been built. */
export function leaseholdArgv(
  args: readonly string[],
  nodeArguments: readonly string[] = [],
): readonly string[] {
  if (!existsSync(mainFile)) throw new Error(`${mainFile} is missing: run \`make build\` first`);
  return [process.execPath, ...nodeArguments, mainFile, ...args];
}

/** Does the running kernel have IPVS? Then directors as namespaces forward as well. */
export async function hasIpvs(): Promise<boolean> {
  return (await run(['ipvsadm', '-Ln'])).code === 0;
}

/** A director that is a namespace. It is there at once; `powerOn` puts its cable in. */
export async function createNamespaceDirector(options: DirectorOptions): Promise<DirectorHost> {
  const { network, name } = options;
  const directory = join(network.directory, name);
  mkdirSync(directory);
  await network.addHost(name, options.addresses);
  let agent: Daemon | null = null;
  const common = createCommon(options, directory, 'eth0', (command, runOptions) =>
    network.exec(name, ['bash', '-c', command], runOptions),
  );
  common.writeConfig({ identity: newIdentity(name) });
  const stallFile = join(directory, 'stall-ms');
  const stall = pathToFileURL(join(repository, 'test/support/stall-on-signal.mjs')).href;
  const running = (): Daemon => {
    if (agent === null || !agent.isRunning()) throw new Error(`no agent runs on ${name}`);
    return agent;
  };
  return {
    ...common,
    async startAgent() {
      const planted = ['--import', `${stall}?${encodeURIComponent(stallFile)}`];
      if (options.hasWakeMeter === true) {
        const meter = pathToFileURL(join(repository, 'test/support/wake-meter.mjs')).href;
        const wakes = join(directory, 'wakes.jsonl');
        planted.push('--import', `${meter}?${encodeURIComponent(wakes)}`);
      }
      const argv = leaseholdArgv(['agent', '--config', common.configFile], planted);
      agent = network.spawn(name, 'agent', argv);
      await Promise.resolve();
    },
    async startProgram(file, args) {
      const tsx = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href;
      const argv = [process.execPath, '--import', tsx, file, common.configFile, ...args];
      agent = network.spawn(name, 'agent', argv);
      await Promise.resolve();
    },
    isAgentRunning: () => Promise.resolve(agent?.isRunning() ?? false),
    async signalAgent(signal) {
      const { pid } = running();
      const isAsked = signal === 'SIGTERM' || signal === 'SIGUSR2';
      signalAll(isAsked ? [pid] : descendantsOf(pid), signal);
      await Promise.resolve();
    },
    stallAgent(milliseconds) {
      writeFileSync(stallFile, String(milliseconds));
      running().signal('SIGWINCH');
    },
    agentPid: () => running().pid,
    pids: () => [running().pid],
    agentEnded: (timeoutMs) =>
      waitFor('the agent ends', () => !agent?.isRunning(), { timeoutMs, intervalMs: 10 }).then(
        () => {},
      ),
    agentLog: () => agent?.log() ?? '',
    async powerOff() {
      await network.cable(name, 'out');
      await network.killProcessesOf(name);
      agent = null;
    },
    // The kernel of a namespace does not die with it: what a boot would clear is cleared here.
    async powerOn() {
      common.writeConfig({ identity: newIdentity(name) });
      await network.execOk(name, ['nft', 'flush', 'ruleset']);
      await network.execOk(name, ['ip', 'address', 'flush', 'dev', 'eth0', 'scope', 'global']);
      for (const address of options.addresses) {
        const flags = address.includes(':') ? ['nodad'] : [];
        await network.execOk(name, ['ip', 'address', 'add', address, 'dev', 'eth0', ...flags]);
      }
      await network.cable(name, 'in');
    },
  };
}

/** A director with its own kernel, booted. */
export async function createGuestDirector(options: DirectorOptions): Promise<DirectorHost> {
  const { network, name } = options;
  const boot = (): Promise<Guest> =>
    bootGuest({
      name,
      network,
      addresses: options.addresses,
      ...(options.inside === undefined ? {} : { inside: options.inside }),
      memoryMb: options.memoryMb ?? 256,
    });
  let guest = await boot();
  let agentPid = 0;
  const common = createCommon(options, guest.directory, guest.interface, (command, runOptions) =>
    guest.exec(command, runOptions),
  );
  const isAgentRunning = async (): Promise<boolean> =>
    agentPid !== 0 && (await guest.exec(`kill -0 ${agentPid}`)).code === 0;
  return {
    ...common,
    async startAgent() {
      const meter = pathToFileURL(join(repository, 'test/support/lag-meter.mjs')).href;
      const lagFile = join(guest.directory, 'lag.jsonl');
      const planted =
        options.hasLagMeter === true ? ['--import', `${meter}?${encodeURIComponent(lagFile)}`] : [];
      const argv = leaseholdArgv(['agent', '--config', common.configFile], planted);
      agentPid = await guest.spawn(argv);
    },
    isAgentRunning,
    startProgram: () => notInGuests('another program'),
    stallAgent: () => notInGuests('a stall'),
    agentPid: () => notInGuests('the pid'),
    pids: () => guest.pids(),
    async signalAgent(signal) {
      await guest.execOk(`kill -${signal.slice(3)} ${agentPid}`);
    },
    agentEnded: (timeoutMs) =>
      waitFor('the agent ends', async () => !(await isAgentRunning()), { timeoutMs }).then(
        () => {},
      ),
    agentLog: () => readFileSync(guest.logFile, 'utf8'),
    async powerOff() {
      await guest.kill();
      agentPid = 0;
    },
    async powerOn() {
      guest = await boot();
    },
  };
}

function notInGuests(what: string): never {
  throw new Error(`${what} of an agent is to be had in namespaces only`);
}

/** Namespaces of one machine share its ids; a real machine has its own, and a new one each boot. */
function newIdentity(name: string): object {
  return { machine: `lab-${name}`, boot: randomBytes(8).toString('hex') };
}

type Exec = (command: string, options?: { timeoutMs?: number }) => Promise<Completed>;

function createCommon(
  options: DirectorOptions,
  directory: string,
  device: string,
  exec: Exec,
): Pick<
  DirectorHost,
  | 'name'
  | 'address'
  | 'device'
  | 'directory'
  | 'configFile'
  | 'writeConfig'
  | 'exec'
  | 'execOk'
  | 'cli'
  | 'get'
> {
  const configFile = join(directory, 'agent.yaml');
  const config = options.config(device, directory);
  const writeConfig = (changes: object): void =>
    writeFileSync(configFile, JSON.stringify({ ...config, ...changes }, null, 2));
  writeConfig({});
  const execOk: DirectorHost['execOk'] = async (command, runOptions) => {
    const done = await exec(command, runOptions);
    if (done.code === 0) return done.stdout;
    throw new Error(`${options.name}: ${command}: code ${done.code}: ${done.stderr}`);
  };
  return {
    name: options.name,
    address: options.address,
    device,
    directory,
    configFile,
    writeConfig,
    exec,
    execOk,
    cli: (args, runOptions) =>
      exec(leaseholdArgv(args).map(quote).join(' '), {
        timeoutMs: runOptions?.timeoutMs ?? PATIENCE_MS,
      }),
    get: async (path) => parseResponse((await exec(getCommand(path))).stdout),
  };
}

/** HTTP by bash alone: inside a guest this is much quicker than starting Node. */
function getCommand(path: string): string {
  const request = `GET ${path} HTTP/1.0\\r\\nHost: 127.0.0.1:${API_PORT}\\r\\n\\r\\n`;
  return `exec 3<>/dev/tcp/127.0.0.1/${API_PORT} && printf '${request}' >&3 && timeout 5 cat <&3`;
}

function parseResponse(text: string): { status: number; body: string } {
  const status = Number(/^HTTP\/1\.\d (\d{3})/.exec(text)?.[1] ?? 0);
  const end = text.indexOf('\r\n\r\n');
  return { status, body: end < 0 ? '' : text.slice(end + 4) };
}
