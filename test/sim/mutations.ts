/**
 * Rules of design 4, each left out by a wrapper around a port: the checkers must notice (4.16). The
 * agents' code is the same in all of them.
 */
import { type DirectorId, type Revision, revision } from '../../src/model/ids.ts';
import type { Announcer } from '../../src/ports/announcer.ts';
import type { Clock } from '../../src/ports/clock.ts';
import type {
  ClusterStore,
  StoreChange,
  StoreOperation,
  StoreRead,
  WatchEvent,
} from '../../src/ports/cluster-store.ts';
import type { Fence } from '../../src/ports/fence.ts';
import type { GatewayPing } from '../../src/ports/gateway.ts';
import type { Neighbours } from '../../src/ports/neighbours.ts';
import type { PeerLink } from '../../src/ports/peer-link.ts';
import { KERNEL_MUTATIONS, type KernelPorts } from './kernel-mutations.ts';
import { PROMISE_MUTATIONS } from './promise-mutations.ts';
import { SEGMENT_MUTATIONS } from './segment-mutations.ts';
import {
  isOf,
  isOwnRound,
  type Json,
  kindOf,
  NOTHING,
  override,
  putRecords,
  rewriteFence,
  rewriteReads,
  rewriteTxn,
  seeRecords,
  withoutCompares,
} from './rewriting.ts';
import { keys, timingOf } from './spec.ts';
import type { World, WorldOptions } from './world.ts';

export type Mutation = {
  readonly name: string;
  /** What the world must be like for the rule to count. */
  readonly overrides?: Partial<WorldOptions>;
  /** Names of the faults that are drawn; left out: all. */
  readonly faults?: readonly string[];
  readonly store?: (
    store: ClusterStore,
    about: { readonly me: string; readonly clock: Clock },
  ) => ClusterStore;
  /** Ports of one life of one director, changed together. */
  readonly life?: (about: LifeAbout) => LifeWrap;
  readonly fence?: (fence: Fence, clock: Clock) => Fence;
  /** Both parts of the kernel of one life. */
  readonly kernel?: (ports: KernelPorts, clock: Clock) => KernelPorts;
  readonly onSpec?: (world: World) => void;
  /** Kernels keep addresses for ever. */
  readonly kernelKeeps?: boolean;
};

export type LifeAbout = {
  readonly me: DirectorId;
  readonly clock: Clock;
  readonly others: readonly DirectorId[];
  /** Directors that the owner records in the store name now. */
  readonly holdersOf: () => ReadonlySet<string>;
  /** Director that the owner record of the group in the store names now. */
  readonly ownerOf: (group: string) => string | null;
};
export type LifeWrap = {
  readonly store?: (store: ClusterStore) => ClusterStore;
  readonly link?: (link: PeerLink) => PeerLink;
  readonly neighbours?: (neighbours: Neighbours) => Neighbours;
  readonly gateway?: (gateway: GatewayAsked) => GatewayAsked;
  readonly announcer?: (announcer: Announcer) => Announcer;
};

export type GatewayAsked = Pick<GatewayPing, 'ask'>;

/** The shown record of a key that is not there, at a revision that stands for its absence. */
function seeAbsence(
  matches: (key: string) => boolean,
  record: (key: string) => Json,
): Pick<Mutation, 'store'> {
  return {
    store: (store) => {
      const shown = new Map<string, Revision>();
      let last = 1;
      const see = <T extends StoreRead>(read: T): T => {
        last = Math.max(last, read.modRevision);
        if (read.value !== null || !matches(read.key)) {
          shown.delete(read.key);
          return read;
        }
        const at = shown.get(read.key) ?? revision(last);
        shown.set(read.key, at);
        return { ...read, value: JSON.stringify(record(read.key)), modRevision: at };
      };
      return rewriteReads(store, see, (txn) => ({
        ...txn,
        compares: txn.compares.map((compare) =>
          shown.get(compare.key) === compare.modRevision
            ? { ...compare, modRevision: revision(0) }
            : compare,
        ),
      }));
    },
  };
}

/** A new process of the same kernel goes on, but the record stays the former one's. */
function adoptSilently(store: ClusterStore, me: string): ClusterStore {
  /** Revision that this process believes its session record to have → the one it has. */
  const actual = new Map<number, Revision>();
  const isMine = (key: string): boolean => isOf(key, 'session', me);
  return override(store, {
    txn: async (txn, options) => {
      const put = txn.success.find((one) => one.op === 'put' && isMine(one.key));
      const record = put?.op === 'put' ? (JSON.parse(put.value) as Json) : null;
      const isAdoption = record !== null && record['state'] === 'open' && record['id'] !== 0;
      const compares = txn.compares.map((one) =>
        isMine(one.key)
          ? { ...one, modRevision: actual.get(one.modRevision) ?? one.modRevision }
          : one,
      );
      const success = isAdoption
        ? txn.success.map(
            (one): StoreOperation =>
              one === put
                ? { op: 'put', key: `${one.key}-kept`, value: put?.op === 'put' ? put.value : '' }
                : one,
          )
        : txn.success;
      const answer = await store.txn({ ...txn, compares, success }, options);
      const guard = compares.find((one) => isMine(one.key));
      if (isAdoption && answer.kind === 'answered' && answer.succeeded && guard !== undefined)
        actual.set(answer.revision, guard.modRevision);
      return answer;
    },
  });
}

/** Every report tells of the newest spec, at the moment when that is seen. */
async function* flatter(watch: AsyncIterable<WatchEvent>): AsyncIterable<WatchEvent> {
  const reports = new Map<string, StoreChange>();
  let newest: number = 0;
  const see = <T extends StoreChange>(change: T): T => {
    if (kindOf(change.key) === 'spec') newest = change.modRevision;
    if (kindOf(change.key) !== 'report') return change;
    reports.set(change.key, change);
    return told(change);
  };
  const told = <T extends StoreChange>(change: T): T =>
    seeRecords(
      () => true,
      (record) => ({ ...record, specRevision: newest }),
    )(change);
  for await (const event of watch) {
    if (event.kind === 'interrupted') yield event;
    else if (event.kind === 'snapshot') {
      const entries = event.entries.map(see);
      yield { ...event, entries };
    } else {
      const changes = event.changes.map(see);
      const isMove = changes.some(({ key }) => kindOf(key) === 'spec');
      yield {
        ...event,
        changes: isMove ? [...changes, ...[...reports.values()].map(told)] : changes,
      };
    }
  }
}

const CHAOS_OF_HANDOVER = [
  'switchover',
  'struckSwitchover',
  'drain',
  'strike',
  'loseWords',
  'cutPeers',
];

export const MUTATIONS: readonly Mutation[] = [
  {
    name: 'kill-without-wait',
    store: (store, { me }) =>
      rewriteReads(
        store,
        seeRecords(
          (key) => kindOf(key) === 'scope' && !isOf(key, 'scope', me),
          (record) => ({ ...record, holdMs: 1, slackMs: 0, driftMargin: 0 }),
        ),
      ),
  },
  {
    name: 'challenge-not-heeded',
    store: (store, { me }) =>
      rewriteTxn(store, (txn) =>
        isOwnRound(txn, me)
          ? { ...txn, success: txn.success.map((one) => ({ ...one, key: `${one.key}-kept` })) }
          : txn,
      ),
  },
  {
    name: 'round-unguarded',
    store: (store, { me }) =>
      rewriteTxn(store, (txn) => (isOwnRound(txn, me) ? { ...txn, compares: [] } : txn)),
  },
  {
    name: 'round-without-owners',
    overrides: { profile: 'default', hasFence: true },
    faults: ['tamperOwner'],
    store: (store, { me }) =>
      rewriteTxn(store, (txn) =>
        isOwnRound(txn, me) ? withoutCompares(txn, ({ key }) => kindOf(key) === 'owner') : txn,
      ),
  },
  {
    name: 'no-permit',
    overrides: { hasFence: true },
    faults: ['stallAtCommit', 'strike', 'switchover'],
    fence: (fence) => rewriteFence(fence, (change) => ({ ...change, permit: null })),
  },
  {
    name: 'gate-never-expires',
    overrides: { hasFence: true },
    kernelKeeps: true,
    fence: (fence) =>
      rewriteFence(fence, (change) =>
        change.alive === null ? change : { ...change, alive: { ...change.alive, timeoutMs: 1e9 } },
      ),
  },
  { name: 'lifetime-never-ends', overrides: { hasFence: false }, kernelKeeps: true },
  {
    name: 'doubt-taken-as-success',
    overrides: { hasFence: false, profile: 'relaxed' },
    faults: ['cutFromStore', 'cutPeers'],
    store: (store, { me }) =>
      rewriteTxn(
        store,
        (txn) => txn,
        (answer, txn) =>
          answer.kind === 'ambiguous' && isOwnRound(txn, me)
            ? {
                kind: 'answered',
                succeeded: true,
                revision: revision(1),
                reads: [],
                sentAt: answer.receivedAt,
                receivedAt: answer.receivedAt,
              }
            : answer,
      ),
  },
  {
    name: 'counted-from-the-answer',
    overrides: { hasFence: false, profile: 'relaxed' },
    faults: ['crash', 'freeze', 'switchover'],
    store: (store, { clock, me }) =>
      override(store, {
        txn: async (txn, options) => {
          const answer = await store.txn(txn, options);
          if (!isOwnRound(txn, me)) return answer;
          await clock.sleep(2500);
          return { ...answer, sentAt: clock.now(), receivedAt: clock.now() };
        },
      }),
  },
  {
    name: 'missing-owner-is-free',
    faults: ['tamperOwner', 'freeze', 'slowStore', 'cutFromStore'],
    ...seeAbsence(
      (key) => kindOf(key) === 'owner',
      () => ({
        v: 1,
        director: null,
        session: 0,
        pending: [],
        vacant: false,
        reason: 'released',
      }),
    ),
  },
  {
    name: 'missing-session-is-closed',
    faults: ['tamperSession', 'freeze', 'slowStore', 'cutFromStore'],
    ...seeAbsence(
      (key) => kindOf(key) === 'session',
      () => ({
        v: 1,
        state: 'closed',
        boot: '',
        namespace: '',
        machine: '',
        nonce: '',
        address: '',
        id: 0,
      }),
    ),
  },
  {
    name: 'session-opened-unguarded',
    overrides: { profile: 'default', hasFence: true },
    faults: ['doubtfulStart'],
    store: (store, { me }) =>
      rewriteTxn(store, (txn) =>
        txn.success.some((one) => one.op === 'put' && isOf(one.key, 'session', me))
          ? { ...txn, compares: [] }
          : txn,
      ),
  },
  {
    name: 'kill-without-challenge',
    overrides: { profile: 'default', hasFence: true },
    faults: ['slowStore', 'cutPeers', 'lossyPeers'],
    store: (store, { me }) =>
      rewriteTxn(store, (txn) =>
        txn.success.some(
          (one) =>
            one.op === 'put' && kindOf(one.key) === 'session' && !isOf(one.key, 'session', me),
        )
          ? withoutCompares(txn, ({ key }) => kindOf(key) === 'challenge')
          : txn,
      ),
  },
  {
    name: 'opens-without-waiting-for-pending',
    faults: CHAOS_OF_HANDOVER,
    store: (store, { me }) =>
      rewriteReads(store, (read) =>
        seeRecords(
          (key) => kindOf(key) === 'owner',
          (record) => (record['director'] === me ? { ...record, pending: [] } : record),
        )(read),
      ),
  },
  {
    name: 'former-holder-does-not-mute',
    overrides: { hasFence: true },
    faults: CHAOS_OF_HANDOVER,
    fence: (fence) => rewriteFence(fence, (change) => ({ ...change, muted: NOTHING })),
  },
  {
    name: 'muted-told-before-the-kernel-did',
    overrides: { hasFence: true },
    faults: CHAOS_OF_HANDOVER,
    fence: (fence, clock) =>
      rewriteFence(fence, (change) => {
        if (change.muted.add.length > 0)
          clock.schedule(50, () => {
            void fence.commit({
              permit: null,
              alive: null,
              managed: NOTHING,
              enabled: NOTHING,
              muted: { add: change.muted.add, remove: [] },
              served: NOTHING,
              directors: NOTHING,
            });
          });
        return { ...change, muted: { add: [], remove: change.muted.remove } };
      }),
  },
  {
    name: 'pending-lost-at-a-claim',
    overrides: { hasFence: true },
    faults: ['vainSwitchover', 'loseWords', 'switchover'],
    store: (store, { me }) =>
      rewriteTxn(store, (txn) =>
        putRecords(
          txn,
          (key) => kindOf(key) === 'owner',
          (record) => ({
            ...record,
            pending: (record['pending'] as Json[]).filter((one) => one['director'] === me),
          }),
        ),
      ),
  },
  {
    name: 'adopted-without-superseding',
    faults: ['interruptedEnd'],
    store: (store, { me }) => adoptSilently(store, me),
  },
  {
    name: 'scope-shrunk-before-the-kernel',
    overrides: { profile: 'default', hasFence: true },
    faults: ['changeHold', 'freeze', 'crash', 'cutFromStore'],
    onSpec: (world) => {
      const { holdMs } = timingOf(world.document);
      for (const director of world.directors) {
        const key = keys.scope(director.id);
        const { value } = world.cluster.read(key);
        const record = value === null ? null : (JSON.parse(value) as Json);
        if (record !== null && Number(record['holdMs']) > holdMs)
          world.cluster.write(key, JSON.stringify({ ...record, holdMs }));
      }
    },
  },
  {
    name: 'moved-without-the-barrier',
    faults: ['moveVip', 'slowStore', 'freeze', 'strike'],
    store: (store) =>
      override(store, { watch: (prefix, signal) => flatter(store.watch(prefix, signal)) }),
  },
  {
    name: 'hold-time-used-before-it-is-written',
    overrides: { profile: 'default', hasFence: true },
    faults: ['changeHold', 'freeze', 'crash', 'cutFromStore'],
    store: (store, { me }) => {
      let told = Number.POSITIVE_INFINITY;
      return rewriteTxn(store, (txn) =>
        putRecords(
          txn,
          (key) => isOf(key, 'scope', me),
          (record) => {
            told = Math.min(told, Number(record['holdMs']));
            return { ...record, holdMs: told };
          },
        ),
      );
    },
  },
  ...KERNEL_MUTATIONS,
  ...PROMISE_MUTATIONS,
  ...SEGMENT_MUTATIONS,
];

export function mutationNamed(name: string): Mutation {
  const found = MUTATIONS.find((one) => one.name === name);
  if (found === undefined) throw new Error(`no mutation ${name}`);
  return found;
}
