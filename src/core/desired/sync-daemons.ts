/**
 * Which IPVS sync daemons this director shall run: the master tells the connections of the groups held
 * here, the backup takes those of the others. A kernel has one daemon of either state, so groups share
 * them: they can differ in their sync id only.
 */
import type { ConnectionSync, VipGroup } from '../../model/cluster.ts';
import type { DirectorId, GroupId } from '../../model/ids.ts';
import type { DesiredService, IpvsDaemon } from '../../model/kernel.ts';
import { familyOf } from '../../model/address.ts';
import { familyOfKey } from '../../model/cluster.ts';

export type SyncInput = {
  readonly me: DirectorId;
  readonly groups: readonly VipGroup[];
  /** Groups that this director speaks for. */
  readonly held: ReadonlySet<GroupId>;
  /** Logical interface name to device. */
  readonly devices: ReadonlyMap<string, string>;
  /** The table as wanted: the kernel syncs nothing while real servers are of another family. */
  readonly services: readonly DesiredService[];
  /** net.ipv4.vs.backup_only: while a backup daemon runs the kernel forwards nothing at all. Absent: off. */
  readonly isBackupOnly?: boolean;
  /** Groups whose packets may come here any moment, or still do; looked at with `isBackupOnly`. Absent: none. */
  readonly serving?: ReadonlySet<GroupId>;
};

/** What the sync of a group does on this director, or why it does nothing; a closed list. */
export const SYNC_REASONS = [
  'off', // the group has none configured
  'master', // held here: its connections are told
  'backup', // held elsewhere: its connections are taken
  'not-candidate', // this director can never hold the group
  'no-interface', // agent.yaml maps none to the name
  'mixed-families', // an IPv4 service with an IPv6 real server or the reverse: the kernel refuses
  'differs', // another group needs the daemon with another interface, address, port or length
  'backup-only', // another group is served here, and a daemon that listens would end that (backup_only)
] as const;
export type SyncReason = (typeof SYNC_REASONS)[number];

export type SyncExplanation = {
  readonly group: GroupId;
  readonly why: SyncReason;
  /** The daemon that serves the group; null: none. */
  readonly daemon: IpvsDaemon | null;
};

export type DesiredSync = {
  /** At most one master and one backup. */
  readonly daemons: readonly IpvsDaemon[];
  readonly explanations: ReadonlyMap<GroupId, SyncExplanation>;
};

/** The first group of the spec that needs a daemon says how it runs. */
export function deriveSync(input: SyncInput): DesiredSync {
  const isMixed = hasMixedFamilies(input.services);
  const daemons = new Map<IpvsDaemon['state'], IpvsDaemon>();
  const explanations = new Map<GroupId, SyncExplanation>();
  const backupId = commonId(input.groups);
  const served = servedGroups(input);
  // `sysctl_backup_only` of ip_vs.h asks for the daemon alone: a master beside it changes nothing.
  const mayListen = input.isBackupOnly !== true || served.size === 0;
  for (const group of input.groups) {
    const explain = (why: SyncReason, daemon: IpvsDaemon | null = null): void => {
      explanations.set(group.id, { group: group.id, why, daemon });
    };
    const sync = group.connectionSync;
    if (sync === null) explain('off');
    else if (isMixed) explain('mixed-families');
    else if (!isCandidate(input.me, group)) explain('not-candidate');
    else if (!mayListen && !served.has(group.id)) explain('backup-only');
    else {
      const state = served.has(group.id) ? 'master' : 'backup';
      const device = input.devices.get(sync.interface);
      if (device === undefined) {
        explain('no-interface');
        continue;
      }
      // A backup that filtered by one of several ids would lose a group whose holder tells it by another.
      const syncId = state === 'master' ? sync.syncId : backupId;
      const wanted = toDaemon(sync, { state, syncId, interface: device });
      const daemon = daemons.get(state) ?? wanted;
      daemons.set(state, daemon);
      if (equalBesideId(daemon, wanted)) explain(state, daemon);
      else explain('differs');
    }
  }
  return { daemons: [...daemons.values()], explanations };
}

/** With `isBackupOnly` whoever is about to speak listens no more: its first packets would be lost. */
function servedGroups({ held, isBackupOnly, serving }: SyncInput): ReadonlySet<GroupId> {
  if (isBackupOnly !== true || serving === undefined) return held;
  return new Set([...held, ...serving]);
}

/** Equal as far as both say: a length that nobody asked for, or that no kernel tells, is no difference. */
export function equalDaemon(a: IpvsDaemon, b: IpvsDaemon): boolean {
  const isSameLength = a.maxLength === null || b.maxLength === null || a.maxLength === b.maxLength;
  return isSameLength && a.syncId === b.syncId && equalPlace(a, b);
}

const equalBesideId = (a: IpvsDaemon, b: IpvsDaemon): boolean =>
  a.maxLength === b.maxLength && equalPlace(a, b);

const equalPlace = (a: IpvsDaemon, b: IpvsDaemon): boolean =>
  a.state === b.state &&
  a.interface === b.interface &&
  a.group === b.group &&
  a.port === b.port &&
  a.ttl === b.ttl;

const isCandidate = (me: DirectorId, { priorities }: VipGroup): boolean =>
  priorities === null || priorities.has(me);

/** The one id of all groups, so that nothing of other clusters is taken; 0, all that comes, for several. */
function commonId(groups: readonly VipGroup[]): number {
  const ids = new Set(groups.flatMap(({ connectionSync: sync }) => (sync ? [sync.syncId] : [])));
  const [only] = ids;
  return ids.size === 1 && only !== undefined ? only : 0;
}

function toDaemon(
  { group, port, ttl, maxLength }: ConnectionSync,
  own: Pick<IpvsDaemon, 'state' | 'syncId' | 'interface'>,
): IpvsDaemon {
  const length = maxLength === null ? null : lengthInKernel(maxLength, own.state, group);
  return { ...own, group, port, ttl, maxLength: length };
}

const BACKUP_LENGTH_MIN = 1024;
const LENGTH_MAX = { 4: 65_507, 6: 65_487 } as const;

/** What the kernel makes of it, or it would never be as wanted (start_sync_thread of ip_vs_sync.c). */
const lengthInKernel = (
  length: number,
  state: IpvsDaemon['state'],
  group: ConnectionSync['group'],
): number =>
  Math.min(
    Math.max(length, state === 'backup' ? BACKUP_LENGTH_MIN : 1),
    LENGTH_MAX[familyOf(group)],
  );

const hasMixedFamilies = (services: readonly DesiredService[]): boolean =>
  services.some(({ key, destinations }) => {
    const family = familyOfKey(key);
    return destinations.some(({ address }) => familyOf(address) !== family);
  });
