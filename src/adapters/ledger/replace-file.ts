/** Small files of the state directory: old or new after a crash, never half of one. */
import { mkdir, open, readFile, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import { err, messageOf, ok, type Result } from '../../lib/result.ts';

/** Written beside, flushed, then renamed; the directory, which is made where missing, is flushed last. */
export async function replaceFile(path: string, text: string): Promise<Result<void, string>> {
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

/** Null: there is none. What is no JSON is given as null within `ok` too, for a schema to refuse. */
export async function readJson(path: string): Promise<Result<{ content: unknown } | null, string>> {
  try {
    return ok({ content: parseJson(await readFile(path, 'utf8')) });
  } catch (error) {
    if (isMissing(error)) return ok(null);
    return err(`${path} cannot be read: ${messageOf(error)}`);
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
    return null;
  }
}

const isMissing = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && error.code === 'ENOENT';
