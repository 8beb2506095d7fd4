/** What the status says of directors that are not heard. */
import { describe, expect, it } from 'vitest';
import { silenceOf } from '../../../src/agent/silence.ts';
import type { DirectorId } from '../../../src/model/ids.ts';
import { monoMs } from '../../../src/model/ids.ts';
import { formatRecord } from '../../../src/model/records.ts';
import {
  D1,
  D2,
  D3,
  directorsOf,
  ElectionDriver,
  hold,
  keys,
  live,
  sessionOf,
  TIMING,
} from '../core/election/election-driver.ts';

const ABSENT_MS = 6 * TIMING.suspectMs;

/** d2 holds, and names d3 alone; d1 is new. Who is heard is up to the test. */
function newcomer(...audible: readonly DirectorId[]): ElectionDriver {
  const driver = new ElectionDriver({ directors: directorsOf(D1, D2, D3) });
  driver.audible = audible;
  hold(driver.store, D2);
  live(driver.store, D3);
  const scope = JSON.parse(driver.store.read(keys.scope(D2)).value ?? '{}') as object;
  driver.store.write(keys.scope(D2), formatRecord({ ...scope, peers: ['d3'] }));
  return driver.begin();
}

const silence = (driver: ElectionDriver, name: DirectorId) =>
  silenceOf(
    { me: D1, now: monoMs(driver.now), election: driver.state, config: driver.config },
    name,
  );

function confirm(driver: ElectionDriver, session: number): void {
  const word = { v: 1, session, by: 'alice', reason: 'off', at: 'then' };
  driver.store.write(keys.confirmDead(D2), formatRecord(word));
  driver.see();
}

describe('a director', () => {
  it('is silent when it was not heard for long enough, with its session', () => {
    const driver = newcomer(D3);
    const { modRevision: session } = driver.store.read(keys.session(D2));
    driver.advance(ABSENT_MS - 1);
    expect(silence(driver, D2)).toBeUndefined();
    driver.advance(1);
    expect(silence(driver, D2)).toEqual({
      forMs: ABSENT_MS,
      session,
      needsWord: false,
      confirmedDead: null,
    });
    expect([silence(driver, D1), silence(driver, D3)]).toEqual([undefined, undefined]);
  });

  it('is not while it is heard, nor without an open session', () => {
    const driver = newcomer(D2, D3);
    for (let i = 0; i < 30; i++) driver.advance(TIMING.heartbeatMs);
    expect(silence(driver, D2)).toBeUndefined();
    driver.audible = [];
    driver.advance(2 * ABSENT_MS);
    driver.store.write(keys.session(D2), formatRecord(sessionOf({ state: 'closed' })));
    driver.see();
    expect(silence(driver, D2)).toBeUndefined();
  });

  it('needs the word of an operator when all are gone that its scope names', () => {
    const driver = newcomer(D3);
    for (let i = 0; i < 30; i++) driver.advance(TIMING.heartbeatMs);
    expect(silence(driver, D2)?.needsWord).toBe(false);
    expect(driver.notices()).not.toContain('holder.unaccusable');
    driver.audible = [];
    driver.advance(ABSENT_MS);
    expect(silence(driver, D2)?.needsWord).toBe(true);
    expect(driver.notices()).toContain('holder.unaccusable');
  });

  it('needs none where this one may judge it', () => {
    const driver = newcomer();
    driver.advance(ABSENT_MS);
    expect(silence(driver, D3)?.needsWord).toBe(false);
  });

  it('is confirmed dead by a word about the session that stands alone', () => {
    const driver = newcomer();
    driver.keep = () => true;
    driver.advance(ABSENT_MS);
    const { modRevision: session } = driver.store.read(keys.session(D2));
    confirm(driver, session - 1);
    expect(silence(driver, D2)?.confirmedDead).toBeNull();
    confirm(driver, session);
    expect(silence(driver, D2)?.confirmedDead).toEqual({ by: 'alice', reason: 'off', at: 'then' });
  });
});

describe('this director itself', () => {
  it.each([
    ['another machine', 'm2', true],
    ['an earlier boot of this machine', 'm1', false],
  ])('is silent where %s has its name', (_, machine, isSilent) => {
    const driver = new ElectionDriver();
    driver.store.write(keys.session(D1), formatRecord(sessionOf({ machine })));
    const scope = { v: 1, holdMs: 4000, slackMs: 1000, driftMargin: 0.25, session: 1 };
    driver.store.write(keys.scope(D1), formatRecord({ ...scope, peers: ['d2'] }));
    driver.begin();
    expect(silence(driver, D1) !== undefined).toBe(isSilent);
    if (isSilent) expect(silence(driver, D1)?.needsWord).toBe(true);
  });

  it('is not while its session is its own', () => {
    const driver = newcomer();
    driver.advance(2 * ABSENT_MS);
    expect(silence(driver, D1)).toBeUndefined();
  });
});
