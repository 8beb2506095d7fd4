import { describe, expect, it } from 'vitest';
import { parseClusterDocument } from '../../../src/config/cluster-document.ts';

/** One service of two real servers, the second of them director d2. */
function warningsOf(service: object, rest: object = {}): readonly string[] {
  const parsed = parseClusterDocument({
    apiVersion: 'leasehold/v1',
    directors: { d1: { address: '10.90.0.11' }, d2: { address: '10.90.0.12' } },
    gateway: ['10.90.0.254'],
    groups: { web: { addresses: ['10.90.0.100/24'], interface: 'public' } },
    services: {
      own: {
        group: 'web',
        address: '10.90.0.100',
        port: 80,
        realServers: [{ address: '10.90.0.21' }, { address: '10.90.0.12' }],
        ...service,
      },
    },
    ...rest,
  });
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.error));
  return parsed.value.warnings.map(({ path, message }) => `${path} ${message}`);
}

describe('a director that is a real server', () => {
  it.each([{ forward: 'dr' }, { forward: 'tun' }, { forward: 'nat' }])(
    'by $forward needs no word: each director has such a service with itself alone while it does not hold',
    (service) => expect(warningsOf(service)).toEqual([]),
  );
});
