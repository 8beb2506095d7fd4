/**
 * What `up` remembers before it changes anything, and what `down` gives back of it. A setting belongs to all
 * VIPs that need it: the last one gives it back, and only where it still is what was set here.
 */
import { familyOf, type IpAddress } from '../../model/address.ts';
import {
  type HostFacts,
  type HostStep,
  REAL_SERVER_ADDRESS_PROTOCOL,
  type RealServerLine,
  type SavedHost,
  type VipSetup,
} from '../../model/real-server-host.ts';
import { guePortsOf, isSamePort } from './needs.ts';
import { innerProtocolOf, ipv4Setting, prefixOf, settingName } from './words.ts';

/** The VIPs are known from now on, with what they were before. */
export function rememberVips(
  saved: SavedHost,
  setups: readonly VipSetup[],
  facts: HostFacts,
): SavedHost {
  const known = new Set(saved.vips.map(({ address }) => address));
  const added = setups
    .filter(({ address }) => !known.has(address))
    .map((setup) => ({ ...setup, isAdded: !isForeign(setup, facts) }));
  return added.length === 0 ? saved : { ...saved, vips: [...saved.vips, ...added] };
}

/** Bound already, and not by us. */
function isForeign({ address, device }: VipSetup, facts: HostFacts): boolean {
  const index = facts.links.find((link) => link.name === device)?.index;
  const bound = facts.addresses.find((one) => one.address === address && one.linkIndex === index);
  return bound !== undefined && bound.protocol !== REAL_SERVER_ADDRESS_PROTOCOL;
}

/** What must be on disk before the step is made. */
export function rememberStep(saved: SavedHost, step: HostStep): SavedHost {
  switch (step.kind) {
    case 'set':
      return { ...saved, settings: rememberSetting(saved.settings, step) };
    case 'create-link':
      return withLink(saved, step.name, { isCreated: true });
    case 'switch-link':
      return step.isUp ? withLink(saved, step.name, { isSwitchedOn: true }) : saved;
    case 'set-inner-protocol':
      return withLink(saved, step.name, {
        innerProtocol: { before: step.before, value: step.value },
      });
    case 'add-gue-port':
      if (saved.guePorts.some((port) => isSamePort(port, step.port))) return saved;
      return { ...saved, guePorts: [...saved.guePorts, step.port] };
    case 'load-module':
    case 'add-address':
    case 'delete-address':
    case 'delete-gue-port':
    case 'delete-link':
      return saved;
  }
}

function rememberSetting(
  settings: SavedHost['settings'],
  { path, before, value }: HostStep & { kind: 'set' },
): SavedHost['settings'] {
  const known = settings.find((one) => one.path === path);
  if (known === undefined) return [...settings, { path, before, value }];
  // Set here before, changed by somebody since: what they made of it is what it was before.
  const first = known.before === before || known.value === before ? known.before : before;
  return settings.map((one) => (one === known ? { path, before: first, value } : one));
}

type SavedLink = SavedHost['links'][number];

function withLink(saved: SavedHost, name: string, change: Partial<SavedLink>): SavedHost {
  const fresh: SavedLink = { name, isCreated: false, isSwitchedOn: false, innerProtocol: null };
  const known = saved.links.find((link) => link.name === name);
  if (known === undefined) return { ...saved, links: [...saved.links, { ...fresh, ...change }] };
  return {
    ...saved,
    links: saved.links.map((link) => (link === known ? { ...link, ...change } : link)),
  };
}

export type TakeDown = {
  readonly steps: readonly HostStep[];
  /** What is left alone, and why. */
  readonly lines: readonly RealServerLine[];
  /** To be saved when every step has been made. */
  readonly saved: SavedHost;
};

/** The VIPs go first: as long as one is bound, nothing may answer ARP for it. */
export function planTakeDown(
  vips: readonly IpAddress[],
  facts: HostFacts,
  saved: SavedHost,
): TakeDown {
  const steps: HostStep[] = [];
  const lines: RealServerLine[] = [];
  for (const vip of vips) takeAddress(vip, { facts, saved, steps, lines });
  const rest = saved.vips.filter(({ address }) => !vips.includes(address));
  const hidden = hiddenByHand(rest, facts, steps);
  const settings = saved.settings.filter(
    (setting) =>
      isSettingNeeded(setting.path, rest) || isKeptByHand(setting, { hidden, facts, lines }),
  );
  for (const setting of saved.settings)
    if (!settings.includes(setting)) restoreSetting(setting, { facts, steps, lines });
  const guePorts = saved.guePorts.filter((port) =>
    guePortsOf(rest).some((needed) => isSamePort(needed, port)),
  );
  for (const port of saved.guePorts)
    if (!guePorts.includes(port) && facts.guePorts?.some((open) => isSamePort(open, port)) === true)
      steps.push({ kind: 'delete-gue-port', port });
  const links = saved.links.flatMap((link) => restoreLink(link, { rest, facts, steps, lines }));
  return { steps, lines, saved: { vips: rest, settings, guePorts, links } };
}

type Work = {
  readonly facts: HostFacts;
  readonly steps: HostStep[];
  readonly lines: RealServerLine[];
};

function takeAddress(vip: IpAddress, work: Work & { readonly saved: SavedHost }): void {
  const { facts, saved, steps, lines } = work;
  const known = saved.vips.find(({ address }) => address === vip);
  const nameOf = (index: number): string =>
    facts.links.find((link) => link.index === index)?.name ?? `link ${index}`;
  const bound = facts.addresses.filter(
    ({ address, prefix }) => address === vip && prefix === prefixOf(vip),
  );
  const ours = bound.filter(
    ({ protocol, linkIndex }) =>
      protocol === REAL_SERVER_ADDRESS_PROTOCOL ||
      // Kernels before 5.18 keep no tag.
      (protocol === null && known?.isAdded === true && nameOf(linkIndex) === known.device),
  );
  for (const { linkIndex: index } of ours)
    steps.push({ kind: 'delete-address', index, device: nameOf(index), address: vip });
  const foreign = bound.find(
    (one) => !ours.includes(one) && nameOf(one.linkIndex) === known?.device,
  );
  if (foreign !== undefined)
    lines.push({
      state: 'note',
      what: `${vip}/${prefixOf(vip)} on ${nameOf(foreign.linkIndex)}`,
      detail: 'stays: it was there before',
      remedy: `ip address del ${vip}/${prefixOf(vip)} dev ${nameOf(foreign.linkIndex)}`,
    });
  if (known === undefined && ours.length === 0)
    lines.push({ state: 'ok', what: vip, detail: 'is not up here', remedy: null });
}

function isSettingNeeded(path: string, rest: readonly VipSetup[]): boolean {
  const ipv4 = rest.filter(({ address }) => familyOf(address) === 4);
  if (isArpSetting(path)) return ipv4.length > 0;
  return ipv4.some(
    ({ tunnelDevice }) => tunnelDevice !== null && path === ipv4Setting(tunnelDevice, 'rp_filter'),
  );
}

/** An IPv4 address by itself on a device that has no ARP: what somebody bound there as a VIP, without this command. */
type Hidden = { readonly address: IpAddress; readonly device: string };

function hiddenByHand(
  rest: readonly VipSetup[],
  facts: HostFacts,
  steps: readonly HostStep[],
): readonly Hidden[] {
  const devices = new Map(
    facts.links.filter(({ hasArp }) => !hasArp).map(({ index, name }) => [index, name]),
  );
  const leaves = (linkIndex: number, address: IpAddress): boolean =>
    steps.some(
      (step) =>
        step.kind === 'delete-address' && step.index === linkIndex && step.address === address,
    );
  return facts.addresses.flatMap(({ address, prefix, linkIndex }) => {
    const device = devices.get(linkIndex);
    const isVip = familyOf(address) === 4 && prefix === 32 && !address.startsWith('127.');
    if (device === undefined || !isVip || leaves(linkIndex, address)) return [];
    return rest.some((vip) => vip.address === address) ? [] : [{ address, device }];
  });
}

/** Given back while such an address is there, the machine would answer ARP for it, or drop what comes for it. */
function isKeptByHand(
  { path, before, value }: SavedHost['settings'][number],
  { hidden, facts, lines }: Pick<Work, 'facts' | 'lines'> & { readonly hidden: readonly Hidden[] },
): boolean {
  const users = hidden.filter(
    ({ device }) => isArpSetting(path) || path === ipv4Setting(device, 'rp_filter'),
  );
  const name = settingName(path);
  if (users.length === 0 || facts.settings.get(path) !== value || value === before) return false;
  const places = users.map(({ address, device }) => `${address} on ${device}`).join(', ');
  lines.push({
    state: 'note',
    what: name,
    detail: `stays ${value} (${before} before): ${places} was not bound by this command, and needs it if it is a VIP`,
    remedy: `when it is gone: leasehold realserver down; if it is no VIP: sysctl -w ${name}=${before}`,
  });
  return true;
}

const isArpSetting = (path: string): boolean =>
  path.endsWith('/arp_ignore') || path.endsWith('/arp_announce');

function restoreSetting(
  { path, before, value }: SavedHost['settings'][number],
  { facts, steps, lines }: Work,
): void {
  const now = facts.settings.get(path);
  // Gone with its device, or never set: the machine ended between the note and the change.
  if (now === undefined || now === before) return;
  if (now === value) steps.push({ kind: 'set', path, before: now, value: before });
  else
    lines.push({
      state: 'note',
      what: settingName(path),
      detail: `stays ${now}: set to ${value} here, and changed by somebody since (${before} before)`,
      remedy: null,
    });
}

/** The records that are still needed. */
function restoreLink(
  saved: SavedLink,
  work: Work & { readonly rest: readonly VipSetup[] },
): readonly SavedLink[] {
  const { rest, facts, steps, lines } = work;
  const { name, isCreated, isSwitchedOn, innerProtocol } = saved;
  const users = rest.filter((vip) => vip.device === name || vip.tunnelDevice === name);
  const link = facts.links.find((one) => one.name === name);
  if (link === undefined) return users.length > 0 ? [saved] : [];
  const { index } = link;
  const isProtocolNeeded =
    innerProtocol !== null &&
    users.some(({ address }) => innerProtocolOf(address) !== innerProtocol.before);
  if (innerProtocol !== null && !isProtocolNeeded && link.innerProtocol === innerProtocol.value)
    steps.push({
      kind: 'set-inner-protocol',
      index,
      name,
      before: innerProtocol.value,
      value: innerProtocol.before,
    });
  if (users.length > 0)
    return [{ ...saved, innerProtocol: isProtocolNeeded ? innerProtocol : null }];
  const others = otherAddresses(index, work);
  if (others.length > 0 && (isCreated || (isSwitchedOn && link.isUp)))
    lines.push({
      state: 'note',
      what: `device ${name}`,
      detail: `stays up: it has ${others.join(', ')}`,
      remedy: null,
    });
  else if (isCreated && link.kind !== null) steps.push({ kind: 'delete-link', index, name });
  else if (isSwitchedOn && link.isUp) steps.push({ kind: 'switch-link', index, name, isUp: false });
  return [];
}

/** Addresses that stay on a link, but for those the kernel gives by itself: fe80:: of any scope, ::a.b.c.d of sit0. */
function otherAddresses(index: number, { facts, steps }: Work): readonly IpAddress[] {
  const leaving = steps.flatMap((step) =>
    step.kind === 'delete-address' && step.index === index ? [step.address] : [],
  );
  return facts.addresses
    .filter(({ linkIndex }) => linkIndex === index)
    .map(({ address }) => address)
    .filter((address) => !leaving.includes(address) && !/^(fe80:|::)/.test(address));
}
