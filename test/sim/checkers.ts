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
import { ALL_VIPS, vipOf } from './spec.ts';

/**
 * I1 two voices, I2 a voice without its record, I3 a frame that must not leave, I5 a move without a
 * reason; `outage`: a voice that fell silent, or moved, for nothing but the store's being away.
 */
export type Law = 'I1' | 'I2' | 'I3' | 'I4' | 'I5' | 'outage' | 'failed';
export type Violation = { readonly at: number; readonly law: Law; readonly text: string };

/** A machine as the laws see it. */
export type Speaker = {
  readonly name: string;
  readonly director: string;
  /** Does its kernel answer ARP or ND for the address now? */
  answers(address: IpAddress): boolean;
  /** Would its kernel let a frame out that speaks as the address? */
  letsOut(address: IpAddress): boolean;
  /** Somebody tore down its rules, and nobody has put them up since: the documented hole. */
  readonly isExposed: boolean;
};

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
  };
  readonly #owners = new Map<string, OwnerSeen>();

  constructor(world: {
    readonly now: () => number;
    readonly speakers: () => readonly Speaker[];
    readonly keys: Keys;
    readonly read: (key: string) => StoreRead;
  }) {
    this.#world = world;
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
      if (isNew && !by.isExposed) this.#expectNamed(by, vip);
    }
    return result;
  }

  /** A frame that says "the VIP is here" is a voice too, also where the address was taken away. */
  frame(by: Speaker, vip: IpAddress): void {
    if (!by.letsOut(vip)) return;
    for (const other of this.#world.speakers())
      if (other !== by && other.answers(vip) && !by.isExposed && !other.isExposed)
        this.tell('I3', `${by.name} announces ${vip} while ${other.name} answers for it`);
  }

  /** One revision of the store. */
  committed(entry: HistoryEntry): void {
    for (const { key, value } of entry.changes) {
      const parsed = this.#world.keys.parse(key);
      if (parsed?.kind === 'owner') this.#ownerChanged(parsed.group, value);
    }
  }

  #expectAlone(by: Speaker, vip: IpAddress, isNew: boolean): void {
    for (const other of this.#world.speakers()) {
      if (other === by || !other.answers(vip)) continue;
      if (by.isExposed || other.isExposed) this.exposedOverlaps++;
      else
        this.tell(
          'I1',
          `${by.name} ${isNew ? 'begins to answer' : 'answers'} for ${vip} while ${other.name} does`,
        );
    }
  }

  /** Whoever begins to speak is named by the record as it is in the store, or the record was taken away. */
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
    this.tell(
      'I2',
      `${by.name} begins to answer for ${vip}, but the records name ${told.join(', ')}`,
    );
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

/** A moved VIP may be in the second group too. */
const mayCarry = (group: string, vip: IpAddress): boolean =>
  vipOf(group) === vip ||
  (group === 'g2' && vip === vipOf('g1')) ||
  (group === 'g1' && vip === vipOf('g9'));
