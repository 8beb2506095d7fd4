/**
 * Hears the answers of real servers that speak as a VIP to one of this director's own addresses. On the holder they come
 * from an address that is its own, and its IP stack drops them; so they are taken as packet(7) has them, before. On others
 * the stack would answer them with a reset: a listening socket that takes nothing reserves the port and prevents that
 * (tcp_v4_rcv asks the socket's filter before anything else, and says nothing where it drops).
 */
import { err, ok, type Result } from '../../lib/result.ts';
import { familyOf, formatMac, type IpAddress, type MacAddress } from '../../model/address.ts';
import { buildVipFilter, DEAF_FILTER } from '../../wire/vip-filter.ts';
import type { Libc } from '../raw-sockets/libc.ts';
import { RawSocket } from '../raw-sockets/raw-socket.ts';
import {
  AF_INET,
  AF_INET6,
  AF_PACKET,
  decodeLinkAddress,
  encodeIpAddress,
  encodeLinkAddress,
  hostInt,
  readDrops,
  SOCKADDR_IN6_LENGTH,
  SOCKADDR_LL_LENGTH,
  TPACKET_STATS_LENGTH,
} from '../raw-sockets/socket-address.ts';
import { SOCK_DGRAM, SOCK_STREAM, SOL_SOCKET } from '../raw-sockets/socket-numbers.ts';

const SO_RCVBUFFORCE = 33;
const RECEIVE_BUFFER = 4 << 20;
const SOL_PACKET = 263;
const PACKET_STATISTICS = 6;
const PACKET_IGNORE_OUTGOING = 23;
const ETH_P_ALL = 0x0003;
/** Of an answer no more is read: an error quotes 576 bytes at most where it is long. */
const RECEIVE_LENGTH = 640;

export type HeardFrame = {
  readonly etherType: number;
  /** Of the device that has it: one on a VLAN or a bond comes by each of both devices. */
  readonly deviceIndex: number;
  readonly sender: MacAddress;
  /** From the network header on; valid until the next call. */
  readonly packet: Uint8Array;
};

export class VipEar {
  /** Source port of TCP, identifier of echoes. */
  readonly port: number;
  readonly #listener: RawSocket;
  readonly #tap: RawSocket;
  readonly #buffer = new Uint8Array(RECEIVE_LENGTH);
  readonly #from = new Uint8Array(SOCKADDR_LL_LENGTH);
  readonly #statistics = new Uint8Array(TPACKET_STATS_LENGTH);
  #drops = 0;

  private constructor(listener: RawSocket, tap: RawSocket, port: number) {
    this.#listener = listener;
    this.#tap = tap;
    this.port = port;
  }

  static open(libc: Libc, source: IpAddress): Result<VipEar, string> {
    const listener = openListener(libc, source);
    if (!listener.ok) return listener;
    const { socket, port } = listener.value;
    const tap = openTap(libc, source, port);
    if (tap.ok) return ok(new VipEar(socket, tap.value, port));
    socket.close();
    return tap;
  }

  /** Null: none waits. */
  receive(): HeardFrame | null {
    const got = this.#tap.receive(this.#buffer, this.#from);
    if (!got.ok || got.value === 0) return null;
    const { etherType, deviceIndex, sender } = decodeLinkAddress(this.#from);
    return {
      etherType,
      deviceIndex,
      sender: formatMac(sender),
      packet: this.#buffer.subarray(0, got.value),
    };
  }

  /** How many answers there was no room for, in all. */
  drops(): number {
    // To read the count is to begin it anew.
    const read = this.#tap.getOption(SOL_PACKET, PACKET_STATISTICS, this.#statistics);
    if (read.ok) this.#drops += readDrops(this.#statistics);
    return this.#drops;
  }

  close(): void {
    this.#tap.close('aside');
    this.#listener.close();
  }
}

function openListener(
  libc: Libc,
  source: IpAddress,
): Result<{ readonly socket: RawSocket; readonly port: number }, string> {
  const domain = familyOf(source) === 4 ? AF_INET : AF_INET6;
  const opened = RawSocket.open(libc, { domain, type: SOCK_STREAM, protocol: 0 });
  if (!opened.ok) return err(`cannot open a socket: ${opened.error}`);
  const socket = opened.value;
  const name = new Uint8Array(SOCKADDR_IN6_LENGTH);
  const steps = [
    () => socket.setFilter(DEAF_FILTER),
    () => socket.bind(encodeIpAddress(source, 0)),
    () => socket.listen(1),
    () => socket.localAddress(name),
  ];
  for (const step of steps) {
    const done = step();
    if (done.ok) continue;
    socket.close();
    return err(`cannot reserve a port of ${source}: ${done.error}`);
  }
  return ok({ socket, port: new DataView(name.buffer).getUint16(2) });
}

/** On all devices: an answer need not come back by the one that the question left by. */
function openTap(libc: Libc, source: IpAddress, port: number): Result<RawSocket, string> {
  const opened = RawSocket.open(libc, { domain: AF_PACKET, type: SOCK_DGRAM, protocol: 0 });
  if (!opened.ok) return err(`cannot open a packet socket: ${opened.error}`);
  const socket = opened.value;
  // Less room where the capability is missing; since Linux 4.20.
  socket.setOption(SOL_SOCKET, SO_RCVBUFFORCE, hostInt(RECEIVE_BUFFER));
  socket.setOption(SOL_PACKET, PACKET_IGNORE_OUTGOING, hostInt(1));
  const everywhere = { deviceIndex: 0, etherType: ETH_P_ALL, destination: null };
  const filtered = socket.setFilter(buildVipFilter(familyOf(source), port, RECEIVE_LENGTH));
  const bound = filtered.ok ? socket.bind(encodeLinkAddress(everywhere)) : filtered;
  if (bound.ok) return ok(socket);
  socket.close('aside');
  return err(`cannot listen: ${bound.error}`);
}
