/** Every decision returns why. The reason reaches log, event, metric and status unchanged. */
export type Decision<T, R extends string> = { readonly value: T; readonly reason: R };

/** Why a director takes, keeps, gives up or does not take a VIP group (design 4, I5: a closed list). */
export const HOLD_REASONS = [
  'vacant', // nobody ever owned the group, and the barrier of D' is over
  'released', // the former holder put owner := none
  'holder-dead', // the former holder's session was broken by a kill
  'holder-closed', // the former holder's session is closed or superseded
  'switchover', // an operator asked for it
  'drain', // the director is being drained
  'preempt', // a better director is ready and the group's policy says so
  'shutdown', // the agent ends
  'interface-down', // an interface of the group lost its carrier or is missing
  'cannot-bind', // the kernel refused the addresses
  'group-removed', // the spec no longer names the group, or no longer this director
  'session-lost', // the session record is no longer this life's
  'ownership-lost', // the owner record names somebody else
  'deadline-passed', // no round was confirmed in time: the kernel silenced the VIPs
  'adopted', // a new process of this director goes on where the former one ended
  'rebalance', // an operator asked for the groups to be spread anew
  'failback', // a planned handover did not come to its end, and the former holder goes on
  'track-failed', // a track without weight forbids holding
  'consent', // the holder only had etcd through others, and let this director take the group
  'vrrp-yielded', // a VRRP router that is no director, and goes before this one, speaks for the group
  'stood-in', // without etcd another director took the group; the record follows it
  'contested', // another machine spoke as its VIPs while only the gateway spoke for holding
  'cannot-arm', // rounds are confirmed, but the kernel gate could not be armed for D'
] as const;
export type HoldReason = (typeof HOLD_REASONS)[number];

/** Why a director is no candidate for a group. */
export const INELIGIBLE_REASONS = [
  'not-in-priorities',
  'draining',
  'interface-missing',
  'interface-down',
  'cannot-bind',
  'track-failed', // a track without weight fails
  'vrrp-active-elsewhere', // a VRRP router that is no director speaks for the group
  'vrrp-listening', // it has not heard for long enough that no such router does
  'vrrp-unheard', // such routers are configured, and VRRP cannot be sent or heard here
  'gate-too-coarse', // this kernel's gate cannot keep a D as short as the spec's
  'sync-catching-up', // it does not know the connections of the group's holder yet; it takes only what nobody else can
  'flapping', // it lost the group too often lately; it takes only what nobody else can
  'no-session',
  'not-heard', // no heartbeat of it arrives here: dead, or UDP between the directors is blocked
  'starting',
  'stopping',
] as const;
export type IneligibleReason = (typeof INELIGIBLE_REASONS)[number];

/** On what evidence a holder holds (design 2): `relay` is consensus too, asked for by another director. */
export const HOLD_BASES = ['consensus', 'relay', 'peers', 'segment'] as const;
export type HoldBasis = (typeof HOLD_BASES)[number];
