/** Programs and named pipes of the operator's that are told of transitions. What and when is decided in `core/notify`. */

export type NotifyJob = {
  /** Program and arguments; no shell. */
  readonly command: readonly string[];
  /** Beside PATH and what belongs to the user; nothing of the agent's own environment is passed on. */
  readonly environment: Readonly<Record<string, string>>;
  /** `name` or `name:group`; null: the agent's own. */
  readonly user: string | null;
  readonly timeoutMs: number;
};

export type NotifyResult =
  | { readonly kind: 'ok' }
  /** `output`: what it wrote, at most 4 KiB. */
  | { readonly kind: 'failed'; readonly message: string; readonly output: string }
  | { readonly kind: 'timed-out' };

export type FifoWrite = {
  readonly path: string;
  readonly line: string;
  /** Owner of a pipe that is made for it; null: the agent's own. */
  readonly user: string | null;
};

export type FifoResult =
  | { readonly kind: 'written' }
  /** Nobody reads: no error. */
  | { readonly kind: 'no-reader' }
  | { readonly kind: 'failed'; readonly message: string };

/** Never rejects, and never holds up the calling thread. */
export interface Notifier {
  /**
   * One program from start to end; after its timeout, or when the signal aborts, its process group is
   * killed. Jobs run beside each other: whoever wants an order waits.
   */
  run(job: NotifyJob, signal: AbortSignal): Promise<NotifyResult>;
  /** Makes the pipe where it is missing. Lines of one pipe arrive in the order of the calls. */
  writeFifo(write: FifoWrite): Promise<FifoResult>;
  /** Kills what runs. Idempotent. */
  close(): Promise<void>;
}
