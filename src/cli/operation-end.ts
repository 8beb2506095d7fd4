/** Waits for the end of an operation and shows its steps meanwhile. */
import { Operation } from '../api/schemas/responses.ts';
import { parseAnswer } from './answers.ts';
import { EXIT, type ExitCode } from './context.ts';
import { type Session, unlessAway } from './session.ts';

const POLL_MS = 250;

/** A director that does not answer is asked again until `deadline`: the operation goes on without it. */
export async function awaitOperation(
  session: Session,
  id: string,
  { waitMs, deadline }: { readonly waitMs: number; readonly deadline: number },
): Promise<ExitCode> {
  const { io } = session;
  let shown = 0;
  let last = 'unknown';
  for (;;) {
    const seen = await unlessAway(io, () => fetchOperation(session, id));
    if (seen !== null) {
      const { state, steps, result } = seen;
      for (const { at, text } of steps.slice(shown)) io.stdout(`  ${at}  ${text}\n`);
      shown = steps.length;
      last = state;
      if (state === 'succeeded' || state === 'failed') {
        const end = result === null ? state : `${state}: ${result}`;
        io.stdout(`${end}\n`);
        if (state === 'succeeded') return EXIT.ok;
        // Scripts that keep only the errors see why it ended with that code.
        io.stderr(`operation ${id} ${end}\n`);
        return EXIT.precondition;
      }
    }
    const left = deadline - io.clock.now();
    if (left <= 0 || io.signal.aborted) {
      const away = seen === null ? ' (no director answers)' : '';
      io.stderr(`still ${last} after ${waitMs} ms${away}; it goes on (see: leasehold events -f)\n`);
      return EXIT.inProgress;
    }
    await io.clock.sleep(Math.min(POLL_MS, left), io.signal);
  }
}

async function fetchOperation({ client }: Session, id: string): Promise<Operation['operation']> {
  const answer = await client.call({ method: 'GET', path: `/api/v1/operations/${id}` });
  return parseAnswer(Operation, answer.body).operation;
}
