/**
 * /proc/net/ip_vs_conn: a line for each connection and persistence template, read piece by piece, since
 * there may be millions. Source: ip_vs_conn_seq_show() in net/netfilter/ipvs/ip_vs_conn.c.
 */
import { err, ok, type Result } from '../lib/result.ts';
import { formatIp, type IpAddress } from '../model/address.ts';
import type { IpvsConnection } from '../model/kernel.ts';

/** The kernel's longest line: three IPv6 addresses and 255 bytes of an engine's data. */
const MAX_LINE_CHARACTERS = 1024;
const HEADER = 'Pro FromIP ';
/** Virtual services and real servers come again and again: their text is made once. */
const MAX_KNOWN_ADDRESSES = 4096;
/** Eight groups of four digits and the colons between them: Linux leaves no zeros out. */
const IPV6_CHARACTERS = 39;
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
  readonly #addresses: Addresses = new Map();
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
      const connection = isTooLong
        ? err('a line too long')
        : decodeConnection(line, this.#addresses);
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

/** Addresses that were read, by their text in the file. */
type Addresses = Map<string, IpAddress>;

/** One line without its end; `known` saves time where many lines are read. */
export function decodeConnection(
  line: string,
  known: Addresses = new Map(),
): Result<IpvsConnection, string> {
  const fields = LINE.exec(line);
  if (fields === null) return err('a line that is no connection');
  const client = endpointFrom(known, fields[2], fields[3]);
  const virtual = endpointFrom(known, fields[4], fields[5]);
  const realServer = endpointFrom(known, fields[6], fields[7]);
  if (client === null || virtual === null || realServer === null)
    return err('a connection with an address that is none');
  const seconds = Number(fields[9]);
  return ok({
    protocol: fields[1] ?? '',
    client,
    virtual,
    realServer,
    state: fields[8] ?? '',
    expiresS: seconds > MAX_EXPIRES_S ? 0 : seconds,
    persistenceEngine: fields[10] ?? null,
    persistenceData: fields[11] ?? null,
  });
}

type Endpoint = { readonly address: IpAddress; readonly port: number };

function endpointFrom(known: Addresses, text = '', port = ''): Endpoint | null {
  let address = known.get(text) ?? null;
  if (address === null) {
    address = addressFrom(text);
    if (address === null) return null;
    if (known.size >= MAX_KNOWN_ADDRESSES) known.clear();
    known.set(text, address);
  }
  return { address, port: Number.parseInt(port, 16) };
}

/** IPv4: eight hexadecimal digits of the address as a number. IPv6: eight groups in full. */
function addressFrom(text: string): IpAddress | null {
  if (/^[0-9A-F]{8}$/.test(text)) {
    const value = Number.parseInt(text, 16);
    return formatIp(Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value));
  }
  if (text.length !== IPV6_CHARACTERS || !/^(?:[0-9a-f]{4}:){7}[0-9a-f]{4}$/.test(text))
    return null;
  const bytes = new Uint8Array(16);
  for (let group = 0; group < 8; group++) {
    const value = Number.parseInt(text.slice(group * 5, group * 5 + 4), 16);
    bytes[group * 2] = value >>> 8;
    bytes[group * 2 + 1] = value;
  }
  return formatIp(bytes);
}
