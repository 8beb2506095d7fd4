/**
 * What `leasehold realserver up` changed, in a file under /run: gone with the boot, as the changes are. One file
 * for each network namespace, so that a container or a lab never gives back another's values.
 */
import { mkdir, open, readFile, readlink, rename, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import Type from 'typebox';
import Value from 'typebox/value';
import { err, messageOf, ok, type Result } from '../../lib/result.ts';
import type { IpAddress } from '../../model/address.ts';
import { NOTHING_SAVED, type SavedHost } from '../../model/real-server-host.ts';
import type { Clock } from '../../ports/clock.ts';
import type { SavedHostStore } from '../../ports/real-server-host.ts';

const LOCK_TRIES = 100;
const LOCK_PAUSE_MS = 100;

const Family = Type.Union([Type.Literal(4), Type.Literal(6)]);
const NullOr = <T extends Type.TSchema>(schema: T) => Type.Union([schema, Type.Null()]);
const File = Type.Object({
  v: Type.Literal(1),
  bootId: Type.String(),
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

export type SavedHostFileOptions = {
  /** Default /run/leasehold. */
  readonly directory?: string;
};

export function createSavedHostFile(
  ports: { readonly clock: Clock },
  options: SavedHostFileOptions = {},
): SavedHostStore {
  const directory = options.directory ?? '/run/leasehold';
  return {
    lock: () => takeLock(ports.clock),
    load: async () => {
      const place = await placeIn(directory);
      return place.ok ? load(place.value) : place;
    },
    save: async (saved) => {
      const place = await placeIn(directory);
      return place.ok ? save(place.value, saved) : place;
    },
  };
}

type Place = { readonly path: string; readonly bootId: string };

async function placeIn(directory: string): Promise<Result<Place, string>> {
  try {
    const bootId = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
    const namespace = /\d+/.exec(await readlink('/proc/self/ns/net'))?.[0] ?? 'other';
    return ok({ path: join(directory, `realserver-${namespace}.json`), bootId });
  } catch (error) {
    return err(`this boot cannot be told from others: ${messageOf(error)}`);
  }
}

async function load({ path, bootId }: Place): Promise<Result<SavedHost, string>> {
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
  const { v: _version, bootId: writtenIn, ...saved } = content;
  return ok(writtenIn === bootId ? saved : NOTHING_SAVED);
}

/** Written beside, flushed, then renamed. With nothing left to give back there is no file. */
async function save({ path, bootId }: Place, saved: SavedHost): Promise<Result<void, string>> {
  try {
    if (Object.values(saved).every((list) => list.length === 0)) {
      await rm(path, { force: true });
      return ok(undefined);
    }
    await mkdir(dirname(path), { recursive: true, mode: 0o755 });
    const temporary = `${path}.tmp`;
    {
      await using file = await open(temporary, 'w', 0o644);
      await file.writeFile(`${JSON.stringify({ v: 1, bootId, ...saved }, null, 1)}\n`);
      await file.sync();
    }
    await rename(temporary, path);
    return ok(undefined);
  } catch (error) {
    const remedy = hasCode(error, 'EACCES') || hasCode(error, 'EPERM') ? '; run as root' : '';
    return err(`${path} cannot be written: ${messageOf(error)}${remedy}`);
  }
}

/** An abstract UNIX socket (unix(7)): of the network namespace, and gone with the process. */
async function takeLock(clock: Clock): Promise<Result<{ release(): void }, string>> {
  for (let attempt = 0; attempt < LOCK_TRIES; attempt++) {
    // oxlint-disable-next-line no-await-in-loop -- one try after the other
    const taken = await tryLock();
    if (taken.ok || taken.error !== 'EADDRINUSE')
      return taken.ok ? taken : err(`the lock cannot be taken: ${taken.error}`);
    // oxlint-disable-next-line no-await-in-loop -- the pause between
    await clock.sleep(LOCK_PAUSE_MS);
  }
  const seconds = (LOCK_TRIES * LOCK_PAUSE_MS) / 1000;
  return err(
    `another "leasehold realserver" has been at work for ${seconds} s: see who it is (ss -xlp | grep leasehold/realserver), try again`,
  );
}

function tryLock(): Promise<Result<{ release(): void }, string>> {
  const server = createServer((socket) => socket.destroy());
  return new Promise((resolve) => {
    server.once('error', (error: NodeJS.ErrnoException) =>
      resolve(err(error.code ?? error.message)),
    );
    server.listen('\0leasehold/realserver', () => {
      server.unref();
      resolve(ok({ release: () => server.close() }));
    });
  });
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
