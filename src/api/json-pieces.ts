/** JSON of any size piece by piece: `JSON.stringify` of tens of megabytes would stop everything else. */

/** Shorter lists are written in one piece. */
const LONG = 50;

/** Values as JSON has them; what is undefined in an object is left out. */
export function* jsonPieces(value: unknown): Generator<string> {
  if (isLong(value)) {
    yield '[';
    for (const [i, one] of value.entries()) {
      if (i > 0) yield ',';
      yield* jsonPieces(one);
    }
    yield ']';
    return;
  }
  if (!isRecord(value) || !Object.values(value).some(isLong)) {
    yield JSON.stringify(value) ?? 'null';
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

const isLong = (value: unknown): value is readonly unknown[] =>
  Array.isArray(value) && value.length > LONG;

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
