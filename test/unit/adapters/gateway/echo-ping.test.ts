/** Asking gateways: what counts as an answer, when it is decided, and what it costs. */
import { buildEchoFilter } from '../../../../src/wire/echo-filter.ts';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  EchoPing,
  OWN_ADDRESSES_MS,
  REPLIES_PER_POLL,
} from '../../../../src/adapters/gateway/echo-ping.ts';
import { type EchoSocket, type HeardReply } from '../../../../src/adapters/gateway/icmp-socket.ts';
import type { OwnAddress } from '../../../../src/adapters/raw-sockets/own-addresses.ts';
import { err, ok, type Result } from '../../../../src/lib/result.ts';
import { familyOf, type IpAddress, parseIp } from '../../../../src/model/address.ts';
import type { GatewayAnswer, GatewayRequest } from '../../../../src/ports/gateway.ts';
import type { Echo } from '../../../../src/wire/icmp.ts';
import { FakeClock } from '../../../fakes/fake-clock.ts';
import { SeededRandom } from '../../../fakes/seeded-random.ts';
import { asEchoReply4 } from '../../../support/echo-reply.ts';

const ip = (text: string): IpAddress => {
  const parsed = parseIp(text);
  if (!parsed.ok) throw new Error(parsed.error);
  return parsed.value;
};
const ME = ip('10.90.0.11');
const ME_6 = ip('fd90::11');
const A = ip('10.90.0.1');
const B = ip('192.0.2.1');
const A_6 = ip('fd90::1');
const SOURCE: GatewayRequest['source'] = {
  4: { kind: 'address', address: ME },
  6: { kind: 'address', address: ME_6 },
};
const TIMEOUT_MS = 100;

type Sent = Echo & { readonly target: IpAddress; readonly at: number };

/** What stands between the sockets of a test and its targets. */
class Wire {
  readonly clock = new FakeClock();
  readonly sent: Sent[] = [];
  readonly opened: string[] = [];
  open = 0;
  receives = 0;
  addressReads = 0;
  addresses: Result<readonly OwnAddress[], string> = ok([
    { device: 'eth0', address: ME, prefix: 24 },
    { device: 'eth0', address: ME_6, prefix: 64 },
  ]);
  refusesOpening: string | null = null;
  refuses = new Map<IpAddress, string>();
  /** Milliseconds until the answer of a target; none: it is silent. */
  latencies = new Map<IpAddress, number>();
  waiting: HeardReply[] = [];

  readonly openSocket = (own: OwnAddress, identifier: number): Result<EchoSocket, string> => {
    if (this.refusesOpening !== null) return err(this.refusesOpening);
    this.opened.push(`${own.address} ${identifier}`);
    this.open++;
    const family = familyOf(own.address);
    return ok({
      send: (target, message) => {
        const refusal = this.refuses.get(target);
        if (refusal !== undefined) return err(refusal);
        const view = new DataView(message.buffer);
        const payload = message.slice(8);
        const echo = { identifier: view.getUint16(4), sequence: view.getUint16(6), payload };
        this.sent.push({ ...echo, target, at: this.clock.now() });
        const ms = this.latencies.get(target);
        if (ms !== undefined) this.clock.schedule(ms, () => this.answer(echo, target));
        return ok(undefined);
      },
      receive: () => {
        this.receives++;
        const at = this.waiting.findIndex(({ from }) => familyOf(from) === family);
        return at < 0 ? null : (this.waiting.splice(at, 1)[0] ?? null);
      },
      close: () => {
        this.open--;
      },
    });
  };

  answer(echo: Echo, from: IpAddress): void {
    const bytes = asEchoReply4(echo);
    const bare = bytes.slice(20);
    bare[0] = 129;
    this.waiting.push({ from, bytes: familyOf(from) === 4 ? bytes : bare });
  }
}

let wire: Wire;
let ping: EchoPing;
const ask = (extra: Partial<GatewayRequest> = {}, signal?: AbortSignal): Promise<GatewayAnswer> =>
  ping.ask({ targets: [A], mode: 'any', timeoutMs: TIMEOUT_MS, source: SOURCE, ...extra }, signal);
/** The answer, and how long it took. */
const asked = async (extra: Partial<GatewayRequest> = {}): Promise<[GatewayAnswer, number]> => {
  const from = wire.clock.now();
  const answer = await wire.clock.settle(ask(extra));
  return [answer, wire.clock.now() - from];
};
const targetsOf = (sent: readonly Sent[]): readonly string[] => sent.map(({ target }) => target);

beforeEach(() => {
  wire = new Wire();
  ping = new EchoPing({
    clock: wire.clock,
    random: new SeededRandom(7),
    open: wire.openSocket,
    ownAddresses: () => {
      wire.addressReads++;
      return wire.addresses;
    },
  });
});
afterEach(() => {
  ping.close();
  expect(wire.open).toBe(0);
  expect(wire.clock.pending).toBe(0);
});

describe('any of the targets', () => {
  test('is enough, and ends the wait at the first answer', async () => {
    wire.latencies.set(B, 3);
    const [answer, ms] = await asked({ targets: [A, B] });
    expect(answer).toMatchObject({ isReachable: true, answered: [B] });
    expect(answer.unanswered).toEqual([{ target: A, reason: 'no answer within 100 ms' }]);
    expect(ms).toBeLessThanOrEqual(5);
  });

  test('is none when all are silent for the whole time, and each was asked twice', async () => {
    const [answer, ms] = await asked({ targets: [A, A_6] });
    expect(answer).toMatchObject({ isReachable: false, answered: [] });
    expect(ms).toBe(TIMEOUT_MS);
    expect(targetsOf(wire.sent)).toEqual([A, A_6, A, A_6]);
    expect(wire.sent[2]?.at).toBeGreaterThanOrEqual(TIMEOUT_MS / 2);
    expect(wire.sent[2]?.at).toBeLessThan(TIMEOUT_MS / 2 + 5);
  });
});

describe('all of the targets', () => {
  test('must answer, and the last one ends the wait', async () => {
    for (const [target, ms] of [
      [A, 2],
      [B, 12],
      [A_6, 5],
    ] as const)
      wire.latencies.set(target, ms);
    const [answer, ms] = await asked({ targets: [A, B, A_6], mode: 'all' });
    expect(answer).toEqual({ isReachable: true, answered: [A, A_6, B], unanswered: [] });
    expect(ms).toBeLessThanOrEqual(15);
  });

  test('do not where one is silent', async () => {
    wire.latencies.set(A, 2);
    const [answer, ms] = await asked({ targets: [A, B], mode: 'all' });
    expect(answer).toMatchObject({ isReachable: false, answered: [A] });
    expect(ms).toBe(TIMEOUT_MS);
    // Who has answered is not asked again.
    expect(targetsOf(wire.sent)).toEqual([A, B, B]);
  });

  test('are asked once each, however often they are named', async () => {
    wire.latencies.set(A, 1);
    expect((await asked({ targets: [A, A], mode: 'all' }))[0].isReachable).toBe(true);
    expect(wire.sent).toHaveLength(1);
  });
});

describe('an answer', () => {
  test('counts at the last moment, and for the second question too', async () => {
    wire.latencies.set(A, TIMEOUT_MS - 1);
    expect((await asked())[0].isReachable).toBe(true);
    wire.latencies.clear();
    const answer = ask();
    await wire.clock.advance(60);
    const second = wire.sent.at(-1);
    if (second === undefined) throw new Error('not asked');
    wire.answer(second, A);
    expect((await wire.clock.settle(answer)).isReachable).toBe(true);
  });

  test.each([
    ['of another host', (echo: Echo) => wire.answer(echo, B)],
    ['with another identifier', (echo: Echo) => wire.answer({ ...echo, identifier: 1 }, A)],
    ['with another sequence', (echo: Echo) => wire.answer({ ...echo, sequence: 999 }, A)],
    [
      'with another content',
      (echo: Echo) => wire.answer({ ...echo, payload: new Uint8Array(8) }, A),
    ],
    ['cut short', (echo: Echo) => wire.answer({ ...echo, payload: echo.payload.slice(1) }, A)],
    ['of nonsense', () => void wire.waiting.push({ from: A, bytes: new Uint8Array(30) })],
  ])('%s does not count', async (_, act) => {
    const answer = ask();
    const echo = wire.sent[0];
    if (echo === undefined) throw new Error('not asked');
    act(echo);
    expect((await wire.clock.settle(answer)).isReachable).toBe(false);
  });

  test('of an earlier question does not count, nor a second one of the same', async () => {
    await asked();
    const late = wire.sent[0];
    if (late === undefined) throw new Error('not asked');
    const again = ask({ targets: [A, B], mode: 'all' });
    wire.answer(late, A);
    const current = wire.sent.at(-2);
    if (current === undefined) throw new Error('not asked');
    expect(current.target).toBe(A);
    wire.answer(current, A);
    wire.answer(current, A);
    expect(await wire.clock.settle(again)).toMatchObject({ isReachable: false, answered: [A] });
    const nonces = new Set(wire.sent.map(({ payload }) => payload.join()));
    expect(nonces.size).toBe(wire.sent.length);
  });

  test('is found behind a flood of others, some at each look', async () => {
    const answer = ask();
    for (let i = 0; i < 3 * REPLIES_PER_POLL; i++)
      wire.waiting.push({ from: B, bytes: new Uint8Array(40) });
    const echo = wire.sent[0];
    if (echo !== undefined) wire.answer(echo, A);
    expect((await wire.clock.settle(answer)).isReachable).toBe(true);
  });

  test('of each of several who ask at once goes to him', async () => {
    wire.latencies.set(A, 4);
    const [one, other, silent] = [ask(), ask({ timeoutMs: 10 }), ask({ targets: [B] })];
    expect((await wire.clock.settle(one)).isReachable).toBe(true);
    expect((await wire.clock.settle(other)).isReachable).toBe(true);
    expect((await wire.clock.settle(silent)).isReachable).toBe(false);
    expect(wire.opened).toHaveLength(1);
  });
});

describe('what goes wrong', () => {
  test('is no answer, with a reason, and is tried again at half of the time', async () => {
    wire.refuses.set(A, 'no route to it (ENETUNREACH)');
    const answer = ask();
    await wire.clock.advance(20);
    wire.refuses.clear();
    wire.latencies.set(A, 1);
    expect((await wire.clock.settle(answer)).isReachable).toBe(true);
    wire.refuses.set(A, 'no route to it (ENETUNREACH)');
    expect((await asked())[0]).toEqual({
      isReachable: false,
      answered: [],
      unanswered: [{ target: A, reason: 'no route to it (ENETUNREACH)' }],
    });
  });

  test('makes the socket anew before the next question', async () => {
    wire.latencies.set(A, 1);
    await asked();
    await asked();
    expect(wire.opened).toHaveLength(1);
    wire.refuses.set(A, 'the device does not exist (ENODEV)');
    await asked();
    wire.refuses.clear();
    expect((await asked())[0].isReachable).toBe(true);
    expect(wire.opened).toHaveLength(2);
    expect(wire.open).toBe(1);
  });

  test('silence does so too: the device of a socket may have been made anew', async () => {
    wire.latencies.set(A, 1);
    await asked();
    wire.latencies.clear();
    await asked();
    expect(wire.opened).toHaveLength(1);
    wire.latencies.set(A, 1);
    expect((await asked())[0].isReachable).toBe(true);
    expect(wire.opened).toHaveLength(2);
    expect(wire.open).toBe(1);
  });

  test.each([
    ['no permission', () => void (wire.refusesOpening = 'EPERM'), /EPERM/],
    ['no own address', () => void (wire.addresses = ok([])), /10\.90\.0\.11 is not bound here/],
    ['unreadable addresses', () => void (wire.addresses = err('EMFILE')), /EMFILE/],
  ])('%s: nothing answers, and it says so', async (_, act, reason) => {
    act();
    const [answer, ms] = await asked();
    expect(answer.isReachable).toBe(false);
    expect(answer.unanswered[0]?.reason).toMatch(reason);
    expect(ms).toBe(TIMEOUT_MS);
  });

  test('a family without an own address leaves its targets unanswered only', async () => {
    wire.latencies.set(A, 1).set(A_6, 1);
    const source = { ...SOURCE, 6: null };
    const [any] = await asked({ targets: [A, A_6], source });
    expect(any.isReachable).toBe(true);
    const [all] = await asked({ targets: [A, A_6], source, mode: 'all' });
    expect(all).toMatchObject({ isReachable: false, answered: [A] });
    expect(all.unanswered[0]?.reason).toMatch(/no IPv6 address/);
  });

  test('no targets are never reachable, at once', async () => {
    for (const mode of ['any', 'all'] as const)
      expect(await ask({ targets: [], mode })).toMatchObject({ isReachable: false });
  });
});

describe('an end', () => {
  test('by its signal comes at once, with what there is', async () => {
    wire.latencies.set(A, 1);
    const end = new AbortController();
    const answer = ask({ targets: [A, B], mode: 'all' }, end.signal);
    await wire.clock.advance(5);
    end.abort();
    expect(await answer).toMatchObject({ isReachable: false, answered: [A] });
    expect(wire.clock.pending).toBe(0);
    expect((await ask({}, end.signal)).isReachable).toBe(false);
  });

  test('by closing answers all, and nothing is asked afterwards', async () => {
    const answers = [ask(), ask({ targets: [B] })];
    ping.close();
    for (const answer of answers) expect((await answer).isReachable).toBe(false);
    const { length } = wire.sent;
    expect((await ask()).isReachable).toBe(false);
    expect(wire.sent).toHaveLength(length);
  });
});

describe('the cost', () => {
  test('of an answer is a few looks, of silence some forty, of idleness none', async () => {
    wire.latencies.set(A, 0.5);
    await asked();
    expect(wire.receives).toBeLessThan(5);
    wire.latencies.clear();
    wire.receives = 0;
    await asked({ timeoutMs: 600 });
    expect(wire.receives).toBeLessThan(60);
    wire.receives = 0;
    await wire.clock.advance(10_000);
    expect(wire.receives).toBe(0);
  });

  test('addresses are read once a second at most, and seen when they come', async () => {
    wire.latencies.set(A, 1);
    wire.addresses = ok([]);
    for (let i = 0; i < 3; i++) expect((await asked())[0].isReachable).toBe(false);
    expect(wire.addressReads).toBe(1);
    wire.addresses = ok([{ device: 'eth0', address: ME, prefix: 24 }]);
    await wire.clock.advance(OWN_ADDRESSES_MS);
    expect((await asked())[0].isReachable).toBe(true);
  });
});

describe('the filter of a socket', () => {
  /** As the kernel runs it. */
  const passes = (family: 4 | 6, identifier: number, bytes: Uint8Array): boolean => {
    const program = buildEchoFilter(family, identifier, 256);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    let [accumulator, x] = [0, 0];
    for (let at = 0; at < program.length; at++) {
      const { code, jt, jf, k } = program[at] ?? { code: 0, jt: 0, jf: 0, k: 0 };
      if (code === 0x06) return k > 0;
      if (code === 0xb1) x = 4 * (view.getUint8(k) & 0x0f);
      else if (code === 0x15) at += accumulator === k ? jt : jf;
      else {
        const place = k + (code === 0x50 || code === 0x48 ? x : 0);
        const isHalf = code === 0x28 || code === 0x48;
        if (place + (isHalf ? 2 : 1) > bytes.length) return false;
        accumulator = isHalf ? view.getUint16(place) : view.getUint8(place);
      }
    }
    throw new Error('the program runs off its end');
  };

  test('lets its own replies through, whatever the header, and nothing else', () => {
    const echo = { identifier: 0x1234, sequence: 1, payload: new Uint8Array(8) };
    for (const options of [0, 40]) {
      const reply = asEchoReply4(echo, options);
      expect(passes(4, 0x1234, reply)).toBe(true);
      expect(passes(4, 0x1235, reply)).toBe(false);
      expect(passes(4, 0x1234, reply.with(20 + options, 8))).toBe(false);
    }
    const reply6 = asEchoReply4(echo).slice(20).with(0, 129);
    expect(passes(6, 0x1234, reply6)).toBe(true);
    expect(passes(6, 0x1235, reply6)).toBe(false);
    expect(passes(6, 0x1234, reply6.with(0, 128))).toBe(false);
    expect(passes(6, 0x1234, reply6.subarray(0, 4))).toBe(false);
  });
});
