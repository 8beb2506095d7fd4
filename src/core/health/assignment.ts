/**
 * Which directors run a check: every director computes the same answer from the same live set, and a director that
 * comes or goes moves only what it gets or had (rendezvous hashing, Thaler and Ravishankar, 1998).
 */
import { hash32 } from '../../lib/hash.ts';
import type { CheckId, DirectorId } from '../../model/ids.ts';

/** Three opinions outvote one director with a bad path; more only cost probes. */
const DEFAULT_CHECKERS = 3;

/** How many directors run each check when `live` directors are alive (`k` null: 3). */
export const countCheckers = (live: number, k: number | null): number =>
  Math.min(live, k ?? DEFAULT_CHECKERS);

type Candidate = { readonly id: DirectorId; readonly hash: number };

/** For one set of live directors; fewer than `k` run each check where fewer live. */
export class CheckPlacement {
  readonly #live: readonly Candidate[];
  readonly #ids: ReadonlySet<DirectorId>;
  readonly #count: number;

  constructor(live: readonly DirectorId[], k: number | null) {
    this.#live = live.map((id) => ({ id, hash: hash32(id) }));
    this.#ids = new Set(live);
    this.#count = countCheckers(live.length, k);
  }

  /** In the order of their weights for this check. */
  checkersOf(check: CheckId): DirectorId[] {
    const hash = hash32(check);
    const sorted = this.#live.toSorted((a, b) => compare(hash, a, b));
    return sorted.slice(0, this.#count).map(({ id }) => id);
  }

  /** Whether `me` is among them; cheap for thousands of checks. Who is not in the document has nothing to check. */
  isChecker(check: CheckId, me: DirectorId): boolean {
    if (!this.#ids.has(me)) return false;
    const hash = hash32(check);
    const own = { id: me, hash: hash32(me) };
    let before = 0;
    for (const other of this.#live) {
      if (other.id === me || compare(hash, other, own) > 0) continue;
      before++;
      if (before >= this.#count) return false;
    }
    return this.#count > 0;
  }
}

/** Negative: `a` goes before `b`. */
function compare(check: number, a: Candidate, b: Candidate): number {
  const difference = weightOf(check, b.hash) - weightOf(check, a.hash);
  return difference === 0 ? (a.id < b.id ? -1 : 1) : difference;
}

/** Two hashes to one, as even as they are: the 32-bit finalizer of MurmurHash3 (public domain). */
function weightOf(check: number, director: number): number {
  let h = check ^ Math.imul(director, 0x9e3779b1);
  h ^= h >>> 16;
  h = Math.imul(h, 0x85ebca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2ae35);
  h ^= h >>> 16;
  return h >>> 0;
}
