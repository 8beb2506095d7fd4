/**
 * The notifications of one group that wait for its programs: in order, one at a time. Where programs
 * hang, the line does not grow without bound: only the newest is kept, because old states help nobody.
 */
import type { Notification } from './transitions.ts';

/** So many may wait behind the one that runs. */
export const WAITING_MAX = 8;

export type WaitingLine<T> = { readonly running: T | null; readonly waiting: readonly T[] };

type Told = Pick<Notification, 'state' | 'epoch'>;

export const IDLE_LINE = { running: null, waiting: [] } as const;

/** Joins the line; `dropped` were given up for it, perhaps itself where it is what runs already. */
export function join<T extends Told>(
  line: WaitingLine<T>,
  newest: T,
): { readonly line: WaitingLine<T>; readonly dropped: number } {
  if (line.waiting.length < WAITING_MAX)
    return { line: { ...line, waiting: [...line.waiting, newest] }, dropped: 0 };
  const collapsed = keepNewest(line, newest);
  return { line: collapsed, dropped: line.waiting.length + 1 - collapsed.waiting.length };
}

/** As at the end of the agent: nothing before the newest matters any more. */
export function keepNewest<T extends Told>(line: WaitingLine<T>, newest: T): WaitingLine<T> {
  return { ...line, waiting: isSame(line.running, newest) ? [] : [newest] };
}

/** The first of those that wait runs now, where nothing runs. */
export function startNext<T>(line: WaitingLine<T>): WaitingLine<T> {
  const [first, ...rest] = line.waiting;
  if (line.running !== null || first === undefined) return line;
  return { running: first, waiting: rest };
}

export const finish = <T>(line: WaitingLine<T>): WaitingLine<T> => ({ ...line, running: null });

/** A later holding has a higher epoch, which its programs must learn. */
function isSame(running: Told | null, newest: Told): boolean {
  return (
    running?.state === newest.state && (newest.state !== 'MASTER' || newest.epoch === running.epoch)
  );
}
