/** The last statuses of all checks in a file beside the ledger of services. */
import Type from 'typebox';
import Value from 'typebox/value';
import { err, ok, type Result } from '../../lib/result.ts';
import { type CheckId, checkId } from '../../model/ids.ts';
import type { KnownStatuses, StatusLedger } from '../../ports/status-ledger.ts';
import { readJson, replaceFile } from './replace-file.ts';

const StatusFile = Type.Object({
  v: Type.Literal(1),
  up: Type.Array(Type.String()),
  down: Type.Array(Type.String()),
});

/** One process writes the file, one save after the other. What real servers are does not end with a boot. */
export function createStatusFile(path: string): StatusLedger {
  return {
    load: () => load(path),
    save: (statuses) => {
      const checks = [...statuses];
      const ids = (wanted: boolean): readonly CheckId[] =>
        checks.filter(([, isUp]) => isUp === wanted).map(([id]) => id);
      const content = { v: 1, up: ids(true), down: ids(false) };
      return replaceFile(path, `${JSON.stringify(content)}\n`);
    },
  };
}

async function load(path: string): Promise<Result<KnownStatuses, string>> {
  const read = await readJson(path);
  if (!read.ok) return read;
  if (read.value === null) return ok(new Map());
  const { content } = read.value;
  if (!Value.Check(StatusFile, content))
    return err(`${path} has no statuses of this version: it is made anew`);
  const pairs = (ids: readonly string[], isUp: boolean): [CheckId, boolean][] =>
    ids.map((id) => [checkId(id), isUp]);
  return ok(new Map([...pairs(content.up, true), ...pairs(content.down, false)]));
}
