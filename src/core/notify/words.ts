/**
 * A notification in keepalived's forms: arguments, the line of the pipe, and an environment besides.
 * Source: keepalived.conf(5), "notify" and "notify_fifo".
 */
import type { NotifySpec, VipGroup } from '../../model/cluster.ts';
import type { DirectorId } from '../../model/ids.ts';
import { effectivePriority } from '../placement/order.ts';
import type { Notification } from './transitions.ts';

/** What a VIP group is to keepalived: it has VIPs, a priority and a VRID of its own, as an instance has. */
const TYPE = 'INSTANCE';
/** keepalived's priority of an instance without one. */
const PRIORITY_DEFAULT = 100;

/** With what tracks add, kept within VRRP's range for those that do not own the address. */
export function priorityOf(
  group: Pick<VipGroup, 'priorities'>,
  director: DirectorId,
  bonus: number,
): number {
  const base = group.priorities?.get(director) ?? PRIORITY_DEFAULT;
  return effectivePriority(base, bonus);
}

/** The programs to run, in order: the state's own as it stands, then the one for all with its arguments. */
export function commandsOf(
  spec: NotifySpec,
  { group, state, priority }: Notification,
): readonly (readonly string[])[] {
  const own = { MASTER: spec.master, BACKUP: spec.backup, FAULT: spec.fault, STOP: spec.stop }[
    state
  ];
  const all = spec.any === null ? null : [...spec.any, TYPE, group, state, `${priority}`];
  return [own, all].filter((command) => command !== null);
}

/** Ends with a newline; short enough that a pipe takes it whole. */
export function fifoLineOf({ group, state, priority }: Notification): string {
  return `${TYPE} "${group}" ${state} ${priority}\n`;
}

export function environmentOf(
  { group, state, epoch, reason, priority }: Notification,
  director: DirectorId,
): Readonly<Record<string, string>> {
  return {
    LEASEHOLD_DIRECTOR: director,
    LEASEHOLD_GROUP: group,
    LEASEHOLD_STATE: state,
    LEASEHOLD_EPOCH: epoch === null ? '' : `${epoch}`,
    LEASEHOLD_REASON: reason ?? '',
    LEASEHOLD_PRIORITY: `${priority}`,
  };
}
