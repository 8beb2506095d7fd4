/** The composition root of `leasehold realserver`: this machine and its state file. No agent, no etcd. */
import { createRealServerHost } from './adapters/linux/real-server-host.ts';
import { createSavedHostFile } from './adapters/linux/saved-host-file.ts';
import { createPlaceReader } from './adapters/machine/place.ts';
import { RUN_DIRECTORY, tryRunLock } from './adapters/machine/run-lock.ts';
import { runRealServer } from './agent/real-server-job.ts';
import type { Result } from './lib/result.ts';
import type { RealServerAnswer, RealServerRequest } from './model/real-server-host.ts';
import type { Clock } from './ports/clock.ts';
import { silentLog } from './ports/log.ts';

export async function runRealServerCommand(
  request: RealServerRequest,
  clock: Clock,
): Promise<Result<RealServerAnswer, string>> {
  const host = createRealServerHost({ log: silentLog, clock });
  const ports = { clock, place: createPlaceReader(), tryLock: tryRunLock };
  try {
    return await runRealServer(request, { host, store: createSavedHostFile(ports, RUN_DIRECTORY) });
  } finally {
    host.close();
  }
}
