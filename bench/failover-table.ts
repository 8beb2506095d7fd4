/** The table of the failover bench, as Markdown: a row per fault, a column per program and setting. */
import { type Fault, FAULTS } from '../test/support/faults.ts';
import type { Verdict } from '../test/support/verdict.ts';
import { formatMs, median } from './statistics.ts';

export type Column = 'fast' | 'default' | 'v3-100ms' | 'v2-1s';

export type Measured = {
  readonly column: Column;
  /** Id of the fault. */
  readonly fault: string;
  /** When, and of which revision. */
  readonly taken: string;
  /** Of each run a verdict of the IPv4 VIP and one of the IPv6 VIP. */
  readonly runs: (readonly Verdict[])[];
};

const COLUMNS: readonly (readonly [Column, string])[] = [
  ['fast', 'fast'],
  ['default', 'default'],
  ['v3-100ms', 'keepalived v3, 100 ms'],
  ['v2-1s', 'keepalived v2, 1 s'],
];

/** Outages as median and (most); for faults that shall cost nothing, the echoes lost of all runs. */
export function failoverTable(measured: readonly Measured[]): string {
  const head = ['fault on the holder', ...COLUMNS.map(([, title]) => title)];
  const rows = FAULTS.flatMap((fault) => {
    const cells = COLUMNS.map(([column]) => {
      const found = measured.find((each) => each.column === column && each.fault === fault.id);
      return found === undefined || found.runs.length === 0 ? '–' : cellOf(found, fault);
    });
    return cells.every((cell) => cell === '–') ? [] : [[fault.name, ...cells]];
  });
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [
    line(head),
    line(head.map(() => '---')),
    ...rows.map(line),
    '',
    ...boundLines(measured),
    '',
    dualLine(measured),
    '',
    ...stampLines(measured),
    '',
  ].join('\n');
}

/** What a crash may cost in units of keepalived's power loss; service is back by then after a repair. */
const CRASH_BOUNDS = {
  fast: { partner: 'v3-100ms', most: 0.95 },
  default: { partner: 'v2-1s', most: 0.35 },
} as const satisfies Partial<Record<Column, { partner: Column; most: number }>>;
const REPAIR_MS = 1000;

/** Each figure beside its bound, where there is one; a bound that is missed is told as such. */
function boundLines(measured: readonly Measured[]): readonly string[] {
  return (['fast', 'default'] as const).flatMap((column) => {
    const ours = FAULTS.flatMap((fault) => {
      const runs = runsOf(measured, column, fault.id);
      return runs.length === 0 ? [] : [{ fault, runs, claim: fault.claim(column) }];
    });
    if (ours.length === 0) return [];
    const { partner, most } = CRASH_BOUNDS[column];
    const theirs = runsOf(measured, partner, 'power-off');
    const ratios = ours
      .filter(({ claim }) => theirs.length > 0 && (claim === 'crash' || claim === 'recovery'))
      .map(({ fault, runs }) => ({ fault, ratio: ratioOf(runs, theirs) }));
    const missed = [
      ...ratios
        .filter(({ ratio }) => ratio > most)
        .map(({ fault, ratio }) => `${fault.name} (${ratio.toFixed(2)})`),
      ...ours.flatMap(({ fault, runs, claim }) => missedBy(fault, claim, runs.flat())),
    ];
    const met =
      ratios.length === 0
        ? 'no crash was compared'
        : `all met, the costliest crash ${Math.max(...ratios.map(({ ratio }) => ratio)).toFixed(2)}`;
    const told = missed.length === 0 ? met : `**missed**: ${missed.join(', ')}`;
    const crash = `a crash at most ${most} of ${partner}'s power loss`;
    return [`- ${column} (${crash}, a repair ${formatMs(REPAIR_MS)}, else nothing lost): ${told}.`];
  });
}

const runsOf = (measured: readonly Measured[], column: Column, fault: string): Measured['runs'] =>
  measured.find((each) => each.column === column && each.fault === fault)?.runs ?? [];

function missedBy(
  { name }: Fault,
  claim: ReturnType<Fault['claim']>,
  all: readonly Verdict[],
): readonly string[] {
  const lost = sum(all.map((each) => each.lost));
  const longestMs = Math.max(...all.map(({ outageMs }) => outageMs));
  if (claim === 'repair' && longestMs > REPAIR_MS) return [`${name} (${formatMs(longestMs)})`];
  const isLossless = claim === 'handover' || claim === 'nothing';
  return isLossless && lost > 0 ? [`${name} (${lost} lost)`] : [];
}

/** Of the medians, the worse of both families. */
function ratioOf(ours: Measured['runs'], theirs: Measured['runs']): number {
  const middle = (runs: Measured['runs'], family: number): number =>
    median(runs.flatMap((verdicts) => verdicts[family]?.outageMs ?? []));
  return Math.max(...[0, 1].map((family) => middle(ours, family) / middle(theirs, family)));
}

function cellOf({ column, runs }: Measured, fault: Fault): string {
  const isOurs = column === 'fast' || column === 'default';
  const claim = isOurs ? fault.claim(column) : 'crash';
  const all = runs.flat();
  const isLossless = claim === 'handover' || claim === 'nothing';
  return `${isLossless ? loss(all) : outages(runs)}${voices(all)}`;
}

/** `lost 0 of 80059, longest gap 31 ms`: of all runs together. */
export function loss(all: readonly Verdict[]): string {
  const lost = sum(all.map((each) => each.lost));
  const asked = sum(all.map((each) => each.asked));
  return `lost ${lost} of ${asked}, longest gap ${formatMs(Math.max(...all.map((each) => each.outageMs)))}`;
}

/** `232 ms (245) · IPv6 235 ms (245)`: median and most of the runs. */
export const outages = (runs: readonly (readonly Verdict[])[]): string =>
  [0, 1].map((family) => outageOf(runs, family)).join(' · IPv6 ');

function outageOf(runs: readonly (readonly Verdict[])[], family: number): string {
  const each = runs.flatMap((verdicts) => verdicts[family]?.outageMs ?? []);
  return `${formatMs(median(each))} (${Math.max(...each).toFixed(0)})`;
}

/** Two voices, median and most; empty where there were none. */
export function voices(all: readonly Verdict[]): string {
  const most = Math.max(...all.map((each) => each.dualMs));
  if (most === 0) return '';
  const isEndless = all.every((each) => each.isDualAtEnd);
  const middle = formatMs(median(all.map((each) => each.dualMs)));
  return isEndless ? '; **two voices until the end**' : `; **two voices ${middle} (${most})**`;
}

function dualLine(measured: readonly Measured[]): string {
  const ours = measured.filter(({ column }) => column === 'fast' || column === 'default');
  const runs = ours.flatMap((each) => each.runs);
  const dual = runs.filter((verdicts) => verdicts.some((verdict) => verdict.dualMs > 0));
  return `leasehold answered with two voices in ${dual.length} of ${runs.length} runs.`;
}

/** When the rows were taken; the fewer are named. */
function stampLines(measured: readonly Measured[]): readonly string[] {
  const stamps = [...new Set(measured.map(({ taken }) => taken))]
    .map((taken) => ({ taken, rows: measured.filter((each) => each.taken === taken) }))
    .toSorted((one, other) => other.rows.length - one.rows.length);
  return stamps.map(({ taken, rows }, index) => {
    const names = [...new Set(rows.map(({ fault }) => fault))].join(', ');
    const runs = [...new Set(rows.map((each) => each.runs.length))].join(' or ');
    return `${index === 0 ? 'Taken' : `But ${names}`}: ${taken}, ${runs} runs each.`;
  });
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
