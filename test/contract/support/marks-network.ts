/**
 * A director inside the namespace of this process with two VIPs, a client in a namespace of its own, and
 * an observer: a table of the test that writes down the mark of whatever arrives, after ours has seen it.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { openPacketSocket } from '../../support/packet-socket.ts';
import { waitUntil } from '../contract-case.ts';

export const VIP4 = '10.90.0.100';
export const VIP6 = 'fd90::100';
const CLIENT4 = '10.90.0.50';
const CLIENT6 = 'fd90::50';

export const sh = (command: string): string => execFileSync('sh', ['-c', command]).toString();

const SETS = ['input4', 'input6', 'output4', 'output6'] as const;

/** At the priority after IPVS's own place: whatever IPVS would see. */
const OBSERVER = `
table inet observer {
  set input4 { type inet_proto . inet_service . mark; flags dynamic; size 1000; }
  set input6 { type inet_proto . inet_service . mark; flags dynamic; size 1000; }
  set output4 { type inet_proto . inet_service . mark; flags dynamic; size 1000; }
  set output6 { type inet_proto . inet_service . mark; flags dynamic; size 1000; }
  chain input { type filter hook input priority 97;
    iifname != "lo" ip daddr ${VIP4} update @input4 { meta l4proto . th dport . meta mark }
    iifname != "lo" ip6 daddr ${VIP6} meta l4proto != icmpv6 update @input6 { meta l4proto . th dport . meta mark }
  }
  chain output { type filter hook output priority -99;
    ip daddr ${VIP4} update @output4 { meta l4proto . th dport . meta mark }
    ip6 daddr ${VIP6} meta l4proto != icmpv6 update @output6 { meta l4proto . th dport . meta mark }
  }
}`;

export class MarksNetwork {
  #client: ChildProcess | null = null;

  async up(): Promise<void> {
    const client = spawn('unshare', ['--net', 'sh', '-c', 'echo ready; exec sleep 120'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.#client = client;
    await once(client.stdout, 'data');
    sh('sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0');
    sh(`ip link add d0 type veth peer name c0 netns ${client.pid}`);
    sh('ip link add r0 type veth peer name r1');
    for (const each of [VIP4, VIP6])
      sh(`ip address add ${each}/${each.includes(':') ? '64 nodad' : '24'} dev d0`);
    for (const each of ['d0', 'r0', 'r1', 'lo']) sh(`ip link set ${each} up`);
    this.client('ip link set c0 up');
    this.client(`ip address add ${CLIENT4}/24 dev c0; ip address add ${CLIENT6}/64 dev c0 nodad`);
    sh(`nft -f - <<'END'\n${OBSERVER}\nEND`);
    await this.#settle();
  }

  /** Until carriers are there and the client knows the MAC of the VIPs: the first packets may be lost. */
  async #settle(): Promise<void> {
    const isUp = (device: string): boolean =>
      sh(`cat /sys/class/net/${device}/operstate`).trim() === 'up';
    for (let tries = 0; !['d0', 'r0', 'r1'].every(isUp); tries++) {
      if (tries === 500) throw new Error('the devices of the test do not come up');
      // oxlint-disable-next-line no-await-in-loop -- a repetition of the same question
      await sleep(20);
    }
    for (const vip of [VIP4, VIP6]) this.connect('client', vip, 9);
    for (const where of SETS) this.#forget(where);
  }

  down(): void {
    this.#client?.kill('SIGKILL');
    sh('ip link del d0 2>/dev/null; ip link del r0 2>/dev/null; nft flush ruleset');
  }

  /** A command of the client. */
  client(command: string): void {
    execFileSync('nsenter', [`--net=/proc/${this.#client?.pid}/ns/net`, 'bash', '-c', command], {
      stdio: ['ignore', 'ignore', 'ignore'],
    });
  }

  /** Tries to connect; nobody listens, and the first packet is enough. */
  connect(from: 'client' | 'director', vip: string, port: number): void {
    this.#say(from, `(exec 3<>/dev/tcp/${vip}/${port}) 2>/dev/null || true`);
  }

  /** One datagram. */
  datagram(from: 'client' | 'director', vip: string, port: number, bytes = 10): void {
    this.#say(from, `printf '%${bytes}s' x >/dev/udp/${vip}/${port} || true`);
  }

  /** Datagrams one after another until `end`; `said` tells how many there were at least. */
  talk(
    vip: string,
    port: number,
  ): { readonly said: () => number; readonly end: () => Promise<void> } {
    const hundred = `for i in {1..100}; do printf x >/dev/udp/${vip}/${port}; done 2>/dev/null`;
    const script = `for j in {1..10000}; do ${hundred}; echo; done`;
    const inside = `--net=/proc/${this.#client?.pid}/ns/net`;
    const talking = spawn('nsenter', [inside, 'bash', '-c', script], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    let said = 0;
    talking.stdout.on('data', (chunk: Buffer) => (said += 100 * chunk.length));
    const closed = once(talking, 'close');
    return {
      said: () => said,
      end: async () => {
        talking.kill('SIGTERM');
        await closed;
      },
    };
  }

  /** A packet of another protocol, or behind an extension header: as a frame from a second neighbour. */
  raw(vip: 'ipv4' | 'ipv6', protocol: number, port: number, extension: Buffer | null = null): void {
    const socket = openPacketSocket('r1');
    const mac = sh('cat /sys/class/net/r0/address').trim().split(':');
    const ethernet = Buffer.concat([
      Buffer.from(mac.map((byte) => Number.parseInt(byte, 16))),
      Buffer.from([2, 0, 0, 0, 0, 1]),
      Buffer.from(vip === 'ipv4' ? [8, 0] : [0x86, 0xdd]),
    ]);
    const transport = Buffer.alloc(32);
    transport.writeUInt16BE(40_000, 0);
    transport.writeUInt16BE(port, 2);
    const body = extension === null ? transport : Buffer.concat([extension, transport]);
    const next = extension === null ? protocol : DESTINATION_OPTIONS;
    const header = vip === 'ipv4' ? ipv4Header(body.length, next) : ipv6Header(body.length, next);
    socket.send(Buffer.concat([ethernet, header, body]));
  }

  /**
   * `tcp 80 7`: exactly these came by since the last call, in order. Who sends does not wait until it has arrived:
   * waits for them.
   */
  async sees(
    where: (typeof SETS)[number],
    wanted: readonly string[],
    isAsked: (each: string) => boolean = () => true,
  ): Promise<void> {
    const seen = (): readonly string[] => this.#seen(where).filter(isAsked);
    await waitUntil({ advance: (ms) => sleep(ms) }, () => seen().length >= wanted.length);
    assert.deepEqual(seen(), wanted);
    this.#forget(where);
  }

  #forget(where: (typeof SETS)[number]): void {
    sh(`nft flush set inet observer ${where}`);
  }

  #seen(where: (typeof SETS)[number]): readonly string[] {
    const listed: unknown = JSON.parse(sh(`nft -j list set inet observer ${where}`));
    const { nftables } = listed as { nftables: { set?: { elem?: { concat: unknown[] }[] } }[] };
    const elements = nftables.flatMap(({ set }) => set?.elem ?? []);
    return elements.map(({ concat }) => concat.join(' ')).toSorted();
  }

  #say(from: 'client' | 'director', command: string): void {
    if (from === 'client') this.client(command);
    else execFileSync('bash', ['-c', command], { stdio: 'ignore' });
  }
}

const DESTINATION_OPTIONS = 60;

/** A header of padding alone (RFC 8200 4.6), before `protocol`. */
export const destinationOptions = (protocol: number): Buffer =>
  Buffer.from([protocol, 0, 1, 4, 0, 0, 0, 0]);

function ipv4Header(length: number, protocol: number): Buffer {
  const header = Buffer.from([
    0x45,
    0,
    0,
    20 + length,
    0,
    1,
    0,
    0,
    64,
    protocol,
    0,
    0,
    10,
    90,
    0,
    51,
  ]);
  const whole = Buffer.concat([header, Buffer.from(VIP4.split('.').map(Number))]);
  let sum = 0;
  for (let i = 0; i < whole.length; i += 2) sum += whole.readUInt16BE(i);
  whole.writeUInt16BE(0xffff - ((sum & 0xffff) + (sum >>> 16)), 10);
  return whole;
}

function ipv6Header(length: number, protocol: number): Buffer {
  const address = (last: number): Buffer => {
    const bytes = Buffer.alloc(16);
    bytes.writeUInt16BE(0xfd90, 0);
    bytes.writeUInt16BE(last, 14);
    return bytes;
  };
  const fixed = Buffer.from([0x60, 0, 0, 0, 0, length, protocol, 64]);
  return Buffer.concat([fixed, address(0x51), address(0x100)]);
}
