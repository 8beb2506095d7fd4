/** How a command line names a real server. */
import { parseIp } from '../model/address.ts';
import type { RealServerStatus, ServiceStatus, StatusDocument } from '../model/status.ts';
import { CliError, EXIT } from './context.ts';

export const TARGET =
  'SERVICE/ADDRESS[:PORT]; the port may be left out where the address is unique';

export type RealServerTarget = { readonly service: string; readonly realServer: string };

/** Throws a `CliError` for a text that names none; `service` where the target does not name it. */
export function parseTarget(target: string, service: string | undefined): RealServerTarget {
  const slash = target.indexOf('/');
  if (slash < 0 && service !== undefined) return { service, realServer: target };
  const named = target.slice(0, Math.max(slash, 0));
  if (named === '' || (service !== undefined && service !== named))
    throw new CliError(
      EXIT.badInput,
      `"${target}" does not name a real server; write ${TARGET} (see: leasehold status)`,
    );
  return { service: named, realServer: target.slice(slash + 1) };
}

/** By its id, or by its address where the service has it once; what fits, where that is not one. */
export function matchRealServers(
  service: ServiceStatus,
  text: string,
): readonly RealServerStatus[] {
  const address = parseIp(text.replace(/^\[(.*)\]$/, '$1'));
  return service.realServers.filter(
    (one) => one.id === text || (address.ok && one.address === address.value),
  );
}

/** Null: it is not there, or there are several. */
export function findRealServer(
  status: StatusDocument,
  { service: name, realServer }: RealServerTarget,
): RealServerStatus | null {
  const service = status.services.find((one) => one.name === name);
  const matches = service === undefined ? [] : matchRealServers(service, realServer);
  return matches.length === 1 ? (matches[0] ?? null) : null;
}
