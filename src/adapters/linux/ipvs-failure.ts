/** What a refusal of IPVS means: it gives no text of its own, and some codes have several meanings. */
import { unreachable } from '../../lib/assert.ts';
import { familyOf, formatEndpoint } from '../../model/address.ts';
import { familyOfKey } from '../../model/cluster.ts';
import {
  formatServiceKey,
  type IpvsOperation,
  type IpvsService,
  type KernelError,
} from '../../model/kernel.ts';
import { kernelError } from './kernel-error.ts';

/** Asked only after a refusal: is this module in the kernel? */
export type HasModule = (module: string) => boolean;

/** Null: it is done, or was done already (EEXIST on add or start, ENOENT and ESRCH on delete). */
export function failureOf(
  operation: IpvsOperation,
  code: string | null,
  hasModule: HasModule,
): KernelError | null {
  if (code === null || isDoneAlready(operation, code)) return null;
  return kernelError(code, describe(operation), reasonFor(operation, code, hasModule));
}

function isDoneAlready({ op }: IpvsOperation, code: string): boolean {
  switch (op) {
    case 'add-service':
    case 'add-destination':
    case 'new-daemon':
      return code === 'EEXIST';
    case 'delete-service':
    case 'delete-destination':
    case 'delete-daemon':
      return code === 'ENOENT' || code === 'ESRCH';
    case 'set-service':
    case 'set-destination':
    case 'zero':
    case 'set-timeouts':
      return false;
    default:
      return unreachable(op);
  }
}

/** Source: net/netfilter/ipvs/ip_vs_ctl.c, ip_vs_sync.c. */
function reasonFor(operation: IpvsOperation, code: string, hasModule: HasModule): string | null {
  if (code === 'ESRCH') return 'there is no such virtual service';
  if (code === 'EAFNOSUPPORT') return 'IPv6 is off in this kernel, or IPVS was built without it';
  switch (operation.op) {
    case 'add-service':
    case 'set-service':
      return code === 'ENOENT' ? missingModule(operation.service, hasModule) : null;
    case 'add-destination':
    case 'set-destination':
      return destinationReason(operation, code);
    case 'new-daemon':
      if (code === 'ENODEV') return `there is no interface ${operation.daemon.interface}`;
      if (code !== 'EINVAL') return null;
      return `${operation.daemon.group} must be a multicast address, and no real server may be of another family than its virtual service: sync messages cannot tell of those`;
    case 'set-timeouts':
    case 'zero':
    case 'delete-service':
    case 'delete-destination':
    case 'delete-daemon':
      return null;
    default:
      return unreachable(operation);
  }
}

function destinationReason(
  operation: Extract<IpvsOperation, { op: 'add-destination' | 'set-destination' }>,
  code: string,
): string | null {
  const { service, destination } = operation;
  if (code === 'ENOENT') return 'there is no such real server in the virtual service';
  if (code === 'ERANGE')
    return 'the lower threshold must not exceed the upper one, nor the weight 2147483647';
  if (code !== 'EINVAL') return null;
  if (familyOf(destination.address) !== familyOfKey(service))
    return 'a real server of another family than its virtual service needs tunnelling, and no connection sync daemon may run';
  if (destination.tunnel?.type === 'gue' && destination.tunnel.port === 0)
    return 'a gue tunnel needs a port';
  return `${destination.address} must be a unicast address that is not link-local`;
}

/** The scheduler is looked up before the engine; the code is the same. */
function missingModule(service: IpvsService, hasModule: HasModule): string {
  const { scheduler, persistenceEngine } = service;
  const noScheduler = `unknown scheduler "${scheduler}": load it with "modprobe ip_vs_${scheduler}"`;
  if (persistenceEngine === null) return noScheduler;
  const noEngine = `unknown persistence engine "${persistenceEngine}": load it with "modprobe ip_vs_pe_${persistenceEngine}"`;
  return hasModule(`ip_vs_${scheduler}`) ? noEngine : `${noScheduler}; or ${noEngine}`;
}

function describe(operation: IpvsOperation): string {
  const words = operation.op.replace('-', ' ');
  switch (operation.op) {
    case 'add-service':
    case 'set-service':
      return `${words} ${formatServiceKey(operation.service.key)}`;
    case 'delete-service':
      return `${words} ${formatServiceKey(operation.service)}`;
    case 'add-destination':
    case 'set-destination':
    case 'delete-destination': {
      const { address, port } = operation.destination;
      const service = formatServiceKey(operation.service);
      return `${words} ${formatEndpoint(address, port)} of ${service}`;
    }
    case 'zero':
      return operation.service === null
        ? 'zero all counters'
        : `zero the counters of ${formatServiceKey(operation.service)}`;
    case 'set-timeouts':
      return words;
    case 'new-daemon':
      return `start the ${operation.daemon.state} sync daemon on ${operation.daemon.interface}`;
    case 'delete-daemon':
      return `stop the ${operation.daemon.state} sync daemon`;
    default:
      return unreachable(operation);
  }
}
