/**
 * A libc that gives out descriptors and keeps count of them. Calls succeed until a test says which fail, and with
 * what; what was given to them is kept.
 */
import type { Libc } from '../../../../src/adapters/raw-sockets/libc.ts';

export type Call = keyof Libc;

export class FakeLibc implements Libc {
  /** By call: the error it fails with, always. */
  readonly failures = new Map<Call, string>();
  readonly open = new Set<number>();
  readonly bound: Uint8Array[] = [];
  readonly sent: { readonly bytes: Uint8Array; readonly address: Uint8Array }[] = [];
  readonly options: {
    readonly level: number;
    readonly name: number;
    readonly value: Uint8Array;
  }[] = [];
  readonly kinds: (readonly [number, number, number])[] = [];
  /** What waits; a text is an error. */
  readonly waiting: (Uint8Array | string)[] = [];
  /** Whom `recvfrom` names as the sender; empty: it leaves the place as it is. */
  sender: Uint8Array = new Uint8Array(0);
  /** What `ioctl` does to its argument. */
  fill: (request: number, argument: Uint8Array) => void = () => {};
  /** What `getsockname` says. */
  name: Uint8Array = new Uint8Array(0);
  /** Descriptors that were closed on another thread. */
  readonly aside: number[] = [];
  #errno = 'none';
  #next = 100;

  readonly socket = (...kind: readonly [number, number, number]): number => {
    if (this.#fails('socket')) return -1;
    this.kinds.push(kind);
    this.open.add(this.#next);
    return this.#next++;
  };
  readonly bind = (fd: number, address: Uint8Array): number =>
    this.#do('bind', fd, () => this.bound.push(address.slice()));
  readonly listen = (fd: number): number => this.#do('listen', fd, () => {});
  readonly getsockname = (fd: number, address: Uint8Array): number =>
    this.#do('getsockname', fd, () => address.set(this.name));
  readonly setsockopt = (fd: number, level: number, name: number, value: Uint8Array): number =>
    this.#do('setsockopt', fd, () => this.options.push({ level, name, value: value.slice() }));
  readonly getsockopt = (fd: number, _level: number, _name: number, value: Uint8Array): number =>
    this.#do('getsockopt', fd, () => value.set(this.statistics.splice(0)));
  readonly attachFilter = (fd: number): number => this.#do('attachFilter', fd, () => {});
  readonly ioctl = (fd: number, request: number, argument: Uint8Array): number =>
    this.#do('ioctl', fd, () => this.fill(request, argument));
  readonly sendto = (
    fd: number,
    bytes: Uint8Array,
    length: number,
    _flags: number,
    address: Uint8Array,
  ): number => {
    const done = this.#do('sendto', fd, () =>
      this.sent.push({ bytes: bytes.slice(), address: address.slice() }),
    );
    return done === 0 ? length : done;
  };
  readonly recvfrom = (
    fd: number,
    bytes: Uint8Array,
    _length: number,
    _flags: number,
    from: Uint8Array,
  ): number => {
    this.#use(fd);
    from.set(this.sender);
    const next = this.waiting.shift() ?? 'EAGAIN';
    if (typeof next === 'string') {
      this.#errno = next;
      return -1;
    }
    bytes.set(next.subarray(0, bytes.length));
    return Math.min(next.length, bytes.length);
  };
  readonly close = (fd: number): number => {
    this.#use(fd);
    this.open.delete(fd);
    return 0;
  };
  readonly closeAside = (fd: number): void => {
    this.close(fd);
    this.aside.push(fd);
  };
  readonly deviceIndex = (): number => 2;
  readonly errno = (): string => this.#errno;
  /** What the next `getsockopt` gives, once. */
  readonly statistics: number[] = [];

  #fails(call: Call): boolean {
    const error = this.failures.get(call);
    if (error !== undefined) this.#errno = error;
    return error !== undefined;
  }

  #do(call: Call, fd: number, act: () => void): number {
    this.#use(fd);
    if (this.#fails(call)) return -1;
    act();
    return 0;
  }

  /** A closed descriptor may be somebody else's by now. */
  #use(fd: number): void {
    if (!this.open.has(fd)) throw new Error(`descriptor ${fd} is not open`);
  }
}
