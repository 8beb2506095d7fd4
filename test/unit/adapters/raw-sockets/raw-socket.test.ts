/** Sockets over a libc that fails on demand: what is said, that nothing stays open, and nothing closes twice. */
import { beforeEach, describe, expect, test } from 'vitest';
import { createEchoSockets } from '../../../../src/adapters/gateway/icmp-socket.ts';
import { createEthernet } from '../../../../src/adapters/neighbours/ethernet.ts';
import { PacketSender } from '../../../../src/adapters/raw-sockets/packet-sender.ts';
import { RawSocket } from '../../../../src/adapters/raw-sockets/raw-socket.ts';
import { encodeLinkAddress, hostInt } from '../../../../src/adapters/raw-sockets/socket-address.ts';
import { formatMac, type IpAddress, parseIp } from '../../../../src/model/address.ts';
import { encodeGratuitousArpRequest } from '../../../../src/wire/arp.ts';
import { type Call, FakeLibc } from './fake-libc.ts';

const ip = (text: string): IpAddress => {
  const parsed = parseIp(text);
  if (!parsed.ok) throw new Error(parsed.error);
  return parsed.value;
};
const MAC = Uint8Array.of(2, 0, 0, 0, 0, 1);
const SIOCGIFINDEX = 0x8933;
const KIND = { domain: 17, type: 3, protocol: 0 };
const SOCK_CLOEXEC_NONBLOCK = 0o2004000;

let libc: FakeLibc;
let hardware: number;

beforeEach(() => {
  libc = new FakeLibc();
  hardware = 1;
  libc.fill = (request, argument) => {
    if (request === SIOCGIFINDEX) argument.set(hostInt(7), 16);
    else argument.set([...new Uint8Array(Uint16Array.of(hardware).buffer), ...MAC], 16);
  };
});

const open = (words = {}): RawSocket => {
  const opened = RawSocket.open(libc, KIND, words);
  if (!opened.ok) throw new Error(opened.error);
  return opened.value;
};
const fail = (call: Call, error: string): void => void libc.failures.set(call, error);

describe('a raw socket', () => {
  test('waits for nothing and ends at exec', () => {
    open();
    expect(libc.kinds).toEqual([[17, 3 | SOCK_CLOEXEC_NONBLOCK, 0]]);
  });

  test.each([
    ['EPERM', 'not permitted, CAP_NET_RAW is needed (EPERM)'],
    ['ENETDOWN', 'the device is down (ENETDOWN)'],
    ['ENXIO', 'the device does not exist (ENXIO)'],
    ['ENOBUFS', 'dropped on its way out (queue full or filtered) (ENOBUFS)'],
    ['EAGAIN', 'the send buffer is full (EAGAIN)'],
    ['EMSGSIZE', 'EMSGSIZE'],
    ['errno 4711', 'errno 4711'],
  ])('says of %s what it means', (name, words) => {
    fail('sendto', name);
    expect(open().send(MAC, new Uint8Array(20))).toEqual({ ok: false, error: words });
  });

  test('says it in the words of its user where he has some', () => {
    fail('bind', 'EINVAL');
    const words = { EINVAL: 'not from this address' };
    expect(open(words).bind(new Uint8Array(16))).toEqual({
      ok: false,
      error: 'not from this address (EINVAL)',
    });
    expect(open().bind(new Uint8Array(16))).toEqual({ ok: false, error: 'EINVAL' });
  });

  test('tells nothing waiting from an error, which comes once', () => {
    const socket = open();
    const [into, from] = [new Uint8Array(8), new Uint8Array(20)];
    libc.waiting.push('ENETDOWN', Uint8Array.of(1, 2, 3), new Uint8Array(100));
    expect(socket.receive(into, from)).toMatchObject({ ok: false });
    expect(socket.receive(into, from)).toEqual({ ok: true, value: 3 });
    expect([...into.subarray(0, 3)]).toEqual([1, 2, 3]);
    // Cut off at the end of the buffer.
    expect(socket.receive(into, from)).toEqual({ ok: true, value: 8 });
    expect(socket.receive(into, from)).toEqual({ ok: true, value: 0 });
  });

  test('is closed once, and does nothing afterwards', () => {
    const socket = open();
    socket.close();
    socket.close('aside');
    expect(libc.open.size).toBe(0);
    expect(libc.aside).toEqual([]);
    const bytes = new Uint8Array(20);
    const tries = [
      socket.bind(bytes),
      socket.setFilter([]),
      socket.setOption(1, 2, bytes),
      socket.getOption(1, 2, bytes),
      socket.ioctl(1, bytes),
      socket.send(bytes, bytes),
      socket.receive(bytes, bytes),
    ];
    for (const tried of tries) expect(tried).toEqual({ ok: false, error: 'closed' });
  });
});

describe('a sender of frames', () => {
  const frame = encodeGratuitousArpRequest(formatMac(MAC), ip('10.90.0.100'));

  test('opens one socket when it is needed, and asks of each device anew', () => {
    const sender = new PacketSender(libc);
    expect(libc.open.size).toBe(0);
    expect(sender.device('eth0')).toEqual({ ok: true, value: { index: 7, mac: formatMac(MAC) } });
    expect(sender.send(7, frame)).toMatchObject({ ok: true });
    expect(sender.send(8, frame)).toMatchObject({ ok: true });
    expect(libc.kinds).toHaveLength(1);
    const destination = Uint8Array.of(255, 255, 255, 255, 255, 255);
    expect(libc.sent.map(({ address }) => address)).toEqual(
      [7, 8].map((deviceIndex) =>
        encodeLinkAddress({ deviceIndex, etherType: 0x0806, destination }),
      ),
    );
    expect(libc.sent[0]?.bytes).toEqual(frame);
    sender.close();
    expect(libc.open.size).toBe(0);
  });

  test('tries again after it could not open one, but not after its end', () => {
    const sender = new PacketSender(libc);
    fail('socket', 'EMFILE');
    expect(sender.send(7, frame)).toEqual({
      ok: false,
      error: 'cannot open a packet socket: EMFILE',
    });
    libc.failures.clear();
    expect(sender.send(7, frame)).toMatchObject({ ok: true });
    sender.close();
    sender.close();
    expect(sender.send(7, frame)).toEqual({ ok: false, error: 'closed' });
    expect(libc.open.size).toBe(0);
  });

  test('says why there is no device', () => {
    const sender = new PacketSender(libc);
    expect(sender.device('a-name-of-16-let')).toMatchObject({ ok: false });
    hardware = 772;
    expect(sender.device('lo')).toEqual({ ok: false, error: 'not an Ethernet device' });
    fail('ioctl', 'ENODEV');
    expect(sender.device('eth9')).toEqual({
      ok: false,
      error: 'no such device: the device does not exist (ENODEV)',
    });
  });
});

describe('an ear', () => {
  test.each([
    ['ioctl', 'no such device: ENOENT'],
    ['attachFilter', 'cannot filter: ENOENT'],
    ['bind', 'cannot listen: ENOENT'],
  ] as const)('that fails at %s leaves nothing open', (call, error) => {
    const ethernet = createEthernet(libc);
    fail(call, 'ENOENT');
    expect(ethernet.openEarlyEar('eth0', [])).toEqual({ ok: false, error });
    ethernet.close();
    expect(libc.open.size).toBe(0);
  });

  test('does without what an old kernel refuses, and without IPv6', () => {
    const ethernet = createEthernet(libc);
    fail('setsockopt', 'ENOPROTOOPT');
    const ear = ethernet.openEarlyEar('eth0', []);
    expect(ear.ok).toBe(true);
    if (!ear.ok) return;
    fail('socket', 'EAFNOSUPPORT');
    ear.value.joinGroupOf(ip('fd90::100'));
    ear.value.close();
    ethernet.close();
    expect(libc.open.size).toBe(0);
  });

  test('is bound to its device and EtherType after it has its filter, and closed aside with its groups', () => {
    const ethernet = createEthernet(libc);
    const opened = ethernet.openEar('eth0', 6, []);
    if (!opened.ok) throw new Error(opened.error);
    expect(opened.value.deviceIndex).toBe(7);
    expect(libc.bound).toEqual([
      encodeLinkAddress({ deviceIndex: 7, etherType: 0x86dd, destination: null }),
    ]);
    for (const address of ['fd90::100', 'fd90::200']) opened.value.joinGroupOf(ip(address));
    expect(libc.options.map(({ level, name }) => [level, name])).toEqual([
      [41, 20],
      [41, 20],
    ]);
    expect([...(libc.options[0]?.value ?? [])].slice(0, 16)).toEqual([
      0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 1, 0,
    ]);
    opened.value.close();
    opened.value.close();
    opened.value.joinGroupOf(ip('fd90::300'));
    expect(opened.value.receive()).toBeNull();
    expect(libc.aside).toHaveLength(2);
    ethernet.close();
    expect(libc.open.size).toBe(0);
  });

  test('knows when it missed something: its device was down, or its buffer full; once each', () => {
    const ethernet = createEthernet(libc);
    const opened = ethernet.openEarlyEar('eth0', []);
    if (!opened.ok) throw new Error(opened.error);
    const ear = opened.value;
    expect([ear.receive(), ear.hasMissed()]).toEqual([null, false]);
    libc.waiting.push('ENETDOWN');
    expect([ear.receive(), ear.hasMissed(), ear.hasMissed()]).toEqual([null, true, false]);
    libc.statistics.push(...hostInt(9), ...hostInt(2));
    expect(ear.hasMissed()).toBe(true);
    libc.statistics.push(...hostInt(9), ...hostInt(0));
    expect(ear.hasMissed()).toBe(false);
    ear.close();
    expect(ear.hasMissed()).toBe(true);
    ethernet.close();
  });
});

describe('an echo socket', () => {
  const own = { device: 'eth0', address: ip('10.90.0.11'), prefix: 24 };

  test.each([
    ['socket', 'EPERM', /^cannot open a raw socket: not permitted: CAP_NET_RAW is needed, and/],
    ['attachFilter', 'ENOMEM', /^cannot send from 10\.90\.0\.11: ENOMEM$/],
    ['bind', 'EADDRNOTAVAIL', /^cannot send from 10\.90\.0\.11: the address is not bound here/],
  ] as const)('that fails at %s leaves nothing open', (call, error, words) => {
    fail(call, error);
    const opened = createEchoSockets(libc)(own, 1);
    expect(opened.ok ? '' : opened.error).toMatch(words);
    expect(libc.open.size).toBe(0);
  });

  test('gives sender and bytes of what it hears, and nothing after an error', () => {
    const opened = createEchoSockets(libc)(own, 1);
    if (!opened.ok) throw new Error(opened.error);
    expect(opened.value.receive()).toBeNull();
    libc.waiting.push('EHOSTUNREACH');
    expect(opened.value.receive()).toBeNull();
    opened.value.close();
    expect(opened.value.receive()).toBeNull();
    expect(opened.value.send(ip('10.90.0.1'), new Uint8Array(8))).toEqual({
      ok: false,
      error: 'closed',
    });
    expect(libc.open.size).toBe(0);
  });
});
