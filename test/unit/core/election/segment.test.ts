/** Neither the store nor all peers: what a holder does by its gateway alone (design 4.10). */
import { describe, expect, it } from 'vitest';
import type { DirectorId } from '../../../../src/model/ids.ts';
import type { PeerMessage } from '../../../../src/model/peer.ts';
import type { ElectionDriver } from './election-driver.ts';
import { D1, D2, D3, G1, holder, isTxn, live, TIMING } from './election-driver.ts';

type Hold = PeerMessage & { readonly kind: 'hold' };
type Scene = {
  readonly isGatewayThere: boolean;
  /** What a director that is asked says; null: nothing. */
  readonly answer?: (from: DirectorId, question: Hold) => PeerMessage | null;
};

const STEP_MS = 100;
const directors = [D1, D2, D3].map((id) => ({ id, zone: null }));

/** Holds g1, with d2 and d3 in its scope. */
function isolated(isolation: 'gateway' | 'release' = 'gateway'): ElectionDriver {
  const driver = holder({ isolation, directors });
  live(driver.store, D3);
  driver.advance(2000);
  expect(driver.holding()).toBe('open');
  driver.forget();
  return driver;
}

/** The store answers nothing for so long; its txns end in doubt when their permit does. */
function withoutStore(driver: ElectionDriver, ms: number, scene: Scene): void {
  driver.keep = isTxn('round', 'challenge', 'write-scope');
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

const roundOf = ({ session, sessionRev, round, part }: Hold) => ({
  session,
  sessionRev,
  round,
  part,
});
const promise = (_from: DirectorId, question: Hold): PeerMessage => ({
  kind: 'promise',
  ...roundOf(question),
});
const only =
  (who: DirectorId, answer: NonNullable<Scene['answer']>) =>
  (from: DirectorId, question: Hold): PeerMessage | null =>
    from === who ? answer(from, question) : null;

describe('a holder that only its gateway answers', () => {
  it('goes on with what speaks, where the spec says so', () => {
    const driver = isolated();
    driver.audible = [];
    withoutStore(driver, 4 * TIMING.holdMs, { isGatewayThere: true });
    expect(driver.holding()).toBe('open');
    expect(driver.state.basis).toBe('segment');
    expect(driver.notices()).not.toContain('holder.lapsed');
  });

  it.each([
    ['the gateway is silent', { isGatewayThere: false }],
    [
      'somebody in sight refuses',
      {
        isGatewayThere: true,
        answer: only(D3, (_from, question) => ({
          kind: 'refusal',
          reason: 'open-here',
          ...roundOf(question),
        })),
      },
    ],
  ] satisfies [string, Scene][])('falls silent when %s', (_, scene) => {
    const driver = isolated();
    driver.audible = [];
    withoutStore(driver, 2 * TIMING.holdMs, scene);
    expect(driver.holding()).toBe('owned');
    expect(driver.notices()).toContain('holder.lapsed');
  });

  it('falls silent where the spec says release, and asks no gateway', () => {
    const driver = isolated('release');
    driver.audible = [];
    withoutStore(driver, 2 * TIMING.holdMs, { isGatewayThere: true });
    expect(driver.holding()).toBe('owned');
    expect(driver.of('ask-gateway')).toEqual([]);
  });

  it('does not count without who is in sight and says nothing', () => {
    const driver = isolated();
    driver.audible = [D3];
    withoutStore(driver, 2 * TIMING.holdMs, { isGatewayThere: true });
    expect(driver.holding()).toBe('owned');
  });

  it('needs only those in sight: of three directors one may be dead', () => {
    const driver = isolated();
    driver.audible = [D3];
    const answer = only(D3, promise);
    withoutStore(driver, 4 * TIMING.holdMs, { isGatewayThere: true, answer });
    expect(driver.holding()).toBe('open');
    expect(driver.state.basis).toBe('segment');
  });

  it('opens nothing that has fallen silent', () => {
    const driver = isolated();
    driver.audible = [];
    withoutStore(driver, 2 * TIMING.holdMs, { isGatewayThere: false });
    withoutStore(driver, 2 * TIMING.holdMs, { isGatewayThere: true });
    expect(driver.holding()).toBe('owned');
  });

  it('is silent at once when another voice is heard, until the store or all peers count again', () => {
    const driver = isolated();
    driver.audible = [];
    withoutStore(driver, 2 * TIMING.holdMs, { isGatewayThere: true });
    driver.forget();
    driver.feed({ kind: 'contested', group: G1 });
    expect(driver.of('close')).toHaveLength(1);
    driver.settle();
    withoutStore(driver, 2 * TIMING.holdMs, { isGatewayThere: true });
    expect(driver.holding()).toBe('owned');
    driver.keep = () => false;
    driver.advance(2 * TIMING.roundMs);
    expect(driver.holding()).toBe('open');
    expect(driver.state.basis).toBe('consensus');
  });

  it('takes no other voice as a reason while the store answers', () => {
    const driver = isolated();
    driver.feed({ kind: 'contested', group: G1 });
    driver.advance(TIMING.roundMs);
    expect(driver.holding()).toBe('open');
  });
});
