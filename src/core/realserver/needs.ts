/**
 * What a machine needs to serve VIPs behind a director, each need with what is there, and what would meet it. In
 * the order in which they are to be met: nothing may answer ARP for a VIP when it is bound, so it comes last.
 * Sources: ip-sysctl.rst (arp_ignore, arp_announce, rp_filter), net/ipv6/ndisc.c, net/ipv4/ip_tunnel.c.
 */
import { familyOf } from '../../model/address.ts';
import { ADDRESS_PROTOCOL, type BoundAddress } from '../../model/kernel.ts';
import {
  type GuePort,
  type HostFacts,
  type HostLink,
  type HostStep,
  REAL_SERVER_ADDRESS_PROTOCOL,
  type RealServerLine,
  type SavedHost,
  type VipSetup,
} from '../../model/real-server-host.ts';
import {
  ANY_PROTOCOL,
  describeSetup,
  FALLBACK_DEVICES,
  innerProtocolOf,
  ipv4Setting,
  ipv6Setting,
  isSameSetup,
  optionsOf,
  prefixOf,
  settingName,
} from './words.ts';

export type Need = {
  readonly line: RealServerLine & { readonly state: 'ok' | 'missing' | 'refused' | 'note' };
  /** What meets it; none: it is met, or cannot be yet, or must not be. */
  readonly steps: readonly HostStep[];
};

/**
 * All needs of these VIPs together, each once. `tried`: modules that need not be loaded again; most make their
 * device by themselves, so it is made only where it is missing after that.
 */
export function deriveNeeds(
  setups: readonly VipSetup[],
  facts: HostFacts,
  saved: SavedHost,
  tried: ReadonlySet<string> = new Set(),
): readonly Need[] {
  const needs = [
    ...setups.flatMap((setup) => conflictNeeds(setup, facts, saved)),
    ...tunnelDevices(setups).flatMap((device) => deviceNeeds(device, setups, facts, tried)),
    ...guePortsOf(setups).map((port) => guePortNeed(port, setups, facts, tried)),
    ...arpNeeds(setups, facts),
    ...reversePathNeeds(setups, facts),
    ...ipv6Needs(setups, facts),
    ...setups.flatMap((setup) => addressNeeds(setup, facts)),
  ];
  const seen = new Set<string>();
  return needs.filter(({ line }) => {
    const key = `${line.what} ${line.detail}`;
    return !seen.has(key) && seen.add(key);
  });
}

type Words = Pick<RealServerLine, 'what' | 'detail'>;
const met = (words: Words): Need => ({ line: { state: 'ok', ...words, remedy: null }, steps: [] });
const note = (words: Words, remedy: string | null = null): Need => ({
  line: { state: 'note', ...words, remedy },
  steps: [],
});
const missing = (words: Words, remedy: string, steps: readonly HostStep[]): Need => ({
  line: { state: 'missing', ...words, remedy },
  steps,
});
const refused = (words: Words, remedy: string): Need => ({
  line: { state: 'refused', ...words, remedy },
  steps: [],
});

const upWith = (setup: VipSetup): string => `leasehold realserver up ${optionsOf(setup)}`;
const linkNamed = (facts: HostFacts, name: string): HostLink | undefined =>
  facts.links.find((link) => link.name === name);

/** Bound by an agent: tagged, or, before kernel 5.18, with a lifetime that nobody else gives. */
const isAgents = ({ protocol, validLifetimeS }: BoundAddress): boolean =>
  protocol === ADDRESS_PROTOCOL || (protocol === null && (validLifetimeS ?? Infinity) <= 60);

/** What speaks against binding the VIP at all. */
function conflictNeeds(setup: VipSetup, facts: HostFacts, saved: SavedHost): readonly Need[] {
  const { address, device } = setup;
  const needs: Need[] = [];
  const known = saved.vips.find((vip) => vip.address === address);
  if (known !== undefined && !isSameSetup(known, setup))
    needs.push(
      refused(
        { what: address, detail: `is up as ${describeSetup(known)} on ${known.device}` },
        `leasehold realserver down --vip ${address}, then up again`,
      ),
    );
  for (const bound of facts.addresses) {
    if (bound.address !== address) continue;
    const link = facts.links.find(({ index }) => index === bound.linkIndex);
    if (link !== undefined && link.name !== device) needs.push(elsewhere(bound, link, setup));
  }
  return needs;
}

function elsewhere(bound: BoundAddress, link: HostLink, { address, device }: VipSetup): Need {
  const what = `${address}/${bound.prefix} on ${link.name}`;
  if (isAgents(bound))
    return note({
      what,
      detail: 'held by the leasehold agent of this machine: director and real server in one',
    });
  const remedy = `if it is a mistake: ip address del ${address}/${bound.prefix} dev ${link.name}`;
  if (link.hasArp)
    return refused(
      {
        what,
        detail: `${link.name} answers for the VIP on the network, as only its director may`,
      },
      remedy,
    );
  return refused({ what, detail: `the VIP is there already, and not on ${device}` }, remedy);
}

/** Devices where packets come out of a tunnel. */
const tunnelDevices = (setups: readonly VipSetup[]): readonly string[] => [
  ...new Set(setups.flatMap(({ tunnelDevice }) => tunnelDevice ?? [])),
];

function deviceNeeds(
  name: string,
  setups: readonly VipSetup[],
  facts: HostFacts,
  tried: ReadonlySet<string>,
): readonly Need[] {
  const users = setups.filter(({ tunnelDevice }) => tunnelDevice === name);
  const remedy = users.map(upWith)[0] ?? '';
  const link = linkNamed(facts, name);
  if (link === undefined) return [absentDevice(name, remedy, tried)];
  const needs: Need[] = [];
  const protocol = innerProtocolNeed(link, users, remedy);
  if (protocol !== null) needs.push(protocol);
  const words = { what: `device ${name}`, detail: link.isUp ? 'is up' : 'is down' };
  const step = { kind: 'switch-link', index: link.index, name, isUp: true } as const;
  needs.push(link.isUp ? met(words) : missing(words, remedy, [step]));
  return needs;
}

function absentDevice(name: string, remedy: string, tried: ReadonlySet<string>): Need {
  const words = { what: `device ${name}`, detail: 'is not there' };
  const fallback = FALLBACK_DEVICES.find((device) => device.name === name);
  if (fallback === undefined)
    return refused(words, `make it, or leave --interface away: ip link add ${name} type …`);
  const { module, linkKind } = fallback;
  return missing({ ...words, detail: `is not there (module ${module})` }, remedy, [
    tried.has(module)
      ? { kind: 'create-link', name, linkKind, module }
      : { kind: 'load-module', module },
  ]);
}

/** ip6tnl0 takes IPv6 only, until told otherwise. */
function innerProtocolNeed(
  link: HostLink,
  users: readonly VipSetup[],
  remedy: string,
): Need | null {
  const before = link.innerProtocol;
  if (link.kind !== 'ip6tnl' || before === null || before === ANY_PROTOCOL) return null;
  const refusedVips = users.filter(({ address }) => innerProtocolOf(address) !== before);
  if (refusedVips.length === 0) return null;
  const { index, name } = link;
  return missing(
    {
      what: `mode of ${name}`,
      detail: `does not take packets to ${refusedVips.map(({ address }) => address).join(', ')}, "any" does`,
    },
    remedy,
    [{ kind: 'set-inner-protocol', index, name, before, value: ANY_PROTOCOL }],
  );
}

/** Ports where gue packets come in. */
export function guePortsOf(setups: readonly VipSetup[]): readonly GuePort[] {
  const ports = new Map<string, GuePort>();
  for (const { tunnel } of setups)
    if (tunnel !== null && tunnel.guePort !== null)
      ports.set(`${tunnel.over} ${tunnel.guePort}`, { port: tunnel.guePort, family: tunnel.over });
  return [...ports.values()];
}

export const isSamePort = (a: GuePort, b: GuePort): boolean =>
  a.port === b.port && a.family === b.family;

export const FOU_MODULE = 'fou';

function guePortNeed(
  port: GuePort,
  setups: readonly VipSetup[],
  facts: HostFacts,
  tried: ReadonlySet<string>,
): Need {
  const what = `gue port ${port.port} over IPv${port.family}`;
  if (facts.guePorts?.some((open) => isSamePort(open, port)) === true)
    return met({ what, detail: 'is open' });
  const user = setups.find(
    ({ tunnel }) => tunnel?.guePort === port.port && tunnel.over === port.family,
  );
  // The family of generic netlink comes with the module.
  const isReady = facts.guePorts !== null || tried.has(FOU_MODULE);
  const step: HostStep = isReady
    ? { kind: 'add-gue-port', port }
    : { kind: 'load-module', module: FOU_MODULE };
  return missing(
    { what, detail: facts.guePorts === null ? 'is not open (module fou)' : 'is not open' },
    user === undefined ? '' : upWith(user),
    [step],
  );
}

/** Values of arp_ignore that leave an address on another device alone; 4 to 7 are reserved. */
const HIDING: ReadonlySet<number> = new Set([1, 2, 8]);
/** Hides addresses of scope host alone. */
const HIDING_HOST_SCOPE = 3;
/** The kernel takes greater ones for 0 (arp_solicit). */
const ANNOUNCE_BEST = 2;

function arpNeeds(setups: readonly VipSetup[], facts: HostFacts): readonly Need[] {
  const user = setups.find(({ address }) => familyOf(address) === 4);
  if (user === undefined) return [];
  const isHostScope = setups.every(({ address, device }) =>
    facts.addresses.every(
      (bound) =>
        bound.address !== address ||
        bound.scope === 'host' ||
        bound.linkIndex !== linkNamed(facts, device)?.index,
    ),
  );
  return [
    settingNeeds(facts, upWith(user), {
      name: 'arp_ignore',
      isGood: (value) => HIDING.has(value) || (value === HIDING_HOST_SCOPE && isHostScope),
      wanted: 1,
      why: 'must be 1, 2 or 8',
      harm: 'ARP for the VIP is answered, traffic goes past the director',
    }),
    settingNeeds(facts, upWith(user), {
      name: 'arp_announce',
      isGood: (value) => value === ANNOUNCE_BEST,
      wanted: ANNOUNCE_BEST,
      why: 'must be 2',
      harm: 'ARP requests name the VIP as their sender, neighbours learn it',
    }),
  ].flat();
}

type Setting = {
  readonly name: string;
  readonly isGood: (value: number) => boolean;
  readonly wanted: number;
  readonly why: string;
  readonly harm: string;
};

/** The kernel takes the greater one of `all` and the device: `all` must be good, and no device may spoil it. */
function settingNeeds(facts: HostFacts, remedy: string, setting: Setting): readonly Need[] {
  const { name, isGood, wanted, why, harm } = setting;
  const need = (device: string, all: number): Need => {
    const path = ipv4Setting(device, name);
    const what = settingName(path);
    const before = facts.settings.get(path);
    if (before === undefined) return refused({ what, detail: 'is not there' }, 'mount /proc');
    if (isGood(Math.max(before, all))) return met({ what, detail: `is ${before}` });
    return missing({ what, detail: `is ${before}, ${why}: ${harm}` }, remedy, [
      { kind: 'set', path, before, value: wanted },
    ]);
  };
  const known = facts.settings.get(ipv4Setting('all', name));
  const before = known ?? 0;
  const all = isGood(before) ? before : wanted;
  // A device without the setting speaks no IPv4 (an MTU below 68), or has gone since it was listed, as those of
  // containers do.
  const devices = facts.links
    .filter((link) => link.hasArp && (known === undefined || hasSetting(facts, link, name)))
    .map((link) => need(link.name, all))
    .filter(({ line }) => line.state !== 'ok');
  return [need('all', 0), ...devices];
}

const hasSetting = ({ settings }: HostFacts, link: HostLink, name: string): boolean =>
  settings.has(ipv4Setting(link.name, name));

const OFF = 0;
const STRICT = 1;
const LOOSE = 2;

/**
 * What a tunnel brings comes from clients whose way back is another device: a strict check drops it. The greater
 * value of `all` and the device counts, so 2 on the device does it without a change for others. A device without
 * an IPv4 address of its own drops it whatever the check is, unless there is none (__fib_validate_source).
 */
function reversePathNeeds(setups: readonly VipSetup[], facts: HostFacts): readonly Need[] {
  const users = setups.filter(
    ({ address, tunnelDevice }) => tunnelDevice !== null && familyOf(address) === 4,
  );
  return tunnelDevices(users).flatMap((device) => {
    const path = ipv4Setting(device, 'rp_filter');
    const before = facts.settings.get(path);
    const user = users.find(({ tunnelDevice }) => tunnelDevice === device);
    if (before === undefined || user === undefined) return [];
    const all = facts.settings.get(ipv4Setting('all', 'rp_filter')) ?? 0;
    const effective = Math.max(all, before);
    const what = settingName(path);
    const isNumbered =
      users.some((one) => one.device === device) || hasIpv4(facts, linkNamed(facts, device));
    if (!isNumbered && effective !== OFF)
      return [unnumberedNeed({ what, path, before, all, user })];
    if (effective !== STRICT)
      return [met({ what, detail: `is ${before}, with all ${effective}: not strict` })];
    return [
      missing(
        {
          what,
          detail: `is ${before}, with all ${effective}, must be 2: packets of clients are dropped as they leave the tunnel`,
        },
        upWith(user),
        [{ kind: 'set', path, before, value: LOOSE }],
      ),
    ];
  });
}

const hasIpv4 = (facts: HostFacts, link: HostLink | undefined): boolean =>
  facts.addresses.some(
    ({ address, linkIndex }) => linkIndex === link?.index && familyOf(address) === 4,
  );

type Unnumbered = {
  readonly what: string;
  readonly path: string;
  readonly before: number;
  readonly all: number;
  readonly user: VipSetup;
};

/** The VIP is on lo: then the tunnel's device has no address, as a rule. */
function unnumberedNeed({ what, path, before, all, user }: Unnumbered): Need {
  const device = user.tunnelDevice ?? '';
  const why = `${device} has no IPv4 address, so packets of clients are dropped as they leave the tunnel`;
  if (all !== OFF)
    return refused(
      {
        what,
        detail: `is ${Math.max(all, before)} by net.ipv4.conf.all.rp_filter, must be 0: ${why}`,
      },
      `leave --interface away: the VIP on ${device} does as well`,
    );
  return missing({ what, detail: `is ${before}, must be 0: ${why}` }, upWith(user), [
    { kind: 'set', path, before, value: OFF },
  ]);
}

/** Over IPv6 a machine answers solicitations only for addresses of the device that asks: nothing is to be set. */
function ipv6Needs(setups: readonly VipSetup[], facts: HostFacts): readonly Need[] {
  const users = setups.filter(({ address }) => familyOf(address) === 6);
  const devices = new Set(
    users.flatMap(({ device, tunnelDevice }) => [device, tunnelDevice ?? device]),
  );
  return [...devices].flatMap((device) => {
    if (linkNamed(facts, device) === undefined) return [];
    const path = ipv6Setting(device, 'disable_ipv6');
    const value = facts.settings.get(path);
    const what = settingName(path);
    if (value === 0) return [];
    return value === undefined
      ? [refused({ what, detail: 'is not there: the kernel has no IPv6' }, 'modprobe ipv6')]
      : [refused({ what, detail: 'is 1: no IPv6 on it' }, `sysctl -w ${what}=0`)];
  });
}

function addressNeeds(setup: VipSetup, facts: HostFacts): readonly Need[] {
  const { address, device } = setup;
  const prefix = prefixOf(address);
  const what = `${address}/${prefix} on ${device}`;
  const link = linkNamed(facts, device);
  if (link === undefined) {
    if (device === setup.tunnelDevice)
      return [missing({ what, detail: `waits for ${device}` }, upWith(setup), [])];
    return [refused({ what, detail: `there is no device ${device}` }, 'see: ip link')];
  }
  if (link.hasArp)
    return [
      refused(
        {
          what,
          detail: `${device} would answer for the VIP on the network, as only its director may`,
        },
        'leave --interface away: lo carries the VIP',
      ),
    ];
  const bound = facts.addresses.filter(
    (one) => one.address === address && one.linkIndex === link.index,
  );
  const wider = bound.find((one) => one.prefix !== prefix);
  if (wider !== undefined)
    return [
      refused(
        {
          what,
          detail: `it is there as /${wider.prefix}${device === 'lo' ? ', which makes the whole network local' : ''}`,
        },
        `ip address del ${address}/${wider.prefix} dev ${device}`,
      ),
    ];
  const own = linkNeeds(link, setup);
  if (bound.length > 0) return [...own, met({ what, detail: describeBound(bound) })];
  return [
    ...own,
    missing({ what, detail: 'is not bound' }, upWith(setup), [
      { kind: 'add-address', index: link.index, device, address },
    ]),
  ];
}

/** A device that carries the VIP and is no tunnel's: lo, or a dummy. */
function linkNeeds(link: HostLink, setup: VipSetup): readonly Need[] {
  const { name, index, isUp } = link;
  if (name === setup.tunnelDevice || isUp) return [];
  const step = { kind: 'switch-link', index, name, isUp: true } as const;
  return [missing({ what: `device ${name}`, detail: 'is down' }, upWith(setup), [step])];
}

const describeBound = (bound: readonly BoundAddress[]): string =>
  bound.some(({ protocol }) => protocol === REAL_SERVER_ADDRESS_PROTOCOL || protocol === null)
    ? 'is bound'
    : 'is bound (not by leasehold: down will leave it)';
