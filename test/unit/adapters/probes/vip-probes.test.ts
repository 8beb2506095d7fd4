/** The life of looks along a VIP's path: sockets are there while one waits, and what comes late is ended. */
import { describe, expect, test } from 'vitest';
import type { Outcome, RunningProbe } from '../../../../src/adapters/probes/probe.ts';
import { VipProbes } from '../../../../src/adapters/probes/vip-probes.ts';
import { ok } from '../../../../src/lib/result.ts';
import type { VipCheck } from '../../../../src/model/check.ts';
import { checkId } from '../../../../src/model/ids.ts';
import {
  decodeHeard,
  encodeSegment,
  TCP_ACK,
  TCP_RST,
  TCP_SYN,
} from '../../../../src/wire/vip-packets.ts';
import { encodeLinkAddress } from '../../../../src/adapters/raw-sockets/socket-address.ts';
import { formatMac, type IpAddress, macToBytes } from '../../../../src/model/address.ts';
import { encodeArpReply } from '../../../../src/wire/arp.ts';
import { FakeClock } from '../../../fakes/fake-clock.ts';
import { ip, TCP_CHECK } from '../../core/desired/spec-builders.ts';
import { FakeLibc } from '../raw-sockets/fake-libc.ts';

const [OWN, RS, VIP] = [ip('10.90.0.11'), ip('192.0.2.21'), ip('10.90.0.100')];
const PORT = 40_000;
/** Into a tunnel: no link, and so nobody's MAC address, is needed. */
const SPEC: VipCheck = {
  kind: 'vip',
  vip: VIP,
  ask: 'tcp',
  arp: 'fail',
  tunnel: { type: 'ipip', port: 0 },
  own: { address: OWN, vips: [VIP] },
};
const TIMEOUT_MS = 900;

class World {
  readonly clock = new FakeClock();
  readonly libc = new FakeLibc();
  readonly outcomes: Outcome[] = [];
  #random = 0;
  readonly probes = new VipProbes({
    clock: this.clock,
    libc: () => this.libc,
    random16: () => (this.#random = (this.#random + 0x1111) & 0xffff),
    ownAddresses: () => ok([{ device: 'eth0', address: OWN, prefix: 24 }]),
  });

  constructor() {
    this.libc.name = Uint8Array.of(2, 0, PORT >> 8, PORT & 255);
  }

  start(fields: Partial<VipCheck> = {}, address = RS): RunningProbe {
    const spec = { ...TCP_CHECK, ...SPEC, ...fields, timeoutMs: TIMEOUT_MS };
    const check = { id: checkId('c'), address, port: 80, spec };
    return this.probes.start(check, spec, (outcome) => this.outcomes.push(outcome));
  }

  segments() {
    return this.libc.sent.flatMap(({ bytes }) => {
      const isFrame = bytes[12] === 8 && bytes[13] === 0;
      const heard = decodeHeard(isFrame ? bytes.subarray(14) : bytes);
      return heard.ok && heard.value.kind === 'segment' ? [heard.value] : [];
    });
  }

  /** What the real server says to the segment of that number. */
  accept(number: number, destination = OWN): void {
    const asked = this.segments()[number];
    if (asked === undefined) throw new Error('nothing was asked');
    const between = { source: asked.destination, destination, hopLimit: 64 };
    this.libc.waiting.push(
      encodeSegment(between, {
        sourcePort: 80,
        destinationPort: PORT,
        sequence: 1,
        acknowledgement: (asked.sequence + 1) >>> 0,
        flags: TCP_SYN | TCP_ACK,
      }),
    );
  }
}

test('an answer ends the look, the connection and the sockets', async () => {
  const world = new World();
  world.start();
  expect(world.segments()).toMatchObject([{ source: OWN, destination: VIP, flags: TCP_SYN }]);
  expect(world.outcomes).toEqual([]);
  world.accept(0);
  await world.clock.advance(20);
  expect(world.outcomes).toEqual([{ kind: 'up', detail: 'answers as 10.90.0.100' }]);
  expect(world.segments()[1]).toMatchObject({ destination: VIP, flags: TCP_RST });
  expect([...world.libc.open]).toEqual([]);
});

test('looks that run together have one port and one ear, and each its own answer', async () => {
  const world = new World();
  for (let n = 0; n < 3; n++) world.start();
  expect(world.libc.kinds).toHaveLength(3);
  world.accept(1);
  await world.clock.advance(20);
  expect(world.outcomes).toHaveLength(1);
  world.accept(0);
  world.accept(2);
  await world.clock.advance(20);
  expect(world.outcomes).toHaveLength(3);
  expect([...world.libc.open]).toEqual([]);
});

test('silence is asked once more, and told at the deadline', async () => {
  const world = new World();
  const running = world.start();
  await world.clock.advance(TIMEOUT_MS / 3 + 20);
  expect(world.segments().map(({ destination }) => destination)).toEqual([VIP, VIP, RS]);
  await world.clock.advance(TIMEOUT_MS);
  expect(world.outcomes).toEqual([]);
  expect(running.expire()).toMatchObject({ kind: 'down', reason: 'unreachable' });
});

describe('when a look is over', () => {
  test('what comes late is ended, and then nothing is left', async () => {
    const world = new World();
    const running = world.start();
    running.expire();
    expect(world.libc.open.size).toBeGreaterThan(0);
    world.accept(0);
    await world.clock.advance(50);
    expect(world.segments()[1]).toMatchObject({ destination: VIP, flags: TCP_RST });
    expect([...world.libc.open]).toEqual([]);
    expect(world.outcomes).toEqual([]);
  });

  test('nothing is left soon, though nothing comes', async () => {
    const world = new World();
    world.start().abort();
    await world.clock.advance(1_000);
    expect(world.libc.open.size).toBeGreaterThan(0);
    await world.clock.advance(600);
    expect([...world.libc.open]).toEqual([]);
  });

  test('a new one begins with new sockets', async () => {
    const world = new World();
    world.start();
    world.accept(0);
    await world.clock.advance(20);
    world.start();
    world.accept(2);
    await world.clock.advance(20);
    expect(world.outcomes).toHaveLength(2);
    expect([...world.libc.open]).toEqual([]);
  });
});

test('a connection of an earlier look that stands half open is ended', async () => {
  const world = new World();
  world.start();
  world.accept(0);
  const [old] = world.libc.waiting;
  if (typeof old !== 'object') throw new Error('no answer');
  // The acknowledgement of other segments, and no SYN: as RFC 9293 3.10.7.4 has it.
  old[29] = (old[29] ?? 0) ^ 0xff;
  old[33] = TCP_ACK;
  await world.clock.advance(20);
  expect(world.outcomes).toEqual([]);
  expect(world.segments().slice(1)).toMatchObject([{ destination: VIP, flags: TCP_RST }]);
});

test('what is for a guest of this machine is left to it', async () => {
  const world = new World();
  const running = world.start();
  world.accept(0, ip('10.90.0.44'));
  await world.clock.advance(20);
  expect(world.outcomes).toEqual([]);
  expect(world.segments()).toHaveLength(1);
  running.abort();
  await world.clock.advance(2_000);
});

describe('on a link', () => {
  const [RS_MAC, NEAR] = [formatMac(Uint8Array.of(2, 0, 0, 0, 0, 0x21)), ip('10.90.0.21')];
  const ETHERTYPE_ARP = 0x0806;
  /** As FakeLibc has it, and another that carries it. */
  const [DEVICE, CARRIER] = [2, 7];

  /** The real server says who it is, and is heard by a device. */
  function say(world: World, senderIp: IpAddress, deviceIndex = DEVICE): void {
    const frame = encodeArpReply({ mac: RS_MAC, senderIp, targetMac: RS_MAC, targetIp: OWN });
    const place = { deviceIndex, etherType: ETHERTYPE_ARP, destination: macToBytes(RS_MAC) };
    world.libc.sender = encodeLinkAddress(place);
    world.libc.waiting.push(frame.subarray(14));
  }

  function looking(): World {
    const world = new World();
    world.libc.fill = (_, request) => {
      new DataView(request.buffer).setUint16(16, 1, true);
    };
    world.start({ tunnel: null }, NEAR);
    return world;
  }

  test('one that answers for the VIP is down', async () => {
    const world = looking();
    say(world, NEAR);
    await world.clock.advance(5);
    expect(world.segments()).toHaveLength(1);
    say(world, VIP);
    await world.clock.advance(20);
    expect(world.outcomes).toMatchObject([{ kind: 'down', reason: 'answers-arp' }]);
    await world.clock.advance(2_000);
    expect([...world.libc.open]).toEqual([]);
  });

  test('its first answer, heard once more below a bond or VLAN, stands for no other', async () => {
    const world = looking();
    say(world, NEAR);
    await world.clock.advance(5);
    say(world, NEAR, CARRIER);
    await world.clock.advance(5);
    world.accept(0);
    await world.clock.advance(50);
    // Whether it answers for the VIP is not known before it has answered what was asked after that.
    expect(world.outcomes).toEqual([]);
    say(world, NEAR);
    await world.clock.advance(20);
    expect(world.outcomes).toMatchObject([{ kind: 'up' }]);
    await world.clock.advance(2_000);
    expect([...world.libc.open]).toEqual([]);
  });
});

describe('what fails here says nothing of the real server', () => {
  test.each(['socket', 'bind', 'listen', 'getsockname', 'attachFilter', 'sendto'] as const)(
    'where %s fails',
    async (call) => {
      const world = new World();
      world.libc.failures.set(call, 'EPERM');
      world.start();
      expect(world.outcomes).toEqual([]);
      await Promise.resolve();
      expect(world.outcomes).toMatchObject([{ kind: 'local' }]);
      expect([...world.libc.open]).toEqual([]);
    },
  );

  test('where answers were lost', () => {
    const world = new World();
    const running = world.start();
    world.libc.statistics.push(9, 0, 0, 0, 4, 0, 0, 0);
    expect(running.expire()).toMatchObject({
      kind: 'local',
      detail: expect.stringContaining('more answers'),
    });
  });

  test('and is not said when nobody wants to know', async () => {
    const world = new World();
    world.libc.failures.set('socket', 'EMFILE');
    world.start().abort();
    await Promise.resolve();
    expect(world.outcomes).toEqual([]);
  });
});
