/** A time without the store: what the gateway and the peers say meanwhile is the test's. */
import type { DirectorId } from '../../../../src/model/ids.ts';
import type { PeerMessage } from '../../../../src/model/peer.ts';
import {
  candidate,
  D1,
  D2,
  D3,
  directorsOf,
  type ElectionDriver,
  isTxn,
  live,
  NEWEST,
  TIMING,
  WAIT_MS,
} from './election-driver.ts';

export type Hold = PeerMessage & { readonly kind: 'hold' };
export type Scene = {
  readonly isGatewayThere: boolean;
  /** What a director that is asked says; null: nothing. */
  readonly answer?: (from: DirectorId, question: Hold) => PeerMessage | null;
};

/** d2 holds g1; d1 and d3 are well, and see it. Then d2 falls silent, and the store with it. */
export function orphaned(fields: Parameters<typeof candidate>[0] = {}): ElectionDriver {
  const driver = candidate({
    isolation: 'gateway',
    directors: directorsOf(D1, D2, D3),
    ...fields,
  });
  live(driver.store, D3);
  for (let passed = 0; passed < 2 * WAIT_MS; passed += 500) {
    driver.advance(500);
    driver.hear();
  }
  driver.audible = [D3];
  driver.forget();
  return driver;
}

const STEP_MS = 100;
/** The store answers nothing for so long; its txns end in doubt when their permit does. */
export function withoutStore(driver: ElectionDriver, ms: number, scene: Scene): void {
  driver.keep = isTxn('round', 'challenge', 'write-scope', 'claim');
  let asked = 0;
  for (let passed = 0; passed < ms; passed += STEP_MS) {
    driver.advance(STEP_MS);
    for (const one of driver.of('ask-gateway').slice(asked)) {
      asked++;
      const { isGatewayThere: isReachable } = scene;
      driver.feed({ kind: 'gateway-answered', round: one.round, isReachable });
    }
    for (const { to, message } of driver.of('tell').splice(0)) {
      if (message.kind !== 'hold') continue;
      const answer = scene.answer?.(to, message) ?? null;
      if (answer !== null) driver.feed({ kind: 'peer', from: to, message: answer });
    }
    const late = driver.kept.filter(({ at }) => driver.now - at >= TIMING.permitMs);
    driver.kept = driver.kept.filter((one) => !late.includes(one));
    for (const { effect } of late) if (effect.kind === 'txn') driver.doubt(effect);
    driver.settle();
  }
}

export const roundOf = ({ session, sessionRev, round, part }: Hold) => ({
  session,
  sessionRev,
  round,
  part,
});
export const promise = (_from: DirectorId, question: Hold): PeerMessage => ({
  kind: 'promise',
  ...roundOf(question),
  by: NEWEST,
});
export const only =
  (who: DirectorId, answer: NonNullable<Scene['answer']>) =>
  (from: DirectorId, question: Hold): PeerMessage | null =>
    from === who ? answer(from, question) : null;
