/** Ports that say something else than they were told: what mutations are made of. */
import type { DirectorId } from '../../src/model/ids.ts';
import type {
  ClusterStore,
  Compare,
  StoreOperation,
  StoreRead,
  Txn,
  TxnAnswer,
  WatchEvent,
} from '../../src/ports/cluster-store.ts';
import type { Fence, FenceChange } from '../../src/ports/fence.ts';
import type { PeerDelivery, PeerLink, PeerMessage } from '../../src/ports/peer-link.ts';
import { addressOf, keys } from './spec.ts';

export type Json = Record<string, unknown>;

export const kindOf = (key: string): string | undefined => keys.parse(key)?.kind;
export const isOf = (key: string, kind: string, name?: string): boolean => {
  const parsed = keys.parse(key);
  if (parsed?.kind !== kind) return false;
  return name === undefined || Object.values(parsed).includes(name);
};

/** A round removes the challenge against its director and does nothing else. */
export function isRound(txn: Txn): boolean {
  const [only, ...more] = txn.success;
  return more.length === 0 && only?.op === 'delete' && kindOf(only.key) === 'challenge';
}

export const isOwnRound = (txn: Txn, me: string): boolean => {
  const [only] = txn.success;
  return isRound(txn) && only !== undefined && isOf(only.key, 'challenge', me);
};

/** The store with other transactions and other answers. */
export function rewriteTxn(
  store: ClusterStore,
  rewrite: (txn: Txn) => Txn,
  answered: (answer: TxnAnswer, txn: Txn) => TxnAnswer = (answer) => answer,
): ClusterStore {
  return override(store, {
    txn: async (txn, options) => answered(await store.txn(rewrite(txn), options), txn),
  });
}

export function override(store: ClusterStore, over: Partial<ClusterStore>): ClusterStore {
  return {
    txn: (txn, options) => store.txn(txn, options),
    list: (prefix, options) => store.list(prefix, options),
    get: (key, options) => store.get(key, options),
    watch: (prefix, signal) => store.watch(prefix, signal),
    grantLease: (ttlS, options) => store.grantLease(ttlS, options),
    keepLeaseAlive: (lease, options) => store.keepLeaseAlive(lease, options),
    revokeLease: (lease, options) => store.revokeLease(lease, options),
    health: () => store.health(),
    close: () => store.close(),
    ...over,
  };
}

/** Everything that is read of the store, by answers and by the watch, as `see` shows it. */
export function rewriteReads(
  store: ClusterStore,
  see: <T extends StoreRead>(read: T) => T,
  rewrite: (txn: Txn) => Txn = (txn) => txn,
): ClusterStore {
  return override(store, {
    txn: async (txn, options) => {
      const answer = await store.txn(rewrite(txn), options);
      return answer.kind === 'answered' ? { ...answer, reads: answer.reads.map(see) } : answer;
    },
    watch: async function* (prefix, signal): AsyncIterable<WatchEvent> {
      for await (const event of store.watch(prefix, signal)) {
        if (event.kind === 'interrupted') yield event;
        else if (event.kind === 'snapshot')
          yield {
            ...event,
            entries: event.entries.map((entry) => see(entry)) as typeof event.entries,
          };
        else yield { ...event, changes: event.changes.map((change) => see(change)) };
      }
    },
  });
}

/** Changes the record of some keys as it is read. */
export function seeRecords(
  matches: (key: string) => boolean,
  change: (record: Json) => Json,
): <T extends StoreRead>(read: T) => T {
  return (read) => {
    if (read.value === null || !matches(read.key)) return read;
    return { ...read, value: JSON.stringify(change(JSON.parse(read.value) as Json)) };
  };
}

/** Changes the records that a director puts. */
export function putRecords(
  txn: Txn,
  matches: (key: string) => boolean,
  change: (record: Json) => Json,
): Txn {
  const put = (operation: StoreOperation): StoreOperation =>
    operation.op === 'put' && matches(operation.key)
      ? { ...operation, value: JSON.stringify(change(JSON.parse(operation.value) as Json)) }
      : operation;
  return { ...txn, success: txn.success.map(put) };
}

export const withoutCompares = (txn: Txn, test: (compare: Compare) => boolean): Txn => ({
  ...txn,
  compares: txn.compares.filter((compare) => !test(compare)),
});

/** A fence that is told something else than the agent says. */
export function rewriteFence(fence: Fence, change: (change: FenceChange) => FenceChange): Fence {
  return {
    kind: fence.kind,
    observe: () => fence.observe(),
    isAsLeft: () => fence.isAsLeft(),
    lifetimes: () => fence.lifetimes(),
    install: (devices) => fence.install(devices),
    permit: (round, timeoutMs) => fence.permit(round, timeoutMs),
    commit: (told) => fence.commit(change(told)),
    uninstall: () => fence.uninstall(),
    close: () => fence.close(),
  };
}

export const NOTHING = { add: [], remove: [] };

/** How one director's link to its peers is told, and hears, something else. */
export type LinkRewrite = {
  /** What is sent instead; null: nothing. */
  readonly send?: (message: PeerMessage, to: DirectorId) => PeerMessage | null;
  /** What is heard instead. */
  readonly hear?: (delivery: PeerDelivery) => readonly PeerDelivery[];
};

export function rewriteLink(link: PeerLink, { send, hear }: LinkRewrite): PeerLink {
  return {
    send: (to, message) => {
      const instead = send === undefined ? message : send(message, to.director);
      if (instead !== null) link.send(to, instead);
    },
    receive: async function* (signal): AsyncIterable<PeerDelivery> {
      for await (const delivery of link.receive(signal)) yield* hear?.(delivery) ?? [delivery];
    },
    counters: () => link.counters(),
    close: () => link.close(),
  };
}

/** Where a director of the simulation is reached. */
export const targetOf = (director: DirectorId): Parameters<PeerLink['send']>[0] => ({
  director,
  address: addressOf(10 + Number(director.slice(1))),
});
