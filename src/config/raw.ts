/**
 * A careful view of a document whose shape may be wrong: rules read what is usable and skip the
 * rest, because `shape.ts` has reported it. So all problems are found in one go.
 */
import { type IpAddress, parseIp } from '../model/address.ts';
import { parseDuration } from './durations.ts';
import { joinPath } from './problem.ts';

/** A place in the document: its path and what stands there (undefined: nothing). */
export type Raw = { readonly path: string; readonly value: unknown };

/** Makes its path when it is asked for: ten thousand real servers have few problems. */
class Below implements Raw {
  readonly #parent: Raw;
  readonly #key: string | number;
  readonly value: unknown;

  constructor(parent: Raw, key: string | number, value: unknown) {
    this.#parent = parent;
    this.#key = key;
    this.value = value;
  }

  get path(): string {
    return joinPath(this.#parent.path, this.#key);
  }
}

/** The place below a key. */
export function at(raw: Raw, key: string): Raw {
  const value = isMap(raw.value) && Object.hasOwn(raw.value, key) ? raw.value[key] : undefined;
  return new Below(raw, key, value);
}

/** The entries of a map; none where it is no map. */
export function entriesOf(raw: Raw): readonly (readonly [string, Raw])[] {
  return isMap(raw.value) ? Object.keys(raw.value).map((key) => [key, at(raw, key)] as const) : [];
}

/** The entries of a list; none where it is no list. */
export function itemsOf(raw: Raw): readonly Raw[] {
  if (!Array.isArray(raw.value)) return [];
  return raw.value.map((value: unknown, index) => new Below(raw, index, value));
}

export const textOf = (raw: Raw): string | null =>
  typeof raw.value === 'string' ? raw.value : null;

export const numberOf = (raw: Raw): number | null =>
  typeof raw.value === 'number' ? raw.value : null;

/** Milliseconds, or null where nothing usable stands. */
export function durationOf(raw: Raw): number | null {
  const parsed = parseDuration(textOf(raw) ?? '');
  return parsed.ok ? parsed.value : null;
}

/** The address, or null where nothing usable stands. */
export function addressOf(raw: Raw): IpAddress | null {
  const parsed = parseIp(textOf(raw) ?? '');
  return parsed.ok ? parsed.value : null;
}

/** Neither a list nor a scalar. */
export function isMap(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
