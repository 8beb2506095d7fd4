/** What to do about the table of marks: wanted against what is in the kernel. */
import {
  formatMarkEntry,
  type MarkChange,
  type MarkContents,
  type MarkEntry,
} from '../../model/marks.ts';

/** One batch at most. */
export type MarkPlan =
  | { readonly kind: 'nothing' }
  /** `missing`: there is no table; `altered`: it is not as we make it. */
  | ({ readonly kind: 'replace'; readonly reason: 'missing' | 'altered' } & MarkChange)
  /** Other packets or marks; what stays is not touched. */
  | ({ readonly kind: 'change'; readonly reason: 'differs' } & MarkChange)
  /** Nobody asks for marks any more. */
  | ({ readonly kind: 'remove'; readonly reason: 'unwanted' } & MarkChange);

/** `observed` null: there is no table of ours. The order of the entries does not matter. */
export function planMarks(desired: readonly MarkEntry[], observed: MarkContents | null): MarkPlan {
  if (desired.length === 0)
    return observed === null
      ? { kind: 'nothing' }
      : { kind: 'remove', reason: 'unwanted', add: [], remove: observed.entries };
  const seen = new Set(observed?.entries.map(formatMarkEntry));
  const wanted = new Set(desired.map(formatMarkEntry));
  const add = desired.filter((entry) => !seen.has(formatMarkEntry(entry)));
  const remove = observed?.entries.filter((entry) => !wanted.has(formatMarkEntry(entry))) ?? [];
  if (observed === null) return { kind: 'replace', reason: 'missing', add, remove };
  if (!observed.isIntact) return { kind: 'replace', reason: 'altered', add, remove };
  if (add.length + remove.length === 0) return { kind: 'nothing' };
  return { kind: 'change', reason: 'differs', add, remove };
}
