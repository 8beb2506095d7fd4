/**
 * What `leasehold realserver up` changed, in a file under /run: gone with the boot, as the changes are. One file
 * for each network namespace, so that a container or a lab never gives back another's values.
 */
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import Type from 'typebox';
import Value from 'typebox/value';
import { err, messageOf, ok, type Result } from '../../lib/result.ts';
import type { IpAddress } from '../../model/address.ts';
import { isSamePlace, type Place } from '../../model/place.ts';
import { NOTHING_SAVED, type SavedHost } from '../../model/real-server-host.ts';
import type { Clock } from '../../ports/clock.ts';
import type { SavedHostStore } from '../../ports/real-server-host.ts';
import type { RunLock, TryRunLock } from '../../ports/run-lock.ts';

const LOCK_TRIES = 100;
const LOCK_PAUSE_MS = 100;

const Family = Type.Union([Type.Literal(4), Type.Literal(6)]);
const NullOr = <T extends Type.TSchema>(schema: T) => Type.Union([schema, Type.Null()]);
const File = Type.Object({
  v: Type.Literal(1),
  bootId: Type.String(),
  /** Absent in files of earlier versions. */
  cookie: Type.Optional(NullOr(Type.String())),
  vips: Type.Array(
    Type.Object({
      address: Type.Unsafe<IpAddress>(Type.String()),
      device: Type.String(),
      tunnelDevice: NullOr(Type.String()),
      tunnel: NullOr(
        Type.Object({
          kind: Type.Union([Type.Literal('ipip'), Type.Literal('gue'), Type.Literal('gre')]),
          over: Family,
          guePort: NullOr(Type.Integer()),
        }),
      ),
      isAdded: Type.Boolean(),
    }),
  ),
  settings: Type.Array(
    Type.Object({
      path: Type.String({ pattern: '^net/ipv[46]/conf/[^/]+/[a-z_]+$' }),
      before: Type.Integer(),
      value: Type.Integer(),
    }),
  ),
  links: Type.Array(
    Type.Object({
      name: Type.String(),
      isCreated: Type.Boolean(),
      isSwitchedOn: Type.Boolean(),
      innerProtocol: NullOr(Type.Object({ before: Type.Integer(), value: Type.Integer() })),
    }),
  ),
  guePorts: Type.Array(Type.Object({ port: Type.Integer(), family: Family })),
});

export type SavedHostFilePorts = {
  readonly clock: Clock;
  readonly place: () => Result<Place, string>;
  readonly tryLock: TryRunLock;
};

/** `directory`: root's, emptied by a boot. */
export function createSavedHostFile(ports: SavedHostFilePorts, directory: string): SavedHostStore {
  const notesIn = (): Result<Notes, string> => {
    const place = ports.place();
    return place.ok
      ? ok({ path: join(directory, `${fileName(place.value)}.json`), place: place.value })
      : place;
  };
  return {
    lock: () => takeLock(ports, directory),
    load: async () => {
      const notes = notesIn();
      return notes.ok ? load(notes.value) : notes;
    },
    save: async (saved) => {
      const notes = notesIn();
      return notes.ok ? save(notes.value, saved) : notes;
    },
  };
}

type Notes = { readonly path: string; readonly place: Place };

const fileName = ({ namespace }: Place): string => `realserver-${namespace}`;

async function load({ path, place }: Notes): Promise<Result<SavedHost, string>> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return ok(NOTHING_SAVED);
    return err(`${path} cannot be read: ${messageOf(error)}`);
  }
  const content = parseJson(text);
  if (!Value.Check(File, content))
    return err(
      `${path} is not what leasehold wrote there: look at it, it has the former values of sysctls; then remove it`,
    );
  const { v: _version, bootId, cookie, ...saved } = content;
  // Another boot, or another namespace that has got the number of one that has ended: nothing of it is left.
  return ok(isSamePlace({ bootId, cookie: cookie ?? null }, place) ? saved : NOTHING_SAVED);
}

/** Written beside, flushed, then renamed. With nothing left to give back there is no file. */
async function save({ path, place }: Notes, saved: SavedHost): Promise<Result<void, string>> {
  try {
    if (Object.values(saved).every((list) => list.length === 0)) {
      await rm(path, { force: true });
      return ok(undefined);
    }
    await mkdir(dirname(path), { recursive: true, mode: 0o755 });
    const temporary = `${path}.tmp`;
    const { bootId, cookie } = place;
    {
      await using file = await open(temporary, 'w', 0o644);
      await file.writeFile(`${JSON.stringify({ v: 1, bootId, cookie, ...saved }, null, 1)}\n`);
      await file.sync();
    }
    await rename(temporary, path);
    return ok(undefined);
  } catch (error) {
    const remedy = hasCode(error, 'EACCES') || hasCode(error, 'EPERM') ? '; run as root' : '';
    return err(`${path} cannot be written: ${messageOf(error)}${remedy}`);
  }
}

async function takeLock(
  { clock, place, tryLock }: SavedHostFilePorts,
  directory: string,
): Promise<Result<RunLock, string>> {
  const here = place();
  if (!here.ok) return here;
  let who = '';
  for (let attempt = 0; attempt < LOCK_TRIES; attempt++) {
    const taken = tryLock(fileName(here.value), directory);
    if (taken.ok) return taken;
    if (taken.error.kind === 'failed')
      return err(`the lock cannot be taken: ${taken.error.message}`);
    if (taken.error.pid !== null) who = ` (process ${taken.error.pid})`;
    // oxlint-disable-next-line no-await-in-loop -- the pause between
    await clock.sleep(LOCK_PAUSE_MS);
  }
  const seconds = (LOCK_TRIES * LOCK_PAUSE_MS) / 1000;
  return err(
    `another "leasehold realserver"${who} has been at work for ${seconds} s: look at it (ps), try again`,
  );
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null; // The schema says that it is nothing of ours.
  }
}

const hasCode = (error: unknown, code: string): boolean =>
  error instanceof Error && 'code' in error && error.code === code;
