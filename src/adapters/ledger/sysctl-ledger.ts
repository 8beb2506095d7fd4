/** What kernel settings were before they were changed, in a file beside the ledger of services. */
import Type from 'typebox';
import Value from 'typebox/value';
import { err, ok, type Result } from '../../lib/result.ts';
import type { ChangedSysctls, SysctlLedger } from '../../ports/sysctls.ts';
import { readJson, replaceFile } from './replace-file.ts';

const SysctlFile = Type.Object({
  v: Type.Literal(1),
  changed: Type.Record(Type.String(), Type.Object({ was: Type.String(), set: Type.String() })),
});

/** One process writes the file, one save after the other. */
export function createSysctlLedger(path: string): SysctlLedger {
  return {
    load: () => load(path),
    save: (changed) => {
      const text = JSON.stringify({ v: 1, changed: Object.fromEntries(changed) }, null, 1);
      return replaceFile(path, `${text}\n`);
    },
  };
}

async function load(path: string): Promise<Result<ChangedSysctls, string>> {
  const read = await readJson(path);
  if (!read.ok) return read;
  if (read.value === null) return ok(new Map());
  const { content } = read.value;
  if (!Value.Check(SysctlFile, content))
    return err(`${path} is no such file of this version: look at it, and remove it`);
  return ok(new Map(Object.entries(content.changed)));
}
