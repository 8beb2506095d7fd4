/** What the virtual services of the cluster document must satisfy, beyond their shape. */
import { familyOf, formatEndpoint, type IpAddress } from '../model/address.ts';
import { DEFAULT_CHECK, DEFAULT_FORWARD, DEFAULT_PROTOCOL } from './defaults.ts';
import { formatDuration } from './durations.ts';
import { nearestWord } from './nearest.ts';
import { joinPath, type Problem } from './problem.ts';
import {
  addressOf,
  at,
  durationOf,
  entriesOf,
  itemsOf,
  numberOf,
  type Raw,
  textOf,
} from './raw.ts';
import { addressProblem, firstUseOf } from './rules-common.ts';

type GroupVip = { readonly group: string; readonly address: IpAddress | null };

/** The kernel's persistence timeout: whole seconds, up to 31 days (IP_VS limits of ipvsadm). */
const PERSISTENCE_MAX_MS = 31 * 24 * 3_600_000;

/** Problems of all services; `vips` are the addresses of all groups, null where unusable. */
export function serviceProblems(
  services: Raw,
  groups: Raw,
  vips: readonly GroupVip[],
): readonly Problem[] {
  const groupNames = entriesOf(groups).map(([name]) => name);
  const isTaken = firstUseOf<string>();
  return entriesOf(services).flatMap(([name, service]) => [
    ...placeProblems(service, groupNames, vips),
    ...duplicateProblems(name, service, isTaken),
    ...persistenceProblems(at(service, 'persistence')),
    ...checkProblems(at(service, 'check')),
    ...realServerProblems(service),
  ]);
}

function placeProblems(
  service: Raw,
  groupNames: readonly string[],
  vips: readonly GroupVip[],
): readonly Problem[] {
  const problems: Problem[] = [];
  const place = at(service, 'address');
  const bad = addressProblem(place);
  if (bad !== null) problems.push(bad);
  const group = textOf(at(service, 'group'));
  if (group === null) return problems;
  if (!groupNames.includes(group)) {
    const meant = nearestWord(group, groupNames);
    problems.push({
      path: at(service, 'group').path,
      message: `unknown group "${group}"${meant === null ? '' : `; did you mean "${meant}"?`}`,
      allowed: groupNames.length === 0 ? 'groups named under groups' : groupNames.join(', '),
    });
    return problems;
  }
  const address = addressOf(place);
  const own = vips.filter((vip) => vip.group === group).map((vip) => vip.address);
  // A group with an unusable VIP or with none has its own problem, and may mean this address.
  const isJudgeable = own.length > 0 && !own.includes(null);
  if (bad !== null || address === null || !isJudgeable || own.includes(address)) return problems;
  problems.push({
    path: place.path,
    message: `${address} is no address of group "${group}"`,
    allowed: own.join(', '),
  });
  return problems;
}

function duplicateProblems(
  name: string,
  service: Raw,
  isTaken: (value: string, user: string) => string | null,
): readonly Problem[] {
  const address = addressOf(at(service, 'address'));
  const port = numberOf(at(service, 'port'));
  if (address === null || port === null) return [];
  const protocol = textOf(at(service, 'protocol')) ?? DEFAULT_PROTOCOL;
  const key = `${protocol} ${formatEndpoint(address, port)}`;
  const other = isTaken(key, name);
  if (other === null) return [];
  return [
    {
      path: service.path,
      message: `${key} is also service "${other}"`,
      allowed: 'one service for each protocol, address and port',
    },
  ];
}

function persistenceProblems(persistence: Raw): readonly Problem[] {
  const place = at(persistence, 'timeout');
  const ms = durationOf(place);
  if (ms === null || (ms >= 1000 && ms <= PERSISTENCE_MAX_MS && ms % 1000 === 0)) return [];
  return [
    {
      path: place.path,
      message: `${formatDuration(ms)} is no timeout that the kernel can keep`,
      allowed: 'whole seconds from 1s to 744h (31 days)',
    },
  ];
}

const CHECK_KINDS = ['tcp', 'http', 'https'] as const;

function checkProblems(check: Raw): readonly Problem[] {
  if (check.value === undefined) return [];
  const problems: Problem[] = [];
  const kinds = CHECK_KINDS.filter((kind) => at(check, kind).value !== undefined);
  if (kinds.length !== 1)
    problems.push({
      path: check.path,
      message:
        kinds.length === 0 ? 'has no kind' : `has ${kinds.length} kinds: ${kinds.join(', ')}`,
      allowed: 'exactly one of tcp, http, https',
    });
  for (const kind of ['http', 'https'])
    problems.push(...statusProblems(at(at(check, kind), 'status')));
  return [...problems, ...checkTimingProblems(check)];
}

function statusProblems(status: Raw): readonly Problem[] {
  const ranges = Array.isArray(status.value) ? itemsOf(status) : [status];
  return ranges.flatMap((range) => {
    const match = /^([1-5]\d\d)-([1-5]\d\d)$/.exec(textOf(range) ?? '');
    if (match === null || Number(match[1]) <= Number(match[2])) return [];
    return [
      { path: range.path, message: 'ends before it begins', allowed: `"${match[2]}-${match[1]}"` },
    ];
  });
}

function checkTimingProblems(check: Raw): readonly Problem[] {
  const problems: Problem[] = [];
  for (const key of ['interval', 'timeout']) {
    const place = at(check, key);
    const ms = durationOf(place);
    if (ms !== null && (ms < 50 || ms > 3_600_000))
      problems.push({
        path: place.path,
        message: `${formatDuration(ms)} is out of range`,
        allowed: '50ms to 1h',
      });
  }
  const intervalMs = durationOf(at(check, 'interval')) ?? DEFAULT_CHECK.intervalMs;
  const timeoutMs = durationOf(at(check, 'timeout')) ?? DEFAULT_CHECK.timeoutMs;
  if (timeoutMs > intervalMs)
    problems.push({
      path: at(check, 'timeout').path,
      message: `${formatDuration(timeoutMs)} is longer than the interval (${formatDuration(intervalMs)}): probes would overlap`,
      allowed: `at most ${formatDuration(intervalMs)}`,
    });
  return problems;
}

function realServerProblems(service: Raw): readonly Problem[] {
  const isTaken = firstUseOf<string>();
  const servers = [...itemsOf(at(service, 'realServers')), at(service, 'sorryServer')];
  return servers.flatMap((server) => {
    if (server.value === undefined) return [];
    const bad = addressProblem(at(server, 'address'));
    return [
      ...(bad === null ? [] : [bad]),
      ...forwardProblems(service, server),
      ...destinationProblems(service, server, isTaken),
    ];
  });
}

/** The kernel rewrites ports only with NAT, and changes the family only inside a tunnel. */
function forwardProblems(service: Raw, server: Raw): readonly Problem[] {
  const problems: Problem[] = [];
  const forward =
    textOf(at(server, 'forward')) ?? textOf(at(service, 'forward')) ?? DEFAULT_FORWARD;
  const servicePort = numberOf(at(service, 'port'));
  const port = numberOf(at(server, 'port'));
  if (forward !== 'nat' && port !== null && servicePort !== null && port !== servicePort)
    problems.push({
      path: at(server, 'port').path,
      message: `${port} is not the port of the service (${servicePort}), and "${forward}" does not rewrite ports`,
      allowed: `${servicePort}, or forward: nat`,
    });
  const vip = addressOf(at(service, 'address'));
  const address = addressOf(at(server, 'address'));
  if (forward !== 'tun' && vip !== null && address !== null && familyOf(vip) !== familyOf(address))
    problems.push({
      path: at(server, 'address').path,
      message: `${address} is of another family than the VIP ${vip}, and "${forward}" cannot change it`,
      allowed: `an IPv${familyOf(vip)} address, or forward: tun`,
    });
  return problems;
}

function destinationProblems(
  service: Raw,
  server: Raw,
  isTaken: (value: string, user: string) => string | null,
): readonly Problem[] {
  const address = addressOf(at(server, 'address'));
  const port = numberOf(at(server, 'port')) ?? numberOf(at(service, 'port'));
  if (address === null || port === null) return [];
  if (address === addressOf(at(service, 'address')))
    return [
      {
        path: at(server, 'address').path,
        message: `${address} is the VIP of the service itself`,
        allowed: "the real server's own address",
      },
    ];
  const key = formatEndpoint(address, port);
  const other = isTaken(key, server.path);
  if (other === null) return [];
  return [
    {
      path: server.path,
      message: `${key} is also ${other}`,
      allowed: `each real server once in ${joinPath(service.path, 'realServers')} and sorryServer`,
    },
  ];
}
