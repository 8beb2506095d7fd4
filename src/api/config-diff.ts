/** What differs between two cluster documents, per path; lists of servers and addresses go by address, not by place. */
import { runSteps } from '../lib/steps.ts';
import type { DocumentChange } from './schemas/responses.ts';

/** `null` before: everything is added. Changes beyond `limit` are not listed. */
export const diffDocuments = (
  before: unknown,
  after: unknown,
  limit = Number.POSITIVE_INFINITY,
): readonly DocumentChange[] => runSteps(diffSteps(before, after, limit));

/** The same in pieces. */
export function* diffSteps(
  before: unknown,
  after: unknown,
  limit: number,
): Generator<undefined, readonly DocumentChange[]> {
  const changes: DocumentChange[] = [];
  yield* compare({ before: before ?? {}, after, path: '', changes, limit });
  return changes;
}

/** Same value, whatever the order of the members of its objects. */
export const equalDocuments = (a: unknown, b: unknown): boolean => runSteps(equalSteps(a, b));

/** The same in pieces. */
export function* equalSteps(a: unknown, b: unknown): Generator<undefined, boolean> {
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return a === b;
  yield;
  if (Array.isArray(a) || Array.isArray(b)) {
    if (!Array.isArray(a) || !Array.isArray(b) || a.length !== b.length) return false;
    for (const [i, one] of a.entries()) if (!(yield* equalSteps(one, b[i]))) return false;
    return true;
  }
  const others = new Map<string, unknown>(Object.entries(b));
  if (Object.keys(a).length !== others.size) return false;
  for (const [name, one] of Object.entries(a))
    if (!others.has(name) || !(yield* equalSteps(one, others.get(name)))) return false;
  return true;
}

type Comparison = {
  readonly before: unknown;
  readonly after: unknown;
  readonly path: string;
  readonly changes: DocumentChange[];
  readonly limit: number;
};

function* compare(comparison: Comparison): Generator<undefined, void> {
  const { before, after, path, changes, limit } = comparison;
  if (changes.length >= limit) return;
  yield;
  const left = membersOf(before);
  const right = membersOf(after);
  if (left === null || right === null || left.isList !== right.isList) {
    if (!(yield* equalSteps(before, after)))
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
    else yield* compare({ before: old, after: next, path: child, changes, limit });
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
