/**
 * This tree compiled once, for processes that run many schedules: code that is compiled while it is loaded
 * names each function anew whenever it makes one, which takes a third of their time.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

export type Compiled = { readonly fileOf: (source: string) => string; readonly remove: () => void };

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
  return { fileOf, remove };
}
