/**
 * Two raw sockets for one device and family: one only sends (IPPROTO_RAW, we write the IP header, so the source
 * address, TTL and hop limit are ours to choose), one only hears protocol 112. Apart, because raw-socket
 * serves reading first: a flood must not keep our advertisements back.
 */
import { assert } from '../../lib/assert.ts';
import { err, messageOf, ok, type Result } from '../../lib/result.ts';
import { type IpAddress, type IpFamily, ipToBytes } from '../../model/address.ts';
import type { MonoMs } from '../../model/ids.ts';
import type { VrrpDrop } from '../../model/vrrp.ts';
import type { Clock } from '../../ports/clock.ts';
import {
  decodeIpv4Packet,
  PROTOCOL_VRRP,
  VRRP_GROUP_4,
  VRRP_GROUP_6,
  type VrrpDatagram,
} from '../../wire/vrrp-ip.ts';
import type { Descriptors, Ipv6Reader } from './descriptor.ts';
import type { RawPackage, RawSocket } from './raw-package.ts';
import { SOL_SOCKET, SO_BINDTODEVICE } from '../raw-sockets/socket-numbers.ts';

const IPPROTO_RAW = 255;
const IPPROTO_IP = 0;
const IP_MULTICAST_LOOP = 34;
const IP_ADD_MEMBERSHIP = 35;
const IP_MULTICAST_ALL = 49;
const IPPROTO_IPV6 = 41;
const IPV6_MULTICAST_LOOP = 19;
const IPV6_JOIN_GROUP = 20;
const IPV6_MULTICAST_ALL = 29;
const IPV6_RECVPKTINFO = 49;
const IPV6_RECVHOPLIMIT = 51;

const BUFFER_BYTES = 8_192;
/** Datagrams heard in one window; what else comes waits in the kernel, and what overflows there is lost. */
export const RECEIVE_BUDGET = 500;
export const BUDGET_WINDOW_MS = 20;

export type SocketPlace = {
  readonly device: string;
  readonly deviceIndex: number;
  readonly family: IpFamily;
  readonly isMulticast: boolean;
};

export type SocketPorts = {
  readonly clock: Clock;
  readonly raw: RawPackage;
  readonly descriptors: Descriptors;
  /** Must not throw. The payload is the listener's to keep. */
  readonly onDatagram: (datagram: Result<VrrpDatagram, VrrpDrop>) => void;
  /** The sockets no longer work and are closed. Must not throw. */
  readonly onFailure: (error: string) => void;
};

export class VrrpSocket {
  readonly place: SocketPlace;
  readonly #ports: SocketPorts;
  readonly #sockets: RawSocket[] = [];
  #sender: RawSocket | null = null;
  #receiver: RawSocket | null = null;
  #reader: Ipv6Reader | null = null;
  #isClosed = false;
  #windowStart = Number.NEGATIVE_INFINITY;
  #heard = 0;
  #cancelPause: (() => void) | null = null;

  private constructor(place: SocketPlace, ports: SocketPorts) {
    this.place = place;
    this.#ports = ports;
  }

  /** Needs CAP_NET_RAW; the sockets live in the network namespace of the process. */
  static open(place: SocketPlace, ports: SocketPorts): Result<VrrpSocket, string> {
    const opened = new VrrpSocket(place, ports);
    try {
      opened.#open();
      return ok(opened);
    } catch (error) {
      opened.close();
      return err(messageOf(error));
    }
  }

  /**
   * `done` gets null, or why it was not sent. It may be called at once. The package sends at a later turn of the
   * event loop: what would leave at `until` or later is not sent.
   */
  send(
    packet: Uint8Array,
    { destination, until }: { readonly destination: IpAddress; readonly until: MonoMs | null },
    done: (error: string | null) => void,
  ): void {
    if (this.#isClosed || this.#sender === null) {
      done('closed');
      return;
    }
    const bytes = Buffer.from(packet);
    const judge = (): void => {
      if (until !== null && this.#ports.clock.now() >= until) throw new Error('too late');
    };
    this.#sender.send(bytes, 0, bytes.length, destination, judge, (error) =>
      done(error === null ? null : error.message),
    );
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#cancelPause?.();
    this.#reader?.close();
    for (const socket of this.#sockets) socket.close();
  }

  #open(): void {
    const sender = this.#create(IPPROTO_RAW, () => {});
    sender.pauseRecv();
    if (this.place.family === 4) sender.setOption(IPPROTO_IP, IP_MULTICAST_LOOP, 0);
    else sender.setOption(IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 0);
    this.#sender = sender;
    if (this.place.family === 4) this.#openReceiver4();
    else this.#openReceiver6();
    if (this.place.isMulticast) this.#join();
  }

  #openReceiver4(): void {
    const receiver = this.#create(PROTOCOL_VRRP, null);
    receiver.setOption(IPPROTO_IP, IP_MULTICAST_ALL, 0);
    // The package uses the buffer again for the next one.
    receiver.on('message', (bytes) => this.#take(decodeIpv4Packet(Uint8Array.from(bytes))));
    this.#receiver = receiver;
  }

  #openReceiver6(): void {
    const receiver = this.#create(PROTOCOL_VRRP, () => {
      const datagram = this.#reader?.receive() ?? null;
      if (datagram !== null) this.#take(ok(datagram));
    });
    for (const option of [IPV6_RECVPKTINFO, IPV6_RECVHOPLIMIT])
      receiver.setOption(IPPROTO_IPV6, option, 1);
    try {
      receiver.setOption(IPPROTO_IPV6, IPV6_MULTICAST_ALL, 0);
    } catch {
      // Since Linux 4.20; without it groups that others joined are heard too, and dropped later.
    }
    this.#receiver = receiver;
  }

  /** `read` replaces the package's own way to read. */
  #create(protocol: number, read: (() => void) | null): RawSocket {
    const { raw, descriptors } = this.#ports;
    const { Socket, AddressFamily } = raw;
    class ReadySocket extends Socket {
      override onRecvReady(): void {
        if (read === null) super.onRecvReady();
        else read();
      }
    }
    const socket = new ReadySocket({
      addressFamily: this.place.family === 4 ? AddressFamily.IPv4 : AddressFamily.IPv6,
      protocol,
      bufferSize: BUFFER_BYTES,
    });
    this.#sockets.push(socket);
    socket.on('error', (error) => this.#fail(error.message));
    const fd = descriptors.take(socket);
    if (!fd.ok) throw new Error(fd.error);
    const name = Buffer.from(`${this.place.device}\0`);
    socket.setOption(SOL_SOCKET, SO_BINDTODEVICE, name, name.length);
    if (protocol === PROTOCOL_VRRP && this.place.family === 6)
      this.#reader = descriptors.reader(fd.value);
    return socket;
  }

  /** struct ip_mreqn, struct ipv6_mreq. */
  #join(): void {
    assert(this.#receiver !== null, 'joined before it was opened');
    const index = Buffer.from(Int32Array.of(this.place.deviceIndex).buffer);
    if (this.place.family === 4) {
      const request = Buffer.concat([ipToBytes(VRRP_GROUP_4), Buffer.alloc(4), index]);
      this.#receiver.setOption(IPPROTO_IP, IP_ADD_MEMBERSHIP, request, request.length);
      return;
    }
    const request = Buffer.concat([ipToBytes(VRRP_GROUP_6), index]);
    this.#receiver.setOption(IPPROTO_IPV6, IPV6_JOIN_GROUP, request, request.length);
  }

  #take(datagram: Result<VrrpDatagram, VrrpDrop>): void {
    if (this.#isClosed) return;
    this.#ports.onDatagram(datagram);
    const now = this.#ports.clock.now();
    if (now >= this.#windowStart + BUDGET_WINDOW_MS) {
      this.#windowStart = now;
      this.#heard = 0;
    }
    this.#heard++;
    if (this.#heard >= RECEIVE_BUDGET) this.#pause();
  }

  #pause(): void {
    if (this.#cancelPause !== null || this.#isClosed) return;
    this.#receiver?.pauseRecv();
    this.#cancelPause = this.#ports.clock.schedule(BUDGET_WINDOW_MS, () => {
      this.#cancelPause = null;
      if (!this.#isClosed) this.#receiver?.resumeRecv();
    });
  }

  #fail(error: string): void {
    if (this.#isClosed) return;
    this.close();
    this.#ports.onFailure(error);
  }
}
