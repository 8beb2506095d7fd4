/** What the fence sends for each change, and what of a dump it takes for complete. */
import { describe, expect, test } from 'vitest';
import {
  type FenceLinks,
  type FenceState,
  lowersOf,
  planCommit,
  planInstall,
  planPermit,
  PERMIT_MESSAGE,
  readContents,
  type TableState,
} from '../../../../src/adapters/linux/nft-fence-plan.ts';
import {
  fenceScheme,
  type FenceScheme,
  u32Key,
} from '../../../../src/adapters/linux/nft-fence-rules.ts';
import { formatIp, ipToBytes } from '../../../../src/model/address.ts';
import type { FenceChange, FenceDevice, FenceKind } from '../../../../src/ports/fence.ts';
import {
  decodeElements,
  NFT_MSG_DELCHAIN,
  NFT_MSG_DELSETELEM,
  NFT_MSG_DELTABLE,
  NFT_MSG_NEWCHAIN,
  NFT_MSG_NEWSETELEM,
  NFT_SET_TIMEOUT,
  type NftMessage,
} from '../../../../src/wire/nftables.ts';

const ETH0: FenceDevice = { index: 2, name: 'eth0' };
const ETH1: FenceDevice = { index: 3, name: 'eth1' };
const LINKS: FenceLinks = new Map(
  [ETH0, ETH1].map(({ index, name }) => [
    index,
    { name, master: null, lower: null, isBridge: false },
  ]),
);
const VIP = formatIp(Uint8Array.of(10, 90, 0, 100));
const KINDS: readonly FenceKind[] = ['netdev', 'arp-inet-ip6', 'bridge'];
const NONE = { add: [], remove: [] };
const NOTHING: FenceChange = {
  permit: null,
  alive: null,
  managed: NONE,
  enabled: NONE,
  muted: NONE,
  served: NONE,
  directors: NONE,
};

/** As a kernel dumps it after the installation. */
function installed(scheme: FenceScheme, devices: readonly FenceDevice[]): TableState[] {
  return scheme.tables.map((table) => ({
    isDormant: false,
    sets: new Map(table.sets.map((set) => [set.name, set])),
    chains: new Map(
      [...table.chains, ...devices.flatMap((device) => table.chainsOf(device))].map((chain) => [
        chain.name,
        { ...chain, isAccepting: true, comments: chain.rules.map((rule) => rule.comment) },
      ]),
    ),
    elements: new Map(
      table.sets
        .filter(({ flags }) => (flags & NFT_SET_TIMEOUT) === 0)
        .map(({ name }) => [
          name,
          name === 'device' ? devices.map(({ index }) => u32Key(index)) : [],
        ]),
    ),
  }));
}

const withElements = (state: TableState, set: string, ...keys: Uint8Array[]): TableState => ({
  ...state,
  elements: new Map([...state.elements, [set, keys]]),
});

const countOf = (messages: readonly NftMessage[], type: number): number =>
  messages.filter((message) => message.type === type).length;

describe.each(KINDS)('plans of family %s', (kind) => {
  const scheme = fenceScheme(kind);
  const absent: FenceState = scheme.tables.map(() => null);

  test('what is complete needs nothing, and is read', () => {
    const state = installed(scheme, [ETH0]);
    expect(planInstall(scheme, state, [ETH0])).toEqual([]);
    expect(readContents(scheme, state, LINKS)).toMatchObject({ devices: [ETH0] });
  });

  test('what is absent is made in full', () => {
    expect(readContents(scheme, absent, LINKS)).toBeNull();
    const made = planInstall(scheme, absent, [ETH0]);
    const chains = installed(scheme, [ETH0]).reduce((sum, table) => sum + table.chains.size, 0);
    expect(countOf(made, NFT_MSG_NEWCHAIN)).toBe(chains);
    expect(countOf(made, NFT_MSG_DELTABLE)).toBe(0);
  });

  test('any other rule in any chain is seen', () => {
    for (const [i, table] of scheme.tables.entries())
      for (const name of table.chains.map((chain) => chain.name)) {
        const state = installed(scheme, [ETH0]);
        const seen = state[i]?.chains.get(name);
        if (seen === undefined) throw new Error(name);
        const chains = new Map(state[i]?.chains);
        chains.set(name, { ...seen, comments: [...seen.comments, null] });
        const changed = state.map((each, at) => (at === i ? { ...each, chains } : each));
        expect(readContents(scheme, changed, LINKS)).toBeNull();
        expect(planInstall(scheme, changed, [ETH0]).length).toBe(1 + seen.comments.length);
      }
  });

  test('a table that somebody made dormant is made anew, and so is a chain that drops', () => {
    const state = installed(scheme, [ETH0]);
    for (const i of state.keys()) {
      const asleep = state.map((each, at) => ({ ...each, isDormant: at === i }));
      expect(readContents(scheme, asleep, LINKS)).toBeNull();
      expect(countOf(planInstall(scheme, asleep, [ETH0]), NFT_MSG_DELTABLE)).toBe(1);
    }
    const [first, ...others] = state;
    const [name, chain] = [...(first?.chains ?? [])].find(([, { hook }]) => hook !== null) ?? [];
    if (first === undefined || name === undefined || chain === undefined) throw new Error(kind);
    const chains = new Map(first.chains).set(name, { ...chain, isAccepting: false });
    const dropping = [{ ...first, chains }, ...others];
    expect(readContents(scheme, dropping, LINKS)).toBeNull();
    expect(countOf(planInstall(scheme, dropping, [ETH0]), NFT_MSG_NEWCHAIN)).toBe(1);
  });

  test('rules of one chain have names of their own, so that no order passes for another', () => {
    for (const chain of scheme.tables.flatMap((table) => table.chains)) {
      const comments = chain.rules.map((rule) => rule.comment);
      expect(new Set(comments).size).toBe(comments.length);
    }
  });

  test('a device that is gone makes it incomplete', () => {
    const state = installed(scheme, [ETH0, ETH1]);
    const gone = new Map([...LINKS].filter(([index]) => index !== ETH1.index));
    expect(readContents(scheme, state, gone)).toBeNull();
    expect(readContents(scheme, state, LINKS)).not.toBeNull();
  });

  test('the permit comes first, and every table has a message that needs it', () => {
    const messages = planCommit(scheme, { ...NOTHING, permit: 7 }, []);
    const first = messages[PERMIT_MESSAGE];
    expect(first?.type).toBe(NFT_MSG_DELSETELEM);
    expect(decodeElements(first?.body ?? new Uint8Array())).toEqual({
      ok: true,
      value: [u32Key(7)],
    });
    const families = new Set(messages.slice(1).map(({ body }) => body[0]));
    expect(families).toEqual(new Set(scheme.tables.map(({ table }) => table.family)));
    expect(planCommit(scheme, NOTHING, []).length).toBe(2 * scheme.tables.length);
  });

  test('a renewal is add, delete, add', () => {
    const alive = { linkIndexes: [2], timeoutMs: 300 };
    const types = planCommit(scheme, { ...NOTHING, alive }, [2]).map(({ type }) => type);
    const renewal = [NFT_MSG_NEWSETELEM, NFT_MSG_DELSETELEM, NFT_MSG_NEWSETELEM];
    expect(types).toEqual(scheme.tables.flatMap(() => renewal));
    expect(planPermit(scheme, 1, 100).map(({ type }) => type)).toEqual(renewal);
  });

  test('to remove an address is to add it and delete it', () => {
    const enabled = { add: [], remove: [VIP] };
    const messages = planCommit(scheme, { ...NOTHING, enabled }, []);
    expect(messages.length).toBe(4 * scheme.tables.length);
  });
});

describe('repairs', () => {
  test('a table that is gone makes the others forget what they enabled, not what is managed', () => {
    const scheme = fenceScheme('arp-inet-ip6');
    const [inet, arp] = installed(scheme, [ETH0]);
    if (inet === undefined || arp === undefined) throw new Error('two tables');
    const managed = withElements(inet, 'managed4', ipToBytes(VIP));
    const state = [withElements(managed, 'enabled4', ipToBytes(VIP)), null];
    expect(readContents(scheme, state, LINKS)).toBeNull();
    const messages = planInstall(scheme, state, [ETH0]);
    // alive, the directors, and what is enabled, muted and served of both families, are flushed.
    expect(countOf(messages, NFT_MSG_DELSETELEM)).toBe(8);
    const added = messages
      .filter(({ type, body }) => type === NFT_MSG_NEWSETELEM && body.length > 0)
      .map(({ body }) => decodeElements(body));
    expect(added).toContainEqual({ ok: true, value: [ipToBytes(VIP)] });
    const split = [withElements(inet, 'managed4', ipToBytes(VIP)), arp];
    expect(readContents(scheme, split, LINKS)).toBeNull();
    expect(planInstall(scheme, split, [ETH0]).length).toBeGreaterThan(0);
  });

  test('a set of another shape makes the table anew', () => {
    const scheme = fenceScheme('netdev');
    const [table] = installed(scheme, [ETH0]);
    if (table === undefined) throw new Error('one table');
    const muted = { name: 'muted4', keyType: 7, keyLength: 4, flags: NFT_SET_TIMEOUT };
    const state = [{ ...table, sets: new Map([...table.sets, ['muted4', muted]]) }];
    expect(readContents(scheme, state, LINKS)).toBeNull();
    expect(countOf(planInstall(scheme, state, [ETH0]), NFT_MSG_DELTABLE)).toBe(1);
  });

  test('hooks follow names: a device that was renamed is not fenced any more', () => {
    const scheme = fenceScheme('netdev');
    const renamed = new Map([
      [ETH0.index, { name: 'lan0', master: null, lower: null, isBridge: false }],
    ]);
    expect(readContents(scheme, installed(scheme, [ETH0]), renamed)).toBeNull();
  });

  test('chains of devices that are not wanted go, with their hooks; those of new ones come', () => {
    const scheme = fenceScheme('netdev');
    const messages = planInstall(scheme, installed(scheme, [ETH0]), [ETH1]);
    expect(countOf(messages, NFT_MSG_DELCHAIN)).toBe(2);
    expect(countOf(messages, NFT_MSG_NEWCHAIN)).toBe(2);
    expect(countOf(messages, NFT_MSG_DELTABLE)).toBe(0);
  });
});

describe('links on links', () => {
  const link = (name: string, lower: number | null) => ({
    name,
    master: null,
    lower,
    isBridge: false,
  });
  const links: FenceLinks = new Map([
    [2, link('eth0', null)],
    [3, link('eth0.20', 2)],
    [4, link('eth0.20.7', 3)],
    [5, link('eth1', null)],
  ]);
  const device = (index: number): FenceDevice => ({ index, name: links.get(index)?.name ?? '' });

  test('a frame of a VLAN passes every fenced link below it', () => {
    expect(lowersOf([2, 3, 4, 5].map(device), links)).toEqual(
      new Map([
        [3, [2]],
        [4, [3, 2]],
      ]),
    );
    expect(lowersOf([2, 4].map(device), links)).toEqual(new Map([[4, [2]]]));
  });

  test('what is not fenced judges nothing, nor does what is gone', () => {
    expect(lowersOf([4, 5].map(device), links)).toEqual(new Map());
    expect(lowersOf([4].map(device), new Map())).toEqual(new Map());
  });

  test('a ring comes to an end', () => {
    const ring: FenceLinks = new Map([
      [6, link('a', 7)],
      [7, link('b', 6)],
    ]);
    expect(lowersOf([{ index: 6, name: 'a' }], ring).get(6)).toContain(6);
  });
});
