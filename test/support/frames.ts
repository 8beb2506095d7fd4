/**
 * The few frames that the lab's probes send and read: ARP (RFC 826), neighbour discovery (RFC 4861),
 * echoes (RFC 792, RFC 4443). Pure; offsets count from the beginning of the Ethernet frame.
 */

export const ETHERTYPE = { all: 0x0003, ip: 0x0800, arp: 0x0806, ipv6: 0x86dd } as const;

const ARP_REPLY = 2;
const NEIGHBOUR_ADVERTISEMENT = 136;
const TARGET_LINK_LAYER_OPTION = 2;

/** Who speaks as an address, and to whom: ARP of either kind, or a neighbour advertisement. */
export type Voice = {
  readonly mac: Buffer;
  /** The address spoken for. */
  readonly of: Buffer;
  /** The asker's address; null: to everybody (GARP, unsolicited NA). */
  readonly to: Buffer | null;
};

/** Broadcast ARP who-has. */
export function whoHas(mac: Buffer, sender: Buffer, target: Buffer): Buffer {
  const frame = Buffer.alloc(42);
  frame.fill(0xff, 0, 6);
  mac.copy(frame, 6);
  Buffer.from('08060001080006040001', 'hex').copy(frame, 12);
  mac.copy(frame, 22);
  sender.copy(frame, 28);
  target.copy(frame, 38);
  return frame;
}

/** Neighbour solicitation to the solicited-node address, with the sender's hardware address. */
export function neighbourSolicitation(mac: Buffer, sender: Buffer, target: Buffer): Buffer {
  const group = Buffer.from('ff0200000000000000000001ff000000', 'hex');
  target.copy(group, 13, 13, 16);
  const to = Buffer.concat([Buffer.from('3333', 'hex'), group.subarray(12)]);
  const body = Buffer.concat([
    Buffer.from('8700000000000000', 'hex'),
    target,
    Buffer.from('0101', 'hex'),
    mac,
  ]);
  return ipv6Frame({ to, mac, source: sender, destination: group, hopLimit: 255, icmp: body });
}

/** An ICMP or ICMPv6 echo request with a 32-bit number in its data. */
export function echoRequest(echo: {
  readonly to: Buffer;
  readonly mac: Buffer;
  readonly source: Buffer;
  readonly destination: Buffer;
  readonly id: number;
  readonly sequence: number;
}): Buffer {
  const icmp = Buffer.alloc(12);
  icmp[0] = echo.source.length === 16 ? 128 : 8;
  icmp.writeUInt16BE(echo.id, 4);
  icmp.writeUInt16BE(echo.sequence & 0xffff, 6);
  icmp.writeUInt32BE(echo.sequence >>> 0, 8);
  if (echo.source.length === 16) return ipv6Frame({ ...echo, hopLimit: 64, icmp });
  icmp.writeUInt16BE(checksum(icmp), 2);
  const ip = Buffer.from('450000200000000040010000', 'hex');
  const packet = Buffer.concat([ip, echo.source, echo.destination, icmp]);
  packet.writeUInt16BE(checksum(packet.subarray(0, 20)), 10);
  return Buffer.concat([echo.to, echo.mac, Buffer.from('0800', 'hex'), packet]);
}

/** The number of an echo reply from `source` to our `id`; null where the frame is something else. */
export function readEchoReply(frame: Buffer, source: Buffer, id: number): number | null {
  const isV6 = source.length === 16;
  const [type, at, from] = isV6 ? [129, 54, 22] : [0, 34, 26];
  if (frame.length < at + 12 || frame[isV6 ? 20 : 23] !== (isV6 ? 58 : 1)) return null;
  if (frame[at] !== type || frame.readUInt16BE(at + 4) !== id) return null;
  if (!frame.subarray(from, from + source.length).equals(source)) return null;
  return frame.readUInt32BE(at + 8);
}

/** Null where the frame speaks for nobody: a probe (RFC 5227), another protocol, too short. */
export function readVoice(frame: Buffer): Voice | null {
  const type = frame.length >= 14 ? frame.readUInt16BE(12) : 0;
  if (type === ETHERTYPE.arp && frame.length >= 42) return readArp(frame);
  if (type === ETHERTYPE.ipv6 && frame.length >= 78) return readAdvertisement(frame);
  return null;
}

function readArp(frame: Buffer): Voice | null {
  const of = frame.subarray(28, 32);
  if (of.readUInt32BE(0) === 0) return null;
  const target = frame.subarray(38, 42);
  const isAnswer = frame.readUInt16BE(20) === ARP_REPLY && !target.equals(of);
  return { mac: frame.subarray(22, 28), of, to: isAnswer ? target : null };
}

function readAdvertisement(frame: Buffer): Voice | null {
  if (frame[20] !== 58 || frame[54] !== NEIGHBOUR_ADVERTISEMENT) return null;
  const hasOption = frame.length >= 86 && frame[78] === TARGET_LINK_LAYER_OPTION;
  return {
    mac: hasOption ? frame.subarray(80, 86) : frame.subarray(6, 12),
    of: frame.subarray(62, 78),
    to: frame[38] === 0xff ? null : frame.subarray(38, 54),
  };
}

function ipv6Frame(packet: {
  readonly to: Buffer;
  readonly mac: Buffer;
  readonly source: Buffer;
  readonly destination: Buffer;
  readonly hopLimit: number;
  readonly icmp: Buffer;
}): Buffer {
  const { icmp, source, destination } = packet;
  const length = Buffer.alloc(4);
  length.writeUInt32BE(icmp.length);
  const pseudo = Buffer.concat([source, destination, length, Buffer.from([0, 0, 0, 58])]);
  icmp.writeUInt16BE(0, 2);
  icmp.writeUInt16BE(checksum(Buffer.concat([pseudo, icmp])), 2);
  const header = Buffer.from('86dd60000000', 'hex');
  const rest = Buffer.from([icmp.length >> 8, icmp.length & 0xff, 58, packet.hopLimit]);
  return Buffer.concat([packet.to, packet.mac, header, rest, source, destination, icmp]);
}

/** One's complement sum of 16-bit words (RFC 1071). */
export function checksum(bytes: Buffer): number {
  let sum = 0;
  for (let at = 0; at + 1 < bytes.length; at += 2) sum += bytes.readUInt16BE(at);
  if (bytes.length % 2 === 1) sum += (bytes.at(-1) ?? 0) << 8;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

export function parseMac(text: string): Buffer {
  return Buffer.from(text.replaceAll(':', ''), 'hex');
}

export function formatMac(bytes: Buffer): string {
  return bytes.toString('hex').replaceAll(/(..)(?=.)/g, '$1:');
}

export function isIpv6(text: string): boolean {
  return text.includes(':');
}

/** 4 or 16 bytes. IPv6 without an embedded IPv4 address. */
export function parseIp(text: string): Buffer {
  if (!isIpv6(text)) return Buffer.from(text.split('.').map(Number));
  const [head = '', tail = ''] = text.split('::');
  const words = (part: string): readonly string[] => part.split(':').filter(Boolean);
  const zeros = Array<string>(8 - words(head).length - words(tail).length).fill('0');
  const all = [...words(head), ...(text.includes('::') ? zeros : []), ...words(tail)];
  return Buffer.from(all.map((word) => word.padStart(4, '0')).join(''), 'hex');
}
