import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { toHex } from '../../../src/lib/bytes.ts';
import { directorId, epochOf, groupId, revision, sessionIdOf } from '../../../src/model/ids.ts';
import { ASKED_GROUPS_MAX, type PeerMessage, REFUSAL_REASONS } from '../../../src/model/peer.ts';
import {
  DATAGRAM_LENGTH_MAX,
  decodePeerDatagram,
  encodePeerDatagram,
  looksLikePeerDatagram,
  MAC_LENGTH,
  type PeerBody,
  type PeerEnvelope,
  splitMessage,
} from '../../../src/wire/peer-message.ts';

const names = fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/);
const numbers = fc.nat({ max: Number.MAX_SAFE_INTEGER });
const nonces = fc.uint8Array({ minLength: 16, maxLength: 16 });
const envelopes: fc.Arbitrary<PeerEnvelope> = fc.record({
  cluster: names,
  from: names.map(directorId),
  to: names.map(directorId),
  nonce: nonces,
  counter: numbers,
  challenge: nonces,
});
const armed = fc.record({
  group: names.map(groupId),
  epoch: numbers.map((value) => epochOf(revision(value))),
});
type Heartbeat = Extract<PeerMessage, { readonly kind: 'heartbeat' }>;

const heartbeats = (maxLength: number): fc.Arbitrary<Heartbeat> =>
  fc.record({
    kind: fc.constant('heartbeat' as const),
    session: numbers.map((value) => sessionIdOf(revision(value))),
    armed: fc.array(armed, { maxLength }),
  });
const handoverWords: fc.Arbitrary<PeerMessage> = fc
  .tuple(fc.constantFrom('prepared', 'muted', 'verified', 'consent', 'yield'), numbers, armed)
  .map(([kind, session, holding]) => ({
    kind,
    session: sessionIdOf(revision(session)),
    ...holding,
  }));
const asked = fc.record({
  session: numbers.map((value) => sessionIdOf(revision(value))),
  sessionRev: numbers.map(revision),
  round: numbers,
  part: fc.nat(9),
});
const askedGroups = fc.record({
  group: names.map(groupId),
  epoch: numbers.map((value) => epochOf(revision(value))),
  ownerRev: numbers.map(revision),
});
type Hold = Extract<PeerMessage, { readonly kind: 'hold' }>;
const holds = (maxLength: number): fc.Arbitrary<Hold> =>
  fc
    .tuple(
      asked,
      fc.record({
        basis: fc.constantFrom('peers', 'segment'),
        forMs: fc.nat(100_000),
        groups: fc.array(askedGroups, { maxLength }),
      }),
    )
    .map(([round, rest]) => ({ kind: 'hold', ...round, ...rest }));
const roundWords: fc.Arbitrary<PeerMessage> = fc.oneof(
  holds(10),
  asked.map((round) => ({ kind: 'relayed' as const, ...round })),
  fc
    .tuple(asked, asked)
    .map(([round, { session: by }]) => ({ kind: 'promise' as const, ...round, by })),
  fc
    .tuple(fc.constantFrom(...REFUSAL_REASONS), asked)
    .map(([reason, round]) => ({ kind: 'refusal' as const, reason, ...round })),
);
const bodies: fc.Arbitrary<PeerBody> = fc.oneof(
  heartbeats(10),
  handoverWords,
  roundWords,
  fc.record({ kind: fc.constant('hello' as const), answersNonce: nonces, answersCounter: numbers }),
);

const envelope: PeerEnvelope = {
  cluster: 'lab',
  from: directorId('d1'),
  to: directorId('d2'),
  nonce: new Uint8Array(16).fill(0xaa),
  counter: 258,
  challenge: new Uint8Array(16).fill(0xbb),
};
const heartbeat: Heartbeat = {
  kind: 'heartbeat',
  session: sessionIdOf(revision(300)),
  armed: [{ group: groupId('web'), epoch: epochOf(revision(7)) }],
};

describe('peer datagrams', () => {
  test('have these bytes on the wire', () => {
    expect(toHex(encodePeerDatagram(envelope, heartbeat))).toBe(
      `4c48504c0101${'aa'.repeat(16)}0000000000000102${'bb'.repeat(16)}` +
        '036c6162' +
        '026431' +
        '026432' +
        'ac02' + // session 300
        '01' +
        '0377656207',
    );
  });

  test.each([
    ['prepared', '02'],
    ['muted', '03'],
    ['verified', '04'],
  ] as const)('%s names one holding', (kind, code) => {
    const { session } = heartbeat;
    const body = { kind, session, group: groupId('web'), epoch: epochOf(revision(7)) };
    expect(toHex(encodePeerDatagram(envelope, body))).toBe(
      `4c48504c01${code}${'aa'.repeat(16)}0000000000000102${'bb'.repeat(16)}` +
        '036c6162' +
        '026431' +
        '026432' +
        'ac02' + // session 300
        '03776562' +
        '07',
    );
  });

  test('a kind that only newer versions know is told from a broken one', () => {
    const { session } = heartbeat;
    const body = { kind: 'muted', session, group: groupId('web'), epoch: epochOf(revision(7)) };
    const newer = encodePeerDatagram(envelope, body as PeerMessage).with(5, 99);
    expect(decodePeerDatagram(newer)).toEqual({
      ok: true,
      value: { envelope, body: { kind: 'unknown', code: 99 } },
    });
    expect(decodePeerDatagram(newer.with(47, 0x2f)).ok).toBe(false);
  });

  test('decode(encode(x)) = x', () => {
    fc.assert(
      fc.property(envelopes, bodies, (head, body) => {
        expect(decodePeerDatagram(encodePeerDatagram(head, body))).toEqual({
          ok: true,
          value: { envelope: head, body },
        });
      }),
    );
  });

  test('decodes from a view into a larger buffer, and keeps no part of it', () => {
    const bytes = encodePeerDatagram(envelope, heartbeat);
    const pool = Buffer.alloc(bytes.length + 20, 0xee);
    pool.set(bytes, 10);
    const decoded = decodePeerDatagram(pool.subarray(10, 10 + bytes.length));
    pool.fill(0);
    expect(decoded).toEqual({ ok: true, value: { envelope, body: heartbeat } });
  });

  test('decoding never throws, neither on random bytes nor on damaged datagrams', () => {
    fc.assert(
      fc.property(
        bodies,
        fc.uint8Array({ maxLength: 200 }),
        fc.nat(300),
        fc.nat(255),
        (body, bytes, at, value) => {
          expect(typeof decodePeerDatagram(bytes).ok).toBe('boolean');
          const whole = encodePeerDatagram(envelope, body);
          expect(decodePeerDatagram(whole.subarray(0, whole.length - 1)).ok).toBe(false);
          // A damaged datagram may still say something; its MAC is what refuses it.
          const damaged = whole.with(at % whole.length, value);
          expect(typeof decodePeerDatagram(damaged).ok).toBe('boolean');
          expect(typeof decodePeerDatagram(damaged.subarray(1)).ok).toBe('boolean');
        },
      ),
    );
  });

  test.each([
    ['bytes behind the end', [...encodePeerDatagram(envelope, heartbeat), 0]],
    ['a name with a slash', encodePeerDatagram(envelope, heartbeat).with(47, 0x2f)],
    ['a counter beyond 2^53', encodePeerDatagram(envelope, heartbeat).with(22, 0xff)],
    [
      'a number that never ends',
      [...encodePeerDatagram(envelope, heartbeat).subarray(0, 56), ...Array<number>(20).fill(0x80)],
    ],
    ['more groups announced than sent', encodePeerDatagram(envelope, heartbeat).with(58, 5)],
  ])('%s is refused', (_name, bytes) => {
    expect(decodePeerDatagram(Uint8Array.from(bytes))).toEqual({
      ok: false,
      error: 'a malformed peer datagram',
    });
  });

  test('foreign magic, another version and oversize fail the cheap test', () => {
    const good = encodePeerDatagram(envelope, heartbeat);
    expect(looksLikePeerDatagram(good)).toBe(true);
    expect(looksLikePeerDatagram(good.with(0, 0))).toBe(false);
    expect(looksLikePeerDatagram(good.with(4, 2))).toBe(false);
    expect(looksLikePeerDatagram(new Uint8Array(10))).toBe(false);
    const oversize = new Uint8Array(DATAGRAM_LENGTH_MAX + 1);
    oversize.set(good);
    expect(looksLikePeerDatagram(oversize)).toBe(false);
    expect(decodePeerDatagram(oversize).ok).toBe(false);
  });
});

const armedOf = (message: PeerMessage): Heartbeat['armed'] =>
  message.kind === 'heartbeat' ? message.armed : [];

describe('splitMessage', () => {
  test('leaves a word about one holding whole', () => {
    fc.assert(
      fc.property(handoverWords, (word) => {
        expect(splitMessage(envelope, word)).toEqual([word]);
      }),
    );
  });

  test('every armed group is in exactly one part, in order, and every part fits a datagram', () => {
    fc.assert(
      fc.property(envelopes, heartbeats(300), (head, message) => {
        const parts = splitMessage(head, message);
        expect(parts.flatMap(armedOf)).toEqual(message.armed);
        for (const part of parts) {
          expect(part.session).toBe(message.session);
          const length = encodePeerDatagram(head, part).length + MAC_LENGTH;
          expect(length).toBeLessThanOrEqual(DATAGRAM_LENGTH_MAX);
        }
      }),
      { numRuns: 30 },
    );
  });

  test('255 groups with the longest names and epochs get through', () => {
    const longest = Array.from({ length: 255 }, (_, n) => ({
      group: groupId(`g${n}`.padEnd(63, 'x')),
      epoch: epochOf(revision(Number.MAX_SAFE_INTEGER)),
    }));
    const head = { ...envelope, cluster: 'c'.repeat(63), from: directorId('f'.repeat(63)) };
    const parts = splitMessage(head, { ...heartbeat, armed: longest });
    expect(parts.flatMap(armedOf)).toEqual(longest);
    expect(parts.length).toBeLessThanOrEqual(20);
  });

  test('a heartbeat without groups is one datagram', () => {
    expect(splitMessage(envelope, { ...heartbeat, armed: [] })).toEqual([
      { ...heartbeat, armed: [] },
    ]);
  });

  test('fit into one datagram with the longest names, also where a holder asks', () => {
    const long = 'x'.repeat(63);
    const most = Number.MAX_SAFE_INTEGER;
    const one = {
      group: groupId(long),
      epoch: epochOf(revision(most)),
      ownerRev: revision(most),
    };
    const hold: PeerMessage = {
      kind: 'hold',
      session: sessionIdOf(revision(most)),
      sessionRev: revision(most),
      round: most,
      part: most,
      basis: 'segment',
      forMs: most,
      groups: Array.from({ length: ASKED_GROUPS_MAX }, () => one),
    };
    const names = { cluster: long, from: directorId(long), to: directorId(long) };
    const bytes = encodePeerDatagram({ ...envelope, ...names }, hold);
    expect(bytes.length + MAC_LENGTH).toBeLessThanOrEqual(DATAGRAM_LENGTH_MAX);
    expect(splitMessage(names, hold)).toEqual([hold]);
  });
});
