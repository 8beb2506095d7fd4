/**
 * From the words of a cluster document to what `ipvsadm -S -n` prints, on a real kernel: every scheduler,
 * flag, kind of service, persistence and way of forwarding, in one table by one plan. The expected lines
 * are put together from literals beside the words, not by the product's own formatter.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { parseClusterDocument } from '../../src/config/cluster-document.ts';
import { formatIpvsadm } from '../../src/config/ipvsadm-format.ts';
import { deriveDesired } from '../../src/core/desired/desired-state.ts';
import { describeFailure } from '../../src/core/plan/failure-text.ts';
import { planKernel } from '../../src/core/plan/control-plan.ts';
import { SCHEDULERS } from '../../src/model/cluster.ts';
import type { DesiredService, IpvsOperation, KernelError } from '../../src/model/kernel.ts';
import { formatServiceKey } from '../../src/model/kernel.ts';
import type { IpvsKernel } from '../../src/ports/kernel.ts';
import type { ContractCase } from '../contract/contract-case.ts';
import { type IpvsWorld, service, tcp } from '../contract/ipvs-kernel.contract.ts';

/** Words of a document, and what ipvsadm prints of them. */
type Row = { readonly words: object; readonly prints: string };

const SCHEDULER_ROWS: readonly Row[] = [
  { words: { scheduler: 'rr' }, prints: '-s rr' },
  { words: { scheduler: 'rr', schedulerFlags: ['flag-1'] }, prints: '-s rr -b flag-1' },
  { words: { scheduler: 'wrr' }, prints: '-s wrr' },
  {
    words: { scheduler: 'wrr', schedulerFlags: ['flag-2', 'flag-3'] },
    prints: '-s wrr -b flag-2,flag-3',
  },
  { words: { scheduler: 'lc' }, prints: '-s lc' },
  { words: {}, prints: '-s wlc' },
  { words: { scheduler: 'wlc', schedulerFlags: ['flag-3'] }, prints: '-s wlc -b flag-3' },
  { words: { scheduler: 'lblc' }, prints: '-s lblc' },
  { words: { scheduler: 'lblcr' }, prints: '-s lblcr' },
  { words: { scheduler: 'dh' }, prints: '-s dh' },
  { words: { scheduler: 'sh' }, prints: '-s sh' },
  { words: { scheduler: 'sh', schedulerFlags: ['sh-port'] }, prints: '-s sh -b sh-port' },
  { words: { scheduler: 'sh', schedulerFlags: ['sh-fallback'] }, prints: '-s sh -b sh-fallback' },
  {
    words: { scheduler: 'sh', schedulerFlags: ['sh-port', 'sh-fallback'] },
    prints: '-s sh -b sh-fallback,sh-port',
  },
  { words: { scheduler: 'sed' }, prints: '-s sed' },
  { words: { scheduler: 'nq' }, prints: '-s nq' },
  { words: { scheduler: 'fo' }, prints: '-s fo' },
  { words: { scheduler: 'ovf' }, prints: '-s ovf' },
  { words: { scheduler: 'mh' }, prints: '-s mh' },
  { words: { scheduler: 'mh', schedulerFlags: ['mh-port'] }, prints: '-s mh -b mh-port' },
  { words: { scheduler: 'mh', schedulerFlags: ['mh-fallback'] }, prints: '-s mh -b mh-fallback' },
  {
    words: { scheduler: 'mh', schedulerFlags: ['mh-fallback', 'mh-port'] },
    prints: '-s mh -b mh-fallback,mh-port',
  },
];

/** Not in every kernel, and not in that of the guests. */
const RARE: Row = { words: { scheduler: 'twos' }, prints: '-s twos' };

const VIP = '10.90.0.100';
const VIP6 = 'fd90::100';

type Place = {
  readonly words: (n: number) => object;
  readonly prints: (n: number) => string;
  readonly family: 4 | 6;
  /** The port of real servers that are not NAT, in print. */
  readonly realPort: (n: number) => number;
  readonly options: readonly Row[];
};

const NO_OPTION: Row = { words: {}, prints: '' };
const PERSISTENT: Row = { words: { persistence: {} }, prints: '-p 360' };
const BY_NETWORK: Row = {
  words: { persistence: { timeout: '50s', prefix: 24 } },
  prints: '-p 50 -M 255.255.255.0',
};
const BY_NETWORK6: Row = {
  words: { persistence: { timeout: '744h', prefix: 64 } },
  prints: '-p 2678400 -M 64',
};
const SIP: Row = {
  words: { persistence: { timeout: '1s', engine: 'sip' } },
  prints: '-p 1 --pe sip',
};
const OPS: Row = { words: { ops: true }, prints: '-o' };
const ALL_OF_THEM: Row = {
  words: { persistence: { timeout: '5m', prefix: 16, engine: 'sip' }, ops: true },
  prints: '-p 300 -M 255.255.0.0 --pe sip -o',
};

const self = (n: number): number => n;
const none = (): number => 0;

function addressPlace(
  protocol: 'tcp' | 'udp' | 'sctp',
  family: 4 | 6,
  options: Place['options'],
): Place {
  const option = { tcp: '-t', udp: '-u', sctp: '--sctp-service' }[protocol];
  const address = family === 4 ? VIP : VIP6;
  return {
    words: (port) => ({ address, port, ...(protocol === 'tcp' ? {} : { protocol }) }),
    prints: (port) => `${option} ${family === 4 ? address : `[${address}]`}:${port}`,
    family,
    realPort: self,
    options,
  };
}

const PLACES: readonly Place[] = [
  addressPlace('tcp', 4, [NO_OPTION, PERSISTENT, BY_NETWORK]),
  addressPlace('udp', 4, [NO_OPTION, BY_NETWORK, SIP, OPS, ALL_OF_THEM]),
  addressPlace('sctp', 4, [NO_OPTION, PERSISTENT]),
  addressPlace('tcp', 6, [NO_OPTION, BY_NETWORK6]),
  addressPlace('udp', 6, [NO_OPTION, SIP, OPS]),
  addressPlace('sctp', 6, [NO_OPTION]),
  {
    words: (fwmark) => ({ fwmark, family: 'inet' }),
    prints: (mark) => `-f ${mark}`,
    family: 4,
    realPort: none,
    options: [NO_OPTION, BY_NETWORK, ALL_OF_THEM],
  },
  {
    words: (fwmark) => ({ fwmark, family: 'inet6' }),
    prints: (mark) => `-f ${mark} -6`,
    family: 6,
    realPort: none,
    options: [NO_OPTION, BY_NETWORK6],
  },
];

type RealRow = {
  readonly words: object;
  readonly address: (family: 4 | 6) => string;
  /** In print, after the address; null: the port of the service. */
  readonly port: number | null;
  readonly prints: string;
};

const at =
  (last: number) =>
  (family: 4 | 6): string =>
    family === 4 ? `10.90.0.${last}` : `fd90::${last}`;
const tun = (words: object): object => ({ forward: 'tun', tunnel: words });

/** Ways of forwarding, weights and thresholds; ipvsadm prints no thresholds. */
const REAL_ROWS: readonly RealRow[] = [
  { words: {}, address: at(21), port: null, prints: '-g -w 1' },
  { words: { forward: 'dr', weight: 0 }, address: at(22), port: null, prints: '-g -w 0' },
  { words: { forward: 'nat', weight: 65_536 }, address: at(23), port: null, prints: '-m -w 65536' },
  {
    words: { forward: 'nat', port: 8080, upperThreshold: 100, lowerThreshold: 10 },
    address: at(24),
    port: 8080,
    prints: '-m -w 1',
  },
  {
    words: { forward: 'dr', upperThreshold: 2_147_483_647 },
    address: at(25),
    port: null,
    prints: '-g -w 1',
  },
  { words: { forward: 'tun' }, address: at(31), port: null, prints: '-i -w 1 --tun-type ipip' },
  {
    words: tun({ type: 'gue', port: 6080 }),
    address: at(32),
    port: null,
    prints: '-i -w 1 --tun-type gue --tun-port 6080 --tun-nocsum',
  },
  {
    words: tun({ type: 'gue', port: 65_535, checksum: 'csum' }),
    address: at(33),
    port: null,
    prints: '-i -w 1 --tun-type gue --tun-port 65535 --tun-csum',
  },
  {
    words: tun({ type: 'gue', port: 1, checksum: 'remcsum' }),
    address: at(34),
    port: null,
    prints: '-i -w 1 --tun-type gue --tun-port 1 --tun-remcsum',
  },
  {
    words: tun({ type: 'gre' }),
    address: at(35),
    port: null,
    prints: '-i -w 1 --tun-type gre --tun-nocsum',
  },
  {
    words: { ...tun({ type: 'gre', checksum: 'csum' }), upperThreshold: 7 },
    address: at(36),
    port: null,
    prints: '-i -w 1 --tun-type gre --tun-csum',
  },
  {
    words: { forward: 'tun', weight: 3 },
    address: (family) => (family === 4 ? 'fd90::37' : '10.90.0.37'),
    port: null,
    prints: '-i -w 3 --tun-type ipip',
  },
];

type Table = { readonly services: Record<string, object>; readonly lines: string[] };

/** Each scheduler row in each place with each of its options, all real servers in each. */
function wholeTable(): Table {
  const table: Table = { services: {}, lines: [] };
  let n = 1000;
  for (const scheduler of SCHEDULER_ROWS)
    for (const place of PLACES)
      for (const option of place.options) addService(table, { n: ++n, scheduler, place, option });
  return table;
}

type Choice = {
  readonly n: number;
  readonly scheduler: Row;
  readonly place: Place;
  readonly option: Row;
};

function addService(table: Table, { n, scheduler, place, option }: Choice): void {
  const key = place.prints(n);
  table.services[`s${n}`] = {
    group: 'web',
    ...place.words(n),
    ...scheduler.words,
    ...option.words,
    realServers: REAL_ROWS.map((row) => ({ address: row.address(place.family), ...row.words })),
  };
  // ipvsadm prints the flags of the scheduler last.
  const [, name = '', flags = ''] = /^(-s \w+)(.*)$/.exec(scheduler.prints) ?? [];
  table.lines.push(`-A ${key} ${name}${option.prints === '' ? '' : ` ${option.prints}`}${flags}`);
  for (const row of REAL_ROWS) {
    const address = row.address(place.family);
    const host = address.includes(':') ? `[${address}]` : address;
    table.lines.push(`-a ${key} -r ${host}:${row.port ?? place.realPort(n)} ${row.prints}`);
  }
}

/** What an agent would want of these services with all real servers up. */
function desiredOf(services: Readonly<Record<string, object>>): readonly DesiredService[] {
  const parsed = parseClusterDocument({
    apiVersion: 'leasehold/v1',
    directors: { d1: { address: '10.90.0.11' } },
    groups: { web: { addresses: [`${VIP}/24`, `${VIP6}/64`], interface: 'public' } },
    services,
  });
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.error.slice(0, 5)));
  const input = { checks: new Map(), overrides: [], statuses: new Map() };
  return deriveDesired({ spec: parsed.value.spec, ...input }).services;
}

type Pass = {
  readonly operations: readonly IpvsOperation[];
  readonly failures: readonly { readonly operation: IpvsOperation; readonly error: KernelError }[];
};

/** One pass of the reconciler: dump, plan, apply. */
export async function reconcile(
  kernel: IpvsKernel,
  desired: readonly DesiredService[],
): Promise<Pass> {
  const observed = await kernel.dump();
  if (!observed.ok) throw new Error(observed.error.message);
  const { operations } = planKernel({
    desired,
    observed: observed.value,
    owned: new Set(desired.map(({ key }) => formatServiceKey(key))),
    daemons: { desired: [], observed: [] },
    timeouts: { desired: { tcpS: null, tcpFinS: null, udpS: null }, observed: null },
  });
  const results = await kernel.apply(operations);
  const failures = operations.flatMap((operation, i) => {
    const result = results[i];
    return result?.ok === false ? [{ operation, error: result.error }] : [];
  });
  return { operations, failures };
}

const wordsOf = ({ operation, error }: Pass['failures'][number]): string =>
  'service' in operation && operation.op !== 'zero'
    ? describeFailure(operation, error)
    : error.message;

/** The kernel's whole table without its counters, sorted: with thresholds, which ipvsadm does not save. */
async function contentsOf(kernel: IpvsKernel): Promise<readonly string[]> {
  const observed = await kernel.dump();
  if (!observed.ok) throw new Error(observed.error.message);
  return linesOf(formatIpvsadm(observed.value.services, 'restore'));
}

const linesOf = (text: string): readonly string[] => text.trimEnd().split('\n').toSorted();

const ipvsadm = (args: readonly string[], input = ''): string =>
  execFileSync('ipvsadm', [...args], { input, maxBuffer: 1 << 26 }).toString();

const MODPROBE = '/proc/sys/kernel/modprobe';

/** While it runs, the kernel finds none of these modules. */
async function without(modules: readonly string[], work: () => Promise<void>): Promise<void> {
  const refusing = '/run/bin/modprobe-without';
  const cases = modules.map((each) => `*${each}) exit 1;;`).join(' ');
  const script = `#!/bin/sh\ncase "$*" in ${cases} esac\nexec /run/bin/modprobe "$@"\n`;
  writeFileSync(refusing, script, { mode: 0o755 });
  for (const module of modules)
    execFileSync('sh', ['-c', `if grep -q "^${module} " /proc/modules; then rmmod ${module}; fi`]);
  writeFileSync(MODPROBE, refusing);
  try {
    await work();
  } finally {
    writeFileSync(MODPROBE, '/run/bin/modprobe');
  }
}

const wanted = (words: object): object => ({
  group: 'web',
  address: VIP,
  realServers: [{ address: '10.90.0.21' }, { address: '10.90.0.22' }],
  ...words,
});

export const tableCases: readonly ContractCase<IpvsWorld>[] = [
  {
    name: 'every scheduler, flag, kind of service, persistence and forwarding is printed as the document says',
    run: async ({ kernel, savedRules }) => {
      const { services, lines } = wholeTable();
      const desired = desiredOf(services);
      assert.equal(desired.length, Object.keys(services).length);
      assert.equal(
        new Set(desired.map(({ scheduler }) => scheduler)).size,
        SCHEDULERS.length - 1,
        'all but the rare one',
      );
      const first = await reconcile(kernel, desired);
      assert.deepEqual(first.failures.map(wordsOf), []);
      assert.equal(first.operations.length, lines.length);
      assert.deepEqual(await savedRules(), lines.toSorted());
      assert.deepEqual((await reconcile(kernel, desired)).operations, [], 'nothing is left to do');
    },
  },
  {
    name: 'what we export is the same table after ipvsadm -R, thresholds included',
    run: async ({ kernel }) => {
      const desired = desiredOf(wholeTable().services);
      await reconcile(kernel, desired);
      const before = await contentsOf(kernel);
      const exported = formatIpvsadm(desired, 'restore');
      assert.deepEqual(before, linesOf(exported));
      ipvsadm(['-C']);
      assert.deepEqual(await kernel.dump(), { ok: true, value: { services: [] } });
      ipvsadm(['-R'], exported);
      assert.deepEqual(await contentsOf(kernel), before);
      assert.deepEqual((await reconcile(kernel, desired)).operations, []);
    },
  },
  {
    name: 'a scheduler that the kernel may lack is there or its error names the module',
    run: async ({ kernel, savedRules }) => {
      const desired = desiredOf({
        rare: wanted({ port: 80, ...RARE.words }),
        plain: wanted({ port: 81, scheduler: 'rr' }),
      });
      const { failures } = await reconcile(kernel, desired);
      const saved = (await savedRules()) ?? [];
      const plain = saved.filter((line) => line.includes(':81'));
      assert.equal(plain.length, 3, plain.join('\n'));
      if (saved.some((line) => line.endsWith(RARE.prints))) assert.deepEqual(failures, []);
      else {
        const said = failures.map(wordsOf);
        assert.match(said[0] ?? '', /scheduler twos: kernel module ip_vs_twos is missing/);
        assert.match(failures[0]?.error.message ?? '', /modprobe ip_vs_twos/);
      }
    },
  },
  {
    name: 'a module that is missing is named, other services are made, and it is used once it is there',
    run: async ({ kernel, savedRules }) => {
      const desired = desiredOf({
        a: wanted({ port: 80, scheduler: 'rr' }),
        b: wanted({ port: 81, scheduler: 'sed' }),
        c: wanted({
          port: 5060,
          protocol: 'udp',
          scheduler: 'rr',
          persistence: { timeout: '60s', engine: 'sip' },
        }),
        d: wanted({ port: 82, scheduler: 'wrr' }),
      });
      const linesOfService = (start: string, end: string): readonly string[] => [
        `-A ${start} ${end}`,
        ...[21, 22].map((last) => {
          const port = start.slice(start.indexOf(':') + 1);
          return `-a ${start} -r 10.90.0.${last}:${port} -g -w 1`;
        }),
      ];
      const others = [
        ...linesOfService(`-t ${VIP}:80`, '-s rr'),
        ...linesOfService(`-t ${VIP}:82`, '-s wrr'),
      ];
      await without(['ip_vs_sed', 'ip_vs_pe_sip'], async () => {
        const { failures } = await reconcile(kernel, desired);
        const ofServices = failures.filter(({ operation }) => operation.op === 'add-service');
        const [sed, sip] = ofServices.map(({ error }) => error);
        assert.equal(sed?.code, 'ENOENT');
        assert.match(sed?.message ?? '', /tcp 10\.90\.0\.100:81.*"modprobe ip_vs_sed"/);
        assert.equal(sip?.code, 'ENOENT');
        assert.match(sip?.message ?? '', /udp 10\.90\.0\.100:5060.*"modprobe ip_vs_pe_sip"/);
        assert.doesNotMatch(sip?.message ?? '', /ip_vs_rr/);
        assert.match(ofServices.map(wordsOf)[0] ?? '', /ip_vs_sed is missing/);
        assert.match(ofServices.map(wordsOf)[1] ?? '', /ip_vs_pe_sip/);
        assert.deepEqual(await savedRules(), others.toSorted());
      });
      assert.deepEqual((await reconcile(kernel, desired)).failures, []);
      const all = [
        ...others,
        ...linesOfService(`-t ${VIP}:81`, '-s sed'),
        ...linesOfService(`-u ${VIP}:5060`, '-s rr -p 60 --pe sip'),
      ];
      assert.deepEqual(await savedRules(), all.toSorted());
    },
  },
  {
    name: 'a service whose new scheduler is missing keeps its old one and its real servers',
    run: async ({ kernel, savedRules }) => {
      const before = desiredOf({ a: wanted({ port: 80, scheduler: 'rr' }) });
      await reconcile(kernel, before);
      const saved = await savedRules();
      await without(['ip_vs_nq'], async () => {
        const { failures } = await reconcile(
          kernel,
          desiredOf({ a: wanted({ port: 80, scheduler: 'nq' }) }),
        );
        assert.deepEqual(failures.map(wordsOf), [
          'scheduler nq: kernel module ip_vs_nq is missing',
        ]);
        assert.deepEqual(await savedRules(), saved);
      });
    },
  },
  {
    name: 'what others have in the table stays as it is through all of it',
    run: async ({ kernel, savedRules }) => {
      ipvsadm(['-A', '-t', `${VIP}:9999`, '-s', 'sh', '-b', 'sh-port', '-p', '77']);
      ipvsadm(['-a', '-t', `${VIP}:9999`, '-r', '10.90.0.99:9999', '-i', '-w', '9']);
      const foreign = await savedRules();
      const desired = desiredOf({ a: wanted({ port: 80 }), b: wanted({ port: 81 }) });
      await reconcile(kernel, desired);
      await kernel.apply(
        desired.map(({ key }) => ({ op: 'delete-service', service: key }) as const),
      );
      assert.deepEqual(await savedRules(), foreign);
    },
  },
  {
    name: 'an unknown scheduler is refused with the name of its module',
    run: async ({ kernel }) => {
      const unknown = service(tcp(VIP, 80), { scheduler: 'nonesuch' });
      const [result] = await kernel.apply([{ op: 'add-service', service: unknown }]);
      assert.equal(result?.ok === false ? result.error.code : 'ok', 'ENOENT');
      assert.match(result?.ok === false ? result.error.message : '', /modprobe ip_vs_nonesuch/);
    },
  },
];
