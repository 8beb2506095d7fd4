/**
 * An endless watch of one prefix: a listing, then changes in order of revision, resumed after the last
 * one delivered at whatever endpoint answers, listed anew only where the history is gone.
 */
import type { IEvent, IWatchResponse } from 'etcd3';

import { assert } from '../../lib/assert.ts';
import { type Revision, revision } from '../../model/ids.ts';
import type {
  ClusterStore,
  StoreChange,
  StoreError,
  WatchEvent,
} from '../../ports/cluster-store.ts';
import { Backoff } from './backoff.ts';
import type { EtcdOptions, EtcdPorts } from './endpoint-client.ts';
import { EndpointRing } from './endpoint-ring.ts';
import { Patience, WatchStream } from './watch-stream.ts';

export type WatchSource = {
  readonly options: EtcdOptions;
  readonly ports: EtcdPorts;
  readonly list: ClusterStore['list'];
  readonly knownRevision: () => Revision;
  readonly noteRevision: (seen: Revision) => void;
  /** The store gave a sign of life: a director that only listens is connected too. */
  readonly noteAnswer: () => void;
};

const LIST_DEADLINE_MS = 3000;
const AUTHENTICATE_DEADLINE_MS = 3000;
const BACKOFF_FIRST_MS = 50;
const BACKOFF_LIMIT_MS = 2000;
/** Streams that ended because of a member behind the store, and gave nothing, until the store itself is asked: 10 s. */
const BEHIND_STREAMS = 5;

/** Its connections are its own: a large listing on a shared one can starve a watch. */
export async function* watchPrefix(
  prefix: string,
  signal: AbortSignal,
  source: WatchSource,
): AsyncGenerator<WatchEvent, void, void> {
  const { clock, random } = source.ports;
  const ring = new EndpointRing(source.options, source.ports);
  const backoff = new Backoff(BACKOFF_FIRST_MS, BACKOFF_LIMIT_MS, random);
  const patience = new Patience();
  const progress: Progress = { delivered: null, isInterrupted: false, behind: 0 };
  try {
    while (!signal.aborted) {
      const failure = yield* watchOnce(prefix, progress, {
        ring,
        signal,
        source,
        backoff,
        patience,
      });
      if (signal.aborted) return;
      if (!progress.isInterrupted) yield { kind: 'interrupted', error: failure ?? COMPACTED };
      progress.isInterrupted = true;
      if (failure !== null) await clock.sleep(backoff.nextMs(), signal);
    }
  } finally {
    ring.close();
  }
}

type Progress = {
  /** Null: list first. */
  delivered: Revision | null;
  /** The consumer was told; once a loss is enough. */
  isInterrupted: boolean;
  /** Streams since the last change that ended because of a member behind the store. */
  behind: number;
};

type Context = {
  readonly ring: EndpointRing;
  readonly signal: AbortSignal;
  readonly source: WatchSource;
  readonly backoff: Backoff;
  readonly patience: Patience;
};

/** A listing where one is due, then one stream's life. Null: the history was compacted. */
async function* watchOnce(
  prefix: string,
  progress: Progress,
  context: Context,
): AsyncGenerator<WatchEvent, StoreError | null, void> {
  const { signal, source } = context;
  if (progress.delivered === null) {
    const listed = await source.list(prefix, { deadlineMs: LIST_DEADLINE_MS, signal });
    if (!listed.ok) return listed.error;
    progress.delivered = listed.value.revision;
    yield { kind: 'snapshot', ...listed.value };
  }
  const end = yield* followOnce(prefix, progress.delivered, progress, context);
  if (end.kind === 'failed') {
    if (end.isBehind === true && ++progress.behind >= BEHIND_STREAMS)
      yield* listWhatWentBack(prefix, progress, context);
    return end.error;
  }
  progress.delivered = null;
  return null;
}

/**
 * A store that was restored from a backup, or made anew, has only members that stay behind what it was known to have,
 * and its history from there on is another one. A listing is asked of all of them: where it is older than what was
 * delivered, it is delivered in its place.
 */
async function* listWhatWentBack(
  prefix: string,
  progress: Progress,
  { signal, source }: Context,
): AsyncGenerator<WatchEvent, void, void> {
  progress.behind = 0;
  const listed = await source.list(prefix, { deadlineMs: LIST_DEADLINE_MS, signal });
  if (!listed.ok || listed.value.revision >= (progress.delivered ?? 0)) return;
  progress.delivered = listed.value.revision;
  yield { kind: 'snapshot', ...listed.value };
}

const COMPACTED: StoreError = {
  code: 'unavailable',
  message: 'the history of the store was compacted',
  isRetryable: true,
};

type Changes = Extract<WatchEvent, { kind: 'changes' }>;
type FollowEnd =
  | { readonly kind: 'compacted' }
  | { readonly kind: 'failed'; readonly error: StoreError; readonly isBehind?: true };

/** One stream's life. Whatever the consumer does, the stream is closed at the end. */
async function* followOnce(
  prefix: string,
  from: Revision,
  progress: Progress,
  { ring, signal, source, backoff, patience }: Context,
): AsyncGenerator<Changes, FollowEnd, void> {
  const client = ring.current;
  const denied = await client.authenticate({ deadlineMs: AUTHENTICATE_DEADLINE_MS, signal });
  if (denied !== null) {
    ring.moveOnFrom(client);
    return { kind: 'failed', error: denied.error };
  }
  const stream = new WatchStream(client, {
    prefix,
    startRevision: revision(from + 1),
    clock: source.ports.clock,
    knownRevision: source.knownRevision,
    noteAnswer: source.noteAnswer,
    patience,
  });
  const abort = (): void => stream.close();
  signal.addEventListener('abort', abort);
  try {
    if (signal.aborted) stream.close();
    let delivered = from;
    for await (const message of stream.messages) {
      switch (message.kind) {
        case 'created':
          backoff.reset();
          client.noteStream('alive');
          progress.isInterrupted = false;
          break;
        case 'events':
          stream.taken();
          progress.behind = 0;
          for (const changes of groupByRevision(message.response)) {
            // Some versions repeat events when the start revision lies in the future.
            if (changes.revision <= delivered) continue;
            delivered = changes.revision;
            progress.delivered = delivered;
            source.noteRevision(delivered);
            yield changes;
          }
          break;
        case 'compacted':
          return message;
        case 'failed':
          if (message.error.code === 'denied') client.dropToken();
          ring.moveOnFrom(client);
          client.noteStream(message.error);
          return message;
      }
    }
    return { kind: 'failed', error: ENDED };
  } finally {
    signal.removeEventListener('abort', abort);
    stream.close();
  }
}

const ENDED: StoreError = { code: 'aborted', message: 'the watch ended', isRetryable: false };

/** A response holds whole revisions in order: fragments are not asked for. */
function groupByRevision(response: IWatchResponse): readonly Changes[] {
  const groups: { kind: 'changes'; revision: Revision; changes: StoreChange[] }[] = [];
  for (const event of response.events) {
    const change = decodeChange(event);
    const last = groups.at(-1);
    if (last?.revision === change.modRevision) last.changes.push(change);
    else groups.push({ kind: 'changes', revision: change.modRevision, changes: [change] });
    assert(
      last === undefined || last.revision <= change.modRevision,
      'etcd sends events in order of revision',
    );
  }
  return groups;
}

function decodeChange({ type, kv }: IEvent): StoreChange {
  return {
    key: kv.key.toString(),
    value: type === 'Delete' ? null : kv.value.toString(),
    modRevision: revision(Number(kv.mod_revision)),
  };
}
