/** Whatever stands where a check should: it is judged, never thrown at. What passes can be probed. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Probes } from '../../../src/adapters/probes/run-probe.ts';
import { parseClusterDocument } from '../../../src/config/cluster-document.ts';
import { deriveChecks } from '../../../src/core/health/checks.ts';
import { CHECK_KINDS } from '../../../src/model/check.ts';
import { FakeClock } from '../../fakes/fake-clock.ts';
import { withValue } from './documents.ts';

const place = ['services', 'http', 'check'] as const;
const WORDS =
  'send expect path status match noMatch digest requests host name type rcode answer payload reply command user ' +
  'weight cert key regex hex all any port source mark interval timeout retry address interface security';
const scalar = fc.oneof(
  fc.constantFrom(
    '/x',
    '200-299',
    '1s',
    '10.90.0.9',
    'd1',
    'a1xx',
    '(a',
    'GET',
    'starttls',
    'A',
    'md5:00',
    '~',
  ),
  fc.constantFrom(0, 1, 80, 200, -1, 70_000, true, false, null),
  fc.string({ maxLength: 8 }),
);
const { value: anyValue } = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    scalar,
    fc.array(tie('value'), { maxLength: 3 }),
    fc.dictionary(fc.constantFrom(...CHECK_KINDS, ...WORDS.split(' ')), tie('value'), {
      maxKeys: 4,
    }),
  ),
}));

describe('anything as a check', () => {
  it('gives problems with paths and remedies, or a document', () => {
    fc.assert(
      fc.property(anyValue, (value) => {
        const parsed = parseClusterDocument(withValue(place, value));
        if (parsed.ok) return;
        for (const { path, message, allowed } of parsed.error) {
          expect(path).not.toBe('');
          expect(message).not.toBe('');
          expect(allowed).not.toBe('');
        }
      }),
      { numRuns: 400 },
    );
  });
});

describe('what passes can be probed', () => {
  const Text = fc.string({ minLength: 1, maxLength: 20 });
  const hex = fc
    .uint8Array({ minLength: 1, maxLength: 9 })
    .map((bytes) => ({ hex: Buffer.from(bytes).toString('hex') }));
  const bytes = fc.oneof(Text, hex);
  const match = fc.oneof(bytes, fc.record({ regex: Text }, { requiredKeys: ['regex'] }));
  const kind = fc.oneof(
    fc.record({ tcp: fc.record({ send: bytes, expect: match }, { requiredKeys: [] }) }),
    fc.record({
      tls: fc.record({ send: bytes, expect: match, daysLeft: fc.nat(4000) }, { requiredKeys: [] }),
    }),
    fc.record({
      http: fc.record({ path: Text, match, noMatch: match, body: bytes }, { requiredKeys: [] }),
    }),
    fc.record({ dns: fc.record({ name: Text, match, answer: Text }, { requiredKeys: [] }) }),
    fc.record({
      udp: fc.record({ payload: bytes, reply: Text, minLength: fc.nat() }, { requiredKeys: [] }),
    }),
  );

  it('whatever its words are', () => {
    const clock = new FakeClock();
    const probes = new Probes({ clock, random16: () => 7 });
    let passed = 0;
    fc.assert(
      fc.property(kind, (check) => {
        const parsed = parseClusterDocument(withValue(place, check));
        if (!parsed.ok) return;
        passed++;
        for (const one of deriveChecks(parsed.value.spec).checks) probes.compile(one);
      }),
      { numRuns: 400 },
    );
    expect(passed).toBeGreaterThan(40);
  });
});
