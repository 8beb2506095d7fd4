/** The endpoints in turn: one stays in use while it works, a failure moves on to the next. */
import { assert } from '../../lib/assert.ts';
import { EndpointClient, type EtcdOptions, type EtcdPorts } from './endpoint-client.ts';

export class EndpointRing {
  readonly #clients: readonly EndpointClient[];
  #index = 0;

  constructor(options: EtcdOptions, ports: EtcdPorts) {
    assert(options.endpoints.length > 0, 'an etcd store needs an endpoint');
    this.#clients = options.endpoints.map(
      (endpoint) => new EndpointClient(endpoint, options, ports),
    );
  }

  get size(): number {
    return this.#clients.length;
  }

  get current(): EndpointClient {
    const client = this.#clients[this.#index];
    assert(client !== undefined, 'the ring always points at an endpoint');
    return client;
  }

  /** Of many calls that failed at one endpoint only the first moves on. */
  moveOnFrom(client: EndpointClient): void {
    if (client === this.current) this.#index = (this.#index + 1) % this.#clients.length;
  }

  close(): void {
    for (const client of this.#clients) client.close();
  }
}
