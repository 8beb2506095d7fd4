/**
 * One agent per network namespace: two would take each other's addresses and services for residue. An
 * abstract UNIX socket (unix(7)) belongs to the namespace, and is gone with the process, however that ends.
 */
import { createServer } from 'node:net';
import { err, ok, type Result } from '../../lib/result.ts';

export type InstanceLock = { release(): void };

/** Taken at once or refused; the error is a sentence with the remedy. */
export function takeInstanceLock(): Promise<Result<InstanceLock, string>> {
  const server = createServer((socket) => socket.destroy());
  return new Promise((resolve) => {
    server.once('error', (error: NodeJS.ErrnoException) =>
      resolve(
        err(
          error.code === 'EADDRINUSE'
            ? 'an agent runs here already; stop it first (systemctl stop leasehold)'
            : `the instance lock cannot be taken: ${error.message}`,
        ),
      ),
    );
    server.listen('\0leasehold/agent', () => {
      server.unref();
      resolve(ok({ release: () => server.close() }));
    });
  });
}
