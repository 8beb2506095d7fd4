/**
 * The real GatewayPing. Raw sockets through libc, as `raw-socket` cannot bind to an address, without which the
 * kernel may pick a VIP; and not ping sockets, which `net.ipv4.ping_group_range` forbids even to root on a
 * fresh kernel.
 */
import type { Clock } from '../../ports/clock.ts';
import type { GatewayPing } from '../../ports/gateway.ts';
import type { Random } from '../../ports/random.ts';
import { EchoPing } from './echo-ping.ts';
import { createEchoSockets } from './icmp-socket.ts';
import { readOwnAddresses } from '../raw-sockets/own-addresses.ts';

/**
 * Loads its library now, some 20 ms where nobody has yet, and opens sockets when something is asked. Without
 * CAP_NET_RAW it is created all the same: nothing answers, and the answers say why.
 */
export function createGatewayPing(ports: {
  readonly clock: Clock;
  readonly random: Random;
}): GatewayPing {
  return new EchoPing({ ...ports, open: createEchoSockets(), ownAddresses: readOwnAddresses });
}
