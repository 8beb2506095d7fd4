/** Aligned text tables that read well without colour. */

export type Column = { readonly title: string; readonly align?: 'left' | 'right' };

const GAP = '  ';

/**
 * Titles, then rows; columns as wide as their widest cell. The last column is cut where it would
 * pass `width`; null: no limit.
 */
export function formatTable(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  width: number | null = null,
): string {
  const lines = [columns.map(({ title }) => title), ...rows.map((row) => row.map(onOneLine))];
  const widths = columns.map((_, i) => Math.max(...lines.map((line) => line[i]?.length ?? 0)));
  return lines.map((line) => `${formatLine(columns, widths, line, width)}\n`).join('');
}

/** A reason of several lines would be told as rows of the next service. */
const onOneLine = (cell: string): string => cell.replaceAll(/\p{Cc}+/gu, ' ');

function formatLine(
  columns: readonly Column[],
  widths: readonly number[],
  cells: readonly string[],
  width: number | null,
): string {
  const padded = columns.map(({ align }, i) => {
    const cell = cells[i] ?? '';
    const size = widths[i] ?? 0;
    return align === 'right' ? cell.padStart(size) : cell.padEnd(size);
  });
  const line = padded.join(GAP).trimEnd();
  return width !== null && line.length > width ? `${line.slice(0, width - 1)}…` : line;
}
