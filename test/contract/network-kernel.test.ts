/** The network contract on the fake, and on Linux in a network namespace of its own. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { formatIp } from '../../src/model/address.ts';
import { FakeClock } from '../fakes/fake-clock.ts';
import { FakeNetworkKernel } from '../fakes/fake-kernel.ts';
import type { CaseResult } from './contract-case.ts';
import { networkCases } from './network-kernel.contract.ts';

const ANY = formatIp(Uint8Array.of(10, 90, 0, 100));

describe('network kernel contract: fake', () => {
  for (const { name, run } of networkCases)
    test(name, async () => {
      const clock = new FakeClock();
      const kernel = new FakeNetworkKernel(clock);
      const linkIndex = kernel.addLink('eth0');
      await run({
        kernel,
        device: 'eth0',
        linkIndex,
        advance: (ms) => clock.advance(ms),
        addForeign: async (key) => kernel.addForeignAddress(key),
        setCarrier: async (isUp) => kernel.setCarrier(linkIndex, isUp),
        setAdminUp: async (isUp) => kernel.setAdminUp(linkIndex, isUp),
        removeLink: async () => kernel.removeLink(linkIndex),
      });
    });

  test('a machine that starts again has its links and no address', async () => {
    const clock = new FakeClock();
    const kernel = new FakeNetworkKernel(clock);
    const linkIndex = kernel.addLink('eth0');
    kernel.addForeignAddress({ linkIndex, address: ANY, prefix: 24 });
    expect(kernel.isBound(ANY)).toBe(true);
    kernel.reboot();
    expect(kernel.boundNow()).toEqual([]);
    expect(kernel.linkNamed('eth0')?.index).toBe(linkIndex);
  });
});

/** Usually some seconds. */
const LONGEST_RUN_MS = 120_000;

const LINUX_ONLY = [
  'an IPv6 VIP is never the source of own traffic, an IPv4 VIP only where nothing else is',
  'a VIP brings no route',
  'with promote_secondaries the kernel itself keeps the others of a subnet',
  'without privileges the answer is EPERM and names the capability',
  'the process survives 20,000 notifications while its event loop is blocked',
  'notifications that do not fit the buffer are followed by a resync',
  'a listener that throws is logged and does not end the process',
];

describe('network kernel contract: Linux', () => {
  let results: readonly CaseResult[] = [];
  let ending = '';

  beforeAll(async () => {
    const child = join(import.meta.dirname, 'support', 'network-kernel-child.ts');
    const run = await runInNamespace(['node', '--import', 'tsx', child], LONGEST_RUN_MS);
    ending = `exit ${run.code ?? run.signal}: ${run.errors}`;
    try {
      results = JSON.parse(run.output);
    } catch {
      // A child that died wrote no results: every test below then shows how it ended.
    }
  }, LONGEST_RUN_MS + 5_000);

  for (const name of [...networkCases.map((entry) => entry.name), ...LINUX_ONLY])
    test(name, () => {
      const result = results.find((entry) => entry.name === name);
      expect(result, `the case did not run: ${ending}`).toBeDefined();
      expect(result?.error).toBeNull();
    });

  test('the process was alive to the end', () => expect(ending).toMatch(/^exit 0:/));
});

type Ended = { code: number | null; signal: string | null; output: string; errors: string };

/** The namespace goes with its only process. */
function runInNamespace(argv: readonly string[], timeoutMs: number): Promise<Ended> {
  const child = spawn('unshare', ['--net', '--', ...argv], { stdio: ['ignore', 'pipe', 'pipe'] });
  const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs);
  let output = '';
  let errors = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString()));
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      resolve({ code, signal, output, errors });
    });
  });
}
