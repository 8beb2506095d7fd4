/** What TLS probes trust and who they are: the system's authorities or a file's, and client certificates. */
import { X509Certificate } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { createSecureContext, type SecureContext } from 'node:tls';
import { err, messageOf, ok, type Result } from '../../lib/result.ts';
import type { TlsOptions } from '../../model/check.ts';
import type { Clock } from '../../ports/clock.ts';
import { systemBundle } from './system-trust.ts';

/** A file that was replaced is used after this. */
const FRESH_MS = 5_000;
const CONTEXTS_MAX = 1_000;
/** All authorities of a system have a quarter of it. */
const FILE_BYTES_MAX = 1 << 20;

type Entry = {
  readonly context: Result<SecureContext, string>;
  /** Of the files, when they were read. */
  readonly stamp: string;
  lookedAt: number;
};

type Files = Pick<TlsOptions, 'ca' | 'cert' | 'key'>;

/** Parsing certificates for every probe would cost more than the probe. */
export class Trust {
  readonly #clock: Clock;
  readonly #system: () => string | null;
  readonly #entries = new Map<string, Entry>();

  /** `system` names the file of authorities where a check names none; null: Node's own. */
  constructor(clock: Clock, system: () => string | null = systemBundle) {
    this.#clock = clock;
    this.#system = system;
  }

  /** The error is this director's own: a file that is missing or cannot be used. */
  contextFor({ ca, cert, key }: Files): Result<SecureContext, string> {
    const id = JSON.stringify([ca, cert, key]);
    const known = this.#entries.get(id);
    const now = this.#clock.now();
    if (known !== undefined && now - known.lookedAt < FRESH_MS) return known.context;
    const system = ca === null ? this.#system() : null;
    const stamp = [ca ?? system, cert, key].map(stampOf).join(' ');
    if (known?.stamp === stamp) {
      known.lookedAt = now;
      return known.context;
    }
    const context = load({ ca, cert, key }, system);
    if (this.#entries.size >= CONTEXTS_MAX) this.#entries.clear();
    this.#entries.set(id, { context, stamp, lookedAt: now });
    return context;
  }
}

/** What it cannot be asked for (rights, a loop of links, a disk that fails) is told when it is read. */
function stampOf(path: string | null): string {
  if (path === null) return '-';
  try {
    const { ino, mtimeMs, size } = statSync(path);
    return `${ino}.${mtimeMs}.${size}`;
  } catch (error) {
    return messageOf(error);
  }
}

function load({ ca, cert, key }: Files, system: string | null): Result<SecureContext, string> {
  try {
    return ok(
      createSecureContext({
        ...(ca === null ? {} : { ca: readAuthorities(ca) }),
        ...(system === null ? {} : { ca: readFileSync(system) }),
        ...(cert === null ? {} : { cert: readBounded(cert) }),
        ...(key === null ? {} : { key: readBounded(key) }),
      }),
    );
  } catch (error) {
    return err(
      `cannot use ${[ca, cert, key].filter((path) => path !== null).join(', ')}: ${messageOf(error)}`,
    );
  }
}

/** A named pipe would hold up all checks of the thread. */
function readBounded(path: string): Buffer {
  const stat = statSync(path);
  if (!stat.isFile()) throw new Error('it is no regular file');
  if (stat.size > FILE_BYTES_MAX) throw new Error(`it has more than ${FILE_BYTES_MAX} bytes`);
  return readFileSync(path);
}

/**
 * Node takes a file without certificates, or half of one that is just being written, without a word: it would trust
 * nobody then, and every real server would be down for a fault of this director's.
 */
function readAuthorities(path: string): Buffer {
  const bytes = readBounded(path);
  const begun = bytes.toString('latin1').split('-----BEGIN ').slice(1);
  const certificates = begun.filter((block) => /^(X509 |TRUSTED )?CERTIFICATE-----/.test(block));
  if (certificates.length === 0) throw new Error('it has no certificate (PEM)');
  for (const block of certificates)
    if (!block.includes('-----END ')) throw new Error('its last certificate is cut off');
    else if (!block.startsWith('TRUSTED ')) new X509Certificate(`-----BEGIN ${block}`);
  return bytes;
}
