/** The two orderly ends of an agent: give everything up, or leave it all to a new process of this director. */
import type { ElectionState } from '../core/election/state.ts';
import type { Clock } from '../ports/clock.ts';
import type { Log } from '../ports/log.ts';
import type { HoldLoop } from './hold-loop.ts';

/** `signal.reason` of an end that leaves VIPs, session and table to a new process (design 4.14). */
export const FREEZE = 'freeze';

/** How long an end may take before the agent goes without it; the kernel's deadlines do the rest. */
const END_MS = 4000;
/** A handover that has begun by then ends by its own deadlines, and the session is closed after it. */
const LEAVING_MS = 2000;
const LEFT_MS = 500;
const LOOK_MS = 10;

export type ShutDownPorts = {
  readonly hold: Pick<HoldLoop, 'offer' | 'state'>;
  readonly clock: Clock;
  readonly log: Log;
};

/** Every group handed over or silenced, and the session closed; false where that took too long. */
export async function release({ hold, clock, log }: ShutDownPorts): Promise<boolean> {
  hold.offer({ kind: 'stop' });
  const isDone = await isSoon(hold, clock, (state) => state.session.kind === 'closed');
  if (!isDone) log.warn({}, 'release.unfinished');
  return isDone;
}

/** D raised as far as the others were told before; nothing is given up. False where that took too long. */
export async function freeze({ hold, clock, log }: ShutDownPorts): Promise<boolean> {
  hold.offer({ kind: 'freeze' });
  const isDone = await isSoon(hold, clock, (state) => state.isFrozen);
  if (!isDone) log.warn({}, 'freeze.unfinished');
  return isDone;
}

async function isSoon(
  hold: Pick<HoldLoop, 'state'>,
  clock: Clock,
  test: (state: ElectionState) => boolean,
): Promise<boolean> {
  let endAt = clock.now() + END_MS;
  const lastAt = endAt + LEAVING_MS;
  while (!test(hold.state()) && clock.now() < endAt) {
    if (isLeaving(hold.state())) endAt = Math.max(endAt, Math.min(clock.now() + LEFT_MS, lastAt));
    await clock.sleep(LOOK_MS);
  }
  return test(hold.state());
}

function isLeaving({ holdings }: ElectionState): boolean {
  for (const { kind } of holdings.values()) if (kind === 'leaving') return true;
  return false;
}
