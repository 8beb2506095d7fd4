/** What can go wrong, and what operators do: each fault begins one and lets it end after a while. */
import { groupId } from '../../src/model/ids.ts';
import type { PeerMessage } from '../../src/model/peer.ts';
import { formatRecord } from '../../src/model/records.ts';
import type { FakeStore } from '../fakes/fake-store.ts';
import type { SeededRandom } from '../fakes/seeded-random.ts';
import { EDGES } from './life.ts';
import type { Machine } from './machine.ts';
import { keys, vipOf } from './spec.ts';
import type { World } from './world.ts';

/** What a fault may use; `ms` draws a time in the scale of the profile. */
export type Stage = {
  readonly world: World;
  readonly draw: SeededRandom;
  any(): Machine;
  anyGroup(): string;
  ms(lowS: number, highS: number): number;
  /** Does it in a moment, and not at all where peace comes first. */
  soon(ms: number, act: () => void): void;
  /** Undoes `undo` after a while, at peace at the latest. */
  later(ms: number, undo: () => void): void;
  /** Ends all faults, and when all is settled does this, and nothing else meanwhile. */
  inPeace(action: () => Promise<void>): void;
};

export type Fault = (stage: Stage) => void;

/** One of the list, drawn. */
export function pick<T>(stage: Stage, list: readonly T[]): T {
  const found = list[stage.draw.integer(0, list.length - 1)];
  if (found === undefined) throw new Error('nothing to pick from');
  return found;
}

/** A director that speaks for one of the groups. */
export function aHolder(stage: Stage): Machine {
  const [name] = stage.world.holdersOf(stage.anyGroup());
  return stage.world.directors.find((one) => one.name === name) ?? stage.any();
}

/** A connection without faults: half a millisecond each way. */
export function calmStore(store: FakeStore | null): void {
  if (store === null) return;
  store.heal();
  Object.assign(store.faults, {
    requestDelayMs: 0.5,
    answerDelayMs: 0.5,
    watchLagMs: 1,
    requestLoss: 0,
    answerLoss: 0,
    lateCommit: 0,
  });
}

const cutFromStore: Fault = (stage) => {
  const director = stage.any();
  const way = pick(stage, ['both', 'requests', 'answers'] as const);
  stage.world.note(`${director.name} is cut from etcd (${way})`);
  director.store?.cut(way);
  stage.later(stage.ms(0.1, 12), () => director.store?.heal());
};

const slowStore: Fault = (stage) => {
  const director = stage.any();
  const { store } = director;
  if (store === null) return;
  stage.world.note(`etcd is slow and lossy for ${director.name}`);
  Object.assign(store.faults, {
    requestDelayMs: [0, stage.ms(0, 1.5)],
    answerDelayMs: [0, stage.ms(0, 1)],
    watchLagMs: [0, stage.ms(0, 4)],
    requestLoss: stage.draw.between(0, 0.3),
    answerLoss: stage.draw.between(0, 0.3),
    lateCommit: stage.draw.between(0, 0.2),
    lateMs: [stage.ms(0.1, 0.1), stage.ms(1, 12)],
  });
  stage.later(stage.ms(1, 15), () => calmStore(director.store));
};

const electionOfEtcd: Fault = (stage) => {
  stage.world.note('etcd answers nobody');
  stage.world.cluster.halt(stage.draw.chance(0.5) ? 'lose' : 'queue');
  stage.later(stage.ms(0.2, 6), () => stage.world.cluster.resume());
};

const cutPeers: Fault = (stage) => {
  const [a, b] = [stage.any(), stage.any()];
  stage.world.note(`${a.name} cannot send to ${b.name}`);
  stage.world.peers.cut(a.id, b.id);
  stage.later(stage.ms(1, 20), () => stage.world.peers.heal(a.id, b.id));
};

const lossyPeers: Fault = (stage) => {
  stage.world.note('peer messages are lost, late and doubled');
  stage.world.peers.setFaults({
    loss: stage.draw.between(0, 0.8),
    duplication: stage.draw.between(0, 0.3),
    delayMaxMs: stage.ms(0, 2),
  });
  stage.later(stage.ms(1, 15), () =>
    stage.world.peers.setFaults({ loss: 0, duplication: 0, delayMaxMs: 0.5 }),
  );
};

const WORDS: readonly PeerMessage['kind'][] = ['prepared', 'muted', 'verified'];

/** The words of handovers are lost, and nothing else. */
const loseWords: Fault = (stage) => {
  const kind = pick(stage, WORDS);
  stage.world.note(`${kind} is lost`);
  stage.world.lossOf.set(kind, stage.draw.chance(0.5) ? 1 : 0.5);
  stage.later(stage.ms(1, 15), () => stage.world.lossOf.delete(kind));
};

const crash: Fault = (stage) => {
  const director = stage.any();
  director.crash();
  stage.later(stage.ms(0, 15), () => director.start());
};

/** A supervisor starts the process again at once: the kernel has not let go of anything yet. */
const restart: Fault = (stage) => {
  const director = stage.any();
  director.crash();
  stage.later(stage.ms(0, 0.5), () => director.start());
};

const upgrade: Fault = (stage) => {
  const director = stage.any();
  if (!director.isAlive) return;
  director.stop('freeze');
  stage.later(stage.ms(5, 15), () => {
    if (director.isAlive) director.crash();
    director.start();
  });
};

const reboot: Fault = (stage) => {
  const director = stage.any();
  director.reboot();
  stage.later(stage.ms(0, 15), () => director.start());
};

const terminate: Fault = (stage) => {
  const director = stage.any();
  director.stop();
  stage.later(stage.ms(5, 15), () => {
    if (director.isAlive) director.crash();
    director.start();
  });
};

const freeze: Fault = (stage) => {
  const director = stage.any();
  director.pause();
  stage.later(stage.ms(0.05, 20), () => director.resume());
};

/** Frozen until just after the others have declared it dead, and slow to hear of it. */
const lateAwakening: Fault = (stage) => {
  const { world } = stage;
  const director = stage.any();
  director.pause();
  const lag = stage.ms(0.3, 4);
  // Who is drained breaks its session, and leaves its groups for a second.
  const drained = stage.draw.chance(0.4) ? world.directors.filter((one) => one !== director) : [];
  for (const { id } of drained)
    world.cluster.write(keys.drain(id), formatRecord({ v: 1, by: 'sim', reason: 'sim', at: '' }));
  world.whenBroken(director.director, () => {
    const { store } = director;
    if (store !== null) store.faults.watchLagMs = [lag / 2, lag];
    world.clock.schedule(stage.draw.between(0, 40), () => director.resume());
  });
  stage.later(stage.ms(3, 20), () => {
    director.resume();
    calmStore(director.store);
    for (const { id } of drained) world.cluster.remove(keys.drain(id));
  });
};

/** An end or a loss that is cut short, while what it wrote is still under way; the next process begins at once. */
const interruptedEnd: Fault = (stage) => {
  const { world, draw } = stage;
  const director = stage.any();
  const { store } = director;
  if (store === null) return;
  const lateMs = stage.ms(0.2, 3);
  Object.assign(store.faults, { lateCommit: draw.between(0.2, 0.9), lateMs: [lateMs / 4, lateMs] });
  const isEnd = draw.chance(0.5);
  if (isEnd) director.stop();
  else director.setCarrier(false);
  world.note(`${director.name} is cut short`);
  stage.soon(draw.between(1, 40), () => {
    director.crash();
    director.setCarrier(true);
    stage.later(draw.between(0, 60), () => {
      director.start();
      if (director.store === null || draw.chance(0.5)) return;
      // It hears late of what still commits.
      director.store.faults.watchLagMs = [lateMs / 4, lateMs];
      stage.later(2 * lateMs, () => calmStore(director.store));
    });
  });
};

/** A machine starts anew, and what it writes commits late, perhaps after it was written once more. */
const doubtfulStart: Fault = (stage) => {
  const director = stage.any();
  director.reboot();
  director.start();
  const { store } = director;
  if (store === null) return;
  const lateMs = stage.ms(0.3, 3);
  Object.assign(store.faults, {
    lateCommit: stage.draw.between(0.2, 0.7),
    lateMs: [lateMs / 4, lateMs],
    watchLagMs: [lateMs / 8, lateMs / 2],
  });
  stage.later(3 * lateMs, () => calmStore(director.store));
};

/** Stopped or killed exactly between a decision and its call, or between a call and its return. */
const strike: Fault = (stage) => strikeOne(stage, stage.any());

function strikeOne(stage: Stage, director: Machine): void {
  const isKilled = stage.draw.chance(0.3);
  director.strikeAt({
    edge: stage.draw.chance(0.2) ? 'any' : pick(stage, EDGES),
    moment: stage.draw.chance(0.6) ? 'before' : 'after',
    pauseMs: isKilled ? null : stage.ms(0.1, stage.draw.chance(0.5) ? 2 : 12),
  });
  stage.later(stage.ms(0.5, 10), () => {
    director.strikeAt(null);
    director.start();
  });
}

/** The stop that permits are for: the answer is there, the batch is not yet in the kernel. */
const stallAtCommit: Fault = (stage) => {
  const director = stage.any();
  director.strikeAt({ edge: 'commit', moment: 'before', pauseMs: stage.ms(1, 14) });
  stage.later(stage.ms(0.5, 5), () => director.strikeAt(null));
};

const switchover: Fault = (stage) => {
  stage.world.switchover(stage.anyGroup(), stage.draw.chance(0.5) ? stage.any().director : null);
};

/** Somebody asks for a switchover, and one of the two is struck on the way. */
const struckSwitchover: Fault = (stage) => {
  const { world, draw } = stage;
  const group = stage.anyGroup();
  const to = stage.any();
  world.switchover(group, to.director);
  const victim = draw.chance(0.5) ? to : stage.any();
  const strikes: readonly (() => void)[] = [
    () => strikeOne(stage, victim),
    () => {
      victim.crash();
      stage.later(stage.ms(0.2, 10), () => victim.start());
    },
    () => {
      victim.pause();
      stage.later(stage.ms(0.1, 10), () => victim.resume());
    },
    () => {
      victim.store?.cut(pick(stage, ['both', 'requests', 'answers'] as const));
      stage.later(stage.ms(0.5, 8), () => victim.store?.heal());
    },
  ];
  stage.soon(draw.between(0, draw.chance(0.5) ? 6 : stage.ms(0.3, 0.3)), () =>
    pick(stage, strikes)(),
  );
};

/** The target of a switchover cannot take it after all, and somebody hears late of everything. */
const vainSwitchover: Fault = (stage) => {
  const { world, draw } = stage;
  const to = stage.any();
  const late = stage.any();
  if (late.store !== null) late.store.faults.watchLagMs = [0, stage.ms(0.1, 2)];
  if (draw.chance(0.7)) world.lossOf.set('prepared', 1);
  world.switchover(stage.anyGroup(), to.director);
  stage.soon(draw.between(1, 12), () => to.setCarrier(false));
  stage.later(stage.ms(0.5, 4), () => {
    to.setCarrier(true);
    world.lossOf.delete('prepared');
    calmStore(late.store);
  });
};

const drain: Fault = (stage) => {
  const { world } = stage;
  const director = stage.any();
  world.note(`${director.name} is drained`);
  const key = keys.drain(director.id);
  world.cluster.write(key, formatRecord({ v: 1, by: 'sim', reason: 'sim', at: '' }));
  stage.later(stage.ms(1, 20), () => world.cluster.remove(key));
};

/** Somebody deletes keys that nobody should. */
const tamper: Fault = (stage) => {
  const director = stage.any();
  const key = pick(stage, [keys.scope(director.id), keys.challenge(director.id)]);
  const isScope = key === keys.scope(director.id);
  if (isScope && isLastWord(stage.world, director, keys.session(director.id))) return;
  stage.world.note(`somebody deletes ${key}`);
  stage.world.cluster.remove(key);
};

/**
 * Without both the session record and the scope record nothing tells of another machine of this name: whoever
 * deletes the second one says that it is off, and nobody says that of a machine that lives.
 */
const isLastWord = (world: World, { director }: Machine, other: string): boolean =>
  world.cluster.read(other).value === null &&
  world.clones.some((clone) => clone.isAlive && clone.director === director);

const tamperOwner: Fault = (stage) => {
  const late = stage.draw.chance(0.5) ? stage.any() : null;
  if (late?.store) {
    const lag = stage.ms(1, 8);
    late.store.faults.watchLagMs = [lag / 2, lag];
    stage.later(lag, () => calmStore(late.store));
  }
  const group = stage.anyGroup();
  stage.world.note(`somebody deletes the owner record of ${group}`);
  stage.world.cluster.remove(keys.owner(groupId(group)));
};

const tamperSession: Fault = (stage) => {
  const director = stage.any();
  if (isLastWord(stage.world, director, keys.scope(director.id))) return;
  stage.world.note(`somebody deletes the session record of ${director.director}`);
  stage.world.cluster.remove(keys.session(director.id));
};

/** Leases end early: they are evidence of nothing. */
const revokeLeases: Fault = (stage) => {
  stage.world.note('leases are revoked');
  for (const lease of stage.world.cluster.leases())
    if (stage.draw.chance(0.5)) stage.world.cluster.revoke(lease);
};

const removeAddress: Fault = (stage) => {
  const { world } = stage;
  for (const group of world.groupNames())
    for (const director of world.directors)
      for (const bound of director.kernel.boundNow())
        if (bound.address === vipOf(group)) director.removeAddress(bound);
};

const flushRules: Fault = (stage) => stage.any().flushRules();
const recreateLink: Fault = (stage) => stage.any().recreateLink();

const losesCarrier: Fault = (stage) => {
  const director = stage.any();
  stage.world.note(`${director.name} loses its carrier`);
  director.setCarrier(false);
  stage.later(stage.ms(0.1, 15), () => director.setCarrier(true));
};

const failTrack: Fault = (stage) => {
  const director = stage.any();
  const path = pick(stage, ['/forbids', '/weighs']);
  stage.world.note(`${path} fails on ${director.name}`);
  director.failing.add(path);
  stage.later(stage.ms(1, 15), () => director.failing.delete(path));
};

const silentGateway: Fault = (stage) => {
  stage.world.note('the gateway answers nobody');
  stage.world.gatewayAnswers = false;
  stage.later(stage.ms(1, 15), () => {
    stage.world.gatewayAnswers = true;
  });
};

const changeHold: Fault = (stage) => {
  const holdFactor = pick(stage, [1, 1.3, 2, 4]);
  stage.world.note(`the spec asks for D times ${holdFactor}`);
  stage.world.applySpec({ holdFactor });
};

/** Groups come and go. */
const changeGroups: Fault = (stage) => {
  const groups = stage.draw.integer(1, stage.world.options.groups);
  stage.world.note(`the spec names ${groups} groups`);
  stage.world.applySpec({ groups });
  stage.later(stage.ms(2, 20), () => stage.world.applySpec({ groups: stage.world.options.groups }));
};

const moveVip: Fault = (stage) => {
  const { world } = stage;
  if (world.document.groups < 2) return;
  world.note('a VIP moves to another group');
  world.applySpec({ isMoved: !world.document.isMoved });
};

const compact: Fault = (stage) => {
  stage.world.note('etcd compacts its history');
  stage.world.cluster.compact();
};

/** A copied disk: a machine that goes by the name of another. */
const namesake: Fault = (stage) => {
  const { world } = stage;
  if (world.clones.length > 0) return;
  const original = stage.any();
  const records = [keys.session(original.id), keys.scope(original.id)];
  // As with the last word above.
  if (records.every((key) => world.cluster.read(key).value === null)) return;
  const clone = world.clone(original);
  world.note(`${clone.name} starts`);
  clone.start();
  stage.later(stage.ms(2, 20), () => clone.crash());
};

export const PLAIN_FAULTS: Readonly<Record<string, Fault>> = {
  cutFromStore,
  slowStore,
  electionOfEtcd,
  cutPeers,
  lossyPeers,
  loseWords,
  crash,
  restart,
  upgrade,
  reboot,
  terminate,
  freeze,
  lateAwakening,
  interruptedEnd,
  doubtfulStart,
  strike,
  stallAtCommit,
  switchover,
  struckSwitchover,
  vainSwitchover,
  drain,
  tamper,
  tamperOwner,
  tamperSession,
  revokeLeases,
  removeAddress,
  flushRules,
  recreateLink,
  losesCarrier,
  failTrack,
  silentGateway,
  changeHold,
  changeGroups,
  moveVip,
  compact,
  namesake,
};
