/** Cluster documents for the tests of config. */
import { expect, it } from 'vitest';
import { parseClusterDocument } from '../../../src/config/cluster-document.ts';
import type { Problem } from '../../../src/config/problem.ts';

/** The smallest useful document; a fresh copy at each call, to be changed freely. */
export const minimal = () => ({
  apiVersion: 'leasehold/v1',
  directors: { d1: { address: '10.90.0.11' }, d2: { address: '10.90.0.12' } },
  groups: { web: { addresses: ['10.90.0.100/24'], interface: 'public' } },
  services: {
    http: {
      group: 'web',
      address: '10.90.0.100',
      port: 80,
      realServers: [{ address: '10.90.0.21' }, { address: '10.90.0.22' }],
    },
  },
});

/** A copy of the minimal document with a value put at a path; `undefined` removes the key. */
export function withValue(path: readonly (string | number)[], value: unknown): unknown {
  const document: unknown = minimal();
  let place = document as Record<string | number, unknown>;
  for (const key of path.slice(0, -1)) {
    place[key] ??= {};
    place = place[key] as Record<string | number, unknown>;
  }
  const last = path.at(-1) ?? '';
  if (value === undefined) delete place[last];
  else place[last] = value;
  return document;
}

/** The problems of a document; none where it is accepted. */
export function problemsOf(document: unknown): readonly Problem[] {
  const parsed = parseClusterDocument(document);
  return parsed.ok ? [] : parsed.error;
}

/** One bad document: the minimal one with `value` put at a path. */
export type BadCase = readonly [
  title: string,
  at: readonly (string | number)[],
  value: unknown,
  path: string,
  message: RegExp,
];

/** Each case must give exactly one problem, at its path, in its words, with a remedy. */
export function itFindsEach(cases: readonly BadCase[]): void {
  it.each(cases)('%s is one problem at its path', (_title, where, value, path, message) => {
    const problems = problemsOf(withValue(where, value));
    expect(problems.map((problem) => problem.path)).toEqual([path]);
    expect(problems[0]?.message).toMatch(message);
    expect(problems[0]?.allowed).not.toBe('');
  });
}
