/**
 * One lease keep-alive stream to one endpoint, shared by all leases: a stream of its own for each beat
 * costs several times the beat. Opened by the first beat; gone with the first error or unanswered beat.
 */
import type { Etcd3, IDuplexStream, ILeaseKeepAliveRequest, ILeaseKeepAliveResponse } from 'etcd3';

import { messageOf } from '../../lib/result.ts';
import type { LeaseId } from '../../model/ids.ts';
import { type CallProbe, createCallProbe } from './call-probe.ts';
import { type CallStatus, StatusError } from './call-status.ts';

type Stream = IDuplexStream<ILeaseKeepAliveRequest, ILeaseKeepAliveResponse>;
type Beat = {
  readonly resolve: (response: ILeaseKeepAliveResponse) => void;
  readonly reject: (error: Error) => void;
};

export class LeaseStream {
  readonly #probe: CallProbe;
  readonly #waiting = new Map<string, Beat[]>();
  /** Written as soon as the stream is there. */
  #unsent: LeaseId[] = [];
  #stream: Stream | null = null;
  #isEnded = false;

  constructor(etcd: Etcd3, metadata: Readonly<Record<string, string>>) {
    this.#probe = createCallProbe(metadata);
    etcd.leaseClient.leaseKeepAlive({ interceptors: [this.#probe.interceptor] }).then(
      (stream) => this.#attach(stream),
      (error: unknown) => this.#fail({ code: 2, details: messageOf(error) }),
    );
  }

  get isEnded(): boolean {
    return this.#isEnded;
  }

  /**
   * Resolves with the member's answer. Rejects with a `StatusError` when the stream fails; an abort ends
   * the stream, because a member that leaves one beat unanswered leaves them all.
   */
  beat(lease: LeaseId, signal: AbortSignal): Promise<ILeaseKeepAliveResponse> {
    return new Promise((resolve, reject) => {
      if (this.#isEnded || signal.aborted) {
        reject(new StatusError({ code: 14, details: 'the lease stream has ended' }));
        return;
      }
      const abort = (): void => this.#fail({ code: 1, details: 'a beat was given up' });
      const settle = (): void => signal.removeEventListener('abort', abort);
      signal.addEventListener('abort', abort);
      const beats = this.#waiting.get(lease) ?? [];
      this.#waiting.set(lease, beats);
      beats.push({
        resolve: (response) => {
          settle();
          resolve(response);
        },
        reject: (error) => {
          settle();
          reject(error);
        },
      });
      if (this.#stream === null) this.#unsent.push(lease);
      else this.#stream.write({ ID: lease });
    });
  }

  close(): void {
    this.#fail({ code: 14, details: 'the connection was closed' });
  }

  #attach(stream: Stream): void {
    // Attached even after the end: an 'error' without a listener would end the process.
    stream.on('error', (error) =>
      this.#fail(this.#probe.failure() ?? { code: 2, details: messageOf(error) }),
    );
    stream.on('end', () => this.#fail({ code: 14, details: 'the lease stream ended' }));
    stream.on('data', (response) => this.#receive(response));
    this.#stream = stream;
    if (this.#isEnded) {
      stream.cancel();
      return;
    }
    for (const lease of this.#unsent) stream.write({ ID: lease });
    this.#unsent = [];
  }

  #receive(response: ILeaseKeepAliveResponse): void {
    const beats = this.#waiting.get(response.ID);
    beats?.shift()?.resolve(response);
    if (beats?.length === 0) this.#waiting.delete(response.ID);
  }

  #fail(status: CallStatus): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#stream?.cancel();
    const error = new StatusError(status);
    for (const beats of this.#waiting.values()) for (const { reject } of beats) reject(error);
    this.#waiting.clear();
  }
}
