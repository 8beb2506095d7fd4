/** What the real servers and the sorry server of a virtual service must satisfy, beyond their shape. */
import { familyOf, formatEndpoint, type IpAddress } from '../model/address.ts';
import { DEFAULT_FORWARD } from './defaults.ts';
import type { Place } from './places.ts';
import type { Problem } from './problem.ts';
import { addressOf, at, isMap, itemsOf, numberOf, type Raw, textOf } from './raw.ts';
import {
  type CheckPlace,
  checkProblems,
  checksIn,
  sayingOf,
  strangeSources,
} from './rules-checks.ts';
import { addressProblem } from './rules-common.ts';
import { asksPort, vipCheckProblems } from './rules-vip-checks.ts';

/** In pieces: a service may have very many. `directors` are the names of the document. */
export function* realServerProblemsSteps(
  service: Raw,
  place: Place,
  directors: readonly string[],
): Generator<undefined, readonly Problem[]> {
  const vips = new Set(place.addresses.map(({ address }) => address));
  const twins = createTwins(place);
  const sorry = at(service, 'sorryServer');
  const servers = [...itemsOf(at(service, 'realServers'))];
  if (sorry.value !== undefined) servers.push(sorry);
  const hasTunnel = servers.some((server) => forwardOf(service, server) === 'tun');
  const problems = [...serviceTunnelProblems(service, hasTunnel)];
  const shared = checksIn(at(service, 'check'));
  const told = new Set<string>();
  const add = (found: readonly Problem[]): void => {
    for (const problem of found) problems.push(problem);
  };
  for (const server of servers) {
    yield;
    const addressPlace = at(server, 'address');
    const address = addressOf(addressPlace);
    const bad = addressProblem(addressPlace);
    if (bad !== null) problems.push(bad);
    add(portProblems(service, server, place));
    add(tunnelProblems(service, server));
    add(thresholdProblems(server));
    if (server !== sorry) {
      add(checkProblems(at(server, 'check'), directors));
      const own = at(server, 'check');
      const checks = own.value === undefined ? shared : checksIn(own);
      add(probePortProblems(server, place, checks));
      // What the service's check says is wrong for many real servers at once, and told once.
      const ofChecks = [
        ...probeSourceProblems(server, checks),
        ...vipCheckProblems(forwardOf(service, server), place, checks),
      ];
      for (const problem of ofChecks)
        if (!told.has(problem.path)) {
          told.add(problem.path);
          problems.push(problem);
        }
    }
    if (address === null || bad !== null) continue;
    add(familyProblems(service, server, place, address));
    add(identityProblems(server, address, vips, twins));
  }
  return problems;
}

export const forwardOf = (service: Raw, server: Raw): string =>
  textOf(at(server, 'forward')) ?? textOf(at(service, 'forward')) ?? DEFAULT_FORWARD;

/** The kernel rewrites ports only with NAT, and where all ports are served not even then. */
function portProblems(service: Raw, server: Raw, place: Place): readonly Problem[] {
  const own = at(server, 'port');
  const port = numberOf(own);
  if (port === null) return [];
  const forward = forwardOf(service, server);
  if (place.kind === 'address' && place.port === 0)
    return [
      {
        path: own.path,
        message: `${port}: a service of all ports keeps the port that the client asked for`,
        allowed: 'no port',
      },
    ];
  if (forward === 'nat') return [];
  if (place.kind === 'fwmark' || (place.port === null && place.keys.length > 0))
    return [
      {
        path: own.path,
        message: `${port}: the service has no single port, and "${forward}" does not rewrite ports`,
        allowed: 'no port (the one that the client asked for), or forward: nat',
      },
    ];
  if (place.port === null || port === place.port) return [];
  return [
    {
      path: own.path,
      message: `${port} is not the port of the service (${place.port}), and "${forward}" does not rewrite ports`,
      allowed: `${place.port}, or forward: nat`,
    },
  ];
}

/** The family changes only inside a tunnel. */
function familyProblems(
  service: Raw,
  server: Raw,
  { family, kind, addresses }: Place,
  address: IpAddress,
): readonly Problem[] {
  const forward = forwardOf(service, server);
  if (forward === 'tun' || family === null || family === familyOf(address)) return [];
  const vip = kind === 'address' ? `the VIP ${addresses[0]?.address}` : 'the firewall mark';
  return [
    {
      path: at(server, 'address').path,
      message: `${address} is of another family than ${vip}, and "${forward}" cannot change it`,
      allowed: `an IPv${family} address, or forward: tun`,
    },
  ];
}

function serviceTunnelProblems(service: Raw, hasTunnel: boolean): readonly Problem[] {
  const tunnel = at(service, 'tunnel');
  if (tunnel.value === undefined) return [];
  if (!hasTunnel)
    return [
      {
        path: tunnel.path,
        message: 'means nothing: no real server has forward: tun',
        allowed: 'forward: tun, or no tunnel',
      },
    ];
  return tunnelShapeProblems(tunnel);
}

function tunnelProblems(service: Raw, server: Raw): readonly Problem[] {
  const tunnel = at(server, 'tunnel');
  if (tunnel.value === undefined) return [];
  const forward = forwardOf(service, server);
  if (forward === 'tun') return tunnelShapeProblems(tunnel);
  return [
    {
      path: tunnel.path,
      message: `means nothing with forward: ${forward}`,
      allowed: 'forward: tun, or no tunnel',
    },
  ];
}

/** Of net/netfilter/ipvs/ip_vs_xmit.c: which types have a port and which checksums. */
function tunnelShapeProblems(tunnel: Raw): readonly Problem[] {
  if (!isMap(tunnel.value)) return [];
  const problems: Problem[] = [];
  const type = textOf(at(tunnel, 'type')) ?? 'ipip';
  const port = at(tunnel, 'port');
  const checksum = at(tunnel, 'checksum');
  const word = textOf(checksum) ?? 'nocsum';
  if (type === 'gue' && port.value === undefined)
    problems.push({ path: port.path, message: 'is missing', allowed: 'the UDP port of gue' });
  if (type !== 'gue' && port.value !== undefined)
    problems.push({
      path: port.path,
      message: `means nothing for a tunnel of type ${type}`,
      allowed: 'a port for gue only',
    });
  if ((type === 'ipip' && word !== 'nocsum') || (type === 'gre' && word === 'remcsum'))
    problems.push({
      path: checksum.path,
      message: `${word} is not for a tunnel of type ${type}`,
      allowed: type === 'gre' ? 'nocsum or csum' : 'nocsum; csum and remcsum for gue, csum for gre',
    });
  return problems;
}

/** ip_vs_ctl.c refuses a lower one above the upper one; equal ones would flap with each connection. */
function thresholdProblems(server: Raw): readonly Problem[] {
  const place = at(server, 'lowerThreshold');
  const lower = numberOf(place) ?? 0;
  const upper = numberOf(at(server, 'upperThreshold')) ?? 0;
  if (lower === 0 || lower < upper) return [];
  return [
    {
      path: place.path,
      message:
        upper === 0
          ? `${lower} without an upper threshold`
          : `${lower} is not below the upper threshold (${upper})`,
      allowed: upper === 0 ? 'upperThreshold above it, or none of both' : `0 to ${upper - 1}`,
    },
  ];
}

/** A probe goes to one port. */
function probePortProblems(
  server: Raw,
  place: Place,
  checks: readonly CheckPlace[],
): readonly Problem[] {
  if (at(server, 'port').value !== undefined || place.keys.length === 0) return [];
  if (place.port !== null && place.port !== 0) return [];
  const portless = checks.find(
    (check) => asksPort(check, place) && sayingOf(check, 'port') === undefined,
  );
  if (portless === undefined) return [];
  return [
    {
      path: at(server, 'port').path,
      message: 'has no single port that the check could ask',
      allowed: `${at(portless.raw, 'port').path}`,
    },
  ];
}

/** A socket has one family. */
function probeSourceProblems(server: Raw, checks: readonly CheckPlace[]): readonly Problem[] {
  const address = addressOf(at(server, 'address'));
  if (address === null) return [];
  return checks
    .filter((check) => check.kind !== 'vip' && sayingOf(check, 'address') === undefined)
    .flatMap((check) => strangeSources(check, familyOf(address)));
}

type Twins = {
  readonly take: (address: IpAddress, port: number | null, user: Raw) => string | null;
};

/** Who has an address and port in one of the keys; without a port a real server has those of all keys. */
function createTwins({ keys }: Place): Twins {
  const ports = new Set(keys.map((key) => (key.kind === 'address' ? key.port : 0)));
  const only = ports.size === 1 ? ([...ports][0] ?? null) : null;
  const users = new Map<string, Raw>();
  /** By address: one with a port that a key has, and one without. */
  const spread = new Map<IpAddress, { fixed: Raw | null; open: Raw | null }>();
  return {
    take: (address, port, user) => {
      const own = port ?? only;
      const known = spread.get(address) ?? { fixed: null, open: null };
      spread.set(address, known);
      if (own === null) {
        const other = known.open ?? known.fixed;
        known.open ??= user;
        return other?.path ?? null;
      }
      const text = formatEndpoint(address, own);
      const other = users.get(text) ?? (ports.has(own) ? known.open : null);
      if (!users.has(text)) users.set(text, user);
      if (ports.has(own)) known.fixed ??= user;
      return other?.path ?? null;
    },
  };
}

function identityProblems(
  server: Raw,
  address: IpAddress,
  vips: ReadonlySet<IpAddress>,
  twins: Twins,
): readonly Problem[] {
  if (vips.has(address))
    return [
      {
        path: at(server, 'address').path,
        message: `${address} is the VIP of the service itself`,
        allowed: "the real server's own address",
      },
    ];
  const port = numberOf(at(server, 'port'));
  const other = twins.take(address, port, server);
  if (other === null) return [];
  return [
    {
      path: server.path,
      message: `${address}${port === null ? '' : ` with port ${port}`} is also ${other}`,
      allowed: 'each real server once in realServers and sorryServer',
    },
  ];
}
