import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decideQuorum, deriveQuorumEvents } from '../../../../src/core/service/quorum.ts';
import { serviceId } from '../../../../src/model/ids.ts';

const decide = (
  [need, hysteresis]: readonly [number, number],
  [live, total]: readonly [number, number],
  wasUp: boolean | null = null,
) => decideQuorum({ need, hysteresis }, { live, total }, wasUp);

describe('decideQuorum', () => {
  it.each<[string, [number, number], [number, number], boolean | null, boolean, string]>([
    ['starts up at the upper threshold', [3, 1], [4, 6], null, true, 'reached'],
    ['starts down below it', [3, 1], [3, 6], null, false, 'not-reached'],
    ['stays up down to the lower threshold', [3, 1], [2, 6], true, true, 'kept'],
    ['is lost below it', [3, 1], [1, 6], true, false, 'lost'],
    ['stays lost between the thresholds', [3, 1], [3, 6], false, false, 'not-reached'],
    ['is regained at the upper threshold', [3, 1], [4, 6], false, true, 'reached'],
    [
      'is lost with nothing live, whatever the hysteresis',
      [3, 2],
      [0, 6],
      true,
      false,
      'no-live-weight',
    ],
    ['needs 1 where nothing else is said', [1, 0], [1, 6], null, true, 'reached'],
    ['without real servers is never there', [1, 0], [0, 0], null, false, 'no-live-weight'],
  ])('%s', (_, spec, weights, wasUp, isUp, reason) => {
    expect(decide(spec, weights, wasUp)).toMatchObject({ isUp, reason });
  });

  it('is lowered to the total weight where that is all there can be', () => {
    expect(decide([9, 0], [4, 4])).toMatchObject({
      isUp: true,
      upAt: 4,
      downBelow: 4,
      isLowered: true,
    });
    expect(decide([9, 0], [3, 4], true)).toMatchObject({ isUp: false, reason: 'lost' });
    expect(decide([2, 0], [4, 4])).toMatchObject({ isLowered: false });
  });

  it('keeps the hysteresis below the quorum, also a lowered one', () => {
    expect(decide([9, 8], [1, 2])).toMatchObject({ upAt: 2, downBelow: 1, isLowered: true });
  });

  it('with everything live is up, whatever was asked for', () => {
    const anyNumber = fc.integer({ min: 0, max: 50 });
    fc.assert(
      fc.property(
        anyNumber,
        anyNumber,
        fc.integer({ min: 1, max: 50 }),
        fc.option(fc.boolean()),
        (need, hysteresis, total, wasUp) => {
          const decision = decide([need, hysteresis], [total, total], wasUp);
          expect(decision.isUp).toBe(true);
          expect(decision.downBelow).toBeLessThanOrEqual(decision.upAt);
        },
      ),
    );
  });

  it('does not change its mind where nothing changes', () => {
    const anyNumber = fc.integer({ min: 0, max: 20 });
    fc.assert(
      fc.property(
        fc.tuple(anyNumber, anyNumber),
        fc.tuple(anyNumber, anyNumber),
        fc.option(fc.boolean()),
        (spec, weights, wasUp) => {
          const { isUp } = decide(spec, weights, wasUp);
          expect(decide(spec, weights, isUp).isUp).toBe(isUp);
        },
      ),
    );
  });
});

describe('deriveQuorumEvents', () => {
  const web = serviceId('web');
  const up = decide([1, 0], [1, 1]);
  const down = decide([1, 0], [0, 1]);

  it.each<[string, boolean | null, typeof up, string[]]>([
    ['tells that it is lost', true, down, ['quorum-down']],
    ['tells that it is back', false, up, ['quorum-up']],
    ['tells nothing while it stays', true, up, []],
    ['tells nothing while it stays away', false, down, []],
    ['tells nothing of a service that starts with it', null, up, []],
    ['tells of a service that starts without it', null, down, ['quorum-down']],
  ])('%s', (_, wasUp, decision, kinds) => {
    const before = new Map(wasUp === null ? [] : [[web, wasUp] as const]);
    const events = deriveQuorumEvents(before, new Map([[web, decision]]));
    expect(events.map(({ kind }) => kind)).toEqual(kinds);
    for (const event of events) expect(event).toMatchObject({ service: web, decision });
  });
});
