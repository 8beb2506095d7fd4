/**
 * What a client notices where etcd answers nobody, and where more than etcd is lost: the rows of the lab
 * tests in the profile default, two directors with etcd on other machines and three with a member each.
 * With `--only` the rows named are taken anew, and the others keep their figures.
 */
import { boundsOf, CLIENT, type ClusterLab, clusterDocument } from '../test/support/cluster-lab.ts';
import { describeVerdict } from '../test/support/describe-verdict.ts';
import { type Fault, perform, WITHOUT_ETCD } from '../test/support/faults.ts';
import { scopesNameAll, settle } from '../test/support/settled.ts';
import {
  play,
  type Played,
  type Situation,
  SITUATIONS,
  SITUATIONS_TOGETHER,
} from '../test/support/situations.ts';
import type { Verdict } from '../test/support/verdict.ts';
import { type Bench, type BenchOptions, withLab } from './bench-lab.ts';
import { loss, outages, voices } from './failover-table.ts';
import { formatMs } from './statistics.ts';

/** A line of the table: a fault, or a step of a situation. */
type Line = {
  /** Of the fault or situation, and the place of the step in it. */
  readonly id: string;
  readonly place: number;
  readonly name: string;
  readonly claim: 'lossless' | 'outage' | 'silence';
  readonly dualMaxMs: number;
  readonly runs: {
    /** One for each VIP; the first two are one of IPv4 and one of IPv6. */
    readonly verdicts: readonly Verdict[];
    /** How long the outage, or the end of the voice, may take; null where nothing may be lost. */
    readonly maxMs: number | null;
  }[];
};

type Layout = {
  readonly lab: { readonly directors: number; readonly isTogether: boolean };
  readonly faults: readonly Fault[];
  readonly situations: readonly Situation[];
};

/** Ten minutes without etcd are for a test on request. */
const FAULTS = WITHOUT_ETCD.filter(({ id }) => id !== 'etcd-away-600');
const LAYOUTS: readonly Layout[] = [
  { lab: { directors: 2, isTogether: false }, faults: FAULTS, situations: SITUATIONS },
  { lab: { directors: 3, isTogether: true }, faults: [], situations: SITUATIONS_TOGETHER },
];

export const benchWithoutEtcd: Bench = async (options) => {
  const isWanted = ({ id }: { readonly id: string }): boolean =>
    options.only.length === 0 || options.only.includes(id);
  const kept = (options.kept ?? []) as readonly Line[];
  const lines = options.only.length === 0 ? [] : kept.filter((line) => !isWanted(line));
  for (const { lab, faults, situations } of LAYOUTS) {
    const wanted = { faults: faults.filter(isWanted), situations: situations.filter(isWanted) };
    if (wanted.faults.length + wanted.situations.length === 0) continue;
    const cluster = {
      name: 'bench-without-etcd',
      kind: 'namespace',
      directors: lab.directors,
      etcdMembers: 3,
      isEtcdOnDirectors: lab.isTogether,
      profile: 'default',
    } as const;
    await withLab(cluster, options.signal, async (built) => {
      await built.etcd.start();
      await built.startAgents();
      await built.applyOk(clusterDocument(built));
      await measure(built, wanted, options, lines);
    });
  }
  const sorted = inOrder(lines);
  return { text: report(sorted), table: tableOf(sorted) };
};

async function measure(
  lab: ClusterLab,
  { faults, situations }: Pick<Layout, 'faults' | 'situations'>,
  options: BenchOptions,
  lines: Line[],
): Promise<void> {
  // All that is done under the first document comes first.
  for (const fault of faults) {
    for (let run = 0; run < options.runs; run += 1) {
      options.signal.throwIfAborted();
      await settle(lab);
      await scopesNameAll(lab);
      const { verdicts } = await perform(lab, fault, run);
      const line = lineOf(lines, { id: fault.id, place: 0, name: fault.name }, 'lossless');
      line.runs.push({ verdicts, maxMs: null });
      options.say(`${line.name}: ${verdicts.map(describeVerdict).join('; ')}`);
    }
    options.save(lines);
  }
  for (const situation of situations) {
    for (let run = 0; run < options.runs; run += 1) {
      options.signal.throwIfAborted();
      const played = await play(lab, situation, run);
      for (const [place, each] of played.entries())
        options.say(note(lines, { lab, situation, place, each }));
    }
    options.save(lines);
  }
}

type Note = {
  readonly lab: ClusterLab;
  readonly situation: Situation;
  readonly place: number;
  readonly each: Played;
};

/** Keeps what was seen of one step; gives it in words. */
function note(lines: Line[], { lab, situation, place, each }: Note): string {
  const { id, name: whole, steps } = situation;
  const { step, seen, facts } = each;
  const { claim } = step;
  const name = steps.length === 1 ? whole : `${whole}: ${step.name}`;
  const kind = claim.kind === 'nothing' ? 'lossless' : claim.kind;
  const dualMaxMs = claim.kind === 'outage' ? (claim.dualMaxMs ?? 0) : 0;
  const line = lineOf(lines, { id, place, name }, kind, dualMaxMs);
  const maxMs = claim.kind === 'nothing' ? null : claim.maxMs(boundsOf(lab.profile), facts);
  line.runs.push({ verdicts: seen.verdicts, maxMs });
  return `${name}: ${seen.verdicts.map(describeVerdict).join('; ')}`;
}

function lineOf(
  lines: Line[],
  head: Pick<Line, 'id' | 'place' | 'name'>,
  claim: Line['claim'],
  dualMaxMs = 0,
): Line {
  const known = lines.find(({ id, place }) => id === head.id && place === head.place);
  if (known !== undefined) return known;
  const line: Line = { ...head, claim, dualMaxMs, runs: [] };
  lines.push(line);
  return line;
}

/** As the tests have them, whenever they were taken. */
function inOrder(lines: readonly Line[]): readonly Line[] {
  const ids = [...FAULTS, ...SITUATIONS, ...SITUATIONS_TOGETHER].map(({ id }) => id);
  return lines.toSorted((a, b) => ids.indexOf(a.id) - ids.indexOf(b.id) || a.place - b.place);
}

function tableOf(lines: readonly Line[]): string {
  const cells = lines.map((line) => [line.name, boundOf(line), measuredOf(line)]);
  const row = (each: readonly string[]): string => `| ${each.join(' | ')} |`;
  const head = ['what is lost', 'bound', 'default'];
  const runs = lines.flatMap((line) => line.runs.map((run) => ({ line, run })));
  const dual = runs.filter(({ line, run }) =>
    run.verdicts.some(({ dualMs }) => dualMs > line.dualMaxMs),
  );
  return [
    row(head),
    row(head.map(() => '---')),
    ...cells.map(row),
    '',
    `Two voices for longer than the bound allows: ${dual.length} of ${runs.length}.`,
    '',
  ].join('\n');
}

function boundOf({ claim, dualMaxMs, runs }: Line): string {
  if (claim === 'lossless') return 'no echo lost';
  const most = formatMs(Math.max(...runs.map(({ maxMs }) => maxMs ?? 0)));
  if (claim === 'silence') return `silent within ${most}`;
  return dualMaxMs === 0 ? most : `${most}, two voices ${formatMs(dualMaxMs)}`;
}

function measuredOf({ claim, runs }: Line): string {
  const each = runs.map(({ verdicts }) => verdicts);
  const all = each.flat();
  if (claim === 'lossless') return `${loss(all)}${voices(all)}`;
  if (claim === 'outage') return `${outages(each)}${voices(all)}`;
  return `silent after ${formatMs(Math.max(...all.map(({ oldLastMs }) => oldLastMs)))}${voices(all)}`;
}

function report(lines: readonly Line[]): string {
  const each = lines.flatMap(({ name, runs }) =>
    runs.map(({ verdicts, maxMs }) => {
      const bound = maxMs === null ? 'no echo lost' : formatMs(maxMs);
      return `${name}: bound ${bound}: ${verdicts.map(describeVerdict).join('; ')}`;
    }),
  );
  return `Profile default, a VIP of IPv4 and one of IPv6 (parted: one more of IPv4), seen from the host ${CLIENT}.

${tableOf(lines)}
Each run, times after the fault:
${each.map((line) => `  ${line}`).join('\n')}
`;
}
