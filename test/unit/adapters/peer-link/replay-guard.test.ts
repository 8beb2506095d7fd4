import { createHmac } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type Claim,
  ReplayGuard,
  SENDERS_MAX,
  type Verdict,
  WINDOW,
} from '../../../../src/adapters/peer-link/replay-guard.ts';
import { directorId } from '../../../../src/model/ids.ts';

const D1 = directorId('d1');
const nonce = (n: number): Uint8Array => new Uint8Array(16).fill(n);
const NONE = new Uint8Array(16);

function createGuard(secret = 'secret'): ReplayGuard {
  return new ReplayGuard((text) =>
    new Uint8Array(createHmac('sha256', secret).update(text).digest()).subarray(0, 16),
  );
}

/** A sender's life: it knows its nonce and the challenge it was given last. */
function life(guard: ReplayGuard, n: number, from = D1) {
  let challenge: Uint8Array = NONE;
  return {
    greet: (): void => {
      challenge = guard.challengeFor(from, nonce(n));
    },
    claim: (counter: number): Claim => ({ from, nonce: nonce(n), counter, challenge }),
  };
}

describe('ReplayGuard', () => {
  test('a new sender is heard after it has shown the challenge, not before', () => {
    const guard = createGuard();
    const first = life(guard, 1);
    expect(guard.judge(first.claim(1))).toBe('unproven');
    first.greet();
    expect(guard.judge(first.claim(2))).toBe('fresh');
  });

  test('no counter counts twice, reordering within the window is no replay, older is', () => {
    const guard = createGuard();
    const first = life(guard, 1);
    first.greet();
    const verdicts: Verdict[] = [100, 102, 101, 101, 100, 102 - WINDOW + 1, 102 - WINDOW].map(
      (counter) => guard.judge(first.claim(counter)),
    );
    expect(verdicts).toEqual([
      'fresh',
      'fresh',
      'fresh',
      'replayed',
      'replayed',
      'fresh',
      'replayed',
    ]);
  });

  test('agrees with a set of seen counters on random orders', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 300 }), { maxLength: 200 }), (counters) => {
        const guard = createGuard();
        const first = life(guard, 1);
        first.greet();
        const seen = new Set<number>();
        for (const counter of counters) {
          const highest = Math.max(0, ...seen);
          const isNews = !seen.has(counter) && counter > highest - WINDOW;
          expect(guard.judge(first.claim(counter))).toBe(isNews ? 'fresh' : 'replayed');
          if (isNews) seen.add(counter);
        }
      }),
    );
  });

  test('a recording of an earlier life never looks alive, neither seen nor held-back datagrams', () => {
    const guard = createGuard();
    const old = life(guard, 1);
    old.greet();
    expect(guard.judge(old.claim(1))).toBe('fresh');
    const next = life(guard, 2);
    expect(guard.judge(next.claim(1))).toBe('unproven');
    next.greet();
    expect(guard.judge(next.claim(2))).toBe('fresh');
    expect(guard.judge(old.claim(1))).toBe('replayed');
    expect(guard.judge(old.claim(2))).toBe('replayed');
    expect(guard.judge(next.claim(3))).toBe('fresh');
  });

  test('a life that was greeted but overtaken by its successor cannot come back', () => {
    const guard = createGuard();
    const overtaken = life(guard, 1);
    overtaken.greet();
    const next = life(guard, 2);
    next.greet();
    expect(guard.judge(next.claim(1))).toBe('fresh');
    expect(guard.judge(overtaken.claim(1))).toBe('replayed');
  });

  test('a recording from before our own start never looks alive', () => {
    const before = createGuard('earlier secret');
    const sender = life(before, 1);
    sender.greet();
    expect(before.judge(sender.claim(1))).toBe('fresh');
    const after = createGuard('new secret');
    expect(after.judge(sender.claim(2))).toBe('replayed');
    const greeted: Claim = { ...sender.claim(3), challenge: after.challengeFor(D1, nonce(1)) };
    expect(after.judge(greeted)).toBe('fresh');
  });

  test('replayed nonces in any number do not stop a restarted sender from proving itself', () => {
    const guard = createGuard();
    const old = life(guard, 1);
    old.greet();
    expect(guard.judge(old.claim(1))).toBe('fresh');
    const next = life(guard, 2);
    next.greet();
    for (let n = 3; n < 200; n++) expect(guard.judge(life(guard, n).claim(1))).toBe('unproven');
    expect(guard.judge(next.claim(2))).toBe('fresh');
  });

  test('directors do not disturb each other, and their number is bounded', () => {
    const guard = createGuard();
    for (let n = 0; n < SENDERS_MAX; n++) {
      const sender = life(guard, 1, directorId(`d${n}`));
      sender.greet();
      expect(guard.judge(sender.claim(1))).toBe('fresh');
    }
    const oneTooMany = life(guard, 1, directorId('late'));
    oneTooMany.greet();
    expect(guard.judge(oneTooMany.claim(1))).toBe('unproven');
    expect(guard.judge(life(guard, 1, directorId('d0')).claim(2))).toBe('unproven');
  });
});
