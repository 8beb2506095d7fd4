/**
 * The VRRP router of one group and family (RFC 9568 6.4) as the election uses it: it tells when the wire
 * lets us open, when we must yield, and what to advertise; it opens nothing by itself. The election says
 * `opened` and `closed`.
 *
 * It differs from the RFC in two places. An active neighbour of lower priority is not overtaken, it is
 * preempted by advertisements first (`claiming`), and the VIPs open only when it has fallen silent. So
 * there are never two voices, even where the first advertisement is lost. And a goodbye counts only from
 * the router that spoke last.
 *
 * Feed it what decides by VRRP: foreign routers always, directors only where neither etcd nor all peers answer.
 */
import { unreachable } from '../../lib/assert.ts';
import type { IpAddress } from '../../model/address.ts';
import { type MonoMs, monoMs } from '../../model/ids.ts';
import { VRRP_PRIORITY_OWNER, VRRP_PRIORITY_RELEASE, type VrrpAdvert } from '../../model/vrrp.ts';
import {
  activeDownMs,
  activeIntervalOf,
  type HeardAdvert,
  neighbourDownAt,
  skewMs,
  type VrrpSettings,
  waitsFor,
  type YieldReason,
  yieldsTo,
} from './timers.ts';

/** A neighbour that was told to give way must be silent for this many of its own intervals. */
export const CLAIM_QUIET_INTERVALS = 1.25;

/**
 * Advertisements leave at multiples of this part of the interval, the first of them so much early: those of many
 * routers go together, and a processor that slept wakes up once for them.
 */
const ADVERT_GRID = 0.1;
/** Of a multiple: less than a clock tells apart, more than its arithmetic is off. */
const GRID_SLACK = 1e-6;

/** An active router answers no sooner after its last advertisement, in its own intervals. */
export const ANSWER_SPACING = 0.1;

/** Why the wire lets us open. */
export type OpenReason =
  | 'owner' // we own the addresses
  | 'active-down' // nobody advertised for the active-down interval
  | 'released' // the active router said goodbye, and the skew is over
  | 'claimed' // an active router of lower priority gave way
  | 'unopposed'; // we were active until now, and nobody else was

type Backup = {
  readonly kind: 'backup';
  /** When the active-down timer was last set, and to which length. */
  readonly from: MonoMs;
  readonly wait: 'active-down' | 'skew' | 'none';
  readonly activeIntervalMs: number;
  /** The last advertisement that came, of whatever priority. */
  readonly heard: HeardAdvert | null;
  /** Since when an active router of lower priority is heard that we would preempt. */
  readonly lowerSince: MonoMs | null;
  /** Set when the timer has run out, until somebody is heard. */
  readonly mayOpen: OpenReason | null;
};
type Claiming = {
  readonly kind: 'claiming';
  readonly sentAt: MonoMs;
  readonly nextAdvertAt: MonoMs;
  /** When the neighbour has been silent for long enough. */
  readonly quietAt: MonoMs;
  readonly heard: HeardAdvert;
};
type Active = {
  readonly kind: 'active';
  readonly sentAt: MonoMs;
  readonly nextAdvertAt: MonoMs;
  /** The last advertisement of a router that does not give way. */
  readonly heard: HeardAdvert | null;
};

export type VrrpRouter = { readonly kind: 'initialize' } | Backup | Claiming | Active;

export type VrrpEvent =
  | { readonly kind: 'start' }
  | { readonly kind: 'advert'; readonly advert: VrrpAdvert }
  | { readonly kind: 'timer' }
  /** The settings are others now: another priority, interval, or preemption. */
  | { readonly kind: 'settings' }
  /** The election has opened the VIPs, for whatever reason. */
  | { readonly kind: 'opened' }
  /** The VIPs are silent again, or it is not wanted to claim them. */
  | { readonly kind: 'closed' }
  /**
   * The same without a word on the wire: others may not take over yet, or a goodbye would be too late. Who
   * was active unopposed may open again as long as nobody else is heard.
   */
  | { readonly kind: 'silenced' }
  | { readonly kind: 'shutdown' };

export type VrrpOutput =
  /** Send one advertisement to each neighbour, now. */
  | { readonly kind: 'send'; readonly priority: number }
  /** Step with `timer` then; replaces the last one. */
  | { readonly kind: 'arm'; readonly at: MonoMs }
  | { readonly kind: 'may-open'; readonly reason: OpenReason }
  /** Shut the VIPs at once; it has stopped advertising, without a goodbye. */
  | { readonly kind: 'yield'; readonly to: IpAddress; readonly reason: YieldReason }
  /** Somebody of lower priority advertised while we are active: announce the VIPs again. */
  | { readonly kind: 'announce' };

export type VrrpStep = { readonly router: VrrpRouter; readonly outputs: readonly VrrpOutput[] };

export const INITIAL_ROUTER: VrrpRouter = { kind: 'initialize' };

/** One event; `now` never goes back. */
export function stepVrrp(
  router: VrrpRouter,
  event: VrrpEvent,
  now: MonoMs,
  settings: VrrpSettings,
): VrrpStep {
  switch (event.kind) {
    case 'start':
      return router.kind === 'initialize' ? start(now, settings) : still(router);
    case 'opened':
      return router.kind === 'active' ? still(router) : activate(router, now, settings);
    case 'closed':
      return close(router, now, settings);
    case 'silenced':
      return silence(router, now, settings);
    case 'shutdown':
      return { router: INITIAL_ROUTER, outputs: goodbye(router) };
    case 'settings':
      return rearm(router, settings);
    case 'advert':
      return hear(router, event.advert, now, settings);
    case 'timer':
      return runTimer(router, now, settings);
    default:
      return unreachable(event);
  }
}

/** The priority to advertise with now; null: be silent. */
export const advertisedPriority = (router: VrrpRouter, settings: VrrpSettings): number | null =>
  router.kind === 'active' || router.kind === 'claiming' ? settings.priority : null;

/** Whether the wire lets us open, and why. Null as well while it is open. */
export const mayOpen = (router: VrrpRouter): OpenReason | null =>
  router.kind === 'backup' ? router.mayOpen : null;

/** When the timer of a Backup router runs out; null in other states. */
export function activeDownAt(router: VrrpRouter, settings: VrrpSettings): MonoMs | null {
  if (router.kind !== 'backup') return null;
  const { wait, activeIntervalMs, from } = router;
  if (wait === 'none') return from;
  const length = wait === 'skew' ? skewMs : activeDownMs;
  return monoMs(from + length(settings, activeIntervalMs));
}

/** The neighbour that counts as active at `now`; null: nobody does. */
export function activeNeighbour(
  router: VrrpRouter,
  settings: VrrpSettings,
  now: MonoMs,
): HeardAdvert | null {
  if (router.kind === 'initialize' || router.heard === null) return null;
  if (router.heard.priority === VRRP_PRIORITY_RELEASE) return null;
  return now < neighbourDownAt(settings, router.heard) ? router.heard : null;
}

const still = (router: VrrpRouter): VrrpStep => ({ router, outputs: [] });

function start(now: MonoMs, settings: VrrpSettings): VrrpStep {
  const isOwner = settings.priority === VRRP_PRIORITY_OWNER;
  const router: Backup = {
    kind: 'backup',
    from: now,
    wait: isOwner ? 'none' : 'active-down',
    activeIntervalMs: settings.intervalMs,
    heard: null,
    lowerSince: null,
    mayOpen: null,
  };
  return isOwner ? runTimer(router, now, settings) : rearm(router, settings);
}

function activate(router: VrrpRouter, now: MonoMs, settings: VrrpSettings): VrrpStep {
  const heard = router.kind === 'initialize' ? null : router.heard;
  return advertise({ kind: 'active', sentAt: now, nextAdvertAt: now, heard }, now, settings);
}

function close(router: VrrpRouter, now: MonoMs, settings: VrrpSettings): VrrpStep {
  if (router.kind !== 'active' && router.kind !== 'claiming') return still(router);
  const waiting = waitFrom(now, settings.intervalMs, router.heard);
  return {
    router: waiting,
    outputs: [...goodbye(router), ...rearm(waiting, settings).outputs],
  };
}

function silence(router: VrrpRouter, now: MonoMs, settings: VrrpSettings): VrrpStep {
  if (router.kind !== 'active' && router.kind !== 'claiming') return still(router);
  const waiting = waitFrom(now, settings.intervalMs, router.heard);
  const isOpposed = router.kind === 'claiming' || activeNeighbour(router, settings, now) !== null;
  return isOpposed ? rearm(waiting, settings) : still({ ...waiting, mayOpen: 'unopposed' });
}

/** Who has advertised says goodbye, so that nobody waits for the active-down interval. */
const goodbye = (router: VrrpRouter): readonly VrrpOutput[] =>
  router.kind === 'active' || router.kind === 'claiming'
    ? [{ kind: 'send', priority: VRRP_PRIORITY_RELEASE }]
    : [];

const waitFrom = (from: MonoMs, activeIntervalMs: number, heard: HeardAdvert | null): Backup => ({
  kind: 'backup',
  from,
  wait: 'active-down',
  activeIntervalMs,
  heard,
  lowerSince: null,
  mayOpen: null,
});

function rearm(router: VrrpRouter, settings: VrrpSettings): VrrpStep {
  const at = nextTimerAt(router, settings);
  return { router, outputs: at === null ? [] : [{ kind: 'arm', at }] };
}

/** When `timer` is due; null: nothing is waited for. */
function nextTimerAt(router: VrrpRouter, settings: VrrpSettings): MonoMs | null {
  if (router.kind === 'initialize') return null;
  if (router.kind === 'active') return router.nextAdvertAt;
  if (router.kind === 'claiming') return monoMs(Math.min(router.nextAdvertAt, router.quietAt));
  if (router.mayOpen !== null) return null;
  const down = activeDownAt(router, settings) ?? router.from;
  if (router.lowerSince === null || router.heard === null) return down;
  // However long it is to be left in peace: once it has fallen silent nobody waits for it.
  const gone = neighbourDownAt(settings, router.heard);
  return monoMs(Math.max(down, Math.min(router.lowerSince + settings.preemptDelayMs, gone)));
}

function runTimer(router: VrrpRouter, now: MonoMs, settings: VrrpSettings): VrrpStep {
  const due = nextTimerAt(router, settings);
  if (due === null || now < due) return rearm(router, settings);
  if (router.kind === 'active') return advertise(router, now, settings);
  if (router.kind === 'claiming')
    // Its silence is an answer to our advertisements: it no longer counts as active.
    return now >= router.quietAt
      ? allow(waitFrom(now, settings.intervalMs, null), 'claimed')
      : advertise(router, now, settings);
  if (router.kind !== 'backup') return still(router);
  const neighbour = activeNeighbour(router, settings, now);
  // Its timer was not set again by it: it is of lower priority, and alive.
  if (neighbour !== null) return claim(neighbour, now, settings);
  return allow(router, openReason(router, settings));
}

function openReason({ wait }: Backup, { priority }: VrrpSettings): OpenReason {
  if (wait === 'skew') return 'released';
  return wait === 'none' && priority === VRRP_PRIORITY_OWNER ? 'owner' : 'active-down';
}

const allow = (router: Backup, reason: OpenReason): VrrpStep => ({
  router: { ...router, mayOpen: reason },
  outputs: [{ kind: 'may-open', reason }],
});

function claim(neighbour: HeardAdvert, now: MonoMs, settings: VrrpSettings): VrrpStep {
  const claiming: Claiming = {
    kind: 'claiming',
    sentAt: now,
    nextAdvertAt: now,
    quietAt: quietAfter(neighbour, now),
    heard: neighbour,
  };
  return advertise(claiming, now, settings);
}

const quietAfter = (neighbour: VrrpAdvert, now: MonoMs): MonoMs =>
  monoMs(now + CLAIM_QUIET_INTERVALS * neighbour.intervalMs);

function advertise(router: Active | Claiming, now: MonoMs, settings: VrrpSettings): VrrpStep {
  const nextAdvertAt = nextAdvertAfter(now, settings.intervalMs);
  const next = { ...router, sentAt: now, nextAdvertAt };
  return {
    router: next,
    outputs: [{ kind: 'send', priority: settings.priority }, ...rearm(next, settings).outputs],
  };
}

function nextAdvertAfter(now: MonoMs, intervalMs: number): MonoMs {
  const gridMs = ADVERT_GRID * intervalMs;
  return monoMs(Math.floor((now + intervalMs) / gridMs + GRID_SLACK) * gridMs);
}

function hear(
  router: VrrpRouter,
  advert: VrrpAdvert,
  now: MonoMs,
  settings: VrrpSettings,
): VrrpStep {
  if (advert.source === settings.primary) return still(router);
  const heard = { ...advert, at: now };
  switch (router.kind) {
    case 'initialize':
      return still(router);
    case 'backup':
      return hearAsBackup(router, heard, settings);
    case 'claiming':
      return hearAsClaiming(router, heard, settings);
    case 'active':
      return hearAsActive(router, heard, settings);
    default:
      return unreachable(router);
  }
}

/** RFC 9568 6.4.2; beyond it, only who speaks can say goodbye. */
function hearAsBackup(router: Backup, heard: HeardAdvert, settings: VrrpSettings): VrrpStep {
  const known = activeNeighbour(router, settings, heard.at);
  if (heard.priority === VRRP_PRIORITY_RELEASE) {
    // Another one than it has spoken since: that it goes makes no room.
    if (known !== null && known.source !== heard.source) return still(router);
    // Goodbyes in a row do not put off the takeover.
    if (router.wait === 'skew' || router.mayOpen !== null) return still({ ...router, heard });
    const interval = activeIntervalOf(settings, heard);
    const released: Backup = { ...waitFrom(heard.at, interval, heard), wait: 'skew' };
    return rearm(released, settings);
  }
  if (waitsFor(settings, heard))
    return rearm(waitFrom(heard.at, activeIntervalOf(settings, heard), heard), settings);
  const lowerSince = (known === null ? null : router.lowerSince) ?? heard.at;
  return rearm({ ...router, heard, lowerSince, mayOpen: null }, settings);
}

function hearAsClaiming(router: Claiming, heard: HeardAdvert, settings: VrrpSettings): VrrpStep {
  if (heard.priority === VRRP_PRIORITY_RELEASE)
    return router.heard.source === heard.source
      ? rearm({ ...router, quietAt: heard.at }, settings)
      : still(router);
  if (waitsFor(settings, heard))
    return rearm(waitFrom(heard.at, activeIntervalOf(settings, heard), heard), settings);
  return rearm({ ...router, heard, quietAt: quietAfter(heard, heard.at) }, settings);
}

/** RFC 9568 6.4.3; as keepalived does, a lower priority and a goodbye are answered at once. */
function hearAsActive(router: Active, heard: HeardAdvert, settings: VrrpSettings): VrrpStep {
  const reason = yieldsTo(settings, heard);
  if (reason === null) {
    const isGone = heard.priority === VRRP_PRIORITY_RELEASE;
    const others = router.heard?.source === heard.source ? null : router.heard;
    const next: Active = { ...router, heard: isGone ? others : heard };
    // A flood of them must not become one of ours.
    if (heard.at < router.sentAt + ANSWER_SPACING * settings.intervalMs) return still(next);
    const answered = advertise(next, heard.at, settings);
    if (isGone) return answered;
    return { ...answered, outputs: [...answered.outputs, { kind: 'announce' }] };
  }
  const waiting = waitFrom(heard.at, activeIntervalOf(settings, heard), heard);
  const { outputs } = rearm(waiting, settings);
  return {
    router: waiting,
    outputs: [{ kind: 'yield', to: heard.source, reason }, ...outputs],
  };
}
