/**
 * This tree compiled once, for processes that run many schedules: code that is compiled while it is loaded
 * names each function anew whenever it makes one, which takes a third of their time.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

export type Compiled = {
  readonly fileOf: (source: string) => string;
  /** Of that file and of all that it imports from this tree: what it does is the same as long as this is. */
  readonly digestOf: (source: string) => string;
  readonly remove: () => void;
};

/** Where packages are found from; throws what the compiler says. */
export function compile(): Compiled {
  const cache = path.join(ROOT, 'node_modules', '.cache');
  mkdirSync(cache, { recursive: true });
  const out = mkdtempSync(path.join(cache, 'leasehold-sim-'));
  const remove = (): void => rmSync(out, { recursive: true, force: true });
  const tsc = path.join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc');
  const options = ['--noEmit', 'false', '--sourceMap', 'false', '--outDir', out];
  try {
    execFileSync(process.execPath, [tsc, '-p', path.join(ROOT, 'test/tsconfig.json'), ...options]);
  } catch (error) {
    remove();
    throw new Error(String((error as { stdout?: unknown }).stdout ?? error), { cause: error });
  }
  const fileOf = (source: string): string =>
    path.join(out, path.relative(ROOT, source)).replace(/\.ts$/, '.js');
  return { fileOf, digestOf: (source) => digestOf(fileOf(source)), remove };
}

const IMPORTED = /\bfrom '(\.{1,2}\/[^']+)'/g;

function digestOf(entry: string): string {
  const texts = new Map<string, string>();
  const files = [entry];
  for (let file = files.pop(); file !== undefined; file = files.pop()) {
    if (texts.has(file)) continue;
    const text = readFileSync(file, 'utf8');
    texts.set(file, text);
    for (const [, target = ''] of text.matchAll(IMPORTED))
      files.push(path.resolve(path.dirname(file), target));
  }
  const hash = createHash('sha256');
  for (const file of [...texts.keys()].toSorted()) hash.update(texts.get(file) ?? '');
  return hash.digest('hex').slice(0, 16);
}
