/**
 * Directors without etcd and without each other, where the document says `isolation: gateway`: what the
 * segment is for (design 4.10). Drawn in worlds with that policy alone.
 */
import { aHolder, type Fault, pick, type Stage } from './faults.ts';
import type { Machine } from './machine.ts';
import { timingOf } from './spec.ts';
import type { World } from './world.ts';

const MODES = ['lose', 'queue', 'refuse'] as const;

/** D' of the document, by the slowest clock. */
function waitMsOf(world: World): number {
  const { holdMs, slackMs, driftMargin } = timingOf(world.document);
  return 1.1 * (holdMs * (1 + driftMargin) + slackMs);
}

/** A time about the length of what a candidate waits for, and so often shorter or longer. */
const aboutTakeover = (stage: Stage): number => stage.draw.between(0.2, 4) * waitMsOf(stage.world);

/** No packet of either to the other, but for what the segment carries; heals at the call of the answer. */
function cutApart({ world }: Stage, pairs: Iterable<readonly [Machine, Machine]>): () => void {
  const cut = [...pairs].filter(([a, b]) => a !== b);
  for (const [a, b] of cut) {
    world.peers.cut(a.id, b.id);
    world.peers.cut(b.id, a.id);
  }
  return () => {
    for (const [a, b] of cut) {
      world.peers.heal(a.id, b.id);
      world.peers.heal(b.id, a.id);
    }
  };
}

function* pairsOf(
  one: Machine,
  others: readonly Machine[],
): Generator<readonly [Machine, Machine]> {
  for (const other of others) if (other !== one) yield [one, other];
}

/** The only cable: segment, gateway, peers and etcd. */
const cableOut: Fault = (stage) => {
  const { world, draw } = stage;
  const one = draw.chance(0.5) ? aHolder(stage) : stage.any();
  world.note(`the cable of ${one.name} is out`);
  world.segment.setPlugged(one.name, false);
  one.setCarrier(false);
  one.cutFromStore('cable');
  const heal = cutApart(stage, pairsOf(one, world.directors));
  stage.later(stage.ms(0.5, 20), () => {
    world.segment.setPlugged(one.name, true);
    one.setCarrier(true);
    one.healToStore('cable');
    heal();
  });
};

/** IP to etcd and to the other directors is filtered; ARP and the gateway are not. */
const filtered: Fault = (stage) => {
  const { world, draw } = stage;
  const one = draw.chance(0.7) ? aHolder(stage) : stage.any();
  const isStoreCut = draw.chance(0.8);
  world.note(`${one.name} is filtered${isStoreCut ? '' : ', but has etcd'}`);
  if (isStoreCut) one.cutFromStore('filter');
  const heal = cutApart(stage, pairsOf(one, world.directors));
  stage.later(stage.ms(1, 25), () => {
    one.healToStore('filter');
    heal();
  });
};

/** Two directors do not see each other; the third, if there is one, sees both. */
const cutPair: Fault = (stage) => {
  const [a, b] = [aHolder(stage), stage.any()];
  stage.world.note(`${a.name} and ${b.name} are cut from each other`);
  stage.later(stage.ms(1, 25), cutApart(stage, [[a, b]]));
};

/** The switch falls into two, each with or without etcd and the gateway; an anycast gateway is on both sides. */
const brokenSwitch: Fault = (stage) => {
  const { world, draw } = stage;
  const sides = new Map(world.machines().map(({ name }) => [name, draw.integer(0, 1)]));
  const sideOf = ({ name }: Machine): number | undefined => sides.get(name);
  const storeSide = draw.integer(0, 2);
  const gatewaySide = draw.integer(0, 2);
  world.note(
    `the switch breaks: ${[...sides].map(([name, side]) => `${name}=${side}`).join(' ')}, etcd at ${storeSide}, gateway at ${gatewaySide === 2 ? 'both' : gatewaySide}`,
  );
  world.segment.split(sides);
  const pairs = world.directors.flatMap((a) =>
    world.directors.flatMap((b) => (sideOf(a) === sideOf(b) ? [] : [[a, b] as const])),
  );
  const heal = cutApart(stage, pairs);
  for (const one of world.directors) {
    if (sideOf(one) !== storeSide) one.cutFromStore('switch');
    if (gatewaySide !== 2 && sideOf(one) !== gatewaySide) world.segment.setGateway(one.name, false);
  }
  stage.later(stage.ms(1, 20), () => {
    world.segment.split(null);
    heal();
    for (const one of world.directors) {
      one.healToStore('switch');
      world.segment.setGateway(one.name, true);
    }
  });
};

/** The VIPs' network falls apart, while the directors see each other in another one. */
const brokenSegment: Fault = (stage) => {
  const { world, draw } = stage;
  const sides = new Map(world.machines().map(({ name }) => [name, draw.integer(0, 1)]));
  world.note(
    `the segment breaks: ${[...sides].map(([name, side]) => `${name}=${side}`).join(' ')}`,
  );
  world.segment.split(sides);
  const restore = draw.chance(0.7) ? storeAway(stage) : null;
  if (draw.chance(0.7)) {
    const one = aHolder(stage);
    const end = ENDS[draw.chance(0.5) ? 'powerOff' : 'freeze'];
    stage.later(stage.ms(0, 2), () => {
      const back = end?.(stage, one);
      if (back !== undefined) stage.later(2 * aboutTakeover(stage), back);
    });
  }
  stage.later(stage.ms(0, 2) + 2 * aboutTakeover(stage), () => {
    world.segment.split(null);
    restore?.();
  });
};

/**
 * Two parts of a network speak for the same, each by its gateway, and meet again on the segment alone: what the
 * directors say to each other is filtered for longer.
 */
const metAgain: Fault = (stage) => {
  const { world, draw } = stage;
  const restore = storeAway(stage);
  const holder = aHolder(stage);
  world.note(`${holder.name} is alone, and meets the others on the segment first`);
  world.segment.split(
    new Map(world.machines().map(({ name }) => [name, name === holder.name ? 1 : 0])),
  );
  const heal = cutApart(stage, pairsOf(holder, world.directors));
  const awayMs = stage.ms(0, 1) + draw.between(2, 6) * waitMsOf(world);
  stage.later(awayMs, () => {
    world.note('the segment is whole again');
    world.segment.split(null);
  });
  stage.later(awayMs + draw.between(0.2, 2) * (waitMsOf(world) + 2000), () => {
    heal();
    restore();
  });
};

/** Two that do not hear each other at all may stand for the same groups; the others hear both. */
const rivals: Fault = (stage) => {
  const { world, draw } = stage;
  if (world.directors.length < 4) return;
  const restore = storeAway(stage);
  const holder = aHolder(stage);
  const [a, b] = [aBystander(stage, [holder]), aBystander(stage, [holder])];
  if (a === null || b === null || a === b) return restore();
  world.note(`${a.name} and ${b.name} are rivals for what ${holder.name} leaves`);
  const heal = cutApart(stage, [[a, b]]);
  world.segment.split(new Map(world.machines().map(({ name }) => [name, name === b.name ? 1 : 0])));
  stage.later(stage.ms(0.5, 2), () => holder.reboot());
  stage.later(stage.ms(1, 3) + draw.between(2, 6) * waitMsOf(world), () => {
    world.segment.split(null);
    heal();
    restore();
    holder.start();
  });
};

/** For one director alone. */
const lostGateway: Fault = (stage) => {
  const { world, draw } = stage;
  const one = draw.chance(0.5) ? aHolder(stage) : stage.any();
  world.note(`the gateway does not answer ${one.name}`);
  world.segment.setGateway(one.name, false);
  stage.later(stage.ms(1, 20), () => world.segment.setGateway(one.name, true));
};

/** etcd is away from all; the answer ends that. */
function storeAway({ world, draw }: Stage): () => void {
  const mode = MODES[draw.integer(0, MODES.length - 1)] ?? 'lose';
  world.note(`etcd is away (${mode}), and there is more to come`);
  world.cluster.halt(mode);
  return () => {
    world.note('etcd is back');
    world.cluster.resume();
  };
}

/** What ends a holder, or seems to, and what brings it back. */
const ENDS: Readonly<Record<string, (stage: Stage, one: Machine) => () => void>> = {
  powerOff: (_, one) => {
    one.reboot();
    return () => one.start();
  },
  kill: (_, one) => {
    one.crash();
    return () => one.start();
  },
  freeze: (_, one) => {
    one.pause();
    return () => one.resume();
  },
  filter: (stage, one) => cutApart(stage, pairsOf(one, stage.world.directors)),
  cable: (stage, one) => {
    const { world } = stage;
    const heal = cutApart(stage, pairsOf(one, world.directors));
    world.segment.setPlugged(one.name, false);
    one.setCarrier(false);
    return () => {
      world.segment.setPlugged(one.name, true);
      one.setCarrier(true);
      heal();
    };
  },
  mute: ({ world }) => {
    world.lossOf.set('heartbeat', 1);
    return () => world.lossOf.delete('heartbeat');
  },
};

/**
 * etcd is away, and then a holder ends, or seems to: it comes back before or after another one has taken its
 * groups, and so does etcd, in any order.
 */
const endWithoutStore: Fault = (stage) => {
  const { world, draw } = stage;
  const [name, end] = pick(stage, Object.entries(ENDS));
  const restore = storeAway(stage);
  const endsInMs = draw.chance(0.3) ? draw.between(0, 5) : stage.ms(0.5, 8);
  const awayMs = endsInMs + aboutTakeover(stage) * (draw.chance(0.3) ? 3 : 1);
  stage.later(awayMs, restore);
  stage.later(endsInMs, () => {
    const one = aHolder(stage);
    world.note(`without etcd: ${name} of ${one.name}`);
    stage.later(aboutTakeover(stage), end(stage, one));
  });
};

/** As above, and whoever stands in ends too, when it has just begun to, or is about to. */
const standInEnds: Fault = (stage) => {
  const { world, draw } = stage;
  const restore = storeAway(stage);
  const first = aHolder(stage);
  const end = ENDS['powerOff'];
  if (end === undefined) return;
  stage.later(stage.ms(0.5, 3), () => {
    const back = end(stage, first);
    const second = pick(stage, Object.values(ENDS));
    stage.later(draw.between(1.5, 3.5) * waitMsOf(world), () => {
      const one = aHolder(stage);
      world.note(`without etcd: ${one.name} ends, too`);
      stage.later(aboutTakeover(stage), second(stage, one));
    });
    stage.later(draw.between(2, 8) * waitMsOf(world), back);
  });
  stage.later(draw.between(2, 10) * waitMsOf(world), restore);
};

/** etcd comes and goes. */
const flappingStore: Fault = (stage) => {
  const { world, draw } = stage;
  const times = draw.integer(2, 5);
  world.note(`etcd comes and goes ${times} times`);
  const away = (left: number): void => {
    const restore = storeAway(stage);
    stage.later(aboutTakeover(stage), () => {
      restore();
      if (left > 1) stage.later(draw.between(0.02, 0.6) * waitMsOf(world), () => away(left - 1));
    });
  };
  away(times);
};

/** The holder alone goes on by the segment, while the others take its groups by etcd; it comes back just then. */
const overtaken: Fault = (stage) => {
  const { world, draw } = stage;
  const holder = aHolder(stage);
  world.note(`${holder.name} is overtaken`);
  holder.cutFromStore('overtaken');
  const heal = cutApart(stage, pairsOf(holder, world.directors));
  const back = (): void => {
    heal();
    if (draw.chance(0.5)) holder.healToStore('overtaken');
  };
  world.whenBroken(holder.director, () => stage.later(draw.between(0, 300), back));
  stage.later(stage.ms(8, 25), () => {
    heal();
    holder.healToStore('overtaken');
  });
};

const loseYields: Fault = (stage) => {
  stage.world.note('yield is lost');
  stage.world.lossOf.set('yield', stage.draw.chance(0.5) ? 1 : 0.5);
  stage.later(stage.ms(2, 15), () => stage.world.lossOf.delete('yield'));
};

/** The operator changes his mind. */
const changePolicy: Fault = (stage) => {
  const { world } = stage;
  world.note('the spec says isolation: release');
  world.applySpec({ isolation: 'release' });
  stage.later(stage.ms(1, 15), () => world.applySpec({ isolation: 'gateway' }));
};

/** Who flaps stands in so much later. */
const LAST_RESORT_MS = 1000;

/**
 * From the end of a holder to the first word of another director, by the slowest clock: a heartbeat, D' and two
 * rounds for each that goes before; the probes, a quarter longer than D'; and the rounds about them.
 */
export function takeoverLimitMs(world: World): number {
  const { holdMs, heartbeatMs, roundMs, permitMs, slackMs, driftMargin } = timingOf(world.document);
  const waitMs = holdMs * (1 + driftMargin) + slackMs;
  const ranksMs = (2 * roundMs + 0.25 * waitMs) * (world.directors.length - 1);
  const silenceMs = heartbeatMs + waitMs + ranksMs;
  const takenMs = silenceMs + 1.25 * waitMs + 3 * roundMs + permitMs;
  return 1.1 * (takenMs + LAST_RESORT_MS) + 200;
}

/** One that holds nothing and is not the only one left; null: there is none. */
function aBystander({ world, draw }: Stage, others: readonly Machine[]): Machine | null {
  const idle = world.directors.filter(
    (one) =>
      !others.includes(one) &&
      world.groupNames().every((name) => !world.holdersOf(name).includes(one.name)),
  );
  if (world.directors.length - others.length < 2) return null;
  return idle[draw.integer(0, idle.length - 1)] ?? null;
}

/** It cannot stand in, until the answer is called. */
function disable({ world, draw }: Stage, one: Machine): () => void {
  if (draw.chance(0.5)) {
    one.pause();
    return () => one.resume();
  }
  world.note(`the gateway does not answer ${one.name}`);
  world.segment.setGateway(one.name, false);
  return () => world.segment.setGateway(one.name, true);
}

const isPreempting = (world: World): boolean => world.document.preempt !== 'never';

/**
 * Nothing else is wrong, and all living directors see each other and the gateway: when a holder ends while etcd
 * is away, another one speaks instead within the bound, and goes on when etcd is back; nobody else moves.
 */
const takeoverInPeace: Fault = (stage) => {
  stage.inPeace(async () => {
    const { world, draw } = stage;
    if (world.directors.length < 2) return;
    const holder = aHolder(stage);
    const groups = world.groupNames().filter((name) => world.holdersOf(name).includes(holder.name));
    const others = world.groupNames().filter((name) => !groups.includes(name));
    const unable = draw.chance(0.5) ? aBystander(stage, [holder]) : null;
    const enable = unable === null ? () => {} : disable(stage, unable);
    const restore = storeAway(stage);
    // At once, or when all rounds count without etcd: in between, a peer may die unasked just before it is needed.
    const isAtOnce = draw.chance(0.3);
    const laterMs = Math.max(stage.ms(0.5, 8), waitMsOf(world));
    await world.clock.advance(isAtOnce ? draw.between(0, 5) : laterMs);
    // Silent at once: the limit counts from the last word.
    holder.reboot();
    await world.keepsSpeaking(async () => {
      const limitMs = takeoverLimitMs(world);
      const isAnswered = (): boolean => groups.every((name) => world.holdersOf(name).length > 0);
      if (!(await world.clock.runUntil(isAnswered, limitMs)))
        for (const name of groups.filter((one) => world.holdersOf(one).length === 0))
          world.checkers.tell(
            'takeover',
            `nobody speaks for ${name} after ${Math.round(limitMs)} ms`,
          );
    }, others);
    await world.clock.advance(draw.chance(0.5) ? draw.between(0, 300) : stage.ms(0.3, 20));
    enable();
    if (unable !== null) await world.clock.advance(stage.ms(0.5, 3));
    // Where the best one takes a group back, a planned handover is no flap.
    const steady = world.groupNames().filter((_, i) => i % 2 === 1 || !isPreempting(world));
    await world.keepsSpeaking(async () => {
      await world.clock.advance(stage.ms(0, 2));
      restore();
      await world.clock.advance(stage.ms(3, 25));
    }, steady);
    holder.start();
    await world.clock.advance(stage.ms(0.1, 5));
  });
};

export const ISOLATION_FAULTS: Readonly<Record<string, Fault>> = {
  cableOut,
  filtered,
  cutPair,
  brokenSwitch,
  brokenSegment,
  metAgain,
  rivals,
  lostGateway,
  endWithoutStore,
  standInEnds,
  flappingStore,
  overtaken,
  loseYields,
  changePolicy,
  takeoverInPeace,
};
