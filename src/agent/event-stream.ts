/** Hands every new event to those who watch. */
import { AsyncQueue } from '../lib/async.ts';
import type { EventRecord } from '../model/records.ts';
import type { Stored } from '../ports/agent-view.ts';

export type EventStream = {
  push(events: readonly Stored<EventRecord>[]): void;
  /** Subscribed at the call, not at the first read: a reader that resumes misses nothing between. */
  watch(signal: AbortSignal): AsyncIterable<Stored<EventRecord>>;
};

/** Events waiting for a slow reader; beyond it the oldest are dropped. */
const WAITING_LIMIT = 1000;

export function createEventStream(): EventStream {
  const readers = new Set<AsyncQueue<Stored<EventRecord>>>();
  return {
    push: (events) => {
      for (const event of events) for (const queue of readers) queue.push(event);
    },
    watch: (signal) => {
      const queue = new AsyncQueue<Stored<EventRecord>>(WAITING_LIMIT);
      const end = (): void => {
        queue.end();
        readers.delete(queue);
      };
      readers.add(queue);
      signal.addEventListener('abort', end, { once: true });
      if (signal.aborted) end();
      return queue;
    },
  };
}
