/** Neither the store nor all peers: what a holder does by its gateway alone (design 4.10). */
import { describe, expect, it } from 'vitest';
import type { Timing } from '../../../../src/model/cluster.ts';
import { formatRecord } from '../../../../src/model/records.ts';
import type { ElectionDriver } from './election-driver.ts';
import {
  D1,
  D2,
  D3,
  G1,
  holder,
  keys,
  live,
  ownerOf,
  TIMING,
  WAIT_MS,
  isTxn,
} from './election-driver.ts';
import { only, promise, roundOf, type Scene, withoutStore } from './isolation.ts';

const directors = [D1, D2, D3].map((id) => ({ id, zone: null }));

/** Holds g1, with d2 and d3 in its scope. */
function isolated(
  isolation: 'gateway' | 'release' = 'gateway',
  timing: Timing = TIMING,
): ElectionDriver {
  const driver = holder({ isolation, directors, timing });
  live(driver.store, D3);
  driver.advance(2000);
  expect(driver.holding()).toBe('open');
  driver.forget();
  return driver;
}

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

  it('goes on when one that promised dies, however late that one would be suspected', () => {
    const driver = isolated('gateway', { ...TIMING, suspectMs: TIMING.holdMs });
    withoutStore(driver, TIMING.holdMs, { isGatewayThere: true, answer: promise });
    expect(driver.state.basis).toBe('peers');
    driver.audible = [D3];
    const answer = only(D3, promise);
    withoutStore(driver, 2 * TIMING.holdMs, { isGatewayThere: true, answer });
    expect(driver.state.basis).toBe('segment');
    expect(driver.notices()).not.toContain('holder.lapsed');
  });

  it('falls silent where the others know by its scope record, or may know soon, that it does not go on', () => {
    const lately = isolated('release');
    lately.keep = isTxn('write-scope');
    lately.config = { ...lately.config, isolation: 'gateway' };
    const again = isolated();
    again.keep = isTxn('write-scope');
    again.config = { ...again.config, isolation: 'release' };
    again.advance(TIMING.roundMs);
    again.config = { ...again.config, isolation: 'gateway' };
    for (const driver of [lately, again]) {
      driver.advance(TIMING.roundMs);
      expect(driver.txns('write-scope').length).toBeGreaterThan(0);
      driver.audible = [];
      withoutStore(driver, 2 * TIMING.holdMs, { isGatewayThere: true });
      expect(driver.holding()).toBe('owned');
    }
  });

  it('goes on when its scope record has been written', () => {
    const driver = isolated('release');
    driver.config = { ...driver.config, isolation: 'gateway' };
    driver.advance(TIMING.roundMs);
    driver.audible = [];
    withoutStore(driver, 2 * TIMING.holdMs, { isGatewayThere: true });
    expect(driver.holding()).toBe('open');
  });

  it('opens what has fallen silent only when nobody on the network has it', () => {
    const driver = isolated();
    driver.audible = [];
    withoutStore(driver, 2 * TIMING.holdMs, { isGatewayThere: false });
    driver.isProbeAnswered = true;
    withoutStore(driver, 6 * WAIT_MS, { isGatewayThere: true });
    expect(driver.holding()).toBe('owned');
    driver.isProbeAnswered = false;
    withoutStore(driver, 6 * WAIT_MS, { isGatewayThere: true });
    expect(driver.holding()).toBe('open');
    expect(driver.state.basis).toBe('segment');
  });

  it('is silent at once when another voice is heard, until the store or all peers count again', () => {
    const driver = isolated();
    driver.audible = [];
    withoutStore(driver, 2 * TIMING.holdMs, { isGatewayThere: true });
    driver.forget();
    driver.feed({ kind: 'contested', group: G1 });
    expect(driver.of('close')).toHaveLength(1);
    driver.settle();
    driver.isProbeAnswered = true;
    withoutStore(driver, 4 * WAIT_MS, { isGatewayThere: true });
    expect(driver.holding()).toBe('owned');
    driver.keep = () => false;
    driver.advance(2 * TIMING.roundMs);
    expect(driver.holding()).toBe('open');
    expect(driver.state.basis).toBe('consensus');
  });

  it('asks the network before it opens again what it yielded, also where the group was given to it', () => {
    const driver = isolated();
    const given = ownerOf({ director: D1, session: driver.sessionId, reason: 'switchover' });
    driver.store.write(keys.owner(G1), formatRecord(given));
    driver.see();
    driver.audible = [];
    withoutStore(driver, 2 * TIMING.holdMs, { isGatewayThere: true });
    driver.feed({ kind: 'contested', group: G1 });
    driver.settle();
    expect(driver.holding()).toBe('owned');
    driver.forget();
    driver.keep = () => false;
    for (const { effect } of driver.kept.splice(0)) if (effect.kind === 'txn') driver.doubt(effect);
    for (let passed = 0; driver.holding() !== 'open' && passed < WAIT_MS; passed += 100)
      driver.advance(100);
    expect(driver.holding()).toBe('open');
    expect(driver.of('probe').at(-1)).toMatchObject({ group: G1, length: 'short' });
  });

  it('is announced again each second, for who holds by the segment, too, may hear no word of it', () => {
    const driver = isolated();
    driver.audible = [];
    driver.advance(3000);
    expect(driver.of('repeat')).toEqual([]);
    withoutStore(driver, 2 * TIMING.holdMs, { isGatewayThere: true });
    driver.forget();
    withoutStore(driver, 10_000, { isGatewayThere: true });
    const repeats = driver.of('repeat');
    expect(repeats.every(({ groups }) => groups.length === 1 && groups[0] === G1)).toBe(true);
    expect(repeats.length).toBeGreaterThanOrEqual(Math.floor(10_000 / (1000 + TIMING.roundMs)));
    expect(repeats.length).toBeLessThanOrEqual(10);
    driver.keep = () => false;
    driver.advance(2 * TIMING.roundMs);
    driver.forget();
    driver.advance(3000);
    expect(driver.state.basis).toBe('consensus');
    expect(driver.of('repeat')).toEqual([]);
  });

  it('takes no other voice as a reason while the store answers', () => {
    const driver = isolated();
    driver.feed({ kind: 'contested', group: G1 });
    driver.advance(TIMING.roundMs);
    expect(driver.holding()).toBe('open');
  });
});
