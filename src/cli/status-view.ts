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
import {
  countWords,
  drainWords,
  formatAge,
  formatBytes,
  serviceNote,
  weightNote,
} from './service-words.ts';
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
  const parts = [formatHead(status, look), formatGroups(status.groups, look)];
  parts.push(formatDirectors(status.directors, look));
  if (status.services.length > 0) parts.push(formatServices(status.services, look));
  return parts.join('\n');
}

function formatHead(status: StatusDocument, { paint, isWide }: StatusLook): string {
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
  lines.push(...ipvsLines(ipvs, isWide));
  return `${lines.join('\n')}\n`;
}

/** What is beside the services, where it is not as on any day. */
function ipvsLines(ipvs: StatusDocument['ipvs'], isWide: boolean): readonly string[] {
  const { foreignServices, daemons, settings = [], realServerSeries: series, timeouts } = ipvs;
  const foreign = (daemons ?? []).filter(({ isForeign }) => isForeign);
  const advice = settings.filter(({ severity }) => severity === 'advice');
  const lines: string[] = [];
  if (foreignServices.length > 0)
    lines.push(`IPVS services of others, left alone: ${foreignServices.join(', ')}`);
  for (const { state, interface: device, syncId } of foreign)
    lines.push(`${state} sync daemon of others, left alone: ${device}, id ${syncId}`);
  if (isWide && timeouts)
    lines.push(
      `IPVS timeouts: tcp ${timeouts.tcpS} s, tcp after FIN ${timeouts.tcpFinS} s, udp ${timeouts.udpS} s`,
    );
  if (isWide) lines.push(...advice.map(({ text }) => `advice: ${text}`));
  else if (advice.length > 0)
    lines.push(`advice on kernel settings: ${advice.length} (leasehold status -o wide)`);
  if (series?.isExported === false)
    lines.push(
      `metrics of each real server are left out: ${series.realServers} of them, more than ${series.limit} (metrics.realServers in agent.yaml)`,
    );
  return lines;
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

function groupNote(group: GroupStatus, isWide: boolean): string {
  const note = holdNote(group, isWide);
  const { sync } = group;
  if (sync === undefined || sync.isReady) return note;
  const left = sync.remainingMs === null ? '' : `, ${formatAge(sync.remainingMs)} left`;
  return `${note}; its connections are not all known here yet${left}`;
}

function holdNote(
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
    ...leavingRows(service),
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
  ).split('\n');
  const shown = ['SERVICE', titles];
  const notesAt = titles.lastIndexOf('NOTE');
  for (const [i, service] of services.entries()) {
    const rows = lines.splice(0, blocks[i]?.length ?? 0);
    shown.push(
      ...fitLine(serviceLine(service), look.columns),
      ...(look.isWide ? trafficLines(service) : []),
      ...rows.flatMap((row) => fitRow(row, notesAt, look.columns)),
    );
  }
  return `${shown.join('\n')}\n`;
}

const NOTE_INDENT = '      ';

/** A note that does not fit beside the numbers stands below them: it is what one looks for on a bad day. */
function fitRow(row: string, notesAt: number, width: number | null): string[] {
  if (width === null || row.length <= width) return [row];
  const note = row.slice(notesAt);
  const numbers = row.slice(0, notesAt).trimEnd();
  return note === '' ? [numbers] : [numbers, cut(NOTE_INDENT + note, width)];
}

/** The same for what is wrong with a service. */
function fitLine(line: string, width: number | null): string[] {
  const at = line.indexOf('  ! ');
  if (width === null || line.length <= width || at < 0) return [line];
  return [line.slice(0, at), cut(`${NOTE_INDENT}${line.slice(at + 2)}`, width)];
}

const cut = (line: string, width: number): string =>
  line.length > width ? `${line.slice(0, width - 1)}…` : line;

function serviceLine(service: ServiceStatus): string {
  const { name, keys, group, scheduler } = service;
  const place = `${keys[0]}${keys.length > 1 ? ` and ${keys.length - 1} more` : ''}`;
  const note = serviceNote(service);
  const line = `${name}  ${place}  ${scheduler}, group ${group}`;
  return note === null ? line : `${line}  ! ${note}`;
}

/** What passes this director now. */
function trafficLines({ connections, rates }: ServiceStatus): readonly string[] {
  if (connections === undefined || rates === undefined) return [];
  const { connections: perSecond, bytesIn, bytesOut } = rates;
  return [
    `${NOTE_INDENT}${countWords(connections)}; ${perSecond} connections/s, ${formatBytes(bytesIn)}/s in, ${formatBytes(bytesOut)}/s out`,
  ];
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

function realServerNote(realServer: RealServerStatus, isWide: boolean): string {
  const { admin, adminReason, votes, basis } = realServer;
  const notes: string[] = [];
  if (admin !== 'ready') notes.push(`${admin}${adminReason === null ? '' : `: ${adminReason}`}`);
  const weight = weightNote(realServer);
  if (weight !== null) notes.push(weight);
  if (basis === 'kept') notes.push('no votes: last status kept');
  if (basis === 'initial') notes.push('no votes yet');
  if (basis === 'alone') notes.push('etcd away: checked by this director alone');
  const shown = isWide ? votes : votes.filter(({ isUp }) => !isUp);
  const details = new Map<string, string[]>();
  for (const { director, detail } of shown)
    details.set(detail, [...(details.get(detail) ?? []), director]);
  for (const [detail, directors] of details) notes.push(`${directors.join(',')}: ${detail}`);
  return notes.join('; ');
}

const leavingRows = ({ leaving = [] }: ServiceStatus): string[][] =>
  leaving.map(({ id, left, ...drain }) => [
    `  ${id}`,
    '0',
    'leaving',
    NONE,
    numberOrNone(left?.active ?? null),
    numberOrNone(left?.inactive ?? null),
    drainWords({ ...drain, left }),
  ]);

function sorryRows({ sorryServer }: ServiceStatus): string[][] {
  if (sorryServer === null) return [];
  const isHeldBack = sorryServer.state === 'held-back';
  const note = sorryServer.isActive
    ? 'sorry server, IN USE'
    : `sorry server${isHeldBack ? ', held back by fail-open' : ''}`;
  return [[`  ${sorryServer.id}`, '', '', '', '', '', note]];
}

const numberOrNone = (value: number | null): string => (value === null ? NONE : String(value));
const ageOrNone = (ms: number | null): string => (ms === null ? NONE : formatAge(ms));
