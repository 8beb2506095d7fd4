/** Writes openapi/openapi.json from the schemas of the routes; a test fails when the file is stale. */
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createBench } from '../test/unit/api/bench.ts';

export const OPENAPI_FILE = fileURLToPath(new URL('../openapi/openapi.json', import.meta.url));

/** The same text for the same schemas. */
export async function renderOpenApi(): Promise<string> {
  const { app } = createBench().api;
  await app.ready();
  const text = `${JSON.stringify(app.swagger(), null, 2)}\n`;
  await app.close();
  return text;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await mkdir(dirname(OPENAPI_FILE), { recursive: true });
  await writeFile(OPENAPI_FILE, await renderOpenApi());
}
