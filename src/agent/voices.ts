/** The announcements of the groups that speak here: begun, limited and ended with them. */
import type { GroupId, MonoMs } from '../model/ids.ts';
import type { Announcement, Announcer } from '../ports/announcer.ts';

export type Voices = {
  /** All of them in one go. */
  announce(groups: readonly GroupId[]): void;
  /** Once more, of what is announced already. */
  repeat(groups: readonly GroupId[]): void;
  /** No frame for the group leaves after `until`, also when this process is stopped until then. */
  limit(group: GroupId, until: MonoMs): void;
  /** Ends what is told of the group. */
  stop(group: GroupId): void;
  /** Ends what is told of addresses that the spec has taken from their groups. */
  stopRemoved(): void;
};

export function createVoices(ports: {
  readonly announcer: Pick<Announcer, 'announce' | 'repeat' | 'limit' | 'stop'>;
  readonly announcements: (group: GroupId) => readonly Announcement[];
}): Voices {
  const { announcer, announcements } = ports;
  /** What is being told of each group: it must stop for what left the spec. */
  const told = new Map<GroupId, readonly Announcement[]>();
  return {
    announce: (groups) => {
      for (const group of groups) told.set(group, announcements(group));
      announcer.announce(groups.flatMap((group) => told.get(group) ?? []));
    },
    repeat: (groups) => announcer.repeat(groups.flatMap((group) => told.get(group) ?? [])),
    limit: (group, until) => announcer.limit(announcements(group), until),
    stop: (group) => {
      announcer.stop(told.get(group) ?? []);
      told.delete(group);
    },
    stopRemoved: () => {
      for (const [group, before] of told) {
        const now = announcements(group);
        if (now === before) continue;
        const isStill = (one: Announcement): boolean =>
          now.some((other) => other.device === one.device && other.address === one.address);
        const removed = before.filter((one) => !isStill(one));
        if (removed.length === 0) continue;
        announcer.stop(removed);
        told.set(group, before.filter(isStill));
      }
    },
  };
}
