/** The ledger in a file under the state directory, which a reboot empties as it empties the kernel's table. */
import { mkdir, open, readFile, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import Type from 'typebox';
import Value from 'typebox/value';
import { err, messageOf, ok, type Result } from '../../lib/result.ts';
import type { Ledger } from '../../ports/ledger.ts';

const LedgerFile = Type.Object({ v: Type.Literal(1), services: Type.Array(Type.String()) });

/** One process writes the file (the agent's lock sees to it); its directory is made where missing. */
export function createFileLedger(path: string): Ledger {
  let last: Promise<unknown> = Promise.resolve();
  return {
    load: () => load(path),
    save: (services) => {
      const text = `${JSON.stringify({ v: 1, services: [...services].toSorted() }, null, 1)}\n`;
      // One after the other: two saves at once would share the temporary file.
      const saved = last.then(() => replaceFile(path, text));
      last = saved;
      return saved;
    },
  };
}

async function load(path: string): Promise<Result<ReadonlySet<string>, string>> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (isMissing(error)) return ok(new Set<string>());
    return err(`${path} cannot be read: ${messageOf(error)}`);
  }
  const content = parseJson(text);
  if (!Value.Check(LedgerFile, content))
    return err(`${path} is no ledger of this version: remove it after a look at ipvsadm -Ln`);
  return ok(new Set(content.services));
}

/** Old or new, never half: written beside, flushed, then renamed; the directory is flushed last. */
async function replaceFile(path: string, text: string): Promise<Result<void, string>> {
  const temporary = `${path}.tmp`;
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o755 });
    await writeAndFlush(temporary, text);
    await rename(temporary, path);
    await using directory = await open(dirname(path), 'r');
    await directory.sync();
    return ok(undefined);
  } catch (error) {
    return err(`${path} cannot be written: ${messageOf(error)}`);
  }
}

async function writeAndFlush(path: string, text: string): Promise<void> {
  await using file = await open(path, 'w', 0o600);
  await file.writeFile(text);
  await file.sync();
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null; // No JSON is no ledger: the schema says so.
  }
}

const isMissing = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && error.code === 'ENOENT';
