/** Sends whole Ethernet frames, and asks the kernel about devices (packet(7), netdevice(7)). */
import { err, ok, type Result } from '../../lib/result.ts';
import { formatMac, type MacAddress } from '../../model/address.ts';
import type { Libc } from './libc.ts';
import { RawSocket, SOCK_RAW } from './raw-socket.ts';
import {
  AF_PACKET,
  encodeInterfaceRequest,
  encodeLinkAddress,
  readHardwareAddress,
  readInterfaceIndex,
} from './socket-address.ts';

const SIOCGIFINDEX = 0x8933;
const SIOCGIFHWADDR = 0x8927;
const ARPHRD_ETHER = 1;

/** What a frame needs to know of its device, as the kernel says now. */
export type Device = { readonly index: number; readonly mac: MacAddress };

export class PacketSender {
  readonly #libc: Libc;
  #socket: RawSocket | null = null;
  #isClosed = false;

  /** Opens nothing yet. */
  constructor(libc: Libc) {
    this.#libc = libc;
  }

  /** Of itself with the first call of the two others, and again after it failed. */
  open(): Result<RawSocket, string> {
    if (this.#isClosed) return err('closed');
    if (this.#socket !== null) return ok(this.#socket);
    const opened = openPacketSocket(this.#libc);
    if (opened.ok) this.#socket = opened.value;
    return opened;
  }

  /** Two system calls; of an Ethernet device only. Between them and a send the device may be another. */
  device(name: string): Result<Device, string> {
    const socket = this.open();
    if (!socket.ok) return socket;
    const request = encodeInterfaceRequest(name);
    if (request === null) return err(`"${name}" is no device name`);
    const found = socket.value.ioctl(SIOCGIFINDEX, request);
    if (!found.ok) return err(`no such device: ${found.error}`);
    const index = readInterfaceIndex(request);
    const asked = socket.value.ioctl(SIOCGIFHWADDR, request);
    if (!asked.ok) return err(`no MAC address: ${asked.error}`);
    const { kind, mac } = readHardwareAddress(request);
    return kind === ARPHRD_ETHER
      ? ok({ index, mac: formatMac(mac) })
      : err('not an Ethernet device');
  }

  send(deviceIndex: number, frame: Uint8Array): Result<void, string> {
    const socket = this.open();
    if (!socket.ok) return socket;
    const etherType = ((frame[12] ?? 0) << 8) | (frame[13] ?? 0);
    const destination = frame.subarray(0, 6);
    const address = encodeLinkAddress({ deviceIndex, etherType, destination });
    const sent = socket.value.send(frame, address);
    return sent.ok ? sent : err(`cannot send: ${sent.error}`);
  }

  close(): void {
    this.#isClosed = true;
    this.#socket?.close();
    this.#socket = null;
  }
}

/** With protocol 0: it hears nothing until it is bound to another. */
export function openPacketSocket(libc: Libc): Result<RawSocket, string> {
  const opened = RawSocket.open(libc, { domain: AF_PACKET, type: SOCK_RAW, protocol: 0 });
  return opened.ok ? opened : err(`cannot open a packet socket: ${opened.error}`);
}
