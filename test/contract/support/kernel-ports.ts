/** Ports on loopback as no server of Node has them, by the system calls themselves. */
import koffi from 'koffi';
import { encodeIpAddress } from '../../../src/adapters/raw-sockets/socket-address.ts';
import { LOOPBACK } from '../prober.contract.ts';

/** Loaded with the first port: it opens no socket. */
const bindCalls = () => {
  const libc = koffi.load(null);
  const address = 'const uint8_t *address, uint32_t length';
  return {
    socket: libc.func('int socket(int domain, int type, int protocol)'),
    bind: libc.func(`int bind(int fd, ${address})`),
    listen: libc.func('int listen(int fd, int backlog)'),
    connect: libc.func(`int connect(int fd, ${address})`),
    nameOf: libc.func('int getsockname(int fd, _Out_ uint8_t *address, _Inout_ uint32_t *length)'),
    close: libc.func('int close(int fd)'),
  };
};
let calls: ReturnType<typeof bindCalls> | null = null;

/** Nobody listens, and nobody else gets the port: every SYN is refused. */
export class RefusingPort {
  protected readonly calls = (calls ??= bindCalls());
  readonly #fds: number[] = [];
  protected readonly address = encodeIpAddress(LOOPBACK, 0);
  readonly port: number;

  constructor() {
    const fd = this.create();
    this.calls.bind(fd, this.address, this.address.length);
    this.calls.nameOf(fd, this.address, [this.address.length]);
    this.port = new DataView(this.address.buffer).getUint16(2);
  }

  protected get bound(): number {
    return this.#fds[0] ?? -1;
  }

  protected create(): number {
    const fd = this.calls.socket(2, 1 | 0o4000, 0) as number;
    this.#fds.push(fd);
    return fd;
  }

  close(): void {
    for (const fd of this.#fds.splice(0)) this.calls.close(fd);
  }
}

/** A listener that accepts nobody, its queue full: the kernel drops every further SYN. */
export class DeafPort extends RefusingPort {
  constructor() {
    super();
    const { listen, connect } = this.calls;
    listen(this.bound, 0);
    for (let n = 0; n < 3; n++) connect(this.create(), this.address, this.address.length);
  }
}
