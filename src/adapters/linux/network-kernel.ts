/** Links and addresses of this network namespace over routing netlink. Source: rtnetlink(7). */
import { AsyncQueue } from '../../lib/async.ts';
import { err, messageOf, ok, type Result } from '../../lib/result.ts';
import {
  ADDRESS_PROTOCOL,
  type BindRequest,
  type BoundAddress,
  type KernelError,
} from '../../model/kernel.ts';
import type { KernelEvent, LinkState } from '../../model/kernel.ts';
import type { NetworkKernel } from '../../ports/kernel.ts';
import { NLM_F_CREATE, NLM_F_REPLACE, type NetlinkMessage } from '../../wire/netlink.ts';
import {
  decodeAddress,
  decodeLink,
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
  RTNLGRP_IPV4_IFADDR,
  RTNLGRP_IPV6_IFADDR,
  RTNLGRP_LINK,
  type AddressKey,
  type AddressMessage,
} from '../../wire/rtnetlink.ts';
import { isAddressGone, kernelError } from './kernel-error.ts';
import {
  LazySocket,
  openKernelSocket,
  type KernelPorts,
  type KernelSocket,
} from './kernel-socket.ts';
import { findTakenAlong, promotesSecondaries } from './secondaries.ts';

const NETLINK_ROUTE = 0;
const COMMAND_TIMEOUT_MS = 2000;
const DUMP_TIMEOUT_MS = 5000;
const COMMAND_BUFFER_BYTES = 8 << 20;
const DUMP_BUFFER_BYTES = 8 << 20;
const DUMP_READ_BYTES = 65_536;
/** The kernel doubles it. 20,000 notifications of 1 to 2 KiB each fit while the event loop is blocked. */
const NOTIFICATION_BUFFER_BYTES = 32 << 20;
const QUEUED_EVENTS = 32_768;
const LOSS_CHECK_MS = 1000;
const RESYNC_CHECKS = 30;

type DumpedAddress = AddressMessage & { readonly body: Uint8Array };

export type NetworkKernelOptions = {
  /** Receive buffer of `watch`; what does not fit is lost and followed by a `resync`. */
  readonly notificationBufferBytes?: number;
};

/** Starts nothing: sockets open at the first call. Needs CAP_NET_ADMIN to bind and unbind. */
export function createNetworkKernel(
  ports: KernelPorts,
  options: NetworkKernelOptions = {},
): NetworkKernel {
  return new LinuxNetworkKernel(
    ports,
    options.notificationBufferBytes ?? NOTIFICATION_BUFFER_BYTES,
  );
}

class LinuxNetworkKernel implements NetworkKernel {
  readonly #ports: KernelPorts;
  readonly #commands: LazySocket;
  readonly #dumps: LazySocket;
  readonly #watches = new Set<KernelSocket>();
  readonly #notificationBufferBytes: number;

  constructor(ports: KernelPorts, notificationBufferBytes: number) {
    this.#ports = ports;
    this.#notificationBufferBytes = notificationBufferBytes;
    const route = { protocol: NETLINK_ROUTE };
    this.#commands = new LazySocket(
      {
        ...route,
        receiveBytes: COMMAND_BUFFER_BYTES,
        readBytes: null,
        timeoutMs: COMMAND_TIMEOUT_MS,
      },
      ports,
    );
    this.#dumps = new LazySocket(
      {
        ...route,
        receiveBytes: DUMP_BUFFER_BYTES,
        readBytes: DUMP_READ_BYTES,
        timeoutMs: DUMP_TIMEOUT_MS,
      },
      ports,
    );
  }

  async links(): Promise<Result<readonly LinkState[], KernelError>> {
    const messages = await this.#dump(RTM_GETLINK, encodeLinkDump(), 'dump the links');
    return messages.ok ? this.#decodeAll(messages.value, (body) => decodeLink(body)) : messages;
  }

  async addresses(): Promise<Result<readonly BoundAddress[], KernelError>> {
    const dumped = await this.#dumpAddresses();
    return dumped.ok ? ok(dumped.value.map((entry) => entry.address)) : dumped;
  }

  async bind(requests: readonly BindRequest[]): Promise<readonly Result<void, KernelError>[]> {
    const socket = this.#commands.get();
    if (!socket.ok) return requests.map(() => socket);
    const replies = await socket.value.exchange(
      requests.map((request) => ({
        type: RTM_NEWADDR,
        flags: NLM_F_CREATE | NLM_F_REPLACE,
        body: encodeNewAddress(request),
      })),
    );
    return requests.map((request, i) => {
      const reply = replies[i];
      if (reply?.code === null) return ok(undefined);
      return err(kernelError(reply?.code ?? 'TIMEOUT', `bind ${nameOf(request)}`, reply?.reason));
    });
  }

  async unbind(addresses: readonly AddressKey[]): Promise<readonly Result<void, KernelError>[]> {
    const socket = this.#commands.get();
    if (!socket.ok) return addresses.map(() => socket);
    const endangered = await this.#endangeredBy(addresses);
    const replies = await socket.value.exchange([
      ...addresses.map((key) => ({ type: RTM_DELADDR, flags: 0, body: encodeDeleteAddress(key) })),
      // In the same datagram: what the kernel takes along is away for microseconds only.
      ...endangered.map((entry) => ({ type: RTM_NEWADDR, flags: NLM_F_CREATE, body: entry.body })),
    ]);
    return addresses.map((key, i) => {
      const reply = replies[i];
      const code = reply === undefined ? 'TIMEOUT' : reply.code;
      if (code === null || isAddressGone(code)) return ok(undefined);
      return err(kernelError(code, `unbind ${nameOf(key)}`, reply?.reason));
    });
  }

  async *watch(signal: AbortSignal): AsyncIterable<KernelEvent> {
    const queue = new AsyncQueue<KernelEvent>(QUEUED_EVENTS);
    const resync = (reason: string): void => queue.push({ kind: 'resync', reason });
    const socket = this.#openWatch(queue, resync);
    const stopChecks = this.#checkForLoss(socket, resync);
    const end = (): void => queue.end();
    signal.addEventListener('abort', end, { once: true });
    if (signal.aborted) end();
    try {
      let dropped = 0;
      for await (const event of queue) {
        if (signal.aborted) return;
        // The oldest are dropped, so this comes before what is left: nothing after it is missing.
        if (queue.dropped > dropped) yield { kind: 'resync', reason: 'the reader was too slow' };
        dropped = queue.dropped;
        yield event;
      }
    } finally {
      signal.removeEventListener('abort', end);
      stopChecks();
      if (socket !== null) this.#watches.delete(socket);
      socket?.close();
    }
  }

  close(): void {
    this.#commands.close();
    this.#dumps.close();
    for (const socket of this.#watches) socket.close();
    this.#watches.clear();
  }

  async #dump(
    type: number,
    body: Uint8Array,
    what: string,
  ): Promise<Result<readonly NetlinkMessage[], KernelError>> {
    const socket = this.#dumps.get();
    return socket.ok ? socket.value.dump({ type, body }, what) : socket;
  }

  async #dumpAddresses(): Promise<Result<readonly DumpedAddress[], KernelError>> {
    const messages = await this.#dump(RTM_GETADDR, encodeAddressDump(), 'dump the addresses');
    if (!messages.ok) return messages;
    return this.#decodeAll<DumpedAddress>(messages.value, (body) => {
      const decoded = decodeAddress(body);
      if (!decoded.ok) return decoded;
      return ok(decoded.value === null ? null : { ...decoded.value, body });
    });
  }

  /** What cannot be read is somebody else's: it is logged and left out, and hides nothing of ours. */
  #decodeAll<T>(
    messages: readonly NetlinkMessage[],
    decode: (body: Uint8Array) => Result<T | null, string>,
  ): Result<readonly T[], KernelError> {
    const values: T[] = [];
    for (const message of messages) {
      const decoded = decode(message.body);
      if (!decoded.ok)
        this.#ports.log.warn({ reason: decoded.error }, 'netlink.message-unreadable');
      else if (decoded.value !== null) values.push(decoded.value);
    }
    return ok(values);
  }

  /** Bound addresses that would go with these because of promote_secondaries=0. */
  async #endangeredBy(addresses: readonly AddressKey[]): Promise<readonly DumpedAddress[]> {
    const bound = await this.#dumpAddresses();
    if (!bound.ok) return [];
    const candidates = findTakenAlong(addresses, bound.value).filter(
      ({ address }) => !isLeased(address),
    );
    if (candidates.length === 0) return [];
    const links = await this.links();
    const names = new Map(links.ok ? links.value.map((link) => [link.index, link.name]) : []);
    const kept = new Map<number, boolean>();
    for (const { linkIndex } of candidates.map((entry) => entry.address)) {
      // oxlint-disable-next-line no-await-in-loop -- two small files for each of very few links
      if (!kept.has(linkIndex))
        kept.set(linkIndex, await promotesSecondaries(names.get(linkIndex) ?? ''));
    }
    const endangered = candidates.filter((entry) => kept.get(entry.address.linkIndex) !== true);
    if (endangered.length > 0)
      this.#ports.log.warn(
        {
          addresses: endangered.map((entry) => nameOf(entry.address)),
          remedy: 'set sysctl net.ipv4.conf.all.promote_secondaries=1',
        },
        'address.restored-after-primary',
      );
    return endangered;
  }

  #openWatch(
    queue: AsyncQueue<KernelEvent>,
    resync: (reason: string) => void,
  ): KernelSocket | null {
    const opened = openKernelSocket(
      {
        protocol: NETLINK_ROUTE,
        receiveBytes: this.#notificationBufferBytes,
        readBytes: null,
        timeoutMs: COMMAND_TIMEOUT_MS,
        onNotification: (message) => {
          const event = decodeEvent(message);
          if (!event.ok) resync(event.error);
          else if (event.value !== null) queue.push(event.value);
        },
        onLoss: resync,
      },
      this.#ports,
    );
    const socket = opened.ok ? opened.value : null;
    if (socket === null || socket.unprotected !== null) {
      // A group joined without protection could end the process; polling is slower but alive.
      socket?.close();
      resync('no notifications: polling');
      return null;
    }
    this.#watches.add(socket);
    try {
      for (const group of [RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR])
        socket.join(group);
      resync('start');
    } catch (error) {
      resync(`no notifications: ${messageOf(error)}`);
    }
    return socket;
  }

  /** Each second: the kernel's drop counter; a resync after each loss, and every 30 s in any case. */
  #checkForLoss(socket: KernelSocket | null, resync: (reason: string) => void): () => void {
    let seen = 0;
    let checks = 0;
    let isStopped = false;
    let cancel: () => void = () => {};
    const check = (): void => {
      if (isStopped) return;
      checks++;
      const drops = socket?.drops() ?? null;
      if (drops !== null && drops > seen) {
        resync(`the kernel dropped ${drops - seen} notifications`);
        seen = drops;
      } else if (drops === null || checks % RESYNC_CHECKS === 0) resync('periodic');
      arm();
    };
    const arm = (): void => {
      cancel = this.#ports.clock.schedule(LOSS_CHECK_MS, check);
    };
    arm();
    return () => {
      isStopped = true;
      cancel();
    };
  }
}

function decodeEvent(message: NetlinkMessage): Result<KernelEvent | null, string> {
  if (message.type === RTM_NEWLINK || message.type === RTM_DELLINK) {
    const link = decodeLink(message.body);
    if (!link.ok || link.value === null) return link.ok ? ok(null) : link;
    return ok({ kind: 'link', link: link.value, isGone: message.type === RTM_DELLINK });
  }
  if (message.type === RTM_NEWADDR || message.type === RTM_DELADDR) {
    const seen = decodeAddress(message.body);
    if (!seen.ok || seen.value === null) return seen.ok ? ok(null) : seen;
    const isGone = message.type === RTM_DELADDR;
    return ok({ kind: 'address', address: seen.value.address, isGone });
  }
  return ok(null);
}

const nameOf = (key: AddressKey): string => `${key.address}/${key.prefix} on link ${key.linkIndex}`;

/** Longest lifetime that a VIP is bound with: the longest D of the cluster document. */
const LEASED_LIFETIME_S = 60;

/**
 * A VIP of ours: only the gate binds those, inside their deadline; a dump may be older than that. Kernels
 * before 5.18 keep no tag, but nobody else gives addresses so short a life.
 */
const isLeased = ({ protocol, validLifetimeS }: BoundAddress): boolean =>
  protocol === ADDRESS_PROTOCOL ||
  (protocol === null && validLifetimeS !== null && validLifetimeS <= LEASED_LIFETIME_S);
