/** What a gate answers where it was not the kernel that refused. */
import type { KernelError } from '../model/kernel.ts';

export const LATE: KernelError = {
  code: 'LATE',
  message: 'nothing of the hold time is left',
};
export const MISSING: KernelError = {
  code: 'MISSING',
  message: 'the rules of the gate are gone',
};
export const NOT_PREPARED: KernelError = {
  code: 'EINVAL',
  message: 'the last arming did not prepare the group',
};
export const NO_DEVICE: KernelError = {
  code: 'ENODEV',
  message: 'the device of an address is gone',
};
