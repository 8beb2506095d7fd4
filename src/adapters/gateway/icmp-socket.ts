/**
 * Raw sockets that send echo requests from one address and hear their own replies (raw(7), ip(7), ipv6(7)). Nothing
 * here waits. Needs CAP_NET_RAW.
 */
import { err, ok, type Result } from '../../lib/result.ts';
import { familyOf, type IpAddress } from '../../model/address.ts';
import { buildEchoFilter } from '../../wire/echo-filter.ts';
import { bindLibc, type Libc } from '../raw-sockets/libc.ts';
import { type ErrnoWords, RawSocket, SOCK_RAW } from '../raw-sockets/raw-socket.ts';
import {
  AF_INET,
  AF_INET6,
  decodeIpAddress,
  encodeIpAddress,
  SOCKADDR_IN6_LENGTH,
} from '../raw-sockets/socket-address.ts';
import { isLinkLocal, type OwnAddress } from '../raw-sockets/own-addresses.ts';

export type HeardReply = {
  readonly from: IpAddress;
  /** As the kernel gives it: IPv4 with its header. Valid until the next call. */
  readonly bytes: Uint8Array;
};

export interface EchoSocket {
  send(target: IpAddress, message: Uint8Array): Result<void, string>;
  /** Null: nothing waits. */
  receive(): HeardReply | null;
  close(): void;
}

export type OpenEchoSocket = (own: OwnAddress, identifier: number) => Result<EchoSocket, string>;

const IPPROTO_ICMP = 1;
const IPPROTO_ICMPV6 = 58;
/** A reply is as long as its request, but for the options of an IPv4 header. */
const RECEIVE_LENGTH = 256;

/** Loads the library, some 20 ms where nobody has yet; opens nothing. */
export function createEchoSockets(libc: Libc = bindLibc()): OpenEchoSocket {
  return (own, identifier) => openSocket(libc, own, identifier);
}

function openSocket(libc: Libc, own: OwnAddress, identifier: number): Result<EchoSocket, string> {
  const family = familyOf(own.address);
  const [domain, protocol] = family === 4 ? [AF_INET, IPPROTO_ICMP] : [AF_INET6, IPPROTO_ICMPV6];
  const socket = RawSocket.open(libc, { domain, type: SOCK_RAW, protocol }, ERROR_WORDS);
  if (!socket.ok) return err(`cannot open a raw socket: ${socket.error}`);
  const filtered = socket.value.setFilter(buildEchoFilter(family, identifier, RECEIVE_LENGTH));
  const address = encodeIpAddress(own.address, scopeOf(libc, own.address, own.device));
  const bound = filtered.ok ? socket.value.bind(address) : filtered;
  if (bound.ok) return ok(new RawEchoSocket(libc, socket.value, own));
  socket.value.close();
  return err(`cannot send from ${own.address}: ${bound.error}`);
}

/** The device of a link-local address is looked up each time: it may have been made anew. */
const scopeOf = (libc: Libc, address: IpAddress, device: string): number =>
  isLinkLocal(address) ? libc.deviceIndex(device) : 0;

class RawEchoSocket implements EchoSocket {
  readonly #libc: Libc;
  readonly #socket: RawSocket;
  readonly #own: OwnAddress;
  readonly #buffer = new Uint8Array(RECEIVE_LENGTH);
  readonly #from = new Uint8Array(SOCKADDR_IN6_LENGTH);

  constructor(libc: Libc, socket: RawSocket, own: OwnAddress) {
    this.#libc = libc;
    this.#socket = socket;
    this.#own = own;
  }

  send(target: IpAddress, message: Uint8Array): Result<void, string> {
    const scope = scopeOf(this.#libc, target, this.#own.device);
    return this.#socket.send(message, encodeIpAddress(target, scope));
  }

  receive(): HeardReply | null {
    const received = this.#socket.receive(this.#buffer, this.#from);
    if (!received.ok || received.value === 0) return null;
    return { from: decodeIpAddress(this.#from), bytes: this.#buffer.subarray(0, received.value) };
  }

  close(): void {
    this.#socket.close();
  }
}

const ERROR_WORDS: ErrnoWords = {
  EPERM: 'not permitted: CAP_NET_RAW is needed, and no firewall that drops it',
  ENETUNREACH: 'no route to it',
  EHOSTUNREACH: 'no route to it',
  EADDRNOTAVAIL: 'the address is not bound here',
  EINVAL: 'not from this address',
};
