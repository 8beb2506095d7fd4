/** A UDP socket that binds when it can: the address may come up after the agent has started. */
import { createSocket, type Socket } from 'node:dgram';
import { messageOf } from '../../lib/result.ts';
import { familyOf, type IpAddress } from '../../model/address.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Log } from '../../ports/log.ts';

const BIND_RETRY_MS = 1_000;

export type PeerSocketOptions = {
  readonly bindAddress: IpAddress;
  readonly port: number;
  readonly onDatagram: (bytes: Uint8Array, from: { address: string; port: number }) => void;
};

export class PeerSocket {
  readonly #options: PeerSocketOptions;
  readonly #clock: Clock;
  readonly #log: Log;
  #socket: Socket | null = null;
  #isBound = false;
  #lastError: string | null = null;
  #cancelRetry: (() => void) | null = null;
  #isClosed = false;

  constructor(options: PeerSocketOptions, ports: { readonly clock: Clock; readonly log: Log }) {
    this.#options = options;
    this.#clock = ports.clock;
    this.#log = ports.log;
    this.#bind();
  }

  /** False, and nothing sent, while the socket is not bound. Errors of the network are not reported. */
  send(bytes: Uint8Array, to: { readonly address: string; readonly port: number }): boolean {
    if (this.#socket === null || !this.#isBound) return false;
    const address =
      familyOf(this.#options.bindAddress) === 6 && !to.address.includes(':')
        ? `::ffff:${to.address}`
        : to.address;
    try {
      // With a callback an unreachable peer is no 'error' event.
      this.#socket.send(bytes, to.port, address, () => {});
      return true;
    } catch {
      return false; // An address of another family: as unreachable as a peer that is off.
    }
  }

  close(): void {
    this.#isClosed = true;
    this.#cancelRetry?.();
    this.#drop();
  }

  #bind(): void {
    const { bindAddress, port, onDatagram } = this.#options;
    const isIpv6 = familyOf(bindAddress) === 6;
    const socket = createSocket({
      type: isIpv6 ? 'udp6' : 'udp4',
      ipv6Only: isIpv6 && bindAddress !== '::',
      // Addresses only: nothing here may wait for a name server.
      lookup: (address, _options, callback) => callback(null, address, isIpv6 ? 6 : 4),
    });
    this.#socket = socket;
    socket.on('message', (bytes, from) => onDatagram(bytes, from));
    socket.on('error', (error) => this.#retry(error));
    socket.bind({ address: bindAddress, port, exclusive: true }, () => {
      this.#isBound = true;
      this.#lastError = null;
      this.#log.info({ address: bindAddress, port }, 'peer-link.bound');
    });
  }

  #retry(error: Error): void {
    this.#drop();
    if (this.#isClosed) return;
    const text = messageOf(error);
    if (text !== this.#lastError) {
      this.#log.error({ address: this.#options.bindAddress, error: text }, 'peer-link.failed');
      this.#lastError = text;
    }
    this.#cancelRetry?.();
    this.#cancelRetry = this.#clock.schedule(BIND_RETRY_MS, () => this.#bind());
  }

  #drop(): void {
    this.#isBound = false;
    const socket = this.#socket;
    this.#socket = null;
    if (socket === null) return;
    socket.removeAllListeners('message');
    socket.close();
  }
}
