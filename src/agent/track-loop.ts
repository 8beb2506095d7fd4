/**
 * What this director's tracks say of each group: observations and link states go through `core/tracks`, and
 * whoever asks gets the verdict of now. Equal tracks of several groups are watched and counted once.
 */
import { judgeTracks, type TrackVerdict } from '../core/tracks/judge-tracks.ts';
import {
  type LinkSight,
  startTrack,
  stepTrack,
  tickTrack,
  trackDueAt,
  type TrackState,
} from '../core/tracks/track-state.ts';
import { stateKeyOf, subjectOf, targetOf, targetsOf } from '../core/tracks/track-targets.ts';
import type { Track, VipGroup } from '../model/cluster.ts';
import type { GroupId } from '../model/ids.ts';
import type { LinkState } from '../model/kernel.ts';
import type { TrackObservation } from '../model/track.ts';
import type { Clock } from '../ports/clock.ts';
import type { Log } from '../ports/log.ts';
import type { Metrics } from '../ports/metrics.ts';
import type { Tracker } from '../ports/tracker.ts';

export type TrackLoopOptions = {
  /** Logical interface name → device; a track's interface that is not in it is a device itself. */
  readonly devices: ReadonlyMap<string, string>;
};

export type TrackLoopPorts = {
  readonly tracker: Tracker;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Pick<Metrics, 'track' | 'forgetTracks'>;
  /** Obstacle, bonus or settledness of some group may differ from now on. May call the loop. */
  readonly changed: () => void;
};

/** One track of a group as status shows it. */
export type TrackView = {
  readonly id: string;
  readonly kind: Track['kind'];
  readonly isPassing: boolean;
  readonly detail: string;
  /** Wall time since when it passes or fails. */
  readonly since: string;
};

export type TrackLoop = {
  /** The groups of the spec in force. Tracks that stay keep their state, also under new settings. */
  setGroups(groups: readonly VipGroup[]): void;
  /** The links by device name. Until the first call, interfaces count as up. */
  setLinks(links: ReadonlyMap<string, LinkState>): void;
  /** Devices whose state matters here: whoever knows the links tells of these. */
  devices(): ReadonlySet<string>;
  /** Null: no track forbids this director to hold the group. */
  obstacle(group: GroupId): 'track-failed' | null;
  /** Which tracks forbid it and why, for people; null where none does. */
  detail(group: GroupId): string | null;
  /** Joins this director's priority for the group, −253 to 253. */
  bonus(group: GroupId): number;
  /** Each track of the group was seen since this process started: before that they count as their start. */
  isSettled(group: GroupId): boolean;
  explain(group: GroupId): readonly TrackView[];
  /** Until the signal aborts. The tracker is closed by who made it. */
  run(signal: AbortSignal): Promise<void>;
};

export function createTrackLoop(options: TrackLoopOptions, ports: TrackLoopPorts): TrackLoop {
  return new Loop(options, ports);
}

type Entry = {
  /** One of the equal tracks: names and weights of the others may differ. */
  readonly track: Track;
  readonly subject: string;
  readonly target: string | null;
  state: TrackState;
  since: string;
  readonly users: { readonly group: GroupId; readonly id: string }[];
};

type Used = { readonly track: Track; readonly entry: Entry };

class Loop implements TrackLoop {
  readonly #devices: ReadonlyMap<string, string>;
  readonly #ports: TrackLoopPorts;
  #given: readonly VipGroup[] | null = null;
  #groups: ReadonlyMap<GroupId, readonly Used[]> = new Map();
  /** By `stateKeyOf`. */
  #entries: ReadonlyMap<string, Entry> = new Map();
  #targets = '';
  #links: ReadonlyMap<string, LinkState> | null = null;
  #isRunning = false;
  #cancelTimer: () => void = () => {};

  constructor(options: TrackLoopOptions, ports: TrackLoopPorts) {
    this.#devices = options.devices;
    this.#ports = ports;
  }

  setGroups(groups: readonly VipGroup[]): void {
    if (groups === this.#given) return;
    this.#given = groups;
    const before = this.#summary();
    const entries = new Map<string, Entry>();
    this.#groups = new Map(
      groups.map(({ id, tracks }) => [
        id,
        tracks.map((track) => ({ track, entry: this.#join(entries, id, track) })),
      ]),
    );
    this.#entries = entries;
    this.#watch(groups);
    this.#ports.metrics.forgetTracks();
    for (const entry of entries.values()) {
      this.#look(entry);
      this.#measure(entry);
    }
    this.#settle(this.#summary() !== before);
  }

  setLinks(links: ReadonlyMap<string, LinkState>): void {
    this.#links = links;
    let isChanged = false;
    for (const entry of this.#entries.values()) isChanged = this.#look(entry) || isChanged;
    this.#settle(isChanged);
  }

  devices(): ReadonlySet<string> {
    const names = [...this.#entries.values()].map(({ track }) => this.#deviceOf(track));
    return new Set(names.filter((name) => name !== null));
  }

  obstacle(group: GroupId): 'track-failed' | null {
    return this.#judge(group).obstacle;
  }

  detail(group: GroupId): string | null {
    return this.#judge(group).detail;
  }

  bonus(group: GroupId): number {
    return this.#judge(group).bonus;
  }

  isSettled(group: GroupId): boolean {
    return this.#judge(group).isSettled;
  }

  explain(group: GroupId): readonly TrackView[] {
    return (this.#groups.get(group) ?? []).map(({ track, entry }) => ({
      id: track.id,
      kind: track.kind,
      isPassing: entry.state.isPassing,
      detail: entry.state.detail,
      since: entry.since,
    }));
  }

  async run(signal: AbortSignal): Promise<void> {
    this.#isRunning = true;
    this.#arm();
    for await (const batch of this.#ports.tracker.observations(signal)) this.#take(batch);
    this.#isRunning = false;
    this.#cancelTimer();
    // Without observations the tracks would stay as they are for ever: somebody must act.
    if (!signal.aborted) this.#ports.log.error({}, 'tracker.ended');
  }

  /** What others may know of the verdicts, as text; groups without tracks leave no mark. */
  #summary(): string {
    const rows = [...this.#groups]
      .filter(([, used]) => used.length > 0)
      .map(([id]) => {
        const { obstacle, bonus, isSettled } = this.#judge(id);
        return [id, obstacle, bonus, isSettled];
      });
    return JSON.stringify(rows);
  }

  #judge(group: GroupId): TrackVerdict {
    const used = this.#groups.get(group) ?? [];
    return judgeTracks(used.map(({ track, entry }) => ({ track, state: entry.state })));
  }

  /** The entry of a track in the making: with the state it had, or that its subject had. */
  #join(entries: Map<string, Entry>, group: GroupId, track: Track): Entry {
    const key = stateKeyOf(track);
    const entry = entries.get(key) ?? this.#renew(key, track);
    entries.set(key, entry);
    entry.users.push({ group, id: track.id });
    return entry;
  }

  #renew(key: string, track: Track): Entry {
    const subject = subjectOf(track);
    const same = this.#entries.get(key);
    const former = same ?? this.#ofSubject(subject);
    const state = same?.state ?? startTrack(track, former?.state ?? null);
    const since =
      former !== undefined && former.state.isPassing === state.isPassing
        ? former.since
        : this.#ports.clock.wallTime();
    return { track, subject, target: targetOf(track)?.id ?? null, state, since, users: [] };
  }

  #ofSubject(subject: string): Entry | undefined {
    const known = [...this.#entries.values()].filter((entry) => entry.subject === subject);
    return known.find(({ state }) => state.isObserved) ?? known[0];
  }

  #watch(groups: readonly VipGroup[]): void {
    const targets = targetsOf(groups);
    const text = JSON.stringify(targets.map(({ id }) => id).toSorted());
    if (text === this.#targets) return;
    // Nobody has to watch nothing.
    if (this.#targets === '' && targets.length === 0) return;
    this.#targets = text;
    this.#ports.tracker.setTargets(targets);
  }

  #take(batch: readonly TrackObservation[]): void {
    let isChanged = false;
    for (const { target, sight, at } of batch)
      for (const entry of this.#entries.values())
        if (entry.target === target)
          isChanged = this.#put(entry, stepTrack(entry.track, entry.state, sight, at)) || isChanged;
    this.#settle(isChanged);
  }

  /** Judges a track of kind `interface` by the links; true when that changed it. */
  #look(entry: Entry): boolean {
    const device = this.#deviceOf(entry.track);
    if (device === null || this.#links === null) return false;
    const sight = sightOf(device, this.#links.get(device));
    return this.#put(entry, stepTrack(entry.track, entry.state, sight, this.#ports.clock.now()));
  }

  #deviceOf(track: Track): string | null {
    if (track.kind !== 'interface') return null;
    return this.#devices.get(track.device) ?? track.device;
  }

  /** True when the new state means something else for a group. */
  #put(entry: Entry, state: TrackState): boolean {
    const before = entry.state;
    entry.state = state;
    if (state.isPassing !== before.isPassing) {
      entry.since = this.#ports.clock.wallTime();
      const { id, kind } = entry.track;
      const { isPassing, detail } = state;
      const groups = [...new Set(entry.users.map(({ group }) => group))];
      this.#ports.log.info({ track: id, kind, isPassing, detail, groups }, 'track.changed');
      this.#measure(entry);
    }
    return (
      state.isPassing !== before.isPassing ||
      state.isObserved !== before.isObserved ||
      (entry.track.kind === 'file' && state.number !== before.number)
    );
  }

  #measure({ users, state }: Entry): void {
    for (const { group, id } of users) this.#ports.metrics.track(group, id, state.isPassing);
  }

  #settle(isChanged: boolean): void {
    this.#arm();
    if (isChanged) this.#ports.changed();
  }

  /** One timer for the next delay that ends. */
  #arm(): void {
    this.#cancelTimer();
    if (!this.#isRunning) return;
    const due = [...this.#entries.values()].map(
      ({ track, state }) => trackDueAt(track, state) ?? Infinity,
    );
    const next = Math.min(...due);
    if (next === Infinity) return;
    const { clock } = this.#ports;
    // Whole milliseconds, rounded up: a timer that fires a fraction early would spin.
    const delayMs = Math.max(1, Math.ceil(next - clock.now()));
    this.#cancelTimer = clock.schedule(delayMs, () => this.#tick());
  }

  #tick(): void {
    const now = this.#ports.clock.now();
    let isChanged = false;
    for (const entry of this.#entries.values())
      isChanged = this.#put(entry, tickTrack(entry.track, entry.state, now)) || isChanged;
    this.#settle(isChanged);
  }
}

function sightOf(device: string, link: LinkState | undefined): LinkSight {
  if (link === undefined)
    return { kind: 'interface', isUp: false, detail: `device ${device} does not exist here` };
  const isUp = link.isAdminUp && link.isRunning;
  const detail = `device ${device} is ${isUp ? 'up' : 'down or has no carrier'}`;
  return { kind: 'interface', isUp, detail };
}
