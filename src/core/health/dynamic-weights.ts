/** What the checks say of weights, from the votes: the cluster's word, the same on every director. */
import type { CheckStatus, DynamicWeight, Vote } from '../../model/health.ts';
import type { CheckId } from '../../model/ids.ts';

type Says = Pick<Vote, 'isUp' | 'weight'>;

export type WeightInput = {
  readonly votes: ReadonlyMap<CheckId, readonly Says[]>;
  readonly statuses: ReadonlyMap<CheckId, CheckStatus>;
  /** Whose votes or statuses may have changed; null: of all. */
  readonly only: Iterable<CheckId> | null;
};

/**
 * Of the directors that see the target up, the word in the middle; of an even number the lower one. Where none
 * speaks any more, what was said last stands as long as the check is up: silence is no evidence. The very same
 * map where nothing changed.
 */
export function stepDynamicWeights(
  before: ReadonlyMap<CheckId, DynamicWeight>,
  input: WeightInput,
): ReadonlyMap<CheckId, DynamicWeight> {
  const { votes, only } = input;
  /** A copy as soon as one changes. */
  let next: Map<CheckId, DynamicWeight> | null = null;
  for (const check of only ?? new Set([...votes.keys(), ...before.keys()])) {
    const was = before.get(check);
    const says = sayNow(check, was, input);
    if (equalWeights(was, says)) continue;
    next ??= new Map(before);
    if (says === undefined) next.delete(check);
    else next.set(check, says);
  }
  return next ?? before;
}

function sayNow(
  check: CheckId,
  was: DynamicWeight | undefined,
  { votes, statuses }: WeightInput,
): DynamicWeight | undefined {
  const list = votes.get(check) ?? [];
  const said = middleOf(list);
  if (said !== null) return said;
  // Somebody sees it up and names no weight: it has none any more.
  if (list.some(({ isUp }) => isUp)) return undefined;
  return statuses.get(check)?.isUp === true ? was : undefined;
}

function middleOf(list: readonly Says[]): DynamicWeight | null {
  const said = list.flatMap(({ isUp, weight }) =>
    isUp && weight !== null && weight !== undefined ? [weight] : [],
  );
  if (said.length === 0) return null;
  const sorted = said.toSorted((a, b) => numberOf(a) - numberOf(b));
  return sorted[Math.floor((sorted.length - 1) / 2)] ?? null;
}

function numberOf(weight: DynamicWeight): number {
  switch (weight.kind) {
    case 'set':
      return weight.weight;
    case 'add':
      return weight.by;
    case 'percent':
      return weight.percent;
  }
}

export const equalWeights = (
  a: DynamicWeight | null | undefined,
  b: DynamicWeight | null | undefined,
): boolean => (a ?? null) === (b ?? null) || equal(a ?? undefined, b ?? undefined);

const equal = (a: DynamicWeight | undefined, b: DynamicWeight | undefined): boolean =>
  a !== undefined && b !== undefined && a.kind === b.kind && numberOf(a) === numberOf(b);
