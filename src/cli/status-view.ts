/** The status document as a screen of 80 to 120 columns. */
import type {
  DirectorStatus,
  GroupStatus,
  IsolationStatus,
  RealServerStatus,
  ServiceStatus,
  StatusDocument,
} from '../model/status.ts';
import { GATE_WORDS, isAnswering, wordsOf } from '../model/status-words.ts';
import type { Paint } from './style.ts';
import { formatTable } from './table.ts';

export type StatusLook = {
  readonly isWide: boolean;
  /** Null: as wide as it takes. */
  readonly columns: number | null;
  readonly paint: Paint;
};

const NONE = '-';

export function formatStatus(status: StatusDocument, look: StatusLook): string {
  const parts = [formatHead(status, look.paint), formatGroups(status.groups, look)];
  parts.push(formatDirectors(status.directors, look));
  if (status.services.length > 0) parts.push(formatServices(status.services, look));
  return parts.join('\n');
}

function formatHead(status: StatusDocument, paint: Paint): string {
  const { spec, store, health, ipvs } = status;
  const tone = health === 'ok' ? 'good' : health === 'degraded' ? 'warn' : 'bad';
  const applied =
    spec.revision === 0
      ? `no cluster document ${store.isConnected ? 'applied' : 'seen'} yet`
      : `cluster document revision ${spec.revision}${spec.by === null ? '' : ` by ${spec.by}`}`;
  const lines = [
    `Cluster ${status.cluster}: ${paint(health.toUpperCase(), tone)}   (seen by ${status.director}, leasehold ${status.version})`,
    ...status.problems.map((problem) => `  ! ${problem}`),
    holdLine(status.hold),
    ...(status.isolation === undefined ? [] : [isolationLine(status.isolation)]),
    `${applied}; store ${store.isConnected ? 'connected' : `NOT connected (${store.lastError ?? 'no answer yet'})`}`,
  ];
  if (ipvs.foreignServices.length > 0)
    lines.push(`IPVS services of others, left alone: ${ipvs.foreignServices.join(', ')}`);
  return `${lines.join('\n')}\n`;
}

function holdLine({
  profile,
  holdMs,
  takeoverWaitMs,
  gate,
  phase,
}: StatusDocument['hold']): string {
  const wait = takeoverWaitMs === null ? '' : `, D' ${takeoverWaitMs} ms`;
  const timing = holdMs === null ? '' : ` (D ${holdMs} ms${wait})`;
  const { what, remedy } = wordsOf(GATE_WORDS, gate);
  const coarse = remedy === null ? '' : ` (${what})`;
  const ending = phase === 'running' ? '' : `; ${phase}`;
  return `profile ${profile ?? 'none'}${timing}; gate ${gate}${coarse}${ending}`;
}

function isolationLine(isolation: IsolationStatus): string {
  const { policy, mode, targets } = isolation;
  if (targets.length === 0) return `isolation ${policy}`;
  const told = targets.map((target) => `${target.address} ${targetWords(target, isolation)}`);
  return `isolation ${policy}, ${mode} of: ${told.join('; ')}`;
}

/** Whether a target answers, as far as that is known. */
export function targetWords(
  target: IsolationStatus['targets'][number],
  { mode, isReachable }: IsolationStatus,
): string {
  const { answeredMsAgo } = target;
  if (isReachable === null) return 'not asked yet';
  if (isAnswering(target)) return 'answers';
  // Another one was faster: this one may be well.
  if (mode === 'any' && isReachable) return 'not waited for';
  return answeredMsAgo === null ? 'NEVER ANSWERED' : `SILENT for ${formatAge(answeredMsAgo)}`;
}

/** One number and its unit: `42s`, `12m`, `3h`, `25d`. */
export function formatAge(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m`;
  return seconds < 86_400 ? `${Math.floor(seconds / 3600)}h` : `${Math.floor(seconds / 86_400)}d`;
}

const PHASES: Readonly<Record<NonNullable<GroupStatus['handover']>['phase'], string>> = {
  waiting: 'until that is prepared, it speaks here',
  muting: 'ARP and ND answers are being stopped here',
  muted: 'forwards here until the traffic is proven to be there',
  closing: 'is being silenced here',
};

/** How far a group is on its way from here. */
export function handoverWords({
  to,
  phase,
  reason,
  operation,
}: NonNullable<GroupStatus['handover']>): string {
  const head = to === null ? 'is given up' : `goes to ${to}`;
  const why = reason === null ? '' : ` (${reason})`;
  const by = operation === null ? '' : `, operation ${operation}`;
  return `${head}${why}: ${PHASES[phase]}${by}`;
}

function formatGroups(groups: readonly GroupStatus[], { isWide, columns }: StatusLook): string {
  const wide = isWide ? [{ title: 'CANDIDATES' }] : [];
  return formatTable(
    [
      { title: 'GROUP' },
      { title: 'HOLDER' },
      { title: 'EPOCH', align: 'right' },
      { title: 'FOR', align: 'right' },
      { title: 'STATE' },
      { title: 'ADDRESSES' },
      ...wide,
      { title: 'REASON' },
    ],
    groups.map((group) => [
      group.name,
      speakerOf(group),
      numberOrNone(group.epoch),
      ageOrNone(group.standIn === undefined ? group.ownedForMs : group.standIn.forMs),
      group.state,
      group.addresses.join(' '),
      ...(isWide ? [group.candidates.map(formatCandidate).join(' ')] : []),
      groupNote(group, isWide),
    ]),
    columns,
  );
}

/** Who speaks, and in whose place. */
const speakerOf = ({ holder, standIn }: GroupStatus): string =>
  standIn === undefined ? (holder ?? NONE) : `${holder ?? NONE} for ${standIn.recordHolder}`;

function groupNote(
  { reason, basis, handover, pending, candidacy }: GroupStatus,
  isWide: boolean,
): string {
  if (handover !== null) return handoverWords(handover);
  if (candidacy !== undefined) return `${reason}, this director ${candidacy.detail}`;
  const why = isWide && basis !== null ? `${reason} (${basis})` : reason;
  if (pending.length === 0) return why;
  return `${why}, waits for ${pending.map(({ director }) => director).join(', ')}`;
}

function formatCandidate({
  director,
  eligible,
  reason,
  ready,
  priority,
}: GroupStatus['candidates'][number]): string {
  const name = priority === null ? director : `${director}:${priority}`;
  if (!eligible) return `${name}(${reason ?? 'not eligible'})`;
  return ready ? name : `${name}(not ready)`;
}

/** The table of `director list` and of `status`. */
export function formatDirectors(
  directors: readonly DirectorStatus[],
  { isWide, columns }: Pick<StatusLook, 'isWide' | 'columns'>,
): string {
  const wide = isWide ? [{ title: 'VERSION' }, { title: 'GATE' }, { title: 'SPEC' }] : [];
  return formatTable(
    [
      { title: 'DIRECTOR' },
      { title: 'ADDRESS' },
      { title: 'STATE' },
      { title: 'SESSION' },
      { title: 'IPVS' },
      ...wide,
      { title: 'HOLDS' },
      { title: 'PROBLEMS' },
    ],
    directors.map((director) => [
      director.name,
      director.address ?? NONE,
      directorState(director),
      director.session,
      director.ipvs === null ? NONE : director.ipvs.available ? 'yes' : 'no',
      ...(isWide
        ? [director.version ?? NONE, director.gate ?? NONE, numberOrNone(director.specRevision)]
        : []),
      director.groups.join(' ') || NONE,
      director.problems.join('; '),
    ]),
    columns,
  );
}

function directorState(director: DirectorStatus): string {
  const { inSpec, isAlive, isDraining, drainReason, silence } = director;
  const report = isAlive ? 'alive' : 'gone';
  const life = silence?.confirmedDead
    ? 'confirmed dead'
    : silence === undefined
      ? report
      : `${report}, not heard for ${formatAge(silence.forMs)}`;
  if (!inSpec) return `${life}, not in the document`;
  if (!isDraining) return life;
  return `${life}, draining${drainReason === null ? '' : ` (${drainReason})`}`;
}

/** One table over all services, with a line for each service above its real servers. */
function formatServices(services: readonly ServiceStatus[], look: StatusLook): string {
  const blocks = services.map((service) => [
    ...service.realServers.map((realServer) => realServerRow(realServer, look.isWide)),
    ...sorryRows(service),
  ]);
  const [titles = '', ...lines] = formatTable(
    [
      { title: '  REAL SERVER' },
      { title: 'WEIGHT', align: 'right' },
      { title: 'HEALTH' },
      { title: 'VOTES' },
      { title: 'ACTIVE', align: 'right' },
      { title: 'INACTIVE', align: 'right' },
      { title: 'NOTE' },
    ],
    blocks.flat(),
    look.columns,
  ).split('\n');
  const shown = ['SERVICE', titles];
  for (const [i, service] of services.entries())
    shown.push(serviceLine(service), ...lines.splice(0, blocks[i]?.length ?? 0));
  return `${shown.join('\n')}\n`;
}

function serviceLine(service: ServiceStatus): string {
  const { name, keys, group, scheduler, problem, isProgrammed } = service;
  const place = `${keys[0]}${keys.length > 1 ? ` and ${keys.length - 1} more` : ''}`;
  const note = problem ?? (isProgrammed ? null : 'not in the IPVS table of this director');
  const line = `${name}  ${place}  ${scheduler}, group ${group}`;
  return note === null ? line : `${line}  ! ${note}`;
}

function realServerRow(realServer: RealServerStatus, isWide: boolean): string[] {
  const { id, votes, activeConnections, inactiveConnections } = realServer;
  const up = votes.filter(({ isUp }) => isUp).length;
  return [
    `  ${id}`,
    formatWeight(realServer),
    realServer.health,
    votes.length === 0 ? NONE : `${up}/${votes.length} up`,
    numberOrNone(activeConnections),
    numberOrNone(inactiveConnections),
    realServerNote(realServer, isWide),
  ];
}

/** What the kernel has; and what it should have, or was configured, where that differs. */
function formatWeight({ weight, wantedWeight, kernelWeight }: RealServerStatus): string {
  const inKernel = numberOrNone(kernelWeight);
  if (kernelWeight !== wantedWeight) return `${inKernel} (wanted ${numberOrNone(wantedWeight)})`;
  return kernelWeight === weight ? inKernel : `${inKernel} (of ${weight})`;
}

function realServerNote(
  { admin, adminReason, votes, basis }: RealServerStatus,
  isWide: boolean,
): string {
  const notes: string[] = [];
  if (admin !== 'ready') notes.push(`${admin}${adminReason === null ? '' : `: ${adminReason}`}`);
  if (basis === 'kept') notes.push('no votes: last status kept');
  if (basis === 'initial') notes.push('no votes yet');
  const shown = isWide ? votes : votes.filter(({ isUp }) => !isUp);
  const details = new Map<string, string[]>();
  for (const { director, detail } of shown)
    details.set(detail, [...(details.get(detail) ?? []), director]);
  for (const [detail, directors] of details) notes.push(`${directors.join(',')}: ${detail}`);
  return notes.join('; ');
}

function sorryRows({ sorryServer }: ServiceStatus): string[][] {
  if (sorryServer === null) return [];
  const note = sorryServer.isActive ? 'sorry server, IN USE' : 'sorry server';
  return [[`  ${sorryServer.id}`, '', '', '', '', '', note]];
}

const numberOrNone = (value: number | null): string => (value === null ? NONE : String(value));
const ageOrNone = (ms: number | null): string => (ms === null ? NONE : formatAge(ms));
