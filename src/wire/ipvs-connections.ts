/**
 * /proc/net/ip_vs_conn: a line for each connection and persistence template, read piece by piece, since
 * there may be millions. Source: ip_vs_conn_seq_show() in net/netfilter/ipvs/ip_vs_conn.c.
 */
import { err, ok, type Result } from '../lib/result.ts';
import { formatIp, type IpAddress, parseIp } from '../model/address.ts';
import type { IpvsConnection } from '../model/kernel.ts';

/** The kernel's longest line: three IPv6 addresses and 255 bytes of an engine's data. */
const MAX_LINE_CHARACTERS = 1024;
const HEADER = 'Pro FromIP ';
/** A timer that has just run out is shown as a huge unsigned number. */
const MAX_EXPIRES_S = 0x7fff_ffff;
/** Protocol, three addresses with ports, state, seconds, and where there is one: engine and data. */
const LINE =
  /^(\S+) +(\S+) ([0-9A-F]{4}) (\S+) ([0-9A-F]{4}) (\S+) ([0-9A-F]{4}) (\S+) +(\d+)(?: (\S+) ?(.*))?$/;

export type ConnectionBatch = {
  readonly connections: readonly IpvsConnection[];
  /** Lines that are no connection; the header is none of them. */
  readonly unreadable: number;
};

/** Takes the file's bytes in any pieces. It keeps at most one line. */
export class ConnectionReader {
  readonly #decoder = new TextDecoder();
  #rest = '';
  /** The line at work is too long: it is dropped up to its end. */
  #isSkipping = false;

  /** What the bytes complete. */
  read(bytes: Uint8Array): ConnectionBatch {
    return this.#take(this.#decoder.decode(bytes, { stream: true }));
  }

  /** After the last bytes: a line without an end counts too. */
  end(): ConnectionBatch {
    return this.#take(`${this.#decoder.decode()}\n`);
  }

  #take(text: string): ConnectionBatch {
    const connections: IpvsConnection[] = [];
    let unreadable = 0;
    let start = 0;
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n', start)) {
      const line = this.#rest + text.slice(start, end);
      const isTooLong = this.#isSkipping || line.length > MAX_LINE_CHARACTERS;
      this.#rest = '';
      this.#isSkipping = false;
      start = end + 1;
      if (!isTooLong && (line === '' || line.startsWith(HEADER))) continue;
      const connection = isTooLong ? err('a line too long') : decodeConnection(line);
      if (connection.ok) connections.push(connection.value);
      else unreadable++;
    }
    this.#keep(text.slice(start));
    return { connections, unreadable };
  }

  #keep(rest: string): void {
    if (this.#isSkipping) return;
    this.#rest += rest;
    if (this.#rest.length <= MAX_LINE_CHARACTERS) return;
    this.#rest = '';
    this.#isSkipping = true;
  }
}

/** One line without its end. */
export function decodeConnection(line: string): Result<IpvsConnection, string> {
  const fields = LINE.exec(line);
  if (fields === null) return err('a line that is no connection');
  const [, protocol = '', ...rest] = fields;
  const client = endpointFrom(rest[0], rest[1]);
  const virtual = endpointFrom(rest[2], rest[3]);
  const realServer = endpointFrom(rest[4], rest[5]);
  if (client === null || virtual === null || realServer === null)
    return err('a connection with an address that is none');
  const seconds = Number(rest[7]);
  return ok({
    protocol,
    client,
    virtual,
    realServer,
    state: rest[6] ?? '',
    expiresS: seconds > MAX_EXPIRES_S ? 0 : seconds,
    persistenceEngine: rest[8] ?? null,
    persistenceData: rest[9] ?? null,
  });
}

type Endpoint = { readonly address: IpAddress; readonly port: number };

function endpointFrom(address = '', port = ''): Endpoint | null {
  const parsed = addressFrom(address);
  return parsed === null ? null : { address: parsed, port: Number.parseInt(port, 16) };
}

/** IPv4: eight hexadecimal digits of the address as a number. IPv6: eight groups in full. */
function addressFrom(text: string): IpAddress | null {
  if (/^[0-9A-F]{8}$/.test(text)) {
    const value = Number.parseInt(text, 16);
    return formatIp(Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value));
  }
  const parsed = text.includes(':') ? parseIp(text) : null;
  return parsed?.ok === true ? parsed.value : null;
}
