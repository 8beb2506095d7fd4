/** What of the fence is missing in a kernel, and the batch that makes it. Pure: no sockets. */
import { toHex } from '../../lib/bytes.ts';
import {
  familyOf,
  formatIp,
  formatMac,
  type IpAddress,
  ipToBytes,
  type MacAddress,
  macToBytes,
} from '../../model/address.ts';
import type { FenceChange, FenceContents, FenceDevice, FenceSetChange } from '../../ports/fence.ts';
import { readU32 } from '../../wire/netlink.ts';
import {
  deleteChain,
  deleteElements,
  deleteRules,
  deleteTable,
  flushSet,
  newChain,
  newElements,
  newRule,
  newSet,
  newTable,
  type NftChain,
  type NftLiving,
  type NftMessage,
  type NftSet,
} from '../../wire/nftables.ts';
import {
  ADDRESS_SETS,
  type AddressSet,
  ALIVE_SET,
  DEVICE_SET,
  DIRECTOR_SET,
  type FenceScheme,
  PERMIT_SET,
  type RuledChain,
  type TableScheme,
  u32Key,
} from './nft-fence-rules.ts';

/** A table of ours as dumped. */
export type TableState = {
  /** None of its chains is called. */
  readonly isDormant: boolean;
  readonly sets: ReadonlyMap<string, NftSet>;
  readonly chains: ReadonlyMap<string, ChainState>;
  /** Keys of the sets that do not expire. */
  readonly elements: ReadonlyMap<string, readonly Uint8Array[]>;
};

export type ChainState = NftChain & {
  /** What no rule decides passes. */
  readonly isAccepting: boolean;
  /** Of its rules, in order; null where one has none. */
  readonly comments: readonly (string | null)[];
};

/** One for each table of the scheme; null: it is not there. */
export type FenceState = readonly (TableState | null)[];

export type FenceLink = {
  readonly name: string;
  /** Index of the bridge, or the like, that it is a port of. */
  readonly master: number | null;
  /** Index of the link whose hooks its frames pass, too: that of a VLAN. */
  readonly lower: number | null;
  readonly isBridge: boolean;
};

/** The links that the kernel has, by index. */
export type FenceLinks = ReadonlyMap<number, FenceLink>;

/** What is installed; null where any part is missing, changed, or a device of it is gone. */
export function readContents(
  scheme: FenceScheme,
  state: FenceState,
  links: FenceLinks,
): FenceContents | null {
  const [first] = state;
  if (first === undefined || first === null) return null;
  const devices = devicesOf(scheme, first, links);
  if (devices === null) return null;
  for (const [i, table] of scheme.tables.entries()) {
    const seen = state[i] ?? null;
    if (seen === null || !isComplete(table, seen, devices)) return null;
    if (i > 0 && !sharesElements(table, first, seen)) return null;
  }
  return {
    devices,
    managed: addressesIn(first, 'managed'),
    enabled: addressesIn(first, 'enabled'),
    muted: addressesIn(first, 'muted'),
    served: addressesIn(first, 'served'),
    directors: new Set((first.elements.get(DIRECTOR_SET) ?? []).map((key) => formatMac(key))),
  };
}

function addressesIn(state: TableState, set: AddressSet): ReadonlySet<IpAddress> {
  const keys = [...(state.elements.get(`${set}4`) ?? []), ...(state.elements.get(`${set}6`) ?? [])];
  return new Set(keys.map((key) => formatIp(key)));
}

/** By device: of a bridge the port that ends first. */
export function readLifetimes(
  { isBridged }: Pick<FenceScheme, 'isBridged'>,
  living: readonly NftLiving[],
  links: FenceLinks,
): ReadonlyMap<number, number> {
  const lifetimes = new Map<number, number>();
  for (const { key, expiresMs } of living) {
    const index = readU32(key, 0);
    const device = isBridged ? (links.get(index)?.master ?? null) : index;
    if (device === null || expiresMs === null) continue;
    lifetimes.set(device, Math.min(expiresMs, lifetimes.get(device) ?? expiresMs));
  }
  return lifetimes;
}

/** The kernel stacks no more (MAX_NEST_DEV). */
const STACK_MAX = 8;

/**
 * For each fenced device the fenced ones below it; those with none are left out. A frame of a VLAN is judged at the
 * link that it comes by, too: both must be alive, also where no group of the lower one is held here.
 */
export function lowersOf(
  devices: readonly FenceDevice[],
  links: FenceLinks,
): ReadonlyMap<number, readonly number[]> {
  const fenced = new Set(devices.map(({ index }) => index));
  const lowers = new Map<number, readonly number[]>();
  for (const { index } of devices) {
    const below: number[] = [];
    let at = links.get(index)?.lower ?? null;
    for (let depth = 0; at !== null && depth < STACK_MAX; depth++) {
      if (fenced.has(at)) below.push(at);
      at = links.get(at)?.lower ?? null;
    }
    if (below.length > 0) lowers.set(index, below);
  }
  return lowers;
}

/** The fenced devices, all of them there; null: one is gone, or has another name or index now. */
function devicesOf(
  scheme: FenceScheme,
  state: TableState,
  links: FenceLinks,
): readonly FenceDevice[] | null {
  const devices: FenceDevice[] = [];
  if (scheme.isPerDevice) {
    for (const { name, hook } of state.chains.values()) {
      if (hook === null || !name.startsWith('in-')) continue;
      const index = Number(name.slice('in-'.length));
      if (hook.device === null || links.get(index)?.name !== hook.device) return null;
      devices.push({ index, name: hook.device });
    }
  } else {
    for (const key of state.elements.get(DEVICE_SET) ?? []) {
      const index = readU32(key, 0);
      const link = links.get(index);
      if (link === undefined) return null;
      devices.push({ index, name: link.name });
    }
  }
  return devices.toSorted((a, b) => a.index - b.index);
}

function isComplete(
  table: TableScheme,
  state: TableState,
  devices: readonly FenceDevice[],
): boolean {
  const chains = wantedChains(table, devices);
  return (
    !state.isDormant &&
    hasSets(table, state) &&
    state.chains.size === chains.length &&
    chains.every((chain) => isSameChain(chain, state.chains.get(chain.name)))
  );
}

const wantedChains = (
  table: TableScheme,
  devices: readonly FenceDevice[],
): readonly RuledChain[] => [...table.chains, ...devices.flatMap((each) => table.chainsOf(each))];

const hasSets = (table: TableScheme, state: TableState): boolean =>
  state.sets.size === table.sets.length &&
  table.sets.every((set) => {
    const seen = state.sets.get(set.name);
    return seen !== undefined && seen.keyLength === set.keyLength && seen.flags === set.flags;
  });

const isSameHook = (wanted: NftChain, seen: ChainState): boolean =>
  seen.isAccepting &&
  wanted.hook?.hook === seen.hook?.hook &&
  wanted.hook?.priority === seen.hook?.priority &&
  wanted.hook?.device === seen.hook?.device;

const isSameChain = (wanted: RuledChain, seen: ChainState | undefined): boolean =>
  seen !== undefined && isSameHook(wanted, seen) && hasSameRules(wanted, seen);

const hasSameRules = (wanted: RuledChain, seen: ChainState): boolean =>
  seen.comments.length === wanted.rules.length &&
  wanted.rules.every((rule, i) => rule.comment === seen.comments[i]);

/** Tables of one fence say the same of the addresses and devices that both have. */
function sharesElements(table: TableScheme, first: TableState, other: TableState): boolean {
  const names = [
    DEVICE_SET,
    DIRECTOR_SET,
    ...ADDRESS_SETS.flatMap((set) => table.families.map((family) => `${set}${family}`)),
  ];
  return names.every(
    (name) => fingerprint(first.elements.get(name)) === fingerprint(other.elements.get(name)),
  );
}

const fingerprint = (keys: readonly Uint8Array[] | undefined): string =>
  (keys ?? [])
    .map((key) => toHex(key))
    .toSorted()
    .join();

/**
 * The batch after which the fence is complete for exactly these devices; empty where it is. Whatever is
 * whole keeps its elements. Where a table has to be made anew, all that any table knew as managed is
 * managed, and nothing is enabled.
 */
export function planInstall(
  scheme: FenceScheme,
  state: FenceState,
  devices: readonly FenceDevice[],
): readonly NftMessage[] {
  const messages: NftMessage[] = [];
  const isBroken = scheme.tables.some((table, i) => !isSound(table, state[i] ?? null));
  const isSplit = scheme.tables.some((table, i) => {
    const [first] = state;
    const seen = state[i] ?? null;
    return i > 0 && seen !== null && first && !sharesElements(table, first, seen);
  });
  const managed = isBroken || isSplit ? managedAnywhere(state) : new Set<IpAddress>();
  for (const [i, table] of scheme.tables.entries()) {
    const seen = state[i] ?? null;
    const kept = isSound(table, seen) ? seen : null;
    if (kept === null) messages.push(...planTable(table, seen !== null));
    else if (isBroken || isSplit) messages.push(...planSilence(table));
    messages.push(...planChains(table, kept, devices));
    if (!scheme.isPerDevice) messages.push(...planDevices(table, kept, devices));
    messages.push(...addAddresses(table, 'managed', [...managed]));
  }
  return messages;
}

/** Usable as it is, its chains apart. */
const isSound = (table: TableScheme, state: TableState | null): boolean =>
  state !== null && !state.isDormant && hasSets(table, state) && hasNoForeignChain(table, state);

function hasNoForeignChain(table: TableScheme, state: TableState): boolean {
  const names = new Set(table.chains.map((chain) => chain.name));
  return [...state.chains.keys()].every((name) => names.has(name) || /^(in|out)-\d+$/.test(name));
}

function managedAnywhere(state: FenceState): ReadonlySet<IpAddress> {
  const managed = new Set<IpAddress>();
  for (const table of state)
    for (const name of ['managed4', 'managed6'])
      for (const key of table?.elements.get(name) ?? [])
        if (key.length === 4 || key.length === 16) managed.add(formatIp(key));
  return managed;
}

function planTable(table: TableScheme, isThere: boolean): readonly NftMessage[] {
  return [
    ...(isThere ? [deleteTable(table.table)] : []),
    newTable(table.table),
    ...table.sets.map((set, i) => newSet(table.table, set, i + 1)),
  ];
}

/** Nothing is enabled, muted, served or alive any more. */
function planSilence(table: TableScheme): readonly NftMessage[] {
  const emptied = ADDRESS_SETS.filter((set) => set !== 'managed');
  const sets = table.families.flatMap((family) => emptied.map((set) => `${set}${family}`));
  return [ALIVE_SET, DIRECTOR_SET, ...sets].map((set) => flushSet(table.table, set));
}

function planChains(
  table: TableScheme,
  state: TableState | null,
  devices: readonly FenceDevice[],
): readonly NftMessage[] {
  const wanted = wantedChains(table, devices);
  const names = new Set(wanted.map((chain) => chain.name));
  const obsolete = [...(state?.chains.keys() ?? [])].filter((name) => !names.has(name));
  const messages: NftMessage[] = [];
  const rules: NftMessage[] = [];
  // Chains of devices that are not wanted any more: nothing jumps to those.
  for (const name of obsolete) messages.push(deleteChain(table.table, name));
  for (const chain of wanted) {
    const seen = state?.chains.get(chain.name);
    if (isSameChain(chain, seen)) continue;
    if (seen !== undefined && isSameHook(chain, seen))
      messages.push(deleteRules(table.table, chain.name));
    else {
      if (seen !== undefined) messages.push(deleteChain(table.table, chain.name));
      messages.push(newChain(table.table, chain));
    }
    for (const rule of chain.rules)
      rules.push(newRule(table.table, { chain: chain.name, ...rule }));
  }
  return [...messages, ...rules];
}

function planDevices(
  table: TableScheme,
  state: TableState | null,
  devices: readonly FenceDevice[],
): readonly NftMessage[] {
  const wanted = new Set(devices.map(({ index }) => index));
  const seen = new Set((state?.elements.get(DEVICE_SET) ?? []).map((key) => readU32(key, 0)));
  const added = [...wanted].filter((index) => !seen.has(index)).map(u32Key);
  const removed = [...seen].filter((index) => !wanted.has(index)).map(u32Key);
  return [
    ...newElements(table.table, DEVICE_SET, added.map(lasting)),
    ...deleteElements(table.table, DEVICE_SET, removed),
  ];
}

const lasting = (key: Uint8Array): { readonly key: Uint8Array; readonly timeoutMs: null } => ({
  key,
  timeoutMs: null,
});

function addAddresses(
  table: TableScheme,
  set: AddressSet,
  addresses: readonly IpAddress[],
): readonly NftMessage[] {
  return table.families.flatMap((family) =>
    newElements(
      table.table,
      `${set}${family}`,
      addresses.filter((each) => familyOf(each) === family).map((each) => lasting(ipToBytes(each))),
    ),
  );
}

/** What is not there is added first: to remove it then is no error. */
function removeAddresses(
  table: TableScheme,
  set: AddressSet,
  addresses: readonly IpAddress[],
): readonly NftMessage[] {
  if (addresses.length === 0) return [];
  return [
    ...addAddresses(table, set, addresses),
    ...table.families.flatMap((family) =>
      deleteElements(
        table.table,
        `${set}${family}`,
        addresses.filter((each) => familyOf(each) === family).map((each) => ipToBytes(each)),
      ),
    ),
  ];
}

function planDirectors(
  { table }: TableScheme,
  { add, remove }: FenceSetChange<MacAddress>,
): readonly NftMessage[] {
  const added = [...add, ...remove].map((mac) => lasting(macToBytes(mac)));
  return [
    ...newElements(table, DIRECTOR_SET, added),
    ...deleteElements(
      table,
      DIRECTOR_SET,
      remove.map((mac) => macToBytes(mac)),
    ),
  ];
}

export const planPermit = (
  scheme: FenceScheme,
  round: number,
  timeoutMs: number,
): readonly NftMessage[] => {
  const [{ table }] = scheme.tables;
  const key = u32Key(round);
  // A permit of the same number that has not died yet is replaced: adding alone would not prolong it.
  return renew((elements) => newElements(table, PERMIT_SET, elements), {
    keys: [key],
    timeoutMs,
    remove: (keys) => deleteElements(table, PERMIT_SET, keys),
  });
};

/** Index of the message that uses the permit up. */
export const PERMIT_MESSAGE = 0;

/** The batch of a commit; `linkIndexes` are the interfaces, or ports, that are alive from now on. */
export function planCommit(
  scheme: FenceScheme,
  change: FenceChange,
  linkIndexes: readonly number[],
): readonly NftMessage[] {
  const keys = linkIndexes.map(u32Key);
  const [first] = scheme.tables;
  const messages: NftMessage[] = [];
  if (change.permit !== null)
    messages.push(...deleteElements(first.table, PERMIT_SET, [u32Key(change.permit)]));
  for (const table of scheme.tables) {
    messages.push(...planAlive(table, keys, change.alive?.timeoutMs ?? WITNESS_MS));
    for (const set of ADDRESS_SETS) {
      messages.push(...addAddresses(table, set, change[set].add));
      messages.push(...removeAddresses(table, set, change[set].remove));
    }
    messages.push(...planDirectors(table, change.directors));
  }
  return messages;
}

const WITNESS_MS = 10_000;

/**
 * Renews interfaces. Where there are none, one that does not exist comes and goes: so that every batch
 * has a message that fails if, and only if, the table is gone.
 */
function planAlive(
  table: TableScheme,
  keys: readonly Uint8Array[],
  timeoutMs: number,
): readonly NftMessage[] {
  const isWitness = keys.length === 0;
  const messages = renew((elements) => newElements(table.table, ALIVE_SET, elements), {
    keys: isWitness ? [u32Key(0)] : keys,
    timeoutMs: isWitness ? WITNESS_MS : timeoutMs,
    remove: (some) => deleteElements(table.table, ALIVE_SET, some),
  });
  return isWitness ? messages.slice(0, 2) : messages;
}

/** Add, delete, add: works whether the element lives, has expired, or never was, on every kernel. */
function renew(
  add: (elements: readonly { key: Uint8Array; timeoutMs: number }[]) => readonly NftMessage[],
  options: {
    readonly keys: readonly Uint8Array[];
    readonly timeoutMs: number;
    readonly remove: (keys: readonly Uint8Array[]) => readonly NftMessage[];
  },
): readonly NftMessage[] {
  const added = add(options.keys.map((key) => ({ key, timeoutMs: options.timeoutMs })));
  return [...added, ...options.remove(options.keys), ...added];
}
