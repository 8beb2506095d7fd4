/**
 * One agent per network namespace: two would take each other's addresses and services for residue. A lock on a file
 * of root's keeps it so. Containers may share a network namespace and not /run; so the agent also has the name of an
 * abstract UNIX socket (unix(7)), which belongs to the namespace. Anybody can take such a name: of one that is not
 * root's nothing follows. Both are gone with the process, however that ends.
 */
import { createServer } from 'node:net';
import koffi from 'koffi';
import { err, ok, type Result } from '../../lib/result.ts';
import { readPlace } from './place.ts';
import { RUN_DIRECTORY, tryRunLock } from './run-lock.ts';
import {
  AF_UNIX,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  SOL_SOCKET,
} from '../raw-sockets/socket-numbers.ts';

export type InstanceLock = {
  release(): void;
  /** A sentence for the log; null: nothing is strange. */
  readonly warning: string | null;
};

export type InstanceLockOptions = {
  /** Default /run/leasehold. */
  readonly directory?: string;
  /** Of the abstract socket; default `leasehold/agent`. */
  readonly socketName?: string;
  /** Users whose programs may be agents; default root and this process's. */
  readonly trusted?: readonly number[];
};

/** Taken at once or refused; the error is a sentence with the remedy. */
export async function takeInstanceLock(
  options: InstanceLockOptions = {},
): Promise<Result<InstanceLock, string>> {
  const { directory = RUN_DIRECTORY, socketName = 'leasehold/agent' } = options;
  const trusted = new Set(options.trusted ?? [0, process.geteuid?.() ?? 0]);
  const place = readPlace();
  const name = place.ok ? `agent-${place.value.namespace}` : 'agent';
  const lock = tryRunLock(name, directory);
  if (!lock.ok)
    return err(
      lock.error.kind === 'taken'
        ? runsAlready(lock.error.pid)
        : `the instance lock cannot be taken: ${lock.error.message}`,
    );
  const named = await takeName(socketName, trusted);
  if (!named.ok) {
    lock.value.release();
    return named;
  }
  const { warning, close } = named.value;
  return ok({
    warning,
    release: () => {
      close();
      lock.value.release();
    },
  });
}

const runsAlready = (pid: number | null): string =>
  `an agent runs here already${pid === null ? '' : ` (process ${pid})`}; stop it first (systemctl stop leasehold)`;

type Named = { readonly warning: string | null; readonly close: () => void };

/** Whoever has just taken a name may not listen yet, and cannot be asked who it is: so often, and so far apart. */
const NAME_TRIES = 50;
const REST_MS = 20;

async function takeName(
  name: string,
  trusted: ReadonlySet<number>,
): Promise<Result<Named, string>> {
  let tried = await tryName(name);
  for (let tries = 1; tries < NAME_TRIES && isUnknown(tried); tries++) {
    rest();
    tried = await tryName(name);
  }
  const { code, others, close } = tried;
  const agent = others.find(({ uid }) => trusted.has(uid));
  if (agent !== undefined) {
    close();
    return err(runsAlready(agent.pid === 0 ? null : agent.pid));
  }
  const [owner = null] = others;
  const isTaken = owner !== null || code === 'EADDRINUSE';
  if (code === null && !isTaken) return ok({ warning: null, close });
  const who = owner === null ? 'somebody' : `user ${owner.uid} (process ${owner.pid})`;
  const what = isTaken
    ? `${who}, who is no agent, has the socket @${name} (see: ss -xlp)`
    : `the socket @${name} cannot be made (${code})`;
  return ok({
    close,
    warning: `${what}: an agent in another container of this network namespace would not be seen`,
  });
}

type Tried = {
  /** Why the name is not ours; null: it is. */
  readonly code: string | null;
  readonly others: readonly Owner[];
  readonly close: () => void;
};

const isUnknown = ({ code, others }: Tried): boolean =>
  code === 'EADDRINUSE' && others.length === 0;

async function tryName(name: string): Promise<Tried> {
  const server = createServer((socket) => socket.destroy());
  const code = await new Promise<string | null>((resolve) => {
    server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    server.listen(`\0${name}`, () => resolve(null));
  });
  if (code === null) server.unref();
  const close = (): void => {
    if (code === null) server.close();
  };
  // Looked at after the name is taken: of two that start at once at least one sees the other.
  const others = readOwners(name).filter(({ pid }) => pid !== process.pid);
  return { code, others, close };
}

/** Before the agent does anything: nothing waits for this thread. */
function rest(): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, REST_MS);
}

const SO_PEERCRED = 17;
/** struct ucred: pid, uid, gid. */
const UCRED_BYTES = 12;

type Owner = { readonly pid: number; readonly uid: number };

/** Who listens on an abstract name, by the kernel's word; none where nobody does, or takes no connections. */
function readOwners(name: string): readonly Owner[] {
  const exact = Buffer.concat([Buffer.from([AF_UNIX, 0, 0]), Buffer.from(name)]);
  // Some versions of Node fill the name up with zeros, which makes it another one.
  const filled = Buffer.concat([exact], SOCKADDR_UN_BYTES);
  return [exact, filled].flatMap((address) => readPeer(address) ?? []);
}

const SOCKADDR_UN_BYTES = 110;

function readPeer(address: Buffer): Owner | null {
  const library = koffi.load(null);
  const socket = library.func('int socket(int domain, int type, int protocol)');
  const connect = library.func('int connect(int fd, const uint8_t *address, uint32_t length)');
  const getsockopt = library.func(
    'int getsockopt(int fd, int level, int name, _Out_ uint8_t *value, _Inout_ uint32_t *length)',
  );
  const closeFd = library.func('int close(int fd)');
  const fd = Number(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (fd < 0) return null;
  try {
    if (connect(fd, address, address.length) !== 0) return null;
    const value = Buffer.alloc(UCRED_BYTES);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, value, [UCRED_BYTES]) !== 0) return null;
    return { pid: value.readInt32LE(0), uid: value.readUInt32LE(4) };
  } finally {
    closeFd(fd);
  }
}
