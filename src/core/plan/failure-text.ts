/** What a refused IPVS operation means, in words that tell the remedy. */
import { formatEndpoint } from '../../model/address.ts';
import type { IpvsTableOperation, KernelError } from '../../model/kernel.ts';

/** `set-destination 10.0.0.1:80`; the service is named by whoever shows it. */
export function formatOperation(operation: IpvsTableOperation): string {
  if (!('destination' in operation)) return operation.op;
  const { address, port } = operation.destination;
  return `${operation.op} ${formatEndpoint(address, port)}`;
}

/** ENOENT for a service means its scheduler or engine: a service that is missing answers ESRCH (ip_vs_ctl.c). */
export function describeFailure(operation: IpvsTableOperation, error: KernelError): string {
  const isService = operation.op === 'add-service' || operation.op === 'set-service';
  if (isService && error.code === 'ENOENT') {
    const { scheduler, persistenceEngine } = operation.service;
    // The code is the same for both; the adapter has looked which of the modules is there.
    if (persistenceEngine !== null) return error.message;
    return `scheduler ${scheduler}: kernel module ip_vs_${scheduler} is missing`;
  }
  return `${formatOperation(operation)}: ${error.message} (${error.code})`;
}
