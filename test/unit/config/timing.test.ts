/** The timings: the profiles, their bounds, and the relations between single values (design 4, 5). */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseClusterDocument } from '../../../src/config/cluster-document.ts';
import { formatDuration } from '../../../src/config/durations.ts';
import { formatProblems } from '../../../src/config/problem.ts';
import { takeoverWaitMs } from '../../../src/config/timing.ts';
import type { Timing } from '../../../src/model/cluster.ts';
import { type BadCase, itFindsEach, problemsOf, withValue } from './documents.ts';

const TIMINGS: readonly BadCase[] = [
  [
    'a hold over a minute',
    ['timing'],
    { hold: '61s', leaseTtl: '100s' },
    'timing.hold',
    /out of range/,
  ],
  ['a slack of 5 ms', ['timing'], { slack: '5ms' }, 'timing.slack', /out of range/],
  [
    'a round over a fifth of hold',
    ['timing'],
    { round: '101ms' },
    'timing.round',
    /101ms is more than a fifth of hold \(500ms\)/,
  ],
  [
    'a hold that the round of its profile does not fit',
    ['timing'],
    { profile: 'fast', hold: '119ms' },
    'timing.round',
    /24ms is more than a fifth of hold \(119ms\)/,
  ],
  [
    'a suspect under 2.5 heartbeats',
    ['timing'],
    { suspect: '249ms' },
    'timing.suspect',
    /2\.5 heartbeats \(100ms each\)/,
  ],
  [
    'a heartbeat too slow for the suspect of its profile',
    ['timing'],
    { profile: 'relaxed', heartbeat: '2s' },
    'timing.suspect',
    /3s is less than 2\.5 heartbeats \(2s each\)/,
  ],
  ['a lease under 5 s', ['timing'], { leaseTtl: '4s' }, 'timing.leaseTtl', /out of range/],
  [
    "a lease that ends before D'",
    ['timing'],
    { hold: '8s' },
    'timing.leaseTtl',
    /10s is shorter than D' \(10020ms/,
  ],
  [
    'a lease of half seconds',
    ['timing'],
    { leaseTtl: '10500ms' },
    'timing.leaseTtl',
    /whole seconds/,
  ],
  ['a drift of 0.001', ['timing'], { drift: 0.001 }, 'timing.drift', /less than a steered clock/],
  [
    'a heartbeat without unit',
    ['timing'],
    { heartbeat: 1000 },
    'timing.heartbeat',
    /1000 does not fit/,
  ],
];

const timingOf = (timing: unknown): Timing => {
  const parsed = parseClusterDocument(withValue(['timing'], timing));
  if (!parsed.ok) throw new Error(formatProblems(parsed.error));
  return parsed.value.spec.timing;
};

describe('timing', () => {
  itFindsEach(TIMINGS);

  it('has no hold under 100 ms, nor rounds under 20 ms', () => {
    const timing = { profile: 'fast', hold: '99ms', round: '19ms' };
    expect(problemsOf(withValue(['timing'], timing)).map(({ path }) => path)).toEqual([
      'timing.hold',
      'timing.round',
    ]);
  });
});

describe('profiles', () => {
  it.each([
    ['fast', [20, 50, 24, 120, 30, 170, 10]],
    ['default', [100, 250, 100, 500, 125, 645, 10]],
    ['relaxed', [1000, 3000, 600, 3000, 750, 3770, 15]],
  ])("%s is heartbeat, suspect, R, D, P, D', lease of design 5", (profile, expected) => {
    const timing = timingOf({ profile });
    expect(timing).toMatchObject({ profile, slackMs: 20, driftMargin: 0.25 });
    expect([
      timing.heartbeatMs,
      timing.suspectMs,
      timing.roundMs,
      timing.holdMs,
      timing.permitMs,
      takeoverWaitMs(timing),
      timing.leaseTtlS,
    ]).toEqual(expected);
  });

  it.each([undefined, {}])('default is used for %j', (timing) => {
    expect(timingOf(timing)).toEqual(timingOf({ profile: 'default' }));
  });

  it('give what a document leaves out', () => {
    expect(timingOf({ profile: 'fast', hold: '150ms' })).toEqual({
      ...timingOf({ profile: 'fast' }),
      holdMs: 150,
      permitMs: 37,
    });
  });
});

describe('any accepted timing', () => {
  const single = (from: number, to: number) =>
    fc.option(fc.integer({ min: from, max: to }), { nil: null });
  const document = fc.record({
    profile: fc.constantFrom('fast', 'default', 'relaxed'),
    hold: single(50, 5000),
    round: single(10, 1000),
    heartbeat: single(5, 1000),
    suspect: single(20, 4000),
    slack: single(5, 100),
  });

  it('keeps every relation of design 5 and every value as given', () => {
    let accepted = 0;
    fc.assert(
      fc.property(document, ({ profile, ...singles }) => {
        const given = Object.entries(singles).filter(([, ms]) => ms !== null);
        const timing = Object.fromEntries(given.map(([key, ms]) => [key, formatDuration(ms ?? 0)]));
        const written = withValue(['timing'], { profile, ...timing });
        if (problemsOf(written).length > 0) return;
        accepted += 1;
        const built = timingOf({ profile, ...timing });
        const values: Readonly<Record<string, number>> = {
          hold: built.holdMs,
          round: built.roundMs,
          heartbeat: built.heartbeatMs,
          suspect: built.suspectMs,
          slack: built.slackMs,
        };
        for (const [key, ms] of given) expect(values[key]).toBe(ms);
        expect(built.roundMs * 5).toBeLessThanOrEqual(built.holdMs);
        expect(built.suspectMs).toBeGreaterThanOrEqual(2.5 * built.heartbeatMs);
        expect(built.permitMs * 4).toBeLessThanOrEqual(built.holdMs);
        expect(built.holdMs).toBeGreaterThanOrEqual(100);
        expect(built.slackMs).toBeGreaterThanOrEqual(10);
        expect(takeoverWaitMs(built)).toBeGreaterThan(built.holdMs * 1.25);
        expect(built.leaseTtlS * 1000).toBeGreaterThanOrEqual(takeoverWaitMs(built));
      }),
      { numRuns: 300 },
    );
    expect(accepted).toBeGreaterThan(20);
  });
});

describe('warnings', () => {
  it("tell of a suspicion that outlasts D'", () => {
    const parsed = parseClusterDocument(
      withValue(['timing'], { profile: 'fast', heartbeat: '20ms', suspect: '2s' }),
    );
    expect(parsed.ok ? parsed.value.warnings : parsed.error).toMatchObject([
      { path: 'timing.suspect', message: expect.stringMatching(/after 2s only.*170ms \(D'\)/) },
    ]);
  });
});
