/** Where this process is: boot, network namespace, and the cookie of that (socket(7)). */
import { readFileSync, readlinkSync } from 'node:fs';
import koffi from 'koffi';
import { err, messageOf, ok, type Result } from '../../lib/result.ts';
import type { Place } from '../../model/place.ts';
import { AF_UNIX, SOCK_CLOEXEC, SOCK_STREAM, SOL_SOCKET } from '../raw-sockets/socket-numbers.ts';

/** Of this process. The error is a sentence. */
export function readPlace(): Result<Place, string> {
  try {
    const bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    const namespace = /\d+/.exec(readlinkSync('/proc/self/ns/net'))?.[0];
    if (bootId === '' || namespace === undefined) return err('/proc tells no boot or no namespace');
    return ok({ bootId, namespace, cookie: readCookie() });
  } catch (error) {
    return err(`this boot cannot be told from others: ${messageOf(error)}`);
  }
}

/** The same, asked of the kernel once: a process stays where it is. */
export function createPlaceReader(): () => Result<Place, string> {
  let known: Result<Place, string> | null = null;
  return () => (known ??= readPlace());
}

/** asm-generic/socket.h */
const SO_NETNS_COOKIE = 71;
const COOKIE_BYTES = 8;

function readCookie(): string | null {
  const library = koffi.load(null);
  const socket = library.func('int socket(int domain, int type, int protocol)');
  const getsockopt = library.func(
    'int getsockopt(int fd, int level, int name, _Out_ uint8_t *value, _Inout_ uint32_t *length)',
  );
  const close = library.func('int close(int fd)');
  const fd = Number(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (fd < 0) return null;
  try {
    const value = Buffer.alloc(COOKIE_BYTES);
    const length = [COOKIE_BYTES];
    if (getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, value, length) !== 0) return null;
    return value.readBigUInt64LE().toString();
  } finally {
    close(fd);
  }
}
