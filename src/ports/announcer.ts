/** Tells neighbours where a VIP lives now: gratuitous ARP (RFC 5227, RFC 826), unsolicited NA (RFC 4861 7.2.6). */
import type { IpAddress } from '../model/address.ts';
import type { MonoMs } from '../model/ids.ts';

export type Announcement = { readonly device: string; readonly address: IpAddress };

export interface Announcer {
  /**
   * 5 rounds at once, 5 more after 5 s, then one every 30 s, until `stop`. The first frame of each VIP
   * leaves before this returns, up to a few hundred; the others are paced per interface. Announcing again starts the burst anew. Errors are logged and counted, never thrown.
   */
  announce(vips: readonly Announcement[]): void;
  /** Once more now, of what is announced already: its bursts and its refresh go on as they were due. */
  repeat(vips: readonly Announcement[]): void;
  /** No frame for these addresses leaves at `until` or later; told anew with every arming. */
  limit(vips: readonly Announcement[], until: MonoMs): void;
  /** Cancels what is still to be sent for these addresses. */
  stop(vips: readonly Announcement[]): void;
  /** Frames handed to the kernel since the start, and frames it refused. */
  counters(): { readonly sent: number; readonly failed: number };
  close(): void;
}
