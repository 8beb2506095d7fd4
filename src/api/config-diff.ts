/** What differs between two cluster documents, per path; lists of servers and addresses go by address, not by place. */
import type { DocumentChange } from './schemas/responses.ts';

/** `null` before: everything is added. Changes beyond `limit` are not listed. */
export function diffDocuments(
  before: unknown,
  after: unknown,
  limit = Number.POSITIVE_INFINITY,
): readonly DocumentChange[] {
  const changes: DocumentChange[] = [];
  compare({ before: before ?? {}, after, path: '', changes, limit });
  return changes;
}

/** Same value, whatever the order of the members of its objects. */
export const equalDocuments = (a: unknown, b: unknown): boolean => canonical(a) === canonical(b);

type Comparison = {
  readonly before: unknown;
  readonly after: unknown;
  readonly path: string;
  readonly changes: DocumentChange[];
  readonly limit: number;
};

function compare(comparison: Comparison): void {
  const { before, after, path, changes, limit } = comparison;
  if (changes.length >= limit) return;
  const left = membersOf(before);
  const right = membersOf(after);
  if (left === null || right === null || left.isList !== right.isList) {
    if (!equalDocuments(before, after))
      changes.push({ op: 'changed', path: path === '' ? '(document)' : path, before, after });
    return;
  }
  for (const name of new Set([...left.members.keys(), ...right.members.keys()])) {
    if (changes.length >= limit) return;
    const child = joinPath(path, name, right.isList);
    const isBefore = left.members.has(name);
    const isAfter = right.members.has(name);
    const old = left.members.get(name);
    const next = right.members.get(name);
    if (!isBefore) changes.push({ op: 'added', path: child, after: next });
    else if (!isAfter) changes.push({ op: 'removed', path: child, before: old });
    else compare({ before: old, after: next, path: child, changes, limit });
  }
}

type Members = { readonly members: ReadonlyMap<string, unknown>; readonly isList: boolean };

function membersOf(value: unknown): Members | null {
  if (Array.isArray(value)) {
    const named = new Map<string, unknown>(value.map((item) => [nameOf(item), item]));
    if (named.size === value.length && !named.has('')) return { members: named, isList: true };
    return { members: new Map(value.map((item, i) => [String(i), item])), isList: true };
  }
  if (typeof value !== 'object' || value === null) return null;
  return { members: new Map(Object.entries(value)), isList: false };
}

function nameOf(item: unknown): string {
  if (typeof item === 'string' || typeof item === 'number') return String(item);
  if (typeof item !== 'object' || item === null || !('address' in item)) return '';
  const address = String(item.address);
  if (!('port' in item)) return address;
  return `${address.includes(':') ? `[${address}]` : address}:${String(item.port)}`;
}

function joinPath(path: string, name: string, isList: boolean): string {
  if (isList) return `${path}[${name}]`;
  return path === '' ? name : `${path}.${name}`;
}

function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, item: unknown) =>
    typeof item === 'object' && item !== null && !Array.isArray(item)
      ? Object.fromEntries(Object.entries(item).toSorted(([a], [b]) => (a < b ? -1 : 1)))
      : item,
  );
}
