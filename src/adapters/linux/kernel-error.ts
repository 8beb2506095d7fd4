/** What a refusal of the kernel means to a user: errno names and remedies. */
import { getSystemErrorName } from 'node:util';
import type { KernelError } from '../../model/kernel.ts';

const REMEDIES: Readonly<Record<string, string>> = {
  EPERM: 'not permitted: run as root or with CAP_NET_ADMIN',
  EACCES: 'refused: IPv6 may be disabled on the link (sysctl net.ipv6.conf.*.disable_ipv6)',
  ENODEV: 'there is no such link',
  ENOBUFS: 'the kernel has no memory for the request',
  ERANGE: 'a value is out of range',
  EINVAL: 'the kernel refuses a value',
  TIMEOUT: 'the kernel did not answer in time; whether it acted is not known',
  UNAVAILABLE: 'the kernel does not offer this',
};

/** `EEXIST` for 17; the number as text where Node knows no name. */
export function errnoName(errno: number): string {
  try {
    return getSystemErrorName(-errno);
  } catch {
    // Node throws for numbers it has no name for; the number itself is then the best we can say.
    return `E${errno}`;
  }
}

/**
 * Refusals of RTM_DELADDR that mean that there is no such address: none, no link, or no IPv6, on the link (an MTU
 * below 1280: ENXIO) or in the kernel (ipv6.disable=1: ENOTSUP, as Node calls EOPNOTSUPP).
 */
const NO_SUCH_ADDRESS: readonly string[] = ['EADDRNOTAVAIL', 'ENODEV', 'ENXIO', 'ENOTSUP'];

/** Whether a refused removal of an address means that it is not there. */
export const isAddressGone = (code: string): boolean => NO_SUCH_ADDRESS.includes(code);

/** `what` names the attempt ("bind 10.0.0.1/24"), `reason` is the kernel's own text if it gave any. */
export function kernelError(code: string, what: string, reason: string | null = null): KernelError {
  const detail = [reason, REMEDIES[code] ?? null].filter((part) => part !== null).join('; ');
  return { code, message: `${what}: ${code}${detail === '' ? '' : ` (${detail})`}` };
}
