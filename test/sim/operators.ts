/**
 * What operators change while directors run, and kernels that refuse: drawn in the seeds after those that were kept
 * before there was any of it.
 */
import { REFUSED_MS } from '../../src/core/election/timing.ts';
import type { Revision } from '../../src/model/ids.ts';
import { formatRecord } from '../../src/model/records.ts';
import { type Fault, pick, type Stage } from './faults.ts';
import { keys, type SimDocument, vipsOf } from './spec.ts';
import type { Machine } from './machine.ts';

/** The document says something else for a while, and perhaps from then on. */
function change(stage: Stage, words: string, next: Partial<SimDocument>): void {
  const { world, draw } = stage;
  const { document } = world;
  const before = Object.fromEntries(
    Object.keys(next).map((key) => [key, document[key as keyof SimDocument]]),
  );
  world.note(`the spec: ${words}`);
  world.applySpec(next);
  if (draw.chance(0.5)) stage.later(stage.ms(0.5, 15), () => world.applySpec(before));
}

/** What is faster costs the simulation more. */
const PACES = ['relaxed', 'relaxed', 'default', 'default', 'fast'] as const;

const changeProfile: Fault = (stage) => {
  const { world, draw } = stage;
  // Without permits a director keeps its VIPs by whole seconds.
  if (world.directors.some(({ fence }) => fence === null)) return;
  const profile = pick(stage, PACES);
  const before = world.document.profile;
  world.note(`the spec: profile ${profile}`);
  world.applySpec({ profile });
  if (profile === 'fast' || draw.chance(0.5))
    stage.later(draw.between(500, 8000), () => world.applySpec({ profile: before }));
};

const changeOrder: Fault = (stage) => {
  const first = stage.draw.integer(0, stage.world.options.directors - 1);
  change(stage, `priorities begin with d${first + 1}`, { first });
};

const changeOrdered: Fault = (stage) => {
  const isAllOrdered = stage.world.document.isAllOrdered !== true;
  change(stage, `${isAllOrdered ? 'all' : 'odd'} groups have priorities`, { isAllOrdered });
};

const changePreempt: Fault = (stage) => {
  const preempt = pick(stage, ['never', 'immediate', 'after'] as const);
  change(stage, `preempt ${preempt}`, { preempt });
};

const changeApart: Fault = (stage) => {
  const isApart = stage.world.document.isApart !== true;
  change(stage, `the first two groups are ${isApart ? '' : 'not '}kept apart`, { isApart });
};

const changeTracks: Fault = (stage) => {
  const hasTracks = !stage.world.document.hasTracks;
  change(stage, `tracks: ${hasTracks}`, { hasTracks });
};

/** Groups change places, all at once. */
const rebalance: Fault = (stage) => {
  const { world, draw } = stage;
  for (const group of world.groupNames()) {
    const from = world.ownerOf(group);
    const { director: to } = stage.any();
    if (from !== null && from !== to && draw.chance(0.7)) world.rebalance(group, from, to);
  }
};

/** By the slowest clock. */
const SLOWEST = 1.2;

/** The kernel of one director, or of all, will not bind the VIPs of a group. */
const refusedVip: Fault = (stage) => {
  const { world, draw } = stage;
  const group = stage.anyGroup();
  const machines = draw.chance(0.2) ? world.directors : [stage.any()];
  const vips = vipsOf(group, world.document.isMoved);
  const refused = draw.chance(0.5) ? vips : vips.slice(-1);
  const set = (isRefused: boolean): void => {
    for (const { kernel } of machines) for (const vip of refused) kernel.setRefused(vip, isRefused);
  };
  world.note(`${machines.map(({ name }) => name).join()} cannot bind ${refused.join()}`);
  set(true);
  stage.later(stage.ms(1, 15), () => {
    set(false);
    world.refusedUntil = world.clock.now() + SLOWEST * REFUSED_MS;
  });
};

/** What the API asks before it takes an operator's word: whoever is asked sees that nobody else may judge. */
const needsWord = (asked: Machine, director: string, session: Revision): boolean => {
  const { directors } = asked.agent?.view.status() ?? { directors: [] };
  const silence = directors.find(({ name }) => name === director)?.silence;
  return silence?.needsWord === true && silence.session === session;
};

/**
 * A director was off for so long that nobody's scope names it, and is the only one left when it is back: only an
 * operator can say that the others are dead, and then it takes their groups.
 */
const confirmedDead: Fault = (stage) => {
  stage.inPeace(async () => {
    const { world, draw } = stage;
    const { clock, cluster } = world;
    const late = stage.any();
    const others = world.directors.filter((one) => one !== late);
    if (others.length < 2) return;
    world.note(`${late.name} is off`);
    late.reboot();
    const isNamed = ({ id }: Machine): boolean =>
      cluster.read(keys.scope(id)).value?.includes(`"${late.director}"`) !== false;
    await clock.runUntil(() => !others.some(isNamed), stage.ms(80, 80));
    for (const one of others) one.reboot();
    late.start();
    const sessionOf = ({ id }: Machine): Revision => cluster.read(keys.session(id)).modRevision;
    const isAsked = (one: Machine): boolean => needsWord(late, one.director, sessionOf(one));
    if (!(await clock.runUntil(() => others.every(isAsked), stage.ms(40, 40)))) return;
    for (const one of others) {
      world.note(`an operator tells that ${one.name} is dead`);
      const about = { session: sessionOf(one), by: 'sim', reason: 'sim', at: clock.wallTime() };
      cluster.write(keys.confirmDead(one.id), formatRecord({ v: 1, ...about }));
    }
    // Perhaps too early: one is on again before anybody has acted on the word.
    if (draw.chance(0.3)) {
      await clock.advance(draw.between(0, 6000));
      pick(stage, others).start();
    }
    const isHeld = (group: string): boolean => world.holdersOf(group).length === 1;
    if (!(await clock.runUntil(() => world.groupNames().every(isHeld), TAKEN_WITHIN_MS)))
      world.checkers.tell('takeover', `not all groups are held after an operator's word`);
    for (const one of others) one.start();
  });
};

/** D' with four times D, twice, of the slowest clock; and what it takes to claim. */
const TAKEN_WITHIN_MS = 60_000;

export const OPERATOR_FAULTS: Readonly<Record<string, Fault>> = {
  changeProfile,
  changeOrder,
  changeOrdered,
  changePreempt,
  changeApart,
  changeTracks,
  rebalance,
  refusedVip,
  confirmedDead,
};
