/**
 * Packet sockets that hear one EtherType of one device through a filter, and send whole frames (packet(7)). Nothing
 * here waits.
 */
import { readFileSync } from 'node:fs';
import { err, ok, type Result } from '../../lib/result.ts';
import { type IpAddress, type IpFamily, ipToBytes, type MacAddress } from '../../model/address.ts';
import type { Instruction } from '../../wire/bpf.ts';
import { solicitedNodeGroup } from '../../wire/ndp.ts';
import { bindLibc, type Libc } from '../raw-sockets/libc.ts';
import { type Device, openPacketSocket, PacketSender } from '../raw-sockets/packet-sender.ts';
import { RawSocket } from '../raw-sockets/raw-socket.ts';
import {
  AF_INET6,
  encodeLinkAddress,
  hostInt,
  readDrops,
  SOCKADDR_LL_LENGTH,
  TPACKET_STATS_LENGTH,
} from '../raw-sockets/socket-address.ts';
import { SNAP_LENGTH } from './voice-filter.ts';
import { SOCK_DGRAM } from '../raw-sockets/socket-numbers.ts';

export interface Ear {
  /** Index of the device it was opened on; that device may be gone, and another have its name. */
  readonly deviceIndex: number;
  setFilter(program: readonly Instruction[]): Result<void, string>;
  /** The next frame, valid until the next call; null: none waits. */
  receive(): Uint8Array | null;
  /**
   * Whether frames may have passed unheard since this was last asked: the device was down (packet(7), ENETDOWN),
   * or more came than the socket holds (PACKET_STATISTICS). To be asked when `receive` has given null.
   */
  hasMissed(): boolean;
  /**
   * Makes the device hear what is sent to the solicited-node group of an IPv6 address until the ear is closed,
   * through filters of the hardware and of switches that snoop MLD (RFC 4862 5.4.2). Where the address is
   * bound, the kernel has done so already; a failure changes nothing.
   */
  joinGroupOf(address: IpAddress): void;
  /** Never blocks: the end is given to the kernel on another thread. */
  close(): void;
}

export interface Ethernet {
  device(name: string): Result<Device, string>;
  /** MAC addresses of all interfaces of this network namespace; those read last where they cannot be read. */
  ownMacs(): ReadonlySet<MacAddress>;
  /** Hears ARP (4) or IPv6 (6) of the device, by the filter from the first frame on. Needs CAP_NET_RAW. */
  openEar(device: string, family: IpFamily, filter: readonly Instruction[]): Result<Ear, string>;
  /**
   * Hears every frame that comes in, before any rule of the kernel may drop it: the filter must tell what is
   * wanted. A gate hides from an ordinary ear what others ask about VIPs that are silent here.
   */
  openEarlyEar(device: string, filter: readonly Instruction[]): Result<Ear, string>;
  send(deviceIndex: number, frame: Uint8Array): Result<void, string>;
  close(): void;
}

const ETH_P_ALL = 0x0003;
const ETHERTYPE = { 4: 0x0806, 6: 0x86dd } as const;
const SOL_PACKET = 263;
const PACKET_STATISTICS = 6;
const PACKET_IGNORE_OUTGOING = 23;
const IPPROTO_IPV6 = 41;
const IPV6_JOIN_GROUP = 20;

/** The packet sockets of this process's network namespace; opens nothing yet. */
export function createEthernet(libc: Libc = bindLibc()): Ethernet {
  return new PacketEthernet(libc);
}

class PacketEthernet implements Ethernet {
  readonly #libc: Libc;
  readonly #sender: PacketSender;
  #ownMacs: ReadonlySet<MacAddress> = new Set();

  constructor(libc: Libc) {
    this.#libc = libc;
    this.#sender = new PacketSender(libc);
  }

  device(name: string): Result<Device, string> {
    return this.#sender.device(name);
  }

  ownMacs(): ReadonlySet<MacAddress> {
    const names = interfaceNames();
    // Out of descriptors: a stranger is not made of our own interfaces by that.
    if (names === null || !this.#sender.open().ok) return this.#ownMacs;
    const devices = names.map((name) => this.device(name));
    this.#ownMacs = new Set(devices.flatMap((device) => (device.ok ? [device.value.mac] : [])));
    return this.#ownMacs;
  }

  openEar(device: string, family: IpFamily, filter: readonly Instruction[]): Result<Ear, string> {
    return this.#openEar(device, ETHERTYPE[family], filter);
  }

  openEarlyEar(device: string, filter: readonly Instruction[]): Result<Ear, string> {
    return this.#openEar(device, ETH_P_ALL, filter);
  }

  #openEar(name: string, etherType: number, filter: readonly Instruction[]): Result<Ear, string> {
    const device = this.device(name);
    if (!device.ok) return device;
    const socket = openPacketSocket(this.#libc);
    if (!socket.ok) return socket;
    const deviceIndex = device.value.index;
    const ear = new PacketEar(this.#libc, socket.value, deviceIndex);
    // Since Linux 4.20; without it our own frames are copied for us, and dropped by their MAC address.
    if (etherType === ETH_P_ALL)
      socket.value.setOption(SOL_PACKET, PACKET_IGNORE_OUTGOING, hostInt(1));
    // Not bound before it has its filter: nothing else is heard.
    const filtered = ear.setFilter(filter);
    const bound = filtered.ok
      ? socket.value.bind(encodeLinkAddress({ deviceIndex, etherType, destination: null }))
      : filtered;
    if (bound.ok) return ok(ear);
    ear.close();
    return filtered.ok ? err(`cannot listen: ${bound.error}`) : filtered;
  }

  send(deviceIndex: number, frame: Uint8Array): Result<void, string> {
    return this.#sender.send(deviceIndex, frame);
  }

  close(): void {
    this.#sender.close();
  }
}

class PacketEar implements Ear {
  readonly deviceIndex: number;
  readonly #libc: Libc;
  readonly #socket: RawSocket;
  readonly #buffer = new Uint8Array(SNAP_LENGTH);
  readonly #from = new Uint8Array(SOCKADDR_LL_LENGTH);
  readonly #statistics = new Uint8Array(TPACKET_STATS_LENGTH);
  /** Of IPv6: it does nothing but hold memberships. */
  #members: Result<RawSocket, string> | null = null;
  #hasFailed = false;

  constructor(libc: Libc, socket: RawSocket, deviceIndex: number) {
    this.#libc = libc;
    this.#socket = socket;
    this.deviceIndex = deviceIndex;
  }

  setFilter(program: readonly Instruction[]): Result<void, string> {
    const set = this.#socket.setFilter(program);
    return set.ok ? set : err(`cannot filter: ${set.error}`);
  }

  receive(): Uint8Array | null {
    const received = this.#socket.receive(this.#buffer, this.#from);
    if (!received.ok) this.#hasFailed = true;
    return received.ok && received.value > 0 ? this.#buffer.subarray(0, received.value) : null;
  }

  hasMissed(): boolean {
    // To read the count is to begin it anew.
    const read = this.#socket.getOption(SOL_PACKET, PACKET_STATISTICS, this.#statistics);
    const hasMissed = this.#hasFailed || !read.ok || readDrops(this.#statistics) > 0;
    this.#hasFailed = false;
    return hasMissed;
  }

  joinGroupOf(address: IpAddress): void {
    const kind = { domain: AF_INET6, type: SOCK_DGRAM, protocol: 0 };
    this.#members ??= RawSocket.open(this.#libc, kind);
    if (!this.#members.ok) return;
    // struct ipv6_mreq. A second membership of one group is refused, and not needed.
    const group = solicitedNodeGroup(ipToBytes(address));
    const request = Uint8Array.of(...group, ...hostInt(this.deviceIndex));
    this.#members.value.setOption(IPPROTO_IPV6, IPV6_JOIN_GROUP, request);
  }

  close(): void {
    this.#socket.close('aside');
    if (this.#members?.ok === true) this.#members.value.close('aside');
    this.#members = err('closed');
  }
}

/** Of the calling process's network namespace (proc_pid_net(5)); null: they cannot be read now. */
function interfaceNames(): string[] | null {
  let table: string;
  try {
    table = readFileSync('/proc/self/net/dev', 'utf8');
  } catch {
    return null;
  }
  const lines = table.split('\n').slice(2);
  return lines.flatMap((line) => {
    const name = line.split(':')[0]?.trim() ?? '';
    return name === '' ? [] : [name];
  });
}
