/** Probing VIPs that are not open here: who counts as having one, and when silence proves nothing. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { AddressProbes } from '../../../../src/adapters/neighbours/address-probes.ts';
import type { Ear } from '../../../../src/adapters/neighbours/ethernet.ts';
import type { Device } from '../../../../src/adapters/raw-sockets/packet-sender.ts';
import { err, ok, type Result } from '../../../../src/lib/result.ts';
import {
  formatMac,
  type IpAddress,
  type MacAddress,
  parseIp,
} from '../../../../src/model/address.ts';
import type { ProbeOutcome, VipPlace } from '../../../../src/ports/neighbours.ts';
import {
  decodeArpFrame,
  encodeArpReply,
  encodeArpRequest,
  encodeGratuitousArpRequest,
} from '../../../../src/wire/arp.ts';
import {
  decodeNeighborSolicitation,
  encodeAddressProbe,
  encodeNeighborSolicitation,
  encodeSolicitedAdvertisement,
  encodeUnsolicitedAdvertisement,
} from '../../../../src/wire/ndp.ts';
import { FakeClock } from '../../../fakes/fake-clock.ts';

const ip = (text: string): IpAddress => {
  const parsed = parseIp(text);
  if (!parsed.ok) throw new Error(parsed.error);
  return parsed.value;
};
const macOf = (n: number): MacAddress => formatMac(Uint8Array.of(2, 0, 0, 0, 0, n));
const OWN = macOf(1);
const OTHER = macOf(0x66);
const NOBODY = ip('0.0.0.0');
const VIP: VipPlace = { device: 'eth0', address: ip('10.90.0.100') };
const VIP_2: VipPlace = { device: 'eth0', address: ip('10.90.0.101') };
const VIP_6: VipPlace = { device: 'eth0', address: ip('fd90::100') };
const VIP_62: VipPlace = { device: 'eth0', address: ip('fd90::101') };
const FOUR = { count: 4, intervalMs: 20 };

let clock: FakeClock;
let device: Device | null;
let waiting: Uint8Array[];
let sent: { readonly at: number; readonly frame: Uint8Array }[];
let ears: number;
let opened: string[];
let refusesToSend: boolean;
let refusesToListen: boolean;
/** Instructions of a filter that the kernel has memory for. */
let filterRoom: number;
let misses: boolean;
let joined: IpAddress[];
let probes: AddressProbes;

beforeEach(() => {
  clock = new FakeClock();
  device = { index: 2, mac: OWN };
  [waiting, sent, opened, ears, filterRoom] = [[], [], [], 0, 4_096];
  [refusesToSend, refusesToListen, misses, joined] = [false, false, false, []];
  const ethernet = {
    device: (): Result<Device, string> => (device === null ? err('gone') : ok(device)),
    openEarlyEar: (name: string): Result<Ear, string> => {
      if (refusesToListen || device === null) return err('not permitted');
      opened.push(name);
      ears++;
      const deviceIndex = device.index;
      return ok({
        deviceIndex,
        setFilter: ({ length }) =>
          refusesToListen || length > filterRoom ? err('not permitted') : ok(undefined),
        receive: () => waiting.shift() ?? null,
        hasMissed: () => {
          const hasMissed = misses;
          misses = false;
          return hasMissed;
        },
        joinGroupOf: (address) => void joined.push(address),
        close: () => {
          ears--;
        },
      });
    },
    send: (_: number, frame: Uint8Array): Result<void, string> => {
      if (refusesToSend) return err('ENOBUFS');
      sent.push({ at: clock.now(), frame });
      return ok(undefined);
    },
  };
  probes = new AddressProbes({ ethernet, clock, isOwnMac: (mac) => mac === OWN });
});
afterEach(() => {
  probes.close();
  expect(ears).toBe(0);
  expect(clock.pending).toBe(0);
});

const outcomeOf = async (promise: Promise<ProbeOutcome>) => {
  const from = clock.now();
  const { answered, unasked } = await clock.settle(promise);
  return { answered: [...answered], unasked: [...unasked], ms: clock.now() - from };
};

describe('the questions', () => {
  test('name nobody as their sender, go to all, one every interval; the last is waited for', async () => {
    const result = await outcomeOf(probes.probe([VIP, VIP_6], FOUR));
    expect(result).toEqual({ answered: [], unasked: [], ms: 80 });
    const arps = sent.flatMap(({ at, frame }) => {
      const arp = decodeArpFrame(frame);
      return arp.ok ? [{ at, ...arp.value }] : [];
    });
    expect(arps.map(({ at }) => at)).toEqual([0, 20, 40, 60]);
    expect(arps[0]).toMatchObject({
      operation: 'request',
      destination: 'ff:ff:ff:ff:ff:ff',
      senderMac: OWN,
      senderIp: '0.0.0.0',
      targetMac: '00:00:00:00:00:00',
      targetIp: VIP.address,
    });
    const solicitations = sent.flatMap(({ frame }) => {
      const asked = decodeNeighborSolicitation(frame);
      return asked.ok ? [asked.value] : [];
    });
    expect(solicitations).toHaveLength(4);
    expect(solicitations[0]).toMatchObject({
      source: '::',
      target: VIP_6.address,
      sourceLinkMac: null,
    });
  });

  test('about hundreds of VIPs leave the event loop its turns', async () => {
    const vips = Array.from({ length: 200 }, (_, n) => ({
      device: 'eth0',
      address: ip(`10.90.1.${n + 1}`),
    }));
    const result = await outcomeOf(probes.probe(vips, { count: 1, intervalMs: 20 }));
    expect(result).toMatchObject({ answered: [], unasked: [] });
    const perTime = new Map<number, number>();
    for (const { at } of sent) perTime.set(at, (perTime.get(at) ?? 0) + 1);
    expect(sent).toHaveLength(200);
    expect(Math.max(...perTime.values())).toBeLessThanOrEqual(32);
    expect(opened).toEqual(['eth0']);
    // The last of a long line is waited for as long as the first.
    expect(result.ms).toBe((sent.at(-1)?.at ?? 0) + 20);
  });

  test('are heard though the kernel has no memory for a filter of all addresses', async () => {
    filterRoom = 400;
    const vips = Array.from({ length: 300 }, (_, n) => ({
      device: 'eth0',
      address: ip(`10.91.${n >> 8}.${n & 0xff}`),
    }));
    waiting.push(encodeGratuitousArpRequest(OTHER, vips[299]?.address ?? VIP.address));
    const { answered, unasked } = await outcomeOf(probes.probe(vips, FOUR));
    expect(answered).toEqual([vips[299]?.address]);
    expect(unasked).toEqual([]);
  });

  test('join the group in which others ask for an address of IPv6', async () => {
    await outcomeOf(probes.probe([VIP, VIP_6], FOUR));
    expect(joined).toEqual([VIP_6.address]);
  });

  test('are not asked without VIPs', async () => {
    const never = probes.probe([VIP], { count: 0, intervalMs: 20 });
    expect((await outcomeOf(never)).unasked).toEqual([VIP.address]);
    opened.length = 0;
    expect(await outcomeOf(probes.probe([], FOUR))).toEqual({ answered: [], unasked: [], ms: 0 });
    expect(opened).toEqual([]);
  });
});

const solicited = { target: VIP_6.address, destinationMac: OWN, destination: ip('ff02::1') };

describe('has the address', () => {
  test.each([
    [
      'who answers',
      VIP,
      encodeArpReply({ mac: OTHER, senderIp: VIP.address, targetMac: OWN, targetIp: NOBODY }),
    ],
    ['who announces it', VIP, encodeGratuitousArpRequest(OTHER, VIP.address)],
    ['who asks as it', VIP, arpFrom(VIP.address, ip('10.90.0.1'))],
    ['who probes it as we do', VIP, arpFrom(NOBODY, VIP.address)],
    ['who advertises it', VIP_6, encodeSolicitedAdvertisement({ ...solicited, mac: OTHER })],
    [
      'who announces it over IPv6',
      VIP_6,
      encodeUnsolicitedAdvertisement(OTHER, VIP_6.address, false),
    ],
    ['who solicits as it', VIP_6, solicitation(VIP_6.address, ip('fd90::1'))],
    ['who is about to take it over IPv6', VIP_6, encodeAddressProbe(OTHER, VIP_6.address)],
  ])('%s, and the wait ends', async (_, vip, frame) => {
    const asked = probes.probe([vip], FOUR);
    await clock.advance(30);
    waiting.push(frame);
    const { answered, unasked, ms } = await outcomeOf(asked);
    expect(answered).toEqual([vip.address]);
    expect(unasked).toEqual([]);
    expect(ms).toBeLessThanOrEqual(10);
  });

  test.each([
    ['who asks for it, as clients do', VIP, arpFrom(ip('10.90.0.1'), VIP.address)],
    ['who solicits it, as clients do', VIP_6, solicitation(ip('fd90::1'), VIP_6.address)],
    ['who has another', VIP, encodeGratuitousArpRequest(OTHER, VIP_2.address)],
    ['this host itself', VIP, encodeGratuitousArpRequest(OWN, VIP.address)],
    ['our own question that came back', VIP_6, encodeAddressProbe(OWN, VIP_6.address)],
    [
      'who replies to a question for it',
      VIP,
      encodeArpReply({ mac: OTHER, senderIp: NOBODY, targetMac: OTHER, targetIp: VIP.address }),
    ],
    ['nonsense', VIP, new Uint8Array(60)],
  ])('not %s', async (_, vip, frame) => {
    const asked = probes.probe([vip], FOUR);
    await clock.advance(10);
    waiting.push(frame);
    expect((await outcomeOf(asked)).answered).toEqual([]);
  });

  test('only him: the others are asked on', async () => {
    const asked = probes.probe([VIP, VIP_2], FOUR);
    await clock.advance(25);
    waiting.push(encodeGratuitousArpRequest(OTHER, VIP.address));
    const { answered, unasked, ms } = await outcomeOf(asked);
    expect([answered, unasked]).toEqual([[VIP.address], []]);
    expect(ms).toBe(55);
    const targets = sent.map(({ frame }) => {
      const arp = decodeArpFrame(frame);
      return arp.ok ? arp.value.targetIp : null;
    });
    expect(targets.filter((target) => target === VIP.address)).toHaveLength(2);
    expect(targets.filter((target) => target === VIP_2.address)).toHaveLength(4);
  });

  test('for all who ask about it at the same time, through one ear', async () => {
    const asked = Promise.all([probes.probe([VIP], FOUR), probes.probe([VIP, VIP_2], FOUR)]);
    await clock.advance(10);
    waiting.push(encodeGratuitousArpRequest(OTHER, VIP.address));
    const [one, both] = await clock.settle(asked);
    expect([...one.answered]).toEqual([VIP.address]);
    expect([...both.answered]).toEqual([VIP.address]);
    expect(opened).toEqual(['eth0']);
  });

  test('though his answer waits behind those of many others', async () => {
    const crowd = Array.from({ length: 100 }, () =>
      encodeGratuitousArpRequest(OTHER, VIP_2.address),
    );
    const asked = probes.probe([VIP, VIP_2], { count: 1, intervalMs: 20 });
    await clock.advance(19);
    waiting.push(...crowd, encodeGratuitousArpRequest(OTHER, VIP.address));
    const { answered, unasked } = await outcomeOf(asked);
    expect(answered.toSorted()).toEqual([VIP.address, VIP_2.address]);
    expect(unasked).toEqual([]);
  });

  test.each([
    [VIP, arpFrom(NOBODY, VIP.address), VIP_2, encodeGratuitousArpRequest(OTHER, VIP_2.address)],
    [
      VIP_6,
      encodeAddressProbe(OTHER, VIP_6.address),
      VIP_62,
      encodeUnsolicitedAdvertisement(OTHER, VIP_62.address, false),
    ],
  ])(
    'who asks for %o too, and hears one question more of ours',
    async (one, probe, other, voice) => {
      const asked = probes.probe([one, other], { count: 4, intervalMs: 100 });
      await clock.advance(10);
      expect(sent).toHaveLength(2);
      // Once, however often he asks: else two who ask would answer each other without end.
      for (let times = 0; times < 3; times++) {
        waiting.push(probe);
        await clock.advance(10);
      }
      expect(sent).toHaveLength(3);
      expect(sent[2]?.frame).toEqual(sent[0]?.frame);
      waiting.push(voice);
      expect((await outcomeOf(asked)).answered).toEqual([one.address, other.address]);
      expect(sent).toHaveLength(3);
    },
  );

  test('who asks before our first question is out: it goes out all the same', async () => {
    const asked = probes.probe([VIP], FOUR);
    waiting.push(arpFrom(NOBODY, VIP.address));
    expect(await outcomeOf(asked)).toEqual({ answered: [VIP.address], unasked: [], ms: 0 });
    expect(sent).toHaveLength(1);
  });

  test('nobody is heard on another device', async () => {
    const elsewhere = { ...VIP, device: 'eth1' };
    const asked = probes.probe([elsewhere], FOUR);
    waiting.push(encodeGratuitousArpRequest(OTHER, VIP.address));
    expect((await outcomeOf(asked)).answered).toEqual([VIP.address]);
    expect(opened).toEqual(['eth1']);
  });
});

describe('silence proves nothing', () => {
  test.each([
    ['where no question can be sent', () => void (refusesToSend = true)],
    ['where nobody can listen', () => void (refusesToListen = true)],
    ['where the device is gone', () => void (device = null)],
  ])('%s', async (_, act) => {
    act();
    expect(await outcomeOf(probes.probe([VIP], FOUR))).toMatchObject({
      answered: [],
      unasked: [VIP.address],
    });
  });

  test('where one question was not sent', async () => {
    const asked = probes.probe([VIP], FOUR);
    await clock.advance(10);
    refusesToSend = true;
    await clock.advance(15);
    refusesToSend = false;
    expect((await outcomeOf(asked)).unasked).toEqual([VIP.address]);
    expect(sent).toHaveLength(3);
  });

  test('where the device was made anew meanwhile', async () => {
    const asked = probes.probe([VIP], FOUR);
    await clock.advance(30);
    device = { index: 3, mac: OWN };
    expect((await outcomeOf(asked)).unasked).toEqual([VIP.address]);
  });

  test('where the device was made anew after the last question', async () => {
    const asked = probes.probe([VIP], FOUR);
    await clock.advance(70);
    device = { index: 3, mac: OWN };
    expect((await outcomeOf(asked)).unasked).toEqual([VIP.address]);
  });

  test.each([30, 70])('where the ear was deaf for a while, after %d ms', async (afterMs) => {
    const asked = probes.probe([VIP], FOUR);
    await clock.advance(afterMs);
    misses = true;
    expect(await outcomeOf(asked)).toMatchObject({ answered: [], unasked: [VIP.address] });
    expect((await outcomeOf(probes.probe([VIP], FOUR))).unasked).toEqual([]);
  });

  test('where more is said than can be read', async () => {
    const asked = probes.probe([VIP], FOUR);
    const strange = encodeGratuitousArpRequest(OTHER, VIP_2.address);
    waiting.shift = () => strange;
    expect(await outcomeOf(asked)).toEqual({ answered: [], unasked: [VIP.address], ms: 100 });
  });

  test('for who asked before the device was made anew; who asks afterwards hears it', async () => {
    const before = probes.probe([VIP], FOUR);
    await clock.advance(30);
    device = { index: 3, mac: OWN };
    const after = probes.probe([VIP_2], FOUR);
    expect([...(await clock.settle(before)).unasked]).toEqual([VIP.address]);
    expect([...(await clock.settle(after)).unasked]).toEqual([]);
    expect(opened).toEqual(['eth0', 'eth0']);
  });

  test('where it ends too soon: by its signal, or by closing', async () => {
    const end = new AbortController();
    const aborted = probes.probe([VIP], { ...FOUR, signal: end.signal });
    const closed = probes.probe([VIP_2], FOUR);
    // The answers to the last question were not waited for.
    await clock.advance(70);
    end.abort();
    expect([...(await aborted).unasked]).toEqual([VIP.address]);
    probes.close();
    expect([...(await closed).unasked]).toEqual([VIP_2.address]);
    expect([...(await probes.probe([VIP], FOUR)).unasked]).toEqual([VIP.address]);
    const again = probes.probe([VIP], { ...FOUR, signal: end.signal });
    expect([...(await again).unasked]).toEqual([VIP.address]);
  });
});

function arpFrom(senderIp: IpAddress, targetIp: IpAddress): Uint8Array {
  return encodeArpRequest({ mac: OTHER, senderIp, targetIp, destination: null });
}

function solicitation(source: IpAddress, target: IpAddress): Uint8Array {
  return encodeNeighborSolicitation({ mac: OTHER, source, target });
}
