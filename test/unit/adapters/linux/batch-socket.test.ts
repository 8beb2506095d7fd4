/** Batches through a libc that answers as it is told. */
import { describe, expect, it } from 'vitest';

import { BatchSocket } from '../../../../src/adapters/linux/batch-socket.ts';
import type { Libc } from '../../../../src/adapters/raw-sockets/libc.ts';
import {
  decodeMessages,
  encodeMessage,
  LITTLE_ENDIAN,
  NLM_F_ACK,
  NLM_F_REQUEST,
  NLMSG_ERROR,
} from '../../../../src/wire/netlink.ts';

const BEGIN = { type: 16, flags: 0, body: new Uint8Array(4) };
const END = { type: 17, flags: 0, body: new Uint8Array(4) };
const FRAME = { begin: BEGIN, end: END };
const request = (byte: number) => ({
  type: 0xa0c,
  flags: 0x400,
  body: Uint8Array.of(byte, 0, 0, 0),
});
const THREE = [request(1), request(2), request(3)];
const NETFILTER = 12;

/** Answers of the kernel to the message at this place of a batch, by its number. */
type Told = {
  readonly at: number;
  readonly errno: number;
  readonly isOld?: boolean;
  /** Left out: an acknowledgement. */
  readonly type?: number;
};

class FakeLibc {
  readonly sent: Uint8Array[] = [];
  readonly closed: number[] = [];
  readonly options: [level: number, name: number][] = [];
  /** Of the next batches, one each. */
  readonly script: (readonly Told[])[];
  sendError: string | null = null;
  socketError: string | null = null;
  endOfAnswers = 'EAGAIN';
  #waiting: Uint8Array[] = [];
  #errno = '';

  constructor(...script: (readonly Told[])[]) {
    this.script = script;
  }

  get libc(): Libc {
    const socket = (domain: number, type: number, protocol: number): number => {
      expect([domain, type & 0xf, protocol]).toEqual([16, 3, NETFILTER]);
      if (this.socketError !== null) this.#errno = this.socketError;
      return this.socketError === null ? 7 : -1;
    };
    return {
      socket,
      setsockopt: (fd: number, level: number, name: number) => {
        expect(fd).toBe(7);
        this.options.push([level, name]);
        return 0;
      },
      sendto: (fd: number, bytes: Uint8Array) => {
        expect(fd).toBe(7);
        if (this.sendError !== null) {
          this.#errno = this.sendError;
          return -1;
        }
        this.sent.push(bytes.slice());
        this.#answer(bytes);
        return bytes.length;
      },
      recvfrom: (_fd: number, into: Uint8Array) => {
        const next = this.#waiting.shift();
        if (next === undefined) {
          this.#errno = this.endOfAnswers;
          return -1;
        }
        into.set(next);
        return next.length;
      },
      close: (fd: number) => this.closed.push(fd),
      errno: () => this.#errno,
    } as unknown as Libc;
  }

  #answer(bytes: Uint8Array): void {
    const messages = decodeMessages(bytes);
    if (!messages.ok) throw new Error(messages.error);
    for (const { at, errno, isOld, type = NLMSG_ERROR } of this.script.shift() ?? []) {
      const asked = messages.value[at];
      if (asked === undefined) throw new Error(`no message ${at}`);
      const body = new Uint8Array(20);
      new DataView(body.buffer).setInt32(0, -errno, LITTLE_ENDIAN);
      const seq = isOld === true ? asked.seq - 1000 : asked.seq;
      this.#waiting.push(encodeMessage({ type, flags: 0x100, seq, port: 9, body }));
    }
  }
}

function opened(fake: FakeLibc): BatchSocket {
  const socket = BatchSocket.open(NETFILTER, fake.libc);
  if (!socket.ok) throw new Error(socket.error.message);
  return socket.value;
}

const codes = (socket: BatchSocket): readonly (string | null)[] =>
  socket.transact(THREE, FRAME).map(({ code }) => code);

describe('BatchSocket', () => {
  it('sends all in one datagram between its marks, the last of the requests to be acknowledged', () => {
    const fake = new FakeLibc([{ at: 3, errno: 0 }]);
    expect(codes(opened(fake))).toEqual([null, null, null]);
    expect(fake.sent).toHaveLength(1);
    const sent = decodeMessages(fake.sent[0] ?? new Uint8Array());
    if (!sent.ok) throw new Error(sent.error);
    expect(sent.value.map(({ type }) => type)).toEqual([16, 0xa0c, 0xa0c, 0xa0c, 17]);
    expect(sent.value.map(({ flags }) => flags & NLM_F_ACK)).toEqual([0, 0, 0, NLM_F_ACK, 0]);
    expect(sent.value.every(({ flags }) => (flags & NLM_F_REQUEST) !== 0)).toBe(true);
    expect(sent.value.slice(1, 4).every(({ flags }) => (flags & 0x400) !== 0)).toBe(true);
    const [first = 0] = sent.value.map(({ seq }) => seq);
    expect(sent.value.map(({ seq }) => seq - first)).toEqual([0, 1, 2, 3, 4]);
  });

  it('tells the refusal of each request', () => {
    const fake = new FakeLibc([
      { at: 1, errno: 2 },
      { at: 3, errno: 17 },
    ]);
    expect(codes(opened(fake))).toEqual(['ENOENT', null, 'EEXIST']);
  });

  it('takes the refusal of the mark for that of all', () => {
    const fake = new FakeLibc([{ at: 0, errno: 1 }]);
    expect(codes(opened(fake))).toEqual(['EPERM', 'EPERM', 'EPERM']);
  });

  it('knows nothing of what did not fail where the last answer is missing', () => {
    const fake = new FakeLibc([{ at: 2, errno: 2 }], []);
    const socket = opened(fake);
    expect(codes(socket)).toEqual(['TIMEOUT', 'ENOENT', 'TIMEOUT']);
    fake.endOfAnswers = 'ENOBUFS';
    expect(codes(socket)).toEqual(['ENOBUFS', 'ENOBUFS', 'ENOBUFS']);
  });

  it('passes over what was told of an earlier batch', () => {
    const fake = new FakeLibc(
      [{ at: 3, errno: 0 }],
      [
        { at: 0, errno: 1, isOld: true },
        { at: 3, errno: 13, isOld: true },
        { at: 3, errno: 0 },
      ],
    );
    const socket = opened(fake);
    expect(codes(socket)).toEqual([null, null, null]);
    expect(codes(socket)).toEqual([null, null, null]);
  });

  it('says of each request why nothing was sent', () => {
    const fake = new FakeLibc();
    fake.sendError = 'EMSGSIZE';
    expect(codes(opened(fake))).toEqual(['EMSGSIZE', 'EMSGSIZE', 'EMSGSIZE']);
  });

  it('asks nothing for nothing, and nothing after its end', () => {
    const fake = new FakeLibc();
    const socket = opened(fake);
    expect(socket.transact([], FRAME)).toEqual([]);
    socket.close();
    socket.close();
    expect(fake.closed).toEqual([7]);
    expect(codes(socket)).toEqual(['UNAVAILABLE', 'UNAVAILABLE', 'UNAVAILABLE']);
    expect(fake.sent).toHaveLength(0);
  });

  it('gives the one answer to a question, and null for a refusal or none', () => {
    const fake = new FakeLibc(
      [
        { at: 0, errno: 0, isOld: true, type: 99 },
        { at: 0, errno: 0, type: 0xa0f },
      ],
      [{ at: 0, errno: 1 }],
      [],
    );
    const socket = opened(fake);
    const question = { type: 0xa10, body: new Uint8Array(4) };
    expect(socket.ask(question)).toMatchObject({ type: 0xa0f });
    expect(socket.ask(question)).toBeNull();
    expect(socket.ask(question)).toBeNull();
    fake.sendError = 'EPERM';
    expect(socket.ask(question)).toBeNull();
    socket.close();
    expect(socket.ask(question)).toBeNull();
    const asked = decodeMessages(fake.sent[0] ?? new Uint8Array());
    expect(asked).toMatchObject({ value: [{ type: 0xa10, flags: NLM_F_REQUEST }] });
  });

  it('says why there is no socket', () => {
    const fake = new FakeLibc();
    fake.socketError = 'EPROTONOSUPPORT';
    expect(BatchSocket.open(NETFILTER, fake.libc)).toMatchObject({
      ok: false,
      error: { code: 'UNAVAILABLE', message: expect.stringContaining('EPROTONOSUPPORT') },
    });
  });
});
