/** Plain connects in virtual time on sockets that do as the test says. */
import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { ConnectEngine, isPlainConnect } from '../../../../src/adapters/probes/connect-engine.ts';
import {
  CONNECTED,
  CONNECTING,
  type ConnectSockets,
  type ConnectTarget,
  UNMADE,
} from '../../../../src/adapters/probes/connect-sockets.ts';
import {
  type PackedResults,
  RESULT_FIELDS,
} from '../../../../src/adapters/probes/probe-protocol.ts';
import type { Check, CheckTiming } from '../../../../src/model/cluster.ts';
import { checkId } from '../../../../src/model/ids.ts';
import { httpCheck, ip, TCP_CHECK } from '../../core/desired/spec-builders.ts';

const ECONNREFUSED = 111;
const EPERM = 1;
const EMFILE = 24;
const EAFNOSUPPORT = 97;

/** How a target takes a connect: after so long, with what; or never. */
type Target = { readonly afterMs: number; readonly found: number };

class World implements ConnectSockets {
  time = 1000;
  readonly wakeFd = 99;
  roundTripMs = 0;
  readonly open_ = new Map<number, { readonly endsAt: number; readonly found: number }>();
  readonly watched = new Set<number>();
  readonly opened: ConnectTarget[] = [];
  readonly posts: PackedResults[] = [];
  /** Errors of `open`. */
  refusal: number | null = null;
  targetOf: (target: ConnectTarget) => Target = () => ({ afterMs: 0.4, found: CONNECTED });
  #lastFd = 100;
  mostOpen = 0;
  /** The process stands still for so long in its next wait, which a signal ends then: nothing is told. */
  pauseMs = 0;

  open(target: ConnectTarget): number {
    if (this.refusal !== null) return -this.refusal;
    this.opened.push(target);
    const { afterMs, found } = this.targetOf(target);
    const fd = ++this.#lastFd;
    this.open_.set(fd, { endsAt: this.time + afterMs, found });
    this.mostOpen = Math.max(this.mostOpen, this.open_.size);
    return fd;
  }

  look(fd: number): number {
    const one = this.open_.get(fd);
    if (one === undefined) throw new Error(`${fd} is not open`);
    this.roundTripMs = 0.4;
    return this.time >= one.endsAt ? one.found : CONNECTING;
  }

  watch(fd: number): boolean {
    expect(this.open_.has(fd)).toBe(true);
    this.watched.add(fd);
    return true;
  }

  wait(timeoutMs: number, tell: (fd: number) => void): boolean {
    if (this.pauseMs > 0) {
      this.time += this.pauseMs;
      this.pauseMs = 0;
      return true;
    }
    const ends = [...this.watched].map((fd) => this.open_.get(fd)?.endsAt ?? Infinity);
    const until = Math.min(this.time + timeoutMs, ...ends.map((at) => Math.max(at, this.time)));
    this.time = Math.max(this.time, until);
    for (const fd of this.watched)
      if ((this.open_.get(fd)?.endsAt ?? Infinity) <= this.time) {
        this.watched.delete(fd);
        tell(fd);
      }
    return false;
  }

  close(fd: number): void {
    expect(this.open_.delete(fd)).toBe(true);
    this.watched.delete(fd);
  }

  closeAll(): void {
    this.open_.clear();
  }

  /** Each result with the number of its check. */
  results(): { number: number; isUp: boolean; detail: string; latencyMs: number }[] {
    return this.posts.flatMap(({ numbers, said }) => {
      const found = [];
      for (let at = 0; at < numbers.length; at += RESULT_FIELDS) {
        const { isUp, detail } = said[numbers[at + 3] ?? -1] ?? { isUp: false, detail: '?' };
        found.push({ number: numbers[at] ?? -1, isUp, detail, latencyMs: numbers[at + 1] ?? -1 });
      }
      return found;
    });
  }
}

const check = (n: number, timing: Partial<CheckTiming> = {}): Check => ({
  id: checkId(`c${n}`),
  address: ip(`10.90.${1 + Math.floor(n / 250)}.${1 + (n % 250)}`),
  port: 80,
  spec: { ...TCP_CHECK, intervalMs: 1000, timeoutMs: 400, ...timing },
});
const many = (count: number, timing: Partial<CheckTiming> = {}) =>
  Array.from({ length: count }, (_, n) => check(n, timing));

let world: World;
let engine: ConnectEngine;
const create = (maxConcurrent: number): void => {
  world = new World();
  engine = new ConnectEngine(
    { maxConcurrent, seed: 1 },
    { now: () => world.time, sockets: world, post: (packed) => world.posts.push(packed) },
  );
};
beforeEach(() => create(10_000));

let slots = 10_000;
const add = (...added: Check[]): void => {
  slots = Math.max(slots, 1);
  engine.handle({
    kind: 'change',
    added,
    numbers: added.map(({ id }) => Number(id.slice(1))),
    gone: [],
    maxConcurrent: slots,
  });
};
const remove = (...gone: Check[]): void =>
  engine.handle({
    kind: 'change',
    added: [],
    numbers: [],
    gone: gone.map(({ id }) => id),
    maxConcurrent: slots,
  });

/** As the thread does. */
function run(ms: number): { turns: number } {
  const end = world.time + ms;
  let turns = 0;
  while (world.time < end) {
    engine.turn();
    turns++;
    engine.hear(Math.min(engine.waitMs() ?? 250, 250, Math.max(0, end - world.time)));
  }
  engine.turn();
  return { turns };
}

const portOf = (target: ConnectTarget): string => target.address;

describe('plain connects', () => {
  it('are those that say nothing and expect nothing', () => {
    expect(isPlainConnect(TCP_CHECK)).toBe(true);
    expect(isPlainConnect({ ...TCP_CHECK, kind: 'tcp', send: '00' })).toBe(false);
    expect(isPlainConnect(httpCheck({}))).toBe(false);
  });

  it('keep the interval, each check on its own, and say what the kernel saw', () => {
    add(...many(100));
    run(10_000);
    expect(world.results().length).toBeGreaterThan(930);
    expect(world.results().length).toBeLessThan(1070);
    for (const { isUp, detail, latencyMs } of world.results())
      expect({ isUp, detail, latencyMs }).toEqual({
        isUp: true,
        detail: 'connected',
        latencyMs: 0.4,
      });
    expect(world.open_.size).toBe(0);
  });

  it('are refused, late, or this machine’s own failure', () => {
    const behaviours: Target[] = [
      { afterMs: 0.2, found: ECONNREFUSED },
      { afterMs: Infinity, found: CONNECTING },
      { afterMs: 30, found: CONNECTED },
    ];
    world.targetOf = (target) =>
      behaviours[Number(portOf(target).split('.')[3]) - 1] ?? { afterMs: 0, found: CONNECTED };
    add(...many(3, { warmupMs: 0 }));
    run(900);
    const byNumber = world.results().toSorted((a, b) => a.number - b.number);
    expect(byNumber.map(({ detail }) => detail)).toEqual([
      'connection refused',
      'no connection within 400 ms',
      'connected',
    ]);
    expect(byNumber[1]?.latencyMs).toBeGreaterThanOrEqual(400);
    expect(byNumber[1]?.latencyMs).toBeLessThan(410);
    // What was watched is told by the clock, or by the kernel where that is less.
    expect(byNumber[2]?.latencyMs).toBeLessThanOrEqual(31);
    world.refusal = EMFILE;
    const before = world.results().length;
    run(1000);
    expect(world.results()).toHaveLength(before);
    const failed = world.posts.find(({ localFailure }) => localFailure !== null);
    expect(failed?.localFailure).toContain('file descriptor');
    expect(failed?.localFailure).toBe(`tcp check of 10.90.1.1:80: ${failed?.unable?.[0]?.[1]}`);
  });

  it.each([
    { of: 'a mark without the capability', errno: EPERM + UNMADE, words: 'CAP_NET_ADMIN' },
    { of: 'an interface that went', errno: 19 + UNMADE, words: 'interface' },
    { of: 'no descriptor', errno: EMFILE + UNMADE, words: 'LimitNOFILE' },
    { of: 'IPv6 switched off', errno: EAFNOSUPPORT + UNMADE, words: 'IPv6' },
    { of: 'whatever keeps a socket from being made', errno: 4711 + UNMADE, words: 'errno 4711' },
  ])('say nothing of the target after $of', ({ errno, words }) => {
    world.refusal = errno;
    add(...many(3, { warmupMs: 0 }));
    run(3000);
    expect(world.results()).toEqual([]);
    expect(world.posts.at(-1)?.localFailure).toContain(words);
  });

  it.each([1, 5, 200, 370])('are not late for a pause %i ms after their beginning', (afterMs) => {
    // One answers within the pause, one a little after it, one never.
    const answers = [10_000, 30_010, Infinity];
    world.targetOf = (target) => ({
      afterMs: afterMs + (answers[Number(portOf(target).split('.')[3]) - 1] ?? 0),
      found: CONNECTED,
    });
    add(...many(3, { warmupMs: 0 }));
    run(afterMs);
    world.pauseMs = 30_000;
    run(30_020);
    expect(world.results().map(({ number, isUp }) => ({ number, isUp }))).toEqual([
      { number: 0, isUp: true },
      { number: 1, isUp: true },
    ]);
    run(500);
    const last = world.results().find(({ number }) => number === 2);
    expect(last).toMatchObject({ isUp: false, detail: 'no connection within 400 ms' });
  });

  it('come in time where they are wanted right after a pause', () => {
    add(check(0));
    run(2000);
    world.time += 60_000;
    add(check(1, { warmupMs: 0 }));
    engine.handle({ kind: 'soon', check: checkId('c0') });
    world.posts.length = 0;
    run(100);
    expect(new Set(world.results().map(({ number }) => number))).toEqual(new Set([0, 1]));
  });

  it('come as spread over time after a pause as before', () => {
    add(...many(500, { intervalMs: 2000 }));
    run(4000);
    const before = world.opened.length;
    world.pauseMs = 60_000;
    run(60_100);
    expect(world.opened.length - before).toBeLessThan(100);
  });

  it('tell at once what may decide, and wait for others with what repeats', () => {
    add(check(1, { warmupMs: 0, fall: 3, intervalMs: 50, timeoutMs: 50, jitter: 0 }));
    run(1000);
    const calm = world.posts.length;
    // 20 probes: the first three at once, the others five times a second.
    expect(calm).toBeLessThan(10);
    world.targetOf = () => ({ afterMs: 0, found: ECONNREFUSED });
    const from = world.time;
    run(200);
    const news = world.posts.slice(calm).filter(({ said }) => said.some(({ isUp }) => !isUp));
    expect(news.length).toBeGreaterThanOrEqual(3);
    expect(world.time - from).toBeLessThan(210);
  });

  it('come sooner where that is wanted, and go on in their rhythm', () => {
    add(check(1, { intervalMs: 60_000 }));
    engine.handle({ kind: 'soon', check: checkId('c1'), afterMs: 300 });
    run(290);
    expect(world.opened).toHaveLength(0);
    run(30);
    expect(world.opened).toHaveLength(1);
    engine.handle({ kind: 'soon', check: checkId('nobody') });
    run(40_000);
    expect(world.opened).toHaveLength(1);
    engine.handle({ kind: 'soons', wishes: [{ check: checkId('c1'), afterMs: 0 }] });
    run(20);
    expect(world.opened).toHaveLength(2);
  });

  it('end when their check goes, and nothing is said of it', () => {
    world.targetOf = () => ({ afterMs: Infinity, found: CONNECTING });
    add(...many(50, { warmupMs: 0 }));
    run(100);
    expect(world.open_.size).toBe(50);
    remove(...many(50));
    expect(world.open_.size).toBe(0);
    run(2000);
    expect(world.posts).toEqual([]);
    expect(engine.waitMs()).toBeNull();
    // Their places are used again.
    world.targetOf = () => ({ afterMs: 0, found: CONNECTED });
    add(...many(20, { warmupMs: 0 }));
    run(100);
    expect(world.results()).toHaveLength(20);
  });

  it('turn a bounded number of times, however many checks there are', () => {
    add(...many(5000));
    run(2000);
    const { turns } = run(1000);
    // A turn a tick for what is due, and one for what came of it.
    expect(turns).toBeLessThan(300);
  });
});

describe('targets that swallow packets', () => {
  const isHanging = (target: ConnectTarget): boolean => target.address.startsWith('10.90.1.');

  it('do not delay the others while there are slots for all', () => {
    world.targetOf = (target) =>
      isHanging(target)
        ? { afterMs: Infinity, found: CONNECTING }
        : { afterMs: 0.4, found: CONNECTED };
    add(...many(1250));
    run(5000);
    const up = world.results().filter(({ isUp }) => isUp);
    // 1,000 of them, each once a second.
    expect(up.length).toBeGreaterThan(4600);
    expect(world.open_.size).toBeLessThanOrEqual(250);
  });

  it('have half of the slots where there are too few, and no more are open than there are', () => {
    slots = 100;
    create(slots);
    world.targetOf = (target) =>
      isHanging(target)
        ? { afterMs: Infinity, found: CONNECTING }
        : { afterMs: 0.4, found: CONNECTED };
    add(...many(300));
    run(10_000);
    expect(world.mostOpen).toBeLessThanOrEqual(100);
    const before = world.results().length;
    run(4000);
    const up = world
      .results()
      .slice(before)
      .filter(({ isUp }) => isUp);
    // 50 that answer, once a second, as if the others were not there.
    expect(up.length).toBeGreaterThan(4 * 50 * 0.85);
    slots = 10_000;
  });
});

it('never opens a check twice at once, and loses none, whatever comes and goes', () => {
  const command = fc.oneof(
    fc.record({ kind: fc.constant('add' as const), n: fc.integer({ min: 0, max: 9 }) }),
    fc.record({ kind: fc.constant('remove' as const), n: fc.integer({ min: 0, max: 9 }) }),
    fc.record({ kind: fc.constant('soon' as const), n: fc.integer({ min: 0, max: 9 }) }),
    fc.record({ kind: fc.constant('run' as const), ms: fc.integer({ min: 1, max: 1500 }) }),
    fc.record({ kind: fc.constant('pause' as const), ms: fc.integer({ min: 1, max: 5000 }) }),
  );
  const behaviour = fc.constantFrom<Target>(
    { afterMs: 0.1, found: CONNECTED },
    { afterMs: 20, found: CONNECTED },
    { afterMs: 0.1, found: ECONNREFUSED },
    { afterMs: Infinity, found: CONNECTING },
  );
  fc.assert(
    fc.property(
      fc.array(command, { maxLength: 40 }),
      fc.array(behaviour, { minLength: 10, maxLength: 10 }),
      (commands, behaviours) => {
        slots = 4;
        create(slots);
        const present = new Set<number>();
        world.targetOf = (target) =>
          behaviours[Number(target.address.split('.')[3]) - 1] ?? { afterMs: 0, found: CONNECTED };
        for (const each of commands) {
          if (each.kind === 'add') {
            add(check(each.n));
            present.add(each.n);
          } else if (each.kind === 'remove') {
            remove(check(each.n));
            present.delete(each.n);
          } else if (each.kind === 'soon')
            engine.handle({ kind: 'soon', check: checkId(`c${each.n}`) });
          else if (each.kind === 'run') run(each.ms);
          else world.time += each.ms;
          expect(world.open_.size).toBeLessThanOrEqual(Math.min(4, present.size));
          expect(world.open_.size).toBe(engine.running);
        }
        // Results of those that are gone may still wait for others.
        run(300);
        world.posts.length = 0;
        // Hanging ones take turns in two slots: ten of them need some time.
        run(12_000);
        expect(new Set(world.results().map(({ number }) => number))).toEqual(present);
        slots = 10_000;
      },
    ),
    { numRuns: 60 },
  );
});
