/** What every PeerLink does, the fake of the simulator included. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { IpAddress } from '../../src/model/address.ts';
import {
  type DirectorId,
  directorId,
  epochOf,
  groupId,
  revision,
  sessionIdOf,
} from '../../src/model/ids.ts';
import type { PeerDelivery, PeerLink, PeerMessage } from '../../src/ports/peer-link.ts';

export type Member = { readonly director: DirectorId; readonly address: IpAddress };

export interface PeerLinkHarness {
  /** Two directors of one cluster. */
  readonly members: readonly [Member, Member];
  /** A link of the director; after `close` of the former one, again (a restart). */
  link(member: Member): Promise<PeerLink>;
  advance(ms: number): Promise<void>;
  /** Waits until the condition holds, for long on a busy machine; throws where it never does. */
  until(condition: () => boolean): Promise<void>;
}

/** Longer than a link waits between two hellos to one director. */
export const HELLO_PAUSE_MS = 10;

type Heartbeat = Extract<PeerMessage, { readonly kind: 'heartbeat' }>;

export const heartbeatOf = (session: number, groups: readonly string[] = []): Heartbeat => ({
  kind: 'heartbeat',
  session: sessionIdOf(revision(session)),
  armed: groups.map((group, n) => ({ group: groupId(group), epoch: epochOf(revision(1_000 + n)) })),
});

/** Collects in the background until the signal ends it. */
export function collect(link: PeerLink, signal: AbortSignal): PeerDelivery[] {
  const deliveries: PeerDelivery[] = [];
  const iterable = link.receive(signal);
  void (async () => {
    for await (const delivery of iterable) deliveries.push(delivery);
  })();
  return deliveries;
}

export function peerLinkContract(name: string, create: () => PeerLinkHarness): void {
  describe(`peer link contract: ${name}`, () => {
    let harness: PeerLinkHarness;
    let links: PeerLink[];
    let end: AbortController;
    const open = async (index: 0 | 1): Promise<PeerLink> => {
      const link = await harness.link(harness.members[index]);
      links.push(link);
      return link;
    };
    beforeEach(() => {
      harness = create();
      links = [];
      end = new AbortController();
    });
    afterEach(() => {
      end.abort();
      for (const link of links) link.close();
    });

    test('a message arrives once, as it was sent, from whom it was sent', async () => {
      const [one, two] = [await open(0), await open(1)];
      const heard = collect(two, end.signal);
      one.send(harness.members[1], heartbeatOf(7, ['web', 'mail']));
      await harness.until(() => heard.length > 0);
      expect(heard[0]).toMatchObject({
        from: harness.members[0].director,
        message: heartbeatOf(7, ['web', 'mail']),
      });
      // What came twice would come before the next one.
      one.send(harness.members[1], heartbeatOf(8));
      await harness.until(() => heard.some(({ message }) => message.session === 8));
      expect(heard.map(({ message }) => message.session)).toEqual([7, 8]);
      expect(two.counters().received).toBe(2);
    });

    test('all of 255 groups with the longest names get through, both ways', async () => {
      const [one, two] = [await open(0), await open(1)];
      const heard = [collect(one, end.signal), collect(two, end.signal)];
      const message = heartbeatOf(
        7,
        Array.from({ length: 255 }, (_, n) => `g${n}`.padEnd(63, 'x')),
      );
      one.send(harness.members[1], message);
      two.send(harness.members[0], message);
      const wanted = new Set(message.armed.map((entry) => `${entry.group} ${entry.epoch}`));
      const named = (deliveries: readonly PeerDelivery[]): ReadonlySet<string> =>
        new Set(
          deliveries
            .flatMap(({ message: part }) => (part.kind === 'heartbeat' ? part.armed : []))
            .map((entry) => `${entry.group} ${entry.epoch}`),
        );
      await harness.until(() => heard.every((each) => named(each).size >= wanted.size));
      for (const deliveries of heard) expect(named(deliveries)).toEqual(wanted);
    });

    test.each(['prepared', 'muted', 'verified'] as const)('the word %s arrives', async (kind) => {
      const [one, two] = [await open(0), await open(1)];
      const heard = collect(two, end.signal);
      const [armed] = heartbeatOf(7, ['web']).armed;
      if (armed === undefined) throw new Error('no group');
      const word = { kind, session: heartbeatOf(7).session, ...armed };
      one.send(harness.members[1], word);
      await harness.until(() => heard.length > 0);
      expect(heard.map(({ message }) => message)).toEqual([word]);
    });

    test('a restarted director is heard again, and hears', async () => {
      const [first, two] = [await open(0), await open(1)];
      const heard = collect(two, end.signal);
      first.send(harness.members[1], heartbeatOf(7));
      await harness.until(() => heard.length > 0);
      await harness.advance(HELLO_PAUSE_MS);
      first.close();
      const second = await open(0);
      const heardBySecond = collect(second, end.signal);
      second.send(harness.members[1], heartbeatOf(9));
      two.send(harness.members[0], heartbeatOf(8));
      await harness.until(() => heard.length > 1 && heardBySecond.length > 0);
      expect(heard.map((delivery) => delivery.message.session)).toEqual([7, 9]);
      expect(heardBySecond.map((delivery) => delivery.message.session)).toEqual([8]);
    });

    test('sending to nobody is no error, and neither is sending after close', async () => {
      const one = await open(0);
      for (let i = 0; i < 20; i++) one.send(harness.members[1], heartbeatOf(7));
      await harness.advance(20);
      one.close();
      one.send(harness.members[1], heartbeatOf(7));
      one.send({ ...harness.members[1], director: directorId('nobody') }, heartbeatOf(7));
      await harness.advance(20);
      expect(one.counters().received).toBe(0);
    });

    test('reading ends with the signal, and with the link', async () => {
      const two = await open(1);
      const own = new AbortController();
      const read = async (signal: AbortSignal): Promise<string> => {
        for await (const _ of two.receive(signal)) return 'heard';
        return 'ended';
      };
      const readings = [read(own.signal), read(end.signal)];
      own.abort();
      expect(await readings[0]).toBe('ended');
      two.close();
      expect(await readings[1]).toBe('ended');
    });
  });
}
