/** The VRRP desk as a part of the agent: what it asks of the others, and whom it tells. */
import { createRanking } from '../core/election/placement.ts';
import { ownerStanding } from '../core/election/view.ts';
import { isRunning } from '../core/vrrp/part.ts';
import type { IpAddress } from '../model/address.ts';
import type { VipGroup } from '../model/cluster.ts';
import type { DirectorId, GroupId } from '../model/ids.ts';
import type { EventRecord } from '../model/records.ts';
import type { VrrpLink } from '../ports/vrrp-link.ts';
import type { AgentOptions, AgentParts, AgentPorts } from './agent-parts.ts';
import { isStoreConnected } from './status-desk.ts';
import { createVrrpDesk, type VrrpDesk } from './vrrp-desk.ts';

export type VrrpHooks = {
  readonly parts: () => AgentParts;
  /** The election is to hear of another obstacle. */
  readonly judge: () => void;
  readonly announce: (group: GroupId) => void;
  readonly record: (event: EventRecord) => void;
};

type Ports = Pick<AgentPorts, 'network' | 'store' | 'clock' | 'log'>;

/** Null without a link: then nothing of VRRP is said or heard. */
export function createVrrpPart(
  { me, devices }: AgentOptions,
  { network, store, clock, log }: Ports,
  link: VrrpLink | null,
  { parts, judge, announce, record }: VrrpHooks,
): VrrpDesk | null {
  if (link === null) return null;
  const election = () => parts().hold.state();
  return createVrrpDesk(me, {
    link,
    kernel: network,
    clock,
    log,
    devices,
    links: () => parts().keeper.links(),
    election,
    isHeir: (group) => isStoreConnected(store, clock.now()) && isHeir(parts(), me, group, clock),
    isRunning: (director) => {
      const suspectMs = parts().specs.spec()?.timing.suspectMs ?? 0;
      return isRunning(election(), director, { now: clock.now(), suspectMs });
    },
    reportedBy: (address) => reportedBy(parts(), address),
    changed: judge,
    heard: (from, group) => parts().hold.offer({ kind: 'advert', from, group }),
    announce: (group) => {
      if (parts().gates.isSpeaking(group)) announce(group);
    },
    tell: ({ kind, group, message }) =>
      record({
        v: 1,
        at: clock.wallTime(),
        director: me,
        severity: kind === 'vrrp.neighbour-gone' ? 'info' : 'warn',
        kind,
        subject: group,
        message,
        reason: null,
        epoch: election().holdings.get(group)?.epoch ?? null,
        by: null,
      }),
  });
}

/**
 * Nobody holds the group by its record, and this director is the first of those whom nothing but the other
 * VRRP router keeps from it: two of them would claim it from each other.
 */
function isHeir(
  { hold, specs }: AgentParts,
  me: DirectorId,
  group: VipGroup,
  clock: Ports['clock'],
): boolean {
  const state = hold.state();
  const config = specs.electionConfig();
  const { kind } = ownerStanding(state.view, group.id);
  if (config === null || state.session.kind !== 'open') return false;
  if (kind === 'owned' || kind === 'session-missing') return false;
  const first = createRanking(state, config, clock.now())
    .of(group)
    .find(({ obstacle }) => obstacle === null || obstacle === 'vrrp-active-elsewhere');
  return first?.director === me;
}

function reportedBy({ records }: AgentParts, address: IpAddress): DirectorId | null {
  for (const [director, { record }] of records.reports)
    if (record.vrrp?.includes(address) === true) return director;
  return null;
}
