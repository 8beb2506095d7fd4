/** What the checks of the cluster document must satisfy, beyond their shape: their tree, timing, and where they go. */
import { familyOf } from '../model/address.ts';
import { CHECK_KINDS, type CheckKind, usesPort } from '../model/check.ts';
import { COMMON_CHECK_KEYS } from './check-schema.ts';
import { DEFAULT_CHECK } from './defaults.ts';
import { formatDuration } from './durations.ts';
import type { Problem } from './problem.ts';
import { addressOf, at, durationOf, entriesOf, isMap, itemsOf, type Raw, textOf } from './raw.ts';
import { kindProblems, kindWarnings } from './rules-check-kinds.ts';
import { addressProblem, rangeProblems } from './rules-common.ts';

/** One check of a tree, with what it inherits: the nearest place that says a word counts. */
export type CheckPlace = {
  readonly raw: Raw;
  /** Itself, then the groups it is in, from the inside. */
  readonly chain: readonly Raw[];
  /** Null: none, or several; a problem of its own. */
  readonly kind: CheckKind['kind'] | null;
};

/** The checks of a tree; groups within it are not among them. */
export function checksIn(tree: Raw, around: readonly Raw[] = []): readonly CheckPlace[] {
  if (tree.value === undefined || tree.value === 'none') return [];
  const chain = [tree, ...around];
  const members = GROUPS.flatMap((group) => itemsOf(at(tree, group)));
  if (members.length > 0) return members.flatMap((member) => checksIn(member, chain));
  const kinds = CHECK_KINDS.filter((kind) => at(tree, kind).value !== undefined);
  return [{ raw: tree, chain, kind: kinds.length === 1 ? (kinds[0] ?? null) : null }];
}

/** Where a word of a check is said; undefined where nowhere. */
export function sayingOf({ chain }: CheckPlace, key: string): Raw | undefined {
  return chain.map((raw) => at(raw, key)).find((place) => place.value !== undefined);
}

const GROUPS = ['all', 'any'] as const;

/** Problems of one tree; none where there is none. `directors` are the names of the document. */
export function checkProblems(tree: Raw, directors: readonly string[]): readonly Problem[] {
  if (!isMap(tree.value)) return [];
  const checks = checksIn(tree);
  const problems = [
    ...treeProblems(tree),
    ...partsOf(tree).flatMap((raw) => [...rangesOf(raw), ...originProblems(raw, directors)]),
    ...checks.flatMap((check) => [
      ...(check.kind === null ? [] : kindProblems(check.kind, at(check.raw, check.kind))),
      ...overlapProblems(check),
      ...portlessProblems(check),
      ...sourceFamilyProblems(check),
    ]),
  ];
  // What a group says may be wrong for several of its members.
  const told = new Set<string>();
  return problems.filter(({ path, message }) => {
    const key = `${path} ${message}`;
    const isNew = !told.has(key);
    told.add(key);
    return isNew;
  });
}

/** What is probably a slip. */
export function checkWarnings(tree: Raw): readonly Problem[] {
  const checks = checksIn(tree);
  const shared = new Map<string, Problem>();
  for (const check of checks) {
    const problem = sharedSourceWarning(check);
    if (problem !== null) shared.set(problem.path, problem);
    const unheard = unheardErrorWarning(check);
    if (unheard !== null) shared.set(unheard.path, unheard);
  }
  return [
    ...shared.values(),
    ...checks.flatMap(({ raw, kind }) => (kind === null ? [] : kindWarnings(kind, at(raw, kind)))),
  ];
}

/** Directors that have not the address have no vote, and few voters overrule nothing. */
function sharedSourceWarning(check: CheckPlace): Problem | null {
  const source = sayingOf(check, 'source');
  const runBy = sayingOf(check, 'runBy');
  if (source === undefined || textOf(source) === null) return null;
  if (runBy !== undefined && textOf(runBy) === 'holder') return null;
  return {
    path: source.path,
    message: 'is one address for all directors: those that do not have it cannot make the check',
    allowed: "a map with each director's own, or runBy: holder for a VIP",
  };
}

/** arp(7), mcast_solicit: three questions, a second apart. */
const UNANSWERED_ARP_MS = 3000;

/** Without a wanted reply only an ICMP error says that a real server is down, and one that is off sends none. */
function unheardErrorWarning(check: CheckPlace): Problem | null {
  if (check.kind !== 'udp') return null;
  const udp = at(check.raw, 'udp');
  const judges = ['requireReply', 'reply', 'minLength', 'maxLength'].some((key) => {
    const { value } = at(udp, key);
    return value !== undefined && value !== false;
  });
  const timeout = sayingOf(check, 'timeout');
  const ms = (timeout === undefined ? null : durationOf(timeout)) ?? DEFAULT_CHECK.timeoutMs;
  if (judges || ms > UNANSWERED_ARP_MS) return null;
  return {
    path: udp.path,
    message: `a real server that is off is not found: nobody answers for it, which the kernel tells after ${formatDuration(UNANSWERED_ARP_MS)}, and the timeout is ${formatDuration(ms)}`,
    allowed: 'reply or requireReply: true; or a longer timeout and interval',
  };
}

/** The tree itself and everything in it, groups and checks. */
const partsOf = (tree: Raw): readonly Raw[] => [
  tree,
  ...GROUPS.flatMap((group) => itemsOf(at(tree, group))).flatMap(partsOf),
];

function treeProblems(tree: Raw): readonly Problem[] {
  const present = [...GROUPS, ...CHECK_KINDS].filter((key) => at(tree, key).value !== undefined);
  const problems: Problem[] = [];
  // A word that is no kind is told as such.
  const isMistyped = present.length === 0 && entriesOf(tree).some(([key]) => !isCommon(key));
  if (present.length !== 1 && !isMistyped)
    problems.push({
      path: tree.path,
      message:
        present.length === 0 ? 'has no kind' : `has ${present.length} kinds: ${present.join(', ')}`,
      allowed: `exactly one of ${CHECK_KINDS.join(', ')}; or all, or any, with several checks`,
    });
  for (const group of GROUPS)
    problems.push(...itemsOf(at(tree, group)).flatMap((member) => treeProblems(member)));
  return problems;
}

const isCommon = (key: string): boolean => COMMON_CHECK_KEYS.includes(key);

const HOUR_MS = 3_600_000;

function rangesOf(raw: Raw): readonly Problem[] {
  return [
    ...['interval', 'timeout'].flatMap((key) =>
      rangeProblems(at(raw, key), { fromMs: 50, toMs: HOUR_MS }),
    ),
    ...rangeProblems(at(raw, 'retry'), { fromMs: 0, toMs: HOUR_MS }),
    ...rangeProblems(at(raw, 'warmup'), { fromMs: 0, toMs: HOUR_MS }),
  ];
}

function overlapProblems(check: CheckPlace): readonly Problem[] {
  const interval = sayingOf(check, 'interval');
  const timeout = sayingOf(check, 'timeout');
  const msOf = (place: Raw | undefined, otherwise: number): number =>
    (place === undefined ? null : durationOf(place)) ?? otherwise;
  const intervalMs = msOf(interval, DEFAULT_CHECK.intervalMs);
  const timeoutMs = msOf(timeout, DEFAULT_CHECK.timeoutMs);
  const retry = sayingOf(check, 'retry');
  const retryMs = msOf(retry, 0);
  const problems: Problem[] = [];
  if (timeoutMs > intervalMs)
    problems.push({
      path: (timeout ?? at(check.raw, 'timeout')).path,
      message: `${formatDuration(timeoutMs)} is longer than the interval (${formatDuration(intervalMs)}): probes would overlap`,
      allowed: `at most ${formatDuration(intervalMs)}`,
    });
  if (retry !== undefined && retryMs > intervalMs)
    problems.push({
      path: retry.path,
      message: `${formatDuration(retryMs)} is longer than the interval (${formatDuration(intervalMs)}), which comes first`,
      allowed: `at most ${formatDuration(intervalMs)}`,
    });
  return problems;
}

/** Only what stands at the check itself: a group may have members of both sorts. */
function portlessProblems({ raw, kind }: CheckPlace): readonly Problem[] {
  if (kind === null) return [];
  const useless = [
    ...(usesPort(kind) || kind === 'script' ? [] : ['port']),
    ...(kind === 'file' || kind === 'script' ? ['source', 'interface', 'mark'] : []),
    ...(usesPort(kind) && kind !== 'vip' ? [] : ['sourcePort']),
    ...(kind === 'file' || kind === 'vip' ? ['address'] : []),
    ...(kind === 'vip' ? ['mark'] : []),
  ];
  return useless
    .map((key) => at(raw, key))
    .filter((place) => place.value !== undefined)
    .map((place) => ({
      path: place.path,
      message: `means nothing to a check of kind ${kind}`,
      allowed: 'leave it out',
    }));
}

function originProblems(raw: Raw, directors: readonly string[]): readonly Problem[] {
  const problems: Problem[] = [];
  const judge = (place: Raw): void => {
    const problem = addressProblem(place);
    if (problem !== null) problems.push(problem);
  };
  judge(at(raw, 'address'));
  const source = at(raw, 'source');
  judge(source);
  for (const [name, place] of entriesOf(source)) {
    judge(place);
    if (!directors.includes(name))
      problems.push({
        path: place.path,
        message: `there is no director "${name}"`,
        allowed: directors.join(', '),
      });
  }
  return problems;
}

/** A socket has one family; of the real servers' addresses `rules-real-servers.ts` knows. */
function sourceFamilyProblems(check: CheckPlace): readonly Problem[] {
  const address = sayingOf(check, 'address');
  const target = address === undefined ? null : addressOf(address);
  return target === null ? [] : strangeSources(check, familyOf(target));
}

/** Sources of another family than the target's. */
export function strangeSources(check: CheckPlace, family: 4 | 6): readonly Problem[] {
  const source = sayingOf(check, 'source');
  if (source === undefined) return [];
  const places = textOf(source) === null ? entriesOf(source).map(([, place]) => place) : [source];
  return places.flatMap((place) => {
    const own = addressOf(place);
    if (own === null || familyOf(own) === family) return [];
    return [
      {
        path: place.path,
        message: `${own} is IPv${familyOf(own)}, and the check goes to an address of IPv${family}`,
        allowed: `an IPv${family} address`,
      },
    ];
  });
}
