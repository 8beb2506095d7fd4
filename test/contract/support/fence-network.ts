/**
 * One veth pair inside the namespace of this process: the VIPs are on one end (or on a bridge over it),
 * the other end is a neighbour made of raw frames, which knows the MACs and sees what comes back.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseIp, type IpAddress, ipToBytes } from '../../../src/model/address.ts';
import type { FenceDevice } from '../../../src/ports/fence.ts';
import { openPacketSocket, type PacketSocket } from '../../support/packet-socket.ts';

export const VIP4 = ip('10.9.0.100');
export const VIP6 = ip('fd09::100');
/** VIPs that are not bound here: the way of packets to them leads out. */
export const ELSEWHERE4 = ip('10.9.0.200');
export const ELSEWHERE6 = ip('fd09::200');
export const OWN4 = ip('10.9.0.11');
const OWN6 = ip('fd09::11');
const NEIGHBOUR4 = ip('10.9.0.1');
const NEIGHBOUR6 = ip('fd09::1');
/** So many looks, 1 ms apart, after the last frame that is sure to come: another processor may have been busy. */
const LOOKS_AFTER = 10;
/** So many looks until that comes, or the network of the test is broken. */
const LOOKS_MAX = 10_000;
const BROADCAST = Buffer.alloc(6, 0xff);

export const sh = (command: string): string => execFileSync('sh', ['-c', command]).toString();

function ip(text: string): IpAddress {
  const parsed = parseIp(text);
  if (!parsed.ok) throw new Error(parsed.error);
  return parsed.value;
}

export class FenceNetwork {
  readonly #port: string;
  readonly #peer: string;
  readonly #name: string;
  #socket: PacketSocket | null = null;
  #echoes = 0;

  /** `bridge`: the VIPs are on a bridge whose only port is the veth. */
  constructor(number: number, kind: 'plain' | 'bridge') {
    this.#port = `v${number}`;
    this.#peer = `n${number}`;
    this.#name = kind === 'bridge' ? `br${number}` : this.#port;
  }

  /** Name of the neighbour's end. */
  get peer(): string {
    return this.#peer;
  }

  async up(): Promise<FenceDevice> {
    const name = `dev ${this.#name}`;
    const addresses = [
      `${OWN4}/24 ${name}`,
      `${VIP4}/32 ${name}`,
      `${OWN6}/64 ${name} nodad`,
      `${VIP6}/128 ${name} nodad`,
    ];
    const isBridged = this.#name !== this.#port;
    const lines = [
      `link add ${this.#port} type veth peer name ${this.#peer}`,
      ...(isBridged
        ? [`link add ${this.#name} type bridge`, `link set ${this.#port} master ${this.#name}`]
        : []),
    ];
    this.#ip(lines);
    sh(`sysctl -qw net.ipv6.conf.${this.#peer}.disable_ipv6=1`);
    this.#ip([
      ...[...new Set([this.#port, this.#peer, this.#name])].map((each) => `link set ${each} up`),
      ...addresses.map((address) => `address add ${address}`),
    ]);
    const socket = openPacketSocket(this.#peer);
    this.#socket = socket;
    const mac = macText(this.#peer);
    this.#ip(
      [NEIGHBOUR4, NEIGHBOUR6].map(
        (each) => `neigh replace ${each} lladdr ${mac} dev ${this.#name} nud permanent`,
      ),
    );
    await becomesLocal(this.#name);
    await this.#connected();
    return this.device();
  }

  /** Until its own addresses answer: the kernel sees a carrier some time after it is there. */
  async #connected(): Promise<void> {
    for (const own of [OWN4, OWN6]) {
      let isAnswered = false;
      for (let tries = 0; !isAnswered; tries++) {
        if (tries === 1000) throw new Error(`${this.#name} is not connected`);
        const { request, isReply } = this.#echo(own);
        this.#socket?.send(request);
        await sleep(tries === 0 ? 1 : 10);
        isAnswered = this.#drain(isReply);
      }
    }
  }

  neighbourMac(): Buffer {
    return macBytes(macText(this.#peer));
  }

  /** The VIPs as a real server has them. */
  async moveToLo(): Promise<void> {
    sh('sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2');
    this.#ip([
      `address del ${VIP4}/32 dev ${this.#name}`,
      `address del ${VIP6}/128 dev ${this.#name}`,
      `address add ${VIP4}/32 dev lo`,
      `address add ${VIP6}/128 dev lo`,
    ]);
    await becomesLocal('lo');
  }

  /** The IPv6 VIP as where it is bound ahead. */
  async bindAhead(): Promise<void> {
    this.#ip([`address add ${VIP6}/128 dev ${this.#name} nodad`]);
    await becomesLocal(this.#name);
  }

  /** A link above it that has the IPv4 VIP instead. */
  stack(): FenceDevice {
    const name = `${this.#name}m`;
    sh('sysctl -qw net.ipv4.conf.all.arp_ignore=1');
    this.#ip([
      `link add link ${this.#name} name ${name} type macvlan mode bridge`,
      `link set ${name} up`,
      `address del ${VIP4}/32 dev ${this.#name}`,
      `address add ${VIP4}/32 dev ${name}`,
    ]);
    return { index: indexOf(name), name };
  }

  /** The neighbour is who has that address. */
  know(address: IpAddress): void {
    const mac = macText(this.#peer);
    this.#ip([`neigh replace ${address} lladdr ${mac} dev ${this.#name} nud permanent`]);
  }

  device(): FenceDevice {
    return { index: indexOf(this.#name), name: this.#name };
  }

  down(): void {
    for (const each of [VIP4, VIP6]) sh(`ip address del ${each} dev lo 2>/dev/null || true`);
    sh(
      `ip link del ${this.#port} 2>/dev/null || true; ip link del ${this.#name} 2>/dev/null || true`,
    );
  }

  /** Does an echo to the VIP's MAC come back? */
  async speaks(address: IpAddress): Promise<boolean> {
    const { request, isReply } = this.#echo(address);
    return this.#asks(request, isReply);
  }

  /** Does who-has, or a neighbour solicitation, get an answer? */
  async answers(address: IpAddress): Promise<boolean> {
    if (!address.includes(':'))
      return this.#asks(
        arpFrame({ ...this.#macs(), operation: 1, sender: NEIGHBOUR4, target: address }),
        (frame) => isArpReplyOf(frame, address),
      );
    const bytes = ipToBytes(address);
    const group = Buffer.from(ipToBytes(ip('ff02::1:ff00:0')));
    group.set(bytes.subarray(13), 13);
    const mac = Buffer.concat([Buffer.from([0x33, 0x33]), group.subarray(12)]);
    const body = Buffer.concat([
      Buffer.from([135, 0, 0, 0, 0, 0, 0, 0]),
      bytes,
      Buffer.from([1, 1]),
      this.#macs().from,
    ]);
    return this.#asks(ipv6Frame({ ...this.#macs(), to: mac }, group, address, body), (frame) => {
      const isAdvertisement = frame.readUInt16BE(12) === 0x86dd && frame[20] === 58;
      return isAdvertisement && frame[54] === 136 && frame.subarray(62, 78).equals(bytes);
    });
  }

  /** Frames that arrive at the neighbour because of the call, within it. */
  async overhear(action: () => void): Promise<readonly Buffer[]> {
    const frames: Buffer[] = [];
    this.#drain(() => false);
    action();
    await this.#comes((frame) => {
      frames.push(Buffer.from(frame));
      return false;
    });
    return frames;
  }

  async #asks(request: Buffer, isAnswer: (frame: Buffer) => boolean): Promise<boolean> {
    this.#drain(() => false);
    this.#socket?.send(request);
    return this.#comes(isAnswer);
  }

  /**
   * Whether such a frame comes of what was done until now. The kernel does all of it within the calls; it is
   * done when the own address has answered what is asked behind it, however long the machine pauses.
   */
  async #comes(isWanted: (frame: Buffer) => boolean): Promise<boolean> {
    const behind = this.#echo(OWN4);
    this.#socket?.send(behind.request);
    let left = LOOKS_AFTER;
    for (let looks = 0; left > 0; looks++) {
      if (looks === LOOKS_MAX) throw new Error(`${OWN4} does not answer`);
      let isBehind = false;
      const isFound = this.#drain((frame) => {
        isBehind ||= behind.isReply(frame);
        return isWanted(frame);
      });
      if (isFound) return true;
      if (isBehind || left < LOOKS_AFTER) left--;
      await sleep(1);
    }
    return false;
  }

  /** Each has a number of its own: the answer to an earlier one is none. */
  #echo(address: IpAddress): {
    readonly request: Buffer;
    readonly isReply: (frame: Buffer) => boolean;
  } {
    const number = ++this.#echoes & 0xffff;
    const request = address.includes(':')
      ? ipv6Frame(this.#macs(), address, address, echo6(number))
      : ipv4Frame(this.#macs(), address, echo4(number));
    return { request, isReply: (frame) => isFrom(frame, address) && isEchoOf(frame, number) };
  }

  #drain(isWanted: (frame: Buffer) => boolean): boolean {
    let isFound = false;
    this.#socket?.drain((frame) => {
      if (frame.length >= 42 && isWanted(frame)) isFound = true;
    });
    return isFound;
  }

  #macs(): { readonly from: Buffer; readonly to: Buffer } {
    return { from: this.#socket?.mac ?? BROADCAST, to: macBytes(macText(this.#name)) };
  }

  #ip(lines: readonly string[]): void {
    execFileSync('ip', ['-batch', '-'], { input: `${lines.join('\n')}\n` });
  }
}

/** Until the kernel takes packets to the IPv6 VIP there: it has the address at once, and a worker of it does the rest. */
async function becomesLocal(device: string): Promise<void> {
  for (let looks = 0; sh(`ip -6 route show table local ${VIP6} dev ${device}`) === ''; looks++) {
    if (looks === LOOKS_MAX) throw new Error(`${VIP6} is not local on ${device}`);
    await sleep(1);
  }
}

const indexOf = (device: string): number =>
  Number(readFileSync(`/sys/class/net/${device}/ifindex`, 'utf8'));
const macText = (device: string): string =>
  readFileSync(`/sys/class/net/${device}/address`, 'utf8').trim();
const macBytes = (text: string): Buffer => Buffer.from(text.replaceAll(':', ''), 'hex');

type Macs = { readonly from: Buffer; readonly to: Buffer };

/** RFC 826, broadcast. */
export function arpFrame(options: {
  readonly from: Buffer;
  readonly operation: 1 | 2;
  readonly sender: IpAddress;
  readonly target: IpAddress;
}): Buffer {
  const { from, operation } = options;
  return Buffer.concat([
    BROADCAST,
    from,
    Buffer.from([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, operation]),
    from,
    ipToBytes(options.sender),
    Buffer.alloc(6),
    ipToBytes(options.target),
  ]);
}

/** What the kernel sees as ours: an announcement of that address. */
export const isArpFrom = (frame: Buffer, address: IpAddress): boolean =>
  frame.readUInt16BE(12) === 0x0806 && frame.subarray(28, 32).equals(ipToBytes(address));

export const isSolicitationFrom = (frame: Buffer, address: IpAddress): boolean =>
  isFrom(frame, address) && frame[20] === 58 && frame[54] === 135;

/** IP to that address. */
export function isTo(frame: Buffer, address: IpAddress): boolean {
  const [start, type] = address.includes(':') ? [38, 0x86dd] : [30, 0x0800];
  const bytes = ipToBytes(address);
  return (
    frame.readUInt16BE(12) === type && frame.subarray(start, start + bytes.length).equals(bytes)
  );
}

const isArpReplyOf = (frame: Buffer, address: IpAddress): boolean =>
  isArpFrom(frame, address) && frame.readUInt16BE(20) === 2;

function isFrom(frame: Buffer, address: IpAddress): boolean {
  const [start, type] = address.includes(':') ? [22, 0x86dd] : [26, 0x0800];
  const bytes = ipToBytes(address);
  return (
    frame.readUInt16BE(12) === type && frame.subarray(start, start + bytes.length).equals(bytes)
  );
}

const isEchoOf = (frame: Buffer, number: number): boolean =>
  frame.readUInt16BE(12) === 0x0800
    ? frame[23] === 1 && frame[34] === 0 && frame.readUInt16BE(40) === number
    : frame[20] === 58 && frame[54] === 129 && frame.readUInt16BE(60) === number;

function echo4(number: number): Buffer {
  const body = Buffer.from([8, 0, 0, 0, 0, 7, 0, 0, 1, 2, 3, 4]);
  body.writeUInt16BE(number, 6);
  body.writeUInt16BE(sum(body), 2);
  return body;
}

function echo6(number: number): Buffer {
  const body = Buffer.from([128, 0, 0, 0, 0, 7, 0, 0, 1, 2, 3, 4]);
  body.writeUInt16BE(number, 6);
  return body;
}

function ipv4Frame(macs: Macs, target: IpAddress, body: Buffer): Buffer {
  const header = Buffer.from([0x45, 0, 0, 20 + body.length, 0, 1, 0, 0, 64, 1, 0, 0]);
  const whole = Buffer.concat([header, ipToBytes(NEIGHBOUR4), ipToBytes(target)]);
  whole.writeUInt16BE(sum(whole), 10);
  return Buffer.concat([macs.to, macs.from, Buffer.from([8, 0]), whole, body]);
}

/** With the checksum over the pseudo header (RFC 4443 2.3); `target` names the address meant. */
function ipv6Frame(
  macs: Macs,
  destination: Uint8Array | IpAddress,
  target: IpAddress,
  body: Buffer,
): Buffer {
  const to = typeof destination === 'string' ? ipToBytes(target) : destination;
  const from = ipToBytes(NEIGHBOUR6);
  const message = Buffer.from(body);
  const length = Buffer.from([0, 0, 0, message.length]);
  message.writeUInt16BE(
    sum(Buffer.concat([from, to, length, Buffer.from([0, 0, 0, 58]), message])),
    2,
  );
  const header = Buffer.from([0x60, 0, 0, 0, 0, message.length, 58, 255]);
  return Buffer.concat([macs.to, macs.from, Buffer.from([0x86, 0xdd]), header, from, to, message]);
}

/** RFC 1071. */
function sum(bytes: Buffer): number {
  let total = 0;
  for (let at = 0; at < bytes.length; at += 2) total += bytes.readUInt16BE(at);
  while (total > 0xffff) total = (total & 0xffff) + (total >>> 16);
  return ~total & 0xffff;
}
