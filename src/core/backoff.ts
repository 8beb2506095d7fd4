/** How long to wait before the next try: doubling, bounded, with jitter from a random number given. */

export type BackoffConfig = {
  /** Wait after the first failure, milliseconds, > 0. */
  readonly firstMs: number;
  /** The wait grows to this and no further. */
  readonly limitMs: number;
};

/**
 * Milliseconds to wait after `failures` failures in a row: 0 for none, then first, 2·first, 4·first …
 * up to the limit, of which `random` (0 ≤ random < 1) takes away up to a half, so that many
 * directors that failed together do not come back together. Give 1 for no jitter.
 */
export function deriveBackoffMs(failures: number, config: BackoffConfig, random: number): number {
  if (failures <= 0) return 0;
  // 2^52 is far beyond any limit, and the cap keeps the power finite.
  const doublings = Math.min(failures - 1, 52);
  const full = Math.min(config.limitMs, config.firstMs * 2 ** doublings);
  return full * (0.5 + random / 2);
}
