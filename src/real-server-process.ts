/** The composition root of `leasehold realserver`: this machine and its state file. No agent, no etcd. */
import { createRealServerHost } from './adapters/linux/real-server-host.ts';
import { createSavedHostFile } from './adapters/linux/saved-host-file.ts';
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
  try {
    return await runRealServer(request, { host, store: createSavedHostFile({ clock }) });
  } finally {
    host.close();
  }
}
