/**
 * What a client loses when a director goes, by ours in two profiles and by keepalived in two settings,
 * in one run and on one network: two directors each as namespaces, faults by turns, so that the load
 * of the machine falls on all alike. The rows are those of the failover tests. With `--only` the rows named
 * are taken anew, and the others keep their figures.
 */
import {
  CLIENT,
  type ClusterLab,
  clusterDocument,
  type Profile,
} from '../test/support/cluster-lab.ts';
import { describeVerdict } from '../test/support/describe-verdict.ts';
import { echoWayOf, type Fault, FAULTS, perform } from '../test/support/faults.ts';
import {
  createKeepalivedPair,
  ensureKeepalived,
  FREEZE_MS,
  type KeepalivedKind,
  type KeepalivedPair,
} from '../test/support/keepalived.ts';
import { sleep } from '../test/support/processes.ts';
import { settle } from '../test/support/settled.ts';
import type { Verdict } from '../test/support/verdict.ts';
import { watch } from '../test/support/watched.ts';
import { type Bench, type BenchOptions, withLab } from './bench-lab.ts';
import { type Column, failoverTable, type Measured } from './failover-table.ts';
import { rowStamp } from './machine.ts';

/** With which keepalived a profile is taken by turns, and how long that one is watched. */
const PARTNERS: ReadonlyMap<Profile, { kind: KeepalivedKind; windowMs: number; advertMs: number }> =
  new Map([
    ['fast', { kind: 'v3-100ms', windowMs: 2000, advertMs: 100 }],
    ['default', { kind: 'v2-1s', windowMs: 6000, advertMs: 1000 }],
  ]);
const PROFILES = ['fast', 'default'] as const satisfies readonly Profile[];
/** A profile has come to all directors by then, and the longer D' of the former one is over. */
const CALM_MS = 3000;

export const benchFailover: Bench = async (options) => {
  const version = await ensureKeepalived(options.say);
  const lab = { name: 'bench-failover', kind: 'namespace', etcdMembers: 3 } as const;
  const kept = (options.kept ?? []) as readonly Measured[];
  const measured =
    options.only.length === 0 ? [] : kept.filter(({ fault }) => !options.only.includes(fault));
  const taken = await rowStamp();
  await withLab(lab, options.signal, (built) => measureAll(built, { ...options, taken }, measured));
  const text = report(measured, version);
  return isWhole(measured) ? { text, table: failoverTable(measured) } : { text };
};

async function measureAll(
  built: ClusterLab,
  options: BenchOptions & Pick<Measured, 'taken'>,
  measured: Measured[],
): Promise<void> {
  const { taken } = options;
  await built.etcd.start();
  await built.startAgents();
  for (const profile of PROFILES) {
    const lab = { ...built, profile };
    await lab.applyOk(clusterDocument(lab));
    await settle(lab);
    await sleep(CALM_MS);
    const partner = PARTNERS.get(profile);
    const pair =
      partner === undefined ? null : await createKeepalivedPair(lab.network, partner.kind);
    for (const fault of wanted(options)) {
      const ours: Measured = { column: profile, fault: fault.id, taken, runs: [] };
      const theirs: Measured = {
        column: partner?.kind ?? 'v2-1s',
        fault: fault.id,
        taken,
        runs: [],
      };
      measured.push(ours, ...(fault.keepalived === undefined ? [] : [theirs]));
      for (let run = 0; run < options.runs; run += 1) {
        options.signal.throwIfAborted();
        const advertMs = partner?.advertMs ?? 0;
        const phaseMs = (advertMs * run) / options.runs;
        ours.runs.push(await ofOurs(lab, fault, { run, phaseMs }));
        options.say(describeRun(ours, fault));
        if (pair !== null && partner !== undefined && fault.keepalived !== undefined) {
          theirs.runs.push(await ofKeepalived(lab, pair, { fault, phaseMs, ...partner }));
          options.say(describeRun(theirs, fault));
        }
      }
      options.save(measured);
    }
  }
}

/** Every fault in both profiles. */
function isWhole(measured: readonly Measured[]): boolean {
  return PROFILES.every((profile) =>
    FAULTS.every(({ id }) =>
      measured.some(
        ({ column, fault, runs }) => column === profile && fault === id && runs.length > 0,
      ),
    ),
  );
}

function wanted({ only }: BenchOptions): readonly Fault[] {
  return only.length === 0 ? FAULTS : FAULTS.filter((fault) => only.includes(fault.id));
}

type Run = { readonly run: number; readonly phaseMs: number };

async function ofOurs(
  lab: ClusterLab,
  fault: Fault,
  { run, phaseMs }: Run,
): Promise<readonly Verdict[]> {
  await settle(lab);
  await sleep(phaseMs);
  return (await perform(lab, fault, run)).verdicts;
}

async function ofKeepalived(
  lab: ClusterLab,
  pair: KeepalivedPair,
  run: { readonly fault: Fault; readonly phaseMs: number; readonly windowMs: number },
): Promise<readonly Verdict[]> {
  const { keepalived } = run.fault;
  if (keepalived === undefined) return [];
  await pair.settle();
  await sleep(run.phaseMs);
  const seen = await watch(lab.network, {
    vips: [pair.vip, pair.vip6],
    oldMac: pair.holderMac,
    echo: echoWayOf(run.fault.claim(lab.profile)),
    windowMs: keepalived === 'freeze' ? FREEZE_MS + run.windowMs : run.windowMs,
    act: () => pair.fault(keepalived),
  });
  await pair.settle();
  return seen.verdicts;
}

function describeRun(measured: Measured, fault: Fault): string {
  const last = measured.runs.at(-1) ?? [];
  const families = last.map((verdict) => describeVerdict(verdict)).join('; IPv6 ');
  return `${fault.name}: ${NAMES[measured.column]}, run ${measured.runs.length}: ${families}`;
}

const NAMES: Readonly<Record<Column, string>> = {
  fast: 'fast',
  default: 'default',
  'v3-100ms': 'keepalived v3 100 ms',
  'v2-1s': 'keepalived v2 1 s',
};

function report(measured: readonly Measured[], version: string): string {
  const each = measured.flatMap(({ column, fault, taken, runs: all }) => [
    `${fault}: ${column}: ${all.length} times, ${taken}`,
    ...all.map(
      (verdicts) => `${fault}: ${column}: ${verdicts.map(describeVerdict).join('; IPv6 ')}`,
    ),
  ]);
  return `Two directors each, a VIP of IPv4 and one of IPv6, seen from the host ${CLIENT}.
leasehold: profiles fast and default, three etcd members. keepalived ${version}, priorities 150/100: version 3
with an advertisement each 100 ms, and its default, version 2 with one a second (IPv6: version 3, same interval).
It has no switchover, no drain and no etcd.

${failoverTable(measured)}
Each run, times after the fault:
${each.map((line) => `  ${line}`).join('\n')}
`;
}
