/** The real Neighbours port: AF_PACKET in the network namespace of this process. */
import type { Clock } from '../../ports/clock.ts';
import type { Log } from '../../ports/log.ts';
import type { Neighbours } from '../../ports/neighbours.ts';
import { createEthernet } from './ethernet.ts';
import { PolledNeighbours } from './polled-neighbours.ts';

/**
 * Loads its library now, which takes some 20 ms, and opens sockets when there is something to hear.
 * Without CAP_NET_RAW it is created all the same: it hears nothing, verifies nothing, and logs why.
 */
export function createNeighbours(
  _options: Readonly<Record<never, never>>,
  ports: { readonly clock: Clock; readonly log: Log },
): Neighbours {
  return new PolledNeighbours(createEthernet(), ports);
}
