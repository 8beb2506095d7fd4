/** The sums of /proc/net/ip_vs: the same for the same table, however it is read, and others for any other. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { IpvsDestination } from '../../../src/model/kernel.ts';
import { TableSumReader, type TableSums, textNameOf } from '../../../src/wire/ipvs-table-text.ts';
import { ip, real, service, tcp } from '../../contract/ipvs-kernel.contract.ts';
import { FakeIpvsKernel } from '../../fakes/fake-kernel.ts';
import { formatTableText } from '../../support/ipvs-table-text.ts';

const encoder = new TextEncoder();
const VIP = tcp('10.90.0.100', 80);
const OTHER = tcp('fd90::100', 443);
const NAME = 'TCP 0A5A0064:0050';

function sumsOf(...pieces: readonly Uint8Array[]): TableSums {
  const reader = new TableSumReader();
  for (const piece of pieces) reader.read(piece);
  return reader.end();
}

function kernelWith(...destinations: readonly IpvsDestination[]): FakeIpvsKernel {
  const kernel = new FakeIpvsKernel();
  kernel.drift(
    { op: 'add-service', service: service(VIP) },
    ...destinations.map(
      (destination) => ({ op: 'add-destination', service: VIP, destination }) as const,
    ),
    { op: 'add-service', service: service(OTHER) },
    { op: 'add-destination', service: OTHER, destination: real('fd90::21', 443) },
  );
  return kernel;
}

const sumsIn = (kernel: FakeIpvsKernel): TableSums =>
  sumsOf(encoder.encode(formatTableText(kernel.table())));

describe('names', () => {
  test('are the first words of the line of the service', () => {
    expect(textNameOf(VIP)).toBe(NAME);
    expect(textNameOf(OTHER)).toBe('TCP [fd90:0000:0000:0000:0000:0000:0000:0100]:01BB');
    expect(textNameOf({ kind: 'fwmark', family: 6, mark: 0x7000_00ab })).toBe('FWM 700000AB');
    const sctp = { kind: 'address', protocol: 'sctp', address: ip('10.9.8.7'), port: 0 } as const;
    expect(textNameOf(sctp)).toBe('SCTP 0A090807:0000');
    expect([...sumsIn(kernelWith(real('10.90.0.21', 80))).keys()]).toEqual(
      expect.arrayContaining([textNameOf(VIP), textNameOf(OTHER)]),
    );
  });

  test('a mark of both families has a sum that equals nothing', () => {
    const kernel = new FakeIpvsKernel();
    for (const family of [4, 6] as const)
      kernel.drift({ op: 'add-service', service: service({ kind: 'fwmark', family, mark: 7 }) });
    expect(sumsIn(kernel).get('FWM 00000007')).toBeNaN();
  });
});

describe('sums', () => {
  test('do not tell connections, and hardly anything else is left out', () => {
    const kernel = kernelWith(real('10.90.0.21', 80), real('10.90.0.22', 80));
    const before = sumsIn(kernel);
    kernel.setConnections(VIP, real('10.90.0.21', 80), 1_234_567, 89);
    expect(sumsIn(kernel)).toEqual(before);
  });

  const one = real('10.90.0.21', 80, { weight: 1 });
  const two = real('10.90.0.22', 80, { weight: 2 });
  for (const [what, changed] of [
    ['a weight', [{ ...one, weight: 10 }, two]],
    [
      'weights that change places',
      [
        { ...one, weight: 2 },
        { ...two, weight: 1 },
      ],
    ],
    ['an address', [real('10.90.0.23', 80), two]],
    ['a port', [real('10.90.0.21', 8080), two]],
    ['the forwarding method', [{ ...one, forward: 'nat' as const }, two]],
    ['one that is gone', [one]],
    ['all that are gone', []],
    ['one more', [one, two, real('10.90.0.23', 80, { weight: 0 })]],
  ] as const)
    test(`${what} changes that of its service alone`, () => {
      const before = sumsIn(kernelWith(one, two));
      const after = sumsIn(kernelWith(...changed));
      expect(after.get(NAME)).not.toBe(before.get(NAME));
      expect(after.get(textNameOf(OTHER))).toBe(before.get(textNameOf(OTHER)));
    });

  test.each([
    ['scheduler', { scheduler: 'rr' }],
    ['persistence', { flags: 1, timeoutS: 50 }],
    ['one packet', { flags: 4 }],
  ])('%s changes it too', (_, changes) => {
    const kernel = kernelWith(one);
    const before = sumsIn(kernel).get(NAME);
    kernel.drift({ op: 'set-service', service: service(VIP, changes) });
    expect(sumsIn(kernel).get(NAME)).not.toBe(before);
  });

  test('are the same in pieces of any size', () => {
    const text = encoder.encode(formatTableText(kernelWith(one, two).table()));
    const whole = sumsOf(text);
    fc.assert(
      fc.property(fc.array(fc.nat({ max: text.length }), { maxLength: 8 }), (cuts) => {
        const places = [0, ...cuts.toSorted((a, b) => a - b), text.length];
        const pieces = places.slice(1).map((end, i) => text.subarray(places[i], end));
        expect(sumsOf(...pieces)).toEqual(whole);
      }),
    );
  });

  test('whatever the bytes are, they are read', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
        expect(sumsOf(bytes)).toBeInstanceOf(Map);
      }),
    );
  });
});
