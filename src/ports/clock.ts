/** Time as an input. Only `adapters/clock` and the simulator implement it. */
import type { MonoMs } from '../model/ids.ts';

export interface Clock {
  /** Monotonic milliseconds with fractions; the zero is arbitrary. */
  now(): MonoMs;
  /** Wall clock, ISO 8601 with milliseconds. For people; never compared. */
  wallTime(): string;
  /** Milliseconds since 1970 of the wall clock; only for ids that sort by time. */
  wallMs(): number;
  /** Resolves after `ms` (0 or more), or at once when the signal aborts. Never rejects. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** Calls `action` once after `ms`, never before; the returned function cancels. */
  schedule(ms: number, action: () => void): () => void;
}
