/** Figures out of a few runs: the median, and the spread beside it. */

/** The middle value; of an even count the mean of the two in the middle. Throws where there is none. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const upper = sorted[sorted.length >> 1];
  const lower = sorted[(sorted.length - 1) >> 1];
  if (upper === undefined || lower === undefined) throw new Error('no values: no median');
  return (lower + upper) / 2;
}

/** Milliseconds without a fraction. */
export function formatMs(valueMs: number): string {
  return `${valueMs.toFixed(0)} ms`;
}

/** `615 ms (612–631)`: the median of the runs, least and most. */
export function formatSpread(values: readonly number[]): string {
  const [least, most] = [Math.min(...values).toFixed(0), Math.max(...values).toFixed(0)];
  const middle = formatMs(median(values));
  return least === most ? middle : `${middle} (${least}–${most})`;
}
