/** The peer link's contract on the fake and over loopback, and what attackers may try against the real one. */
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createSystemClock } from '../../src/adapters/clock/system-clock.ts';
import { createSystemRandom } from '../../src/adapters/clock/system-random.ts';
import { Authenticator } from '../../src/adapters/peer-link/authenticator.ts';
import {
  createPeerLink,
  type PeerLinkOptions,
} from '../../src/adapters/peer-link/create-peer-link.ts';
import { formatIp } from '../../src/model/address.ts';
import { directorId } from '../../src/model/ids.ts';
import { silentLog } from '../../src/ports/log.ts';
import type { PeerLink } from '../../src/ports/peer-link.ts';
import { MAC_LENGTH } from '../../src/wire/peer-message.ts';
import { FakeClock } from '../fakes/fake-clock.ts';
import { FakePeerNetwork } from '../fakes/fake-peer-link.ts';
import { SeededRandom } from '../fakes/seeded-random.ts';
import {
  collect,
  HELLO_PAUSE_MS,
  heartbeatOf,
  type Member,
  peerLinkContract,
} from './peer-link.contract.ts';

const member = (n: number): Member => ({
  director: directorId(`d${n}`),
  address: formatIp(Uint8Array.of(127, 0, 90, n)),
});
const D1 = member(1);
const D2 = member(2);
const OLD_KEY = new Uint8Array(32).fill(1);
const NEW_KEY = new Uint8Array(32).fill(2);
/** Below the ephemeral range, another one each time so that no late datagram meets the next test. */
let port = 20_000 + (process.pid % 10_000);

/** For a busy machine; a datagram over loopback takes less than a millisecond. */
const LIMIT_MS = 20_000;
const until = async (condition: () => boolean): Promise<void> => {
  await expect.poll(condition, { timeout: LIMIT_MS, interval: 2 }).toBe(true);
};

/** Not before it is bound, or has failed to; `events` gets what it logs. */
async function openLink(
  { director, address }: Member,
  options: Partial<PeerLinkOptions> = {},
  events: string[] = [],
): Promise<PeerLink> {
  const note = (_fields: object, event: string): void => void events.push(event);
  const link = createPeerLink(
    { director, cluster: 'lab', bindAddress: address, port, keys: [OLD_KEY], ...options },
    {
      clock: createSystemClock(),
      log: { ...silentLog, info: note, error: note },
      random: createSystemRandom(),
    },
  );
  await until(() => events.length > 0);
  return link;
}

peerLinkContract('fake', () => {
  const clock = new FakeClock();
  const network = new FakePeerNetwork({ clock, random: new SeededRandom(1) });
  return {
    members: [D1, D2],
    link: async ({ director, address }) => network.link(director, address),
    advance: (ms) => clock.advance(ms),
    until: async (condition) => {
      for (let spent = 0; spent < 1000 && !condition(); spent += 10) await clock.advance(10);
      expect(condition()).toBe(true);
    },
  };
});

peerLinkContract('UDP over loopback', () => {
  port++;
  return {
    members: [D1, D2],
    link: (member) => openLink(member),
    advance: (ms) => sleep(ms),
    until,
  };
});

describe('the fake network', () => {
  test('cuts one direction, loses, duplicates and delays as told', async () => {
    const clock = new FakeClock();
    const network = new FakePeerNetwork({ clock, random: new SeededRandom(1) });
    const [one, two] = [D1, D2].map((each) => network.link(each.director, each.address));
    if (one === undefined || two === undefined) throw new Error('two links');
    const end = new AbortController();
    const [heardByOne, heardByTwo] = [collect(one, end.signal), collect(two, end.signal)];
    network.cut(D1.director, D2.director);
    one.send(D2, heartbeatOf(1));
    two.send(D1, heartbeatOf(2));
    await clock.advance(10);
    expect([heardByOne.length, heardByTwo.length]).toEqual([1, 0]);
    network.heal(D1.director, D2.director);
    network.setFaults({ duplication: 1, delayMinMs: 50, delayMaxMs: 80 });
    one.send(D2, heartbeatOf(3));
    await clock.advance(49);
    expect(heardByTwo).toHaveLength(0);
    await clock.advance(31);
    expect(heardByTwo).toHaveLength(1);
    expect(two.counters().rejected.replayed).toBe(1);
    network.setFaults({ loss: 1 });
    one.send(D2, heartbeatOf(4));
    await clock.advance(100);
    expect(heardByTwo).toHaveLength(1);
    end.abort();
  });
});

describe('the real link against an attacker who records and replays', () => {
  let links: PeerLink[];
  let attacker: Socket;
  let end: AbortController;

  beforeEach(async () => {
    port++;
    links = [];
    end = new AbortController();
    attacker = createSocket('udp4');
    attacker.bind(0, '127.0.90.66');
    await once(attacker, 'listening');
  });
  afterEach(() => {
    end.abort();
    for (const link of links) link.close();
    attacker.close();
  });

  const open = async (
    who: Member,
    options: Partial<PeerLinkOptions> = {},
    events: string[] = [],
  ): Promise<PeerLink> => {
    const link = await openLink(who, options, events);
    links.push(link);
    return link;
  };
  /** Sent when it resolves: what one socket sends to another arrives in order. */
  const inject = (bytes: Uint8Array, to: Member): Promise<void> =>
    new Promise((resolve, reject) => {
      attacker.send(bytes, port, to.address, (error) => (error ? reject(error) : resolve()));
    });
  const rejectedBy = (link: PeerLink): number => {
    const { malformed, unauthentic, replayed } = link.counters().rejected;
    return malformed + unauthentic + replayed;
  };
  /** A wire tap: d1 sends to d2 by way of it, and it passes everything on. */
  const tap = async (
    change: (bytes: Buffer) => Uint8Array = (bytes) => bytes,
  ): Promise<{ via: Member; recorded: Buffer[]; close: () => void }> => {
    const via: Member = { ...D2, address: member(77).address };
    const recorded: Buffer[] = [];
    const wire = createSocket('udp4');
    wire.on('message', (bytes, from) => {
      if (from.address === D2.address) wire.send(bytes, port, D1.address);
      else {
        recorded.push(bytes);
        wire.send(change(bytes), port, D2.address);
      }
    });
    wire.bind(port, via.address);
    await once(wire, 'listening');
    return { via, recorded, close: () => wire.close() };
  };

  test('garbage, a foreign key and another cluster are counted and not delivered', async () => {
    const two = await open(D2);
    const heard = collect(two, end.signal);
    await inject(Uint8Array.of(1, 2, 3), D2);
    await inject(new Uint8Array(1_500), D2);
    const stranger = await open(D1, { keys: [NEW_KEY] });
    stranger.send(D2, heartbeatOf(1));
    await until(() => rejectedBy(two) === 3);
    stranger.close();
    const otherCluster = await open(member(3), { cluster: 'other' });
    otherCluster.send(D2, heartbeatOf(1));
    await until(() => rejectedBy(two) === 4);
    expect(two.counters().rejected).toEqual({ malformed: 2, unauthentic: 2, replayed: 0 });
    expect(heard).toEqual([]);
  });

  test('a changed bit anywhere makes it unauthentic or malformed', async () => {
    const [one, two] = [await open(D1), await open(D2)];
    const heard = collect(two, end.signal);
    const wire = await tap();
    one.send(wire.via, heartbeatOf(1, ['web']));
    await until(() => heard.length === 1);
    const datagram = wire.recorded.at(-1) ?? Buffer.alloc(0);
    for (let at = 0; at < datagram.length; at += 3) {
      const damaged = Buffer.from(datagram);
      damaged[at] = (damaged[at] ?? 0) ^ 1;
      await inject(damaged, D2);
    }
    const count = Math.ceil(datagram.length / 3);
    await until(() => rejectedBy(two) + heard.length > count);
    const { malformed, unauthentic } = two.counters().rejected;
    expect(malformed + unauthentic).toBe(count);
    expect(heard).toHaveLength(1);
    wire.close();
  });

  test('a kind that only newer versions know is counted and dropped, a recording of it no less', async () => {
    const [one, two] = [await open(D1), await open(D2)];
    const heard = collect(two, end.signal);
    const authenticator = new Authenticator([OLD_KEY]);
    const KIND_AT = 5;
    const wire = await tap((bytes) =>
      authenticator.sign(
        bytes.subarray(0, bytes.length - MAC_LENGTH).fill(99, KIND_AT, KIND_AT + 1),
      ),
    );
    one.send(wire.via, heartbeatOf(1, ['web']));
    await until(() => two.counters().received > 0);
    expect(two.counters()).toMatchObject({
      received: 1,
      unknown: 1,
      rejected: { malformed: 0, unauthentic: 0 },
    });
    const { replayed } = two.counters().rejected;
    const last = wire.recorded.at(-1) ?? Buffer.alloc(0);
    await inject(authenticator.sign(last.subarray(0, last.length - MAC_LENGTH)), D2);
    await until(() => rejectedBy(two) > replayed);
    expect(two.counters()).toMatchObject({ unknown: 1, rejected: { replayed: replayed + 1 } });
    expect(heard).toEqual([]);
    wire.close();
  });

  test('a replay in the same life, to somebody else, or back to its sender is not delivered', async () => {
    const [one, two, three] = [await open(D1), await open(D2), await open(member(3))];
    const heard = [one, two, three].map((link) => collect(link, end.signal));
    const wire = await tap();
    one.send(wire.via, heartbeatOf(1));
    await until(() => heard[1]?.length === 1);
    for (const datagram of wire.recorded)
      for (const victim of [D1, D2, member(3)]) await inject(datagram, victim);
    // The last one shows a challenge: there is nothing that would be asked of its sender.
    const count = wire.recorded.length;
    await until(
      () => rejectedBy(two) > 0 && [one, three].every((each) => rejectedBy(each) >= count),
    );
    expect(heard.map((deliveries) => deliveries.length)).toEqual([0, 1, 0]);
    expect(two.counters().rejected.replayed).toBeGreaterThan(0);
    expect(three.counters().rejected.replayed).toBe(wire.recorded.length);
    wire.close();
  });

  test('a dead director does not come alive by its recordings, not even after a restart of the receiver', async () => {
    const [one, two] = [await open(D1), await open(D2)];
    const wire = await tap();
    for (let session = 1; session <= 5; session++) {
      one.send(wire.via, heartbeatOf(session));
      await until(() => two.counters().received === session);
    }
    one.close();
    two.close();
    const restarted = await open(D2);
    const heard = collect(restarted, end.signal);
    for (const datagram of wire.recorded) await inject(datagram, D2);
    // The first shows no challenge, the others one of the life before.
    await until(() => rejectedBy(restarted) + heard.length >= wire.recorded.length - 1);
    expect(wire.recorded.length).toBeGreaterThan(5);
    expect(heard).toEqual([]);
    // The director itself comes back and is heard.
    const again = await open(D1);
    await sleep(HELLO_PAUSE_MS);
    again.send(D2, heartbeatOf(9));
    await until(() => heard.length > 0);
    expect(heard.map((delivery) => delivery.message.session)).toEqual([9]);
    wire.close();
  });

  test('keys rotate without silence: the first signs, all verify', async () => {
    const one = await open(D1, { keys: [NEW_KEY, OLD_KEY] });
    const two = await open(D2, { keys: [OLD_KEY, NEW_KEY] });
    const [heardByOne, heardByTwo] = [collect(one, end.signal), collect(two, end.signal)];
    one.send(D2, heartbeatOf(1));
    two.send(D1, heartbeatOf(2));
    await until(() => heardByOne.length > 0 && heardByTwo.length > 0);
    expect([heardByOne.length, heardByTwo.length]).toEqual([1, 1]);
  });

  test('a link whose address is taken binds as soon as it is free', async () => {
    const blocker = createSocket('udp4');
    blocker.bind(port, D2.address);
    await once(blocker, 'listening');
    const taken = once(blocker, 'message');
    const events: string[] = [];
    const two = await open(D2, {}, events);
    expect(events).toEqual(['peer-link.failed']);
    const heard = collect(two, end.signal);
    const one = await open(D1);
    one.send(D2, heartbeatOf(1));
    await taken;
    blocker.close();
    await until(() => events.includes('peer-link.bound'));
    one.send(D2, heartbeatOf(2));
    await until(() => heard.length > 0);
    expect(heard.map((delivery) => delivery.message.session)).toEqual([2]);
  });
});
