/** This machine, as `leasehold realserver` prepares it: rtnetlink, /proc/sys, `fou`, and modprobe. */
import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { err, messageOf, ok, type Result } from '../../lib/result.ts';
import { familyOf } from '../../model/address.ts';
import type { BoundAddress, KernelError } from '../../model/kernel.ts';
import {
  type GuePort,
  type HostFacts,
  type HostLink,
  type HostStep,
  REAL_SERVER_ADDRESS_PROTOCOL,
  type SettingPath,
} from '../../model/real-server-host.ts';
import type { RealServerHost } from '../../ports/real-server-host.ts';
import {
  decodeGuePort,
  encodeAddGuePort,
  encodeDeleteGuePort,
  encodeGetGuePorts,
  FOU_FAMILY_NAME,
} from '../../wire/fou.ts';
import { decodeFamily, encodeGetFamily, GENL_ID_CTRL } from '../../wire/genetlink.ts';
import { NLM_F_CREATE, type NetlinkMessage } from '../../wire/netlink.ts';
import {
  decodeAddress,
  encodeAddressDump,
  encodeDeleteAddress,
  encodeLinkDump,
  encodeNewAddress,
  RTM_DELADDR,
  RTM_DELLINK,
  RTM_GETADDR,
  RTM_GETLINK,
  RTM_NEWADDR,
  RTM_NEWLINK,
} from '../../wire/rtnetlink.ts';
import {
  decodeHostLink,
  encodeCreateLink,
  encodeDeleteLink,
  encodeSwitchLink,
} from '../../wire/rtnetlink-links.ts';
import { kernelError } from './kernel-error.ts';
import { LazySocket, type KernelPorts, type NetlinkRequest, type Reply } from './kernel-socket.ts';
import { setInnerProtocol } from './tunnel-ioctl.ts';

const NETLINK_ROUTE = 0;
const NETLINK_GENERIC = 16;
const COMMAND_TIMEOUT_MS = 5000;
const BUFFER_BYTES = 4 << 20;
const MODPROBE_TIMEOUT_MS = 10_000;

export type RealServerHostOptions = {
  /** Loads a module; null on success, else why not. For tests; the default runs `modprobe`. */
  readonly loadModule?: (module: string) => Promise<string | null>;
  /** Default /proc/sys. */
  readonly settingsDirectory?: string;
};

/** Starts nothing: sockets open at the first call. Needs CAP_NET_ADMIN to change anything. */
export function createRealServerHost(
  ports: KernelPorts,
  options: RealServerHostOptions = {},
): RealServerHost {
  return new LinuxHost(ports, options);
}

class LinuxHost implements RealServerHost {
  readonly #ports: KernelPorts;
  readonly #loadModule: (module: string) => Promise<string | null>;
  readonly #settings: string;
  readonly #route: LazySocket;
  readonly #generic: LazySocket;

  constructor(ports: KernelPorts, options: RealServerHostOptions) {
    this.#ports = ports;
    this.#loadModule = options.loadModule ?? modprobe;
    this.#settings = options.settingsDirectory ?? '/proc/sys';
    const rest = { receiveBytes: BUFFER_BYTES, readBytes: null, timeoutMs: COMMAND_TIMEOUT_MS };
    this.#route = new LazySocket({ protocol: NETLINK_ROUTE, ...rest }, ports);
    this.#generic = new LazySocket({ protocol: NETLINK_GENERIC, ...rest }, ports);
  }

  async observe(
    settingsOf: (links: readonly HostLink[]) => readonly SettingPath[],
  ): Promise<Result<HostFacts, KernelError>> {
    const links = await this.#dumpRoute(RTM_GETLINK, encodeLinkDump(), decodeHostLink);
    if (!links.ok) return links;
    const addresses = await this.#dumpRoute<BoundAddress>(
      RTM_GETADDR,
      encodeAddressDump(),
      (body) => {
        const seen = decodeAddress(body);
        return seen.ok ? ok(seen.value?.address ?? null) : seen;
      },
    );
    if (!addresses.ok) return addresses;
    const guePorts = await this.#dumpGuePorts();
    if (!guePorts.ok) return guePorts;
    const settings = await this.#readSettings(settingsOf(links.value));
    return ok({
      links: links.value,
      addresses: addresses.value,
      settings,
      guePorts: guePorts.value,
    });
  }

  async apply(step: HostStep): Promise<Result<void, KernelError>> {
    switch (step.kind) {
      case 'load-module':
        return this.#load(step.module);
      case 'create-link': {
        const body = encodeCreateLink(step.name, step.linkKind);
        const reply = await this.#askRoute({
          type: RTM_NEWLINK,
          flags: NLM_F_CREATE | NLM_F_EXCL,
          body,
        });
        return judge(reply, `make the device ${step.name}`, ['EEXIST']);
      }
      case 'delete-link': {
        const body = encodeDeleteLink(step.index);
        const reply = await this.#askRoute({ type: RTM_DELLINK, flags: 0, body });
        return judge(reply, `remove the device ${step.name}`, ['ENODEV']);
      }
      case 'switch-link': {
        const body = encodeSwitchLink(step.index, step.isUp);
        const reply = await this.#askRoute({ type: RTM_NEWLINK, flags: 0, body });
        return judge(reply, `bring ${step.name} ${step.isUp ? 'up' : 'down'}`, []);
      }
      case 'set-inner-protocol':
        return setInnerProtocol(step.name, step.value);
      case 'set':
        return this.#write(step.path, step.value);
      case 'add-gue-port':
      case 'delete-gue-port':
        return this.#changeGuePort(step.kind === 'add-gue-port', step.port);
      case 'add-address':
      case 'delete-address':
        return this.#changeAddress(step);
    }
  }

  close(): void {
    this.#route.close();
    this.#generic.close();
  }

  async #changeAddress(
    step: HostStep & { kind: 'add-address' | 'delete-address' },
  ): Promise<Result<void, KernelError>> {
    const { address, index: linkIndex, device } = step;
    const prefix = familyOf(address) === 4 ? 32 : 128;
    const what = `${address}/${prefix} on ${device}`;
    if (step.kind === 'delete-address') {
      const body = encodeDeleteAddress({ linkIndex, address, prefix });
      const reply = await this.#askRoute({ type: RTM_DELADDR, flags: 0, body });
      return judge(reply, `unbind ${what}`, ['EADDRNOTAVAIL', 'ENODEV']);
    }
    // Scope host: never the source of the machine's own traffic. For ever, and no other's to remove.
    const request = { linkIndex, address, prefix, label: null, validLifetimeS: null };
    const body = encodeNewAddress(
      { ...request, scope: 'host' },
      { protocol: REAL_SERVER_ADDRESS_PROTOCOL },
    );
    const reply = await this.#askRoute({ type: RTM_NEWADDR, flags: NLM_F_CREATE, body });
    return judge(reply, `bind ${what}`, ['EEXIST']);
  }

  async #askRoute(request: NetlinkRequest): Promise<Reply> {
    return exchangeOne(this.#route, request);
  }

  async #dumpRoute<T>(
    type: number,
    body: Uint8Array,
    decode: (body: Uint8Array) => Result<T | null, string>,
  ): Promise<Result<readonly T[], KernelError>> {
    const socket = this.#route.get();
    if (!socket.ok) return socket;
    const what = type === RTM_GETLINK ? 'dump the links' : 'dump the addresses';
    const messages = await socket.value.dump({ type, body }, what);
    return messages.ok ? ok(this.#decodeAll(messages.value, decode)) : messages;
  }

  /** What cannot be read is somebody else's. */
  #decodeAll<T>(
    messages: readonly NetlinkMessage[],
    decode: (body: Uint8Array) => Result<T | null, string>,
  ): readonly T[] {
    return messages.flatMap(({ body }) => {
      const decoded = decode(body);
      if (decoded.ok) return decoded.value === null ? [] : [decoded.value];
      this.#ports.log.warn({ reason: decoded.error }, 'netlink.message-unreadable');
      return [];
    });
  }

  async #fouFamily(): Promise<Result<number | null, KernelError>> {
    const reply = await exchangeOne(this.#generic, {
      type: GENL_ID_CTRL,
      flags: 0,
      body: encodeGetFamily(FOU_FAMILY_NAME),
    });
    if (reply.code === 'ENOENT') return ok(null);
    const what = 'ask for the generic netlink family fou';
    if (reply.code !== null) return err(kernelError(reply.code, what, reply.reason));
    const family = decodeFamily(reply.messages[0]?.body ?? new Uint8Array());
    return family.ok ? ok(family.value.id) : err(kernelError('UNAVAILABLE', what, family.error));
  }

  async #dumpGuePorts(): Promise<Result<readonly GuePort[] | null, KernelError>> {
    const family = await this.#fouFamily();
    if (!family.ok) return family;
    if (family.value === null) return ok(null);
    const socket = this.#generic.get();
    if (!socket.ok) return socket;
    const request = { type: family.value, body: encodeGetGuePorts() };
    const messages = await socket.value.dump(request, 'dump the gue ports');
    return messages.ok ? ok(this.#decodeAll(messages.value, decodeGuePort)) : messages;
  }

  async #changeGuePort(isAdded: boolean, port: GuePort): Promise<Result<void, KernelError>> {
    const what = `${isAdded ? 'open' : 'close'} the gue port ${port.port} over IPv${port.family}`;
    const family = await this.#fouFamily();
    if (!family.ok) return family;
    if (family.value === null) {
      if (!isAdded) return ok(undefined);
      return err(kernelError('UNAVAILABLE', what, 'modprobe fou (CONFIG_NET_FOU)'));
    }
    const body = isAdded ? encodeAddGuePort(port) : encodeDeleteGuePort(port);
    const reply = await exchangeOne(this.#generic, { type: family.value, flags: 0, body });
    if (isAdded && reply.code === 'EADDRINUSE')
      return err(
        kernelError('EADDRINUSE', what, `another socket has UDP port ${port.port} (ss -lun)`),
      );
    return judge(reply, what, isAdded ? ['EALREADY'] : ['EINVAL']);
  }

  async #load(module: string): Promise<Result<void, KernelError>> {
    const failure = await this.#loadModule(module);
    if (failure === null) return ok(undefined);
    return err({
      code: 'UNAVAILABLE',
      message: `the kernel module ${module} cannot be loaded; modprobe said: ${failure}`,
    });
  }

  async #readSettings(paths: readonly SettingPath[]): Promise<ReadonlyMap<SettingPath, number>> {
    const settings = new Map<SettingPath, number>();
    for (const path of paths) {
      // oxlint-disable-next-line no-await-in-loop -- small files of the kernel, not thousands at once
      const value = await readFile(join(this.#settings, path), 'utf8').catch(() => null);
      if (value !== null && /^-?\d+\s*$/.test(value)) settings.set(path, Number(value));
    }
    return settings;
  }

  async #write(path: SettingPath, value: number): Promise<Result<void, KernelError>> {
    const file = join(this.#settings, path);
    try {
      await writeFile(file, `${value}\n`, { flag: 'r+' });
      return ok(undefined);
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? String(error.code) : 'UNAVAILABLE';
      const reason =
        code === 'EROFS'
          ? '/proc/sys is read-only here, as in a container without privileges'
          : null;
      return err(kernelError(code, `set ${file} to ${value}`, reason));
    }
  }
}

const NLM_F_EXCL = 0x200;

async function exchangeOne(lazy: LazySocket, request: NetlinkRequest): Promise<Reply> {
  const socket = lazy.get();
  if (!socket.ok) return { code: socket.error.code, reason: socket.error.message, messages: [] };
  const [reply] = await socket.value.exchange([request]);
  return reply ?? { code: 'TIMEOUT', reason: null, messages: [] };
}

function judge(
  { code, reason }: Reply,
  what: string,
  successes: readonly string[],
): Result<void, KernelError> {
  if (code === null || successes.includes(code)) return ok(undefined);
  return err(kernelError(code, what, reason));
}

/** The environment is this process's: MODPROBE_OPTIONS is heeded. */
function modprobe(module: string): Promise<string | null> {
  return new Promise((resolve) => {
    execFile(
      'modprobe',
      ['--', module],
      { timeout: MODPROBE_TIMEOUT_MS },
      (error, _out, stderr) => {
        if (error === null) resolve(null);
        else resolve(stderr.trim().replaceAll('\n', '; ') || messageOf(error));
      },
    );
  });
}
