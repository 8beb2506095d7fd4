/** The bytes are as a C compiler lays them out on this machine, as koffi knows it. */
import koffi from 'koffi';
import { describe, expect, test } from 'vitest';
import {
  decodeIpAddress,
  encodeInterfaceRequest,
  encodeIpAddress,
  encodeLinkAddress,
  hostInt,
  IFREQ_LENGTH,
  readDrops,
  readHardwareAddress,
  readInterfaceIndex,
  SOCKADDR_IN6_LENGTH,
  SOCKADDR_IN_LENGTH,
  SOCKADDR_LL_LENGTH,
  TPACKET_STATS_LENGTH,
} from '../../../../src/adapters/raw-sockets/socket-address.ts';
import { type IpAddress, parseIp } from '../../../../src/model/address.ts';

const ip = (text: string): IpAddress => {
  const parsed = parseIp(text);
  if (!parsed.ok) throw new Error(parsed.error);
  return parsed.value;
};
const bytes = (length: number) => koffi.array('uint8_t', length, 'Array');

const SOCKADDR_LL = koffi.struct({
  family: 'uint16_t',
  protocol: bytes(2),
  ifindex: 'int',
  hatype: 'uint16_t',
  pkttype: 'uint8_t',
  halen: 'uint8_t',
  addr: bytes(8),
});
const SOCKADDR_IN = koffi.struct({
  family: 'uint16_t',
  port: 'uint16_t',
  addr: bytes(4),
  zero: bytes(8),
});
const SOCKADDR_IN6 = koffi.struct({
  family: 'uint16_t',
  port: 'uint16_t',
  flowinfo: 'uint32_t',
  addr: bytes(16),
  scope: 'uint32_t',
});
/** The largest member of the union decides of its length: a pointer and three longs, as in struct ifmap. */
const IFREQ_INDEX = koffi.struct({
  name: bytes(16),
  value: koffi.struct({ index: 'int', rest: bytes(20) }),
});
const IFMAP = koffi.struct({
  start: 'unsigned long',
  end: 'unsigned long',
  address: 'uint16_t',
  irq: 'uint8_t',
  dma: 'uint8_t',
  port: 'uint8_t',
});
const SOCKADDR = koffi.struct({ family: 'uint16_t', data: bytes(14) });
const STATISTICS = koffi.struct({ packets: 'unsigned int', drops: 'unsigned int' });
const SOCK_FPROG = koffi.struct({ len: 'unsigned short', filter: 'void *' });

describe('structures', () => {
  test('are as long as the kernel wants them', () => {
    expect(koffi.sizeof(SOCKADDR_LL)).toBe(SOCKADDR_LL_LENGTH);
    expect(koffi.sizeof(SOCKADDR_IN)).toBe(SOCKADDR_IN_LENGTH);
    expect(koffi.sizeof(SOCKADDR_IN6)).toBe(SOCKADDR_IN6_LENGTH);
    expect(16 + koffi.sizeof(IFMAP)).toBe(IFREQ_LENGTH);
    expect(koffi.sizeof(STATISTICS)).toBe(TPACKET_STATS_LENGTH);
    // A pointer behind a short: the kernel refuses any other length (EINVAL).
    expect(koffi.sizeof(SOCK_FPROG)).toBe(16);
    expect(koffi.offsetof(SOCK_FPROG, 'filter')).toBe(8);
  });

  test('say where a frame goes, and what is heard', () => {
    const destination = Uint8Array.of(2, 0, 0, 0, 0, 9);
    const to = encodeLinkAddress({ deviceIndex: 70_000, etherType: 0x86dd, destination });
    expect(koffi.decode(to, SOCKADDR_LL)).toEqual({
      family: 17,
      protocol: [0x86, 0xdd],
      ifindex: 70_000,
      hatype: 0,
      pkttype: 0,
      halen: 6,
      addr: [...destination, 0, 0],
    });
    const on = encodeLinkAddress({ deviceIndex: 3, etherType: 0x0003, destination: null });
    expect(koffi.decode(on, SOCKADDR_LL)).toMatchObject({ protocol: [0, 3], ifindex: 3, halen: 0 });
  });

  test('carry addresses of both families there and back', () => {
    const v4 = encodeIpAddress(ip('10.90.0.1'), 5);
    expect(koffi.decode(v4, SOCKADDR_IN)).toMatchObject({
      family: 2,
      port: 0,
      addr: [10, 90, 0, 1],
    });
    const v6 = encodeIpAddress(ip('fe80::1'), 5);
    expect(koffi.decode(v6, SOCKADDR_IN6)).toMatchObject({ family: 10, port: 0, scope: 5 });
    for (const text of ['10.90.0.1', 'fe80::1']) {
      const given = new Uint8Array(SOCKADDR_IN6_LENGTH);
      given.set(encodeIpAddress(ip(text), 5));
      expect(decodeIpAddress(given)).toBe(text);
    }
  });

  test('ask about a device by its name', () => {
    const request = encodeInterfaceRequest('eth0.100') ?? new Uint8Array();
    expect(request).toHaveLength(IFREQ_LENGTH);
    expect(Buffer.from(request.subarray(0, 16)).toString()).toBe('eth0.100'.padEnd(16, '\0'));
    koffi.encode(request, IFREQ_INDEX, {
      name: [...request.subarray(0, 16)],
      value: { index: 70_000, rest: Array(20).fill(0) },
    });
    expect(readInterfaceIndex(request)).toBe(70_000);
    koffi.encode(request, 16, SOCKADDR, {
      family: 1,
      data: [2, 0, 0, 0, 0, 9, ...Array(8).fill(7)],
    });
    const { kind, mac } = readHardwareAddress(request);
    expect([kind, [...mac]]).toEqual([1, [2, 0, 0, 0, 0, 9]]);
    expect(encodeInterfaceRequest('')).toBeNull();
    expect(encodeInterfaceRequest('a-name-of-16-let')).toBeNull();
    expect(encodeInterfaceRequest('a-name-of-15-le')).not.toBeNull();
  });

  test('count what was dropped, and switch options', () => {
    const statistics = new Uint8Array(TPACKET_STATS_LENGTH);
    koffi.encode(statistics, STATISTICS, { packets: 3, drops: 0xffff_ffff });
    expect(readDrops(statistics)).toBe(0xffff_ffff);
    expect(koffi.decode(hostInt(1), 'int')).toBe(1);
  });
});
