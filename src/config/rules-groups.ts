/** What the VIP groups of the cluster document must satisfy, beyond their shape and their addresses. */
import { NAME_PATTERN } from '../model/ids.ts';
import { DEFAULT_TRACK } from './defaults.ts';
import { formatDuration } from './durations.ts';
import { nearestWord } from './nearest.ts';
import type { Problem } from './problem.ts';
import { at, durationOf, entriesOf, isMap, itemsOf, numberOf, type Raw, textOf } from './raw.ts';
import { commandProblems, firstUseOf, rangeProblems, wordsOf } from './rules-common.ts';
import { TRACK_KEYS, TRACK_KINDS, type TrackKind, trackId } from './track-words.ts';

/** One director may come to hold all of them; more have not been measured. */
const MAX_GROUPS = 255;
/** TASK_COMM_LEN of linux/sched.h without the final zero byte. */
const COMM_LENGTH_MAX = 15;
/** IFNAMSIZ of linux/if.h without the final zero byte. */
const DEVICE_LENGTH_MAX = 15;

/** Problems of all groups but those of their addresses. */
export function groupProblems(groups: Raw, directors: Raw): readonly Problem[] {
  const problems: Problem[] = [];
  const known = entriesOf(directors).map(([name]) => name);
  const all = entriesOf(groups);
  const names = all.map(([name]) => name);
  if (all.length > MAX_GROUPS)
    problems.push({
      path: groups.path,
      message: `there are ${all.length} groups: one director may come to hold them all`,
      allowed: `at most ${MAX_GROUPS} groups`,
    });
  for (const [name, group] of all)
    problems.push(
      ...priorityProblems(at(group, 'priorities'), known),
      ...antiAffinityProblems(name, at(group, 'antiAffinity'), names),
      ...trackProblems(at(group, 'track')),
      ...notifyProblems(at(group, 'notify')),
    );
  return problems;
}

function priorityProblems(priorities: Raw, directors: readonly string[]): readonly Problem[] {
  return entriesOf(priorities)
    .filter(([name]) => !directors.includes(name))
    .map(([name, place]) => ({
      path: place.path,
      message: `unknown director ${hinted(name, directors)}`,
      allowed: directors.length === 0 ? 'directors named under directors' : directors.join(', '),
    }));
}

function hinted(name: string, known: readonly string[]): string {
  const meant = nearestWord(name, known);
  return `"${name}"${meant === null ? '' : `; did you mean "${meant}"?`}`;
}

function antiAffinityProblems(
  group: string,
  list: Raw,
  groups: readonly string[],
): readonly Problem[] {
  const problems: Problem[] = [];
  const others = groups.filter((name) => name !== group);
  const allowed = others.length === 0 ? 'nothing: there is no other group' : others.join(', ');
  const isTaken = firstUseOf<string>();
  for (const place of itemsOf(list)) {
    const name = textOf(place);
    if (name === null || !new RegExp(NAME_PATTERN).test(name)) continue;
    const tell = (message: string): void => {
      problems.push({ path: place.path, message, allowed });
    };
    if (name === group) tell(`"${name}" is the group itself`);
    else if (!groups.includes(name)) tell(`unknown group ${hinted(name, others)}`);
    else if (isTaken(name, name) !== null) tell(`"${name}" is in the list twice`);
  }
  return problems;
}

function trackProblems(tracks: Raw): readonly Problem[] {
  const isTaken = firstUseOf<string>();
  return itemsOf(tracks).flatMap((track) => {
    const given = TRACK_KINDS.filter((kind) => at(track, kind).value !== undefined);
    const [kind] = given;
    if (!isMap(track.value)) return [];
    if (kind === undefined || given.length > 1)
      return [
        {
          path: track.path,
          message: kind === undefined ? 'has no kind' : `has 2 kinds or more: ${given.join(', ')}`,
          allowed: `one of ${TRACK_KINDS.join(', ')}`,
        },
      ];
    return [
      ...foreignKeyProblems(track, kind),
      ...weightProblems(at(track, 'weight')),
      ...targetProblems(track, kind),
      ...duplicateProblems(track, kind, isTaken),
    ];
  });
}

function foreignKeyProblems(track: Raw, kind: TrackKind): readonly Problem[] {
  const own: readonly string[] = [kind, 'weight', ...TRACK_KEYS[kind]];
  const known = new Set([...TRACK_KINDS, ...Object.values(TRACK_KEYS).flat()] as string[]);
  return entriesOf(track)
    .filter(([key]) => known.has(key) && !own.includes(key))
    .map(([, place]) => ({
      path: place.path,
      message: `means nothing for a track of kind ${kind}`,
      allowed: own.join(', '),
    }));
}

function weightProblems(weight: Raw): readonly Problem[] {
  if (numberOf(weight) !== 0) return [];
  return [
    {
      path: weight.path,
      message: '0 would change nothing',
      allowed:
        '-253 to 253 to move the priority; no weight at all: a failing track forbids holding',
    },
  ];
}

function targetProblems(track: Raw, kind: TrackKind): readonly Problem[] {
  const place = at(track, kind);
  if (kind === 'script') return [...commandProblems(place), ...paceProblems(track)];
  if (kind === 'process')
    return [
      ...processProblems(place),
      ...rangeProblems(at(track, 'delay'), { fromMs: 0, toMs: 3_600_000 }),
    ];
  if (kind === 'interface') return interfaceProblems(place);
  return [];
}

function interfaceProblems(place: Raw): readonly Problem[] {
  const name = textOf(place);
  if (name === null || name.length <= DEVICE_LENGTH_MAX || new RegExp(NAME_PATTERN).test(name))
    return [];
  return [
    {
      path: place.path,
      message: `"${name}" is no logical name, and too long for a device`,
      allowed: `a device name of at most ${DEVICE_LENGTH_MAX} characters, or a logical interface name`,
    },
  ];
}

function processProblems(place: Raw): readonly Problem[] {
  const name = textOf(place);
  if (name === null || name.startsWith('/')) return [];
  const allowed = `at most ${COMM_LENGTH_MAX} bytes, as in /proc/PID/comm, or the absolute path of the program`;
  const { length } = new TextEncoder().encode(name);
  if (name.includes('/'))
    return [
      { path: place.path, message: `"${name}" is neither a name nor an absolute path`, allowed },
    ];
  if (length <= COMM_LENGTH_MAX) return [];
  return [
    {
      path: place.path,
      message: `"${name}" has ${length} bytes: the kernel keeps ${COMM_LENGTH_MAX} of a program's name`,
      allowed,
    },
  ];
}

function paceProblems(script: Raw): readonly Problem[] {
  const interval = at(script, 'interval');
  const timeout = at(script, 'timeout');
  const intervalMs = durationOf(interval) ?? DEFAULT_TRACK.intervalMs;
  const timeoutMs = durationOf(timeout) ?? intervalMs;
  const problems = [
    ...rangeProblems(interval, { fromMs: 100, toMs: 3_600_000 }),
    ...rangeProblems(timeout, { fromMs: 10, toMs: 3_600_000 }),
  ];
  if (problems.length === 0 && timeoutMs > intervalMs)
    problems.push({
      path: timeout.path,
      message: `${formatDuration(timeoutMs)} is longer than the interval (${formatDuration(intervalMs)})`,
      allowed: `at most ${formatDuration(intervalMs)}`,
    });
  return problems;
}

function duplicateProblems(
  track: Raw,
  kind: TrackKind,
  isTaken: (value: string, user: string) => string | null,
): readonly Problem[] {
  const place = at(track, kind);
  const target = kind === 'script' ? wordsOf(place)?.join(' ') : textOf(place);
  if (target === null || target === undefined) return [];
  const other = isTaken(trackId(kind, target), track.path);
  if (other === null) return [];
  return [
    {
      path: track.path,
      message: `watches what ${other} watches`,
      allowed: 'each interface, script, process and file once in a group',
    },
  ];
}

function notifyProblems(notify: Raw): readonly Problem[] {
  if (notify.value === undefined) return [];
  const programs = ['master', 'backup', 'fault', 'stop', 'any'].map((state) => at(notify, state));
  const problems = [
    ...programs.flatMap(commandProblems),
    ...rangeProblems(at(notify, 'timeout'), { fromMs: 100, toMs: 600_000 }),
  ];
  const isEmpty = [...programs, at(notify, 'fifo')].every((place) => place.value === undefined);
  if (isEmpty && isMap(notify.value))
    problems.push({
      path: notify.path,
      message: 'tells nobody',
      allowed: 'one or more of master, backup, fault, stop, any, fifo',
    });
  return problems;
}
