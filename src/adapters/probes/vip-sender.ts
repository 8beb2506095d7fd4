/** Sends what a look along a VIP's path sends: frames to one MAC address, or packets into a real server's tunnel. */
import { err, ok, type Result } from '../../lib/result.ts';
import { familyOf, type IpAddress, type IpFamily, type MacAddress } from '../../model/address.ts';
import type { VipCheck } from '../../model/check.ts';
import { encodeArpRequest } from '../../wire/arp.ts';
import { encodeNeighborSolicitation } from '../../wire/ndp.ts';
import { DEAF_FILTER } from '../../wire/vip-filter.ts';
import {
  encapsulate,
  encodeEthernet,
  PROTOCOL_GRE,
  PROTOCOL_IPIP,
  PROTOCOL_IPV6,
} from '../../wire/vip-packets.ts';
import type { Libc } from '../raw-sockets/libc.ts';
import { PacketSender } from '../raw-sockets/packet-sender.ts';
import { RawSocket, SOCK_RAW } from '../raw-sockets/raw-socket.ts';
import { AF_INET, AF_INET6, encodeIpAddress } from '../raw-sockets/socket-address.ts';
import { SOCK_DGRAM } from '../raw-sockets/socket-numbers.ts';

type Tunnel = NonNullable<VipCheck['tunnel']>;

export class VipSender {
  readonly #libc: Libc;
  readonly #frames: PacketSender;
  readonly #tunnels = new Map<string, RawSocket>();

  constructor(libc: Libc) {
    this.#libc = libc;
    this.#frames = new PacketSender(libc);
  }

  toMac(device: string, mac: MacAddress, packet: Uint8Array): Result<void, string> {
    return this.#onDevice(device, (own) =>
      encodeEthernet({ destination: mac, source: own }, packet),
    );
  }

  /**
   * Who has `target`: asked of the machine `of`, or of all where that is null. In the name of `source`, which is this
   * director's.
   */
  askFor(
    device: string,
    ask: {
      readonly source: IpAddress;
      readonly target: IpAddress;
      readonly of: { readonly mac: MacAddress; readonly address: IpAddress } | null;
    },
  ): Result<void, string> {
    const { source, target, of } = ask;
    return this.#onDevice(device, (mac) =>
      familyOf(target) === 4
        ? encodeArpRequest({
            mac,
            senderIp: source,
            targetIp: target,
            destination: of?.mac ?? null,
          })
        : encodeNeighborSolicitation({
            mac,
            source,
            target,
            ...(of === null ? {} : { whom: of }),
          }),
    );
  }

  /** The kernel makes the outer header, and finds the way. */
  intoTunnel(tunnel: Tunnel, address: IpAddress, packet: Uint8Array): Result<void, string> {
    const inner: IpFamily = (packet[0] ?? 0) >>> 4 === 6 ? 6 : 4;
    const socket = this.#tunnel(tunnel, familyOf(address), inner);
    if (!socket.ok) return socket;
    const to = encodeIpAddress(address, 0);
    if (tunnel.type === 'gue') new DataView(to.buffer).setUint16(2, tunnel.port);
    const sent = socket.value.send(encapsulate(tunnel.type, packet), to);
    return sent.ok ? sent : err(`cannot send into the tunnel to ${address}: ${sent.error}`);
  }

  close(): void {
    this.#frames.close();
    for (const socket of this.#tunnels.values()) socket.close();
    this.#tunnels.clear();
  }

  #onDevice(device: string, build: (own: MacAddress) => Uint8Array): Result<void, string> {
    const found = this.#frames.device(device);
    if (!found.ok) return err(`${device}: ${found.error}`);
    const sent = this.#frames.send(found.value.index, build(found.value.mac));
    return sent.ok ? sent : err(`${device}: ${sent.error}`);
  }

  /** Deaf: what other tunnels of this machine bring is nothing to it. */
  #tunnel({ type }: Tunnel, outer: IpFamily, inner: IpFamily): Result<RawSocket, string> {
    const key = `${type} ${outer} ${inner}`;
    const known = this.#tunnels.get(key);
    if (known !== undefined) return ok(known);
    const domain = outer === 4 ? AF_INET : AF_INET6;
    const ipip = inner === 4 ? PROTOCOL_IPIP : PROTOCOL_IPV6;
    const kind =
      type === 'gue'
        ? { domain, type: SOCK_DGRAM, protocol: 0 }
        : { domain, type: SOCK_RAW, protocol: type === 'gre' ? PROTOCOL_GRE : ipip };
    const opened = RawSocket.open(this.#libc, kind);
    if (!opened.ok) return err(`cannot open a socket for the tunnel: ${opened.error}`);
    const filtered = opened.value.setFilter(DEAF_FILTER);
    if (filtered.ok) this.#tunnels.set(key, opened.value);
    else opened.value.close();
    return filtered.ok ? opened : filtered;
  }
}
