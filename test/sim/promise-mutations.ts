/** Rules of promises, relays and scopes (design 4.8, 4.9), each left out by a wrapper around a port. */
import { type DirectorId, revision, type SessionId, sessionIdOf } from '../../src/model/ids.ts';
import type { PeerMessage, RefusalReason } from '../../src/model/peer.ts';
import type { ClusterStore, Txn } from '../../src/ports/cluster-store.ts';
import type { PeerDelivery } from '../../src/ports/peer-link.ts';
import type { Mutation } from './mutations.ts';
import {
  isOf,
  isOwnRound,
  isRound,
  type Json,
  kindOf,
  rewriteLink,
  rewriteReads,
  rewriteTxn,
  seeRecords,
  targetOf,
  withoutCompares,
} from './rewriting.ts';

type Hold = PeerMessage & { readonly kind: 'hold' };
type Promised = PeerMessage & { readonly kind: 'promise' };

/** A directors' life as mutations change it. */
type Life = NonNullable<Mutation['life']>;

const TWO = { directors: 2, profile: 'default', hasFence: true } as const;
const THREE = { directors: 3, profile: 'default', hasFence: true } as const;

/** By whoever goes by that name. */
const by = sessionIdOf(revision(Number.MAX_SAFE_INTEGER));

export const promiseTo = ({
  session,
  sessionRev,
  round,
  part,
}: Pick<Hold, 'session' | 'sessionRev' | 'round' | 'part'>): Promised => ({
  kind: 'promise',
  session,
  sessionRev,
  round,
  part,
  by,
});

/** Promises all the same; nothing in the director knows of it. */
const promiseInsteadOf =
  (reason: RefusalReason): Life =>
  () => ({
    link: (link) =>
      rewriteLink(link, {
        send: (message) => {
          if (message.kind !== 'refusal' || message.reason !== reason) return message;
          return promiseTo(message);
        },
      }),
  });

/** The last answer is given again without asking: what it promised ends long before. */
const promiseForgotten: Life = ({ clock }) => ({
  link: (link) => {
    const told = new Map<string, { readonly at: number; isPromise: boolean }>();
    const keyOf = (director: DirectorId, part: number): string => `${director} ${part}`;
    return rewriteLink(link, {
      send: (message, to) => {
        if (message.kind !== 'promise' && message.kind !== 'refusal') return message;
        const last = told.get(keyOf(to, message.part));
        if (last !== undefined) last.isPromise = message.kind === 'promise';
        return message;
      },
      hear: (delivery) => {
        const { from, message } = delivery;
        if (message.kind !== 'hold') return [delivery];
        const key = keyOf(from, message.part);
        const last = told.get(key);
        if (last?.isPromise === true && clock.now() < last.at + 6 * message.forMs) {
          link.send(targetOf(from), promiseTo(message));
          return [];
        }
        told.set(key, { at: clock.now(), isPromise: false });
        return [delivery];
      },
    });
  },
});

/** A promise of an earlier round counts for the next ones too, from the moment at which they begin. */
const promiseOfEarlierRound: Life = ({ clock, others }) => ({
  link: (link) => {
    const last = new Map<string, { readonly at: number; readonly message: Promised }>();
    let deliver: ((delivery: PeerDelivery) => void) | null = null;
    const remind = (to: DirectorId, message: Hold): void => {
      const known = last.get(`${to} ${message.part}`);
      if (known === undefined || clock.now() > known.at + 2.5 * message.forMs) return;
      const again = promiseTo(message);
      deliver?.({ from: to, message: again, at: clock.now() });
    };
    const wrapped = rewriteLink(link, {
      send: (message, to) => {
        if (message.kind !== 'hold' || !others.includes(to)) return message;
        clock.schedule(0, () => remind(to, message));
        return message;
      },
      hear: (delivery) => {
        const { from, message } = delivery;
        if (message.kind === 'promise')
          last.set(`${from} ${message.part}`, { at: clock.now(), message });
        return [delivery];
      },
    });
    return {
      ...wrapped,
      receive: (signal) => {
        const injected = new Injected(wrapped.receive(signal));
        deliver = (delivery) => injected.push(delivery);
        return injected.all();
      },
    };
  },
});

/** Deliveries of a link, and others among them. */
export class Injected {
  readonly #source: AsyncIterable<PeerDelivery>;
  #waiting: PeerDelivery[] = [];
  #wake: () => void = () => {};

  constructor(source: AsyncIterable<PeerDelivery>) {
    this.#source = source;
  }

  push(delivery: PeerDelivery): void {
    this.#waiting.push(delivery);
    this.#wake();
  }

  async *all(): AsyncIterable<PeerDelivery> {
    const source = this.#source[Symbol.asyncIterator]();
    let next = source.next();
    for (;;) {
      const pushed = new Promise<null>((resolve) => {
        this.#wake = () => resolve(null);
      });
      const waiting = this.#waiting;
      this.#waiting = [];
      yield* waiting;
      if (this.#waiting.length > 0) continue;
      const result = await Promise.race([next, pushed]);
      if (result === null) continue;
      if (result.done === true) return;
      next = source.next();
      yield result.value;
    }
  }
}

/** A promise counts for whoever goes by that name, as long as the director has heard of it by heartbeats alone. */
const promiseOfAnotherMachine: Life = () => ({
  link: (link) => {
    const newest = new Map<DirectorId, SessionId>();
    return rewriteLink(link, {
      hear: (delivery) => {
        const { from, message } = delivery;
        if (message.kind === 'heartbeat' || message.kind === 'hold')
          newest.set(from, latest(message.session, newest.get(from)));
        if (message.kind !== 'promise') return [delivery];
        return [{ ...delivery, message: { ...message, by: latest(message.by, newest.get(from)) } }];
      },
    });
  },
});

const latest = (one: SessionId, other: SessionId | undefined): SessionId =>
  other !== undefined && other > one ? other : one;

/** Peers that only a scope in doubt names are taken to have promised. */
const scopeInDoubtNotAsked: Life = ({ me }) => {
  let known: readonly string[] = [];
  const peersIn = (value: string): readonly string[] =>
    (JSON.parse(value) as { peers: readonly string[] }).peers;
  const see = (txn: Txn): string | null => {
    const put = txn.success.find((one) => one.op === 'put' && isOf(one.key, 'scope', me));
    return put?.op === 'put' ? put.value : null;
  };
  return {
    store: (store) =>
      rewriteTxn(
        store,
        (txn) => txn,
        (answer, txn) => {
          const value = see(txn);
          if (value !== null && answer.kind === 'answered' && answer.succeeded)
            known = peersIn(value);
          return answer;
        },
      ),
    link: (link) => {
      let deliver: (delivery: PeerDelivery) => void = () => {};
      const wrapped = rewriteLink(link, {
        send: (message, to) => {
          if (message.kind !== 'hold' || known.includes(to)) return message;
          deliver({ from: to, message: promiseTo(message), at: 0 as PeerDelivery['at'] });
          return null;
        },
      });
      return {
        ...wrapped,
        receive: (signal) => {
          const injected = new Injected(wrapped.receive(signal));
          deliver = (delivery) => injected.push(delivery);
          return injected.all();
        },
      };
    },
  };
};

/** Nobody is challenged but who owns a group: a dead director stays one that has to promise. */
const bystandersLeftAlone = (
  store: ClusterStore,
  holdersOf: () => ReadonlySet<string>,
): ClusterStore =>
  rewriteTxn(store, (txn) => {
    const put = txn.success.find((one) => one.op === 'put' && kindOf(one.key) === 'challenge');
    if (put === undefined) return txn;
    const isAgainstHolder = [...holdersOf()].some((one) => isOf(put.key, 'challenge', one));
    return isAgainstHolder ? txn : { ...txn, success: [] };
  });

export const PROMISE_MUTATIONS: readonly Mutation[] = [
  {
    name: 'one-promise-is-enough',
    overrides: THREE,
    life: ({ me, others }) => ({
      link: (link) =>
        rewriteLink(link, {
          hear: (delivery) =>
            delivery.message.kind === 'promise'
              ? others.filter((one) => one !== me).map((from) => ({ ...delivery, from }))
              : [delivery],
        }),
    }),
  },
  {
    name: 'promise-forgotten',
    overrides: { profile: 'default', hasFence: true },
    faults: ['holderCut', 'loseHeartbeats', 'loseRoundWords', 'newcomer'],
    life: promiseForgotten,
  },
  {
    name: 'promised-by-a-newborn',
    overrides: TWO,
    faults: ['killedInDoubt'],
    life: promiseInsteadOf('just-started'),
  },
  {
    name: 'promised-in-doubt',
    overrides: TWO,
    faults: ['killedInDoubt', 'lonelyHolder'],
    life: promiseInsteadOf('in-doubt'),
  },
  {
    name: 'promised-though-superseded',
    faults: ['lonelyHolder', 'holderCut', 'cutPeers', 'switchover'],
    life: promiseInsteadOf('superseded'),
  },
  {
    name: 'scope-in-doubt-not-asked',
    overrides: THREE,
    faults: ['newcomer'],
    life: scopeInDoubtNotAsked,
  },
  {
    name: 'accused-out-of-scope',
    overrides: THREE,
    faults: ['newcomer', 'restart', 'reboot'],
    store: (store, { me }) =>
      rewriteReads(
        store,
        seeRecords(
          (key) => kindOf(key) === 'scope' && !isOf(key, 'scope', me),
          (record) => ({
            ...record,
            peers: [...(record['peers'] as string[]), me] as Json[string],
          }),
        ),
      ),
  },
  {
    name: 'promise-counted-from-its-answer',
    overrides: { profile: 'default', hasFence: true },
    faults: ['holderCut', 'lonelyHolder', 'onlyOneHasStore', 'cutPeers'],
    life: promiseOfEarlierRound,
  },
  {
    name: 'promised-by-another-machine',
    life: promiseOfAnotherMachine,
  },
  {
    name: 'relayed-without-owners',
    overrides: THREE,
    faults: ['tamperOwner', 'holderCut', 'loseRoundWords'],
    store: (store, { me }) =>
      rewriteTxn(store, (txn) =>
        isRound(txn) && !isOwnRound(txn, me)
          ? withoutCompares(txn, ({ key }) => kindOf(key) === 'owner')
          : txn,
      ),
  },
  {
    name: 'bystanders-left-alone',
    overrides: THREE,
    faults: ['outageInPeace'],
    life: ({ holdersOf }) => ({ store: (store) => bystandersLeftAlone(store, holdersOf) }),
  },
];
