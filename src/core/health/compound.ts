/** Several checks of one real server: what all or any of them together say. */
import type { Check } from '../../model/cluster.ts';
import type { CheckStatus, DynamicWeight, Vote } from '../../model/health.ts';
import type { CheckId, DirectorId } from '../../model/ids.ts';

export type Compound = {
  readonly id: CheckId;
  readonly mode: 'all' | 'any';
  /** Checks, or compounds that stand before this one; each once, at least two. */
  readonly of: readonly CheckId[];
  /** The checks in it, at any depth. */
  readonly leaves: readonly CheckId[];
  /** A real server that uses it is to be down before it is known. */
  readonly alpha: boolean;
};

/**
 * Of `all`, the first that is known to be down decides, of `any` the first that is known to be up; else it is
 * known when all of them are. `members` are in the compound's order, null: nothing known.
 */
export function combineStatuses(
  { mode, alpha }: Pick<Compound, 'mode' | 'alpha'>,
  members: readonly (CheckStatus | null)[],
): CheckStatus {
  const decisive = mode === 'any';
  const known = members.filter((one) => one !== null && one.basis !== 'initial');
  const deciding = known.find((one) => one?.isUp === decisive);
  if (deciding !== undefined && deciding !== null) return deciding;
  const last = known.at(-1);
  if (known.length < members.length || last === undefined || last === null)
    return { isUp: !alpha, basis: 'initial', votesUp: 0, votesDown: 0 };
  return known.find((one) => one?.basis === 'kept') ?? last;
}

export type Combined = {
  readonly statuses: ReadonlyMap<CheckId, CheckStatus>;
  readonly compounds: readonly Compound[];
  /** The statuses with those of the compounds; the very same map where there are none. */
  readonly all: ReadonlyMap<CheckId, CheckStatus>;
};

/**
 * The statuses with those of the compounds. `last`: the result before; it is the very same one where nothing
 * changed, and where little changed little is made anew.
 */
export function combineAll(
  statuses: ReadonlyMap<CheckId, CheckStatus>,
  compounds: readonly Compound[],
  last: Combined | null,
): Combined {
  if (last?.statuses === statuses && last.compounds === compounds) return last;
  if (compounds.length === 0) return { statuses, compounds, all: statuses };
  const before = last?.compounds === compounds ? last.all : null;
  const all = new Map(statuses);
  for (const compound of compounds) {
    const { id, of } = compound;
    const known = before?.get(id);
    const isSame = known !== undefined && of.every((one) => all.get(one) === before?.get(one));
    all.set(
      id,
      isSame
        ? known
        : combineStatuses(
            compound,
            of.map((one) => all.get(one) ?? null),
          ),
    );
  }
  return { statuses, compounds, all };
}

const indexes = new WeakMap<readonly Compound[], ReadonlyMap<CheckId, Compound>>();

/** The checks that a real server goes by, which has a check or a compound. */
export function leavesOf(root: CheckId, compounds: readonly Compound[]): readonly CheckId[] {
  return compoundOf(root, compounds)?.leaves ?? [root];
}

/** Undefined: it is a check. However many there are, they are looked through once. */
export function compoundOf(root: CheckId, compounds: readonly Compound[]): Compound | undefined {
  const known = indexes.get(compounds) ?? new Map(compounds.map((one) => [one.id, one]));
  indexes.set(compounds, known);
  return known.get(root);
}

/** Since when a compound is up: `all` since its last member came, `any` since the first of those that are. */
export function withCompoundTimes(
  since: ReadonlyMap<CheckId, number>,
  compounds: readonly Compound[],
): ReadonlyMap<CheckId, number> {
  if (compounds.length === 0 || since.size === 0) return since;
  const all = new Map(since);
  for (const { id, mode, of } of compounds) {
    const times = of.map((member) => all.get(member)).filter((at) => at !== undefined);
    if (mode === 'all' && times.length === of.length) all.set(id, Math.max(...times));
    if (mode === 'any' && times.length > 0) all.set(id, Math.min(...times));
  }
  return all;
}

/** With what the members say of a weight, together; of several that name one, the lowest counts. */
export function withCompoundWeights(
  weights: ReadonlyMap<CheckId, DynamicWeight>,
  compounds: readonly Compound[],
): ReadonlyMap<CheckId, DynamicWeight> {
  if (compounds.length === 0 || weights.size === 0) return weights;
  const all = new Map(weights);
  for (const { id, of } of compounds) {
    const said = of.map((member) => all.get(member)).filter((one) => one !== undefined);
    const sum = said.reduce<DynamicWeight | null>(
      (before, one) => (before === null ? one : addWeights(before, one)),
      null,
    );
    if (sum !== null) all.set(id, sum);
  }
  return all;
}

function addWeights(a: DynamicWeight, b: DynamicWeight): DynamicWeight {
  if (a.kind === 'percent' && b.kind === 'percent') return a.percent <= b.percent ? a : b;
  if (a.kind === 'percent' || b.kind === 'percent') return a.kind === 'percent' ? a : b;
  if (a.kind === 'add') return b.kind === 'add' ? { kind: 'add', by: a.by + b.by } : shift(b, a.by);
  return b.kind === 'add' ? shift(a, b.by) : { kind: 'set', weight: Math.min(a.weight, b.weight) };
}

const shift = (set: DynamicWeight & { kind: 'set' }, by: number): DynamicWeight => ({
  kind: 'set',
  weight: Math.max(0, set.weight + by),
});

/** One vote of each director on a compound: what it says of the members, in one line. */
export function combineVotes(
  { mode, leaves }: Pick<Compound, 'mode' | 'leaves'>,
  votes: ReadonlyMap<CheckId, ReadonlyMap<DirectorId, Vote>>,
  nameOf: (check: CheckId) => string,
): ReadonlyMap<DirectorId, Vote> {
  const byDirector = new Map<DirectorId, { readonly check: CheckId; readonly vote: Vote }[]>();
  for (const check of leaves)
    for (const [director, vote] of votes.get(check) ?? []) {
      const list = byDirector.get(director) ?? [];
      byDirector.set(director, list);
      list.push({ check, vote });
    }
  const combined = new Map<DirectorId, Vote>();
  for (const [director, list] of byDirector) {
    const isUp = list[mode === 'all' ? 'every' : 'some'](({ vote }) => vote.isUp);
    const telling = list.filter(({ vote }) => vote.isUp === isUp);
    const times = telling.map(({ vote }) => vote.since).toSorted();
    const detail = telling.map(({ check, vote }) => `${nameOf(check)}: ${vote.detail}`).join('; ');
    // ISO 8601 in UTC sorts as a text.
    // Up with all since the last came, down since the first failed; with any the other way round.
    const since = (isUp === (mode === 'all') ? times.at(-1) : times[0]) ?? '';
    combined.set(director, { director, isUp, since, detail });
  }
  return combined;
}

/** Who votes on a check, and what. */
export type VotesOn = (check: CheckId) => ReadonlyMap<DirectorId, Vote> | undefined;

/** The same with those on compounds, which are made when somebody asks: there may be very many. */
export function withCompoundVotes(
  votes: ReadonlyMap<CheckId, ReadonlyMap<DirectorId, Vote>>,
  {
    compounds,
    checks,
  }: { readonly compounds: readonly Compound[]; readonly checks: readonly Check[] },
): VotesOn {
  let names: ReadonlyMap<CheckId, string> | null = null;
  const nameOf = (check: CheckId): string => {
    names ??= new Map(
      checks.map(({ id, port, spec }) => [id, port === 0 ? spec.kind : `${spec.kind} ${port}`]),
    );
    return names.get(check) ?? check;
  };
  return (check) => {
    const compound = compoundOf(check, compounds);
    return compound === undefined ? votes.get(check) : combineVotes(compound, votes, nameOf);
  };
}
