/** A question and its answer over UDP. The socket is connected, so that ICMP errors of the target arrive. */
import type { Socket } from 'node:dgram';
import { messageOf } from '../../lib/result.ts';
import type { ProbeReason } from '../../model/check.ts';
import { down, failureOutcome } from './failure-words.ts';
import type { Outcome, RunningProbe } from './probe.ts';
import type { ProbePlace, ProbeSockets } from './probe-sockets.ts';

export type DatagramTalk = {
  readonly send: Uint8Array;
  /** Null: it is not the answer, wait on. */
  readonly judge: (bytes: Uint8Array) => Outcome | null;
  /** What it means that no answer came; by default that it is down. */
  readonly silence?: (timeoutMs: number) => Outcome;
};

/** Calls `done` once, not before it has returned, unless ended before. */
export function startDatagram(
  place: ProbePlace,
  timeoutMs: number,
  talk: DatagramTalk,
  sockets: ProbeSockets,
  done: (outcome: Outcome) => void,
): RunningProbe {
  let socket: Socket | null = null;
  let isOver = false;
  let hasSent = false;
  /** The last thing heard that was no answer. */
  let strange: { readonly reason: ProbeReason; readonly detail: string } | null = null;
  const end = (): void => {
    if (isOver) return;
    isOver = true;
    socket?.close();
  };
  const finish = (outcome: Outcome): void => {
    if (isOver) return;
    end();
    done(outcome);
  };
  const fail = (error: unknown): void => finish(failureOutcome(error));
  const send = (bound: Socket): void => {
    if (isOver) return;
    bound.send(talk.send, (error) => {
      if (error !== null) fail(error);
      else hasSent = true;
    });
  };
  const opened = sockets.openUdp(place, (bound) => {
    if (isOver) return;
    // After an error in the bind there is none.
    bound.connect(place.port, sockets.hostOf(place), (error?: Error | null) => {
      if (error === undefined || error === null) send(bound);
      else fail(error);
    });
  });
  if (opened.ok) {
    socket = opened.value;
    socket.on('error', fail);
    socket.on('message', (bytes) => {
      if (isOver) return;
      const outcome = judgeSafely(talk, bytes);
      if (outcome === null)
        strange = { reason: 'wrong-answer', detail: 'an answer to another question' };
      else finish(outcome);
    });
  } else queueMicrotask(() => finish({ kind: 'local', detail: opened.error }));
  return {
    abort: end,
    expire: () => {
      end();
      if (!hasSent) return { kind: 'local', detail: 'the datagram could not be sent in time' };
      if (talk.silence !== undefined) return talk.silence(timeoutMs);
      const { reason, detail } = strange ?? { reason: 'timeout-first-byte', detail: 'no answer' };
      return down(
        reason,
        `${detail}${strange === null ? '' : ', and none of its own'} within ${timeoutMs} ms`,
      );
    },
  };
}

/** Answers come from anybody: a fault in what reads them must not end the thread of all other checks. */
function judgeSafely({ judge }: DatagramTalk, bytes: Uint8Array): Outcome | null {
  try {
    return judge(bytes);
  } catch (error) {
    return { kind: 'local', detail: `cannot read the answer: ${messageOf(error)}` };
  }
}
