/**
 * The rack with everything that forwards: two directors as guests with a card outside and one inside, two
 * guests outside as real servers for DR and tunnels, four namespaces inside for NAT. Each way of forwarding
 * has a VIP of its own in each family.
 */
import { CLIENT, type ClusterLab, clusterDocument, createClusterLab } from './cluster-lab.ts';
import {
  addInsideServer,
  bootGuestServer,
  type GuestServer,
  type InsideServer,
  UDP_PORT,
} from './rack-servers.ts';
import { PATIENCE_MS, waitFor } from './processes.ts';

export const INSIDE_VIP = '10.91.0.100';
export const INSIDE_VIP6 = 'fd91::100';
const GUE_PORT = 6080;

export type Method = 'nat' | 'dr' | 'ipip' | 'gue' | 'gre' | 'other';

type MethodPlan = {
  readonly what: string;
  /** Last number of its VIPs. */
  readonly last: number;
  /** Words of the service. */
  readonly words: object;
  /** Arguments of `leasehold realserver up`, for each family of the VIP; null: it needs none. */
  readonly up: ((family: 4 | 6) => readonly string[]) | null;
};

const tunnel = (words: object): object => ({ forward: 'tun', tunnel: words });

export const METHODS: Readonly<Record<Method, MethodPlan>> = {
  nat: { what: 'NAT', last: 100, words: { forward: 'nat' }, up: null },
  dr: { what: 'DR', last: 101, words: { forward: 'dr' }, up: () => ['--mode', 'dr'] },
  ipip: {
    what: 'TUN ipip',
    last: 102,
    words: { forward: 'tun' },
    up: () => ['--mode', 'tun'],
  },
  gue: {
    what: 'TUN gue',
    last: 103,
    words: tunnel({ type: 'gue', port: GUE_PORT }),
    up: () => ['--mode', 'tun', '--tunnel', 'gue', '--gue-port', String(GUE_PORT)],
  },
  gre: {
    what: 'TUN gre',
    last: 104,
    words: tunnel({ type: 'gre' }),
    up: () => ['--mode', 'tun', '--tunnel', 'gre'],
  },
  other: {
    what: 'TUN ipip over the other family',
    last: 105,
    words: { forward: 'tun' },
    up: (family) => ['--mode', 'tun', '--over', family === 4 ? 'ipv6' : 'ipv4'],
  },
};

/** As in a URL. */
export const vipOf = (method: Method, family: 4 | 6): string =>
  family === 4 ? `10.90.0.${METHODS[method].last}` : `[fd90::${METHODS[method].last}]`;
const bare = (host: string): string => host.replaceAll(/[[\]]/g, '');

/** By name, as in the document. */
export type ServiceDocuments = Readonly<Record<string, object>>;

export interface RackLab extends ClusterLab {
  readonly servers: readonly GuestServer[];
  /** n1, n2, n3 and the sorry server. */
  readonly inside: readonly InsideServer[];
  /** A document with the group `web` of all VIPs and these services. */
  document(services: object, rest?: { readonly group?: object; readonly ipvs?: object }): object;
  /** HTTP at port 80 and UDP by one method. */
  carriers(method: Method): ServiceDocuments;
  /** What one director's kernel has, in ipvsadm's words: a service's line and those of its real servers. */
  tableOf(director: string): Promise<ReadonlyMap<string, readonly string[]>>;
  /** Applies these services and waits until all directors have each with all its real servers. */
  applyAndWait(services: ServiceDocuments, rest?: { readonly group?: object }): Promise<void>;
}

export async function createRackLab(name: string): Promise<RackLab> {
  const lab = await createClusterLab({ name, kind: 'guest', hasInside: true });
  try {
    return await assemble(lab);
  } catch (cause) {
    await lab.close();
    throw cause;
  }
}

async function assemble(lab: ClusterLab): Promise<RackLab> {
  const { network } = lab;
  const udp = Object.keys(METHODS).flatMap((method) =>
    ([4, 6] as const).map((family) => bare(vipOf(method as Method, family))),
  );
  const servers = await Promise.all(
    [1, 2].map((number) =>
      bootGuestServer(network, { name: `g${number}`, last: 40 + number, udp }),
    ),
  );
  const inside: InsideServer[] = [];
  for (const [index, host] of ['n1', 'n2', 'n3', 'sorry'].entries())
    inside.push(
      await addInsideServer(network, {
        name: host,
        last: 21 + index,
        gateways: [INSIDE_VIP, INSIDE_VIP6],
      }),
    );
  for (let last = 2; last < 10; last += 1)
    await network.execOk(CLIENT, ['ip', 'address', 'add', `10.90.0.${last}/24`, 'dev', 'eth0']);
  const tableOf: RackLab['tableOf'] = async (director) =>
    parseTable(await lab.director(director).execOk('ipvsadm -Sn'));
  return {
    ...lab,
    servers,
    inside,
    tableOf,
    document: (services, rest = {}) => buildDocument(lab, services, rest),
    carriers: (method) => carriersOf(method, servers, inside),
    async applyAndWait(services, rest = {}) {
      await lab.applyOk(buildDocument(lab, services, rest), ['--confirm-shrink']);
      const wanted = Object.values(services).map(realServersOf).toSorted(ascending);
      for (const { name } of lab.directors) {
        await waitFor(
          `${name} has ${wanted.length} services with all their real servers`,
          async () => {
            const table = await tableOf(name);
            const counts = [...table.values()].map((rows) => rows.filter(isServing).length);
            return JSON.stringify(counts.toSorted(ascending)) === JSON.stringify(wanted);
          },
          { timeoutMs: PATIENCE_MS, intervalMs: 100 },
        );
        // Before the first votes all are up; a first probe that fails takes a real server away for a second.
        await lab.until(`all are up by votes on ${name}`, name, (status) =>
          status.services.every(({ realServers }) =>
            realServers.every((each) => each.basis !== 'initial' && (each.kernelWeight ?? 0) > 0),
          ),
        );
      }
    },
  };
}

const realServersOf = (service: object): number =>
  'realServers' in service && Array.isArray(service.realServers) ? service.realServers.length : 0;

const ascending = (a: number, b: number): number => a - b;

/** A row of the table. */
const isServing = (row: string): boolean => !/ -w 0\b/.test(row);

/** `-t 10.90.0.100:80 -s rr` to the lines below it, without what they repeat. */
function parseTable(saved: string): ReadonlyMap<string, readonly string[]> {
  const table = new Map<string, string[]>();
  for (const line of saved.split('\n').map((each) => each.trim())) {
    if (line.startsWith('-A ')) table.set(line.slice(3), []);
    const [, key = '', rest = ''] = /^-a (-f \d+(?: -6)?|\S+ \S+) -r (.*)$/.exec(line) ?? [];
    if (rest === '') continue;
    const service = [...table.keys()].find((each) => each.startsWith(`${key} -s`));
    table.get(service ?? '')?.push(rest);
  }
  return table;
}

export const CHECK = {
  tcp: {},
  interval: '1s',
  timeout: '900ms',
  rise: 1,
  fall: 2,
  port: 80,
} as const;

function buildDocument(
  lab: ClusterLab,
  services: object,
  rest: { readonly group?: object; readonly ipvs?: object },
): object {
  const outside = Object.keys(METHODS).flatMap((method) =>
    ([4, 6] as const).map(
      (family) => `${bare(vipOf(method as Method, family))}/${family === 4 ? 24 : 64}`,
    ),
  );
  return clusterDocument(lab, {
    ipvs: {
      timeouts: { tcpFin: '1s', udp: '1s' },
      sysctls: { 'net.ipv4.ip_forward': 1, 'net.ipv6.conf.all.forwarding': 1 },
      ...rest.ipvs,
    },
    groups: {
      web: {
        addresses: [
          ...outside,
          { address: `${INSIDE_VIP}/24`, interface: 'inside' },
          { address: `${INSIDE_VIP6}/64`, interface: 'inside' },
        ],
        interface: 'public',
        virtualRouterId: 51,
        priorities: { d1: 150, d2: 100 },
        preempt: 'never',
        ...rest.group,
      },
    },
    services,
  });
}

/** Services `<method>-http`, `<method>-http6`, `<method>-udp`, `<method>-udp6`. */
function carriersOf(
  method: Method,
  servers: readonly GuestServer[],
  inside: readonly InsideServer[],
): Readonly<Record<string, object>> {
  const services: Record<string, object> = {};
  for (const family of [4, 6] as const) {
    const realServers = method === 'nat' ? inside.slice(0, 2) : servers;
    const isV6 = (family === 6) !== (method === 'other');
    const common = {
      group: 'web',
      address: bare(vipOf(method, family)),
      scheduler: 'rr',
      ...METHODS[method].words,
      check: CHECK,
    };
    const suffix = family === 4 ? '' : '6';
    const addresses = realServers.map((each) => (isV6 ? each.address6 : each.address));
    // NAT alone can change the port.
    const http = method === 'nat' ? { port: 8080 } : {};
    services[`${method}-http${suffix}`] = {
      ...common,
      port: 80,
      realServers: addresses.map((address) => ({ address, ...http })),
    };
    services[`${method}-udp${suffix}`] = {
      ...common,
      port: UDP_PORT,
      protocol: 'udp',
      realServers: addresses.map((address) => ({ address })),
    };
  }
  return services;
}

/** Makes the guests real servers of every VIP that is not NAT's, by our own command; throws its words. */
export async function prepareServers(lab: RackLab): Promise<void> {
  await Promise.all(
    lab.servers.map(async (server) => {
      for (const method of Object.keys(METHODS) as Method[])
        for (const vip of vipSets(method)) {
          const done = await server.realserver(['up', ...vip]);
          if (done.code !== 0)
            throw new Error(
              `${server.name}: realserver up ${vip.join(' ')}: ${done.stdout}${done.stderr}`,
            );
        }
      await server.start();
    }),
  );
}

/** The arguments of each call: one for both families where they are alike. */
function vipSets(method: Method): readonly (readonly string[])[] {
  const { up } = METHODS[method];
  if (up === null) return [];
  const sets = new Map<string, string[]>();
  for (const family of [4, 6] as const) {
    const args = up(family);
    const set = sets.get(args.join(' ')) ?? [...args];
    set.push('--vip', bare(vipOf(method, family)));
    sets.set(args.join(' '), set);
  }
  return [...sets.values()];
}
