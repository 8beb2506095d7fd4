/** Documents in the store: readable where they are short, packed where they are long. */
import { deflateSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { createZlibCodec } from '../../../../src/adapters/documents/zlib-codec.ts';
import { parseRecord, SpecRecord } from '../../../../src/model/records.ts';
import { FakeClock } from '../../../fakes/fake-clock.ts';

const codec = createZlibCodec({ clock: new FakeClock() });
const about = { by: 'op', at: '2026-01-01T00:00:00.000Z' };

/** Servers whose addresses are `bits` hard to pack. */
const documentOf = (count: number, noise = ''): object => ({
  services: {
    web: {
      realServers: Array.from({ length: count }, (_, i) => ({
        address: `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`,
        note: noise === '' ? 'ü' : `${noise}${Math.imul(i + 1, 0x9e3779b1) >>> 0}${i ** 5}`,
      })),
    },
  },
});

const format = async (document: unknown): Promise<string> => {
  const formatted = await codec.format({ document, ...about });
  if (!formatted.ok) throw new Error(formatted.error);
  return formatted.value;
};

const recordOf = (value: string): SpecRecord => {
  const parsed = parseRecord(SpecRecord, value);
  if (!parsed.ok) throw new Error(parsed.error);
  return parsed.value;
};

describe('a cluster document in the store', () => {
  it('is plain JSON where it is short', async () => {
    const document = documentOf(1000);
    const value = await format(document);
    expect(JSON.parse(value)).toEqual({ v: 1, document, ...about });
    expect(await codec.read(recordOf(value))).toEqual({ ok: true, value: document });
  });

  it('is packed where it is long: 37,000 listed real servers take a small part of what etcd takes', async () => {
    const document = documentOf(37_000);
    const value = await format(document);
    expect(value.length).toBeLessThan(300_000);
    expect(recordOf(value)).toMatchObject({ v: 2, ...about });
    expect(await codec.read(recordOf(value))).toEqual({ ok: true, value: document });
  });

  it('is refused with its size and a remedy where it is still too long', async () => {
    const refused = await codec.format({ document: documentOf(200_000, 'x'), ...about });
    expect(refused.ok ? '' : refused.error).toMatch(
      /^the document has \d+ bytes of JSON, and \d+ when it is packed; the cluster store takes 1400000\. .*ranges/,
    );
  });

  it.each([
    ['is no base64 of anything', 'AAAA', 3],
    ['ends early', deflateSync('{"a":1}').subarray(0, -6).toString('base64'), 7],
    ['is no JSON', deflateSync('{"a":').toString('base64'), 5],
    ['has another size', deflateSync('{"a":1}').toString('base64'), 8],
  ])('is told where it %s', async (_name, packed, bytes) => {
    const read = await codec.read({ v: 2, packed, bytes, ...about });
    expect(read.ok ? '' : read.error).toMatch(/^the packed document /);
  });

  it('is not unpacked to gigabytes', async () => {
    const packed = deflateSync(Buffer.alloc(65_000_000, 32)).toString('base64');
    const read = await codec.read({ v: 2, packed, bytes: 65_000_000, ...about });
    expect(read.ok ? '' : read.error).toContain('the packed document cannot be read');
  });
});
