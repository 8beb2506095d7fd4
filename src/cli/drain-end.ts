/** Waits for the end of a drain and shows what is left meanwhile: as the director that is asked has it. */
import { EXIT, type ExitCode } from './context.ts';
import type { StatusDocument } from '../model/status.ts';
import { fetchStatus } from './commands/status.ts';
import { drainWords } from './service-words.ts';
import { findRealServer, type RealServerTarget } from './real-server-target.ts';
import { type Session, unlessAway } from './session.ts';

const POLL_MS = 1000;
/** The change needs a moment to reach the director. */
const SEEN_MS = 5000;

/** Exit code 3: it was ended by somebody else; 4: it goes on. */
export async function awaitDrain(
  session: Session,
  target: RealServerTarget,
  waitMs: number,
): Promise<ExitCode> {
  const { io } = session;
  const begin = io.clock.now();
  let shown = '';
  let isSeen = false;
  for (;;) {
    const status = await unlessAway(io, () => fetchStatus(session));
    const server = status === null ? null : findRealServer(status, target);
    const words = server?.drain === undefined ? null : drainWords(server.drain);
    if (status !== null && !isSeen && words !== null) {
      isSeen = true;
      io.stdout(headOf(status, target));
    }
    if (words !== null && words !== shown) io.stdout(`  ${words}\n`);
    shown = words ?? shown;
    if ((server?.drain?.end ?? null) !== null) return EXIT.ok;
    const isOver = status !== null && server?.admin !== 'drain';
    if (isOver && (isSeen || io.clock.now() - begin > SEEN_MS)) {
      io.stderr('it is not drained any more: somebody else ended it (see: leasehold events)\n');
      return EXIT.precondition;
    }
    const left = begin + waitMs - io.clock.now();
    if (left <= 0 || io.signal.aborted) {
      const away =
        status === null
          ? ' (no director answers)'
          : isSeen
            ? ''
            : ` (${status.director} tells no progress: see leasehold status)`;
      io.stderr(
        `still draining after ${waitMs} ms${away}; it goes on (see: leasehold explain rs)\n`,
      );
      return EXIT.inProgress;
    }
    await io.clock.sleep(Math.min(POLL_MS, left), io.signal);
  }
}

/** Each director counts its own: those of the holder are what matters. */
function headOf(status: StatusDocument, target: RealServerTarget): string {
  const group = status.services.find(({ name }) => name === target.service)?.group;
  const holder = status.groups.find(({ name }) => name === group)?.holder ?? null;
  const isHolder = holder === null || holder === status.director;
  const doubt = isHolder ? '' : `, which does not hold ${group}: ask ${holder} with --api`;
  return `connections of ${status.director}${doubt}:\n`;
}
