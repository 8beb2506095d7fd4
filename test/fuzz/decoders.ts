/**
 * Every decoder of `src/wire` that takes bytes of others, with true messages to begin from. A new decoder
 * gets its line here; `test/unit/wire/fuzz.test.ts` notices one that has none.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { concatBytes, fromHex } from '../../src/lib/bytes.ts';
import { formatIp, type IpFamily, parseMac } from '../../src/model/address.ts';
import { directorId, epochOf, groupId, revision, sessionIdOf } from '../../src/model/ids.ts';
import {
  decodeArpFrame,
  encodeArpReply,
  encodeArpRequest,
  encodeGratuitousArpReply,
} from '../../src/wire/arp.ts';
import { decodeGuePort } from '../../src/wire/fou.ts';
import { decodeFamily } from '../../src/wire/genetlink.ts';
import { decodeEchoReply, encodeEchoRequest } from '../../src/wire/icmp.ts';
import { ConnectionReader, decodeConnection } from '../../src/wire/ipvs-connections.ts';
import { decodeDaemon, decodeInfo, decodeTimeouts } from '../../src/wire/ipvs-control.ts';
import { decodeDestination } from '../../src/wire/ipvs-destination.ts';
import { decodeService } from '../../src/wire/ipvs-service.ts';
import {
  decodeNeighborAdvertisement,
  decodeNeighborSolicitation,
  encodeAddressProbe,
  encodeNeighborSolicitation,
  encodeUnsolicitedAdvertisement,
} from '../../src/wire/ndp.ts';
import { decodeAcknowledgement, decodeMessages } from '../../src/wire/netlink.ts';
import { decodeMarkElements } from '../../src/wire/nft-maps.ts';
import {
  decodeChain,
  decodeChainPolicy,
  decodeElements,
  decodeExpiring,
  decodeGeneration,
  decodeRule,
  decodeSet,
  decodeTable,
  decodeTableFlags,
} from '../../src/wire/nftables.ts';
import { decodePeerDatagram, encodePeerDatagram } from '../../src/wire/peer-message.ts';
import { bytesField, ProtoReader, uintField } from '../../src/wire/protobuf.ts';
import { decodeAddress, decodeLink, decodeLinkRole } from '../../src/wire/rtnetlink.ts';
import { decodeHostLink } from '../../src/wire/rtnetlink-links.ts';
import { checksumFormOf, decodeVrrp, encodeVrrp } from '../../src/wire/vrrp.ts';
import {
  decodeHeard,
  encodeEchoPacket,
  encodeSegment,
  TCP_SYN,
} from '../../src/wire/vip-packets.ts';
import { decodeHmacTrailer } from '../../src/wire/vrrp-hmac.ts';
import { decodeIpv4Packet, encodeVrrpPacket } from '../../src/wire/vrrp-ip.ts';
import { judgeVrrp } from '../../src/wire/vrrp-receive.ts';
import { asEchoReply4 } from '../support/echo-reply.ts';
import { ANSWER_DECODERS } from './answers.ts';

export type FuzzedDecoder = {
  /** As it is exported. */
  readonly name: string;
  /** True messages: most inputs are made from them. At least one. */
  readonly corpus: readonly Uint8Array[];
  /** Gives everything that was read, so that two readings can be compared. */
  readonly decode: (bytes: Uint8Array) => unknown;
};

const MAC = (() => {
  const parsed = parseMac('02:00:5e:00:53:01');
  if (!parsed.ok) throw new Error(parsed.error);
  return parsed.value;
})();
const V4 = formatIp(Uint8Array.of(10, 90, 0, 1));
const VIP_4 = formatIp(Uint8Array.of(10, 90, 0, 100));
const V6 = formatIp(Uint8Array.of(0xfd, 0x90, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1));
const VIP_6 = formatIp(Uint8Array.of(0xfd, 0x90, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0));

const ARP = [
  encodeGratuitousArpReply(MAC, VIP_4),
  encodeArpRequest({ mac: MAC, senderIp: V4, targetIp: VIP_4, destination: null }),
  encodeArpReply({ mac: MAC, senderIp: V4, targetMac: MAC, targetIp: VIP_4 }),
];
const PATH_ENDS = [
  { source: V4, destination: VIP_4, hopLimit: 1 },
  { source: V6, destination: VIP_6, hopLimit: 1 },
];
const SYN = {
  sourcePort: 40_000,
  destinationPort: 80,
  sequence: 7,
  acknowledgement: 0,
  flags: TCP_SYN,
};
const PATH_PACKETS = PATH_ENDS.flatMap((ends) => [
  encodeSegment(ends, SYN),
  encodeEchoPacket(ends, { identifier: 40_000, sequence: 7 }),
]);
const ADVERTISEMENTS = [true, false].map((isRouter) =>
  encodeUnsolicitedAdvertisement(MAC, VIP_6, isRouter),
);
const SOLICITATIONS = [
  encodeNeighborSolicitation({ mac: MAC, source: V6, target: VIP_6 }),
  encodeAddressProbe(MAC, VIP_6),
];

const ECHO = { identifier: 0x1234, sequence: 7, payload: new Uint8Array(8).fill(0xaa) };
const ECHO_REPLIES_4 = [0, 8].map((optionLength) => asEchoReply4(ECHO, optionLength));
const ECHO_REPLY_6 = encodeEchoRequest(6, ECHO);
ECHO_REPLY_6[0] = 129;

/** Address, protocol and port. */
const MARK_FIELDS = [4, 1, 2].map((bytes) => ({ type: 0, bytes }));

/** Whole netlink messages as programs sent them and Linux answered. */
const NETLINK = [
  'iproute2.txt',
  'ipvsadm.txt',
  'ipvsadm-more.txt',
  'nftables.txt',
  'nft-marks.txt',
].flatMap((file) => {
  const path = join(import.meta.dirname, '../fixtures/netlink', file);
  return readFileSync(path, 'utf8')
    .split('\n')
    .flatMap((line) => {
      const [, hex] = line.split(' = ');
      const bytes = line.startsWith('#') || hex === undefined ? null : fromHex(hex);
      return bytes === null || bytes.length < 16 ? [] : [bytes];
    });
});
const BODIES = NETLINK.map((message) => message.subarray(16));

/** Body of an answer to the question for the generation. */
const GENERATION = Uint8Array.of(0, 0, 1, 2, 8, 0, 1, 0, 0, 0, 0x30, 0x39);

/** Lines as Linux writes them, the header among them. */
const CONNECTIONS = readFileSync(join(import.meta.dirname, '../fixtures/ip_vs_conn.txt'));
const text = new TextDecoder();

const ENVELOPE = {
  cluster: 'lab',
  from: directorId('d1'),
  to: directorId('d2'),
  nonce: new Uint8Array(16).fill(0xaa),
  counter: 258,
  challenge: new Uint8Array(16).fill(0xbb),
};
const HOLDING = { group: groupId('web'), epoch: epochOf(revision(70_000)) };
const SESSION = sessionIdOf(revision(300));
const PEER = [
  encodePeerDatagram(ENVELOPE, { kind: 'heartbeat', session: SESSION, armed: [HOLDING, HOLDING] }),
  encodePeerDatagram(ENVELOPE, { kind: 'muted', session: SESSION, ...HOLDING }),
  encodePeerDatagram(ENVELOPE, {
    kind: 'hello',
    answersNonce: ENVELOPE.nonce,
    answersCounter: 2 ** 40,
  }),
];

const PATHS = {
  4: { source: V4, destination: VIP_4 },
  6: { source: V6, destination: VIP_6 },
} as const;
const sign = (bytes: Uint8Array): Uint8Array => bytes.subarray(0, 32);
const vrrp = (version: 2 | 3, family: IpFamily, count: number, isTrailed: boolean): Uint8Array =>
  encodeVrrp(
    {
      version,
      routerId: 51,
      priority: 200,
      intervalMs: 1000,
      addresses: Array.from({ length: count }, () => (family === 4 ? VIP_4 : VIP_6)),
    },
    {
      path: PATHS[family],
      checksum: 'pseudo-header',
      password: version === 2 ? 'secret12' : null,
      hmac: isTrailed ? { keyId: 1, stamp: 1n, sign } : null,
    },
  );
const VRRP_4 = [
  vrrp(2, 4, 1, false),
  vrrp(2, 4, 20, false),
  vrrp(3, 4, 1, false),
  vrrp(3, 4, 3, true),
];
const VRRP_6 = [vrrp(3, 6, 1, false), vrrp(3, 6, 8, true)];

/** As the link does it: decoded, then judged by an instance that takes almost anything. */
function readVrrp(bytes: Uint8Array, family: IpFamily): unknown {
  const decoded = decodeVrrp(bytes, family);
  if (!decoded.ok) return decoded;
  const datagram = { ...PATHS[family], ttl: 255, payload: bytes };
  const instance = {
    key: 'fuzz',
    family,
    routerId: decoded.value.routerId,
    version: decoded.value.version,
    device: 'eth0',
    source: PATHS[family].destination,
    to: {
      kind: 'unicast',
      neighbours: [{ address: PATHS[family].source, ttlMin: 0, ttlMax: 255 }],
    },
    intervalMs: decoded.value.intervalMs,
    addresses: [],
    auth: { kind: 'hmac', keys: [{ id: 1, key: new Uint8Array(32) }] },
    checksum: 'pseudo-header',
  } as const;
  const means = { sign: (_: Uint8Array, input: Uint8Array) => sign(input), lastStamp: () => null };
  return [
    decoded,
    checksumFormOf(decoded.value, datagram),
    judgeVrrp(instance, datagram, decoded.value, means),
  ];
}

const SERVICE_KEY = {
  kind: 'address',
  family: 4,
  protocol: 'tcp',
  address: VIP_4,
  port: 80,
} as const;

export const FUZZED_DECODERS: readonly FuzzedDecoder[] = [
  { name: 'decodeVrrp', corpus: VRRP_4, decode: (bytes) => readVrrp(bytes, 4) },
  { name: 'decodeVrrp', corpus: VRRP_6, decode: (bytes) => readVrrp(bytes, 6) },
  {
    name: 'decodeHmacTrailer',
    corpus: VRRP_4.slice(3).map((bytes) => bytes.subarray(20)),
    decode: decodeHmacTrailer,
  },
  {
    name: 'decodeIpv4Packet',
    corpus: VRRP_4.map((payload) => encodeVrrpPacket(PATHS[4], payload)),
    decode: decodeIpv4Packet,
  },
  { name: 'decodePeerDatagram', corpus: PEER, decode: decodePeerDatagram },
  { name: 'decodeEchoReply', corpus: ECHO_REPLIES_4, decode: (bytes) => decodeEchoReply(bytes, 4) },
  { name: 'decodeEchoReply', corpus: [ECHO_REPLY_6], decode: (bytes) => decodeEchoReply(bytes, 6) },
  { name: 'decodeHeard', corpus: PATH_PACKETS, decode: decodeHeard },
  { name: 'decodeArpFrame', corpus: ARP, decode: decodeArpFrame },
  {
    name: 'decodeNeighborAdvertisement',
    corpus: ADVERTISEMENTS,
    decode: decodeNeighborAdvertisement,
  },
  {
    name: 'decodeNeighborSolicitation',
    corpus: SOLICITATIONS,
    decode: decodeNeighborSolicitation,
  },
  {
    name: 'decodeMessages',
    corpus: [...NETLINK, concatBytes(NETLINK.slice(0, 4))],
    decode: decodeMessages,
  },
  {
    name: 'decodeAcknowledgement',
    corpus: NETLINK,
    decode: (bytes) => {
      const decoded = decodeMessages(bytes);
      return decoded.ok ? decoded.value.map(decodeAcknowledgement) : decoded;
    },
  },
  { name: 'decodeFamily', corpus: BODIES, decode: decodeFamily },
  { name: 'decodeGuePort', corpus: BODIES, decode: decodeGuePort },
  { name: 'decodeService', corpus: BODIES, decode: decodeService },
  {
    name: 'decodeDestination',
    corpus: BODIES,
    decode: (bytes) => decodeDestination(bytes, SERVICE_KEY),
  },
  { name: 'decodeInfo', corpus: BODIES, decode: decodeInfo },
  { name: 'decodeTimeouts', corpus: BODIES, decode: decodeTimeouts },
  { name: 'decodeDaemon', corpus: BODIES, decode: decodeDaemon },
  {
    name: 'decodeConnection',
    corpus: CONNECTIONS.toString()
      .split('\n')
      .map((line) => new TextEncoder().encode(line)),
    decode: (bytes) => decodeConnection(text.decode(bytes)),
  },
  {
    name: 'ConnectionReader',
    corpus: [Uint8Array.from(CONNECTIONS)],
    decode: (bytes) => {
      const reader = new ConnectionReader();
      return [reader.read(bytes.subarray(0, 100)), reader.read(bytes.subarray(100)), reader.end()];
    },
  },
  { name: 'decodeAddress', corpus: BODIES, decode: decodeAddress },
  { name: 'decodeLink', corpus: BODIES, decode: decodeLink },
  { name: 'decodeHostLink', corpus: BODIES, decode: decodeHostLink },
  { name: 'decodeLinkRole', corpus: BODIES, decode: decodeLinkRole },
  { name: 'decodeTable', corpus: BODIES, decode: decodeTable },
  { name: 'decodeGeneration', corpus: [GENERATION, ...BODIES], decode: decodeGeneration },
  {
    name: 'ProtoReader',
    corpus: [concatBytes([uintField(1, 300), bytesField(2, uintField(3, 7)), uintField(90, 0)])],
    decode: (bytes) => {
      const reader = new ProtoReader(bytes);
      const fields: unknown[] = [];
      for (let field = reader.nextField(); field !== 0; field = reader.nextField())
        fields.push([field, field % 2 === 0 ? reader.bytes() : reader.uint()]);
      return [fields, reader.hasFailed];
    },
  },
  { name: 'decodeSet', corpus: BODIES, decode: decodeSet },
  { name: 'decodeChain', corpus: BODIES, decode: decodeChain },
  { name: 'decodeRule', corpus: BODIES, decode: decodeRule },
  { name: 'decodeElements', corpus: BODIES, decode: decodeElements },
  { name: 'decodeTableFlags', corpus: BODIES, decode: decodeTableFlags },
  { name: 'decodeChainPolicy', corpus: BODIES, decode: decodeChainPolicy },
  {
    name: 'decodeMarkElements',
    corpus: BODIES,
    decode: (bytes) => decodeMarkElements(bytes, MARK_FIELDS),
  },
  { name: 'decodeExpiring', corpus: BODIES, decode: decodeExpiring },
  ...ANSWER_DECODERS,
];
