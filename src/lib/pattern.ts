/**
 * Regular expressions over a stream of bytes that may come from anybody: their time grows with the length of the
 * text and never faster, so that no answer can hold a thread up. All paths through the expression are followed at
 * once (Thompson, 1968); sets of places that were met before are remembered. Tells only whether there is a match.
 */
import { err, ok, type Result } from './result.ts';
import { type Assertion, type Graph, isWordByte, readPattern } from './pattern-syntax.ts';

export interface Scan {
  /** True from the first match on; where a match depends on what follows, from then on. */
  feed(bytes: Uint8Array): boolean;
  /** The text has ended: `$` may match now. */
  end(): boolean;
  /** It was given up, because it would have cost too much: there is no match then. */
  readonly isExhausted: boolean;
}

/** What stood before a place: the beginning, a line's end, a word, anything else. */
type Before = 0 | 1 | 2 | 3;
const [BEGIN, NEWLINE, WORD, OTHER] = [0, 1, 2, 3] as const;

type Place = {
  /** States to go on from, before what needs no byte is followed: that depends on the next one. */
  readonly cores: readonly number[];
  readonly before: Before;
  /** By byte; the last one is the text's end. */
  readonly next: (Place | undefined)[];
};

const END = 256;
/** Some two kilobytes each. */
const PLACES_MAX = 400;
/** Visits of states in one scan: a tenth of a second, or two. */
export const VISITS_MAX = 2_000_000;

const MATCHED: Place = { cores: [], before: OTHER, next: [] };
const ENDED: Place = { cores: [], before: OTHER, next: [] };

export class Pattern {
  readonly #graph: Graph;
  #places = new Map<string, Place>();
  /** Of one closure: which states it has visited. */
  readonly #marks: Uint32Array;
  #mark = 0;
  visits = 0;

  private constructor(graph: Graph) {
    this.#graph = graph;
    this.#marks = new Uint32Array(graph.states.length);
  }

  /** The error is the rest of a sentence that begins with the expression. */
  static compile(source: string, ignoreCase: boolean): Result<Pattern, string> {
    const graph = readPattern(source, ignoreCase);
    return graph.ok ? ok(new Pattern(graph.value)) : err(graph.error);
  }

  scan(): Scan {
    return new PatternScan(this);
  }

  begin(): Place {
    return this.#intern([this.#graph.start], BEGIN);
  }

  /** Where a byte, or the end, leads from a place. */
  step(place: Place, symbol: number): Place {
    const known = place.next[symbol];
    if (known !== undefined) return known;
    const to = this.#follow(place, symbol);
    place.next[symbol] = to;
    return to;
  }

  #follow(place: Place, symbol: number): Place {
    const cores = new Set<number>();
    const isMatch = this.#close(place.cores, place.before, symbol, cores);
    if (isMatch) return MATCHED;
    if (symbol === END) return ENDED;
    // A match may begin anywhere.
    cores.add(this.#graph.start);
    return this.#intern([...cores], beforeOf(symbol));
  }

  /** True where what needs no byte leads to a match; `next` gets where the symbol leads. */
  #close(
    from: readonly number[],
    before: Before,
    symbol: number | null,
    next: Set<number>,
  ): boolean {
    const { states } = this.#graph;
    const open = [...from];
    if (++this.#mark === 0xffff_ffff) {
      this.#marks.fill(0);
      this.#mark = 1;
    }
    for (let at = open.pop(); at !== undefined; at = open.pop()) {
      if (this.#marks[at] === this.#mark) continue;
      this.#marks[at] = this.#mark;
      this.visits++;
      const state = states[at];
      if (state === undefined || state.kind === 'match') return true;
      if (state.kind === 'split') open.push(state.second, state.first);
      else if (state.kind === 'assert') {
        if (holds(state.assertion, before, symbol)) open.push(state.out);
      } else if (symbol !== null && symbol !== END && state.set[symbol] === 1) next.add(state.out);
    }
    return false;
  }

  #intern(cores: readonly number[], before: Before): Place {
    const sorted = cores.toSorted((a, b) => a - b);
    const key = `${before} ${sorted.join(' ')}`;
    const known = this.#places.get(key);
    if (known !== undefined) return known;
    // Known before the next byte: who waits for an answer must not wait for more of it.
    if (this.#close(sorted, before, null, new Set())) {
      this.#places.set(key, MATCHED);
      return MATCHED;
    }
    if (this.#places.size >= PLACES_MAX) this.#places = new Map();
    const place: Place = { cores: sorted, before, next: [] };
    this.#places.set(key, place);
    return place;
  }
}

class PatternScan implements Scan {
  readonly #pattern: Pattern;
  #place: Place;
  #visits = 0;
  isExhausted = false;

  constructor(pattern: Pattern) {
    this.#pattern = pattern;
    this.#place = pattern.begin();
  }

  feed(bytes: Uint8Array): boolean {
    for (const byte of bytes) {
      if (this.#place === MATCHED) return true;
      if (this.isExhausted) return false;
      this.#step(byte);
    }
    return this.#place === MATCHED;
  }

  end(): boolean {
    if (this.#place !== MATCHED && !this.isExhausted) this.#step(END);
    return this.#place === MATCHED;
  }

  #step(symbol: number): void {
    const before = this.#pattern.visits;
    this.#place = this.#pattern.step(this.#place, symbol);
    this.#visits += this.#pattern.visits - before;
    if (this.#visits > VISITS_MAX) this.isExhausted = true;
  }
}

function beforeOf(byte: number): Before {
  if (byte === 10 || byte === 13) return NEWLINE;
  return isWordByte(byte) ? WORD : OTHER;
}

/** Symbol null: not known yet, then nothing holds that depends on it. */
function holds(assertion: Assertion, before: Before, symbol: number | null): boolean {
  const isEnd = symbol === END;
  const isNextWord = symbol !== null && !isEnd && isWordByte(symbol);
  switch (assertion) {
    case 'begin':
      return before === BEGIN;
    case 'line-begin':
      return before === BEGIN || before === NEWLINE;
    case 'end':
      return isEnd;
    case 'line-end':
      return isEnd || symbol === 10 || symbol === 13;
    case 'word':
      return symbol !== null && (before === WORD) !== isNextWord;
    case 'no-word':
      return symbol !== null && (before === WORD) === isNextWord;
  }
}
