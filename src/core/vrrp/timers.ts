/** VRRP's intervals and its order of routers (RFC 9568 6.1 and 6.4, RFC 3768 6.1). Pure questions. */
import { type IpAddress, ipToBytes } from '../../model/address.ts';
import { type MonoMs, monoMs } from '../../model/ids.ts';
import { VRRP_PRIORITY_RELEASE, type VrrpAdvert, type VrrpVersion } from '../../model/vrrp.ts';

/** Advertisements that must be missed before a Backup router counts the Active one as gone. */
export const DOWN_ADVERTS = 3;

/** How this director takes part in one virtual router at the moment. */
export type VrrpSettings = {
  readonly version: VrrpVersion;
  /** 1 to 255, with what tracks add; 255 only for who owns the addresses. */
  readonly priority: number;
  readonly intervalMs: number;
  /** Own source address: of two equal priorities the higher address wins. */
  readonly primary: IpAddress;
  readonly isPreempting: boolean;
  /** How long an active router of lower priority must have been heard before it is preempted. */
  readonly preemptDelayMs: number;
};

/** The last advertisement of a neighbour, and when it came. */
export type HeardAdvert = VrrpAdvert & { readonly at: MonoMs };

/** Lower priorities wait longer, so that the best candidate is first. Version 2 counts in seconds. */
export function skewMs(settings: VrrpSettings, activeIntervalMs: number): number {
  const unit = settings.version === 2 ? 1000 : activeIntervalMs;
  return ((256 - settings.priority) / 256) * unit;
}

/** How long the active router must be silent before it counts as gone. */
export function activeDownMs(settings: VrrpSettings, activeIntervalMs: number): number {
  return DOWN_ADVERTS * activeIntervalMs + skewMs(settings, activeIntervalMs);
}

/** The interval that the active router's silence is measured by: in version 3 it is the sender's own. */
export const activeIntervalOf = (settings: VrrpSettings, advert: VrrpAdvert): number =>
  settings.version === 3 ? advert.intervalMs : settings.intervalMs;

/** When a neighbour that says nothing more counts as gone; after a goodbye only the skew is waited for. */
export function neighbourDownAt(settings: VrrpSettings, heard: HeardAdvert): MonoMs {
  const interval = activeIntervalOf(settings, heard);
  const wait =
    heard.priority === VRRP_PRIORITY_RELEASE
      ? skewMs(settings, interval)
      : activeDownMs(settings, interval);
  return monoMs(heard.at + wait);
}

/** Why an active router gives way. */
export type YieldReason = 'higher-priority' | 'higher-address';

/**
 * Whether an active router must give way to the sender at once, and why (RFC 9568 6.4.3). A router never
 * yields to itself: null for its own primary address.
 */
export function yieldsTo(settings: VrrpSettings, advert: VrrpAdvert): YieldReason | null {
  if (advert.source === settings.primary) return null;
  if (advert.priority > settings.priority) return 'higher-priority';
  const isBetter =
    advert.priority === settings.priority && isHigherAddress(advert.source, settings.primary);
  return isBetter ? 'higher-address' : null;
}

/** Whether a Backup router waits for the sender as for an active one (RFC 9568 6.4.2). */
export const waitsFor = (settings: VrrpSettings, advert: VrrpAdvert): boolean =>
  !settings.isPreempting || advert.priority >= settings.priority;

/** As unsigned numbers in network order; both of one family. */
function isHigherAddress(a: IpAddress, b: IpAddress): boolean {
  const [left, right] = [ipToBytes(a), ipToBytes(b)];
  for (const [i, byte] of left.entries()) {
    const other = right[i] ?? 0;
    if (byte !== other) return byte > other;
  }
  return false;
}
