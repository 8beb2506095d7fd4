/** Signs of life: what a plain map of the last times says, told by what heartbeats name. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { beginDraft, surveyed } from '../../../../src/core/election/draft.ts';
import { firstSuspectAt, Heard, suspectAt } from '../../../../src/core/election/hearing.ts';
import { epochOf, type GroupId, groupId, monoMs, revision } from '../../../../src/model/ids.ts';
import {
  candidate,
  D2,
  D3,
  ElectionDriver,
  group,
  keys,
  live,
  ownerOf,
  TIMING,
} from './election-driver.ts';
import { formatRecord } from '../../../../src/model/records.ts';

const GROUPS = ['a', 'b', 'c'].map(groupId);
const EPOCH = epochOf(revision(1));
const named = fc.subarray(GROUPS, { minLength: 0 });

describe('what was heard of a director', () => {
  it('is when each group was last named', () => {
    fc.assert(
      fc.property(fc.array(named, { maxLength: 12 }), (heartbeats) => {
        let heard = Heard.nothing;
        const model = new Map<GroupId, number>();
        heartbeats.forEach((groups, at) => {
          heard = heard.next(
            groups.map((one) => ({ group: one, epoch: EPOCH })),
            monoMs(at),
          );
          for (const one of groups) model.set(one, at);
          for (const one of GROUPS) expect(heard.get(one)).toBe(model.get(one));
          expect(heard.size).toBe(model.size);
          expect(new Set(heard.values())).toEqual(new Set(model.values()));
        });
      }),
    );
  });

  it('shares the names of a heartbeat with the one before that named the same', () => {
    const told = () => GROUPS.map((one) => ({ group: one, epoch: EPOCH }));
    const first = Heard.nothing.next(told(), monoMs(1));
    const second = first.next(told(), monoMs(2));
    expect(second.named).toBe(first.named);
    expect(second.get(GROUPS[0] ?? groupId(''))).toBe(2);
  });
});

describe('the first suspicion about a director', () => {
  it('is the soonest about any of its groups, whatever was heard and whichever lease ended', () => {
    const move = fc.oneof(
      named.map((groups) => (driver: ElectionDriver) => driver.hear(D2, groups)),
      fc.integer({ min: 1, max: 900 }).map((ms) => (driver: ElectionDriver) => {
        driver.advance(ms);
      }),
      fc.constantFrom(...GROUPS).map((one) => (driver: ElectionDriver) => {
        driver.feed({ kind: 'advert', from: D2, group: one });
      }),
      fc.constantFrom(...GROUPS).map((one) => (driver: ElectionDriver) => {
        driver.store.write(keys.lease(one), formatRecord({ v: 1, holder: D2, epoch: 1 }));
        driver.settle();
        driver.store.remove(keys.lease(one));
        driver.settle();
      }),
    );
    let ended = 0;
    fc.assert(
      fc.property(fc.array(move, { maxLength: 15 }), (moves) => {
        const driver = new ElectionDriver({ groups: GROUPS.map((one) => group(one)) });
        const session = live(driver.store, D2);
        for (const one of GROUPS)
          driver.store.write(keys.owner(one), formatRecord(ownerOf({ session })));
        driver.begin();
        for (const one of moves) {
          one(driver);
          const draft = beginDraft(driver.state, monoMs(driver.now), driver.config);
          const groups = surveyed(draft).owned.get(D2) ?? [];
          const each = groups.map((name) => suspectAt(draft, D2, name));
          const soonest = Math.min(Infinity, ...each);
          const first = firstSuspectAt(draft, D2);
          // Advertisements put off what is still to come: it is looked at again then.
          const unadvertised = { ...draft, state: { ...draft.state, adverts: new Map() } };
          const byHeartbeats = Math.min(
            Infinity,
            ...groups.map((name) => suspectAt(unadvertised, D2, name)),
          );
          expect(first).toBe(byHeartbeats > draft.now ? byHeartbeats : soonest);
          expect(first).toBeLessThanOrEqual(soonest);
          ended += [...driver.state.view.leases.values()].filter(({ rev }) => rev === 0).length;
        }
      }),
      { numRuns: 60 },
    );
    expect(ended).toBeGreaterThan(0);
  });

  it('is none where it owns nothing', () => {
    const driver = candidate();
    const draft = beginDraft(driver.state, monoMs(driver.now), driver.config);
    expect(firstSuspectAt(draft, D3)).toBe(Infinity);
  });
});

describe('an advertisement of the holder itself', () => {
  const [one = groupId('')] = GROUPS;
  const { suspectMs } = TIMING;

  /** When d2 is suspect about its group, counted from its last heartbeat. */
  function suspectAfter(advertsAt: readonly number[]): number {
    const driver = new ElectionDriver({ groups: [group(one)] });
    const session = live(driver.store, D2);
    driver.store.write(keys.owner(one), formatRecord(ownerOf({ session })));
    driver.begin();
    driver.hear(D2, [one]);
    const heardAt = driver.now;
    for (const at of advertsAt) {
      driver.advance(heardAt + at - driver.now);
      driver.feed({ kind: 'advert', from: D2, group: one });
    }
    return (
      suspectAt(beginDraft(driver.state, monoMs(driver.now), driver.config), D2, one) - heardAt
    );
  }

  it('puts suspicion off by as much as a heartbeat would', () => {
    expect(suspectAfter([])).toBe(suspectMs);
    expect(suspectAfter([100])).toBe(100 + suspectMs);
  });

  it('is looked at when heartbeats alone would make it suspect, and suspected in time', () => {
    const driver = new ElectionDriver({ groups: [group(one)] });
    const session = live(driver.store, D2);
    driver.store.write(keys.owner(one), formatRecord(ownerOf({ session })));
    driver.begin();
    driver.hear(D2, [one]);
    driver.advance(suspectMs / 2);
    driver.feed({ kind: 'advert', from: D2, group: one });
    const isChallenged = (): boolean => driver.store.read(keys.challenge(D2)).value !== null;
    driver.advance(suspectMs - 10);
    expect(isChallenged()).toBe(false);
    driver.advance(20);
    expect(isChallenged()).toBe(true);
  });

  it('counts for three times the patience and no more, however many come', () => {
    const often = Array.from({ length: 35 }, (_, i) => (i + 1) * 250);
    expect(suspectAfter(often)).toBe(3 * suspectMs);
  });
});
