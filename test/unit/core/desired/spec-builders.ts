/** Short ways to write specs in tests: every field has a plain value unless the test names another. */
import { parseIp, type IpAddress } from '../../../../src/model/address.ts';
import type { HttpCheck, HttpRequest } from '../../../../src/model/check.ts';
import {
  type CheckSpec,
  type ClusterSpec,
  DEFAULT_TUNNEL,
  type IpvsSpec,
  type Protocol,
  type Quorum,
  type RealServer,
  type SorryServer,
  type VirtualService,
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

export type HttpCheckSpec = Extract<CheckSpec, { kind: 'http' | 'https' }>;

/** GET / with status 200, unless said otherwise; https verifies the certificate only where asked. */
export const httpCheck = (
  fields: Partial<HttpRequest> & { readonly kind?: HttpCheck['kind']; readonly verify?: boolean },
): HttpCheckSpec => {
  const { kind = 'http', verify = false, ...request } = fields;
  return { ...TCP_CHECK, ...httpKind(kind, request, verify) };
};

export const httpKind = (
  kind: HttpCheck['kind'],
  request: Partial<HttpRequest> = {},
  verify = false,
): HttpCheck => ({
  kind,
  version: '1.1',
  requests: [
    {
      method: 'GET',
      path: '/',
      host: null,
      headers: [],
      body: null,
      status: [[200, 200]],
      digest: null,
      match: null,
      noMatch: null,
      ...request,
    },
  ],
  bodyMax: 65_536,
  tls:
    kind === 'http'
      ? null
      : { verify, name: null, ca: null, cert: null, key: null, daysLeft: null },
});

export const server = (address: string, fields: Partial<RealServer> = {}): RealServer => {
  const port = fields.port ?? 80;
  return {
    id: realServerId(`${address}:${port}`),
    address: ip(address),
    port,
    weight: 1,
    forward: 'dr',
    tunnel: fields.forward === 'tun' ? DEFAULT_TUNNEL : null,
    upperThreshold: 0,
    lowerThreshold: 0,
    alpha: false,
    inhibitOnFailure: false,
    ...fields,
  };
};

export const sorryServer = (address: string, fields: Partial<SorryServer> = {}): SorryServer => {
  const { id, port, weight, forward, tunnel, address: parsed } = server(address, fields);
  return { id, address: parsed, port, weight, forward, tunnel, inhibit: fields.inhibit ?? false };
};

/** A quorum of one, as where nothing is said. */
export const ANY_QUORUM: Quorum = {
  need: 1,
  hysteresis: 0,
  up: null,
  down: null,
  timeoutMs: 10_000,
  user: null,
};

export const ANY_IPVS: IpvsSpec = {
  timeouts: { tcpS: null, tcpFinS: null, udpS: null },
  standby: 'warm',
  onExit: 'release',
  sysctls: [],
};

type ServiceFields = Omit<Partial<VirtualService>, 'id'> & {
  id?: string;
  /** Of its one key, where `keys` are not given. */
  address?: string;
  port?: number;
  protocol?: Protocol;
  /** Of all its real servers. */
  alpha?: boolean;
  inhibitOnFailure?: boolean;
};

export const anyService = ({
  id,
  address = '10.90.0.100',
  port = 80,
  protocol = 'tcp',
  alpha,
  inhibitOnFailure,
  ...fields
}: ServiceFields = {}): VirtualService => ({
  id: serviceId(id ?? 'web'),
  group: groupId('web'),
  keys: [{ kind: 'address', protocol, address: ip(address), port }],
  marks: [],
  scheduler: 'wlc',
  schedulerFlags: [],
  ops: false,
  persistence: null,
  check: TCP_CHECK,
  quorum: ANY_QUORUM,
  failOpenPercent: null,
  slowStartMs: 0,
  weightSource: 'fixed',
  drain: { deadlineMs: 0 },
  sorryServer: null,
  ...fields,
  realServers: (fields.realServers ?? [server('10.90.0.21')]).map((one) => ({
    ...one,
    alpha: alpha ?? one.alpha,
    inhibitOnFailure: inhibitOnFailure ?? one.inhibitOnFailure,
  })),
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
  ipvs: ANY_IPVS,
});
