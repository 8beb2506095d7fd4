/**
 * Reads a regular expression into a graph of states over bytes. What would need to look back or ahead without
 * bound (back-references, look-around) is refused, so that `pattern.ts` can follow every path at once. Syntax and
 * meaning are those of JavaScript for ASCII; other characters stand for their bytes in UTF-8.
 */
import { err, ok, type Result } from './result.ts';

export type Assertion = 'begin' | 'end' | 'line-begin' | 'line-end' | 'word' | 'no-word';

export type State =
  /** Takes one byte of a set of 256. */
  | { readonly kind: 'byte'; readonly set: Uint8Array; out: number }
  | { readonly kind: 'split'; first: number; second: number }
  | { readonly kind: 'assert'; readonly assertion: Assertion; out: number }
  | { readonly kind: 'match' };

export type Graph = { readonly states: readonly State[]; readonly start: number };

export const PATTERN_LENGTH_MAX = 512;
/** Repetitions are written out: `(a{9}){9}` has 81 states. */
export const PATTERN_STATES_MAX = 600;
const NESTING_MAX = 40;
const PARTS_MAX = 20_000;

type Part =
  | { readonly kind: 'set'; readonly set: Uint8Array }
  | { readonly kind: 'assert'; readonly assertion: Assertion }
  | { readonly kind: 'sequence' | 'choice'; readonly of: readonly Part[] }
  | { readonly kind: 'repeat'; readonly of: Part; readonly min: number; readonly max: number };

/** The error is the rest of a sentence that begins with the expression. */
export function readPattern(source: string, ignoreCase: boolean): Result<Graph, string> {
  if (source.length > PATTERN_LENGTH_MAX)
    return err(`is longer than ${PATTERN_LENGTH_MAX} characters`);
  const reader = new Reader(source, ignoreCase);
  try {
    const part = reader.readAll();
    return build(part);
  } catch (error) {
    if (error instanceof Refusal) return err(error.message);
    throw error;
  }
}

/** Never leaves this file. */
class Refusal extends Error {}

function refuse(message: string): never {
  throw new Refusal(message);
}

class Reader {
  readonly #text: readonly string[];
  #at = 0;
  #depth = 0;
  #ignoreCase: boolean;
  #isMultiline = false;
  #isDotAll = false;

  constructor(source: string, ignoreCase: boolean) {
    this.#text = Array.from(source);
    this.#ignoreCase = ignoreCase;
  }

  readAll(): Part {
    this.#readFlags();
    const part = this.#readChoice();
    if (this.#at < this.#text.length) refuse(`has a ")" without "(" at ${this.#at + 1}`);
    return part;
  }

  /** `(?i)`, `(?m)`, `(?s)` at the beginning hold for all of it. */
  #readFlags(): void {
    const match = /^\(\?([ims]+)\)/.exec(this.#text.slice(0, 8).join(''));
    if (match === null) return;
    this.#at = match[0].length;
    for (const flag of match[1] ?? '') {
      if (flag === 'i') this.#ignoreCase = true;
      if (flag === 'm') this.#isMultiline = true;
      if (flag === 's') this.#isDotAll = true;
    }
  }

  #peek(): string | undefined {
    return this.#text[this.#at];
  }

  #take(): string {
    return this.#text[this.#at++] ?? refuse('ends too early');
  }

  #readChoice(): Part {
    if (++this.#depth > NESTING_MAX) refuse(`has more than ${NESTING_MAX} nested groups`);
    const of = [this.#readSequence()];
    while (this.#peek() === '|') {
      this.#at++;
      of.push(this.#readSequence());
    }
    this.#depth--;
    return { kind: 'choice', of };
  }

  #readSequence(): Part {
    const of: Part[] = [];
    for (let next = this.#peek(); next !== undefined && next !== '|' && next !== ')'; ) {
      of.push(this.#readRepeated());
      next = this.#peek();
    }
    return { kind: 'sequence', of };
  }

  #readRepeated(): Part {
    const where = this.#at + 1;
    const atom = this.#readAtom();
    const range = this.#readQuantifier();
    if (range === null) return atom;
    if (atom.kind === 'assert') refuse(`repeats what has no length at ${where}`);
    // Lazy or greedy: whether there is a match is the same.
    if (this.#peek() === '?') this.#at++;
    if (this.#peek() === '+') refuse(`has a possessive quantifier at ${this.#at + 1}`);
    if (/[*+?]/.test(this.#peek() ?? '')) refuse(`repeats a repetition at ${this.#at + 1}`);
    return { kind: 'repeat', of: atom, ...range };
  }

  #readQuantifier(): { readonly min: number; readonly max: number } | null {
    const next = this.#peek();
    if (next === '*' || next === '+' || next === '?') {
      this.#at++;
      return { min: next === '+' ? 1 : 0, max: next === '?' ? 1 : Infinity };
    }
    if (next !== '{') return null;
    const rest = this.#text.slice(this.#at, this.#at + 12).join('');
    const match = /^\{(\d{1,4})(?:(,)(\d{1,4})?)?\}/.exec(rest);
    if (match === null)
      return refuse(`has a "{" that is no repetition at ${this.#at + 1}: write \\{`);
    this.#at += match[0].length;
    const min = Number(match[1]);
    const upper = match[3] === undefined ? Infinity : Number(match[3]);
    const max = match[2] === undefined ? min : upper;
    if (max < min) refuse(`repeats ${min} to ${max} times`);
    return { min, max };
  }

  #readAtom(): Part {
    const char = this.#take();
    switch (char) {
      case '(':
        return this.#readGroup();
      case '[':
        return { kind: 'set', set: this.#readClass() };
      case '.':
        return { kind: 'set', set: anyByte(this.#isDotAll) };
      case '^':
        return { kind: 'assert', assertion: this.#isMultiline ? 'line-begin' : 'begin' };
      case '$':
        return { kind: 'assert', assertion: this.#isMultiline ? 'line-end' : 'end' };
      case '\\':
        return this.#readEscape();
      case '*':
      case '+':
      case '?':
      case '{':
        return refuse(`has nothing to repeat before "${char}" at ${this.#at}`);
      default:
        return this.#literal(char);
    }
  }

  #readGroup(): Part {
    if (this.#peek() === '?') {
      this.#at++;
      const kind = this.#take();
      if (kind === '<' && /[A-Za-z_]/.test(this.#peek() ?? '')) while (this.#take() !== '>');
      else if (kind !== ':')
        refuse(
          `has a group "(?${kind}…" at ${this.#at - 2}: look-around and flags within are not supported`,
        );
    }
    const part = this.#readChoice();
    if (this.#peek() !== ')') refuse('has a "(" without ")"');
    this.#at++;
    return part;
  }

  #readEscape(): Part {
    const char = this.#take();
    if (char === 'b') return { kind: 'assert', assertion: 'word' };
    if (char === 'B') return { kind: 'assert', assertion: 'no-word' };
    if (char === 'A') return { kind: 'assert', assertion: 'begin' };
    if (char === 'z') return { kind: 'assert', assertion: 'end' };
    const set = classEscape(char);
    if (set !== null) return { kind: 'set', set };
    return this.#literal(this.#readCharacterEscape(char));
  }

  /** After the backslash and its letter. */
  #readCharacterEscape(char: string): string | number {
    const control = CONTROLS[char];
    if (control !== undefined) return control;
    if (char === 'x') {
      const digits = this.#take() + this.#take();
      if (!/^[0-9A-Fa-f]{2}$/.test(digits)) refuse(`has "\\x${digits}", which are no two digits`);
      return Number.parseInt(digits, 16);
    }
    if (/[1-9]/.test(char)) refuse(`has a back-reference "\\${char}", which is not supported`);
    if (/[A-Za-z]/.test(char)) refuse(`has an unknown escape "\\${char}"`);
    return char;
  }

  /** A character stands for its bytes in UTF-8, a number for one byte. */
  #literal(char: string | number): Part {
    const bytes = typeof char === 'number' ? [char] : [...new TextEncoder().encode(char)];
    const of = bytes.map((byte): Part => ({ kind: 'set', set: this.#setOf([[byte, byte]]) }));
    return of.length === 1 && of[0] !== undefined ? of[0] : { kind: 'sequence', of };
  }

  #readClass(): Uint8Array {
    const isNegated = this.#peek() === '^';
    if (isNegated) this.#at++;
    const set = new Uint8Array(256);
    for (;;) {
      const char = this.#take();
      if (char === ']') break;
      const low = this.#readClassMember(char, set);
      if (low === null) continue;
      const isRange = this.#peek() === '-' && this.#text[this.#at + 1] !== ']';
      if (isRange) this.#at++;
      const high = isRange ? this.#readClassMember(this.#take(), set) : low;
      if (high === null || high < low) refuse('has a range in [] that ends before it begins');
      add(set, this.#setOf([[low, high]]));
    }
    if (isNegated) for (let i = 0; i < 256; i++) set[i] = set[i] === 1 ? 0 : 1;
    return set;
  }

  /** Null: it was a set of its own, and is added. */
  #readClassMember(char: string, into: Uint8Array): number | null {
    let code: string | number = char;
    if (char === '\\') {
      const letter = this.#take();
      const set = classEscape(letter);
      if (set !== null) {
        add(into, set);
        return null;
      }
      code = letter === 'b' ? 8 : this.#readCharacterEscape(letter);
    }
    if (typeof code === 'number') return code;
    const point = code.codePointAt(0) ?? 0;
    if (point > 127) refuse(`has "${code}" in []: only ASCII is allowed there`);
    return point;
  }

  #setOf(ranges: readonly (readonly [number, number])[]): Uint8Array {
    const set = new Uint8Array(256);
    for (const [low, high] of ranges) set.fill(1, low, high + 1);
    if (!this.#ignoreCase) return set;
    for (let upper = 65; upper <= 90; upper++) {
      const has = set[upper] === 1 || set[upper + 32] === 1;
      if (has) set[upper] = set[upper + 32] = 1;
    }
    return set;
  }
}

const CONTROLS: Readonly<Record<string, number>> = { t: 9, n: 10, v: 11, f: 12, r: 13, '0': 0 };

const add = (into: Uint8Array, set: Uint8Array): void => {
  for (let i = 0; i < 256; i++) if (set[i] === 1) into[i] = 1;
};

function anyByte(isDotAll: boolean): Uint8Array {
  const set = new Uint8Array(256).fill(1);
  if (!isDotAll) set[10] = set[13] = 0;
  return set;
}

export const isWordByte = (byte: number): boolean =>
  (byte >= 48 && byte <= 57) ||
  (byte >= 65 && byte <= 90) ||
  byte === 95 ||
  (byte >= 97 && byte <= 122);

/** `\d \w \s` and their opposites; null: no such class. */
function classEscape(letter: string): Uint8Array | null {
  const set = new Uint8Array(256);
  const kind = letter.toLowerCase();
  if (kind === 'd') set.fill(1, 48, 58);
  else if (kind === 'w') for (let i = 0; i < 256; i++) set[i] = isWordByte(i) ? 1 : 0;
  else if (kind === 's') for (const byte of [9, 10, 11, 12, 13, 32]) set[byte] = 1;
  else return null;
  return kind === letter ? set : set.map((has) => 1 - has);
}

/** From its end to its beginning: every part is built onto what follows it. */
function build(part: Part): Result<Graph, string> {
  const states: State[] = [{ kind: 'match' }];
  const push = (state: State): number => {
    if (states.length >= PATTERN_STATES_MAX)
      refuse(`is too large: its repetitions make more than ${PATTERN_STATES_MAX} states`);
    return states.push(state) - 1;
  };
  let parts = 0;
  const before = (part: Part, out: number): number => {
    // Empty groups make no states, however often they are repeated within each other.
    if (++parts > PARTS_MAX) refuse('is too large');
    switch (part.kind) {
      case 'set':
        return push({ kind: 'byte', set: part.set, out });
      case 'assert':
        return push({ kind: 'assert', assertion: part.assertion, out });
      case 'sequence':
        return part.of.reduceRight((next, each) => before(each, next), out);
      case 'choice':
        return part.of
          .map((each) => before(each, out))
          .reduceRight((second, first) => push({ kind: 'split', first, second }));
      case 'repeat':
        return beforeRepeat(part, out);
    }
  };
  const beforeRepeat = ({ of, min, max }: Part & { kind: 'repeat' }, out: number): number => {
    let next = out;
    if (max === Infinity) {
      const loop: State = { kind: 'split', first: 0, second: out };
      next = push(loop);
      loop.first = before(of, next);
    } else
      for (let i = min; i < max; i++)
        next = push({ kind: 'split', first: before(of, next), second: out });
    for (let i = 0; i < min; i++) next = before(of, next);
    return next;
  };
  const start = before(part, 0);
  return ok({ states, start });
}
