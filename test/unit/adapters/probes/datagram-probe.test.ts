/** What a datagram that never left says of its target: nothing. */
import { expect, it } from 'vitest';
import { startDatagram } from '../../../../src/adapters/probes/datagram-probe.ts';
import { ProbeSockets } from '../../../../src/adapters/probes/probe-sockets.ts';
import { parseIp } from '../../../../src/model/address.ts';
import { ANY_ORIGIN } from '../../../../src/model/check.ts';

it.each([true, false])('is this machine’s own fault, reply wanted or not: %s', (isWanted) => {
  const address = parseIp('127.0.0.1');
  if (!address.ok) throw new Error(address.error);
  const place = { address: address.value, port: 9, origin: ANY_ORIGIN };
  const silence = () => ({ kind: 'up', detail: 'silence' }) as const;
  const talk = { send: Uint8Array.of(1), judge: () => null, ...(isWanted ? {} : { silence }) };
  const running = startDatagram(place, 100, talk, new ProbeSockets(), () => {});
  // Nothing has happened yet on this thread: a stall as long as the timeout looks the same.
  expect(running.expire()).toEqual({
    kind: 'local',
    detail: 'the datagram could not be sent in time',
  });
});
