/** What the virtual services of the cluster document must satisfy, beyond their shape. */
import type { IpAddress } from '../model/address.ts';
import {
  MAX_IPVS_DESTINATIONS,
  MAX_IPVS_SERVICES,
  MAX_MARK_RANGES,
  type ServiceKey,
} from '../model/cluster.ts';
import { formatServiceKey } from '../model/kernel.ts';
import { nearestWord } from './nearest.ts';
import { type Place, readPlace } from './places.ts';
import type { Problem } from './problem.ts';
import { at, entriesOf, itemsOf, type Raw, textOf } from './raw.ts';
import { checkProblems, checksIn, checkWarnings } from './rules-checks.ts';
import { realServerProblemsSteps } from './rules-real-servers.ts';
import { optionProblems, optionWarnings } from './rules-service-options.ts';

type GroupVip = { readonly group: string; readonly address: IpAddress | null };

type Service = { readonly name: string; readonly raw: Raw; readonly place: Place };

function* servicesSteps(services: Raw): Generator<undefined, readonly Service[]> {
  const all: Service[] = [];
  for (const [name, raw] of entriesOf(services)) {
    all.push({ name, raw, place: readPlace(raw) });
    yield;
  }
  return all;
}

/** Problems of all services, in pieces; `vips` are the addresses of all groups, null where unusable. */
export function* serviceProblemsSteps(
  services: Raw,
  groups: Raw,
  vips: readonly GroupVip[],
  directors: readonly string[],
): Generator<undefined, readonly Problem[]> {
  const groupNames = entriesOf(groups).map(([name]) => name);
  const all = yield* servicesSteps(services);
  const vipsByGroup = new Map<string, Set<IpAddress | null>>();
  for (const { group, address } of vips)
    vipsByGroup.set(group, (vipsByGroup.get(group) ?? new Set()).add(address));
  const problems: Problem[] = [];
  for (const { raw, place } of all) {
    problems.push(
      ...place.problems,
      ...groupProblems(raw, place, groupNames, vipsByGroup),
      ...optionProblems(raw, place),
      ...checkProblems(at(raw, 'check'), directors),
    );
    for (const problem of yield* realServerProblemsSteps(raw, place, directors))
      problems.push(problem);
  }
  const ofMany = [...(yield* duplicateProblems(all)), ...(yield* markProblems(all))];
  for (const problem of [...ofMany, ...sizeProblems(services, all)]) problems.push(problem);
  return problems;
}

/** What is probably a slip, in pieces. */
export function* serviceWarningsSteps(services: Raw): Generator<undefined, readonly Problem[]> {
  const warnings: Problem[] = [];
  for (const { raw, place } of yield* servicesSteps(services)) {
    warnings.push(...optionWarnings(raw, place), ...checkWarnings(at(raw, 'check')));
    yield;
    const speaking = [...weightsSaidBy(at(raw, 'check'))];
    for (const server of itemsOf(at(raw, 'realServers'))) {
      yield;
      const own = at(server, 'check');
      if (own.value === undefined) continue;
      for (const problem of checkWarnings(own)) warnings.push(problem);
      for (const place of weightsSaidBy(own)) speaking.push(place);
    }
    for (const problem of weightWarnings(at(raw, 'weightFrom'), speaking)) warnings.push(problem);
  }
  return warnings;
}

/** Where the checks of a tree are to say a weight. */
const weightsSaidBy = (tree: Raw): readonly Raw[] =>
  checksIn(tree)
    .flatMap(({ raw }) => [at(at(raw, 'script'), 'dynamic'), at(at(raw, 'file'), 'weight')])
    .filter((place) => place.value !== undefined && place.value !== false);

/** What a check says of the weight, and who listens to it. */
function weightWarnings(listens: Raw, speaking: readonly Raw[]): readonly Problem[] {
  if (listens.value === undefined)
    return speaking.map((place) => ({
      path: place.path,
      message: 'says a weight that the service does not take',
      allowed: `${listens.path}: check`,
    }));
  if (speaking.length > 0) return [];
  return [
    {
      path: listens.path,
      message: 'none of the checks says a weight',
      allowed: 'script: { dynamic: true }, or file: { weight: 1 }',
    },
  ];
}

function groupProblems(
  service: Raw,
  { addresses }: Place,
  groupNames: readonly string[],
  vipsByGroup: ReadonlyMap<string, ReadonlySet<IpAddress | null>>,
): readonly Problem[] {
  const group = textOf(at(service, 'group'));
  if (group === null) return [];
  if (!groupNames.includes(group)) {
    const meant = nearestWord(group, groupNames);
    return [
      {
        path: at(service, 'group').path,
        message: `unknown group "${group}"${meant === null ? '' : `; did you mean "${meant}"?`}`,
        allowed: groupNames.length === 0 ? 'groups named under groups' : groupNames.join(', '),
      },
    ];
  }
  const own = vipsByGroup.get(group);
  // A group with an unusable VIP or with none has its own problem, and may mean this address.
  if (own === undefined || own.has(null)) return [];
  const strange = new Map<string, IpAddress[]>();
  for (const { path, address } of addresses) {
    if (own.has(address)) continue;
    const list = strange.get(path);
    if (list === undefined) strange.set(path, [address]);
    else list.push(address);
  }
  return [...strange].map(([path, [first, ...more]]) => ({
    path,
    message: `${first}${more.length === 0 ? '' : ` and ${more.length} more`} is no address of group "${group}"`,
    allowed: [...own].join(', '),
  }));
}

/** Two services of the document for one of the kernel's: each pair of them is told once. */
function* duplicateProblems(
  services: readonly Service[],
): Generator<undefined, readonly Problem[]> {
  const users = new Map<string, string>();
  const problems: Problem[] = [];
  for (const { name, raw, place } of services) {
    yield;
    const told = new Set<string>();
    for (const key of place.keys) {
      const text = formatServiceKey(key);
      const other = users.get(text);
      if (other === undefined) users.set(text, name);
      else if (other !== name && !told.has(other)) {
        told.add(other);
        problems.push({
          path: raw.path,
          message: `${text} is also service "${other}"`,
          allowed:
            key.kind === 'fwmark'
              ? 'one service for each firewall mark and family'
              : 'one service for each protocol, address and port',
        });
      }
    }
  }
  return problems;
}

type Marked = { readonly name: string; readonly from: number; readonly to: number };

/** The kernel looks for a firewall mark first: what two services want, one of them never sees. */
function* markProblems(services: readonly Service[]): Generator<undefined, readonly Problem[]> {
  const problems: Problem[] = [];
  const marked = new Map<string, Marked[]>();
  for (const { name, raw, place } of services)
    for (const { protocol, address, ports } of place.marks) {
      const text = `${protocol} ${address}`;
      const known = marked.get(text) ?? [];
      marked.set(text, known);
      for (const { from, to } of ports) {
        const other = known.find((one) => one.from <= to && from <= one.to);
        known.push({ name, from, to });
        if (other === undefined) continue;
        problems.push({
          path: at(raw, 'marks').path,
          message: `port ${Math.max(from, other.from)} of ${text} is also marked for service "${other.name}"`,
          allowed: 'one mark for each protocol, address and port',
        });
      }
    }
  for (const { raw, place } of services) {
    yield;
    const shadow = place.keys
      .map((key) => ({ key, by: shadowOf(key, marked) }))
      .find(({ by }) => by !== null);
    if (shadow === undefined) continue;
    problems.push({
      path: raw.path,
      message: `${formatServiceKey(shadow.key)} gets no packet: service "${shadow.by}" marks it`,
      allowed: 'ports that no firewall mark takes',
    });
  }
  return problems;
}

function shadowOf(key: ServiceKey, marked: ReadonlyMap<string, readonly Marked[]>): string | null {
  // All ports: what is marked is taken out of them, the others are left.
  if (key.kind === 'fwmark' || key.port === 0) return null;
  const list = marked.get(`${key.protocol} ${key.address}`) ?? [];
  return list.find(({ from, to }) => from <= key.port && key.port <= to)?.name ?? null;
}

/** Bounds of what the kernel gets, so that no document of some lines asks for millions of entries. */
function sizeProblems(services: Raw, all: readonly Service[]): readonly Problem[] {
  const sizes = { services: 0, destinations: 0, marks: 0 };
  for (const { raw, place } of all) {
    const sorry = at(raw, 'sorryServer').value === undefined ? 0 : 1;
    sizes.services += place.keys.length;
    sizes.destinations += place.keys.length * (itemsOf(at(raw, 'realServers')).length + sorry);
    for (const { ports } of place.marks) sizes.marks += ports.length;
  }
  const limits = [
    [sizes.services, MAX_IPVS_SERVICES, 'IPVS services'],
    [sizes.destinations, MAX_IPVS_DESTINATIONS, 'IPVS destinations'],
    [sizes.marks, MAX_MARK_RANGES, 'marking rules'],
  ] as const;
  return limits
    .filter(([count, limit]) => count > limit)
    .map(([count, limit, what]) => ({
      path: services.path,
      message: `are ${count} ${what} after expansion`,
      allowed: `at most ${limit}; a firewall mark takes many ports as one service`,
    }));
}
