/** The heap of due times against a sorted array. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { TimeHeap } from '../../../../src/adapters/probes/time-heap.ts';

test('gives what was put in by time, whatever the order of puts and takes', () => {
  const step = fc.oneof(fc.constant('pop' as const), fc.integer({ min: 0, max: 50 }));
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const heap = new TimeHeap<{ readonly at: number }>();
      let model: number[] = [];
      for (const each of steps) {
        if (each === 'pop') {
          expect(heap.pop()?.at).toBe(model[0]);
          model = model.slice(1);
        } else {
          heap.push({ at: each });
          model = [...model, each].toSorted((a, b) => a - b);
        }
        expect(heap.size).toBe(model.length);
        expect(heap.peek()?.at).toBe(model[0]);
      }
    }),
  );
});

test('is empty after a clear', () => {
  const heap = new TimeHeap<{ readonly at: number }>();
  heap.push({ at: 2 });
  heap.push({ at: 1 });
  heap.clear();
  expect(heap.size).toBe(0);
  expect(heap.peek()).toBeUndefined();
  expect(heap.pop()).toBeUndefined();
});
