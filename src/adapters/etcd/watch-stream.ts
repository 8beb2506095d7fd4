/**
 * One raw watch stream to one endpoint, with a pulse: every half second it asks for progress, and a
 * stream that stays silent is dead, because a stopped or cut-off member says nothing at all.
 * The library's own watcher is not used: it hides why it was cancelled and reconnects by itself.
 */
import type { IDuplexStream, IWatchRequest, IWatchResponse } from 'etcd3';

import { AsyncQueue } from '../../lib/async.ts';
import { messageOf } from '../../lib/result.ts';
import type { Revision } from '../../model/ids.ts';
import type { Clock } from '../../ports/clock.ts';
import type { StoreError } from '../../ports/cluster-store.ts';
import { createCallProbe } from './call-probe.ts';
import { classifyStatus } from './call-status.ts';
import type { EndpointClient } from './endpoint-client.ts';
import { decodeRevision, prefixRange } from './txn-codec.ts';

export type StreamMessage =
  | { readonly kind: 'created' }
  | { readonly kind: 'events'; readonly response: IWatchResponse }
  /** The start revision is no longer in the store's history. */
  | { readonly kind: 'compacted' }
  | {
      readonly kind: 'failed';
      readonly error: StoreError;
      /** The member has not come to what the store was known to have. */
      readonly isBehind?: true;
    };

/** Where the stream is opened. */
export type StreamClient = Pick<EndpointClient, 'metadata' | 'etcd'>;

export type StreamRequest = {
  readonly prefix: string;
  readonly startRevision: Revision;
  readonly clock: Clock;
  /** Of the store, from other calls: a member that stays behind it is cut off. */
  readonly knownRevision: () => Revision;
  /** Called at every sign of life of the member. */
  readonly noteAnswer: () => void;
  /** Of all streams that follow each other. */
  readonly patience: Patience;
};

/** Between two questions for progress. */
const PULSE_MS = 500;
/** Pulses without a word after which a stream counts as dead; and at most, where links are slow. */
const SILENT_PULSES = 3;
const SILENT_PULSES_LIMIT = 24;
/** Pulses in a row at which the member was behind what others had said a pulse earlier. */
const BEHIND_PULSES = 4;
/** Responses waiting for a slow consumer; beyond, the stream is given up and resumed later. */
const BUFFER_LIMIT = 10_000;

/**
 * For how long a silent stream is waited for. A long message on a slow link is silence until its last byte: a stream
 * that was created and gave nothing would be given up for ever in the middle of it, so the next one gets twice as long.
 */
export class Patience {
  #pulses = SILENT_PULSES;

  get pulses(): number {
    return this.#pulses;
  }

  heard(): void {
    this.#pulses = SILENT_PULSES;
  }

  starved(): void {
    this.#pulses = Math.min(2 * this.#pulses, SILENT_PULSES_LIMIT);
  }
}

/** Opens on construction; `close` ends it at once. The last message is `compacted` or `failed`. */
export class WatchStream {
  readonly messages = new AsyncQueue<StreamMessage>(BUFFER_LIMIT + 1);
  readonly #request: StreamRequest;
  readonly #probe: ReturnType<typeof createCallProbe>;
  #stream: IDuplexStream<IWatchRequest, IWatchResponse> | null = null;
  #cancelPulse: () => void = () => {};
  #isEnded = false;
  #isCreated = false;
  /** Something came after the creation. */
  #isHeard = false;
  #silentPulses = 0;
  #behindPulses = 0;
  #buffered = 0;
  #knownAtPulse: number;
  readonly #patience: number;

  constructor(client: StreamClient, request: StreamRequest) {
    this.#request = request;
    this.#knownAtPulse = 0;
    this.#patience = request.patience.pulses;
    // With `hasleader` a member without quorum ends the stream after three election timeouts.
    this.#probe = createCallProbe({ ...client.metadata(), hasleader: 'true' });
    this.#schedulePulse();
    const etcd = client.etcd();
    if (etcd === null) {
      this.#fail(unavailable('the store is closed'));
      return;
    }
    etcd.watchClient.watch({ interceptors: [this.#probe.interceptor] }).then(
      (stream) => this.#attach(stream),
      (error: unknown) => this.#fail(unavailable(messageOf(error))),
    );
  }

  /** The consumer took one `events` message. */
  taken(): void {
    this.#buffered--;
  }

  close(): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#cancelPulse();
    this.#stream?.cancel();
    this.messages.end();
  }

  #attach(stream: IDuplexStream<IWatchRequest, IWatchResponse>): void {
    // Attached even after the end: an 'error' without a listener would end the process.
    stream.on('error', (error) => {
      const failure = this.#probe.failure();
      this.#fail(failure ? classifyStatus(failure).error : unavailable(messageOf(error)));
    });
    stream.on('end', () => this.#fail(unavailable('the watch stream ended')));
    stream.on('data', (response) => this.#receive(response));
    this.#stream = stream;
    if (this.#isEnded) return stream.cancel();
    const { prefix, startRevision } = this.#request;
    stream.write({
      create_request: { ...prefixRange(prefix), start_revision: startRevision },
    });
  }

  #receive(response: IWatchResponse): void {
    if (this.#isEnded) return;
    this.#silentPulses = 0;
    this.#request.noteAnswer();
    if (response.canceled) return this.#cancelled(response);
    if (response.created) {
      this.#isCreated = true;
      this.messages.push({ kind: 'created' });
      return;
    }
    this.#isHeard = true;
    this.#request.patience.heard();
    if (response.events.length === 0) return this.#judgeProgress(decodeRevision(response.header));
    if (++this.#buffered > BUFFER_LIMIT)
      return this.#fail(unavailable('the consumer of the watch is too slow'));
    this.messages.push({ kind: 'events', response });
  }

  #cancelled(response: IWatchResponse): void {
    if (Number(response.compact_revision) > 0) {
      this.#finish({ kind: 'compacted' });
      return;
    }
    const reason = response.cancel_reason || 'no reason given';
    const isDenied = /permission denied|auth|user name is empty/.test(reason);
    this.#fail({
      code: isDenied ? 'denied' : 'unavailable',
      message: `watch cancelled: ${reason}`,
      isRetryable: true,
    });
  }

  /** Only a sign of life and of age: before 3.4.25 and 3.5.8 progress may run ahead of the events. */
  #judgeProgress(memberRevision: Revision): void {
    this.#behindPulses = memberRevision < this.#knownAtPulse ? this.#behindPulses + 1 : 0;
    if (this.#behindPulses >= BEHIND_PULSES)
      this.#finish({
        kind: 'failed',
        error: unavailable('the member is behind the store'),
        isBehind: true,
      });
  }

  #schedulePulse(): void {
    this.#cancelPulse = this.#request.clock.schedule(PULSE_MS, () => {
      if (this.#isEnded) return;
      // Counted in pulses, not in time: a pause of this process is not the member's silence.
      if (++this.#silentPulses > this.#patience) return this.#giveUp();
      this.#knownAtPulse = this.#request.knownRevision();
      if (this.#isCreated) this.#stream?.write({ progress_request: {} });
      this.#schedulePulse();
    });
  }

  #giveUp(): void {
    if (this.#isCreated && !this.#isHeard) this.#request.patience.starved();
    const message = `the watch was silent for ${this.#patience * PULSE_MS} ms`;
    this.#fail({ code: 'deadline', message, isRetryable: true });
  }

  #fail(error: StoreError): void {
    this.#finish({ kind: 'failed', error });
  }

  #finish(message: StreamMessage): void {
    if (this.#isEnded) return;
    this.messages.push(message);
    this.close();
  }
}

function unavailable(message: string): StoreError {
  return { code: 'unavailable', message, isRetryable: true };
}
