/** How long an orderly end may take: bounded, and longer only for a handover that is under way. */
import { describe, expect, it } from 'vitest';
import { release } from '../../../src/agent/shut-down.ts';
import type { ElectionState, Holding } from '../../../src/core/election/state.ts';
import { epochOf, type GroupId, monoMs, revision } from '../../../src/model/ids.ts';
import { silentLog } from '../../../src/ports/log.ts';
import { FakeClock } from '../../fakes/fake-clock.ts';
import { D2, ElectionDriver, G1 } from '../core/election/election-driver.ts';

const LEAVING: Holding = {
  kind: 'leaving',
  epoch: epochOf(revision(5)),
  ownerRev: revision(6),
  since: monoMs(0),
  giveUp: { reason: 'shutdown', to: D2, operation: null },
  phase: 'muted',
  mutedAt: monoMs(0),
  nextTellAt: monoMs(0),
  closeAt: null,
  successorEpoch: epochOf(revision(6)),
  isByConsent: false,
};

/** An end during which a group leaves until then, and the session is closed so much later. */
async function end(leavesUntilMs: number, closedAfterMs: number) {
  const clock = new FakeClock();
  const { state } = new ElectionDriver();
  const closedAtMs = leavesUntilMs + closedAfterMs;
  const now = (): ElectionState => {
    const holdings = new Map<GroupId, Holding>(clock.now() < leavesUntilMs ? [[G1, LEAVING]] : []);
    const session = clock.now() < closedAtMs ? state.session : ({ kind: 'closed' } as const);
    return { ...state, holdings, session };
  };
  const isDone = await clock.settle(
    release({ hold: { offer: () => {}, state: now }, clock, log: silentLog }),
  );
  return [isDone, clock.now()] as const;
}

describe('an orderly end', () => {
  it('is over when the session is closed', async () => {
    expect(await end(100, 20)).toEqual([true, 120]);
  });

  it('goes without it after 4 s', async () => {
    expect(await end(0, 60_000)).toEqual([false, 4000]);
  });

  it('waits for a handover that has begun late, and for the session after it', async () => {
    expect(await end(4900, 300)).toEqual([true, 5200]);
    expect(await end(4900, 60_000)).toEqual([false, 5390]);
  });

  it('and for none that does not end', async () => {
    expect(await end(60_000, 0)).toEqual([false, 6000]);
  });
});
