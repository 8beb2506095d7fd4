/**
 * Two network namespaces joined by a veth pair: the announcer in one, a neighbour with a packet capture
 * in the other. Needs root, `ip` and `tcpdump`; a missing tool fails the test that asks for it.
 */
import { type ChildProcessWithoutNullStreams, execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import type { Announcement } from '../../../src/ports/announcer.ts';
import { decodeArpFrame } from '../../../src/wire/arp.ts';
import { decodeNeighborAdvertisement } from '../../../src/wire/ndp.ts';
import { waitFor } from '../../support/processes.ts';
import type { SeenFrame } from '../announcer.contract.ts';

export type AnnouncerCommand =
  | { readonly op: 'announce' | 'repeat' | 'stop'; readonly vips: readonly Announcement[] }
  | { readonly op: 'counters' };
export type AnnouncerAnswer = {
  readonly sent: number;
  readonly failed: number;
  readonly tookMs: number;
};
/** A captured frame; `at` in milliseconds since the capture's first packet time base. */
export type CapturedFrame = { readonly at: number; readonly bytes: Uint8Array };

export const DEVICE = 'v0';
const PEER_DEVICE = 'v1';

export class AnnouncerNamespaces {
  readonly #name = `lh-${randomBytes(3).toString('hex')}`;
  readonly #directory = mkdtempSync(join(tmpdir(), 'leasehold-announcer-'));
  #child: ChildProcessWithoutNullStreams | null = null;
  #answers: AsyncIterator<string> | null = null;
  #lines: Interface | null = null;
  #capture: ChildProcessWithoutNullStreams | null = null;

  get #own(): string {
    return `${this.#name}a`;
  }
  get #peer(): string {
    return `${this.#name}b`;
  }

  /** After a failure half-way nothing stays behind. */
  async start(): Promise<void> {
    try {
      await this.#start();
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  async #start(): Promise<void> {
    ip(['netns', 'add', this.#own]);
    ip(['netns', 'add', this.#peer]);
    ip(['-n', this.#own, 'link', 'add', DEVICE, 'type', 'veth', 'peer', PEER_DEVICE]);
    ip(['-n', this.#own, 'link', 'set', PEER_DEVICE, 'netns', this.#peer]);
    ip(['-n', this.#own, 'link', 'set', DEVICE, 'up']);
    ip(['-n', this.#peer, 'link', 'set', PEER_DEVICE, 'up']);
    ip(['-n', this.#peer, 'addr', 'add', '10.90.0.1/24', 'dev', PEER_DEVICE]);
    ip(['-n', this.#peer, 'addr', 'add', 'fd90::1/64', 'dev', PEER_DEVICE, 'nodad']);
    await this.#startCapture();
    const script = new URL('announcer-child.ts', import.meta.url).pathname;
    const child = spawn('ip', ['netns', 'exec', this.#own, 'node', '--import', 'tsx', script]);
    child.stderr.pipe(process.stderr);
    this.#child = child;
    this.#lines = createInterface({ input: child.stdout });
    this.#answers = this.#lines[Symbol.asyncIterator]();
    await this.command({ op: 'counters' });
  }

  async command(command: AnnouncerCommand): Promise<AnnouncerAnswer> {
    if (this.#child === null || this.#answers === null) throw new Error('not started');
    this.#child.stdin.write(`${JSON.stringify(command)}\n`);
    const answer = await this.#answers.next();
    if (answer.done) throw new Error('the announcer process ended');
    return JSON.parse(answer.value) as AnnouncerAnswer;
  }

  bind(address: string): void {
    const flags = address.includes(':') ? ['nodad'] : [];
    ip(['-n', this.#own, 'addr', 'add', address, 'dev', DEVICE, ...flags]);
  }

  /** The announcing device's MAC address. */
  mac(): string {
    const links = JSON.parse(ip(['-n', this.#own, '-j', 'link', 'show', DEVICE])) as {
      address: string;
    }[];
    return links[0]?.address ?? '';
  }

  setLink(state: 'up' | 'down'): void {
    ip(['-n', this.#own, 'link', 'set', DEVICE, state]);
  }

  /** The neighbour believes that the address lives elsewhere. */
  setNeighbor(address: string, mac: string): void {
    const target = ['to', address, 'lladdr', mac, 'dev', PEER_DEVICE, 'nud', 'reachable'];
    ip(['-n', this.#peer, 'neigh', 'replace', ...target]);
  }

  neighborMac(address: string): string | null {
    const entries = JSON.parse(
      ip(['-n', this.#peer, '-j', 'neigh', 'show', 'to', address]) || '[]',
    ) as { lladdr?: string }[];
    return entries[0]?.lladdr ?? null;
  }

  /** All that was sent until the call: the capture file lags behind the wire. */
  async announcements(): Promise<readonly SeenFrame[]> {
    const { sent } = await this.command({ op: 'counters' });
    const mac = this.mac();
    const seenNow = (): readonly SeenFrame[] =>
      this.captured().flatMap((frame) => seenFrame(frame, mac));
    return waitFor(
      `${sent} announcements are captured`,
      () => {
        const seen = seenNow();
        return seen.length >= sent && seen;
      },
      { timeoutMs: 10_000, intervalMs: 10 },
    );
  }

  captured(): CapturedFrame[] {
    return parsePcap(readFileSync(join(this.#directory, 'frames.pcap')));
  }

  async stop(): Promise<void> {
    for (const process of [this.#child, this.#capture])
      if (process !== null && process.exitCode === null) {
        process.kill('SIGTERM');
        await once(process, 'exit');
      }
    this.#lines?.close();
    for (const namespace of [this.#own, this.#peer])
      if (existsSync(`/run/netns/${namespace}`)) ip(['netns', 'del', namespace]);
    rmSync(this.#directory, { recursive: true, force: true });
  }

  async #startCapture(): Promise<void> {
    const file = join(this.#directory, 'frames.pcap');
    const options = ['-i', PEER_DEVICE, '-U', '-w', file, '-Z', 'root', '--immediate-mode'];
    // Without a length its buffer holds 32 frames as long as a veth could bring, fewer than leave at once.
    options.push('-s', '256');
    const filter = 'arp or (icmp6 and ip6[40] == 136)';
    const capture = spawn('ip', ['netns', 'exec', this.#peer, 'tcpdump', ...options, filter]);
    this.#capture = capture;
    for await (const line of createInterface({ input: capture.stderr }))
      if (line.includes('listening on')) return;
    throw new Error('tcpdump did not start');
  }
}

function ip(args: readonly string[]): string {
  return execFileSync('ip', args, { encoding: 'utf8' });
}

/** Announcements of ours only: gratuitous, and with the announcing device's MAC address. */
function seenFrame(frame: CapturedFrame, mac: string): SeenFrame[] {
  const arp = decodeArpFrame(frame.bytes);
  if (arp.ok && arp.value.senderMac === mac && arp.value.senderIp === arp.value.targetIp)
    return [
      {
        address: arp.value.senderIp,
        form: arp.value.operation === 'request' ? 'arp-request' : 'arp-reply',
        at: frame.at,
      },
    ];
  const advertisement = decodeNeighborAdvertisement(frame.bytes);
  if (advertisement.ok && advertisement.value.targetMac === mac && !advertisement.value.isSolicited)
    return [{ address: advertisement.value.target, form: 'neighbor-advertisement', at: frame.at }];
  return [];
}

/** Classic pcap in this machine's byte order, microseconds (pcap-savefile(5)). */
function parsePcap(file: Buffer): CapturedFrame[] {
  const frames: CapturedFrame[] = [];
  let offset = 24;
  while (offset + 16 <= file.length) {
    const length = file.readUInt32LE(offset + 8);
    if (offset + 16 + length > file.length) break;
    frames.push({
      at: file.readUInt32LE(offset) * 1_000 + file.readUInt32LE(offset + 4) / 1_000,
      bytes: new Uint8Array(file.subarray(offset + 16, offset + 16 + length)),
    });
    offset += 16 + length;
  }
  return frames;
}
