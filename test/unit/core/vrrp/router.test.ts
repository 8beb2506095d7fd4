/** The VRRP router, rule by rule (RFC 9568 6.4), and several of them on one network. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  activeDownAt,
  activeNeighbour,
  advertisedPriority,
  CLAIM_QUIET_INTERVALS,
  INITIAL_ROUTER,
  mayOpen,
  stepVrrp,
  type VrrpEvent,
  type VrrpOutput,
  type VrrpRouter,
} from '../../../../src/core/vrrp/router.ts';
import {
  activeDownMs,
  neighbourDownAt,
  skewMs,
  type VrrpSettings,
  yieldsTo,
} from '../../../../src/core/vrrp/timers.ts';
import { formatIp, type IpAddress } from '../../../../src/model/address.ts';
import { monoMs } from '../../../../src/model/ids.ts';
import type { VrrpAdvert } from '../../../../src/model/vrrp.ts';
import { SeededRandom } from '../../../fakes/seeded-random.ts';

const host = (last: number): IpAddress => formatIp(Uint8Array.of(10, 90, 0, last));
const SETTINGS: VrrpSettings = {
  version: 3,
  priority: 100,
  intervalMs: 100,
  primary: host(50),
  isPreempting: true,
  preemptDelayMs: 0,
};
const DOWN = 300 + (156 / 256) * 100;
const SKEW = (156 / 256) * 100;
const advert = (priority: number, changes: Partial<VrrpAdvert> = {}): VrrpAdvert => ({
  source: host(40),
  priority,
  intervalMs: 100,
  addresses: [host(100)],
  ...changes,
});

/** Steps through events and keeps what came of the last one. */
class Run {
  router: VrrpRouter = INITIAL_ROUTER;
  outputs: readonly VrrpOutput[] = [];
  settings: VrrpSettings;

  constructor(settings: Partial<VrrpSettings> = {}) {
    this.settings = { ...SETTINGS, ...settings };
  }

  at(now: number, event: VrrpEvent): this {
    const step = stepVrrp(this.router, event, monoMs(now), this.settings);
    this.router = step.router;
    this.outputs = step.outputs;
    return this;
  }

  start(): this {
    return this.at(0, { kind: 'start' });
  }

  hear(now: number, priority: number, changes: Partial<VrrpAdvert> = {}): this {
    return this.at(now, { kind: 'advert', advert: advert(priority, changes) });
  }

  timer(now: number): this {
    return this.at(now, { kind: 'timer' });
  }
}

describe('timers', () => {
  test.each([
    [2, 100, 1000, 3609.375],
    [2, 254, 1000, 3007.8125],
    [3, 100, 10, 36.09375],
    [3, 255, 100, 300.390625],
  ] as const)(
    'version %i, priority %i, every %i ms: down after %d ms',
    (version, priority, intervalMs, expected) => {
      const settings = { ...SETTINGS, version, priority, intervalMs };
      expect(activeDownMs(settings, intervalMs)).toBe(expected);
    },
  );

  test('the skew of version 2 is of a second, of version 3 of the interval', () => {
    expect(skewMs({ ...SETTINGS, version: 2 }, 5000)).toBe(609.375);
    expect(skewMs(SETTINGS, 5000)).toBe(3046.875);
  });

  test('a neighbour is measured by its own interval in version 3, by ours in version 2', () => {
    const heard = { ...advert(200, { intervalMs: 1000 }), at: monoMs(10) };
    expect(neighbourDownAt(SETTINGS, heard)).toBe(10 + 3000 + 609.375);
    expect(neighbourDownAt({ ...SETTINGS, version: 2 }, heard)).toBe(10 + 300 + 609.375);
    expect(neighbourDownAt(SETTINGS, { ...heard, priority: 0 })).toBe(10 + 609.375);
  });

  test.each([
    ['a higher priority', 101, host(40), 'higher-priority'],
    ['an owner', 255, host(40), 'higher-priority'],
    ['the same from a higher address', 100, host(51), 'higher-address'],
    ['the same from a lower address', 100, host(49), null],
    ['a lower priority', 99, host(200), null],
    ['a goodbye', 0, host(200), null],
    ['itself', 100, host(50), null],
  ])('an active router against %s', (_name, priority, source, expected) => {
    expect(yieldsTo(SETTINGS, advert(priority, { source }))).toBe(expected);
  });

  test('addresses are compared as numbers, not as texts', () => {
    const settings = { ...SETTINGS, primary: host(9) };
    expect(yieldsTo(settings, advert(100, { source: host(10) }))).toBe('higher-address');
  });
});

describe('a Backup router', () => {
  test('waits for the active-down interval from its start, then may open', () => {
    const run = new Run().start();
    expect(run.outputs).toEqual([{ kind: 'arm', at: DOWN }]);
    expect(activeDownAt(run.router, run.settings)).toBe(DOWN);
    expect(run.timer(DOWN - 1).outputs).toEqual([{ kind: 'arm', at: DOWN }]);
    expect(run.timer(DOWN).outputs).toEqual([{ kind: 'may-open', reason: 'active-down' }]);
    expect(mayOpen(run.router)).toBe('active-down');
    expect(advertisedPriority(run.router, run.settings)).toBeNull();
  });

  test('that owns the addresses need not wait', () => {
    const run = new Run({ priority: 255 }).start();
    expect(run.outputs).toEqual([{ kind: 'may-open', reason: 'owner' }]);
  });

  test.each([
    ['a higher', 200],
    ['an equal', 100],
  ])('waits anew after %s priority, by the interval of its sender', (_name, priority) => {
    const run = new Run().start().hear(50, priority, { intervalMs: 1000 });
    expect(run.outputs).toEqual([{ kind: 'arm', at: 50 + 3000 + 609.375 }]);
    expect(activeNeighbour(run.router, run.settings, monoMs(3000))?.source).toBe(host(40));
    expect(activeNeighbour(run.router, run.settings, monoMs(3660))).toBeNull();
  });

  test('waits for a lower priority too where it does not preempt', () => {
    const run = new Run({ isPreempting: false }).start().hear(50, 20);
    expect(run.outputs).toEqual([{ kind: 'arm', at: 50 + DOWN }]);
  });

  test('waits only for the skew after a goodbye, and goodbyes in a row put nothing off', () => {
    const run = new Run().start().hear(10, 200).hear(50, 0);
    expect(run.outputs).toEqual([{ kind: 'arm', at: 50 + SKEW }]);
    expect(activeNeighbour(run.router, run.settings, monoMs(50))).toBeNull();
    run.hear(80, 0);
    expect(run.timer(50 + SKEW).outputs).toEqual([{ kind: 'may-open', reason: 'released' }]);
  });

  test('takes no goodbye from another one than spoke last', () => {
    const run = new Run().start().hear(10, 200);
    run.hear(50, 0, { source: host(41) });
    expect(run.outputs).toEqual([]);
    expect(activeDownAt(run.router, run.settings)).toBe(10 + DOWN);
    expect(activeNeighbour(run.router, run.settings, monoMs(60))?.source).toBe(host(40));
    // Whoever it was, it has not spoken for so long that nobody is left.
    run.hear(10 + DOWN, 0, { source: host(41) });
    expect(activeDownAt(run.router, run.settings)).toBe(10 + DOWN + SKEW);
  });

  test('that may open may not any more once somebody is heard', () => {
    const run = new Run()
      .start()
      .timer(DOWN)
      .hear(DOWN + 1, 200);
    expect(mayOpen(run.router)).toBeNull();
    expect(run.outputs).toEqual([{ kind: 'arm', at: DOWN + 1 + DOWN }]);
  });

  test('is not moved by its own advertisements', () => {
    const run = new Run()
      .start()
      .timer(DOWN)
      .hear(DOWN + 1, 200, { source: host(50) });
    expect(mayOpen(run.router)).toBe('active-down');
  });

  test('waits longer where its priority falls', () => {
    const run = new Run().start();
    run.settings = { ...run.settings, priority: 1 };
    run.at(1, { kind: 'settings' });
    expect(run.outputs).toEqual([{ kind: 'arm', at: 300 + (255 / 256) * 100 }]);
  });
});

describe('what an active router sends', () => {
  const isSent = ({ kind }: VrrpOutput): boolean => kind === 'send';
  const armedAt = ({ outputs }: Run): number =>
    outputs.find((output) => output.kind === 'arm')?.at ?? Number.NaN;

  test('never comes late by the timers before it, and the first time by a tenth too early at most', () => {
    const openedAt = fc.double({ min: 0, max: 1e9, noNaN: true });
    const lates = fc.array(fc.double({ min: 0, max: 0.09, noNaN: true }), { minLength: 3 });
    fc.assert(
      fc.property(openedAt, fc.integer({ min: 1, max: 4095 }), lates, (at, tens, parts) => {
        const intervalMs = tens * 10;
        const run = new Run({ intervalMs }).at(at, { kind: 'opened' });
        const first = armedAt(run);
        expect(first).toBeGreaterThan(at + 0.9 * intervalMs - 0.01);
        expect(first).toBeLessThan(at + intervalMs + 0.01);
        for (const [i, part] of parts.entries()) {
          run.timer(armedAt(run) + part * intervalMs);
          expect(run.outputs.filter(isSent)).toHaveLength(1);
          expect(armedAt(run)).toBeCloseTo(first + (i + 1) * intervalMs, 3);
        }
      }),
    );
  });

  test('spaces an answer from what was sent, wherever in a tenth of the interval that was', () => {
    const answersAt = (sentAt: number, heardAt: number): boolean =>
      new Run().at(sentAt, { kind: 'opened' }).hear(heardAt, 20).outputs.some(isSent);
    for (const sentAt of [1000, 1004.5, 1009.9]) {
      expect(answersAt(sentAt, sentAt + 9.9)).toBe(false);
      expect(answersAt(sentAt, sentAt + 10)).toBe(true);
    }
  });

  test('goes with what others send that opened at about the same time', () => {
    const times = Array.from({ length: 255 }, (_, i) =>
      armedAt(new Run({ intervalMs: 1000 }).at(7003 + i * 0.3, { kind: 'opened' })),
    );
    expect(new Set(times)).toEqual(new Set([8000]));
  });
});

describe('a router that preempts', () => {
  const claimed = (): Run => new Run().start().hear(300, 20).timer(DOWN);

  test('ignores the lower priority for its timer, then claims by advertisements', () => {
    const run = new Run().start().hear(300, 20);
    expect(run.outputs).toEqual([{ kind: 'arm', at: DOWN }]);
    run.timer(DOWN);
    expect(run.router.kind).toBe('claiming');
    expect(run.outputs).toEqual([
      { kind: 'send', priority: 100 },
      { kind: 'arm', at: 460 },
    ]);
    expect(mayOpen(run.router)).toBeNull();
    expect(advertisedPriority(run.router, run.settings)).toBe(100);
  });

  test('may open only when the other has been silent', () => {
    const run = claimed().hear(DOWN + 50, 20);
    const quietAt = DOWN + 50 + CLAIM_QUIET_INTERVALS * 100;
    run.timer(DOWN + 100);
    expect(run.outputs).toEqual([
      { kind: 'send', priority: 100 },
      { kind: 'arm', at: quietAt },
    ]);
    expect(run.timer(quietAt).outputs).toEqual([{ kind: 'may-open', reason: 'claimed' }]);
  });

  test('may open at once when the other says goodbye', () => {
    const run = claimed().hear(DOWN + 5, 0);
    expect(run.outputs).toEqual([{ kind: 'arm', at: DOWN + 5 }]);
    expect(run.timer(DOWN + 5).outputs).toEqual([{ kind: 'may-open', reason: 'claimed' }]);
  });

  test('does not open where only another one says goodbye', () => {
    const run = claimed().hear(DOWN + 5, 0, { source: host(41) });
    expect(run.outputs).toEqual([]);
    expect(run.timer(DOWN + 5).router.kind).toBe('claiming');
  });

  test('waits for the whole delay again where the lower one was gone meanwhile', () => {
    const run = new Run({ preemptDelayMs: 5000 })
      .start()
      .hear(300, 20)
      .timer(300 + DOWN)
      .hear(10_000, 20);
    for (let now = 10_100; now < 15_000; now += 100) run.hear(now, 20);
    expect(run.timer(14_999).router.kind).toBe('backup');
    expect(run.timer(15_000).router.kind).toBe('claiming');
  });

  test('goes back where a better one speaks', () => {
    const run = claimed().hear(DOWN + 5, 150);
    expect(run.router.kind).toBe('backup');
    expect(run.outputs).toEqual([{ kind: 'arm', at: DOWN + 5 + DOWN }]);
  });

  test('says goodbye where the election does not want it', () => {
    const run = claimed().at(DOWN + 5, { kind: 'closed' });
    expect(run.outputs[0]).toEqual({ kind: 'send', priority: 0 });
    expect(run.router.kind).toBe('backup');
  });

  test('waits for the preempt delay from when it first heard the lower one', () => {
    const run = new Run({ preemptDelayMs: 5000 }).start().hear(300, 20);
    // Looked at sooner: then the lower one would have fallen silent.
    expect(run.outputs).toEqual([{ kind: 'arm', at: 300 + DOWN }]);
    for (let now = 400; now < 5300; now += 100) run.hear(now, 20);
    expect(run.timer(5299).router.kind).toBe('backup');
    expect(run.timer(5300).router.kind).toBe('claiming');
  });

  test('waits for a long delay no longer than the lower one is heard', () => {
    const run = new Run({ preemptDelayMs: 300_000 }).start().hear(300, 20);
    expect(run.timer(299 + DOWN).router.kind).toBe('backup');
    expect(run.timer(300 + DOWN).outputs).toContainEqual({
      kind: 'may-open',
      reason: 'active-down',
    });
  });

  test('does not wait for the delay once the lower one is gone', () => {
    const run = new Run({ preemptDelayMs: 200 })
      .start()
      .hear(300, 20)
      .timer(500 + DOWN);
    expect(run.outputs).toContainEqual({ kind: 'may-open', reason: 'active-down' });
  });
});

describe('an active router', () => {
  const active = (settings: Partial<VrrpSettings> = {}): Run =>
    new Run(settings).start().at(1000, { kind: 'opened' });

  test('advertises at once and every interval', () => {
    const run = active();
    const both = (at: number): VrrpOutput[] => [
      { kind: 'send', priority: 100 },
      { kind: 'arm', at: monoMs(at) },
    ];
    expect(run.outputs).toEqual(both(1100));
    expect(run.timer(1100).outputs).toEqual(both(1200));
    expect(run.at(1150, { kind: 'opened' }).outputs).toEqual([]);
  });

  test('yields to a higher priority at once, without a goodbye', () => {
    const run = active().hear(1050, 150);
    expect(run.outputs).toEqual([
      { kind: 'yield', to: host(40), reason: 'higher-priority' },
      { kind: 'arm', at: 1050 + DOWN },
    ]);
    expect(run.router.kind).toBe('backup');
  });

  test('of equal priority yields to the higher address only', () => {
    expect(active().hear(1050, 100, { source: host(51) }).router.kind).toBe('backup');
    expect(active().hear(1050, 100, { source: host(49) }).router.kind).toBe('active');
  });

  test('answers a lower priority and announces the VIPs again', () => {
    const run = active().hear(1050, 99);
    expect(run.outputs).toEqual([
      { kind: 'send', priority: 100 },
      { kind: 'arm', at: 1150 },
      { kind: 'announce' },
    ]);
  });

  test('answers a goodbye at once', () => {
    expect(active().hear(1050, 0).outputs).toEqual([
      { kind: 'send', priority: 100 },
      { kind: 'arm', at: 1150 },
    ]);
  });

  test('is not made to flood', () => {
    const run = active();
    let sent = 0;
    for (let now = 1000; now < 2000; now++) {
      run.hear(now, now % 2 === 0 ? 20 : 0);
      sent += run.outputs.filter(({ kind }) => kind === 'send').length;
    }
    expect(sent).toBeLessThanOrEqual(100);
  });

  test.each(['closed', 'shutdown'] as const)('says goodbye when %s', (kind) => {
    const run = active().at(1050, { kind });
    expect(run.outputs[0]).toEqual({ kind: 'send', priority: 0 });
    expect(run.router.kind).toBe(kind === 'closed' ? 'backup' : 'initialize');
  });
});

test('a router that has not started hears and says nothing', () => {
  const run = new Run().hear(1, 200);
  expect(run.outputs).toEqual([]);
  expect(run.at(2, { kind: 'shutdown' }).outputs).toEqual([]);
});

/** Routers whose election opens whenever the wire lets it; a link that loses the first advertisements. */
class Segment {
  readonly #runs: Run[];
  readonly #due: (number | null)[];
  readonly #lose: (from: number) => boolean;
  readonly #flying: { at: number; from: number; advert: VrrpAdvert }[] = [];
  now = 0;
  voicesMost = 0;
  #isAlive: boolean[];

  constructor(priorities: readonly number[], lose: (from: number) => boolean) {
    this.#lose = lose;
    this.#runs = priorities.map(
      (priority, i) => new Run({ priority, primary: host(10 + i), intervalMs: 100 }),
    );
    this.#due = priorities.map(() => null);
    this.#isAlive = priorities.map(() => false);
  }

  power(place: number, isOn: boolean): void {
    this.#isAlive[place] = isOn;
    const run = this.#runs[place];
    if (run === undefined) return;
    run.router = INITIAL_ROUTER;
    this.#due[place] = null;
    if (isOn) this.#step(place, { kind: 'start' });
  }

  voices(): readonly number[] {
    return this.#runs.flatMap(({ router }, i) => (router.kind === 'active' ? [i] : []));
  }

  advance(ms: number): void {
    const end = this.now + ms;
    for (; this.now < end; this.now++) {
      const landed = this.#flying.filter(({ at }) => at <= this.now);
      for (const { from, advert: said } of landed)
        for (let to = 0; to < this.#runs.length; to++)
          if (to !== from && this.#isAlive[to] === true && !this.#lose(from))
            this.#step(to, { kind: 'advert', advert: said });
      this.#flying.splice(
        0,
        this.#flying.length,
        ...this.#flying.filter(({ at }) => at > this.now),
      );
      for (const [place, at] of this.#due.entries())
        if (at !== null && at <= this.now && this.#isAlive[place] === true)
          this.#step(place, { kind: 'timer' });
      this.voicesMost = Math.max(this.voicesMost, this.voices().length);
    }
  }

  #step(place: number, event: VrrpEvent): void {
    const run = this.#runs[place];
    if (run === undefined) return;
    run.at(this.now, event);
    for (const output of run.outputs) {
      if (output.kind === 'arm') this.#due[place] = output.at;
      if (output.kind === 'may-open') this.#step(place, { kind: 'opened' });
      if (output.kind === 'send')
        this.#flying.push({
          at: this.now + 1,
          from: place,
          advert: advert(output.priority, { source: host(10 + place) }),
        });
    }
  }
}

describe('several routers', () => {
  const lossless = (): boolean => false;

  test('the best one opens, and the next one after its death', () => {
    const segment = new Segment([100, 200, 150], lossless);
    for (const place of [0, 1, 2]) segment.power(place, true);
    segment.advance(1000);
    expect(segment.voices()).toEqual([1]);
    segment.power(1, false);
    segment.advance(500);
    expect(segment.voices()).toEqual([2]);
    expect(segment.voicesMost).toBe(1);
  });

  test('a better one that comes back preempts without a second voice, however many claims are lost', () => {
    fc.assert(
      fc.property(fc.nat({ max: 9 }), (lost) => {
        let left = lost;
        const segment = new Segment([100, 200], (from) => from === 1 && left-- > 0);
        segment.power(0, true);
        segment.advance(1000);
        expect(segment.voices()).toEqual([0]);
        segment.power(1, true);
        segment.advance(3000);
        expect(segment.voices()).toEqual([1]);
        expect(segment.voicesMost).toBe(1);
      }),
    );
  });

  test('after any loss there is one voice again, the best one', () => {
    fc.assert(
      fc.property(
        fc.integer(),
        fc.uniqueArray(fc.integer({ min: 1, max: 254 }), { minLength: 2, maxLength: 4 }),
        (seed, priorities) => {
          const random = new SeededRandom(seed);
          let isLossy = true;
          const segment = new Segment(priorities, () => isLossy && random.chance(0.7));
          for (const place of priorities.keys()) segment.power(place, true);
          segment.advance(2000);
          isLossy = false;
          segment.advance(2000);
          expect(segment.voices()).toEqual([priorities.indexOf(Math.max(...priorities))]);
        },
      ),
      { numRuns: 30 },
    );
  });
});

describe('a router that is silenced', () => {
  const active = (): Run => new Run().start().at(DOWN, { kind: 'opened' });

  test('says nothing, and may open again until somebody else is heard', () => {
    const run = active().at(DOWN + 50, { kind: 'silenced' });
    expect(run.outputs).toEqual([]);
    expect(mayOpen(run.router)).toBe('unopposed');
    run.hear(DOWN + 80, 120);
    expect(mayOpen(run.router)).toBeNull();
  });

  test('listens first where another one has advertised beside it', () => {
    const run = active()
      .hear(DOWN + 40, 20)
      .at(DOWN + 50, { kind: 'silenced' });
    expect(run.outputs.filter(({ kind }) => kind === 'send')).toEqual([]);
    expect(mayOpen(run.router)).toBeNull();
    expect(run.timer(DOWN + 50 + DOWN).outputs).toContainEqual({
      kind: 'may-open',
      reason: 'active-down',
    });
  });

  test('listens on after a claim that it gives up', () => {
    const run = new Run().start().hear(300, 20).hear(340, 20).timer(DOWN);
    expect(run.router.kind).toBe('claiming');
    run.at(DOWN + 10, { kind: 'silenced' });
    expect(run.router.kind).toBe('backup');
    expect(mayOpen(run.router)).toBeNull();
    expect(run.outputs.map(({ kind }) => kind)).toEqual(['arm']);
  });
});
