/** From the global options and the environment to a client and an output. */
import { readFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { formatYaml } from '../config/format-yaml.ts';
import { parseDuration } from '../config/durations.ts';
import { messageOf } from '../lib/result.ts';
import { ApiClient } from './client.ts';
import { CliError, type CliIo, EXIT } from './context.ts';
import { createPaint, type Paint } from './style.ts';

const API_DEFAULT = 'http://127.0.0.1:7480';
const TIMEOUT_DEFAULT = '10s';

type GlobalOptions = {
  readonly api?: string;
  readonly token?: string;
  readonly cacert?: string;
  readonly timeout: string;
};

/** Options of the program that every command that calls the API reads. */
export function addGlobalOptions(program: Command): Command {
  return program
    .option(
      '--api <urls>',
      `API of any director; several, comma separated, are tried in turn (env LEASEHOLD_API, default ${API_DEFAULT})`,
    )
    .option('--token <token>', 'token for the API (env LEASEHOLD_TOKEN or LEASEHOLD_TOKEN_FILE)')
    .option('--cacert <file>', 'authorities of the API’s certificates, PEM (env LEASEHOLD_CACERT)')
    .option('--timeout <duration>', 'how long one director may take to answer', TIMEOUT_DEFAULT);
}

export type Session = { readonly client: ApiClient; readonly io: CliIo; readonly paint: Paint };

/** Throws a `CliError` (bad input) for options that cannot be used. */
export async function openSession(io: CliIo, command: Command): Promise<Session> {
  const options = command.optsWithGlobals<GlobalOptions>();
  const caFile = options.cacert ?? io.environment.caCert;
  const client = new ApiClient({
    urls: parseUrls(options.api ?? io.environment.api ?? API_DEFAULT),
    token: await loadToken(io, options.token),
    ca: caFile === null ? null : await loadText(caFile),
    timeoutMs: requireDuration(options.timeout, '--timeout'),
    signal: io.signal,
  });
  return { client, io, paint: createPaint(io) };
}

function parseUrls(text: string): readonly URL[] {
  const parts = text.split(',').map((part) => part.trim());
  const named = parts.filter((part) => part !== '');
  // An empty list asks nobody: that is no director which does not answer.
  return (named.length === 0 ? [text] : named).map((part) => {
    const url = URL.canParse(part) ? new URL(part) : null;
    if (url === null || !/^https?:$/.test(url.protocol))
      throw new CliError(
        EXIT.badInput,
        `"${part}" is no URL of an API; write for example ${API_DEFAULT}`,
      );
    return url;
  });
}

async function loadToken(io: CliIo, given: string | undefined): Promise<string | null> {
  const { token, tokenFile } = io.environment;
  if (given !== undefined) return given;
  if (token !== null) return token;
  return tokenFile === null ? null : (await loadText(tokenFile)).trim();
}

/** Milliseconds; throws a `CliError` that names the option. */
export function requireDuration(text: string, option: string): number {
  const parsed = parseDuration(text);
  if (!parsed.ok)
    throw new CliError(EXIT.badInput, `${option}: ${parsed.error}; write 500ms, 10s or 2m`);
  return parsed.value;
}

/** The text of a file. Throws a `CliError`. */
export async function loadText(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw new CliError(EXIT.badInput, `cannot read ${file}: ${messageOf(error)}`);
  }
}

/** For one of many looks: null where no director, or none with a store, answered this time. */
export async function unlessAway<T>(io: CliIo, look: () => Promise<T>): Promise<T | null> {
  try {
    return await look();
  } catch (error) {
    const isAway = error instanceof CliError && error.exitCode === EXIT.unreachable;
    if (!isAway || io.signal.aborted) throw error;
    return null;
  }
}

/** A value as people and programs ask for it. */
export function formatValue(value: unknown, format: 'json' | 'yaml'): string {
  return format === 'json' ? `${JSON.stringify(value, null, 2)}\n` : formatYaml(value);
}
