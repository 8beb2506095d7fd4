/** IP and MAC addresses: parse, canonical text, bytes, compare. Text forms: RFC 4291 2.2, RFC 5952. */
import { err, ok, type Result } from '../lib/result.ts';

declare const brand: unique symbol;
/** Canonical text of an IPv4 or IPv6 address; equal addresses are equal strings. */
export type IpAddress = string & { readonly [brand]: 'IpAddress' };
/** Lower-case `aa:bb:cc:dd:ee:ff`. */
export type MacAddress = string & { readonly [brand]: 'MacAddress' };
export type IpFamily = 4 | 6;
export type Cidr = { readonly address: IpAddress; readonly prefix: number };

export const familyOf = (address: IpAddress): IpFamily => (address.includes(':') ? 6 : 4);

/** Parses an address; the error is a sentence fit for a user. IPv4-mapped IPv6 stays IPv6. */
export function parseIp(text: string): Result<IpAddress, string> {
  // An IPv4 address has one text only: that of a large document is not made anew.
  if (IPV4.test(text)) return ok(text as IpAddress);
  const bytes = text.includes(':') ? ipv6Bytes(text) : null;
  if (bytes === null) return err(`"${text}" is not an IPv4 or IPv6 address`);
  return ok(formatIp(bytes));
}

/** Without leading zeros. */
const IPV4 = /^(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?!$)|$)){4}$/;

/** Parses `address/prefix`; without a prefix it is a host address (/32, /128). */
export function parseCidr(text: string): Result<Cidr, string> {
  const [host = '', prefixText, ...rest] = text.split('/');
  if (rest.length > 0) return err(`"${text}" has more than one slash`);
  const address = parseIp(host);
  if (!address.ok) return address;
  const limit = familyOf(address.value) === 4 ? 32 : 128;
  if (prefixText === undefined) return ok({ address: address.value, prefix: limit });
  if (!/^\d{1,3}$/.test(prefixText) || Number(prefixText) > limit)
    return err(`"${text}": the prefix length must be 0 to ${limit}`);
  return ok({ address: address.value, prefix: Number(prefixText) });
}

/** 4 or 16 bytes in network order. */
export function ipToBytes(address: IpAddress): Uint8Array {
  const bytes = address.includes(':') ? ipv6Bytes(address) : ipv4Bytes(address);
  if (bytes === null) throw new Error(`not canonical: ${address}`);
  return bytes;
}

/** Canonical text of 4 or 16 bytes. */
export function formatIp(bytes: Uint8Array): IpAddress {
  return (bytes.length === 4 ? [...bytes].join('.') : formatIpv6(bytes)) as IpAddress;
}

/** `address:port`, IPv6 in brackets. */
export const formatEndpoint = (address: IpAddress, port: number): string =>
  familyOf(address) === 6 ? `[${address}]:${port}` : `${address}:${port}`;

export function parseMac(text: string): Result<MacAddress, string> {
  if (!/^([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}$/.test(text)) return err(`"${text}" is no MAC address`);
  return ok(text.toLowerCase() as MacAddress);
}

export const macToBytes = (mac: MacAddress): Uint8Array =>
  Uint8Array.from(mac.split(':').map((part) => Number.parseInt(part, 16)));

export const formatMac = (bytes: Uint8Array): MacAddress =>
  [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(':') as MacAddress;

function ipv4Bytes(text: string): Uint8Array | null {
  const parts = text.split('.');
  if (parts.length !== 4) return null;
  const bytes = new Uint8Array(4);
  for (const [i, part] of parts.entries()) {
    if (!/^(0|[1-9]\d{0,2})$/.test(part) || Number(part) > 255) return null;
    bytes[i] = Number(part);
  }
  return bytes;
}

function ipv6Bytes(text: string): Uint8Array | null {
  const halves = text.split('::');
  if (halves.length > 2) return null;
  // The dotted form is for the last 32 bits only (RFC 4291 2.2).
  if (halves.length === 2 && halves[0]?.includes('.')) return null;
  const head = ipv6Words(halves[0] ?? '');
  const tail = halves.length === 2 ? ipv6Words(halves[1] ?? '') : [];
  if (head === null || tail === null) return null;
  const missing = 8 - head.length - tail.length;
  if (halves.length === 2 ? missing < 1 : missing !== 0) return null;
  const words = [...head, ...Array.from({ length: missing }, () => 0), ...tail];
  const bytes = new Uint8Array(16);
  for (const [i, word] of words.entries()) {
    bytes[2 * i] = word >>> 8;
    bytes[2 * i + 1] = word & 0xff;
  }
  return bytes;
}

function ipv6Words(text: string): number[] | null {
  if (text === '') return [];
  const words: number[] = [];
  const parts = text.split(':');
  for (const [i, part] of parts.entries()) {
    if (part.includes('.') && i === parts.length - 1) {
      const v4 = ipv4Bytes(part);
      if (v4 === null) return null;
      words.push(((v4[0] ?? 0) << 8) | (v4[1] ?? 0), ((v4[2] ?? 0) << 8) | (v4[3] ?? 0));
    } else if (/^[0-9a-fA-F]{1,4}$/.test(part)) {
      words.push(Number.parseInt(part, 16));
    } else return null;
  }
  return words;
}

function formatIpv6(bytes: Uint8Array): string {
  const words: number[] = [];
  for (let i = 0; i < 16; i += 2) words.push(((bytes[i] ?? 0) << 8) | (bytes[i + 1] ?? 0));
  const [start, length] = longestZeroRun(words);
  const hex = (part: number[]): string => part.map((word) => word.toString(16)).join(':');
  if (length < 2) return hex(words);
  return `${hex(words.slice(0, start))}::${hex(words.slice(start + length))}`;
}

function longestZeroRun(words: readonly number[]): [start: number, length: number] {
  let best: [number, number] = [0, 0];
  for (let i = 0; i < words.length; i++) {
    let length = 0;
    while (words[i + length] === 0) length++;
    if (length > best[1]) best = [i, length];
    i += length;
  }
  return best;
}
