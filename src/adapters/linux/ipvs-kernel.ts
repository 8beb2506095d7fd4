/** The IPVS table of this network namespace over generic netlink. Source: linux/ip_vs.h. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { err, messageOf, ok, type Result } from '../../lib/result.ts';
import { type MonoMs, monoMs } from '../../model/ids.ts';
import {
  type IpvsDaemon,
  type IpvsOperation,
  type IpvsTable,
  type IpvsTimeouts,
  type KernelError,
} from '../../model/kernel.ts';
import type {
  ConnectionReading,
  ConnectionVisit,
  Fresh,
  IpvsCapability,
  IpvsKernel,
} from '../../ports/kernel.ts';
import { decodeFamily, encodeGetFamily, GENL_ID_CTRL } from '../../wire/genetlink.ts';
import { encodeOperation } from '../../wire/ipvs.ts';
import { IPVS_FAMILY_NAME } from '../../wire/ipvs-common.ts';
import {
  decodeDaemon,
  decodeInfo,
  decodeTimeouts,
  encodeGetDaemons,
  encodeGetInfo,
  encodeGetTimeouts,
} from '../../wire/ipvs-control.ts';
import { AttributeWriter, NLM_F_REQUEST } from '../../wire/netlink.ts';
import { CONNECTIONS_FILE, visitConnectionFile } from './ipvs-connections.ts';
import { TableReader, type TableReaderOptions } from './ipvs-dump.ts';
import { failureOf } from './ipvs-failure.ts';
import { kernelError } from './kernel-error.ts';
import { type KernelPorts, type KernelSocket, LazySocket, type Reply } from './kernel-socket.ts';

const NETLINK_GENERIC = 16;
const COMMAND_TIMEOUT_MS = 5000;
const DUMP_TIMEOUT_MS = 10_000;
const BUFFER_BYTES = 8 << 20;
/**
 * Each read gets zeroed memory of this size, its own until the collector comes, which does not know of it. The
 * kernel fills no more in one go than it was given before: 22 destinations.
 */
const DUMP_READ_BYTES = 8192;
const ENCODE_BUFFER_BYTES = 65_536;
const MODPROBE_TIMEOUT_MS = 10_000;
/** After a failure; a module that somebody else loads is seen at once. */
const MODPROBE_REST_MS = 60_000;
const NO_FAMILY = 'the kernel has no IPVS: load it with "modprobe ip_vs" (CONFIG_IP_VS)';

export type IpvsKernelOptions = TableReaderOptions & {
  /** Loads the module; null on success, else why not. For tests; the default runs `modprobe ip_vs`. */
  readonly loadModule?: () => Promise<string | null>;
};

/** Starts nothing: sockets open at the first call. Needs CAP_NET_ADMIN. */
export function createIpvsKernel(ports: KernelPorts, options: IpvsKernelOptions = {}): IpvsKernel {
  return new LinuxIpvsKernel(ports, options);
}

class LinuxIpvsKernel implements IpvsKernel {
  readonly #ports: KernelPorts;
  readonly #loadModule: () => Promise<string | null>;
  readonly #commands: LazySocket;
  readonly #dumps: LazySocket;
  /** Given anew each time the module is loaded. */
  #family: number | null = null;
  readonly #table: TableReader;
  #failedLoad: { readonly reason: string; readonly againAt: MonoMs } | null = null;

  constructor(ports: KernelPorts, options: IpvsKernelOptions) {
    this.#ports = ports;
    this.#loadModule = options.loadModule ?? modprobe;
    this.#table = new TableReader(ports, options);
    const common = { protocol: NETLINK_GENERIC, receiveBytes: BUFFER_BYTES };
    this.#commands = new LazySocket(
      { ...common, readBytes: null, timeoutMs: COMMAND_TIMEOUT_MS },
      ports,
    );
    this.#dumps = new LazySocket(
      { ...common, readBytes: DUMP_READ_BYTES, timeoutMs: DUMP_TIMEOUT_MS },
      ports,
    );
  }

  async capability(): Promise<IpvsCapability> {
    let family = await this.#resolve();
    if (!family.ok && family.error.code === 'UNAVAILABLE') {
      const failure = await this.#tryLoad();
      family = await this.#resolve();
      if (!family.ok) return unavailable(failure ?? family.error.message);
    }
    if (!family.ok) return unavailable(family.error.message);
    const reply = await this.#ask(family.value, encodeGetInfo(), 'ask for the version');
    if (!reply.ok) return unavailable(reply.error.message);
    const info = decodeInfo(reply.value);
    if (!info.ok) return unavailable(info.error);
    const { version, connectionTableSize } = info.value;
    return {
      available: true,
      version,
      detail: `IPVS ${version}, connection table of ${connectionTableSize} entries`,
      tableSize: connectionTableSize,
    };
  }

  async #tryLoad(): Promise<string | null> {
    const { clock } = this.#ports;
    const before = this.#failedLoad;
    if (before !== null && clock.now() < before.againAt) return before.reason;
    const reason = await this.#loadModule();
    const againAt = monoMs(clock.now() + MODPROBE_REST_MS);
    this.#failedLoad = reason === null ? null : { reason, againAt };
    return reason;
  }

  dump(fresh: Fresh = NOTHING): Promise<Result<IpvsTable, KernelError>> {
    return this.#withFamily((family) => this.#dumpTable(family, fresh));
  }

  timeouts(): Promise<Result<IpvsTimeouts, KernelError>> {
    return this.#withFamily(async (family) => {
      const what = 'ask for the IPVS timeouts';
      const reply = await this.#ask(family, encodeGetTimeouts(), what);
      if (!reply.ok) return reply;
      const timeouts = decodeTimeouts(reply.value);
      return timeouts.ok ? timeouts : err(kernelError('UNAVAILABLE', what, timeouts.error));
    });
  }

  daemons(): Promise<Result<readonly IpvsDaemon[], KernelError>> {
    return this.#withFamily(async (family) => {
      const socket = this.#dumps.get();
      if (!socket.ok) return socket;
      const request = { type: family, body: encodeGetDaemons() };
      const messages = await socket.value.dump(request, 'dump the IPVS sync daemons');
      if (!messages.ok) return messages;
      const daemons: IpvsDaemon[] = [];
      for (const { body } of messages.value) {
        const daemon = decodeDaemon(body);
        if (daemon.ok) daemons.push(daemon.value);
        else this.#ports.log.warn({ reason: daemon.error }, 'ipvs.daemon-unreadable');
      }
      return ok(daemons);
    });
  }

  visitConnections(
    visit: ConnectionVisit,
    signal: AbortSignal,
  ): Promise<Result<ConnectionReading, KernelError>> {
    return visitConnectionFile(CONNECTIONS_FILE, visit, signal);
  }

  async apply(operations: readonly IpvsOperation[]): Promise<readonly Result<void, KernelError>[]> {
    if (operations.length === 0) return [];
    const socket = this.#commands.get();
    if (!socket.ok) return operations.map(() => socket);
    const family = await this.#familyId();
    if (!family.ok) return operations.map(() => family);
    let replies = await exchange(socket.value, family.value, operations);
    if (replies.some((reply) => reply.code === 'ENOENT')) {
      // A missing destination and a dead family id look alike: success must not be read into the latter.
      const now = await this.#resolve();
      if (!now.ok) return operations.map(() => now);
      if (now.value !== family.value) replies = await exchange(socket.value, now.value, operations);
    }
    this.#table.applied(operations);
    return operations.map((operation, i) => resultOf(operation, replies[i]));
  }

  close(): void {
    this.#commands.close();
    this.#dumps.close();
  }

  /** The family's id dies with the module: where a question finds it dead, a new one is asked for once. */
  async #withFamily<T>(
    question: (family: number) => Promise<Result<T, KernelError>>,
  ): Promise<Result<T, KernelError>> {
    const known = await this.#familyId();
    if (!known.ok) return known;
    const first = await question(known.value);
    if (first.ok || first.error.code !== 'ENOENT') return first;
    const now = await this.#resolve();
    return now.ok ? question(now.value) : now;
  }

  /** The body of the one message that answers. */
  async #ask(
    family: number,
    body: Uint8Array,
    what: string,
  ): Promise<Result<Uint8Array, KernelError>> {
    const socket = this.#commands.get();
    if (!socket.ok) return socket;
    const [reply] = await socket.value.exchange([{ type: family, flags: 0, body }]);
    if (reply === undefined || reply.code !== null)
      return err(kernelError(reply?.code ?? 'TIMEOUT', what, reply?.reason));
    return ok(reply.messages[0]?.body ?? new Uint8Array());
  }

  async #dumpTable(family: number, fresh: Fresh): Promise<Result<IpvsTable, KernelError>> {
    const socket = this.#dumps.get();
    return socket.ok ? this.#table.read(socket.value, family, fresh) : socket;
  }

  async #familyId(): Promise<Result<number, KernelError>> {
    return this.#family === null ? this.#resolve() : ok(this.#family);
  }

  async #resolve(): Promise<Result<number, KernelError>> {
    this.#family = null;
    const reply = await this.#ask(GENL_ID_CTRL, encodeGetFamily(IPVS_FAMILY_NAME), 'find IPVS');
    if (!reply.ok)
      return reply.error.code === 'ENOENT'
        ? err(kernelError('UNAVAILABLE', 'find IPVS', NO_FAMILY))
        : reply;
    const family = decodeFamily(reply.value);
    if (!family.ok) return err(kernelError('UNAVAILABLE', 'find IPVS', family.error));
    this.#family = family.value.id;
    return ok(family.value.id);
  }
}

const DONE = ok(undefined);
const NOTHING: Fresh = new Set();

const unavailable = (detail: string): IpvsCapability => ({ available: false, detail });

function exchange(
  socket: KernelSocket,
  family: number,
  operations: readonly IpvsOperation[],
): Promise<readonly Reply[]> {
  const writer = new AttributeWriter(ENCODE_BUFFER_BYTES);
  return socket.exchangeEach(operations, (operation) => ({
    type: family,
    flags: NLM_F_REQUEST,
    body: encodeOperation(operation, writer),
  }));
}

function resultOf(operation: IpvsOperation, reply: Reply | undefined): Result<void, KernelError> {
  const failure = failureOf(operation, reply === undefined ? 'TIMEOUT' : reply.code, hasModule);
  return failure === null ? DONE : err(failure);
}

/** Modules that are built in may be missing there. */
const hasModule = (module: string): boolean => existsSync(`/sys/module/${module}`);

/** Null on success, else cause and remedy. */
function modprobe(): Promise<string | null> {
  return new Promise((resolve) => {
    execFile('modprobe', ['ip_vs'], { timeout: MODPROBE_TIMEOUT_MS }, (error, _out, stderr) => {
      if (error === null) resolve(null);
      else resolve(`${NO_FAMILY}; modprobe said: ${stderr.trim() || messageOf(error)}`);
    });
  });
}
