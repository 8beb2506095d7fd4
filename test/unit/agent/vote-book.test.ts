import { describe, expect, it } from 'vitest';
import { createVoteBook } from '../../../src/agent/vote-book.ts';
import { checkId } from '../../../src/model/ids.ts';

const C1 = checkId('c1');
const C2 = checkId('c2');
const votes = (text: string) => text.split('').map((letter) => ({ isUp: letter === 'u' }));
const both = new Map([
  [C1, false],
  [C2, true],
]);

describe('vote book', () => {
  it('starts with the initial status of every check, which is no change', () => {
    const book = createVoteBook();
    expect(book.update(new Map(), both, 1)).toEqual([]);
    expect(book.statuses().get(C1)).toMatchObject({ isUp: true, basis: 'initial' });
    expect(book.statuses().get(C2)).toMatchObject({ isUp: false, basis: 'initial' });
  });

  it('reports each change of verdict once', () => {
    const book = createVoteBook();
    book.update(new Map(), both, 1);
    const down = new Map([[C1, votes('d')]]);
    expect(book.update(down, both, 1)).toMatchObject([
      { check: C1, previous: { isUp: true }, current: { isUp: false, basis: 'majority' } },
    ]);
    expect(book.update(down, both, 1)).toEqual([]);
    expect(book.update(new Map([[C1, votes('dd')]]), both, 1)).toEqual([]);
    expect(book.statuses().get(C1)).toMatchObject({ votesDown: 2 });
  });

  it('reports a majority on a check it had never seen, with nothing before it', () => {
    const changes = createVoteBook().update(new Map([[C1, votes('u')]]), both, 1);
    expect(changes).toMatchObject([{ check: C1, previous: null, current: { isUp: true } }]);
  });

  it('reports the first majority also where it confirms what was assumed', () => {
    const book = createVoteBook();
    book.update(new Map(), both, 1);
    const up = new Map([[C1, votes('u')]]);
    expect(book.update(up, both, 1)).toMatchObject([
      { previous: { isUp: true, basis: 'initial' }, current: { isUp: true, basis: 'majority' } },
    ]);
    expect(book.update(up, both, 1)).toEqual([]);
  });

  it('reports that a verdict stands by the word of this director alone, and that it does no more', () => {
    const book = createVoteBook();
    const up = new Map([[C1, votes('uu')]]);
    book.update(up, both, 2);
    book.judgeAlone(new Map([[C1, true]]));
    expect(book.update(up, both, 2)).toMatchObject([{ current: { isUp: true, basis: 'alone' } }]);
    expect(book.update(up, both, 2)).toEqual([]);
    book.judgeAlone(new Map());
    expect(book.update(up, both, 2)).toMatchObject([
      { current: { isUp: true, basis: 'majority' } },
    ]);
  });

  it('keeps what was known through ties and silence', () => {
    const book = createVoteBook();
    book.update(new Map([[C1, votes('d')]]), both, 1);
    for (const text of ['ud', '']) {
      expect(book.update(new Map([[C1, votes(text)]]), both, 1)).toEqual([]);
      expect(book.statuses().get(C1)).toMatchObject({ isUp: false, basis: 'kept' });
    }
  });

  it('forgets checks that no longer exist and ignores votes on them', () => {
    const book = createVoteBook();
    book.update(new Map([[C1, votes('d')]]), both, 1);
    const onlyC2 = new Map([[C2, true]]);
    expect(book.update(new Map([[C1, votes('d')]]), onlyC2, 1)).toEqual([]);
    expect([...book.statuses().keys()]).toEqual([C2]);
    book.update(new Map(), both, 1);
    expect(book.statuses().get(C1)).toMatchObject({ isUp: true, basis: 'initial' });
  });

  it('keeps the same map until something changes, and follows a change of alpha', () => {
    const book = createVoteBook();
    book.update(new Map(), both, 1);
    const before = book.statuses();
    book.update(new Map(), new Map(both), 1);
    expect(book.statuses()).toBe(before);
    book.update(new Map(), new Map([...both, [C1, true]]), 1);
    expect(book.statuses()).not.toBe(before);
    expect(book.statuses().get(C1)).toMatchObject({ isUp: false });
  });
});
