/** One look along a VIP's path against a real server that is nothing but what it answers. */
import { describe, expect, test } from 'vitest';
import { type LookOf, VipLook } from '../../../../src/adapters/probes/vip-look.ts';
import { err, ok, type Result } from '../../../../src/lib/result.ts';
import { formatMac, type IpAddress, type MacAddress } from '../../../../src/model/address.ts';
import type { VipCheck } from '../../../../src/model/check.ts';
import {
  decodeHeard,
  type Heard,
  TCP_ACK,
  TCP_RST,
  TCP_SYN,
} from '../../../../src/wire/vip-packets.ts';
import { ip } from '../../core/desired/spec-builders.ts';

const [OWN, RS, VIP] = [ip('10.90.0.11'), ip('10.90.0.21'), ip('10.90.0.100')];
const mac = (n: number): MacAddress => formatMac(Uint8Array.of(2, 0, 0, 0, 0, n));
const RS_MAC = mac(0x21);
const SPEC: VipCheck = { kind: 'vip', vip: VIP, ask: 'tcp', arp: 'fail', tunnel: null };
type Sent =
  | { readonly how: 'ask'; readonly target: IpAddress; readonly of: MacAddress | null }
  | { readonly how: 'frame' | 'tunnel'; readonly to: string; readonly packet: Uint8Array };

class World {
  readonly sent: Sent[] = [];
  failure: string | null = null;
  readonly look: VipLook;

  constructor(fields: Partial<LookOf> = {}, known: MacAddress | null = RS_MAC) {
    const of: LookOf = {
      address: RS,
      port: 80,
      vip: VIP,
      ask: 'tcp',
      spec: SPEC,
      way: { source: OWN, device: 'eth0' },
      deviceIndex: 2,
      ownPort: 40_000,
      number: 7,
      nonces: [0xaaaa, 0xbbbb],
      ...fields,
    };
    this.look = new VipLook(of, known, {
      askFor: (_, { source, target, of: whom }) => {
        expect(source).toBe(OWN);
        // Asked at an address that it surely has: it passes nothing on, and answers both in their order.
        if (whom !== null) expect(whom.address).toBe(RS);
        return this.#keep({ how: 'ask', target, of: whom?.mac ?? null });
      },
      toMac: (_, to, packet) => this.#keep({ how: 'frame', to, packet }),
      intoTunnel: (_, to, packet) => this.#keep({ how: 'tunnel', to, packet }),
    });
  }

  /** In the order in which they were sent. */
  segments(): Extract<Heard, { kind: 'segment' }>[] {
    return this.sent.flatMap((one) => {
      const heard = one.how === 'ask' ? null : decodeHeard(one.packet);
      return heard?.ok === true && heard.value.kind === 'segment' ? [heard.value] : [];
    });
  }

  /** Its answer to the segment that was sent last. */
  answer(flags: number, from: IpAddress = VIP): boolean {
    const asked = this.segments().findLast(({ destination }) => destination === from);
    return this.look.onHeard({
      kind: 'segment',
      source: from,
      destination: OWN,
      sourcePort: 80,
      destinationPort: 40_000,
      sequence: 99,
      acknowledgement: ((asked?.sequence ?? 0) + 1) >>> 0,
      flags,
    });
  }

  expectHarmless(): void {
    for (const one of this.sent) {
      if (one.how === 'ask') continue;
      expect(one.packet[8]).toBe(1);
      expect([...one.packet.subarray(12, 16)]).toEqual([10, 90, 0, 11]);
    }
  }

  #keep(sent: Sent): Result<void, string> {
    if (this.failure !== null) return err(this.failure);
    this.sent.push(sent);
    return ok(undefined);
  }
}

test('asks for the MAC address first, then for the VIP, then in its name', () => {
  const world = new World({}, null);
  world.look.begin();
  expect(world.sent).toEqual([{ how: 'ask', target: RS, of: null }]);
  world.look.onMac(RS, RS_MAC);
  expect(world.sent.slice(1, 3)).toEqual([
    { how: 'ask', target: VIP, of: RS_MAC },
    { how: 'ask', target: RS, of: RS_MAC },
  ]);
  expect(world.sent[3]).toMatchObject({ how: 'frame', to: RS_MAC });
  expect(world.segments()).toMatchObject([
    { source: OWN, destination: VIP, destinationPort: 80, flags: TCP_SYN, sequence: 0xaaaa_0007 },
  ]);
  world.expectHarmless();
});

test('a real server that is as it should be answers, and its connection is ended', () => {
  const world = new World();
  world.look.begin();
  world.look.onMac(RS, RS_MAC);
  expect(world.look.verdict(false)).toBeNull();
  expect(world.answer(TCP_SYN | TCP_ACK)).toBe(true);
  expect(world.look.verdict(false)).toBe('answers');
  expect(world.segments().at(-1)).toMatchObject({
    destination: VIP,
    flags: TCP_RST,
    sequence: 0xaaaa_0008,
  });
  expect(world.look.owesReset).toBe(false);
  world.expectHarmless();
});

test('an answer to somebody else’s segment is nothing', () => {
  const world = new World();
  world.look.begin();
  const other = { sourcePort: 80, destinationPort: 40_000, sequence: 1, flags: TCP_SYN | TCP_ACK };
  const taken = world.look.onHeard({
    kind: 'segment',
    source: VIP,
    destination: OWN,
    acknowledgement: 0xaaab_0008,
    ...other,
  });
  expect(taken).toBe(false);
  expect(world.look.verdict(true)).toBe('unreachable');
  expect(world.segments()).toHaveLength(1);
});

describe('who answers for the VIP', () => {
  test('is found, by his own MAC address only', () => {
    const world = new World();
    world.look.begin();
    world.look.onMac(VIP, mac(0x11));
    expect(world.look.verdict(false)).toBeNull();
    world.look.onMac(VIP, RS_MAC);
    expect(world.look.verdict(false)).toBe('answers-arp');
  });

  test('is not asked where that is to be ignored', () => {
    const world = new World({ spec: { ...SPEC, arp: 'ignore' } });
    world.look.begin();
    // But for its own address: so it learns where this director is, and asks nobody in the VIP's name.
    expect(world.sent[0]).toEqual({ how: 'ask', target: RS, of: RS_MAC });
    expect(world.sent.map(({ how }) => how)).toEqual(['ask', 'frame']);
    world.answer(TCP_SYN | TCP_ACK);
    expect(world.look.verdict(false)).toBe('answers');
  });
});

test('a real server without the VIP answers at its own address', () => {
  const world = new World();
  world.look.begin();
  world.look.onMac(RS, RS_MAC);
  world.look.again();
  expect(world.answer(TCP_RST | TCP_ACK, RS)).toBe(true);
  expect(world.look.verdict(false)).toBeNull();
  expect(world.look.verdict(true)).toBe('vip-missing');
  expect(world.look.owesReset).toBe(true);
  world.expectHarmless();
});

test('one that passes packets on is asked at once whether it has the VIP', () => {
  const world = new World();
  world.look.begin();
  const [asked] = world.segments();
  const before = world.sent.length;
  const about = { destination: VIP, protocol: 'tcp', port: 40_000 } as const;
  world.look.onHeard({
    kind: 'error',
    source: RS,
    what: 'expired',
    about: { ...about, sequence: asked?.sequence ?? 0 },
  });
  expect(world.sent.length).toBe(before + 1);
  expect(world.look.verdict(true)).toBe('passes-on');
});

test('another machine at the address is asked anew', () => {
  const world = new World();
  world.look.begin();
  world.look.onMac(RS, mac(0x99));
  expect(world.sent.at(-1)).toMatchObject({ how: 'frame', to: mac(0x99) });
});

test('a group of machines is sent nothing', () => {
  const world = new World({}, null);
  world.look.begin();
  const { length } = world.sent;
  for (const group of [
    '03:bf:0a:5a:00:15',
    '01:00:5e:00:00:01',
    'ff:ff:ff:ff:ff:ff',
  ] as MacAddress[])
    world.look.onMac(RS, group);
  expect(world.sent).toHaveLength(length);
  expect(world.look.mac).toBeNull();
});

test('two machines with one address are not asked by turns without end', () => {
  const world = new World();
  world.look.begin();
  world.look.onMac(RS, mac(0x99));
  const { length } = world.sent;
  for (let n = 0; n < 10; n++) world.look.onMac(RS, mac(0x90 + n));
  expect(world.sent).toHaveLength(length);
  expect(world.look.mac).toBe(mac(0x99));
});

test('a tunnel is looked into without its MAC address', () => {
  const tunnel = { type: 'gue', port: 6080 } as const;
  const way = { source: OWN, device: null };
  const world = new World({ spec: { ...SPEC, tunnel }, way }, null);
  world.look.begin();
  expect(world.sent).toMatchObject([{ how: 'tunnel', to: RS }]);
  world.look.onHeard({
    kind: 'error',
    source: RS,
    what: 'prohibited',
    about: { destination: RS, protocol: 'other', port: 0, sequence: 0 },
  });
  expect(world.look.verdict(false)).toBe('no-tunnel');
});

test('what cannot be sent is this director’s failure', () => {
  const world = new World();
  world.failure = 'eth0: the device is down';
  expect(world.look.begin()).toEqual(err(world.failure));
});
