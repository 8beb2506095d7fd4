/**
 * The real Announcer: gratuitous ARP and unsolicited neighbour advertisements as hand-built frames over
 * one AF_PACKET socket. An ICMPv6 socket would be no shorter way: for a link-local destination the
 * kernel picks the link-local source (RFC 6724 rule 2), and the source must be the VIP, so that
 * filters which silence a VIP silence its announcements too.
 */
import { readFileSync } from 'node:fs';
import { ok, type Result } from '../../lib/result.ts';
import type { Announcer } from '../../ports/announcer.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Log } from '../../ports/log.ts';
import { encodeGratuitousArpReply, encodeGratuitousArpRequest } from '../../wire/arp.ts';
import { encodeUnsolicitedAdvertisement } from '../../wire/ndp.ts';
import { bindLibc } from '../raw-sockets/libc.ts';
import { type Device, PacketSender } from '../raw-sockets/packet-sender.ts';
import { type FrameSender, PacedAnnouncer } from './paced-announcer.ts';
import type { DueFrame } from './schedule.ts';

/**
 * Opens its socket now, because loading the library takes some 20 ms that a takeover must not pay.
 * Without CAP_NET_RAW it is created all the same; frames are then counted as failed, and the reason is logged.
 */
export function createAnnouncer(
  _options: Readonly<Record<never, never>>,
  ports: { readonly clock: Clock; readonly log: Log },
): Announcer {
  const packets = new PacketSender(bindLibc());
  // A failure is told at the first frame, and it is tried again with each.
  packets.open();
  return new PacedAnnouncer(new AnnouncementSender(packets, ports.clock), ports);
}

/** So long a device counts as what the kernel said of it: for the frames that leave together. */
const DEVICE_AGE_MS = 1;

class AnnouncementSender implements FrameSender {
  readonly #packets: PacketSender;
  readonly #clock: Clock;
  #asked: { readonly name: string; readonly at: number; readonly device: Device } | null = null;

  constructor(packets: PacketSender, clock: Clock) {
    this.#packets = packets;
    this.#clock = clock;
  }

  send(frame: DueFrame): Result<void, string> {
    const device = this.#device(frame.device);
    if (!device.ok) return device;
    return this.#packets.send(device.value.index, encodeFrame(frame, device.value));
  }

  /** Asked again and again (two ioctls): a device may be re-created, and its MAC address may change. */
  #device(name: string): Result<Device, string> {
    const at = this.#clock.now();
    if (this.#asked?.name === name && at - this.#asked.at < DEVICE_AGE_MS)
      return ok(this.#asked.device);
    const device = this.#packets.device(name);
    this.#asked = device.ok ? { name, at, device: device.value } : null;
    return device;
  }

  close(): void {
    this.#packets.close();
  }
}

function encodeFrame(frame: DueFrame, device: Device): Uint8Array {
  switch (frame.form) {
    case 'arp-request':
      return encodeGratuitousArpRequest(device.mac, frame.address);
    case 'arp-reply':
      return encodeGratuitousArpReply(device.mac, frame.address);
    case 'neighbor-advertisement':
      return encodeUnsolicitedAdvertisement(device.mac, frame.address, isRouter(frame.device));
  }
}

/** Whether this host forwards IPv6 on the device, as its own neighbour advertisements would say. */
function isRouter(device: string): boolean {
  try {
    return readFileSync(`/proc/sys/net/ipv6/conf/${device}/forwarding`, 'utf8').trim() !== '0';
  } catch {
    return false; // The device is gone or IPv6 is off: the send will tell.
  }
}
