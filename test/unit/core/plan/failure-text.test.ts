import { describe, expect, it } from 'vitest';
import { describeFailure, formatOperation } from '../../../../src/core/plan/failure-text.ts';
import type { IpvsTableOperation } from '../../../../src/model/kernel.ts';
import { ip } from '../desired/spec-builders.ts';

const key = { kind: 'address', protocol: 'tcp', address: ip('fd90::100'), port: 80 } as const;
const add = {
  op: 'add-service',
  service: {
    key,
    scheduler: 'mh',
    flags: 0,
    timeoutS: 0,
    persistencePrefix: 128,
    persistenceEngine: null,
  },
} satisfies IpvsTableOperation;
const remove: IpvsTableOperation = {
  op: 'delete-destination',
  service: key,
  destination: { address: ip('fd90::21'), port: 8080 },
};

describe('describeFailure', () => {
  it('reads ENOENT for a service as a missing scheduler, and only there', () => {
    expect(describeFailure(add, { code: 'ENOENT', message: 'no' })).toBe(
      'scheduler mh: kernel module ip_vs_mh is missing',
    );
    expect(describeFailure(remove, { code: 'ENOENT', message: 'no' })).toBe(
      'delete-destination [fd90::21]:8080: no (ENOENT)',
    );
    expect(describeFailure(add, { code: 'EPERM', message: 'needs CAP_NET_ADMIN' })).toBe(
      'add-service: needs CAP_NET_ADMIN (EPERM)',
    );
  });

  it('leaves it to the kernel side to tell a missing engine from a missing scheduler', () => {
    const withEngine: IpvsTableOperation = {
      op: 'add-service',
      service: { ...add.service, persistenceEngine: 'sip' },
    };
    const message = 'unknown persistence engine "sip": load it with "modprobe ip_vs_pe_sip"';
    expect(describeFailure(withEngine, { code: 'ENOENT', message })).toBe(message);
  });

  it('names the operation alone where the service says the rest', () => {
    expect(formatOperation({ op: 'delete-service', service: key })).toBe('delete-service');
  });
});
