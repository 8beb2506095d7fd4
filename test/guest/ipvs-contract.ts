/** Runs inside a guest: the IPVS contract on the real kernel, its tables, and what only a real module can show. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { createSystemClock } from '../../src/adapters/clock/system-clock.ts';
import { createIpvsKernel, type IpvsKernelOptions } from '../../src/adapters/linux/ipvs-kernel.ts';
import { silentLog } from '../../src/ports/log.ts';
import { type CaseResult, type ContractCase, runCases } from '../contract/contract-case.ts';
import { type IpvsWorld, ipvsCases, real, service, tcp } from '../contract/ipvs-kernel.contract.ts';
import { sumCases } from './ipvs-sums.ts';
import { tableCases } from './ipvs-table.ts';
import { traceCases } from './netlink-trace.ts';

const output = process.argv[2];
if (output === undefined) throw new Error('usage: ipvs-contract.ts FILE');

const ports = { log: silentLog, clock: createSystemClock() };
const sh = (command: string): string => execFileSync('sh', ['-c', command]).toString();
const VIP = tcp('10.90.0.100', 80);
const SYNC_DEVICE = 'sync0';

/** These find the module in a state of their own, so they run before and after the contract. */
const loadCases: readonly ContractCase<null>[] = [
  {
    name: 'without the module, dump and apply say UNAVAILABLE and what to do',
    run: async () => {
      // The kernel loads the module by itself when it may: here it may not.
      sh('echo /bin/false >/proc/sys/kernel/modprobe');
      const kernel = createIpvsKernel(ports, { loadModule: async () => 'no module today' });
      const dumped = await kernel.dump();
      assert.equal(dumped.ok ? null : dumped.error.code, 'UNAVAILABLE');
      assert.match(dumped.ok ? '' : dumped.error.message, /modprobe ip_vs/);
      const [result] = await kernel.apply([{ op: 'delete-service', service: VIP }]);
      assert.equal(result?.ok, false);
      const capability = await kernel.capability();
      assert.deepEqual(capability, { available: false, detail: 'no module today' });
      kernel.close();
    },
  },
  {
    name: 'asking for the capability loads the module',
    run: async () => {
      const kernel = createIpvsKernel(ports);
      const capability = await kernel.capability();
      kernel.close();
      sh('echo /run/bin/modprobe >/proc/sys/kernel/modprobe');
      assert.ok(capability.available, capability.detail);
    },
  },
];

const reloadCases: readonly ContractCase<null>[] = [
  {
    name: 'a module that was loaded anew is found under its new family id',
    run: async () => {
      const kernel = createIpvsKernel(ports);
      const add = [
        { op: 'add-service', service: service(VIP, { scheduler: 'rr' }) },
        { op: 'add-destination', service: VIP, destination: real('10.90.0.21', 80) },
      ] as const;
      assert.ok((await kernel.apply(add)).every((result) => result.ok));
      const reload = 'ipvsadm -C; for m in $(lsmod | grep -o "^ip_vs_[a-z_]*"); do rmmod $m; done';
      sh(`${reload}; rmmod ip_vs && modprobe ip_vs`);
      const [first] = await kernel.apply([
        { op: 'delete-destination', service: VIP, destination: real('10.90.0.21', 80) },
      ]);
      assert.ok(first?.ok);
      assert.ok((await kernel.apply(add)).every((result) => result.ok));
      sh(`${reload}; rmmod ip_vs && modprobe ip_vs`);
      assert.deepEqual(await kernel.dump(), { ok: true, value: { services: [] } });
      kernel.close();
    },
  },
  {
    name: 'without privileges the answer is EPERM and names the capability',
    run: async () => {
      // setegid and seteuid drop the effective capabilities of this thread; the socket asks for them.
      process.seteuid?.(65_534);
      const kernel = createIpvsKernel(ports);
      const [result] = await kernel.apply([{ op: 'add-service', service: service(VIP) }]);
      process.seteuid?.(0);
      kernel.close();
      assert.equal(result?.ok === false ? result.error.code : 'ok', 'EPERM');
      assert.match(result?.ok === false ? result.error.message : '', /CAP_NET_ADMIN/);
    },
  },
];

async function createWorld(
  options: IpvsKernelOptions = {},
): Promise<{ world: IpvsWorld; end: () => Promise<void> }> {
  const kernel = createIpvsKernel(ports, options);
  const savedRules = async (): Promise<readonly string[]> =>
    sh('ipvsadm -Sn')
      .split('\n')
      .map((line) => line.trim())
      .filter((line) => line !== '')
      .toSorted();
  return {
    world: { kernel, savedRules, syncDevice: SYNC_DEVICE },
    end: async () => {
      kernel.close();
      sh('ipvsadm -C');
    },
  };
}

const alone = async (): Promise<{ world: null; end: () => Promise<void> }> => ({
  world: null,
  end: async () => {},
});

/** The guest has no network: sync messages go nowhere, and come from nobody. */
function makeSyncDevice(): void {
  sh(`modprobe dummy; ip link add ${SYNC_DEVICE} type dummy; ip link set ${SYNC_DEVICE} up`);
  sh(`ip address add 10.98.0.1/24 dev ${SYNC_DEVICE}`);
}

makeSyncDevice();
const results: CaseResult[] = [
  ...(await runCases(loadCases, alone)),
  ...(await runCases([...ipvsCases, ...tableCases, ...traceCases], createWorld)),
  ...(await runCases(sumCases, () => createWorld({ largeTable: 0 }))),
  ...(await runCases(reloadCases, alone)),
];
writeFileSync(output, JSON.stringify(results));
