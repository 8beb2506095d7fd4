/** Marks, interfaces and sources of checks, as the kernel sees their packets: in a network namespace of its own. */
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { runOk } from '../support/processes.ts';

type Report = {
  readonly told: Readonly<Record<string, string>>;
  readonly counts: Readonly<Record<string, number>>;
  readonly sources: readonly string[];
};

test('probes leave as their check says', async () => {
  const main = join(import.meta.dirname, 'support/origin-probe-main.ts');
  const argv = ['unshare', '--net', process.execPath, '--import', 'tsx', main];
  const { told, counts, sources } = JSON.parse(await runOk(argv, { timeoutMs: 60_000 })) as Report;
  expect(told).toEqual({
    'tcp with a mark': 'up: connected',
    'tcp6 with a mark': 'up: connected',
    'udp with a mark': 'up: a reply of 1 bytes',
    'udp6 with a mark': 'up: a reply of 1 bytes',
    'icmp with a mark': 'up: echo reply',
    'icmp6 with a mark': 'up: echo reply',
    'tcp from a source': 'up: expected answer',
    'tcp from a source with a mark': 'up: expected answer',
    'udp from a source with a mark': 'up: a reply of 1 bytes',
    'tcp by a device': 'timeout-connect: no connection within 500 ms',
    'udp to nobody': 'unreachable: no route to host',
    'udp6 to nobody': 'unreachable: no route to host',
    'udp to somebody silent': 'up: no ICMP error within 500 ms',
    'icmp by a device': 'timeout-first-byte: no echo reply within 500 ms',
  });
  // Two connects at least, with SYN, ACK and reset of each; two datagrams and a third; two echoes.
  expect(counts['tcp']).toBeGreaterThanOrEqual(6);
  expect(counts['udp']).toBe(3);
  expect(counts['icmp']).toBeGreaterThanOrEqual(2);
  expect(sources.at(-1)).toBe('127.0.0.5:40001');
}, 90_000);
