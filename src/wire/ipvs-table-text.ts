/**
 * /proc/net/ip_vs: the table as text, a line for each service and each of its destinations. It costs a fraction
 * of a dump, and tells all that a service's destinations forward by but thresholds and kinds of tunnels. Here it
 * becomes one number for each service, which is another where somebody has changed it. Source:
 * ip_vs_info_seq_show() in net/netfilter/ipvs/ip_vs_ctl.c.
 */
import { toHex } from '../lib/bytes.ts';
import { familyOf, ipToBytes } from '../model/address.ts';
import type { IpvsServiceKey } from '../model/kernel.ts';

/** By `textNameOf`; NaN, which equals nothing, where the text names a service twice. */
export type TableSums = ReadonlyMap<string, number>;

const NEWLINE = 10;
const SPACE = 32;
/** `->`, endpoint, forwarding method, weight; what follows are connections, which come and go. */
const SUMMED_WORDS = 4;
/** FNV-1a in 32 bits, and the same with other numbers: together 53 bits, as many as a number holds. */
const FIRST = { start: 0x811c_9dc5, prime: 0x0100_0193 };
const SECOND = { start: 0x1b87_3593, prime: 0x85eb_ca6b };
const SECOND_BITS = 21;

/** Takes the file's bytes in any pieces. */
export class TableSumReader {
  readonly #sums = new Map<string, number>();
  readonly #decoder = new TextDecoder();
  /** Of the service at work; null: none yet. */
  #name: string | null = null;
  #first = 0;
  #second = 0;
  /** What has come of a service's own line. */
  #head: number[] = [];
  #kind: 'start' | 'service' | 'destination' | 'rest' = 'start';
  #words = 0;
  #isBetween = true;

  read(bytes: Uint8Array): void {
    let at = 0;
    while (at < bytes.length) at = this.#readSome(bytes, at);
  }

  /** After the last bytes. */
  end(): TableSums {
    this.#endService();
    return this.#sums;
  }

  /** Up to the end of a line, or of the bytes; gives the place behind it. */
  #readSome(bytes: Uint8Array, start: number): number {
    if (this.#kind === 'start') this.#startLine(bytes[start] ?? 0);
    if (this.#kind === 'service') return this.#readService(bytes, start);
    const at = this.#kind === 'destination' ? this.#readDestination(bytes, start) : start;
    if (this.#kind !== 'rest') return at;
    const end = bytes.indexOf(NEWLINE, at);
    if (end < 0) return bytes.length;
    this.#kind = 'start';
    return end + 1;
  }

  #startLine(byte: number): void {
    if (byte === SPACE) {
      this.#kind = 'destination';
      this.#words = 0;
      this.#isBetween = true;
      return;
    }
    this.#endService();
    this.#kind = 'service';
    this.#head = [];
  }

  #readService(bytes: Uint8Array, start: number): number {
    for (let at = start; at < bytes.length; at++) {
      const byte = bytes[at] ?? 0;
      this.#add(byte);
      if (byte === NEWLINE) {
        const [protocol = '', address = ''] = this.#decoder
          .decode(Uint8Array.from(this.#head))
          .split(/ +/);
        this.#name = `${protocol} ${address}`;
        this.#kind = 'start';
        return at + 1;
      }
      this.#head.push(byte);
    }
    return bytes.length;
  }

  /** Tens of thousands of lines: what is at work is in local variables. */
  #readDestination(bytes: Uint8Array, start: number): number {
    const { length } = bytes;
    let words = this.#words;
    let isBetween = this.#isBetween;
    let first = this.#first;
    let second = this.#second;
    let at = start;
    for (; at < length; at++) {
      const byte = bytes[at] ?? 0;
      if (byte === NEWLINE) break;
      const isSpace = byte === SPACE;
      if (isBetween && !isSpace) words++;
      if (words > SUMMED_WORDS) break;
      isBetween = isSpace;
      first = Math.imul(first ^ byte, FIRST.prime);
      second = Math.imul(second ^ byte, SECOND.prime);
    }
    this.#words = words;
    this.#isBetween = isBetween;
    this.#first = first;
    this.#second = second;
    if (at < length) this.#kind = 'rest';
    return at;
  }

  #add(byte: number): void {
    this.#first = Math.imul(this.#first ^ byte, FIRST.prime);
    this.#second = Math.imul(this.#second ^ byte, SECOND.prime);
  }

  #endService(): void {
    if (this.#name !== null) {
      const low = (this.#second >>> 0) >>> (32 - SECOND_BITS);
      const sum = (this.#first >>> 0) * 2 ** SECOND_BITS + low;
      // A mark of both families has one name; what is read while others change it may come twice.
      this.#sums.set(this.#name, this.#sums.has(this.#name) ? Number.NaN : sum);
    }
    this.#name = null;
    this.#first = FIRST.start;
    this.#second = SECOND.start;
  }
}

/** The first two words of a service's line. */
export function textNameOf(key: IpvsServiceKey): string {
  if (key.kind === 'fwmark') return `FWM ${hex(key.mark, 8).toUpperCase()}`;
  const digits = toHex(ipToBytes(key.address));
  const port = hex(key.port, 4).toUpperCase();
  const protocol = key.protocol.toUpperCase();
  if (familyOf(key.address) === 4) return `${protocol} ${digits.toUpperCase()}:${port}`;
  const groups = digits.match(/.{4}/g) ?? [];
  return `${protocol} [${groups.join(':')}]:${port}`;
}

const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, '0');
