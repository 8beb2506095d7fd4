/** What is wrong with a document a user wrote, where, and what would be right. */

export type Problem = {
  /** Where: `groups.web.addresses[0]`, `line 3, column 5`, or empty for the whole document. */
  readonly path: string;
  /** What is wrong, as the rest of a sentence that begins with the path. */
  readonly message: string;
  /** The remedy: what is allowed here. */
  readonly allowed: string;
};

/** One line for each problem: `path: message (allowed: …)`. */
export function formatProblems(problems: readonly Problem[]): string {
  return problems
    .map(({ path, message, allowed }) => {
      const where = path === '' ? 'document' : path;
      return `${where}: ${message}${allowed === '' ? '' : ` (allowed: ${allowed})`}`;
    })
    .join('\n');
}

/** `base` and a key or an index below it; a key that is not a plain word is quoted. */
export function joinPath(base: string, key: string | number): string {
  if (typeof key === 'number') return `${base}[${key}]`;
  if (!/^[A-Za-z0-9_-]+$/.test(key)) return `${base}[${JSON.stringify(key)}]`;
  return base === '' ? key : `${base}.${key}`;
}
