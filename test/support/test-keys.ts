/** TLS keys for one test file, made with `openssl` when it runs: no private key is ever committed. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const TIMEOUT_MS = 15_000;

/** PEM texts. */
export type TestKeys = { readonly certificate: string; readonly privateKey: string };

/** A new self-signed certificate for 127.0.0.1 and localhost, with its key. */
export function makeTestKeys(): TestKeys {
  const directory = mkdtempSync(join(tmpdir(), 'leasehold-keys-'));
  try {
    const subject = ['-subj', '/CN=leasehold-test'];
    const names = ['-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost'];
    const command =
      'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout key -out crt -days 2';
    execFileSync('openssl', [...command.split(' '), ...subject, ...names], {
      cwd: directory,
      timeout: TIMEOUT_MS,
      stdio: 'pipe',
    });
    const textOf = (name: string): string => readFileSync(join(directory, name), 'utf8');
    return { certificate: textOf('crt'), privateKey: textOf('key') };
  } finally {
    rmSync(directory, { recursive: true });
  }
}
