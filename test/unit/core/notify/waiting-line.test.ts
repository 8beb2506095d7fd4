import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { NotifyState } from '../../../../src/core/notify/transitions.ts';
import {
  finish,
  IDLE_LINE,
  join,
  keepNewest,
  startNext,
  WAITING_MAX,
  type WaitingLine,
} from '../../../../src/core/notify/waiting-line.ts';
import { type Epoch, epochOf, revision } from '../../../../src/model/ids.ts';

type Told = { readonly state: NotifyState; readonly epoch: Epoch; readonly n: number };
const told = (state: NotifyState, n: number): Told => ({ state, epoch: epochOf(revision(n)), n });

describe('a waiting line', () => {
  test('keeps the order while programs keep up', () => {
    fc.assert(
      fc.property(fc.array(fc.boolean(), { maxLength: 60 }), (steps) => {
        let line: WaitingLine<Told> = IDLE_LINE;
        const ran: number[] = [];
        let joined = 0;
        for (const isJoin of steps) {
          if (isJoin && line.waiting.length < WAITING_MAX)
            line = join(line, told(joined % 2 ? 'BACKUP' : 'MASTER', joined++)).line;
          else line = finish(line);
          line = startNext(line);
          if (line.running !== null && ran.at(-1) !== line.running.n) ran.push(line.running.n);
        }
        expect(ran).toEqual(Array.from({ length: ran.length }, (_, n) => n));
      }),
    );
  });

  test('never grows without bound, and what is told last is told or runs already', () => {
    const entry = fc.tuple(
      fc.constantFrom<NotifyState>('MASTER', 'BACKUP', 'FAULT'),
      fc.integer({ min: 1, max: 5 }),
    );
    fc.assert(
      fc.property(fc.array(entry, { minLength: 1, maxLength: 60 }), (entries) => {
        let line: WaitingLine<Told> = { running: told('FAULT', 0), waiting: [] };
        let dropped = 0;
        for (const [state, n] of entries) {
          const joined = join(line, told(state, n));
          line = joined.line;
          dropped += joined.dropped;
          expect(line.waiting.length).toBeLessThanOrEqual(WAITING_MAX);
          const newest = line.waiting.at(-1) ?? line.running;
          expect(newest?.state).toBe(state);
        }
        expect(dropped + line.waiting.length).toBe(entries.length);
      }),
    );
  });

  test('behind a hanging program only the newest is kept, unless it is what runs', () => {
    let line: WaitingLine<Told> = { running: told('MASTER', 5), waiting: [] };
    for (let n = 0; n < WAITING_MAX; n++)
      line = join(line, told(n % 2 ? 'MASTER' : 'BACKUP', n)).line;
    expect(join(line, told('FAULT', 9))).toEqual({
      line: { running: told('MASTER', 5), waiting: [told('FAULT', 9)] },
      dropped: WAITING_MAX,
    });
    expect(join(line, told('MASTER', 5))).toMatchObject({
      line: { waiting: [] },
      dropped: WAITING_MAX + 1,
    });
    // Another holding: its epoch is news.
    expect(join(line, told('MASTER', 6)).line.waiting).toEqual([told('MASTER', 6)]);
  });

  test('at the end STOP comes next', () => {
    const line = { running: told('MASTER', 1), waiting: [told('BACKUP', 2), told('FAULT', 3)] };
    expect(keepNewest(line, told('STOP', 3))).toEqual({
      running: told('MASTER', 1),
      waiting: [told('STOP', 3)],
    });
  });

  test('starts nothing beside what runs', () => {
    const line = { running: told('MASTER', 1), waiting: [told('BACKUP', 2)] };
    expect(startNext(line)).toBe(line);
    expect(startNext(finish(line))).toEqual({ running: told('BACKUP', 2), waiting: [] });
  });
});
