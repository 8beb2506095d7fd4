import { describe, expect, it } from 'vitest';
import { deriveBackoffMs } from '../../../src/core/backoff.ts';

const config = { firstMs: 100, limitMs: 1000 };

describe('deriveBackoffMs', () => {
  it('doubles from the first wait to the limit', () => {
    const waits = [0, 1, 2, 3, 4, 5, 1000].map((n) => deriveBackoffMs(n, config, 1));
    expect(waits).toEqual([0, 100, 200, 400, 800, 1000, 1000]);
  });

  it('takes away at most a half as jitter', () => {
    expect(deriveBackoffMs(2, config, 0)).toBe(100);
    expect(deriveBackoffMs(2, config, 0.5)).toBe(150);
  });
});
