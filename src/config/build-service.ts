/** From a virtual service of a document that passed to the service that everything works from. */
import { familyOf, formatEndpoint, type IpAddress, parseIp } from '../model/address.ts';
import {
  type CheckKind,
  type CheckSpec,
  DEFAULT_TUNNEL,
  type ForwardTarget,
  type VirtualService,
} from '../model/cluster.ts';
import { groupId, realServerId, serviceId } from '../model/ids.ts';
import type { CheckDocument, RealServerDocument, ServiceDocument } from './cluster-schema.ts';
import {
  DEFAULT_CHECK,
  DEFAULT_DRAIN,
  DEFAULT_FORWARD,
  DEFAULT_PROTOCOL,
  DEFAULT_QUORUM,
  DEFAULT_SCHEDULER,
  DEFAULT_STATUS,
  DEFAULT_WEIGHT,
} from './defaults.ts';
import { parseDuration } from './durations.ts';
import { must } from './must.ts';

/** The service as everything works from it; throws where the rules would have found a problem. */
export function buildService(name: string, service: ServiceDocument): VirtualService {
  const address = must(parseIp(service.address));
  const protocol = service.protocol ?? DEFAULT_PROTOCOL;
  return {
    id: serviceId(name),
    group: groupId(service.group),
    keys: [{ kind: 'address', protocol, address, port: service.port }],
    marks: [],
    scheduler: service.scheduler ?? DEFAULT_SCHEDULER,
    schedulerFlags: [],
    ops: false,
    persistence:
      service.persistence === undefined
        ? null
        : {
            timeoutS: must(parseDuration(service.persistence.timeout)) / 1000,
            prefix: familyOf(address) === 4 ? 32 : 128,
            engine: null,
          },
    check: service.check === undefined ? null : buildCheck(service.check),
    quorum: DEFAULT_QUORUM,
    failOpenPercent: null,
    slowStartMs: 0,
    weightSource: 'fixed',
    drain: DEFAULT_DRAIN,
    realServers: service.realServers.map((server) => ({
      ...buildTarget(service, server),
      upperThreshold: 0,
      lowerThreshold: 0,
      alpha: service.alpha ?? false,
      inhibitOnFailure: service.inhibitOnFailure ?? false,
    })),
    sorryServer:
      service.sorryServer === undefined
        ? null
        : { ...buildTarget(service, service.sorryServer), inhibit: false },
  };
}

function buildTarget(service: ServiceDocument, server: RealServerDocument): ForwardTarget {
  const address: IpAddress = must(parseIp(server.address));
  const port = server.port ?? service.port;
  const forward = server.forward ?? service.forward ?? DEFAULT_FORWARD;
  return {
    id: realServerId(formatEndpoint(address, port)),
    address,
    port,
    weight: server.weight ?? DEFAULT_WEIGHT,
    forward,
    tunnel: forward === 'tun' ? DEFAULT_TUNNEL : null,
  };
}

function buildCheck(check: CheckDocument): CheckSpec {
  const ms = (text: string | undefined, otherwise: number): number =>
    text === undefined ? otherwise : must(parseDuration(text));
  return {
    ...buildCheckKind(check),
    intervalMs: ms(check.interval, DEFAULT_CHECK.intervalMs),
    timeoutMs: ms(check.timeout, DEFAULT_CHECK.timeoutMs),
    rise: check.rise ?? DEFAULT_CHECK.rise,
    fall: check.fall ?? DEFAULT_CHECK.fall,
    port: check.port ?? null,
  };
}

function buildCheckKind(check: CheckDocument): CheckKind {
  const http = check.https ?? check.http;
  if (http === undefined) return { kind: 'tcp' };
  return {
    kind: check.https === undefined ? 'http' : 'https',
    method: http.method ?? 'GET',
    path: http.path ?? '/',
    status: buildStatus(http.status),
    host: http.host ?? null,
    verify: check.https !== undefined && (check.https.verify ?? true),
  };
}

type StatusDocument = NonNullable<CheckDocument['http']>['status'];

function buildStatus(status: StatusDocument): readonly (readonly [number, number])[] {
  if (status === undefined) return DEFAULT_STATUS;
  const ranges = Array.isArray(status) ? status : [status];
  return ranges.map((range) => {
    if (typeof range === 'number') return [range, range];
    const [from = '', to = ''] = range.split('-');
    return [Number(from), Number(to)];
  });
}
