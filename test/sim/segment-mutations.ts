/** Rules of the segment (design 4.10), each left out by a wrapper around a port. */
import type { PeerMessage } from '../../src/model/peer.ts';
import type { Announcer } from '../../src/ports/announcer.ts';
import type { ForeignVoice, Neighbours, ProbeOutcome } from '../../src/ports/neighbours.ts';
import type { PeerDelivery } from '../../src/ports/peer-link.ts';
import type { GatewayAsked, Mutation } from './mutations.ts';
import { Injected, promiseTo } from './promise-mutations.ts';
import { isOf, kindOf, rewriteLink, rewriteReads, seeRecords, targetOf } from './rewriting.ts';

type Life = NonNullable<Mutation['life']>;
type ProbeOptions = Parameters<Neighbours['probe']>[1];

const GATEWAY = { isolation: 'gateway', profile: 'default', hasFence: true } as const;
const FIVE = { ...GATEWAY, directors: 5 } as const;
const THREE = { ...GATEWAY, directors: 3 } as const;

/** More probes than before any other opening: the only evidence of a candidate. */
const isLong = ({ count }: ProbeOptions): boolean => count > 2;

const NOBODY: ProbeOutcome = { answered: new Set(), unasked: new Set() };

/** `long`: those of a candidate, else those before an opening. Nobody answers, as it seems; `isSent`: they were asked. */
const probesUnheard =
  (which: 'long' | 'short' | 'all', { isSent }: { readonly isSent: boolean }): Life =>
  ({ clock }) => ({
    neighbours: (neighbours) =>
      rewriteNeighbours(neighbours, {
        probe: async (vips, options) => {
          if (which !== 'all' && isLong(options) !== (which === 'long'))
            return neighbours.probe(vips, options);
          const { count, intervalMs, signal } = options;
          if (isSent) void neighbours.probe(vips, options);
          await clock.sleep(count * intervalMs, signal);
          return NOBODY;
        },
      }),
  });

function rewriteNeighbours(neighbours: Neighbours, over: Partial<Neighbours>): Neighbours {
  return {
    listen: (vips, withinMs) => neighbours.listen(vips, withinMs),
    voices: (signal) => neighbours.voices(signal),
    verify: (vip, gateway, timeoutMs) => neighbours.verify(vip, gateway, timeoutMs),
    probe: (vips, options) => neighbours.probe(vips, options),
    close: () => neighbours.close(),
    ...over,
  };
}

/** All are taken, and nobody is told of them. */
const unheard = (voices: AsyncIterable<ForeignVoice>): AsyncIterable<ForeignVoice> => ({
  [Symbol.asyncIterator]: () => {
    const all = voices[Symbol.asyncIterator]();
    return {
      next: async () => {
        for (;;) {
          const one = await all.next();
          if (one.done === true) return one;
        }
      },
    };
  },
});

const alwaysThere = (): GatewayAsked => ({
  ask: async ({ targets }) => ({ isReachable: true, answered: targets, unanswered: [] }),
});

/** All peers seem to promise what a candidate asks for, at once. */
const withoutBallots: Life = ({ others, clock }) => ({
  link: (link) => {
    let deliver: (delivery: PeerDelivery) => void = () => {};
    const wrapped = rewriteLink(link, {
      send: (message, to) => {
        if (message.kind !== 'hold' || message.basis !== 'segment') return message;
        if (others.includes(to))
          deliver({ from: to, message: promiseTo(message), at: clock.now() });
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
});

/** Whoever asks for itself is promised everything, and nothing is known of it a moment later. */
const unboundBallots: Life = () => ({
  link: (link) =>
    rewriteLink(link, {
      hear: (delivery) => {
        const { message, from } = delivery;
        if (message.kind !== 'hold' || message.basis !== 'segment') return [delivery];
        link.send(targetOf(from), promiseTo(message));
        return [];
      },
    }),
});

/** Messages of one kind are not heard. */
const deafTo =
  (kind: PeerMessage['kind']): Life =>
  () => ({
    link: (link) =>
      rewriteLink(link, {
        hear: (delivery) => (delivery.message.kind === kind ? [] : [delivery]),
      }),
  });

/** Nobody is heard to speak for what another one owns by the record. */
const standInUnheard: Life = ({ ownerOf }) => ({
  link: (link) =>
    rewriteLink(link, {
      hear: (delivery) => {
        const { message, from } = delivery;
        if (message.kind !== 'heartbeat') return [delivery];
        const armed = message.armed.filter(({ group }) => ownerOf(group) === from);
        return [{ ...delivery, message: { ...message, armed } }];
      },
    }),
});

/** What speaks is announced when it opens, and by the refresh. */
const withoutRepeats = (announcer: Announcer): Announcer => ({
  announce: (vips) => announcer.announce(vips),
  repeat: () => {},
  limit: (vips, until) => announcer.limit(vips, until),
  stop: (vips) => announcer.stop(vips),
  counters: () => announcer.counters(),
  close: () => announcer.close(),
});

/** Two wrappers of one life. */
const both =
  (one: Life, other: Life): Life =>
  (about) => ({ ...one(about), ...other(about) });

const TAKEOVERS = ['endWithoutStore', 'standInEnds', 'flappingStore', 'brokenSwitch', 'filtered'];
const UNHEARD = ['overtaken', 'filtered'];
const RETURNS = ['endWithoutStore', 'flappingStore', 'filtered', 'overtaken', 'cutPair'];

export const SEGMENT_MUTATIONS: readonly Mutation[] = [
  {
    name: 'stands-in-without-probes',
    overrides: THREE,
    faults: TAKEOVERS,
    life: probesUnheard('long', { isSent: false }),
  },
  {
    name: 'answers-to-probes-ignored',
    overrides: THREE,
    faults: TAKEOVERS,
    life: probesUnheard('long', { isSent: true }),
  },
  {
    name: 'stands-in-without-ballots',
    overrides: FIVE,
    faults: ['rivals'],
    life: withoutBallots,
  },
  {
    name: 'ballots-do-not-bind',
    overrides: FIVE,
    faults: ['rivals'],
    life: unboundBallots,
  },
  {
    name: 'stands-in-at-once',
    overrides: THREE,
    faults: [...TAKEOVERS, 'brokenSegment'],
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
    name: 'gateway-not-asked',
    overrides: GATEWAY,
    faults: [...TAKEOVERS, 'cableOut', 'lostGateway'],
    life: () => ({ gateway: alwaysThere }),
  },
  {
    name: 'opens-after-a-lapse-without-probes',
    overrides: GATEWAY,
    faults: UNHEARD,
    life: probesUnheard('short', { isSent: false }),
  },
  { name: 'yield-ignored', overrides: GATEWAY, faults: UNHEARD, life: deafTo('yield') },
  {
    name: 'contest-ignored',
    overrides: GATEWAY,
    faults: ['metAgain'],
    life: () => ({
      neighbours: (neighbours) =>
        rewriteNeighbours(neighbours, {
          voices: (signal) => unheard(neighbours.voices(signal)),
        }),
    }),
  },
  {
    name: 'announced-but-once',
    overrides: GATEWAY,
    faults: ['metAgain'],
    life: () => ({ announcer: withoutRepeats }),
  },
  {
    name: 'owner-opens-beside-its-stand-in',
    overrides: GATEWAY,
    faults: RETURNS,
    life: both(standInUnheard, probesUnheard('all', { isSent: false })),
  },
  {
    name: 'stand-in-overtaken-by-another',
    overrides: { ...THREE, groups: 1, preempt: 'never' },
    faults: ['takeoverInPeace'],
    life: standInUnheard,
  },
];
