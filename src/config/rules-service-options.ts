/** Persistence, scheduling, quorum and the other options of a virtual service. */
import {
  DEFAULT_QUORUM,
  DEFAULT_SCHEDULER,
  DEFAULT_WEIGHT,
  KERNEL_SECONDS_MAX_MS,
} from './defaults.ts';
import { formatDuration } from './durations.ts';
import type { Place } from './places.ts';
import type { Problem } from './problem.ts';
import { at, durationOf, itemsOf, numberOf, type Raw, textOf } from './raw.ts';
import { commandProblems, rangeProblems } from './rules-common.ts';
import { forwardOf } from './rules-real-servers.ts';

const DAY_MS = 86_400_000;

export function optionProblems(service: Raw, place: Place): readonly Problem[] {
  return [
    ...persistenceProblems(service, place),
    ...flagProblems(service),
    ...opsProblems(service, place),
    ...quorumProblems(at(service, 'quorum')),
    ...rangeProblems(at(service, 'slowStart'), { fromMs: 0, toMs: DAY_MS }),
    ...rangeProblems(at(at(service, 'drain'), 'deadline'), { fromMs: 0, toMs: DAY_MS }),
  ];
}

function persistenceProblems(service: Raw, { keys, family }: Place): readonly Problem[] {
  const persistence = at(service, 'persistence');
  const problems = [...secondsProblems(at(persistence, 'timeout'))];
  const isAllPorts = keys.some((key) => key.kind === 'address' && key.port === 0);
  if (isAllPorts && persistence.value === undefined)
    problems.push({
      path: at(service, 'port').path,
      message: '0 (all ports) needs persistence: the kernel has no other way to schedule it',
      allowed: 'persistence: { timeout: 360s }, or a port',
    });
  const prefix = at(persistence, 'prefix');
  if (family === 4 && (numberOf(prefix) ?? 0) > 32)
    problems.push({
      path: prefix.path,
      message: `${numberOf(prefix)} is too long for IPv4`,
      allowed: '1 to 32',
    });
  const engine = at(persistence, 'engine');
  const stream = keys.find((key) => key.kind === 'address' && key.protocol !== 'udp');
  if (engine.value !== undefined && stream?.kind === 'address')
    problems.push({
      path: engine.path,
      message: `reads datagrams of SIP, and the service is ${stream.protocol}`,
      allowed: 'protocol: udp, or a firewall mark',
    });
  return problems;
}

/** The kernel keeps whole seconds, and not more than 31 days of them. */
export function secondsProblems(place: Raw): readonly Problem[] {
  const ms = durationOf(place);
  if (ms === null || (ms >= 1000 && ms <= KERNEL_SECONDS_MAX_MS && ms % 1000 === 0)) return [];
  return [
    {
      path: place.path,
      message: `${formatDuration(ms)} is no timeout that the kernel can keep`,
      allowed: 'whole seconds from 1s to 744h (31 days)',
    },
  ];
}

function flagProblems(service: Raw): readonly Problem[] {
  const scheduler = textOf(at(service, 'scheduler')) ?? DEFAULT_SCHEDULER;
  const seen = new Set<string>();
  return itemsOf(at(service, 'schedulerFlags')).flatMap((item) => {
    const flag = textOf(item);
    if (flag === null) return [];
    const [owner = ''] = flag.split('-');
    const isStrange = (owner === 'sh' || owner === 'mh') && owner !== scheduler;
    if (isStrange)
      return [
        {
          path: item.path,
          message: `"${flag}" means nothing for scheduler ${scheduler}`,
          allowed: `scheduler: ${owner}, or no ${flag}`,
        },
      ];
    if (seen.has(flag))
      return [{ path: item.path, message: `"${flag}" is in the list twice`, allowed: 'each once' }];
    seen.add(flag);
    return [];
  });
}

function opsProblems(service: Raw, { keys }: Place): readonly Problem[] {
  const ops = at(service, 'ops');
  const stream = keys.find((key) => key.kind === 'address' && key.protocol !== 'udp');
  if (ops.value !== true || stream?.kind !== 'address') return [];
  return [
    {
      path: ops.path,
      message: `one-packet scheduling takes datagrams, and the service is ${stream.protocol}`,
      allowed: 'protocol: udp, or a firewall mark',
    },
  ];
}

function quorumProblems(quorum: Raw): readonly Problem[] {
  const problems: Problem[] = [
    ...commandProblems(at(quorum, 'up')),
    ...commandProblems(at(quorum, 'down')),
    ...rangeProblems(at(quorum, 'timeout'), { fromMs: 100, toMs: 600_000 }),
  ];
  const place = at(quorum, 'hysteresis');
  const hysteresis = numberOf(place) ?? 0;
  const need = numberOf(at(quorum, 'need')) ?? DEFAULT_QUORUM.need;
  if (hysteresis > 0 && hysteresis >= need)
    problems.push({
      path: place.path,
      message: `${hysteresis} is not below the quorum (${need}), which could never be lost then`,
      allowed: `0 to ${need - 1}`,
    });
  return problems;
}

/** What is probably a slip. */
export function optionWarnings(service: Raw, place: Place): readonly Problem[] {
  return [
    ...emptyWarnings(service),
    ...quorumWarnings(service),
    ...failOpenWarnings(service),
    ...slowStartWarnings(service),
    ...markedPortWarnings(service, place),
  ];
}

function emptyWarnings(service: Raw): readonly Problem[] {
  const { path, value } = at(service, 'realServers');
  if (!Array.isArray(value) || value.length > 0) return [];
  return [{ path, message: 'is empty: nobody answers but a sorry server', allowed: 'it may stay' }];
}

function quorumWarnings(service: Raw): readonly Problem[] {
  const quorum = at(service, 'quorum');
  const need = numberOf(quorum) ?? numberOf(at(quorum, 'need'));
  const servers = itemsOf(at(service, 'realServers'));
  if (need === null || servers.length === 0) return [];
  const wanted = need + (numberOf(at(quorum, 'hysteresis')) ?? 0);
  const total = servers.reduce(
    (sum, server) => sum + (numberOf(at(server, 'weight')) ?? DEFAULT_WEIGHT),
    0,
  );
  if (wanted <= total) return [];
  return [
    {
      path: quorum.path,
      message: `${wanted} (with the hysteresis) is more than all weights together: ${total} counts`,
      allowed: `1 to ${total}, as keepalived lowers it too`,
    },
  ];
}

function failOpenWarnings(service: Raw): readonly Problem[] {
  const failOpen = at(service, 'failOpen');
  if (failOpen.value === undefined || at(service, 'sorryServer').value === undefined) return [];
  return [
    {
      path: failOpen.path,
      message:
        'the sorry server hardly ever answers: with all real servers down they all count as up',
      allowed: 'failOpen or sorryServer',
    },
  ];
}

/** Schedulers that take any weight above 0 for the same (net/netfilter/ipvs/ip_vs_{rr,lc,dh}.c), or for a rank. */
const NO_SHARES: ReadonlyMap<string, string> = new Map([
  ['rr', 'knows no weights'],
  ['lc', 'knows no weights'],
  ['dh', 'knows no weights'],
  ['fo', 'takes the weight for a rank'],
]);

function slowStartWarnings(service: Raw): readonly Problem[] {
  const place = at(service, 'slowStart');
  const scheduler = textOf(at(service, 'scheduler')) ?? DEFAULT_SCHEDULER;
  const why = NO_SHARES.get(scheduler);
  if ((durationOf(place) ?? 0) === 0 || why === undefined) return [];
  return [
    {
      path: place.path,
      message: `the weight grows slowly, but scheduler ${scheduler} ${why}`,
      allowed: 'a scheduler that shares by weight, such as wrr or wlc',
    },
  ];
}

/** ip_vs_sched_persist: the port of a persistent firewall-mark service stays the client's. */
function markedPortWarnings(service: Raw, { kind }: Place): readonly Problem[] {
  if (kind !== 'fwmark' || at(service, 'persistence').value === undefined) return [];
  return itemsOf(at(service, 'realServers'))
    .filter((server) => forwardOf(service, server) === 'nat')
    .map((server) => at(server, 'port'))
    .filter(({ value }) => value !== undefined)
    .map(({ path }) => ({
      path,
      message:
        'has no effect: a persistent firewall-mark service keeps the port that the client asked for',
      allowed: 'no port',
    }));
}
