/** Dumps that are decoded again and again: what has not changed is the very same, and every change is seen. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { IpvsDestination, ObservedDestination } from '../../../src/model/kernel.ts';
import { decodeDestination, DestinationDecoder } from '../../../src/wire/ipvs-destination.ts';
import { encodeOperation } from '../../../src/wire/ipvs.ts';
import { tcp } from '../../contract/ipvs-kernel.contract.ts';
import { ipvsDestination } from '../../support/ipvs-arbitraries.ts';
import { bodyOf, captured, loadCaptured } from './netlink-fixture.ts';

const VIP = tcp('10.90.0.100', 80);
const messages = loadCaptured('ipvsadm-more.txt');
const bodies = [3, 4, 5, 8, 10].map((line) =>
  bodyOf(captured(messages, `table-destination-${line}`)),
);

function decode(
  decoder: DestinationDecoder,
  body: Uint8Array,
  known: ObservedDestination | null,
): ObservedDestination {
  const decoded = decoder.decode(body, VIP, known);
  if (!decoded.ok) throw new Error(decoded.error);
  return decoded.value;
}

const bodyWith = (destination: IpvsDestination): Uint8Array =>
  encodeOperation({ op: 'add-destination', service: VIP, destination });

describe('a decoder of dumps', () => {
  test('gives what it knows where nothing has changed, and a new one for each change', () => {
    fc.assert(
      fc.property(ipvsDestination, ipvsDestination, (one, other) => {
        const decoder = new DestinationDecoder();
        const first = decode(decoder, bodyWith(one), null);
        const second = decode(decoder, bodyWith(other), first);
        expect(second).toMatchObject(other);
        expect(decode(decoder, bodyWith(other), second)).toBe(second);
        expect(decode(decoder, bodyWith(one), second)).toEqual(first);
      }),
    );
  });

  test('sees any byte of a kernel’s answer that differs: addresses, connections, counters, rates', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...bodies),
        fc.nat(),
        fc.integer({ min: 1, max: 255 }),
        (body, at, by) => {
          const decoder = new DestinationDecoder();
          const known = decode(decoder, body, null);
          expect(decode(decoder, Uint8Array.from(body), known)).toBe(known);
          const changed = Uint8Array.from(body);
          const place = at % body.length;
          changed[place] = (changed[place] ?? 0) ^ by;
          expect(decoder.decode(changed, VIP, known)).toEqual(decodeDestination(changed, VIP));
          // What was malformed leaves nothing behind.
          expect(decode(decoder, body, known)).toBe(known);
        },
      ),
      { numRuns: 2000 },
    );
  });
});
