/** JSON of any size in pieces: `JSON.parse` of megabytes stops everything else. */

/** Characters that are parsed, or looked through, in one go: about a millisecond. */
const PIECE_CHARS = 65_536;

/** What is nested deeper is parsed in one go: each depth looks through its text once more. */
const DEPTH_MAX = 6;

/** As `JSON.parse(text)`, and throws where that would; the words may be others. */
export function* parseJsonSteps(text: string): Generator<undefined, unknown> {
  const start = skipSpace(text, 0, text.length);
  return yield* parseValue(text, { start, end: trimSpace(text, start, text.length) }, DEPTH_MAX);
}

/** From the first character to the one after the last. */
type Span = { readonly start: number; readonly end: number };

function* parseValue(
  text: string,
  { start, end }: Span,
  depth: number,
): Generator<undefined, unknown> {
  const first = text[start];
  const isNested = first === '[' || first === '{';
  if (depth === 0 || !isNested || !isLong({ start, end })) {
    yield;
    return JSON.parse(text.slice(start, end));
  }
  const entries = yield* splitEntries(text, { start, end });
  return first === '['
    ? yield* parseList(text, entries, depth - 1)
    : yield* parseObject(text, entries, depth - 1);
}

function* parseList(
  text: string,
  entries: readonly Span[],
  depth: number,
): Generator<undefined, unknown[]> {
  const list: unknown[] = [];
  for (const run of runsOf(entries)) {
    if (isLong(run)) list.push(yield* parseValue(text, run, depth));
    else for (const value of parseArray(text, run)) list.push(value);
    yield;
  }
  return list;
}

function parseArray(text: string, { start, end }: Span): readonly unknown[] {
  const values: unknown = JSON.parse(`[${text.slice(start, end)}]`);
  return Array.isArray(values) ? values : [];
}

function* parseObject(
  text: string,
  entries: readonly Span[],
  depth: number,
): Generator<undefined, object> {
  const members: Record<string, unknown> = {};
  for (const run of runsOf(entries)) {
    if (isLong(run)) {
      const { name, value } = splitMember(text, run);
      put(members, name, yield* parseValue(text, value, depth));
    } else {
      const some: Readonly<Record<string, unknown>> = JSON.parse(
        `{${text.slice(run.start, run.end)}}`,
      );
      for (const name of Object.keys(some)) put(members, name, some[name]);
    }
    yield;
  }
  return members;
}

function splitMember(text: string, { start, end }: Span): { name: string; value: Span } {
  const nameEnd = text[start] === '"' ? endOfText(text, start) : start;
  const colon = skipSpace(text, nameEnd, end);
  if (nameEnd === start || text[colon] !== ':') throw fault(text, colon);
  const [name = ''] = parseArray(text, { start, end: nameEnd });
  return { name: String(name), value: { start: skipSpace(text, colon + 1, end), end } };
}

/** As `JSON.parse` does it: a member of this name is one like any other. */
function put(members: Record<string, unknown>, name: string, value: unknown): void {
  if (name !== '__proto__') members[name] = value;
  else
    Object.defineProperty(members, name, {
      value,
      configurable: true,
      enumerable: true,
      writable: true,
    });
}

const isLong = ({ start, end }: Span): boolean => end - start > PIECE_CHARS;

/** Neighbours that are short together are one. */
function* runsOf(entries: readonly Span[]): Generator<Span> {
  let run: Span | null = null;
  for (const entry of entries) {
    if (run !== null && entry.end - run.start <= PIECE_CHARS) {
      run = { start: run.start, end: entry.end };
      continue;
    }
    if (run !== null) yield run;
    run = entry;
  }
  if (run !== null) yield run;
}

/** The values of a list, or the members of an object, without what is around them: none is empty. */
function* splitEntries(text: string, { start, end }: Span): Generator<undefined, readonly Span[]> {
  const entries: Span[] = [];
  let from = start + 1;
  let depth = 0;
  let restAt = start + PIECE_CHARS;
  for (let i = start; i < end; i++) {
    const char = text.charCodeAt(i);
    if (char === QUOTE) i = endOfText(text, i) - 1;
    else if (char === OPEN_LIST || char === OPEN_OBJECT) depth++;
    else if (char === CLOSE_LIST || char === CLOSE_OBJECT) {
      depth--;
      if (depth === 0 && i !== end - 1) throw fault(text, i + 1);
    } else if (char === COMMA && depth === 1) {
      entries.push(entryOf(text, from, i));
      from = i + 1;
    }
    if (i >= restAt) {
      restAt = i + PIECE_CHARS;
      yield;
    }
  }
  if (depth !== 0 || text[end - 1] !== (text[start] === '[' ? ']' : '}')) throw fault(text, end);
  entries.push(entryOf(text, from, end - 1));
  return entries;
}

function entryOf(text: string, from: number, to: number): Span {
  const start = skipSpace(text, from, to);
  if (start === to) throw fault(text, to);
  return { start, end: trimSpace(text, start, to) };
}

/** After the closing quote of the text that begins there. */
function endOfText(text: string, start: number): number {
  for (let end = start; ; ) {
    end = text.indexOf('"', end + 1);
    if (end < 0) throw fault(text, text.length);
    let escapes = 0;
    while (text[end - 1 - escapes] === '\\') escapes++;
    if (escapes % 2 === 0) return end + 1;
  }
}

const fault = (text: string, at: number): SyntaxError =>
  new SyntaxError(
    at >= text.length
      ? 'Unexpected end of JSON input'
      : `Unexpected token ${text[at]} in JSON at position ${at}`,
  );

const QUOTE = 34;
const COMMA = 44;
const OPEN_LIST = 91;
const CLOSE_LIST = 93;
const OPEN_OBJECT = 123;
const CLOSE_OBJECT = 125;

const isSpace = (char: number): boolean => char === 32 || char === 10 || char === 13 || char === 9;

function skipSpace(text: string, from: number, to: number): number {
  let at = from;
  while (at < to && isSpace(text.charCodeAt(at))) at++;
  return at;
}

function trimSpace(text: string, from: number, to: number): number {
  let end = to;
  while (end > from && isSpace(text.charCodeAt(end - 1))) end--;
  return end;
}
