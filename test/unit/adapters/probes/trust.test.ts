/** Files that cannot be trusted are this director's own fault, never a real server's. */
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { rootCertificates } from 'node:tls';
import { afterAll, describe, expect, it } from 'vitest';
import { Trust } from '../../../../src/adapters/probes/trust.ts';
import { FakeClock } from '../../../fakes/fake-clock.ts';

const directory = mkdtempSync(join(tmpdir(), 'leasehold-trust-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));
const [one = '', two = ''] = rootCertificates;
const ca = join(directory, 'ca.pem');

describe('a file of authorities', () => {
  it.each<[string, string, RegExp]>([
    ['is empty', '', /cannot use .*ca\.pem: it has no certificate \(PEM\)$/],
    ['holds something else', 'hello\n', /it has no certificate/],
    [
      'holds a key',
      ['-----BEGIN ', 'KEY-----\nMIIB\n-----END ', 'KEY-----\n'].join('PRIVATE '),
      /no certific/,
    ],
    ['is half written', `${one}\n${two.slice(0, 300)}`, /its last certificate is cut off$/],
    ['is broken', one.replace(/\n[^\n]{20}/, '\n====='), /cannot use .*ca\.pem: /],
  ])('that %s is refused', (_, text, wanted) => {
    writeFileSync(ca, text);
    const context = new Trust(new FakeClock()).contextFor({ ca, cert: null, key: null });
    expect(context).toMatchObject({ ok: false, error: expect.stringMatching(wanted) as string });
  });

  it('with certificates is taken; a broken replacement is no verdict on anybody', async () => {
    const clock = new FakeClock();
    const trust = new Trust(clock);
    const files = { ca, cert: null, key: null };
    writeFileSync(ca, `# comment\n${one}\n${two}\n`);
    expect(trust.contextFor(files).ok).toBe(true);
    writeFileSync(ca, '');
    await clock.advance(5_000);
    expect(trust.contextFor(files).ok).toBe(false);
    writeFileSync(ca, one);
    await clock.advance(5_000);
    expect(trust.contextFor(files).ok).toBe(true);
  });

  // A throw would end the thread, and with it the checks of all others.
  it.each([
    ['behind a loop of links', () => symlinkSync('loop', join(directory, 'loop')), 'loop', /ELOOP/],
    ['behind what is no directory', () => writeFileSync(ca, one), 'ca.pem/ca.pem', /ENOTDIR/],
    ['with too long a name', () => {}, 'a'.repeat(300), /ENAMETOOLONG/],
    ['that is not there', () => {}, 'nothing.pem', /ENOENT/],
  ])('that cannot be reached, %s, is refused', (_, prepare, name, wanted) => {
    prepare();
    const trust = new Trust(new FakeClock());
    for (const files of [
      { ca: join(directory, name), cert: null, key: null },
      { ca: null, cert: join(directory, name), key: join(directory, name) },
    ])
      expect(trust.contextFor(files)).toMatchObject({
        ok: false,
        error: expect.stringMatching(wanted) as string,
      });
  });

  it('must be a regular one', () => {
    const context = new Trust(new FakeClock()).contextFor({ ca: directory, cert: null, key: null });
    expect(context).toEqual({
      ok: false,
      error: `cannot use ${directory}: it is no regular file`,
    });
  });
});

it('sees that the bundle of the system was replaced', async () => {
  const clock = new FakeClock();
  const bundle = join(directory, 'bundle.pem');
  const trust = new Trust(clock, () => bundle);
  const contextNow = () => trust.contextFor({ ca: null, cert: null, key: null });
  writeFileSync(bundle, one);
  const before = contextNow();
  expect(before.ok).toBe(true);
  await clock.advance(5_000);
  expect(contextNow()).toBe(before);
  writeFileSync(bundle, two);
  await clock.advance(5_000);
  expect(contextNow()).not.toBe(before);
});
