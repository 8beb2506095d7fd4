/** Keys, ports and flags of services as the kernel counts them. */
import { describe, expect, it } from 'vitest';
import { parseIp } from '../../../src/model/address.ts';
import {
  familyOfKey,
  portIn,
  SCHEDULER_FLAGS,
  type ServiceKey,
} from '../../../src/model/cluster.ts';
import { schedulerFlagBits } from '../../../src/model/kernel.ts';

const keyAt = (address: string, port: number): ServiceKey => {
  const parsed = parseIp(address);
  if (!parsed.ok) throw new Error(parsed.error);
  return { kind: 'address', protocol: 'tcp', address: parsed.value, port };
};
const MARK: ServiceKey = { kind: 'fwmark', family: 6, mark: 7 };

describe('a service key', () => {
  it('has the family of its address, or its own', () => {
    expect([keyAt('10.90.0.100', 80), keyAt('fd90::100', 80), MARK].map(familyOfKey)).toEqual([
      4, 6, 6,
    ]);
  });

  it('gives a real server without a port its own, and a mark gives none', () => {
    expect(portIn(keyAt('10.90.0.100', 443), { port: 0 })).toBe(443);
    expect(portIn(keyAt('10.90.0.100', 443), { port: 8443 })).toBe(8443);
    expect(portIn(keyAt('10.90.0.100', 0), { port: 0 })).toBe(0);
    expect(portIn(MARK, { port: 0 })).toBe(0);
    expect(portIn(MARK, { port: 8080 })).toBe(8080);
  });
});

describe('scheduler flags', () => {
  it('are the bits of linux/ip_vs.h', () => {
    expect(SCHEDULER_FLAGS.map((flag) => [flag, schedulerFlagBits([flag])])).toEqual([
      ['sh-fallback', 0x08],
      ['sh-port', 0x10],
      ['mh-fallback', 0x08],
      ['mh-port', 0x10],
      ['flag-1', 0x08],
      ['flag-2', 0x10],
      ['flag-3', 0x20],
    ]);
  });

  it('add up, each once', () => {
    expect(schedulerFlagBits([])).toBe(0);
    expect(schedulerFlagBits(['sh-port', 'sh-fallback', 'flag-2'])).toBe(0x18);
  });
});
