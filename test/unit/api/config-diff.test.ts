import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { diffDocuments, equalDocuments } from '../../../src/api/config-diff.ts';

describe('diff of cluster documents', () => {
  it('follows a real server by its address, not by its place', () => {
    const list = (...realServers: object[]) => ({ services: { web: { realServers } } });
    const a = { address: '10.0.0.1', weight: 1 };
    const b = { address: 'fd00::2', port: 80, weight: 1 };
    expect(diffDocuments(list(a, b), list({ ...b, weight: 5 }, a))).toEqual([
      {
        op: 'changed',
        path: 'services.web.realServers[[fd00::2]:80].weight',
        before: 1,
        after: 5,
      },
    ]);
    expect(diffDocuments(list(a), list(a, b))).toMatchObject([
      { op: 'added', path: 'services.web.realServers[[fd00::2]:80]' },
    ]);
  });

  it('shows everything as added where nothing was', () => {
    expect(diffDocuments(undefined, { a: 1, b: [2] })).toEqual([
      { op: 'added', path: 'a', after: 1 },
      { op: 'added', path: 'b', after: [2] },
    ]);
  });

  it('falls back to places where names repeat', () => {
    const before = [
      { address: 'x', weight: 1 },
      { address: 'x', weight: 2 },
    ];
    const after = [
      { address: 'x', weight: 1 },
      { address: 'x', weight: 3 },
    ];
    expect(diffDocuments({ l: before }, { l: after })).toMatchObject([{ path: 'l[1].weight' }]);
  });

  it('stops at the limit', () => {
    expect(diffDocuments({}, { a: 1, b: 2, c: 3 }, 2)).toHaveLength(2);
  });

  it('is empty exactly for equal objects without lists', () => {
    const tree = fc.letrec((tie) => ({
      tree: fc.dictionary(
        fc.constantFrom('a', 'b', 'c'),
        fc.oneof(fc.integer({ max: 2, min: 0 }), tie('tree')),
        {
          maxKeys: 3,
        },
      ),
    })).tree as fc.Arbitrary<object>;
    fc.assert(
      fc.property(tree, tree, (a, b) => {
        expect(diffDocuments(a, b).length === 0).toBe(equalDocuments(a, b));
        expect(diffDocuments(a, a)).toEqual([]);
      }),
    );
  });
});
