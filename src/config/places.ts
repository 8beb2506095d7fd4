/**
 * Where clients reach a virtual service: the words of the document, judged and expanded to what the
 * kernel knows a service by. The rules and the spec are made from this one reading.
 */
import { familyOf, type IpAddress, type IpFamily } from '../model/address.ts';
import {
  MAX_SERVICE_KEYS,
  type MarkRule,
  type PortRange,
  type Protocol,
  type ServiceKey,
} from '../model/cluster.ts';
import { DEFAULT_PROTOCOL } from './defaults.ts';
import type { Problem } from './problem.ts';
import { addressesIn, countOf, EVERY_PORT, parseAddressRange, parsePortRange } from './ranges.ts';
import { addressOf, at, itemsOf, numberOf, type Raw, textOf } from './raw.ts';
import { addressProblem } from './rules-common.ts';

export type NamedAddress = { readonly path: string; readonly address: IpAddress };

export type Place = {
  readonly kind: 'address' | 'fwmark';
  /** Empty where nothing usable stands. */
  readonly keys: readonly ServiceKey[];
  readonly marks: readonly MarkRule[];
  /** Null where nothing tells. */
  readonly family: IpFamily | null;
  /** Every address that must be a VIP of the service's group. */
  readonly addresses: readonly NamedAddress[];
  /** The one port of all keys, 0 for all ports and for a firewall mark; null: several, or unusable. */
  readonly port: number | null;
  readonly problems: readonly Problem[];
};

export function readPlace(service: Raw): Place {
  return at(service, 'fwmark').value === undefined ? readEndpoints(service) : readMark(service);
}

const protocolOf = (raw: Raw): Protocol => {
  const word = textOf(at(raw, 'protocol'));
  return word === 'udp' || word === 'sctp' ? word : DEFAULT_PROTOCOL;
};

function readEndpoints(service: Raw): Place {
  const addresses = readAddresses(service, 'address, addresses or fwmark');
  const ports = readPorts(service, null);
  const problems = [
    ...strangeKeys(service, ['family', 'marks'], 'without fwmark'),
    ...addresses.problems,
    ...ports.problems,
  ];
  const count = addresses.found.length * countPorts(ports.found);
  const isTooLarge = count > MAX_SERVICE_KEYS;
  if (isTooLarge)
    problems.push({
      path: service.path,
      message: `has ${count} pairs of address and port`,
      allowed: `at most ${MAX_SERVICE_KEYS}; a firewall mark takes any number`,
    });
  const protocol = protocolOf(service);
  const expanded = isTooLarge ? [] : ports.found.flatMap(portsIn);
  const keys = addresses.found.flatMap(({ address }) =>
    expanded.map((port): ServiceKey => ({ kind: 'address', protocol, address, port })),
  );
  const only = expanded.length === 1 ? (expanded[0] ?? null) : null;
  const family = addresses.found[0] === undefined ? null : familyOf(addresses.found[0].address);
  return {
    kind: 'address',
    keys,
    marks: [],
    family,
    addresses: addresses.found,
    port: only,
    problems,
  };
}

function readMark(service: Raw): Place {
  const problems: Problem[] = [
    ...strangeKeys(service, ['address', 'addresses', 'port', 'ports', 'protocol'], 'with fwmark'),
  ];
  const marks: MarkRule[] = [];
  const addresses: NamedAddress[] = [];
  for (const entry of itemsOf(at(service, 'marks'))) {
    const read = readAddresses(entry, 'address or addresses');
    const ports = readPorts(entry, [EVERY_PORT]);
    problems.push(...read.problems, ...ports.problems);
    addresses.push(...read.found);
    const protocol = protocolOf(entry);
    for (const { address } of read.found) marks.push({ address, protocol, ports: ports.found });
  }
  const family = markFamily(service, addresses, problems);
  const mark = numberOf(at(service, 'fwmark'));
  const isUsable = mark !== null && Number.isInteger(mark) && mark > 0 && mark <= 0xffff_ffff;
  return {
    kind: 'fwmark',
    keys: isUsable ? [{ kind: 'fwmark', family, mark }] : [],
    marks,
    family,
    addresses,
    port: 0,
    problems,
  };
}

/** What is said, else what the marks have, else the first real server, else IPv4. */
function markFamily(
  service: Raw,
  addresses: readonly NamedAddress[],
  problems: Problem[],
): IpFamily {
  const place = at(service, 'family');
  const word = textOf(place);
  const said = word === 'inet' ? 4 : word === 'inet6' ? 6 : null;
  const marked = addresses[0] === undefined ? null : familyOf(addresses[0].address);
  for (const { path, address } of addresses)
    if (familyOf(address) !== (said ?? marked)) {
      const family = said ?? marked;
      problems.push({
        path,
        message: `${address} is of another family than the service (IPv${family})`,
        allowed: 'addresses of one family; the other one is a service of its own',
      });
      break;
    }
  const server = addressOf(at(itemsOf(at(service, 'realServers'))[0] ?? service, 'address'));
  return said ?? marked ?? (server === null ? 4 : familyOf(server));
}

function strangeKeys(raw: Raw, keys: readonly string[], why: string): readonly Problem[] {
  return keys
    .map((key) => at(raw, key))
    .filter(({ value }) => value !== undefined)
    .map(({ path }) => ({
      path,
      message: `means nothing ${why}`,
      allowed:
        why === 'with fwmark'
          ? 'what is to be marked is named under marks'
          : 'address or addresses, port or ports',
    }));
}

type Reading<T> = { readonly found: readonly T[]; readonly problems: readonly Problem[] };

function readAddresses(raw: Raw, allowed: string): Reading<NamedAddress> {
  const one = at(raw, 'address');
  const many = at(raw, 'addresses');
  if (one.value === undefined && many.value === undefined)
    return { found: [], problems: [{ path: one.path, message: 'is missing', allowed }] };
  const found: NamedAddress[] = [];
  const problems: Problem[] = one.value !== undefined ? [...besideProblems(many, 'address')] : [];
  const bad = addressProblem(one);
  if (bad !== null) problems.push(bad);
  const address = addressOf(one);
  if (address !== null && bad === null) found.push({ path: one.path, address });
  if (one.value === undefined) readAddressList(many, found, problems);
  return { found, problems };
}

function readAddressList(many: Raw, found: NamedAddress[], problems: Problem[]): void {
  const seen = new Set<IpAddress>();
  for (const item of itemsOf(many)) {
    const text = textOf(item);
    if (text === null) continue;
    const { path } = item;
    const range = parseAddressRange(text);
    if (!range.ok) {
      const allowed = '10.90.0.100, 10.90.0.100-110, 10.90.0.96/28, or the same in IPv6';
      problems.push({ path, message: range.error, allowed });
      continue;
    }
    if (countOf(range.value) > MAX_SERVICE_KEYS) {
      const message = `${text} has ${countOf(range.value)} addresses`;
      problems.push({ path, message, allowed: `at most ${MAX_SERVICE_KEYS}` });
      continue;
    }
    const addresses = addressesIn(range.value);
    const twice = addresses.find((address) => seen.has(address));
    if (twice !== undefined)
      problems.push({ path, message: `${twice} is in the list twice`, allowed: 'each once' });
    const first = found[0]?.address ?? addresses[0];
    const other = addresses[0];
    if (first !== undefined && other !== undefined && familyOf(first) !== familyOf(other))
      problems.push({
        path,
        message: `${text} is of another family than ${first}`,
        allowed: 'addresses of one family; the other one is a service of its own',
      });
    for (const address of addresses) {
      if (seen.has(address)) continue;
      seen.add(address);
      found.push({ path, address });
    }
  }
}

const besideProblems = (place: Raw, other: string): readonly Problem[] =>
  place.value === undefined
    ? []
    : [{ path: place.path, message: `stands beside ${other}`, allowed: 'one of the two' }];

/** `otherwise`: what holds where nothing is said; null: something must be. */
function readPorts(raw: Raw, otherwise: readonly PortRange[] | null): Reading<PortRange> {
  const one = at(raw, 'port');
  const many = at(raw, 'ports');
  if (one.value === undefined && many.value === undefined) {
    if (otherwise !== null) return { found: otherwise, problems: [] };
    const allowed = 'port or ports; port 0 for all ports of a persistent service';
    return { found: [], problems: [{ path: one.path, message: 'is missing', allowed }] };
  }
  if (one.value !== undefined) {
    const port = numberOf(one);
    const problems = besideProblems(many, 'port');
    if (port === null || !Number.isInteger(port)) return { found: [], problems };
    const isAll = port === 0 && otherwise !== null;
    return { found: isAll ? [EVERY_PORT] : [{ from: port, to: port }], problems };
  }
  const problems: Problem[] = [];
  const ranges: PortRange[] = [];
  for (const item of itemsOf(many)) {
    const range = parsePortRange(item.value);
    // A value of another type is a matter of shape.
    if (range.ok) ranges.push(range.value);
    else if (textOf(item) !== null)
      problems.push({ path: item.path, message: range.error, allowed: '1 to 65535, "8000-8010"' });
  }
  const sorted = ranges.toSorted((a, b) => a.from - b.from);
  const merged: PortRange[] = [];
  for (const range of sorted) {
    const last = merged.at(-1);
    if (last !== undefined && range.from <= last.to)
      problems.push({
        path: many.path,
        message: `port ${range.from} is in the list twice`,
        allowed: 'each port once',
      });
    if (last === undefined || range.from > last.to + 1) merged.push(range);
    else merged[merged.length - 1] = { from: last.from, to: Math.max(last.to, range.to) };
  }
  return { found: merged, problems };
}

const countPorts = (ranges: readonly PortRange[]): number =>
  ranges.reduce((sum, { from, to }) => sum + to - from + 1, 0);

const portsIn = ({ from, to }: PortRange): readonly number[] =>
  Array.from({ length: to - from + 1 }, (_, i) => from + i);
