/** Wireshark's decoder as the judge of VRRP packets: what it reads in a capture, and what it finds wrong. */
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
  const capture = network.spawn(host, 'capture', [...argv, filter]);
  await waitFor('tcpdump listens', () => capture.log().includes('listening on'), {
    timeoutMs: 5000,
    intervalMs: 20,
  });
  return {
    async stop() {
      await capture.stop();
      return file;
    },
  };
}

/** All VRRP packets of a capture, the oldest first. */
export async function readVrrp(file: string): Promise<readonly ReadVrrp[]> {
  const fields = FIELDS.flatMap((field) => ['-e', field]);
  const argv = ['tshark', '-r', file, '-n', '-o', 'ip.check_checksum:TRUE'];
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
