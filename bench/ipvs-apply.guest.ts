/**
 * Inside the guest: 10,000 destinations by our adapter and by `ipvsadm -R`, and a pass with nothing to do.
 * Times are wall times of this machine's monotonic clock; each figure is the median of the rounds.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { createSystemClock } from '../src/adapters/clock/system-clock.ts';
import { createIpvsKernel } from '../src/adapters/linux/ipvs-kernel.ts';
import { planIpvs } from '../src/core/plan/ipvs-plan.ts';
import { formatIp } from '../src/model/address.ts';
import { formatServiceKey, type DesiredService } from '../src/model/kernel.ts';
import { silentLog } from '../src/ports/log.ts';

const SERVICES = 100;
const DESTINATIONS = 100;
const ROUNDS = 9;
const output = process.argv[2];
if (output === undefined) throw new Error('usage: ipvs-apply.guest.ts FILE');

const clock = createSystemClock();
const kernel = createIpvsKernel({ log: silentLog, clock });

const desired: readonly DesiredService[] = Array.from({ length: SERVICES }, (_, s) => ({
  key: {
    kind: 'address',
    protocol: 'tcp',
    address: formatIp(Uint8Array.of(10, 90, 0, s + 1)),
    port: 80,
  },
  scheduler: 'wlc',
  flags: 0,
  timeoutS: 0,
  persistencePrefix: 32,
  persistenceEngine: null,
  destinations: Array.from({ length: DESTINATIONS }, (_unused, d) => ({
    address: formatIp(Uint8Array.of(10, 91, s, d + 1)),
    port: 80,
    forward: 'dr',
    tunnel: null,
    weight: 1,
    upperThreshold: 0,
    lowerThreshold: 0,
  })),
}));
const owned = new Set(desired.map((service) => formatServiceKey(service.key)));

const rules = desired.flatMap(({ key, destinations }) => {
  const name = key.kind === 'address' ? `${key.address}:${key.port}` : '';
  return [
    `-A -t ${name} -s wlc`,
    ...destinations.map((d) => `-a -t ${name} -r ${d.address}:${d.port} -g -w 1`),
  ];
});

/**
 * As after a boot. A flush alone leaves 10,000 dead destinations in the kernel's trash for minutes, and
 * every later add, ours or ipvsadm's, walks through them.
 */
function freshModule(): void {
  execFileSync('sh', ['-c', 'ipvsadm -C; rmmod ip_vs_wlc ip_vs && modprobe ip_vs_wlc']);
}

async function timed(action: () => Promise<void>): Promise<number> {
  const start = clock.now();
  await action();
  return clock.now() - start;
}

/** One pass of the reconciler: dump, plan, apply. Returns how many operations it applied. */
async function reconcile(): Promise<number> {
  const observed = await kernel.dump();
  if (!observed.ok) throw new Error(observed.error.message);
  const { operations } = planIpvs({ desired, observed: observed.value, owned });
  const refused = (await kernel.apply(operations)).find((result) => !result.ok);
  if (refused?.ok === false) throw new Error(refused.error.message);
  return operations.length;
}

const saved = (): string => execFileSync('ipvsadm', ['-Sn'], { maxBuffer: 1 << 26 }).toString();
const sorted = (text: string): string => text.trim().split('\n').toSorted().join('\n');

const times: Record<'ours' | 'ipvsadm' | 'noop', number[]> = { ours: [], ipvsadm: [], noop: [] };
for (let round = 0; round < ROUNDS; round++) {
  freshModule();
  let applied = 0;
  times.ours.push(
    await timed(async () => {
      applied = await reconcile();
    }),
  );
  if (applied !== SERVICES * (DESTINATIONS + 1)) throw new Error(`${applied} operations`);
  const ours = sorted(saved());
  times.noop.push(
    await timed(async () => {
      applied = await reconcile();
    }),
  );
  if (applied !== 0) throw new Error(`${applied} operations where nothing was to do`);
  freshModule();
  times.ipvsadm.push(
    await timed(async () => {
      execFileSync('ipvsadm', ['-R'], { input: `${rules.join('\n')}\n` });
    }),
  );
  if (sorted(saved()) !== ours) throw new Error('the two tables differ');
}
kernel.close();

const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
const ms = (values: readonly number[]): string =>
  `median ${median(values).toFixed(0)} ms, best ${Math.min(...values).toFixed(0)} ms (rounds in order, the first one cold: ${values.map((value) => value.toFixed(0)).join(', ')})`;
const ratio = median(times.ours) / median(times.ipvsadm);
const verdict = (isMet: boolean): string => (isMet ? 'met' : 'MISSED');
const lines = [
  `${SERVICES} services x ${DESTINATIONS} destinations, Linux ${readFileSync('/proc/sys/kernel/osrelease', 'utf8').trim()}, Node ${process.version}`,
  `leasehold, dump + plan + apply: ${ms(times.ours)}`,
  `ipvsadm -R, same rules:         ${ms(times.ipvsadm)}`,
  `ratio of the medians: 1/${(1 / ratio).toFixed(1)} (target: at most 1/10, ${verdict(ratio <= 0.1)})`,
  `ratio of the best:    1/${(Math.min(...times.ipvsadm) / Math.min(...times.ours)).toFixed(1)}`,
  `nothing to do, dump + plan:     ${ms(times.noop)} (target: at most 1000 ms, ${verdict(median(times.noop) <= 1000)})`,
];
writeFileSync(output, `${lines.join('\n')}\n`);
