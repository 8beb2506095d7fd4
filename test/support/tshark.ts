/** Wireshark's decoder as the judge of VRRP packets: what it reads in a capture, and what it finds wrong. */
import { readFileSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { internetChecksum } from '../../src/wire/checksum.ts';
import { ensurePackage } from './debian-package.ts';
import type { Network } from './network.ts';
import { runOk, waitFor } from './processes.ts';

/** One packet as tshark reads it. */
export type ReadVrrp = {
  readonly source: string;
  readonly destination: string;
  /** TTL or hop limit. */
  readonly ttl: number;
  readonly version: number;
  readonly type: number;
  readonly routerId: number;
  readonly priority: number;
  readonly intervalMs: number;
  readonly addresses: readonly string[];
  /** The password of version 2; empty: none. */
  readonly password: string;
  /** Whatever it finds fault with, wrong checksums among it. */
  readonly faults: readonly string[];
};

const FIELDS = [
  'ip.src',
  'ipv6.src',
  'ip.dst',
  'ipv6.dst',
  'ip.ttl',
  'ipv6.hlim',
  'vrrp.version',
  'vrrp.type',
  'vrrp.virt_rtr_id',
  'vrrp.prio',
  'vrrp.adver_int',
  'vrrp.short_adver_int',
  'vrrp.ip_addr',
  'vrrp.ipv6_addr',
  'vrrp.auth_string',
  'vrrp.checksum.status',
  'ip.checksum.status',
  '_ws.malformed',
  '_ws.expert.message',
] as const;
type Field = (typeof FIELDS)[number];

const VERIFIED_GOOD = '1';

export async function ensureTshark(): Promise<void> {
  await ensurePackage('tshark', () => {});
}

/** Keeps every VRRP packet that passes a host's device, until it is stopped; gives the file. */
export async function captureVrrp(
  network: Network,
  host: string,
  file: string,
): Promise<{ readonly stop: () => Promise<string> }> {
  const filter = 'ip proto 112 or ip6 proto 112';
  const argv = ['tcpdump', '-i', 'eth0', '--immediate-mode', '-U', '-Z', 'root', '-w', file];
  // Its log is its own: what an earlier one said must not look like its beginning.
  const capture = network.spawn(host, basename(file), [...argv, filter]);
  await waitFor('tcpdump listens', () => capture.log().includes('listening on'), {
    timeoutMs: 20_000,
    intervalMs: 20,
  });
  return {
    async stop() {
      await capture.stop();
      return file;
    },
  };
}

/** All VRRP packets of a capture, the oldest first; preferences of tshark as `name:value`. */
export async function readVrrp(
  file: string,
  preferences: readonly string[] = [],
): Promise<readonly ReadVrrp[]> {
  const set = ['ip.check_checksum:TRUE', ...preferences].flatMap((each) => ['-o', each]);
  const fields = FIELDS.flatMap((field) => ['-e', field]);
  const argv = ['tshark', '-r', file, '-n', ...set];
  const said = await runOk([...argv, '-T', 'fields', '-E', 'separator=|', ...fields]);
  return said.split('\n').filter(Boolean).map(readLine);
}

function readLine(line: string): ReadVrrp {
  const values = line.split('|');
  const of = (field: Field): string => values[FIELDS.indexOf(field)] ?? '';
  const either = (one: Field, other: Field): string => of(one) || of(other);
  const isIpv4 = of('ip.src') !== '';
  const seconds = of('vrrp.adver_int');
  const faults = [of('_ws.malformed'), of('_ws.expert.message')].filter(Boolean);
  if (of('vrrp.checksum.status') !== VERIFIED_GOOD) faults.push('the checksum of VRRP');
  if (isIpv4 && of('ip.checksum.status') !== VERIFIED_GOOD) faults.push('the checksum of IPv4');
  return {
    source: either('ip.src', 'ipv6.src'),
    destination: either('ip.dst', 'ipv6.dst'),
    ttl: Number(either('ip.ttl', 'ipv6.hlim')),
    version: Number(of('vrrp.version')),
    type: Number(of('vrrp.type')),
    routerId: Number(of('vrrp.virt_rtr_id')),
    priority: Number(of('vrrp.prio')),
    intervalMs: seconds === '' ? Number(of('vrrp.short_adver_int')) * 10 : Number(seconds) * 1000,
    addresses: either('vrrp.ip_addr', 'vrrp.ipv6_addr').split(','),
    password: of('vrrp.auth_string'),
    faults,
  };
}

const PCAP_HEADER = 24;
const PCAP_RECORD = 16;
const ETHERNET_HEADER = 14;
const IPV4_HEADER = 20;
const HMAC_TRAILER = 28;

/** Leaves the first packet of a capture, over IPv4, without the trailer of keepalived 2.4, which tshark does not know. */
export function cutTrailer(file: string): void {
  const bytes = readFileSync(file);
  const start = PCAP_HEADER + PCAP_RECORD;
  const length = bytes.readUInt32LE(PCAP_HEADER + 8) - HMAC_TRAILER;
  const kept = Buffer.from(bytes.subarray(0, start + length));
  for (const offset of [8, 12]) kept.writeUInt32LE(length, PCAP_HEADER + offset);
  const ip = kept.subarray(start + ETHERNET_HEADER);
  ip.writeUInt16BE(ip.length, 2);
  ip.writeUInt16BE(0, 10);
  ip.writeUInt16BE(internetChecksum([ip.subarray(0, IPV4_HEADER)]), 10);
  writeFileSync(file, kept);
}
