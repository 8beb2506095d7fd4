/**
 * What kernel settings were before they were changed, in a file beside the ledger of services. After a boot, or in
 * another network namespace, they are what that one made them: nothing is to be given back.
 */
import Type from 'typebox';
import Value from 'typebox/value';
import { err, ok, type Result } from '../../lib/result.ts';
import { isSamePlace, type Place } from '../../model/place.ts';
import type { ChangedSysctls, SysctlLedger } from '../../ports/sysctls.ts';
import { PlaceOfFile } from './place-of-file.ts';
import { readJson, replaceFile } from './replace-file.ts';

const SysctlFile = Type.Object({
  v: Type.Literal(1),
  place: Type.Optional(PlaceOfFile),
  changed: Type.Record(Type.String(), Type.Object({ was: Type.String(), set: Type.String() })),
});

/** One process writes the file, one save after the other. */
export function createSysctlLedger(path: string, place: () => Result<Place, string>): SysctlLedger {
  return {
    load: () => load(path, place()),
    save: (changed) => {
      const here = place();
      if (!here.ok) return Promise.resolve(here);
      const content = { v: 1, place: here.value, changed: Object.fromEntries(changed) };
      const text = JSON.stringify(content, null, 1);
      return replaceFile(path, `${text}\n`);
    },
  };
}

async function load(
  path: string,
  place: Result<Place, string>,
): Promise<Result<ChangedSysctls, string>> {
  const read = await readJson(path);
  if (!read.ok) return read;
  if (read.value === null) return ok(new Map());
  const { content } = read.value;
  if (!Value.Check(SysctlFile, content))
    return err(`${path} is no such file of this version: look at it, and remove it`);
  if (!place.ok) return place;
  const isHere = isSamePlace(content.place ?? {}, place.value);
  return ok(new Map(isHere ? Object.entries(content.changed) : []));
}
