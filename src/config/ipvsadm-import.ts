/**
 * From what `ipvsadm -S -n` printed to a cluster document. Every line that the document cannot say is a
 * problem with its number; what ipvsadm knows nothing of is told, to be added by hand.
 */
import { err, ok, type Result } from '../lib/result.ts';
import { familyOf, type IpAddress } from '../model/address.ts';
import { familyOfKey, SCHEDULERS, type ServiceKey, type Tunnel } from '../model/cluster.ts';
import { schedulerFlagNames } from '../model/ipvs-listing.ts';
import {
  IP_VS_SVC_F_ONEPACKET,
  IP_VS_SVC_F_PERSISTENT,
  type IpvsDestination,
  type IpvsService,
} from '../model/kernel.ts';
import { parseClusterDocument } from './cluster-document.ts';
import { GROUP_ADDRESSES_MAX } from './cluster-schema.ts';
import { DEFAULT_WEIGHT } from './defaults.ts';
import { complain, type Complaint } from './ipvsadm-line.ts';
import { type ReadService, readIpvsadm } from './ipvsadm-parse.ts';
import { joinPath, type Problem } from './problem.ts';
import type { RealServerDocument, ServiceDocument, TunnelDocument } from './service-schema.ts';

export type ImportOptions = {
  /** Of the VIP group that all services come to be in; where it is full, of the first of several. */
  readonly group: string;
  /** Logical name of its interface. */
  readonly interface: string;
  /** Name to address; empty: to be added by hand. */
  readonly directors: ReadonlyMap<string, string>;
};

export type Imported = {
  /** Complete where directors were given and VIPs are known. */
  readonly document: object;
  /** What is to be added or looked at by hand, in sentences without their ends. */
  readonly byHand: readonly string[];
  readonly counts: { readonly services: number; readonly realServers: number };
};

/** Judged in the place of what is not known yet (RFC 5737). */
const PLACEHOLDER_DIRECTORS = { d1: { address: '192.0.2.1' } };
const PLACEHOLDER_VIP = '192.0.2.2/32';

export function importIpvsadm(
  text: string,
  options: ImportOptions,
): Result<Imported, readonly Problem[]> {
  const read = readIpvsadm(text, strangeWord);
  if (!read.ok) return read;
  if (read.value.length === 0)
    return err([{ path: '', message: 'names no service', allowed: 'what "ipvsadm -S -n" prints' }]);
  const made = build(read.value, options);
  const problems = judge(made);
  return problems.length > 0 ? err(problems) : ok(finish(made, options));
}

/** A word that a document has no place for. */
function strangeWord(service: IpvsService): Complaint | null {
  const { scheduler, persistenceEngine: engine, flags } = service;
  if (!SCHEDULERS.some((one) => one === scheduler))
    return complain(`scheduler "${scheduler}" is not known`, SCHEDULERS.join(' '));
  if (engine !== null && engine !== 'sip')
    return complain(`persistence engine "${engine}" is not known`, 'sip');
  if ((flags & IP_VS_SVC_F_PERSISTENT) === 0 && engine !== null)
    return complain('a persistence engine without persistence', '-p with --pe');
  return null;
}

type Made = {
  readonly options: ImportOptions;
  readonly services: ReadonlyMap<string, ServiceDocument>;
  /** By group. */
  readonly vips: ReadonlyMap<string, readonly IpAddress[]>;
  /** Path in the document to the number of its line. */
  readonly lines: ReadonlyMap<string, number>;
  readonly marks: readonly string[];
  /** Services whose real servers had ports that say nothing. */
  readonly portless: readonly string[];
  readonly idle: number;
};

function build(read: readonly ReadService[], options: ImportOptions): Made {
  const services = new Map<string, ServiceDocument>();
  const lines = new Map<string, number>();
  const vips = new Map<string, IpAddress[]>([[options.group, []]]);
  const groups = new Map<IpAddress, string>();
  const marks: string[] = [];
  const portless: string[] = [];
  let idle = 0;
  for (const { service, line, lines: serverLines } of read) {
    const { key } = service;
    const name = uniqueName(nameOf(key), services);
    const path = joinPath('services', name);
    lines.set(path, line);
    for (const [i, at] of serverLines.entries()) lines.set(`${path}.realServers[${i}]`, at);
    let group = options.group;
    if (key.kind === 'fwmark') marks.push(name);
    else {
      const known = groups.get(key.address);
      group = known ?? groupWithRoom(options.group, groups.size);
      if (known === undefined) {
        groups.set(key.address, group);
        const inGroup = vips.get(group) ?? [];
        lines.set(`${joinPath('groups', group)}.addresses[${inGroup.length}]`, line);
        vips.set(group, [...inGroup, key.address]);
      }
    }
    idle += service.destinations.filter(({ weight }) => weight === 0).length;
    const destinations = service.destinations.map((one) => withoutIdlePort(key, one));
    if (destinations.some((one, i) => one !== service.destinations[i])) portless.push(name);
    services.set(name, serviceDocument(service, destinations, group));
  }
  return { options, services, vips, lines, marks, portless, idle };
}

/** For one more VIP after so many: `imported`, `imported-2`, …, each filled before the next. */
function groupWithRoom(first: string, vips: number): string {
  const number = Math.floor(vips / GROUP_ADDRESSES_MAX) + 1;
  return number === 1 ? first : `${first}-${number}`;
}

/**
 * Nothing but NAT rewrites ports: where the mark of a service stands for many, the port of a real server of DR or a
 * tunnel is no more than a part of its name. keepalived puts that of its check there.
 */
const withoutIdlePort = (key: ServiceKey, destination: IpvsDestination): IpvsDestination =>
  key.kind === 'fwmark' && destination.forward !== 'nat' && destination.port !== 0
    ? { ...destination, port: 0 }
    : destination;

/** `tcp-10.90.0.100-80`, `fwmark-7`: fit for keys and URLs. */
function nameOf(key: ServiceKey): string {
  if (key.kind === 'fwmark') return `fwmark-${key.mark}${key.family === 6 ? '-inet6' : ''}`;
  return `${key.protocol}-${key.address.replaceAll(':', '-')}-${key.port}`;
}

function uniqueName(name: string, taken: ReadonlyMap<string, unknown>): string {
  for (let n = 2; ; n++) {
    const tried = n === 2 ? name : `${name}-${n - 1}`;
    if (!taken.has(tried)) return tried;
  }
}

type Words = Omit<ServiceDocument, 'group' | 'realServers' | 'scheduler' | 'schedulerFlags'>;

function serviceDocument(
  service: IpvsService,
  destinations: readonly IpvsDestination[],
  group: string,
): ServiceDocument {
  const { key, scheduler } = service;
  const shared = sharedForward(destinations);
  const flags = schedulerFlagNames(service);
  const document: object = {
    group,
    ...placeOf(key, destinations),
    scheduler,
    ...(flags.length === 0 ? {} : { schedulerFlags: flags }),
    ...((service.flags & IP_VS_SVC_F_ONEPACKET) === 0 ? {} : { ops: true }),
    ...persistenceOf(service),
    ...(shared === null ? {} : forwardOf(shared)),
    realServers: destinations.map((one) => realServer(key, one, shared === null)),
  };
  // Judged as a whole right after: what does not fit is a problem with its line.
  return document as ServiceDocument;
}

function placeOf(key: ServiceKey, destinations: readonly IpvsDestination[]): Words {
  if (key.kind === 'address') {
    const { protocol, address, port } = key;
    return { address, port, ...(protocol === 'tcp' ? {} : { protocol }) };
  }
  const [first] = destinations;
  const isTold = first !== undefined && familyOf(first.address) === key.family;
  return { fwmark: key.mark, ...(isTold ? {} : { family: key.family === 6 ? 'inet6' : 'inet' }) };
}

function persistenceOf(service: IpvsService): Words {
  if ((service.flags & IP_VS_SVC_F_PERSISTENT) === 0) return {};
  const { timeoutS, persistencePrefix: prefix, persistenceEngine } = service;
  const isHost = prefix === (familyOfKey(service.key) === 6 ? 128 : 32);
  return {
    persistence: {
      timeout: `${timeoutS}s`,
      ...(isHost ? {} : { prefix }),
      ...(persistenceEngine === null ? {} : { engine: 'sip' }),
    },
  };
}

type Forward = Pick<IpvsDestination, 'forward' | 'tunnel'>;

/** What all destinations have in common; null: they differ. Without any: DR. */
function sharedForward(destinations: readonly IpvsDestination[]): Forward | null {
  const [first] = destinations;
  if (first === undefined) return { forward: 'dr', tunnel: null };
  const text = JSON.stringify(forwardOf(first));
  return destinations.every((one) => JSON.stringify(forwardOf(one)) === text) ? first : null;
}

const forwardOf = ({ forward, tunnel }: Forward): Pick<ServiceDocument, 'forward' | 'tunnel'> =>
  tunnel === null ? { forward } : { forward, ...tunnelOf(tunnel) };

function tunnelOf({ type, port, checksum }: Tunnel): { readonly tunnel?: TunnelDocument } {
  if (type === 'ipip') return {};
  return {
    tunnel: {
      type,
      ...(type === 'gue' ? { port } : {}),
      ...(checksum === 'nocsum' ? {} : { checksum }),
    },
  };
}

function realServer(
  key: ServiceKey,
  destination: IpvsDestination,
  withForward: boolean,
): RealServerDocument {
  const { address, port, weight, upperThreshold, lowerThreshold } = destination;
  const own = key.kind === 'fwmark' ? 0 : key.port;
  return {
    address,
    ...(port === own ? {} : { port }),
    ...(weight === DEFAULT_WEIGHT ? {} : { weight }),
    ...(withForward ? forwardOf(destination) : {}),
    ...(upperThreshold === 0 ? {} : { upperThreshold }),
    ...(lowerThreshold === 0 ? {} : { lowerThreshold }),
  };
}

function documentOf({ options, services, vips }: Made, isJudged: boolean): object {
  const directors = Object.fromEntries(
    [...options.directors].map(([name, address]) => [name, { address }]),
  );
  const groups = [...vips].map(([group, addresses]): [string, object] => {
    const isPlaceholder = isJudged && addresses.length === 0;
    return [
      group,
      {
        addresses: isPlaceholder
          ? [PLACEHOLDER_VIP]
          : addresses.map((vip) => `${vip}/${familyOf(vip) === 6 ? 128 : 32}`),
        interface: options.interface,
      },
    ];
  });
  return {
    apiVersion: 'leasehold/v1',
    directors: isJudged && options.directors.size === 0 ? PLACEHOLDER_DIRECTORS : directors,
    groups: Object.fromEntries(groups),
    services: Object.fromEntries(services),
  };
}

function judge(made: Made): readonly Problem[] {
  const judged = parseClusterDocument(documentOf(made, true));
  if (judged.ok) return [];
  return judged.error.map((problem) => {
    const at = placeIn(made.lines, problem.path);
    if (at === null) return problem;
    const rest = problem.path.slice(at.path.length).replace(/^\./, '');
    const message = rest === '' ? problem.message : `${rest}: ${problem.message}`;
    return { ...problem, path: `line ${at.line}`, message };
  });
}

/** The longest path that is known above this one. */
function placeIn(
  lines: ReadonlyMap<string, number>,
  path: string,
): { readonly path: string; readonly line: number } | null {
  for (let end = path.length; end > 0; end--) {
    const head = path.slice(0, end);
    const line = lines.get(head);
    if (line !== undefined) return { path: head, line };
  }
  return null;
}

function finish(made: Made, options: ImportOptions): Imported {
  const { services, vips, marks, portless, idle } = made;
  const { group } = options;
  const names = [...vips.keys()];
  const isEmpty = [...vips.values()].every((addresses) => addresses.length === 0);
  const byHand: string[] = [];
  if (options.directors.size === 0)
    byHand.push('directors: each with its name and address, as { d1: { address: 10.90.0.11 } }');
  byHand.push(
    isEmpty
      ? `groups.${group}.addresses: the VIPs; a firewall mark does not tell them`
      : `groups.${group}.addresses: the prefix of each VIP (/32 and /128 are put in), and more groups where VIPs shall move apart from each other`,
    `groups.${group}.interface: "${options.interface}" is a name that each agent.yaml maps to a device`,
    'check of each service: without one every real server counts as up',
    'realServers, where a program with checks made the table: those that were down are not in it, and a sorry server that answered then is; compare with its configuration',
  );
  if (names.length > 1)
    byHand.push(
      `groups ${names.join(', ')}: a group has ${GROUP_ADDRESSES_MAX} addresses at most; see that VIPs which belong together are in one`,
    );
  if (marks.length > 0)
    byHand.push(
      `marks of ${marks.join(', ')}: ipvsadm does not tell which packets have the mark; without marks, keep the rule that sets it`,
    );
  if (portless.length > 0)
    byHand.push(
      `ports of the real servers of ${portless.join(', ')} are left out: with dr and tun a real server of a firewall mark gets the port that the client asked for; a check needs a "port" of its own`,
    );
  if (idle > 0)
    byHand.push(
      `${idle === 1 ? 'one real server has' : `${idle} real servers have`} weight 0: a sorry server has a place of its own (sorryServer), and a drain is "leasehold rs drain"`,
    );
  byHand.push(
    'ipvs.timeouts and connectionSync, where you set them: ipvsadm -S does not print "ipvsadm --set" and sync daemons',
  );
  let realServers = 0;
  for (const service of services.values()) realServers += service.realServers.length;
  return {
    document: documentOf(made, false),
    byHand,
    counts: { services: services.size, realServers },
  };
}
