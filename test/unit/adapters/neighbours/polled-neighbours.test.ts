import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Ear, Ethernet } from '../../../../src/adapters/neighbours/ethernet.ts';
import type { Device } from '../../../../src/adapters/raw-sockets/packet-sender.ts';
import {
  FRAMES_PER_POLL,
  IDLE_POLL_MS,
  PolledNeighbours,
  VERIFY_POLL_MS,
} from '../../../../src/adapters/neighbours/polled-neighbours.ts';
import { err, ok, type Result } from '../../../../src/lib/result.ts';
import {
  formatIp,
  formatMac,
  type IpAddress,
  type IpFamily,
  type MacAddress,
  parseIp,
} from '../../../../src/model/address.ts';
import type { ForeignVoice } from '../../../../src/ports/neighbours.ts';
import { type Log, silentLog } from '../../../../src/ports/log.ts';
import {
  decodeArpFrame,
  encodeArpReply,
  encodeGratuitousArpReply,
  encodeGratuitousArpRequest,
} from '../../../../src/wire/arp.ts';
import {
  decodeNeighborSolicitation,
  encodeSolicitedAdvertisement,
  encodeUnsolicitedAdvertisement,
} from '../../../../src/wire/ndp.ts';
import type { Instruction } from '../../../../src/wire/bpf.ts';
import { FakeClock } from '../../../fakes/fake-clock.ts';

const ip = (text: string): IpAddress => {
  const parsed = parseIp(text);
  if (!parsed.ok) throw new Error(parsed.error);
  return parsed.value;
};
const macOf = (n: number): MacAddress => formatMac(Uint8Array.of(2, 0, 0, 0, 0, n));
const OWN = macOf(1);
const FOREIGN = macOf(0x66);
const GATEWAY_MAC = macOf(0xfe);
const GATEWAY = ip('10.90.0.1');
const GATEWAY_6 = ip('fd90::1');
const VIP = { device: 'eth0', address: ip('10.90.0.100') };
const VIP_6 = { device: 'eth0', address: ip('fd90::100') };

/** One device; frames wait in a queue per family, as in the kernel. */
class FakeEthernet implements Ethernet {
  current: Device | null = { index: 2, mac: OWN };
  macs = new Set([OWN]);
  macReads = 0;
  readonly waiting: Record<IpFamily, Uint8Array[]> = { 4: [], 6: [] };
  readonly sent: Uint8Array[] = [];
  readonly opened: IpFamily[] = [];
  readonly filters: (readonly Instruction[])[] = [];
  open = 0;
  receives = 0;
  refusesFilters = false;
  /** Of the ears that are open. */
  misses = false;
  /** Instructions of a filter that the kernel has memory for. */
  filterRoom = 4_096;
  onSend: (frame: Uint8Array) => void = () => {};

  device(): Result<Device, string> {
    return this.current === null ? err('no such device') : ok(this.current);
  }

  ownMacs(): ReadonlySet<MacAddress> {
    this.macReads++;
    return this.macs;
  }

  openEar(_: string, family: IpFamily, filter: readonly Instruction[]): Result<Ear, string> {
    if (this.current === null) return err('no such device');
    if (filter.length > this.filterRoom) return err('cannot filter: ENOMEM');
    this.opened.push(family);
    this.misses = false;
    this.filters.push(filter);
    this.open++;
    return ok({
      deviceIndex: this.current.index,
      setFilter: (program) => {
        if (this.refusesFilters || program.length > this.filterRoom) return err('cannot filter');
        this.filters.push(program);
        return ok(undefined);
      },
      receive: () => {
        this.receives++;
        return this.waiting[family].shift() ?? null;
      },
      hasMissed: () => this.misses,
      joinGroupOf: () => {},
      close: () => {
        this.open--;
      },
    });
  }

  openEarlyEar(device: string, filter: readonly Instruction[]): Result<Ear, string> {
    return this.openEar(device, 4, filter);
  }

  send(_: number, frame: Uint8Array): Result<void, string> {
    this.sent.push(frame);
    this.onSend(frame);
    return ok(undefined);
  }

  close(): void {}
}

let clock: FakeClock;
let ethernet: FakeEthernet;
let neighbours: PolledNeighbours;
let heard: ForeignVoice[];
let logged: string[];
let end: AbortController;

beforeEach(() => {
  clock = new FakeClock();
  ethernet = new FakeEthernet();
  logged = [];
  heard = [];
  end = new AbortController();
  const note = (_: unknown, event: string): void => void logged.push(event);
  const log: Log = { ...silentLog, warn: note, info: note };
  neighbours = new PolledNeighbours(ethernet, { clock, log });
  const voices = neighbours.voices(end.signal);
  void (async () => {
    for await (const voice of voices) heard.push(voice);
  })();
});
afterEach(() => {
  end.abort();
  neighbours.close();
  expect(ethernet.open).toBe(0);
  expect(clock.pending).toBe(0);
});

/** A gateway that answers each question to it at once, of both families. */
function answering(frame: Uint8Array): void {
  const arp = decodeArpFrame(frame);
  if (arp.ok && arp.value.targetIp === GATEWAY) {
    const { senderMac: targetMac, senderIp: targetIp } = arp.value;
    ethernet.waiting[4].push(
      encodeArpReply({ mac: GATEWAY_MAC, senderIp: GATEWAY, targetMac, targetIp }),
    );
  }
  const asked = decodeNeighborSolicitation(frame);
  if (asked.ok && asked.value.target === GATEWAY_6) {
    const { source: destination, sourceMac: destinationMac } = asked.value;
    ethernet.waiting[6].push(
      encodeSolicitedAdvertisement({
        mac: GATEWAY_MAC,
        target: GATEWAY_6,
        destination,
        destinationMac,
      }),
    );
  }
}

describe('listening', () => {
  test('costs one receive per ear and poll, five polls a second, and nothing where nobody listens', async () => {
    await clock.advance(10_000);
    expect(clock.fired).toBe(0);
    neighbours.listen([VIP, VIP_6, { device: 'eth0', address: ip('10.90.0.101') }]);
    await clock.advance(1);
    expect(ethernet.opened).toEqual([4, 6]);
    ethernet.receives = 0;
    await clock.advance(10 * IDLE_POLL_MS);
    expect(ethernet.receives).toBe(20);
    neighbours.listen([]);
    await clock.advance(1_000);
    expect(ethernet.open).toBe(0);
    expect(clock.pending).toBe(0);
  });

  test('hears sooner where that is asked for, and then less often again', async () => {
    neighbours.listen([VIP], 1);
    await clock.advance(1);
    ethernet.receives = 0;
    await clock.advance(100);
    // Not more often than this, whatever is asked for.
    expect(ethernet.receives).toBe(100 / VERIFY_POLL_MS);
    ethernet.waiting[4].push(encodeGratuitousArpRequest(FOREIGN, VIP.address));
    await clock.advance(VERIFY_POLL_MS);
    expect(heard).toEqual([{ ...VIP, mac: FOREIGN }]);
    neighbours.listen([VIP]);
    await clock.advance(1);
    ethernet.receives = 0;
    await clock.advance(10 * IDLE_POLL_MS);
    expect(ethernet.receives).toBe(10);
    expect(ethernet.opened).toEqual([4]);
  });

  test('a stranger who shouts is told once per poll, and a flood is read in bounded portions', async () => {
    neighbours.listen([VIP]);
    await clock.advance(1);
    for (let n = 0; n < 3 * FRAMES_PER_POLL; n++)
      ethernet.waiting[4].push(encodeGratuitousArpRequest(FOREIGN, VIP.address));
    await clock.advance(IDLE_POLL_MS);
    expect(heard).toEqual([{ ...VIP, mac: FOREIGN }]);
    expect(ethernet.waiting[4]).toHaveLength(2 * FRAMES_PER_POLL);
    await clock.advance(2 * IDLE_POLL_MS);
    expect(heard).toHaveLength(3);
  });

  test('an announcement of an own interface is none, also of one that is new', async () => {
    neighbours.listen([VIP, VIP_6]);
    await clock.advance(1);
    ethernet.waiting[4].push(encodeGratuitousArpReply(OWN, VIP.address));
    ethernet.waiting[6].push(encodeUnsolicitedAdvertisement(OWN, VIP_6.address, false));
    await clock.advance(2_000);
    ethernet.macs.add(macOf(2));
    ethernet.waiting[4].push(encodeGratuitousArpReply(macOf(2), VIP.address));
    await clock.advance(IDLE_POLL_MS);
    expect(heard).toEqual([]);
  });

  describe('what is said to one alone', () => {
    const ANSWERS = {
      4: (targetIp: string, targetMac = OWN) =>
        encodeArpReply({ mac: FOREIGN, senderIp: VIP.address, targetMac, targetIp: ip(targetIp) }),
      6: (destination: string, destinationMac = OWN) =>
        encodeSolicitedAdvertisement({
          mac: FOREIGN,
          target: VIP_6.address,
          destination: ip(destination),
          destinationMac,
        }),
    };

    test.each([
      [4, ['10.90.0.11'], 0],
      [6, ['fd90::11'], 0],
      // To who asks as nobody, or as a VIP; and to another machine.
      [4, ['0.0.0.0'], 1],
      [4, ['10.90.0.100'], 1],
      [6, ['fd90::100'], 1],
      [4, ['10.90.0.12', GATEWAY_MAC], 1],
      [6, ['fd90::12', GATEWAY_MAC], 1],
    ] as const)('IPv%s to %s: %s voices', async (family, [to, mac], count) => {
      neighbours.listen([VIP, VIP_6]);
      await clock.advance(1);
      ethernet.waiting[family].push(ANSWERS[family](to, mac));
      await clock.advance(IDLE_POLL_MS);
      expect(heard).toHaveLength(count);
    });

    test('an announcement of the same machine is a voice', async () => {
      neighbours.listen([VIP, VIP_6]);
      await clock.advance(1);
      ethernet.waiting[4].push(encodeGratuitousArpReply(FOREIGN, VIP.address));
      ethernet.waiting[6].push(encodeUnsolicitedAdvertisement(FOREIGN, VIP_6.address, false));
      await clock.advance(IDLE_POLL_MS);
      expect(heard).toHaveLength(2);
    });
  });

  test('a stranger with a hundred MACs does not make us read our interfaces a hundred times', async () => {
    neighbours.listen([VIP]);
    await clock.advance(1);
    for (let n = 0; n < 50; n++)
      ethernet.waiting[4].push(encodeGratuitousArpRequest(macOf(100 + n), VIP.address));
    await clock.advance(IDLE_POLL_MS);
    expect(heard).toHaveLength(50);
    expect(ethernet.macReads).toBe(1);
  });

  test('an ear on a device that went is opened anew on the one that came; said once each', async () => {
    neighbours.listen([VIP]);
    await clock.advance(1);
    ethernet.current = null;
    await clock.advance(5_000);
    expect(logged).toEqual(['neighbours.deaf']);
    ethernet.current = { index: 7, mac: OWN };
    await clock.advance(1_500);
    expect(logged).toEqual(['neighbours.deaf', 'neighbours.heard-again']);
    ethernet.waiting[4].push(encodeGratuitousArpRequest(FOREIGN, VIP.address));
    await clock.advance(IDLE_POLL_MS);
    expect(heard).toHaveLength(1);
  });

  test('voices are heard though the kernel has no memory for a filter of all addresses', async () => {
    ethernet.filterRoom = 400;
    const vips = Array.from({ length: 300 }, (_, n) => ({
      device: 'eth0',
      address: ip(`10.91.${n >> 8}.${n & 0xff}`),
    }));
    neighbours.listen(vips);
    const { address } = vips[299] ?? VIP;
    ethernet.waiting[4].push(encodeGratuitousArpRequest(FOREIGN, address));
    await clock.advance(IDLE_POLL_MS);
    expect(heard).toEqual([{ device: 'eth0', address, mac: FOREIGN }]);
    expect(logged).toEqual([]);
  });

  test('an ear that failed is replaced, though its device seems to be the same', async () => {
    neighbours.listen([VIP]);
    await clock.advance(2_000);
    expect(ethernet.opened).toEqual([4]);
    ethernet.misses = true;
    await clock.advance(2_000);
    expect(ethernet.opened).toEqual([4, 4]);
    expect(ethernet.open).toBe(1);
  });

  test('an ear that takes no new filter is replaced', async () => {
    neighbours.listen([VIP]);
    await clock.advance(1);
    ethernet.refusesFilters = true;
    neighbours.listen([{ device: 'eth0', address: ip('10.90.0.101') }]);
    await clock.advance(2);
    expect(ethernet.opened).toEqual([4, 4]);
    expect(ethernet.open).toBe(1);
  });
});

describe('verifying', () => {
  test('asks as the VIP and is proven by the answer, both families, within a poll', async () => {
    ethernet.onSend = answering;
    const startedAt = clock.now();
    const proofs = [
      neighbours.verify(VIP, GATEWAY, 1_000),
      neighbours.verify(VIP_6, GATEWAY_6, 1_000),
    ];
    expect(await clock.settle(Promise.all(proofs))).toEqual([true, true]);
    expect(clock.now() - startedAt).toBeLessThan(3 * VERIFY_POLL_MS);
    const arp = decodeArpFrame(ethernet.sent[0] ?? new Uint8Array());
    expect(arp).toMatchObject({ ok: true, value: { senderMac: OWN, senderIp: VIP.address } });
    const solicitation = decodeNeighborSolicitation(ethernet.sent[1] ?? new Uint8Array());
    expect(solicitation).toMatchObject({
      ok: true,
      value: { source: VIP_6.address, sourceLinkMac: OWN },
    });
    await clock.advance(1_000);
    expect(ethernet.open).toBe(0);
  });

  test('asks a gateway whose MAC is known directly, and everybody each second time', async () => {
    ethernet.onSend = answering;
    await clock.settle(neighbours.verify(VIP, GATEWAY, 1_000));
    ethernet.onSend = () => {};
    ethernet.sent.length = 0;
    expect(await clock.settle(neighbours.verify(VIP, GATEWAY, 70))).toBe(false);
    const destinations = ethernet.sent.map((frame) => {
      const arp = decodeArpFrame(frame);
      return arp.ok ? arp.value.destination : arp.error;
    });
    const all = 'ff:ff:ff:ff:ff:ff';
    expect(destinations).toEqual([GATEWAY_MAC, all, GATEWAY_MAC, all]);
  });

  test.each([
    [
      'an answer to another VIP',
      encodeArpReply({
        mac: GATEWAY_MAC,
        senderIp: GATEWAY,
        targetMac: OWN,
        targetIp: ip('10.90.0.101'),
      }),
    ],
    [
      'an answer to another director',
      encodeArpReply({
        mac: GATEWAY_MAC,
        senderIp: GATEWAY,
        targetMac: FOREIGN,
        targetIp: VIP.address,
      }),
    ],
    [
      'an answer of another host',
      encodeArpReply({
        mac: GATEWAY_MAC,
        senderIp: ip('10.90.0.2'),
        targetMac: OWN,
        targetIp: VIP.address,
      }),
    ],
    ["the gateway's own announcement", encodeGratuitousArpReply(GATEWAY_MAC, GATEWAY)],
  ])('%s proves nothing', async (_name, frame) => {
    const proof = neighbours.verify(VIP, GATEWAY, 100);
    await clock.advance(10);
    ethernet.waiting[4].push(frame);
    expect(await clock.settle(proof)).toBe(false);
  });

  test('255 at once are paced and all get their turn', async () => {
    const vips = Array.from({ length: 255 }, (_, n) => ({
      device: 'eth0',
      address: formatIp(Uint8Array.of(10, 90, 1, n)),
    }));
    const perInstant = new Map<number, number>();
    ethernet.onSend = () => {
      perInstant.set(clock.now(), (perInstant.get(clock.now()) ?? 0) + 1);
    };
    const proofs = Promise.all(vips.map((vip) => neighbours.verify(vip, GATEWAY, 100)));
    expect(await clock.settle(proofs)).toEqual(vips.map(() => false));
    expect(Math.max(...perInstant.values())).toBeLessThanOrEqual(32);
    const asked = new Map<string, number>();
    for (const frame of ethernet.sent) {
      const arp = decodeArpFrame(frame);
      if (arp.ok) asked.set(arp.value.senderIp, (asked.get(arp.value.senderIp) ?? 0) + 1);
    }
    expect(asked.size).toBe(255);
    expect(Math.min(...asked.values())).toBeGreaterThanOrEqual(4);
  });

  test('a lost device or a close ends it with no proof', async () => {
    ethernet.current = null;
    expect(await clock.settle(neighbours.verify(VIP, GATEWAY, 50))).toBe(false);
    expect(ethernet.sent).toEqual([]);
    ethernet.current = { index: 2, mac: OWN };
    const proof = neighbours.verify(VIP, GATEWAY, 10_000);
    await clock.advance(50);
    neighbours.close();
    expect(await proof).toBe(false);
    expect(await neighbours.verify(VIP, GATEWAY, 50)).toBe(false);
  });

  test('does not make a voice of the gateway, nor deaf to voices meanwhile', async () => {
    neighbours.listen([VIP]);
    ethernet.onSend = answering;
    await clock.settle(neighbours.verify(VIP, GATEWAY, 1_000));
    expect(heard).toEqual([]);
    ethernet.waiting[4].push(encodeGratuitousArpRequest(FOREIGN, VIP.address));
    await clock.advance(IDLE_POLL_MS);
    expect(heard).toEqual([{ ...VIP, mac: FOREIGN }]);
  });
});
