/**
 * Virtual routers of each version and way that a keepalived and directors share in the lab: the VIP groups of the
 * document, and keepalived's instances of the same. One group has a router of each family, as a sync group.
 */

/** Where keepalived is. */
export const K1 = 'k1';
export const K1_ADDRESSES = { 4: '10.90.0.14', 6: 'fd90::14' } as const;
/** Seconds between two advertisements of all. */
export const ADVERT_S = 1;

export type LabRouter = {
  readonly group: string;
  readonly routerId: number;
  readonly family: 4 | 6;
  readonly vip: string;
  readonly version: 2 | 3;
  readonly isMulticast: boolean;
  readonly pass: string | null;
};

const OVER_IPV4 = { family: 4, version: 3, isMulticast: false, pass: null } as const;
const OVER_IPV6 = { ...OVER_IPV4, family: 6 } as const;
const IN_VERSION_2 = { ...OVER_IPV4, version: 2, pass: 'secret12' } as const;
const MULTICAST = { isMulticast: true } as const;

export const LAB_ROUTERS: readonly LabRouter[] = [
  { ...OVER_IPV4, group: 'web', routerId: 51, vip: '10.90.0.100' },
  { ...OVER_IPV6, group: 'web6', routerId: 52, vip: 'fd90::100' },
  { ...IN_VERSION_2, group: 'old', routerId: 53, vip: '10.90.0.101' },
  { ...OVER_IPV4, ...MULTICAST, group: 'all', routerId: 54, vip: '10.90.0.102' },
  { ...OVER_IPV6, ...MULTICAST, group: 'all6', routerId: 55, vip: 'fd90::102' },
  { ...IN_VERSION_2, ...MULTICAST, group: 'old-all', routerId: 56, vip: '10.90.0.103' },
  { ...OVER_IPV4, group: 'both', routerId: 57, vip: '10.90.0.104' },
  { ...OVER_IPV6, group: 'both', routerId: 57, vip: 'fd90::104' },
];

export const prefixed = ({ family, vip }: LabRouter): string => `${vip}/${family === 4 ? 24 : 64}`;
/** As keepalived calls its instance. */
export const instanceName = ({ group, family }: LabRouter): string => `${group}/${family}`;

/** The `groups` of a cluster document, each with these fields too. */
export function groupsWith(fields: object): object {
  const names = new Set(LAB_ROUTERS.map(({ group }) => group));
  return Object.fromEntries(
    [...names].map((name) => {
      const routers = LAB_ROUTERS.filter(({ group }) => group === name);
      return [name, { ...groupOf(routers), ...fields }];
    }),
  );
}

function groupOf(routers: readonly LabRouter[]): object {
  const [first] = routers;
  if (first === undefined) throw new Error('a group without routers');
  const { routerId, version, isMulticast, pass } = first;
  return {
    addresses: routers.map(prefixed),
    interface: 'public',
    virtualRouterId: routerId,
    priorities: { d1: 150, d2: 100 },
    vrrp: {
      version,
      interval: `${ADVERT_S}s`,
      ...(pass === null ? {} : { auth: { pass } }),
      ...(isMulticast
        ? { multicast: true }
        : { neighbours: routers.map(({ family }) => K1_ADDRESSES[family]) }),
    },
  };
}

/** The file of a keepalived of that priority; its peers have the same last number in both families. */
export function keepalivedConfig(priority: number, peers: readonly string[]): string {
  const pairs = LAB_ROUTERS.filter(({ group }) => group === 'both').map(instanceName);
  const sync = `vrrp_sync_group both {\n  group {\n    ${pairs.join('\n    ')}\n  }\n}\n`;
  return sync + LAB_ROUTERS.map((router) => instanceText(router, priority, peers)).join('');
}

function instanceText(router: LabRouter, priority: number, peers: readonly string[]): string {
  const { routerId, version, family, isMulticast, pass } = router;
  const own = peers.map((peer) => (family === 4 ? peer : `fd90::${peer.split('.').at(-1)}`));
  const unicast = `
  unicast_src_ip ${K1_ADDRESSES[family]}
  unicast_peer {
    ${own.join('\n    ')}
  }`;
  const authentication = `
  authentication {
    auth_type PASS
    auth_pass ${pass}
  }`;
  return `
vrrp_instance ${instanceName(router)} {
  state BACKUP
  interface eth0
  version ${version}
  virtual_router_id ${routerId}
  priority ${priority}
  advert_int ${ADVERT_S}${isMulticast ? '' : unicast}${pass === null ? '' : authentication}
  virtual_ipaddress {
    ${prefixed(router)}
  }
}
`;
}
