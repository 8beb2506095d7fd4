/** Real targets on loopback for the prober's contract. */
import { createServer as createHttpServer } from 'node:http';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { createSystemClock } from '../../../src/adapters/clock/system-clock.ts';
import { createSystemRandom } from '../../../src/adapters/clock/system-random.ts';
import { createProber, type ProberOptions } from '../../../src/adapters/probes/create-prober.ts';
import { type Log, silentLog } from '../../../src/ports/log.ts';
import type { Prober } from '../../../src/ports/prober.ts';
import type { Behaviour } from '../prober.contract.ts';
import { RefusingPort } from './kernel-ports.ts';

/** Servers on loopback; every socket is remembered, so that hanging ones can be closed. */
export class Targets {
  readonly #servers: Server[] = [];
  readonly sockets = new Set<Socket>();
  #isClosed = false;

  readonly #refusing: RefusingPort[] = [];

  /** How many sockets hold its ports. */
  get held(): number {
    return this.#servers.length + this.#refusing.length;
  }

  async serve(server: Server, address = '127.0.0.1'): Promise<number> {
    this.#servers.push(server);
    server.on('connection', (socket: Socket) => {
      this.sockets.add(socket);
      socket.on('error', () => {}); // Probes end by reset.
      socket.on('close', () => this.sockets.delete(socket));
    });
    await new Promise<void>((resolve) => server.listen(0, address, 4_096, resolve));
    return (server.address() as AddressInfo).port;
  }

  /** By default it reads and says nothing. */
  tcp(onConnection: (socket: Socket) => void = (socket) => socket.resume()): Promise<number> {
    return this.serve(createServer(onConnection));
  }

  http(status: number, body: string | Buffer = 'ok'): Promise<number> {
    return this.serve(
      createHttpServer((_request, response) => response.writeHead(status).end(body)),
    );
  }

  /** A port that stays closed. */
  refusing(): number {
    const refusing = new RefusingPort();
    this.#refusing.push(refusing);
    return refusing.port;
  }

  async behaving(behaviour: Behaviour): Promise<number> {
    switch (behaviour) {
      case 'answers':
        return this.http(200);
      case 'wrong-status':
        return this.http(503);
      case 'hangs':
        return this.tcp();
      case 'refuses':
        return this.refusing();
    }
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const socket of this.sockets) socket.destroy();
    for (const refusing of this.#refusing) refusing.close();
    await Promise.all(
      this.#servers.map((server) => new Promise((resolve) => server.close(resolve))),
    );
  }
}

/** The real prober, one worker. */
export function openProber(options: ProberOptions = { workers: 1 }, log: Log = silentLog): Prober {
  return createProber(options, {
    clock: createSystemClock(),
    log,
    random: createSystemRandom(),
  });
}
