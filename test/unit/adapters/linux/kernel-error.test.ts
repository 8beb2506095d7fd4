/** What a user reads when the kernel refuses. */
import { expect, test } from 'vitest';
import {
  errnoName,
  isAddressGone,
  kernelError,
} from '../../../../src/adapters/linux/kernel-error.ts';

test.each([
  [1, 'EPERM'],
  [17, 'EEXIST'],
  [34, 'ERANGE'],
  [99, 'EADDRNOTAVAIL'],
])('errno %d is %s', (errno, name) => expect(errnoName(errno)).toBe(name));

test('an unknown errno keeps its number', () => expect(errnoName(4000)).toContain('4000'));

test('the message names the attempt, the cause and the remedy', () => {
  expect(kernelError('EPERM', 'bind 10.0.0.1/24')).toEqual({
    code: 'EPERM',
    message: 'bind 10.0.0.1/24: EPERM (not permitted: run as root or with CAP_NET_ADMIN)',
  });
  expect(kernelError('EINVAL', 'bind', 'ipv4: Invalid prefix length').message).toBe(
    'bind: EINVAL (ipv4: Invalid prefix length; the kernel refuses a value)',
  );
  expect(kernelError('EXDEV', 'bind').message).toBe('bind: EXDEV');
});

test.each([
  ['it is not bound', 99],
  ['there is no such link', 19],
  ['the link has no IPv6, by its MTU', 6],
  ['the kernel has no IPv6', 95],
])('an address cannot be removed that is not there: %s', (_, errno) =>
  expect(isAddressGone(errnoName(errno))).toBe(true),
);

test.each([1, 4, 16, 22, 105])('errno %d leaves an address where it is', (errno) =>
  expect(isAddressGone(errnoName(errno))).toBe(false),
);
