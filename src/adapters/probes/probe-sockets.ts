/**
 * Sockets of probes: from the source that a check names. Node sets neither SO_MARK nor SO_BINDTODEVICE (socket(7)), so
 * where a check asks for them the descriptor is made by libc and then given to Node; that of datagrams always is.
 */
import { createSocket, type Socket as DatagramSocket } from 'node:dgram';
import { connect, type OnReadOpts, Socket } from 'node:net';
import { err, ok, type Result } from '../../lib/result.ts';
import { familyOf, type IpAddress } from '../../model/address.ts';
import { ANY_ORIGIN, type CheckOrigin } from '../../model/check.ts';
import { bindLibc, type Libc } from '../raw-sockets/libc.ts';
import {
  AF_INET,
  AF_INET6,
  encodeAnyAddress,
  encodeIpAddress,
  hostInt,
} from '../raw-sockets/socket-address.ts';
import {
  SOCK_CLOEXEC,
  SOCK_DGRAM,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  SOL_SOCKET,
  SO_BINDTODEVICE,
  SO_MARK,
} from '../raw-sockets/socket-numbers.ts';

const SOL_IP = 0;
const IP_RECVERR = 11;
const SOL_IPV6 = 41;
const IPV6_RECVERR = 25;

export type ProbePlace = {
  readonly address: IpAddress;
  readonly port: number;
  readonly origin: CheckOrigin;
};

/** As much as Node reads at once. */
const READ_BYTES = 65_536;

/** Errors are this machine's: nothing is known of the target. */
export class ProbeSockets {
  #libc: Libc | null = null;
  #readBuffer: Buffer | null = null;

  /**
   * Connecting when it returns; errors of the way follow as events. With `onBytes` there are no events of data, and
   * the bytes are valid until it returns: for every read of a socket of its own Node takes 64 KiB and gives most of it
   * back.
   */
  openTcp(place: ProbePlace, onBytes: ((bytes: Buffer) => void) | null): Result<Socket, string> {
    const { port, origin } = place;
    const family = familyOf(place.address);
    const reading = onBytes === null ? {} : { onread: this.#readInto(onBytes) };
    const where = { host: this.hostOf(place), port, family, ...localOf(origin), ...reading };
    if (!needsLibc(origin)) return ok(connect(where));
    const fd = this.#open(place, SOCK_STREAM);
    if (!fd.ok) return fd;
    // It reads when it is connected: before, the kernel reports a socket without connection as ended.
    const socket = new Socket({ fd: fd.value, ...reading, ...MANUAL_START });
    socket.connect(where);
    return ok(socket);
  }

  /** Bound when `then` is called, from within or later; never after it was closed. */
  openUdp(
    place: ProbePlace,
    then: (socket: DatagramSocket) => void,
  ): Result<DatagramSocket, string> {
    const family = familyOf(place.address);
    const fd = this.#open(place, SOCK_DGRAM);
    if (!fd.ok) return fd;
    const type = family === 4 ? 'udp4' : 'udp6';
    // Addresses need no look-up, and a look-up would take a thread.
    const socket = createSocket({ type, lookup: (host, _, done) => done(null, host, family) });
    socket.bind({ fd: fd.value, exclusive: true }, () => then(socket));
    return ok(socket);
  }

  /** With the device of a link-local address (RFC 4007 11). */
  hostOf({ address, origin }: ProbePlace): string {
    const isLinkLocal = /^fe[89ab]/.test(address);
    return isLinkLocal && origin.interface !== null ? `${address}%${origin.interface}` : address;
  }

  get libc(): Libc {
    this.#libc ??= bindLibc();
    return this.#libc;
  }

  /** One buffer for all: nobody keeps it, and no read happens within another. */
  #readInto(onBytes: (bytes: Buffer) => void): OnReadOpts {
    const buffer = (this.#readBuffer ??= Buffer.allocUnsafeSlow(READ_BYTES));
    const callback = (count: number): boolean => {
      onBytes(buffer.subarray(0, count));
      return true;
    };
    return { buffer, callback };
  }

  #open({ address, origin }: ProbePlace, type: number): Result<number, string> {
    const { libc } = this;
    const domain = familyOf(address) === 4 ? AF_INET : AF_INET6;
    const fd = libc.socket(domain, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return err(`cannot open a socket: ${libc.errno()}`);
    if (type === SOCK_DGRAM) hearErrors(libc, fd, domain);
    const problem = setOrigin(libc, fd, origin) ?? bindSource(libc, fd, { address, origin, type });
    if (problem === null) return ok(fd);
    libc.close(fd);
    return err(problem);
  }
}

/** Not in Node's types for this constructor; without it a socket is read before it is connected. */
const MANUAL_START: object = { manualStart: true };

export const needsLibc = ({ interface: device, mark }: CheckOrigin): boolean =>
  device !== null || mark !== 0;

function localOf({ source, sourcePort }: CheckOrigin): {
  readonly localAddress?: string;
  readonly localPort?: number;
} {
  return {
    ...(source === null ? {} : { localAddress: source }),
    ...(sourcePort === 0 ? {} : { localPort: sourcePort }),
  };
}

/** Null: done. */
export function setOrigin(libc: Libc, fd: number, origin: CheckOrigin): string | null {
  const set = (name: number, value: Uint8Array): boolean =>
    libc.setsockopt(fd, SOL_SOCKET, name, value, value.length) === 0;
  const { interface: device, mark } = origin;
  if (device !== null && !set(SO_BINDTODEVICE, new TextEncoder().encode(`${device}\0`)))
    return `cannot use interface ${device}: ${explain(libc.errno(), 'CAP_NET_RAW')}`;
  if (mark !== 0 && !set(SO_MARK, hostInt(mark | 0)))
    return `cannot set mark ${mark}: ${explain(libc.errno(), 'CAP_NET_ADMIN')}`;
  return null;
}

/**
 * Without it the kernel keeps to itself what may pass (ip(7), udp(7)): that a router or this machine itself finds
 * no way to the target. A machine that is off would then look like one that does not answer.
 */
function hearErrors(libc: Libc, fd: number, domain: number): void {
  const [level, name] = domain === AF_INET ? [SOL_IP, IP_RECVERR] : [SOL_IPV6, IPV6_RECVERR];
  const on = hostInt(1);
  libc.setsockopt(fd, level, name, on, on.length);
}

function explain(errno: string, capability: string): string {
  if (errno === 'EPERM') return `${capability} is needed (EPERM)`;
  return errno === 'ENODEV' ? 'there is no such device (ENODEV)' : errno;
}

/** A stream's source is bound by Node when it connects; a datagram socket of libc is taken as it is. */
function bindSource(
  libc: Libc,
  fd: number,
  { address, origin, type }: { address: IpAddress; origin: CheckOrigin; type: number },
): string | null {
  if (type === SOCK_STREAM) return null;
  if (origin.source === null && origin.sourcePort === 0) return null;
  const bytes = encodeSource(address, origin);
  if (libc.bind(fd, bytes, bytes.length) === 0) return null;
  return `cannot send from ${origin.source ?? 'port'} ${origin.sourcePort || ''}: ${libc.errno()}`;
}

function encodeSource(target: IpAddress, { source, sourcePort }: CheckOrigin): Uint8Array {
  const bytes = source === null ? encodeAnyAddress(target) : encodeIpAddress(source, 0);
  new DataView(bytes.buffer).setUint16(2, sourcePort);
  return bytes;
}

export const originOf = (origin: CheckOrigin | undefined): CheckOrigin => origin ?? ANY_ORIGIN;
