/**
 * Probes with a mark, an interface and sources, in a network namespace of its own (unshare(1) starts it there): prints what
 * came of each, and what the kernel saw of their packets.
 */
import { createSocket } from 'node:dgram';
import { createServer } from 'node:net';
import { type IpAddress, parseIp } from '../../../src/model/address.ts';
import type { CheckKind, CheckOrigin } from '../../../src/model/check.ts';
import { runOk } from '../../support/processes.ts';
import { OneProbe } from './one-probe.ts';

const RULES = `table inet seen {
  chain out {
    type filter hook output priority 0;
    meta mark 7 meta l4proto tcp counter comment "tcp"
    meta mark 7 meta l4proto udp counter comment "udp"
    meta mark 7 meta l4proto { icmp, ipv6-icmp } counter comment "icmp"
    oifname "there0" counter comment "device"
  }
}`;

async function main(): Promise<void> {
  for (const command of [
    'ip link set lo up',
    'ip link add here0 type veth peer name there0',
    'ip address add 10.90.0.1/24 dev here0',
    'ip address add 10.90.0.2/24 dev there0',
    'ip link set here0 up',
    'ip link set there0 up',
    // Who is not there is given up after three questions of 50 ms.
    'sysctl -q -w net.ipv4.neigh.here0.retrans_time_ms=50',
    'sysctl -q -w net.ipv6.neigh.here0.retrans_time_ms=50',
    'ip address add fd90::1/64 dev here0 nodad',
  ])
    await runOk(command.split(' '));
  await runOk(['nft', '-f', '-'], { input: RULES });
  const [tcp, udp, silent] = [
    await listenTcp(),
    await listenUdp(8_080),
    await listenUdp(8_081, false),
  ];
  const one = new OneProbe();
  const told: Record<string, string> = {};
  const probe = async (
    name: string,
    kind: CheckKind,
    port: number,
    origin: Partial<CheckOrigin>,
    address = '127.0.0.1',
    timeoutMs = 10_000,
  ): Promise<void> => {
    told[name] = await one.tell(kind, { port, origin, address: ip(address), timeoutMs });
  };
  const echo: CheckKind = { kind: 'icmp', size: 56 };
  const datagram = { kind: 'udp', payload: '70', requireReply: true, reply: null } as const;
  const ask: CheckKind = { ...datagram, minLength: 0, maxLength: 100 };
  const who: CheckKind = {
    kind: 'tcp',
    send: '70',
    expect: { kind: 'pattern', source: '^127\\.0\\.0\\.5:40001$', ignoreCase: false },
  };
  const mark = { mark: 7 };
  await probe('tcp with a mark', { kind: 'tcp' }, tcp.port, mark);
  await probe('tcp6 with a mark', { kind: 'tcp' }, tcp.port, mark, '::1');
  await probe('udp with a mark', ask, udp.port, mark);
  await probe('udp6 with a mark', ask, udp.port, mark, '::1');
  await probe('icmp with a mark', echo, 0, mark);
  await probe('icmp6 with a mark', echo, 0, mark, '::1');
  const source = { source: ip('127.0.0.5'), sourcePort: 40_001 };
  await probe('tcp from a source', who, tcp.port, source);
  await probe('tcp from a source with a mark', who, tcp.port, { ...source, ...mark });
  await probe('udp from a source with a mark', ask, udp.port, { ...source, ...mark });
  // The other end of the pair is on this host too and does not answer itself: only the device is of interest.
  const there = { interface: 'there0' };
  await probe('tcp by a device', { kind: 'tcp' }, 80, there, '10.90.0.77', 500);
  await probe('icmp by a device', echo, 0, there, '10.90.0.77', 500);
  const careless: CheckKind = { ...ask, requireReply: false };
  await probe('udp to nobody', careless, 80, {}, '10.90.0.77');
  await probe('udp6 to nobody', careless, 80, {}, 'fd90::77');
  await probe('udp to somebody silent', careless, silent.port, {}, '127.0.0.1', 500);
  const listing = await runOk(['nft', 'list', 'ruleset']);
  const counts = Object.fromEntries(
    [...listing.matchAll(/counter packets (\d+) bytes \d+ comment "(\w+)"/g)].map((match) => [
      match[2] ?? '',
      Number(match[1]),
    ]),
  );
  process.stdout.write(JSON.stringify({ told, counts, sources: udp.sources }));
  tcp.close();
  udp.close();
  silent.close();
}

/** Tells who is connected. */
async function listenTcp(): Promise<{ port: number; close: () => void }> {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    const from = socket.remoteAddress?.replace('::ffff:', '');
    socket.once('data', () => socket.end(`${from}:${socket.remotePort}`));
  });
  await new Promise<void>((resolve) => server.listen(8_080, '::', resolve));
  return { port: 8_080, close: () => server.close() };
}

async function listenUdp(
  at: number,
  answers = true,
): Promise<{ port: number; sources: string[]; close: () => void }> {
  const socket = createSocket('udp6');
  const sources: string[] = [];
  socket.on('message', (message, { address, port }) => {
    sources.push(`${address.replace('::ffff:', '')}:${port}`);
    if (answers) socket.send(message, port, address);
  });
  await new Promise<void>((resolve) => socket.bind(at, '::', resolve));
  return { port: at, sources, close: () => socket.close() };
}

function ip(text: string): IpAddress {
  const parsed = parseIp(text);
  if (!parsed.ok) throw new Error(parsed.error);
  return parsed.value;
}

await main();
