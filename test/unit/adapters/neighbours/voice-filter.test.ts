import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  buildProbeFilter,
  buildVoiceFilter,
  FILTER_ADDRESSES_MAX,
} from '../../../../src/adapters/neighbours/voice-filter.ts';
import { toHex } from '../../../../src/lib/bytes.ts';
import { formatIp, formatMac, type IpAddress, parseIp } from '../../../../src/model/address.ts';
import { encodeFilter, type Instruction } from '../../../../src/wire/bpf.ts';
import { encodeArpReply, encodeArpRequest } from '../../../../src/wire/arp.ts';
import {
  encodeAddressProbe,
  encodeNeighborSolicitation,
  encodeSolicitedAdvertisement,
  encodeUnsolicitedAdvertisement,
} from '../../../../src/wire/ndp.ts';

const ip = (text: string): IpAddress => {
  const parsed = parseIp(text);
  if (!parsed.ok) throw new Error(parsed.error);
  return parsed.value;
};
const MAC = formatMac(Uint8Array.of(2, 0, 0, 0, 0, 0x0a));
const v4s = fc.uint8Array({ minLength: 4, maxLength: 4 }).map(formatIp);
const v6s = fc.uint8Array({ minLength: 16, maxLength: 16 }).map(formatIp);

/** Loads of 4, 2 and 1 bytes. */
const LOADS = new Map([
  [0x20, 4],
  [0x28, 2],
  [0x30, 1],
]);
const VLAN_TAG = 0xffff_f02c;

/** The kernel's machine, as far as these programs go; a load behind the frame's end drops it. */
function run(program: readonly Instruction[], frame: Uint8Array, vlanTag = 0): number {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  let accumulator = 0;
  for (let at = 0; at < program.length; at++) {
    const instruction = program[at];
    if (instruction === undefined) break;
    const { code, jt, jf, k } = instruction;
    if (code === 0x06) return k;
    const length = LOADS.get(code);
    if (length !== undefined) {
      if (k === VLAN_TAG) accumulator = vlanTag;
      else if (k + length > frame.length) return 0;
      else if (length === 4) accumulator = view.getUint32(k);
      else accumulator = length === 2 ? view.getUint16(k) : view.getUint8(k);
    } else if (code === 0x54) accumulator &= k;
    else if (code === 0x15) at += accumulator === k ? jt : jf;
    else if (code === 0x05) at += k;
    else throw new Error(`code ${code}`);
  }
  throw new Error('the program runs off its end');
}

describe('the filter for ARP', () => {
  test('passes exactly the frames whose sender is one of the addresses', () => {
    fc.assert(
      fc.property(fc.array(v4s, { maxLength: 20 }), v4s, v4s, (vips, sender, targetIp) => {
        for (const senderIp of [sender, ...vips]) {
          const frame = encodeArpRequest({ mac: MAC, senderIp, targetIp, destination: null });
          const reply = encodeArpReply({ mac: MAC, senderIp, targetMac: MAC, targetIp });
          for (const each of [frame, reply])
            expect(run(buildVoiceFilter(4, vips), each) > 0).toBe(vips.includes(senderIp));
        }
      }),
    );
  });

  test('drops short frames, and everything where there is no address', () => {
    const frame = encodeArpRequest({
      mac: MAC,
      senderIp: ip('10.0.0.1'),
      targetIp: ip('10.0.0.2'),
      destination: null,
    });
    expect(run(buildVoiceFilter(4, [ip('fd90::1')]), frame)).toBe(0);
    expect(run(buildVoiceFilter(4, [ip('10.0.0.1')]), frame.subarray(0, 20))).toBe(0);
  });
});

describe('the filter for neighbour discovery', () => {
  test('passes NA about, and NS from, one of the addresses, whatever the others are', () => {
    fc.assert(
      fc.property(fc.array(v6s, { minLength: 1, maxLength: 20 }), v6s, (vips, other) => {
        const filter = buildVoiceFilter(6, vips);
        for (const vip of vips) {
          const solicited = { mac: MAC, target: vip, destinationMac: MAC, destination: other };
          const solicitation = { mac: MAC, source: vip, target: other };
          for (const frame of [
            encodeUnsolicitedAdvertisement(MAC, vip, false),
            encodeSolicitedAdvertisement(solicited),
            encodeNeighborSolicitation(solicitation),
          ])
            expect(run(filter, frame)).toBeGreaterThan(0);
        }
      }),
    );
  });

  test('drops strangers, questions about the VIP, other ICMPv6 and other protocols', () => {
    const vip = ip('fd90::100');
    const other = ip('fd90::200');
    const filter = buildVoiceFilter(6, [vip]);
    const echo = encodeUnsolicitedAdvertisement(MAC, vip, false);
    echo[54] = 128;
    const tcp = encodeUnsolicitedAdvertisement(MAC, vip, false);
    tcp[20] = 6;
    for (const frame of [
      encodeUnsolicitedAdvertisement(MAC, other, false),
      encodeNeighborSolicitation({ mac: MAC, source: other, target: vip }),
      echo,
      tcp,
      new Uint8Array(14),
    ])
      expect(run(filter, frame)).toBe(0);
  });
});

describe('the filter of probes', () => {
  const NOBODY = ip('0.0.0.0');
  const arp = (senderIp: IpAddress, targetIp: IpAddress): Uint8Array =>
    encodeArpRequest({ mac: MAC, senderIp, targetIp, destination: null });

  test('passes whoever speaks as an address or probes it, and no other ARP', () => {
    const host = fc.integer({ min: 1, max: 255 });
    const hosts = host.map((n) => ip(`10.0.0.${n}`));
    fc.assert(
      fc.property(fc.array(hosts, { maxLength: 20 }), hosts, hosts, (vips, one, other) => {
        const filter = buildProbeFilter(4, vips);
        for (const each of [one, ...vips]) {
          const isVip = vips.includes(each);
          expect(run(filter, arp(each, other)) > 0).toBe(isVip);
          expect(run(filter, arp(NOBODY, each)) > 0).toBe(isVip);
          expect(run(filter, arp(other, each)) > 0).toBe(vips.includes(other));
        }
      }),
    );
  });

  test('passes the same of neighbour discovery', () => {
    const hosts = fc.integer({ min: 1, max: 0xffff }).map((n) => ip(`fd90::${n.toString(16)}`));
    fc.assert(
      fc.property(fc.array(hosts, { maxLength: 20 }), hosts, hosts, (vips, one, other) => {
        const filter = buildProbeFilter(6, vips);
        for (const each of [one, ...vips]) {
          const isVip = vips.includes(each);
          const claim = encodeUnsolicitedAdvertisement(MAC, each, false);
          const solicitation = { mac: MAC, source: other, target: each };
          expect(run(filter, claim) > 0).toBe(isVip);
          expect(run(filter, encodeAddressProbe(MAC, each)) > 0).toBe(isVip);
          expect(run(filter, encodeNeighborSolicitation(solicitation)) > 0).toBe(
            vips.includes(other),
          );
        }
      }),
    );
  });

  test('drops other protocols and other VLANs, but no frame with a priority alone', () => {
    const vip = ip('10.0.0.1');
    const filter = buildProbeFilter(4, [vip]);
    expect(run(filter, arp(NOBODY, vip), 0xa000)).toBeGreaterThan(0);
    expect(run(filter, arp(NOBODY, vip), 0x0005)).toBe(0);
    const other = arp(NOBODY, vip);
    other.set([0x08, 0x00], 12);
    expect(run(filter, other)).toBe(0);
    expect(run(buildProbeFilter(6, [vip]), arp(NOBODY, vip))).toBe(0);
  });

  test('stays within what the kernel takes, and then rather passes too much', () => {
    const vips = (count: number) =>
      Array.from({ length: count }, (_, n) => formatIp(Uint8Array.of(10, 1, n >>> 8, n & 0xff)));
    const full = buildProbeFilter(4, vips(FILTER_ADDRESSES_MAX / 2));
    expect(full.length).toBeLessThanOrEqual(4_096);
    const over = buildProbeFilter(4, vips(FILTER_ADDRESSES_MAX));
    expect(run(over, arp(NOBODY, ip('10.9.9.9')))).toBeGreaterThan(0);
  });
});

describe('the filter as the kernel gets it', () => {
  test('has 8 bytes an instruction and stays within what the kernel takes', () => {
    const many = Array.from({ length: FILTER_ADDRESSES_MAX }, (_, n) =>
      formatIp(Uint8Array.of(10, n >>> 16, (n >>> 8) & 0xff, n & 0xff)),
    );
    const full = buildVoiceFilter(4, many);
    expect(full.length).toBeLessThanOrEqual(4_096);
    expect(encodeFilter(full)).toHaveLength(8 * full.length);
    expect(run(full, arpOf(many.at(-1) ?? ip('10.0.0.0')))).toBeGreaterThan(0);
    expect(run(full, arpOf(ip('10.255.0.0')))).toBe(0);
  });

  test('lets all pass where there are more addresses than it can hold', () => {
    const many = Array.from({ length: FILTER_ADDRESSES_MAX + 1 }, (_, n) =>
      formatIp(Uint8Array.of(10, n >>> 16, (n >>> 8) & 0xff, n & 0xff)),
    );
    expect(run(buildVoiceFilter(4, many), arpOf(ip('192.0.2.1')))).toBeGreaterThan(0);
  });

  test('is laid out as struct sock_filter', () => {
    const bytes = encodeFilter([{ code: 0x15, jt: 1, jf: 2, k: 0x0a5a0064 }]);
    const isLittle = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;
    expect(toHex(bytes)).toBe(isLittle ? '1500010264005a0a' : '001501020a5a0064');
  });
});

function arpOf(senderIp: IpAddress): Uint8Array {
  return encodeArpRequest({ mac: MAC, senderIp, targetIp: ip('10.0.0.9'), destination: null });
}
