/** Ranges of addresses and ports as the cluster document writes them, counted before they are expanded. */
import { err, ok, type Result } from '../lib/result.ts';
import {
  familyOf,
  formatIp,
  type IpAddress,
  type IpFamily,
  ipToBytes,
  parseCidr,
  parseIp,
} from '../model/address.ts';
import type { PortRange } from '../model/cluster.ts';

export type AddressRange = {
  readonly family: IpFamily;
  readonly first: bigint;
  readonly last: bigint;
};

/**
 * One address, `first-last`, `first-N` (N replaces the last number, as in keepalived) or a network, of which
 * every address counts. The error is a sentence fit for a user.
 */
export function parseAddressRange(text: string): Result<AddressRange, string> {
  if (text.includes('/')) return parseNetwork(text);
  const [firstText = '', lastText, ...rest] = text.split('-');
  const first = parseIp(firstText);
  if (!first.ok || rest.length > 0) return err(`"${text}" is no address, range or network`);
  if (lastText === undefined) return ok(rangeOf(first.value, first.value));
  const last = parseIp(isShort(lastText) ? replaceLast(first.value, lastText) : lastText);
  if (!last.ok) return err(`"${text}": ${last.error}`);
  if (familyOf(first.value) !== familyOf(last.value))
    return err(`"${text}" begins and ends in different families`);
  const range = rangeOf(first.value, last.value);
  return range.first > range.last ? err(`"${text}" ends before it begins`) : ok(range);
}

const isShort = (text: string): boolean => /^[0-9a-fA-F]{1,4}$/.test(text);

function replaceLast(first: IpAddress, last: string): string {
  if (familyOf(first) === 4) return first.replace(/[0-9]+$/, last);
  const bytes = ipToBytes(first);
  const word = Number.parseInt(last, 16);
  bytes.set([word >>> 8, word & 0xff], 14);
  return formatIp(bytes);
}

function parseNetwork(text: string): Result<AddressRange, string> {
  const parsed = parseCidr(text);
  if (!parsed.ok) return parsed;
  const { address, prefix } = parsed.value;
  const first = toNumber(address);
  const size = 1n << BigInt((familyOf(address) === 4 ? 32 : 128) - prefix);
  if (first % size !== 0n) return err(`"${text}" has bits behind its prefix`);
  return ok({ family: familyOf(address), first, last: first + size - 1n });
}

const rangeOf = (first: IpAddress, last: IpAddress): AddressRange => ({
  family: familyOf(first),
  first: toNumber(first),
  last: toNumber(last),
});

const toNumber = (address: IpAddress): bigint =>
  ipToBytes(address).reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);

/** How many addresses; up to 2^128. */
export const countOf = ({ first, last }: AddressRange): bigint => last - first + 1n;

/** To be called for what `countOf` finds small. */
export function addressesIn({ family, first, last }: AddressRange): readonly IpAddress[] {
  const addresses: IpAddress[] = [];
  for (let value = first; value <= last; value++) addresses.push(toAddress(family, value));
  return addresses;
}

function toAddress(family: IpFamily, value: bigint): IpAddress {
  const bytes = new Uint8Array(family === 4 ? 4 : 16);
  let rest = value;
  for (let i = bytes.length - 1; i >= 0; i--) {
    bytes[i] = Number(rest & 0xffn);
    rest >>= 8n;
  }
  return formatIp(bytes);
}

export const EVERY_PORT: PortRange = { from: 0, to: 65_535 };

/** A port or `first-last`; the error is a sentence fit for a user. */
export function parsePortRange(value: unknown): Result<PortRange, string> {
  if (typeof value === 'number') return ok({ from: value, to: value });
  const match = /^([0-9]{1,5})-([0-9]{1,5})$/.exec(typeof value === 'string' ? value : '');
  if (match === null) return err('is no port and no range of ports');
  const [from, to] = [Number(match[1]), Number(match[2])];
  if (from < 1 || to > 65_535) return err(`"${match[0]}" leaves the ports from 1 to 65535`);
  return from > to ? err(`"${match[0]}" ends before it begins`) : ok({ from, to });
}
