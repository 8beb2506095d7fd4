/** The ledger in a file under the state directory, which a reboot empties as it empties the kernel's table. */
import Type from 'typebox';
import Value from 'typebox/value';
import { err, ok, type Result } from '../../lib/result.ts';
import type { Ledger } from '../../ports/ledger.ts';
import { readJson, replaceFile } from './replace-file.ts';

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
  const read = await readJson(path);
  if (!read.ok) return read;
  if (read.value === null) return ok(new Set<string>());
  const { content } = read.value;
  if (!Value.Check(LedgerFile, content))
    return err(`${path} is no ledger of this version: remove it after a look at ipvsadm -Ln`);
  return ok(new Set(content.services));
}
