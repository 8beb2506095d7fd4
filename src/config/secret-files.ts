/** The files that agent.yaml names: keys, tokens, passwords, certificates. No secret ever enters a message. */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { open } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';
import { equalBytes, fromHex } from '../lib/bytes.ts';
import { err, messageOf, ok, type Result } from '../lib/result.ts';
import type { Problem } from './problem.ts';
import { type Raw, textOf } from './raw.ts';

export const ROLES = ['viewer', 'operator', 'admin'] as const;
export type Role = (typeof ROLES)[number];
export type ApiToken = { readonly name: string; readonly role: Role; readonly token: string };

const KEY_BYTES_MIN = 32;
const KEYS_MAX = 4;
const TOKEN_LENGTH_MIN = 16;
const FILE_BYTES_MAX = 1_000_000;

/** Reads the file that stands at a place of the document; relative paths begin at `directory`. */
export class SecretFiles {
  readonly #directory: string;
  /** Everything that was wrong so far. */
  readonly problems: Problem[] = [];

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** Keys that sign messages between directors; the first signs, all verify. */
  async keys(place: Raw): Promise<readonly Uint8Array[]> {
    const bytes = await this.#read(place, 0o077);
    return bytes === null ? [] : this.#take(place, parseKeys(bytes), KEY_HELP, []);
  }

  async tokens(place: Raw): Promise<readonly ApiToken[]> {
    const bytes = await this.#read(place, 0o077);
    if (bytes === null) return [];
    return this.#take(place, parseTokens(bytes.toString('utf8')), TOKEN_HELP, []);
  }

  /** The first line of the file. */
  async password(place: Raw): Promise<string | null> {
    const bytes = await this.#read(place, 0o077);
    if (bytes === null) return null;
    const line = bytes.toString('utf8').split(/\r?\n/)[0] ?? '';
    return this.#take(
      place,
      line === '' ? err('the first line is empty') : ok(line),
      'a file with the password in its first line',
      null,
    );
  }

  /** PEM text of one or more certificates. */
  async certificate(place: Raw): Promise<string | null> {
    const pem = (await this.#read(place, 0))?.toString('utf8') ?? null;
    return pem === null
      ? null
      : this.#take(place, parsed(pem, certificateOf), 'a certificate in PEM', null);
  }

  /** PEM text of an unencrypted private key; group-readable is usual for a system's TLS keys. */
  async privateKey(place: Raw): Promise<string | null> {
    const pem = (await this.#read(place, 0o007))?.toString('utf8') ?? null;
    return pem === null
      ? null
      : this.#take(
          place,
          parsed(pem, (text) => createPrivateKey(text)),
          'an unencrypted private key in PEM',
          null,
        );
  }

  /** Certificate and key must be a pair: told here rather than at the first connection. */
  requirePair(place: Raw, certificate: string | null, key: string | null): void {
    if (certificate === null || key === null) return;
    if (certificateOf(certificate).checkPrivateKey(createPrivateKey(key))) return;
    this.problems.push({
      path: place.path,
      message: 'is not the key of the certificate beside it',
      allowed: 'the private key that belongs to cert',
    });
  }

  #take<T>(place: Raw, result: Result<T, string>, allowed: string, otherwise: T): T {
    if (result.ok) return result.value;
    this.problems.push({
      path: place.path,
      message: `${this.#resolve(place)}: ${result.error}`,
      allowed,
    });
    return otherwise;
  }

  #resolve(place: Raw): string {
    const path = textOf(place) ?? '';
    return isAbsolute(path) ? path : join(this.#directory, path);
  }

  /** Null where no path is given or the file cannot be used; the latter is a problem. */
  async #read(place: Raw, forbiddenMode: number): Promise<Buffer | null> {
    if ((textOf(place) ?? '') === '') return null;
    const path = this.#resolve(place);
    try {
      await using file = await open(path, 'r');
      // The open file is judged, not the name: nothing can be exchanged in between.
      const { mode, size } = await file.stat();
      if ((mode & forbiddenMode) !== 0)
        return this.#take(
          place,
          err(`mode ${(mode & 0o777).toString(8).padStart(4, '0')} lets others use it`),
          `chmod ${forbiddenMode === 0o007 ? '0640' : '0600'}`,
          null,
        );
      if (size > FILE_BYTES_MAX)
        return this.#take(place, err(`has ${size} bytes`), 'at most 1 MB', null);
      return await file.readFile();
    } catch (error) {
      return this.#take(place, err(`cannot be read: ${messageOf(error)}`), 'a readable file', null);
    }
  }
}

const KEY_HELP = `1 to ${KEYS_MAX} lines, each a key of ${KEY_BYTES_MIN} bytes or more, hexadecimal (openssl rand -hex 32) or raw`;
const TOKEN_HELP = `lines "name role token": role one of ${ROLES.join(', ')}, token of ${TOKEN_LENGTH_MIN} characters or more`;

/** One key a line: all hexadecimal digits mean hexadecimal, anything else is taken as it is. */
function parseKeys(content: Buffer): Result<readonly Uint8Array[], string> {
  const lines = content
    .toString('latin1')
    .split(/\r?\n/)
    .filter((line) => line !== '');
  if (lines.length === 0 || lines.length > KEYS_MAX) return err(`has ${lines.length} keys`);
  const keys: Uint8Array[] = [];
  for (const [index, line] of lines.entries()) {
    // A blank at the end of a line is no part of a number, and nobody sees it.
    const key = fromHex(line.trim()) ?? new Uint8Array(Buffer.from(line, 'latin1'));
    if (key.length < KEY_BYTES_MIN)
      return err(`line ${index + 1}: a key of ${key.length} bytes is too short`);
    if (keys.some((other) => equalBytes(other, key)))
      return err(`line ${index + 1}: the key is there twice`);
    keys.push(key);
  }
  return ok(keys);
}

function parseTokens(content: string): Result<readonly ApiToken[], string> {
  const tokens: ApiToken[] = [];
  for (const [index, line] of content.split(/\r?\n/).entries()) {
    if (line.trim() === '' || line.startsWith('#')) continue;
    const [name = '', roleText = '', token = '', ...rest] = line.trim().split(/\s+/);
    const where = `line ${index + 1}`;
    const role = ROLES.find((known) => known === roleText);
    if (rest.length > 0 || token === '') return err(`${where}: not three words`);
    // The words are not repeated: with a slip in their order one of them may be the token.
    if (role === undefined) return err(`${where}: the second word is no role`);
    if (token.length < TOKEN_LENGTH_MIN || !/^[!-~]+$/.test(token))
      return err(`${where}: the token is too short or has characters beyond ASCII`);
    if (tokens.some((other) => other.name === name || other.token === token))
      return err(`${where}: the name or the token is there twice`);
    tokens.push({ name, role, token });
  }
  return tokens.length === 0 ? err('has no tokens') : ok(tokens);
}

const certificateOf = (pem: string): X509Certificate => new X509Certificate(pem);

function parsed(pem: string, parse: (pem: string) => unknown): Result<string, string> {
  try {
    parse(pem);
    return ok(pem);
  } catch (error) {
    return err(messageOf(error));
  }
}
