/** Kernel settings through /proc/sys, of the network namespace that the process is in. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { err, messageOf, ok, type Result } from '../../lib/result.ts';
import type { Sysctls } from '../../ports/sysctls.ts';

const ROOT = '/proc/sys';

/** Every part is a folder or a file below the root: nothing leaves it. A slash is a dot in a device's name (sysctl(8)). */
const NAME = /^[a-z0-9_]+(\.[A-Za-z0-9_@:-]+(\/[A-Za-z0-9_@:-]+)*)+$/;

/** `root` is for tests. */
export function createSysctls(root = ROOT): Sysctls {
  return {
    read: async (names) => {
      const read = names.map(async (name) => [name, await readOne(root, name)] as const);
      return new Map(await Promise.all(read));
    },
    write: (name, value) => writeOne(root, name, value),
  };
}

const pathOf = (root: string, name: string): string | null =>
  NAME.test(name) ? join(root, ...name.split('.').map((part) => part.replaceAll('/', '.'))) : null;

async function readOne(root: string, name: string): Promise<Result<string | null, string>> {
  const path = pathOf(root, name);
  if (path === null) return err(`${name} is no name of a kernel setting`);
  try {
    return ok((await readFile(path, 'utf8')).trim().split(/\s+/).join(' '));
  } catch (error) {
    return codeOf(error) === 'ENOENT' ? ok(null) : err(messageOf(error));
  }
}

async function writeOne(root: string, name: string, value: string): Promise<Result<void, string>> {
  const path = pathOf(root, name);
  if (path === null) return err(`${name} is no name of a kernel setting`);
  try {
    // Without O_CREAT: a setting that is not there is not made.
    await writeFile(path, value, { flag: 'r+' });
    return ok(undefined);
  } catch (error) {
    return err(`${REASONS.get(codeOf(error)) ?? messageOf(error)} (${path})`);
  }
}

const REASONS: ReadonlyMap<string, string> = new Map([
  ['EACCES', 'the agent may not write it: it needs CAP_NET_ADMIN, and root for some settings'],
  ['EPERM', 'the agent may not write it: it needs CAP_NET_ADMIN, and root for some settings'],
  ['EROFS', '/proc/sys is read-only here, as in many containers: set it on the host'],
  ['EINVAL', 'this kernel does not take that value'],
  ['ENOENT', 'this kernel has no such setting'],
]);

const codeOf = (error: unknown): string =>
  error instanceof Error && 'code' in error ? String(error.code) : '';
