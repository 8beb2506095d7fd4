/** The store away from all, or from some: what promises, relays and scopes are for (design 4.8, 4.9). */
import type { PeerMessage } from '../../src/model/peer.ts';
import { aHolder, calmStore, type Fault, pick, type Stage } from './faults.ts';
import type { Machine } from './machine.ts';
import { keys, timingOf } from './spec.ts';

const MODES = ['lose', 'queue', 'refuse'] as const;

/** As long as anything takes to heal (chaos.ts). */
const RECORDED_WITHIN_MS = 110_000;
/** Seconds at the slowest pace, each drawn once in a while: an election, a restart, a long failure. */
const OUTAGES = [
  [0.5, 2],
  [5, 12],
  [25, 60],
] as const;

const storeAway: Fault = (stage) => {
  const [least, most] = pick(stage, OUTAGES);
  const mode = pick(stage, MODES);
  stage.world.note(`etcd is away (${mode})`);
  stage.world.cluster.halt(mode);
  stage.later(stage.ms(least, most), () => stage.world.cluster.resume());
};

/** Others have the store and see the holder: they relay. */
const holderCut: Fault = (stage) => {
  const holder = aHolder(stage);
  const way = pick(stage, ['both', 'requests', 'answers'] as const);
  stage.world.note(`${holder.name}, a holder, is cut from etcd (${way})`);
  holder.store?.cut(way);
  stage.later(stage.ms(0.5, 20), () => holder.store?.heal());
};

/** One director alone has the store. */
const onlyOneHasStore: Fault = (stage) => {
  const one = stage.any();
  stage.world.note(`only ${one.name} has etcd`);
  const others = stage.world.directors.filter((other) => other !== one);
  for (const { store } of others) store?.cut();
  stage.later(stage.ms(0.5, 20), () => {
    for (const { store } of others) store?.heal();
  });
};

const WORDS: readonly PeerMessage['kind'][] = ['hold', 'promise', 'refusal', 'relayed', 'consent'];

const loseRoundWords: Fault = (stage) => {
  const kind = pick(stage, WORDS);
  stage.world.note(`${kind} is lost`);
  stage.world.lossOf.set(kind, stage.draw.chance(0.5) ? 1 : 0.5);
  stage.later(stage.ms(0.5, 15), () => stage.world.lossOf.delete(kind));
};

/** Whoever holds seems dead, and gives its peers every other sign of life. */
const loseHeartbeats: Fault = (stage) => {
  stage.world.note('heartbeats are lost');
  stage.world.lossOf.set('heartbeat', 1);
  stage.later(stage.ms(3, 20), () => stage.world.lossOf.delete('heartbeat'));
};

/** Words come later than any of them counts. */
const latePeers: Fault = (stage) => {
  stage.world.note('peer messages are very late');
  stage.world.peers.setFaults({ delayMaxMs: stage.ms(1, 8) });
  stage.later(stage.ms(1, 15), () => stage.world.peers.setFaults({ delayMaxMs: 0.5 }));
};

/** Heals after a while, or when the answer is called. */
function cutBothWays(stage: Stage, a: Machine, others: readonly Machine[], ms: number): () => void {
  const { peers } = stage.world;
  const ways = others
    .filter((one) => one !== a)
    .flatMap((one) => [[a.id, one.id] as const, [one.id, a.id] as const]);
  for (const [from, to] of ways) peers.cut(from, to);
  const heal = (): void => {
    for (const [from, to] of ways) peers.heal(from, to);
  };
  stage.later(ms, heal);
  return heal;
}

/** A holder that nobody hears comes back to its peers and not to etcd, when they have taken its groups, or are about to. */
const lonelyHolder: Fault = (stage) => {
  const { world, draw } = stage;
  const holder = aHolder(stage);
  world.note(`${holder.name} is alone`);
  holder.store?.cut();
  const isLate = draw.chance(0.6);
  const lateMs = stage.ms(1, 12);
  for (const { store } of world.directors)
    if (store !== null && store !== holder.store && isLate)
      Object.assign(store.faults, { lateCommit: 0.6, lateMs: [lateMs / 4, lateMs] });
  cutBothWays(stage, holder, world.directors, stage.ms(3, 11));
  stage.later(stage.ms(12, 25), () => {
    for (const { store } of world.directors) calmStore(store);
  });
};

/**
 * A kill is on its way and commits late: its victim comes back to its peers meanwhile, and asks; the
 * killer is perhaps another life by then, which knows nothing of it.
 */
const killedInDoubt: Fault = (stage) => {
  const { world, draw } = stage;
  const holder = aHolder(stage);
  const killer = stage.any();
  if (killer === holder) return;
  const { holdMs, slackMs, driftMargin } = timingOf(world.document);
  const waitMs = 1.1 * (holdMs * (1 + driftMargin) + slackMs);
  const lateMs = stage.ms(2, 10);
  const isReborn = draw.chance(0.5);
  world.note(`${killer.name} will kill ${holder.name} in doubt`);
  holder.store?.cut();
  const heal = cutBothWays(stage, holder, world.directors, stage.ms(15, 20));
  const onItsWay = (): void => {
    world.note(`the kill of ${holder.name} may be on its way`);
    calmStore(killer.store);
    // Heard again, it would not be killed any more.
    world.lossOf.set('heartbeat', 1);
    stage.later(lateMs, () => world.lossOf.delete('heartbeat'));
    heal();
    if (!isReborn) return;
    killer.crash();
    killer.start();
    // It has seen the records, and its session is not open yet.
    stage.later(draw.between(1, 1.5), () => killer.store?.cut());
    stage.later(1.3 * lateMs, () => killer.store?.heal());
  };
  world.whenWritten(keys.challenge(holder.id), `"by":"${killer.director}"`, () => {
    stage.soon(2, () => {
      if (killer.store === null) return;
      Object.assign(killer.store.faults, { lateCommit: 1, lateMs: [lateMs / 2, lateMs] });
      stage.later(waitMs + draw.between(20, 250), onItsWay);
    });
  });
  stage.later(stage.ms(20, 30), () => {
    world.forgetAwaited();
    killer.start();
    calmStore(killer.store);
    holder.store?.heal();
  });
};

/**
 * A director is new to the others, and they lose etcd when it is just there: `written` tells whether they
 * have taken it into their scopes.
 */
const newcomer: Fault = (stage) => {
  const { world, draw } = stage;
  const one = stage.any();
  const holder = aHolder(stage);
  if (one === holder) return;
  const isNamed = draw.chance(0.5);
  const others = world.directors.filter((other) => other !== one);
  const cut = (): void => {
    world.note(`only the newcomer ${one.name} has etcd`);
    for (const other of others) {
      other.store?.cut();
      world.peers.cut(other.id, one.id);
    }
  };
  world.note(`${one.name} is new to ${holder.name}`);
  one.reboot();
  const key = isNamed ? keys.scope(holder.id) : keys.session(one.id);
  const words = isNamed ? `"${one.director}"` : '"open"';
  stage.later(stage.ms(6, 12), () => {
    world.whenWritten(key, words, cut);
    one.start();
  });
  stage.later(stage.ms(20, 40), () => {
    world.forgetAwaited();
    one.start();
    for (const other of others) {
      calmStore(other.store);
      world.peers.heal(other.id, one.id);
    }
  });
};

/** The spec forgets the last director for a while. */
const changeDirectors: Fault = (stage) => {
  const { world } = stage;
  const all = world.options.directors;
  if (all < 2) return;
  world.note(`the spec names ${all - 1} directors`);
  world.applySpec({ directors: all - 1 });
  stage.later(stage.ms(1, 15), () => world.applySpec({ directors: all }));
};

/**
 * Nothing else is wrong, all living directors see each other, and all scopes name them and nobody else:
 * then the store may be away for as long as it likes, and nothing moves (I5), nor falls silent.
 */
const outageInPeace: Fault = (stage) => {
  stage.inPeace(async () => {
    const { world, draw } = stage;
    const [least, most] = pick(stage, OUTAGES);
    const dead = draw.chance(0.4) && world.directors.length > 2 ? stage.any() : null;
    if (dead !== null) {
      dead.reboot();
      await world.clock.advance(stage.ms(25, 30));
      if (!(await world.clock.runUntil(() => world.isSettled(), stage.ms(25, 30)))) return;
      // Dead by record: with four times D that takes longer than anything else. Then the scopes follow.
      const isRecorded = (): boolean =>
        world.cluster.read(keys.session(dead.id)).value?.includes('"open"') !== true;
      if (!(await world.clock.runUntil(isRecorded, RECORDED_WITHIN_MS)))
        world.checkers.tell('takeover', `nobody has killed ${dead.name}, though it is dead`);
      await world.clock.advance(1000);
    }
    await world.keepsSpeaking(async () => {
      const mode = pick(stage, MODES);
      world.note(`etcd is away in peace (${mode})`);
      world.cluster.halt(mode);
      await world.clock.advance(stage.ms(least, most));
      world.cluster.resume();
      world.note('etcd is back in peace');
      await world.clock.advance(stage.ms(3, 12));
    });
    dead?.start();
  });
};

export const OUTAGE_FAULTS: Readonly<Record<string, Fault>> = {
  storeAway,
  holderCut,
  onlyOneHasStore,
  loseRoundWords,
  loseHeartbeats,
  latePeers,
  lonelyHolder,
  killedInDoubt,
  newcomer,
  changeDirectors,
  outageInPeace,
};
