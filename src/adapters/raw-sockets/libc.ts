/**
 * The functions of libc behind sockets that Node does not have: packet(7), raw(7). By way of koffi. All calls but
 * `closeAside` are made on the calling thread and must not wait there: sockets are non-blocking. So none of them
 * is interrupted (EINTR), and close is never called twice, which could hit a descriptor of somebody else.
 */
import koffi from 'koffi';
import { SOL_SOCKET } from './socket-numbers.ts';

export type Libc = {
  readonly socket: (domain: number, type: number, protocol: number) => number;
  readonly bind: (fd: number, address: Uint8Array, length: number) => number;
  readonly listen: (fd: number, backlog: number) => number;
  readonly getsockname: (fd: number, address: Uint8Array, length: number[]) => number;
  readonly setsockopt: (
    fd: number,
    level: number,
    name: number,
    value: Uint8Array,
    length: number,
  ) => number;
  readonly getsockopt: (
    fd: number,
    level: number,
    name: number,
    value: Uint8Array,
    length: number[],
  ) => number;
  /** setsockopt with a struct sock_fprog, which holds a pointer. */
  readonly attachFilter: (fd: number, filter: SocketFilter) => number;
  readonly ioctl: (fd: number, request: number, argument: Uint8Array) => number;
  readonly sendto: (
    fd: number,
    bytes: Uint8Array,
    length: number,
    flags: number,
    address: Uint8Array,
    addressLength: number,
  ) => number;
  readonly recvfrom: (
    fd: number,
    bytes: Uint8Array,
    length: number,
    flags: number,
    address: Uint8Array,
    addressLength: number[],
  ) => number;
  readonly close: (fd: number) => number;
  /** On another thread: at the end of a packet socket the kernel waits for every processor, some 10 ms. */
  readonly closeAside: (fd: number) => void;
  /** if_nametoindex(3): 0 where there is no such device. */
  readonly deviceIndex: (device: string) => number;
  /** Of the call just made on this thread: `EAGAIN`; `errno 4711` where it has no name. */
  readonly errno: () => string;
};

/** struct sock_fprog of linux/filter.h: instructions of 8 bytes, and how many. */
export type SocketFilter = { readonly len: number; readonly filter: Uint8Array };

const SO_ATTACH_FILTER = 26;

/** Takes some 20 ms where nobody has loaded koffi yet. */
export function bindLibc(): Libc {
  const library = koffi.load(null);
  const fprog = koffi.struct({ len: 'uint16_t', filter: 'uint8_t *' });
  const fprogLength = koffi.sizeof(fprog);
  const setFilter = library.func('setsockopt', 'int', [
    'int',
    'int',
    'int',
    koffi.pointer(fprog),
    'uint32_t',
  ]);
  const close = library.func('int close(int fd)');
  return {
    socket: library.func('int socket(int domain, int type, int protocol)'),
    bind: library.func('int bind(int fd, const uint8_t *address, uint32_t length)'),
    listen: library.func('int listen(int fd, int backlog)'),
    getsockname: library.func(
      'int getsockname(int fd, _Out_ uint8_t *address, _Inout_ uint32_t *length)',
    ),
    setsockopt: library.func(
      'int setsockopt(int fd, int level, int name, const uint8_t *value, uint32_t length)',
    ),
    getsockopt: library.func(
      'int getsockopt(int fd, int level, int name, _Out_ uint8_t *value, _Inout_ uint32_t *length)',
    ),
    attachFilter: (fd, filter) =>
      setFilter(fd, SOL_SOCKET, SO_ATTACH_FILTER, filter, fprogLength) as number,
    // Variadic in C; on Linux the calling convention of these arguments is the same.
    ioctl: library.func('int ioctl(int fd, unsigned long request, _Inout_ uint8_t *argument)'),
    // koffi has no ssize_t.
    sendto: library.func(
      'intptr_t sendto(int fd, const uint8_t *bytes, size_t length, int flags, const uint8_t *address, uint32_t address_length)',
    ),
    recvfrom: library.func(
      'intptr_t recvfrom(int fd, _Out_ uint8_t *bytes, size_t length, int flags, _Out_ uint8_t *address, _Inout_ uint32_t *address_length)',
    ),
    close,
    closeAside: (fd) => close.async(fd, () => {}),
    deviceIndex: library.func('uint32_t if_nametoindex(const char *device)'),
    errno: () => nameOf(koffi.errno()),
  };
}

/** Looked up at each poll that finds nothing. */
const NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(koffi.os.errno)
    .toReversed()
    .map(([name, value]) => [value, name]),
);

const nameOf = (errno: number): string => NAMES.get(errno) ?? `errno ${errno}`;
