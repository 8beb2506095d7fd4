/** In a guest: the contract on tables that are read by sums, and the text that the sums are made of. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createSystemClock } from '../../src/adapters/clock/system-clock.ts';
import { readTableSums } from '../../src/adapters/linux/ipvs-sums.ts';
import { IP_VS_SVC_F_PERSISTENT, type IpvsServiceKey } from '../../src/model/kernel.ts';
import { type TableSums, textNameOf } from '../../src/wire/ipvs-table-text.ts';
import type { ContractCase } from '../contract/contract-case.ts';
import {
  type IpvsWorld,
  ip,
  ipvsCases,
  real,
  service,
  tcp,
} from '../contract/ipvs-kernel.contract.ts';

const VIP = tcp('10.90.0.100', 80);
const KEYS: readonly IpvsServiceKey[] = [
  VIP,
  tcp('fd90::100', 443),
  { kind: 'address', protocol: 'udp', address: ip('10.90.0.100'), port: 0 },
  { kind: 'address', protocol: 'sctp', address: ip('10.90.0.100'), port: 3868 },
  { kind: 'fwmark', family: 4, mark: 7 },
  { kind: 'fwmark', family: 6, mark: 0x7000_00ab },
];
/** Persistent: the kernel takes port 0 in no other way. */
const PERSISTENT = { flags: IP_VS_SVC_F_PERSISTENT, timeoutS: 50 };

async function sums(): Promise<TableSums> {
  const read = await readTableSums(createSystemClock());
  assert.ok(read !== null);
  return read;
}

/** With kernels that take every table for a large one. */
export const sumCases: readonly ContractCase<IpvsWorld>[] = [
  ...ipvsCases.map(({ name, run }) => ({ name: `by sums: ${name}`, run })),
  {
    name: 'by sums: the text names every service, and what others change is seen',
    run: async ({ kernel }) => {
      const added = await kernel.apply([
        ...KEYS.map((key) => {
          const isAnyPort = key.kind === 'address' && key.port === 0;
          return { op: 'add-service', service: service(key, isAnyPort ? PERSISTENT : {}) } as const;
        }),
        { op: 'add-destination', service: VIP, destination: real('10.90.0.21', 80) },
      ]);
      assert.deepEqual(
        added.map((result) => (result.ok ? null : result.error.message)),
        added.map(() => null),
      );
      await kernel.dump();
      await kernel.dump();
      const before = await sums();
      for (const key of KEYS) assert.ok(Number.isFinite(before.get(textNameOf(key))));
      execFileSync('ipvsadm', '-e -t 10.90.0.100:80 -r 10.90.0.21:80 -g -w 9'.split(' '));
      const after = await sums();
      const isOther = (key: IpvsServiceKey): boolean =>
        before.get(textNameOf(key)) !== after.get(textNameOf(key));
      assert.deepEqual(KEYS.filter(isOther), [VIP]);
      const table = await kernel.dump();
      const seen = table.ok ? table.value.services : [];
      const weights = seen.flatMap((one) => one.destinations.map(({ weight }) => weight));
      assert.deepEqual(weights, [9]);
      execFileSync('ipvsadm', ['-C']);
      assert.deepEqual(await kernel.dump(), { ok: true, value: { services: [] } });
    },
  },
];
