/**
 * The ledger in a file under the state directory. It is of one kernel and one network namespace: where either is
 * another one, so is the table, and nothing in it is ours.
 */
import Type from 'typebox';
import Value from 'typebox/value';
import { err, ok, type Result } from '../../lib/result.ts';
import { isSamePlace, type Place } from '../../model/place.ts';
import type { Ledger } from '../../ports/ledger.ts';
import { PlaceOfFile } from './place-of-file.ts';
import { readJson, replaceFile } from './replace-file.ts';

const LedgerFile = Type.Object({
  v: Type.Literal(1),
  place: Type.Optional(PlaceOfFile),
  services: Type.Array(Type.String()),
});

/** One process writes the file (the agent's lock sees to it); its directory is made where missing. */
export function createFileLedger(path: string, place: () => Result<Place, string>): Ledger {
  let last: Promise<unknown> = Promise.resolve();
  return {
    load: () => load(path, place()),
    save: (services) => {
      const here = place();
      if (!here.ok) return Promise.resolve(here);
      const content = { v: 1, place: here.value, services: [...services].toSorted() };
      const text = `${JSON.stringify(content, null, 1)}\n`;
      // One after the other: two saves at once would share the temporary file.
      const saved = last.then(() => replaceFile(path, text));
      last = saved;
      return saved;
    },
  };
}

async function load(
  path: string,
  place: Result<Place, string>,
): Promise<Result<ReadonlySet<string>, string>> {
  const read = await readJson(path);
  if (!read.ok) return read;
  if (read.value === null) return ok(new Set<string>());
  const { content } = read.value;
  if (!Value.Check(LedgerFile, content))
    return err(`${path} is no ledger of this version: remove it after a look at ipvsadm -Ln`);
  if (!place.ok) return place;
  return ok(isSamePlace(content.place ?? {}, place.value) ? new Set(content.services) : new Set());
}
