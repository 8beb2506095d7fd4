/**
 * Inside the guest: 37,000 destinations in 2,300 services by our adapter, by `ipvsadm -R` and by the start of
 * keepalived, then one weight by each of the first two. Wall times of this machine's monotonic clock.
 * Usage: ipvs-large.guest.ts FILE; FILE gets a JSON of `LargeFigures`.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createSystemClock } from '../src/adapters/clock/system-clock.ts';
import { createIpvsKernel } from '../src/adapters/linux/ipvs-kernel.ts';
import { planKernel } from '../src/core/plan/control-plan.ts';
import { type DesiredService, formatServiceKey } from '../src/model/kernel.ts';
import { silentLog } from '../src/ports/log.ts';
import { formatIpvsadm } from '../src/config/ipvsadm-format.ts';
import { LARGE, largeServices, portOf, realServersOf, vipOf } from './ipvs-large-table.ts';

export type LargeFigures = {
  readonly fullMs: readonly number[];
  readonly noopMs: readonly number[];
  /** CPU time, user and system, of the same. */
  readonly noopCpuMs: readonly number[];
  /** Of `ipvsadm -Sn`, which reads and prints the same table. */
  readonly savedMs: readonly number[];
  readonly savedCpuMs: readonly number[];
  readonly oneWeightMs: readonly number[];
  readonly ipvsadmMs: readonly number[];
  readonly ipvsadmOneMs: readonly number[];
  /** From its start until the table is whole. */
  readonly keepalivedMs: number;
  /** Of its processes, resident, when the table is whole. */
  readonly keepalivedMb: number;
};

const ROUNDS = 3;
/** Passes with nothing to do, of each round. */
const PASSES = 4;
const KEEPALIVED_LIMIT_MS = 240_000;
const output = process.argv[2];
if (output === undefined) throw new Error('usage: ipvs-large.guest.ts FILE');

const clock = createSystemClock();
const kernel = createIpvsKernel({ log: silentLog, clock });
const desired = largeServices();
const heavier = desired.map((service, s) =>
  s === LARGE.services >> 1
    ? {
        ...service,
        destinations: service.destinations.map((each, d) =>
          d === 7 ? { ...each, weight: 2 } : each,
        ),
      }
    : service,
);
const owned = new Set(desired.map((service) => formatServiceKey(service.key)));

/** As after a boot: a flush alone leaves dead destinations that every later add walks through. */
function freshModule(): void {
  execFileSync('sh', ['-c', 'ipvsadm -C; rmmod ip_vs_wlc ip_vs && modprobe ip_vs_wlc']);
}

async function timed(action: () => Promise<void> | void): Promise<number> {
  const start = clock.now();
  await action();
  return clock.now() - start;
}

const cpuMs = (since?: NodeJS.CpuUsage): number => {
  const { user, system } = process.cpuUsage(since);
  return (user + system) / 1000;
};

/** How long a command takes, and the CPU time of its process. */
function timeOf(command: string): { readonly wallMs: number; readonly cpuMs: number } {
  const script = `TIMEFORMAT='%R %U %S'; time ${command} >/dev/null`;
  const { stderr } = spawnSync('bash', ['-c', script], { encoding: 'utf8' });
  const [wall = Number.NaN, user = Number.NaN, system = Number.NaN] = stderr
    .trim()
    .split(' ')
    .map((seconds) => Number(seconds) * 1000);
  return { wallMs: wall, cpuMs: user + system };
}

/** One pass of the reconciler; throws unless it takes so many operations. */
async function reconcile(wanted: readonly DesiredService[], operationCount: number): Promise<void> {
  const observed = await kernel.dump();
  if (!observed.ok) throw new Error(observed.error.message);
  const { operations } = planKernel({
    desired: wanted,
    observed: observed.value,
    owned,
    daemons: { desired: [], observed: [] },
    timeouts: { desired: { tcpS: null, tcpFinS: null, udpS: null }, observed: null },
  });
  if (operations.length !== operationCount) throw new Error(`${operations.length} operations`);
  const refused = (await kernel.apply(operations)).find((result) => !result.ok);
  if (refused?.ok === false) throw new Error(refused.error.message);
}

const ipvsadm = (args: readonly string[], input = ''): string =>
  execFileSync('ipvsadm', [...args], { input, maxBuffer: 1 << 26 }).toString();

/** Lines of the kernel's own table: a destination or a service each, and three of its head. */
function tableSize(): number {
  const text = readFileSync('/proc/net/ip_vs');
  let lines = 0;
  for (const byte of text) if (byte === 10) lines += 1;
  return lines - 3;
}

const WHOLE = LARGE.services + LARGE.destinations;

const lastKey = `${vipOf(LARGE.services - 1)}:${portOf(LARGE.services - 1)}`;
const lastSize = realServersOf(LARGE.services - 1).length;

function lastServiceSize(): number {
  try {
    return ipvsadm(['-Ln', '-t', lastKey]).split('->').length - 2;
  } catch {
    return 0; // There is no such service yet.
  }
}

function keepalivedConf(): string {
  return desired
    .map(({ key, destinations }) => {
      const head = key.kind === 'address' ? `${key.address} ${key.port}` : '';
      const servers = destinations.map(
        ({ address, port }) => `  real_server ${address} ${port} {\n    weight 1\n  }\n`,
      );
      return `virtual_server ${head} {\n  protocol TCP\n  lvs_sched wlc\n  lvs_method DR\n${servers.join('')}}\n`;
    })
    .join('');
}

async function measureKeepalived(): Promise<Pick<LargeFigures, 'keepalivedMs' | 'keepalivedMb'>> {
  writeFileSync('/run/keepalived.conf', keepalivedConf());
  const start = clock.now();
  const pids = ['-p', '/run/keepalived.pid', '-c', '/run/keepalived-checkers.pid'];
  const argv = ['-C', '-n', '-l', '-f', '/run/keepalived.conf', ...pids];
  const daemon = spawn('keepalived', argv, { stdio: 'ignore', detached: true });
  // It works through its configuration in order; to count the whole table costs what it is to be spared.
  while (lastServiceSize() < lastSize) {
    if (clock.now() - start > KEEPALIVED_LIMIT_MS || daemon.exitCode !== null)
      throw new Error(`keepalived: ${tableSize()} of ${WHOLE} after ${clock.now() - start} ms`);
    execFileSync('sleep', ['0.25']);
  }
  if (tableSize() !== WHOLE) throw new Error(`${tableSize()} entries of keepalived's`);
  const keepalivedMs = clock.now() - start;
  const keepalivedMb = residentMb('keepalived');
  if (daemon.pid !== undefined) process.kill(-daemon.pid, 'SIGKILL');
  return { keepalivedMs, keepalivedMb };
}

/** Of all processes of that name in this guest. */
function residentMb(name: string): number {
  let kilobytes = 0;
  for (const pid of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))) {
    const status = readStatus(pid);
    if (status.startsWith(`Name:\t${name}\n`))
      kilobytes += Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? 0);
  }
  return kilobytes / 1024;
}

function readStatus(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/status`, 'utf8');
  } catch {
    return ''; // It has ended meanwhile.
  }
}

const rules = formatIpvsadm(desired, 'restore');
const changed = heavier[LARGE.services >> 1];
const one = changed?.destinations[7];
if (changed?.key.kind !== 'address' || one === undefined) throw new Error('no such destination');
const oneWeight = `-e -t ${changed.key.address}:${changed.key.port} -r ${one.address}:${one.port} -g -w`;

const fullMs: number[] = [];
const noopMs: number[] = [];
const noopCpuMs: number[] = [];
const savedMs: number[] = [];
const savedCpuMs: number[] = [];
const oneWeightMs: number[] = [];
const ipvsadmMs: number[] = [];
const ipvsadmOneMs: number[] = [];
for (let round = 0; round < ROUNDS; round += 1) {
  freshModule();
  fullMs.push(await timed(() => reconcile(desired, WHOLE)));
  for (let pass = 0; pass < PASSES; pass += 1) {
    const before = process.cpuUsage();
    noopMs.push(await timed(() => reconcile(desired, 0)));
    noopCpuMs.push(cpuMs(before));
    const saved = timeOf('ipvsadm -Sn');
    savedMs.push(saved.wallMs);
    savedCpuMs.push(saved.cpuMs);
  }
  oneWeightMs.push(await timed(() => reconcile(heavier, 1)));
  if (tableSize() !== WHOLE) throw new Error(`${tableSize()} entries`);
  freshModule();
  ipvsadmMs.push(await timed(() => void ipvsadm(['-R'], rules)));
  ipvsadmOneMs.push(await timed(() => void ipvsadm([...oneWeight.split(' '), '2'])));
  if (tableSize() !== WHOLE) throw new Error(`${tableSize()} entries`);
}
freshModule();
const keepalived = await measureKeepalived();
kernel.close();
const figures: LargeFigures = {
  fullMs,
  noopMs,
  noopCpuMs,
  savedMs,
  savedCpuMs,
  oneWeightMs,
  ipvsadmMs,
  ipvsadmOneMs,
  ...keepalived,
};
writeFileSync(output, JSON.stringify(figures));
