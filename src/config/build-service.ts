/** From a virtual service of a document that passed to the service that everything works from. */
import { runSteps } from '../lib/steps.ts';
import { formatEndpoint, type IpAddress, type IpFamily, parseIp } from '../model/address.ts';
import {
  DEFAULT_TUNNEL,
  type ForwardTarget,
  type Persistence,
  type Quorum,
  type RealServer,
  type Tunnel,
  type VirtualService,
} from '../model/cluster.ts';
import { groupId, realServerId, serviceId } from '../model/ids.ts';
import { buildCheckTree } from './build-check.ts';
import {
  DEFAULT_COMMAND_TIMEOUT_MS,
  DEFAULT_DRAIN,
  DEFAULT_FORWARD,
  DEFAULT_PERSISTENCE_S,
  DEFAULT_QUORUM,
  DEFAULT_SCHEDULER,
  DEFAULT_WEIGHT,
} from './defaults.ts';
import { parseDuration } from './durations.ts';
import { must } from './must.ts';
import { type Place, readPlace } from './places.ts';
import type {
  QuorumDocument,
  RealServerDocument,
  ServiceDocument,
  SorryServerDocument,
  TunnelDocument,
} from './service-schema.ts';
import { commandOf } from './track-words.ts';

const msOf = (text: string | undefined, otherwise: number): number =>
  text === undefined ? otherwise : must(parseDuration(text));

/** The service as everything works from it; throws where the rules would have found a problem. */
export const buildService = (name: string, service: ServiceDocument): VirtualService =>
  runSteps(buildServiceSteps(name, service));

/** The same in pieces. */
export function* buildServiceSteps(
  name: string,
  service: ServiceDocument,
): Generator<undefined, VirtualService> {
  const place = readPlace({ path: name, value: service });
  const realServers: RealServer[] = [];
  for (const server of service.realServers) {
    realServers.push(buildRealServer(service, server, place));
    yield;
  }
  const { sorryServer } = service;
  return {
    id: serviceId(name),
    group: groupId(service.group),
    keys: place.keys,
    marks: place.marks,
    scheduler: service.scheduler ?? DEFAULT_SCHEDULER,
    schedulerFlags: service.schedulerFlags ?? [],
    ops: service.ops ?? false,
    persistence: buildPersistence(service, place.family ?? 4),
    check: service.check === undefined ? null : buildCheckTree(service.check),
    quorum: buildQuorum(service.quorum),
    failOpenPercent: service.failOpen ?? null,
    slowStartMs: msOf(service.slowStart, 0),
    weightSource: service.weightFrom ?? 'fixed',
    drain: { deadlineMs: msOf(service.drain?.deadline, DEFAULT_DRAIN.deadlineMs) },
    realServers,
    sorryServer:
      sorryServer === undefined
        ? null
        : {
            ...buildTarget(service, sorryServer, place),
            weight: DEFAULT_WEIGHT,
            inhibit: sorryServer.inhibit ?? false,
          },
  };
}

function buildPersistence({ persistence }: ServiceDocument, family: IpFamily): Persistence | null {
  if (persistence === undefined) return null;
  return {
    timeoutS: msOf(persistence.timeout, DEFAULT_PERSISTENCE_S * 1000) / 1000,
    prefix: persistence.prefix ?? (family === 4 ? 32 : 128),
    engine: persistence.engine ?? null,
  };
}

function buildQuorum(quorum: QuorumDocument | undefined): Quorum {
  const given = typeof quorum === 'number' ? { need: quorum } : quorum;
  return {
    need: given?.need ?? DEFAULT_QUORUM.need,
    hysteresis: given?.hysteresis ?? DEFAULT_QUORUM.hysteresis,
    up: given?.up === undefined ? null : commandOf(given.up),
    down: given?.down === undefined ? null : commandOf(given.down),
    timeoutMs: msOf(given?.timeout, DEFAULT_COMMAND_TIMEOUT_MS),
    user: given?.user ?? null,
  };
}

function buildRealServer(
  service: ServiceDocument,
  server: RealServerDocument,
  place: Place,
): RealServer {
  // Written out, not spread: a document may have tens of thousands of them.
  const { id, address, port, forward, tunnel } = buildTarget(service, server, place);
  return {
    id,
    address,
    port,
    weight: server.weight ?? DEFAULT_WEIGHT,
    forward,
    tunnel,
    upperThreshold: server.upperThreshold ?? 0,
    lowerThreshold: server.lowerThreshold ?? 0,
    alpha: server.alpha ?? service.alpha ?? false,
    inhibitOnFailure: server.inhibitOnFailure ?? service.inhibitOnFailure ?? false,
    ...(server.check === undefined
      ? {}
      : { check: server.check === 'none' ? null : buildCheckTree(server.check) }),
  };
}

function buildTarget(
  service: ServiceDocument,
  server: RealServerDocument | SorryServerDocument,
  place: Place,
): Omit<ForwardTarget, 'weight'> {
  const address: IpAddress = must(parseIp(server.address));
  const port = server.port ?? place.port ?? 0;
  const forward = server.forward ?? service.forward ?? DEFAULT_FORWARD;
  return {
    id: realServerId(formatEndpoint(address, port)),
    address,
    port,
    forward,
    tunnel: forward === 'tun' ? buildTunnel(server.tunnel ?? service.tunnel) : null,
  };
}

function buildTunnel(tunnel: TunnelDocument | undefined): Tunnel {
  return {
    type: tunnel?.type ?? DEFAULT_TUNNEL.type,
    port: tunnel?.port ?? 0,
    checksum: tunnel?.checksum ?? DEFAULT_TUNNEL.checksum,
  };
}
