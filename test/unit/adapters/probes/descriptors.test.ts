/** How many probes the limit of descriptors allows. */
import { expect, it } from 'vitest';
import {
  descriptorLimit,
  parseLimit,
  probesAtOnce,
} from '../../../../src/adapters/probes/descriptors.ts';

const LIMITS = `Limit                     Soft Limit           Hard Limit           Units
Max processes             95966                95966                processes
Max open files            20000                524288               files
`;

it('reads the soft limit, and what is no limit', () => {
  expect(parseLimit(LIMITS)).toBe(20_000);
  expect(parseLimit(LIMITS.replace('20000 ', 'unlimited'))).toBe(Number.MAX_SAFE_INTEGER);
  expect(parseLimit('')).toBeNull();
  expect(descriptorLimit()).toBeGreaterThan(100);
});

it('leaves room for the rest of the agent, and half of a small limit', () => {
  expect(probesAtOnce(20_000)).toBe(19_488);
  expect(probesAtOnce(1024)).toBe(512);
  expect(probesAtOnce(256)).toBe(128);
});
