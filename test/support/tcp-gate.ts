/** A loopback TCP relay in front of a server, which can refuse connections or swallow all bytes. */
import { connect, createServer, type Server, type Socket } from 'node:net';

export class TcpGate {
  readonly port: number;
  readonly #server: Server;
  readonly #sockets: Set<Socket>;
  readonly #state: { mode: 'open' | 'shut' | 'silent' };

  private constructor(
    port: number,
    server: Server,
    sockets: Set<Socket>,
    state: { mode: 'open' | 'shut' | 'silent' },
  ) {
    this.port = port;
    this.#server = server;
    this.#sockets = sockets;
    this.#state = state;
  }

  static async open(targetPort: number): Promise<TcpGate> {
    const sockets = new Set<Socket>();
    const state: { mode: 'open' | 'shut' | 'silent' } = { mode: 'open' };
    // A connection that lost a byte never speaks again, as after a long partition.
    const dead = new WeakSet<Socket>();
    const server = createServer((client) => {
      if (state.mode === 'shut') {
        client.resetAndDestroy();
        return;
      }
      const target = connect(targetPort, '127.0.0.1');
      for (const [from, to] of [
        [client, target],
        [target, client],
      ] as const) {
        sockets.add(from);
        from.on('data', (bytes) => {
          if (state.mode !== 'open') dead.add(client);
          if (!dead.has(client)) to.write(bytes);
        });
        from.on('error', () => to.destroy());
        from.on('close', () => {
          sockets.delete(from);
          to.destroy();
        });
      }
    });
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve);
    });
    const address = server.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    return new TcpGate(port, server, sockets, state);
  }

  /** Connections through the gate now; each has two sockets. */
  get connections(): number {
    return this.#sockets.size / 2;
  }

  admit(): void {
    this.#state.mode = 'open';
  }

  /** Ends all connections and admits none. */
  shut(): void {
    this.#state.mode = 'shut';
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Swallows every byte from now on, as a partition does; what was swallowed never arrives. */
  swallow(): void {
    this.#state.mode = 'silent';
  }

  close(): void {
    this.shut();
    this.#server.close();
  }
}
