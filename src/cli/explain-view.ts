/** A VIP group in sentences: everything that the status says of it, with what to do. */
import type { GroupStatus, IsolationStatus, StatusDocument } from '../model/status.ts';
import {
  BASIS_WORDS,
  GATE_WORDS,
  HOLD_WORDS,
  INELIGIBLE_WORDS,
  ISOLATION_WORDS,
  isolationWords,
  silenceWords,
  standInWords,
  type Words,
  wordsOf,
} from '../model/status-words.ts';
import { formatAge } from './service-words.ts';
import { handoverWords, targetWords } from './status-view.ts';

type Candidate = GroupStatus['candidates'][number];
type TrackStatus = GroupStatus['tracks'][number];
type VrrpStatus = NonNullable<GroupStatus['vrrp']>[number];

export function explainGroup(status: StatusDocument, group: GroupStatus): string {
  const { director, hold } = status;
  const lines = [
    `VIP group ${group.name}: ${group.state}   (seen by ${director})`,
    ...indent([
      ...holderLines(group),
      ...candidacyLines(group, director),
      ...silenceLines(group, status),
      `addresses: ${group.addresses.join(' ')}`,
    ]),
    '',
    'Directors, best first:',
    ...group.candidates.flatMap((candidate) => candidateLines(candidate, group, status)),
  ];
  if (group.sync !== undefined)
    lines.push('', `Connection sync on ${director}:`, ...indent(syncLines(group.sync)));
  if (group.tracks.length > 0)
    lines.push('', `Tracks, as ${director} sees them:`, ...indent(group.tracks.map(trackLine)));
  if (group.vrrp !== undefined && group.vrrp.length > 0)
    lines.push('', `VRRP, as ${director} hears it:`, ...indent(group.vrrp.flatMap(vrrpLines)));
  if (status.isolation !== undefined)
    lines.push(
      '',
      `Without etcd, as ${director} sees it:`,
      ...indent(isolationLines(status.isolation)),
    );
  lines.push('', 'Timing:', ...indent(timingLines(hold)));
  lines.push(
    '',
    `Gate of ${director}:`,
    ...indent(told(hold.gate, wordsOf(GATE_WORDS, hold.gate))),
  );
  return `${lines.join('\n')}\n`;
}

const indent = (lines: readonly string[]): string[] => lines.map((line) => `  ${line}`);

const told = (word: string, { what, remedy }: Words): string[] =>
  remedy === null ? [`${word}: ${what}`] : [`${word}: ${what}`, `  to do: ${remedy}`];

function holderLines(group: GroupStatus): readonly string[] {
  const { holder, epoch, ownedForMs, basis, handover, pending, candidacy, state } = group;
  const why = told(group.reason, wordsOf(HOLD_WORDS, group.reason));
  const standIn = standInWords(group);
  if (standIn !== null) return [...standInLines(group, standIn), ...why, ...deadlineLines(group)];
  if (holder === null) return ['nobody holds it', ...why];
  const since = ownedForMs === null ? '' : `, known here for ${formatAge(ownedForMs)}`;
  // Who is not heard holds it by the record, and by what else nobody knows.
  const isAwaited = candidacy !== undefined && (basis === 'segment' || state === 'held-elsewhere');
  const on = isAwaited
    ? ', by the record; not heard here'
    : basis === null
      ? ''
      : `, ${BASIS_WORDS[basis]}`;
  const lines = [`holder: ${holder}, epoch ${epoch ?? 'unknown'}${since}${on}`, ...why];
  lines.push(...deadlineLines(group));
  if (handover !== null) lines.push(handoverWords(handover));
  for (const one of pending)
    lines.push(
      `waits until ${one.director} is proven silent (its epoch ${one.epoch} is still pending)`,
    );
  return lines;
}

const deadlineLines = ({ remainingMs }: GroupStatus): readonly string[] =>
  remainingMs === null
    ? []
    : [`the kernel lets it speak for ${remainingMs} ms more, were no further round confirmed`];

function standInLines(
  { standIn, epoch }: GroupStatus,
  { what, later }: NonNullable<ReturnType<typeof standInWords>>,
): readonly string[] {
  const forMs = standIn?.forMs ?? null;
  const since = forMs === null ? '' : `, for ${formatAge(forMs)}`;
  return [
    `${what}, epoch ${epoch ?? 'unknown'}${since}`,
    'basis: nobody else answered for the VIPs, its gateway and the directors in sight let it',
    later,
  ];
}

/** Why nobody speaks for it yet, where this director is about to. */
const candidacyLines = ({ candidacy }: GroupStatus, director: string): readonly string[] =>
  candidacy === undefined ? [] : [`${director} ${candidacy.detail}`];

function isolationLines(isolation: IsolationStatus): string[] {
  const { policy, mode, targets } = isolation;
  const lines = told(policy, { what: ISOLATION_WORDS[policy], remedy: null });
  if (targets.length > 0)
    lines.push(mode === 'any' ? 'one of these has to answer:' : 'each of these has to answer:');
  for (const target of targets) {
    const { address, answeredMsAgo } = target;
    const words = targetWords(target, isolation);
    const isDated = answeredMsAgo !== null && !words.startsWith('SILENT');
    const last = isDated ? `, last ${answerAge(answeredMsAgo)} ago` : '';
    lines.push(`  ${address}: ${words}${last}`);
  }
  const remedy = isolationWords(isolation)?.remedy ?? null;
  return remedy === null ? lines : [...lines, `to do: ${remedy}`];
}

const answerAge = (ms: number): string => (ms < 1000 ? `${ms} ms` : formatAge(ms));

/** Whoever has it, or is waited for, and is not heard. */
function silenceLines({ holder, pending }: GroupStatus, { directors }: StatusDocument): string[] {
  const awaited = new Set([holder, ...pending.map(({ director }) => director)]);
  return directors.flatMap((director) => {
    const words = awaited.has(director.name) ? silenceWords(director) : null;
    return words === null ? [] : [words];
  });
}

function candidateLines(
  candidate: Candidate,
  group: GroupStatus,
  status: StatusDocument,
): readonly string[] {
  const { director, reason } = candidate;
  const head = `  ${director}${roleWords(candidate, group)}${priorityWords(candidate)}`;
  if (reason !== null) {
    const [first = '', ...rest] = told(reason, wordsOf(INELIGIBLE_WORDS, reason));
    return [
      `${head}: cannot hold it now`,
      `      ${first}`,
      ...rest.map((line) => `      ${line}`),
    ];
  }
  if (director === group.holder)
    return [`${head}: ${group.standIn === undefined ? 'holds' : 'speaks for'} it, and may go on`];
  if (candidate.ready) return [`${head}: ready, could take it without a packet lost`];
  const { services } = status;
  const isPlain = services.every((service) => service.group !== group.name);
  const doubt = isPlain
    ? 'it has not reported that it is ready yet'
    : 'its IPVS table is not complete yet, or it has not reported it';
  return [`${head}: would take it after a death; not ready for a planned handover: ${doubt}`];
}

function roleWords({ director }: Candidate, { holder, standIn }: GroupStatus): string {
  if (director === holder) return standIn === undefined ? ' (holder)' : ' (stand-in)';
  return director === standIn?.recordHolder ? ' (holder by the record)' : '';
}

function priorityWords({ priority, bonus }: Candidate): string {
  const tracks = bonus === 0 ? '' : `, of which tracks ${bonus > 0 ? '+' : ''}${bonus}`;
  if (priority !== null) return `, priority ${priority}${tracks}`;
  return bonus === 0 ? '' : `, tracks ${bonus > 0 ? '+' : ''}${bonus}`;
}

function syncLines({
  why,
  detail,
  daemon,
  isRunning,
  remainingMs,
}: NonNullable<GroupStatus['sync']>): readonly string[] {
  const lines = [`${why}: ${detail}`];
  if (daemon !== null)
    lines.push(
      `${daemon.state} daemon ${isRunning ? 'runs' : 'DOES NOT RUN'}: ${daemon.interface}, id ${daemon.syncId}, ${daemon.group} port ${daemon.port}, ttl ${daemon.ttl}`,
    );
  if (remainingMs !== null) lines.push(`${formatAge(remainingMs)} of the catching up are left`);
  return lines;
}

function trackLine({ id, isPassing, weight, detail, since }: TrackStatus): string {
  const effect = weight === null ? 'forbids holding while it fails' : `weight ${weight}`;
  return `${id}: ${isPassing ? 'passes' : 'FAILS'} since ${since} (${detail}); ${effect}`;
}

function vrrpLines({ family, routerId, state, priority, active, problem }: VrrpStatus): string[] {
  const other =
    active === null
      ? 'no other router speaks for it'
      : `${active.address} speaks for it, with priority ${active.priority}`;
  const line = `router ${routerId}, IPv${family}: ${state} with priority ${priority}; ${other}`;
  return problem === null ? [line] : [line, `  it cannot be sent or heard: ${problem}`];
}

function timingLines({ profile, holdMs, takeoverWaitMs }: StatusDocument['hold']): string[] {
  const lines = [`profile ${profile ?? 'unknown'}`];
  if (holdMs !== null)
    lines.push(`D = ${holdMs} ms: the kernel lets VIPs speak so long after a confirmed round`);
  if (takeoverWaitMs !== null)
    lines.push(`D' = ${takeoverWaitMs} ms: others wait so long before they take groups from here`);
  return lines;
}
