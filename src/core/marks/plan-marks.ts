/** What to do about the table of marks: wanted against what is in the kernel. */
import { formatMarkEntry, type MarkContents, type MarkEntry } from '../../model/marks.ts';

/** One atomic batch at most. */
export type MarkPlan =
  | { readonly kind: 'nothing' }
  | {
      readonly kind: 'replace';
      /** `missing`: no table; `altered`: not as we make it; `differs`: other packets or marks. */
      readonly reason: 'missing' | 'altered' | 'differs';
      readonly added: readonly MarkEntry[];
      readonly removed: readonly MarkEntry[];
    }
  /** Nobody asks for marks any more. */
  | { readonly kind: 'remove'; readonly removed: readonly MarkEntry[] };

/** `observed` null: there is no table of ours. The order of the entries does not matter. */
export function planMarks(desired: readonly MarkEntry[], observed: MarkContents | null): MarkPlan {
  if (desired.length === 0)
    return observed === null ? { kind: 'nothing' } : { kind: 'remove', removed: observed.entries };
  const seen = new Set(observed?.entries.map(formatMarkEntry));
  const wanted = new Set(desired.map(formatMarkEntry));
  const added = desired.filter((entry) => !seen.has(formatMarkEntry(entry)));
  const removed = observed?.entries.filter((entry) => !wanted.has(formatMarkEntry(entry))) ?? [];
  if (observed === null) return { kind: 'replace', reason: 'missing', added, removed };
  if (!observed.isIntact) return { kind: 'replace', reason: 'altered', added, removed };
  if (added.length + removed.length === 0) return { kind: 'nothing' };
  return { kind: 'replace', reason: 'differs', added, removed };
}
