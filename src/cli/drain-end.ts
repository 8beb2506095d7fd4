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

/** Exit code 3: it was ended by somebody else; 4: it goes on, or may do so where nobody here can see it. */
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
    if (status !== null && (server?.drain?.end ?? null) !== null) return endOf(io, status, target);
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
  const other = otherHolder(status, target);
  const doubt =
    other === null ? '' : `, which does not hold ${other.group}: ask ${other.holder} with --api`;
  return `connections of ${status.director}${doubt}:\n`;
}

/** A script that switches the real server off after this must not cut the connections of the holder. */
function endOf(io: Session['io'], status: StatusDocument, target: RealServerTarget): ExitCode {
  const other = otherHolder(status, target);
  if (other === null) return EXIT.ok;
  io.stderr(
    `${other.holder} holds ${other.group}: whether its connections are gone, ${status.director} cannot tell; ask ${other.holder} with --api\n`,
  );
  return EXIT.inProgress;
}

/** Null: the director that is asked holds the group of the service, or nobody does. */
function otherHolder(
  status: StatusDocument,
  target: RealServerTarget,
): { readonly group: string; readonly holder: string } | null {
  const group = status.services.find(({ name }) => name === target.service)?.group;
  const holder = status.groups.find(({ name }) => name === group)?.holder ?? null;
  return group === undefined || holder === null || holder === status.director
    ? null
    : { group, holder };
}
