/**
 * Hears who else speaks as a VIP that this director holds (design 4.11): counted and told, and answered
 * by announcing at once. Who holds is decided by the store and the peers; this changes nothing of it.
 */
import type { IpAddress } from '../model/address.ts';
import type { GroupId, MonoMs } from '../model/ids.ts';
import type { Announcement } from '../ports/announcer.ts';
import type { Clock } from '../ports/clock.ts';
import type { Log } from '../ports/log.ts';
import type { Metrics } from '../ports/metrics.ts';
import type { ForeignVoice, Neighbours } from '../ports/neighbours.ts';

export type ConflictPorts = {
  readonly neighbours: Pick<Neighbours, 'listen' | 'voices'>;
  readonly clock: Pick<Clock, 'now' | 'schedule'>;
  readonly log: Log;
  readonly metrics: Pick<Metrics, 'conflict'>;
  /** The VIPs that speak here now. */
  readonly held: () => readonly (Announcement & { readonly group: GroupId })[];
  /** VIPs that nobody answered for, and that may speak here next: a voice that begins just then is told of, no more. */
  readonly awaited: () => readonly (Announcement & { readonly group: GroupId })[];
  /** Told of each voice; false: the group yields to it, and is announced no more. */
  readonly contested: (group: GroupId) => boolean;
  /** Announces it anew, if it is announced at all. */
  readonly defend: (vip: Announcement & { readonly group: GroupId }) => void;
  /** A foreign voice silences what it speaks as: it must be heard at once (design 4.10). */
  readonly isUrgent: () => boolean;
  /** Into the event list; at most once a minute and VIP. */
  readonly tell: (group: GroupId, message: string) => void;
};

export type ConflictWatch = {
  /** What is held may have changed. */
  look(): void;
  /** The same in a moment, once for many changes. */
  lookSoon(): void;
  run(signal: AbortSignal): Promise<void>;
};

/** A takeover of hundreds of groups has as many changes in a row. */
const SOON_MS = 1;
const LOOK_GAP_MS = 10;
/** How late a foreign voice may be heard where it silences the group. */
const URGENT_MS = 5;
const TELL_REST_MS = 60_000;
const ANNOUNCE_REST_MS = 1000;

type Contest = { toldAt: number; announcedAt: number };

export function createConflictWatch(ports: ConflictPorts): ConflictWatch {
  const { neighbours, clock, log, metrics } = ports;
  /** By VIP, of those that are held. */
  const contests = new Map<string, Contest>();
  let listened = '';
  let wasUrgent = false;
  let lookedAt = Number.NEGATIVE_INFINITY;
  let isDue = false;

  const look = (): void => {
    lookedAt = clock.now();
    const held = [...ports.held(), ...ports.awaited()];
    const names = held.map(keyOf);
    const text = names.join();
    const isUrgent = ports.isUrgent();
    if (text === listened && isUrgent === wasUrgent) return;
    listened = text;
    wasUrgent = isUrgent;
    const current = new Set(names);
    for (const key of contests.keys()) if (!current.has(key)) contests.delete(key);
    const places = held.map(({ device, address }) => ({ device, address }));
    neighbours.listen(places, isUrgent ? URGENT_MS : undefined);
  };

  const take = (voice: ForeignVoice, now: MonoMs): void => {
    const vip = ports.held().find((one) => keyOf(one) === keyOf(voice));
    if (vip === undefined) {
      const awaited = ports.awaited().find((one) => keyOf(one) === keyOf(voice));
      // Else given up between the frame and now: whoever speaks may be the successor.
      if (awaited !== undefined) ports.contested(awaited.group);
      return;
    }
    const { group, device, address } = vip;
    metrics.conflict(group);
    const isKept = ports.contested(group);
    const contest = contests.get(keyOf(vip)) ?? { toldAt: -Infinity, announcedAt: -Infinity };
    contests.set(keyOf(vip), contest);
    if (now - contest.toldAt >= TELL_REST_MS) {
      contest.toldAt = now;
      const { mac } = voice;
      log.warn({ vipGroup: group, address, device, mac }, 'address.contested');
      ports.tell(group, `${mac} speaks as ${address} on ${device}, too`);
    }
    if (!isKept || now - contest.announcedAt < ANNOUNCE_REST_MS) return;
    contest.announcedAt = now;
    ports.defend(vip);
  };

  return {
    look,
    lookSoon: () => {
      if (isDue) return;
      isDue = true;
      const ms = Math.max(SOON_MS, lookedAt + LOOK_GAP_MS - clock.now());
      clock.schedule(ms, () => {
        isDue = false;
        look();
      });
    },
    run: async (signal) => {
      for await (const voice of neighbours.voices(signal)) take(voice, clock.now());
    },
  };
}

const keyOf = ({
  device,
  address,
}: {
  readonly device: string;
  readonly address: IpAddress;
}): string => `${device} ${address}`;
