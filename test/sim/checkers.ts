/**
 * What must hold at every instant, seen from above all machines (design 4, I1 to I5). A voice can only
 * begin where a kernel is told something, so the look before and after each such moment sees every
 * instant; voices end by themselves.
 */
import type { IpAddress } from '../../src/model/address.ts';
import { HOLD_REASONS } from '../../src/model/decision.ts';
import type { Keys } from '../../src/model/keys.ts';
import type { StoreRead } from '../../src/ports/cluster-store.ts';
import type { HistoryEntry } from '../fakes/fake-store-state.ts';
import { Overlaps, type OverlapPorts, type Party } from './overlaps.ts';
import { ALL_VIPS, mayCarry } from './spec.ts';

/**
 * I1 two voices, I2 a voice without its record or with an older epoch than one before it, I3 a frame that must not
 * leave, or a kernel that speaks on without its process, I5 a move without a reason; `outage`: a voice that fell
 * silent, or moved, for nothing but the store's being away; `takeover`: one that ended with its machine while the
 * store was away, and no other director spoke instead.
 */
export type Law = 'I1' | 'I2' | 'I3' | 'I4' | 'I5' | 'outage' | 'takeover' | 'failed';
export type Violation = { readonly at: number; readonly law: Law; readonly text: string };

/** A machine as the laws see it. */
export type Speaker = Party & {
  readonly director: string;
  /** Would its kernel let a frame out that speaks as the address? */
  letsOut(address: IpAddress): boolean;
  /** By which record, of which group, its process shows that it holds the address; null: it shows none. */
  holdingOf(address: IpAddress): GroupEpoch | null;
  /** The newest revision that the store has told its process of. */
  readonly knownRevision: number;
  /** Somebody tore down its rules, and nobody has put them up since: the documented hole. */
  readonly isExposed: boolean;
};

export type GroupEpoch = { readonly group: string; readonly epoch: number };

const TOLD_AFTER_MS = 2;

type Spoken = { readonly epoch: number; readonly by: string };

type OwnerSeen = { readonly director: string | null; readonly pending: readonly string[] };

export class Checkers {
  readonly violations: Violation[] = [];
  /** Changes of a holder by their reason. */
  readonly moves = new Map<string, number>();
  /** Instants at which a machine without its rules spoke beside another. */
  exposedOverlaps = 0;
  readonly #world: {
    readonly now: () => number;
    readonly speakers: () => readonly Speaker[];
    readonly keys: Keys;
    readonly read: (key: string) => StoreRead;
    readonly mayHoldBySegment: () => boolean;
    readonly network: Pick<OverlapPorts, 'schedule'>;
  };
  /** Two voices by the leave of the segment. */
  readonly overlaps: Overlaps;
  readonly #owners = new Map<string, OwnerSeen>();
  /** The highest epoch by which anybody began to speak, by group. */
  readonly #spoken = new Map<string, Spoken>();
  /** Voices of which no heartbeat has told yet by which holding they were opened, and what had been spoken by then. */
  readonly #untold = new Map<Speaker, Map<IpAddress, ReadonlyMap<string, Spoken>>>();
  /** The revisions at which each group's record was written or removed. */
  readonly #ownerRevisions = new Map<string, number[]>();

  constructor(world: {
    readonly now: () => number;
    readonly speakers: () => readonly Speaker[];
    readonly keys: Keys;
    readonly read: (key: string) => StoreRead;
    /** The document has let directors hold by the segment. */
    readonly mayHoldBySegment: () => boolean;
    readonly network: Omit<OverlapPorts, 'tell' | 'now'>;
  }) {
    this.#world = world;
    const { now, network } = world;
    this.overlaps = new Overlaps({ ...network, now, tell: (text) => this.tell('I1', text) });
  }

  tell(law: Law, text: string): void {
    this.violations.push({ at: this.#world.now(), law, text });
  }

  /** Carries out what one kernel is told; whatever begins to answer by it must be alone and named. */
  around<T>(by: Speaker, act: () => T): T {
    const before = ALL_VIPS.map((vip) => by.answers(vip));
    const result = act();
    for (const [i, vip] of ALL_VIPS.entries()) {
      if (!by.answers(vip)) continue;
      const isNew = before[i] !== true;
      this.#expectAlone(by, vip, isNew);
      if (!isNew || by.isExposed) continue;
      this.#expectNamed(by, vip);
      this.#awaitTold(by, vip);
      const shown = by.holdingOf(vip);
      if (shown !== null && !by.isBySegment(vip)) this.#expectNewest(by, vip, shown, this.#spoken);
    }
    return result;
  }

  /**
   * What a heartbeat says that speaks. Of what its process shows only the record is known; by this holding the kernel
   * was told to open it, a moment ago.
   */
  told(by: Speaker, armed: readonly GroupEpoch[]): void {
    const begun = this.#untold.get(by);
    if (begun === undefined) return;
    for (const [vip, spoken] of begun) {
      const group = by.holdingOf(vip)?.group;
      const holding = armed.find((one) => one.group === group);
      if (holding === undefined && by.answers(vip)) continue;
      begun.delete(vip);
      const isJudged = by.answers(vip) && !by.isExposed && !by.isBySegment(vip);
      if (holding !== undefined && isJudged) this.#expectNewest(by, vip, holding, spoken);
    }
    if (begun.size === 0) this.#untold.delete(by);
  }

  /** A frame that says "the VIP is here" is a voice too, also where the address was taken away. */
  frame(by: Speaker, vip: IpAddress): void {
    if (!by.letsOut(vip)) return;
    this.overlaps.announced(by, vip);
    for (const other of this.#world.speakers()) {
      if (other === by || !other.answers(vip) || by.isExposed || other.isExposed) continue;
      if (this.#world.mayHoldBySegment() && by.isOpen(vip)) this.overlaps.note(by, other, vip);
      else this.tell('I3', `${by.name} announces ${vip} while ${other.name} answers for it`);
    }
  }

  /** One revision of the store. */
  committed(entry: HistoryEntry): void {
    for (const { key, value } of entry.changes) {
      const parsed = this.#world.keys.parse(key);
      if (parsed?.kind !== 'owner') continue;
      const revisions = this.#ownerRevisions.get(parsed.group) ?? [];
      this.#ownerRevisions.set(parsed.group, [...revisions, entry.revision]);
      this.#ownerChanged(parsed.group, value);
    }
  }

  #expectAlone(by: Speaker, vip: IpAddress, isNew: boolean): void {
    for (const other of this.#world.speakers()) {
      if (other === by || !other.answers(vip)) continue;
      if (by.isExposed || other.isExposed) this.exposedOverlaps++;
      else if (this.#world.mayHoldBySegment())
        this.overlaps[isNew ? 'begin' : 'note'](by, other, vip);
      else
        this.tell(
          'I1',
          `${by.name} ${isNew ? 'begins to answer' : 'answers'} for ${vip} while ${other.name} does`,
        );
    }
  }

  /**
   * Whoever begins to speak is named by the record as it is in the store, or the record was taken away, or the
   * segment has to do.
   */
  #expectNamed(by: Speaker, vip: IpAddress): void {
    const groups = [...new Set(['g1', 'g2', 'g3', 'g4', 'g5'])].filter((group) =>
      mayCarry(group, vip),
    );
    const records = groups.map((group) => this.#ownerOf(group));
    const isNamed = records.some(
      (record) =>
        record === null || record.director === by.director || record.pending.includes(by.director),
    );
    if (isNamed) return;
    const told = groups.map((group, i) => `${group}: ${records[i]?.director ?? 'nobody'}`);
    const text = `${by.name} begins to answer for ${vip}, but the records name ${told.join(', ')}`;
    if (this.#world.mayHoldBySegment()) this.#expectSegment(by, vip, text);
    else this.tell('I2', text);
  }

  #awaitTold(by: Speaker, vip: IpAddress): void {
    const begun = this.#untold.get(by) ?? new Map<IpAddress, ReadonlyMap<string, Spoken>>();
    this.#untold.set(by, begun.set(vip, new Map(this.#spoken)));
  }

  /** Nobody begins to speak by an older epoch than somebody has before; a stand-in has the one that it stands in for. */
  #expectNewest(
    by: Speaker,
    vip: IpAddress,
    { group, epoch }: GroupEpoch,
    spoken: ReadonlyMap<string, Spoken>,
  ): void {
    const last = spoken.get(group);
    if (last === undefined || epoch >= last.epoch) {
      const newest = this.#spoken.get(group)?.epoch ?? epoch;
      if (epoch >= newest) this.#spoken.set(group, { epoch, by: by.name });
      return;
    }
    if (this.#ownerOf(group)?.director === by.director && this.#hasMissed(by, { group, epoch }))
      return;
    const text = `${by.name} begins to answer for ${vip} by epoch ${epoch} of ${group}, ${last.by} has by ${last.epoch}`;
    if (this.#world.mayHoldBySegment()) this.#expectSegment(by, vip, text);
    else this.tell('I2', text);
  }

  /** Who has no etcd has not heard that its record went, and came back. */
  #hasMissed(by: Speaker, { group, epoch }: GroupEpoch): boolean {
    const wentAt = this.#ownerRevisions.get(group)?.find((one) => one > epoch);
    return wentAt !== undefined && by.knownRevision < wentAt;
  }

  /**
   * By what it was opened it says when the kernel has told it so; where it stands in already, it may have the record
   * by then.
   */
  #expectSegment(by: Speaker, vip: IpAddress, text: string): void {
    if (by.isBySegment(vip)) return;
    this.#world.network.schedule(TOLD_AFTER_MS, () => {
      if (by.isRunning && by.answers(vip) && !by.isBySegment(vip)) this.tell('I2', text);
    });
  }

  /** Null: no record, or the marker that stands for a record taken away. */
  #ownerOf(group: string): OwnerSeen | null {
    const { value } = this.#world.read(`${this.#world.keys.prefix}run/owner/${group}`);
    return value === null ? null : ownerIn(value);
  }

  #ownerChanged(group: string, value: string | null): void {
    const before = this.#owners.get(group) ?? null;
    if (value === null) {
      this.#owners.delete(group);
      return;
    }
    const now = ownerIn(value);
    if (now === null) this.#owners.delete(group);
    else this.#owners.set(group, now);
    const { reason, director } = JSON.parse(value) as { reason: string; director: string | null };
    if (!HOLD_REASONS.some((one) => one === reason))
      this.tell('I5', `${group} goes to ${director ?? 'nobody'} because of "${reason}"`);
    if (director !== null && director !== before?.director)
      this.moves.set(reason, (this.moves.get(reason) ?? 0) + 1);
  }
}

function ownerIn(value: string): OwnerSeen | null {
  const record = JSON.parse(value) as {
    director: string | null;
    vacant?: boolean;
    pending: readonly { director: string }[];
  };
  if (record.vacant === true) return null;
  return { director: record.director, pending: record.pending.map((one) => one.director) };
}
