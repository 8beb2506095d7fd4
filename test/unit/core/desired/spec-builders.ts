/** Short ways to write specs in tests: every field has a plain value unless the test names another. */
import { parseIp, type IpAddress } from '../../../../src/model/address.ts';
import type {
  CheckSpec,
  ClusterSpec,
  RealServer,
  VirtualService,
} from '../../../../src/model/cluster.ts';
import { groupId, realServerId, serviceId } from '../../../../src/model/ids.ts';

export function ip(text: string): IpAddress {
  const parsed = parseIp(text);
  if (!parsed.ok) throw new Error(parsed.error);
  return parsed.value;
}

export const TCP_CHECK: CheckSpec = {
  kind: 'tcp',
  intervalMs: 2000,
  timeoutMs: 1000,
  rise: 2,
  fall: 2,
  port: null,
};

export type HttpCheck = Extract<CheckSpec, { kind: 'http' | 'https' }>;

export const httpCheck = (fields: Partial<HttpCheck>): HttpCheck => ({
  ...TCP_CHECK,
  kind: 'http',
  method: 'GET',
  path: '/',
  status: [[200, 200]],
  host: null,
  verify: false,
  ...fields,
});

export const server = (address: string, fields: Partial<RealServer> = {}): RealServer => {
  const port = fields.port ?? 80;
  return {
    id: realServerId(`${address}:${port}`),
    address: ip(address),
    port,
    weight: 1,
    forward: 'dr',
    ...fields,
  };
};

type ServiceFields = Omit<Partial<VirtualService>, 'id' | 'address'> & {
  id?: string;
  address?: string;
};

export const anyService = ({ id, address, ...fields }: ServiceFields = {}): VirtualService => ({
  id: serviceId(id ?? 'web'),
  group: groupId('web'),
  address: ip(address ?? '10.90.0.100'),
  port: 80,
  protocol: 'tcp',
  scheduler: 'wlc',
  persistence: null,
  check: TCP_CHECK,
  alpha: false,
  inhibitOnFailure: false,
  realServers: [server('10.90.0.21')],
  sorryServer: null,
  ...fields,
});

export const anySpec = (services: readonly VirtualService[]): ClusterSpec => ({
  timing: {
    profile: 'relaxed',
    heartbeatMs: 1000,
    suspectMs: 3000,
    roundMs: 600,
    holdMs: 3000,
    permitMs: 750,
    slackMs: 1100,
    driftMargin: 0.25,
    leaseTtlS: 15,
  },
  directors: [],
  groups: [],
  services,
  checkers: null,
  gateways: [],
  isolation: { policy: 'release', targets: [], mode: 'any' },
});
