/** What stands against a verdict, and what would change it, in sentences. */
import type { CheckTiming } from '../../model/cluster.ts';
import type { CheckStatus } from '../../model/health.ts';

export type CheckFacts = {
  readonly status: CheckStatus;
  /** Directors whose votes are awaited. */
  readonly checkers: number;
  readonly timing: Pick<CheckTiming, 'intervalMs' | 'rise' | 'fall' | 'retryMs'>;
  /** Who has said nothing for so long is awaited no more. */
  readonly patienceMs: number;
  readonly isHolders: boolean;
  /** Directors that say something else than the verdict. */
  readonly against: readonly string[];
  /** What this director saw last against its own vote; null: it does not run the check. */
  readonly contrary: number | null;
};

export function explainChange(facts: CheckFacts): readonly string[] {
  const { status, checkers, timing, against } = facts;
  const lines: string[] = [];
  const word = status.isUp ? 'down' : 'up';
  if (against.length > 0) {
    const says = against.length === 1 ? 'says' : 'say';
    lines.push(`${listOf(against)} ${says} ${word}, and ${outvoted(facts)}`);
  }
  const inRow = status.isUp ? timing.fall : timing.rise;
  const each = `${inRow} ${plural(inRow, status.isUp ? 'failure' : 'success')}${inRow === 1 ? '' : ' in a row'}`;
  lines.push(`${changeWords(facts, word)} each says so after ${each}${paceWords(timing, inRow)}`);
  if (facts.contrary !== null && facts.contrary > 0)
    lines.push(`this director has seen ${facts.contrary} of ${inRow} against its vote so far`);
  if (checkers === 0) lines.push('no director runs the check now');
  return lines;
}

function outvoted({ status, checkers, patienceMs }: CheckFacts): string {
  switch (status.basis) {
    case 'alone':
      return 'that does not count here while etcd is away';
    case 'kept':
      return `it takes more than half of the ${checkers} that check it to overrule what is known, or that the others say nothing for ${secondsOf(patienceMs)}`;
    case 'initial':
    case 'majority':
      return 'the others outvote it';
  }
}

function changeWords({ status, checkers, isHolders }: CheckFacts, word: string): string {
  const needed = Math.floor(checkers / 2) + 1;
  switch (status.basis) {
    case 'alone':
      return `it is ${word} when this director finds it so;`;
    case 'initial':
      return 'the first vote decides;';
    case 'kept':
    case 'majority':
      return isHolders
        ? `it is ${word} when the holder of its group says so;`
        : `it is ${word} when ${needed} of the ${checkers} ${plural(checkers, 'director')} that check it say so;`;
  }
}

function paceWords({ intervalMs, retryMs }: CheckFacts['timing'], inRow: number): string {
  const every = `, asked every ${secondsOf(intervalMs)}`;
  if (inRow === 1) return every;
  if (retryMs === undefined) return `${every}, and again at once after the first`;
  if (retryMs === 0) return `${every}, and without a pause from the first on`;
  return `${every}, and every ${secondsOf(retryMs)} from the first on`;
}

const secondsOf = (ms: number): string => (ms < 1000 ? `${ms} ms` : `${ms / 1000} s`);
const plural = (count: number, word: string): string =>
  count === 1 ? word : word === 'success' ? 'successes' : `${word}s`;
const listOf = (names: readonly string[]): string =>
  names.length < 2 ? names.join('') : `${names.slice(0, -1).join(', ')} and ${names.at(-1) ?? ''}`;
