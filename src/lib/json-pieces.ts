/** JSON of any size piece by piece: `JSON.stringify` of tens of megabytes would stop everything else. */

/** Shorter lists and objects are written in one piece. */
const LONG = 50;

/** Values as JSON has them; what is undefined in an object is left out. */
export function* jsonPieces(value: unknown): Generator<string> {
  if (!holdsLong(value)) {
    yield JSON.stringify(value) ?? 'null';
    return;
  }
  if (Array.isArray(value)) {
    yield '[';
    for (const [i, one] of value.entries()) {
      if (i > 0) yield ',';
      yield* jsonPieces(one);
    }
    yield ']';
    return;
  }
  let isFirst = true;
  yield '{';
  for (const [key, one] of Object.entries(value)) {
    if (one === undefined) continue;
    yield `${isFirst ? '' : ','}${JSON.stringify(key)}:`;
    isFirst = false;
    yield* jsonPieces(one);
  }
  yield '}';
}

/** Itself, or at any depth: few services may have thousands of real servers. */
function holdsLong(value: unknown): value is object {
  if (typeof value !== 'object' || value === null) return false;
  const entries: readonly unknown[] = Array.isArray(value) ? value : Object.values(value);
  return entries.length > LONG || entries.some(holdsLong);
}
