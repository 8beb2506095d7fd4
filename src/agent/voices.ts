/** The announcements of the groups that speak here: begun, limited and ended with them. */
import type { GroupId, MonoMs } from '../model/ids.ts';
import type { Announcement, Announcer } from '../ports/announcer.ts';

export type Voices = {
  /** All of them in one go. */
  announce(groups: readonly GroupId[]): void;
  /** Once more, of what is announced already. */
  repeat(groups: readonly GroupId[]): void;
  /** Anew, of one VIP, where it is announced already: a frame for any other would not end with its group. */
  defend(vip: Announcement & { readonly group: GroupId }): void;
  /** No frame for the group leaves after `until`, also when this process is stopped until then. */
  limit(group: GroupId, until: MonoMs): void;
  /** Ends what is told of the group. */
  stop(group: GroupId): void;
  /** The same at once of addresses that the spec has taken from their groups, until it gives them back. */
  limitRemoved(now: MonoMs): void;
  /** Ends what is told of them. */
  stopRemoved(group: GroupId): void;
};

export function createVoices(ports: {
  readonly announcer: Pick<Announcer, 'announce' | 'repeat' | 'limit' | 'stop'>;
  readonly announcements: (group: GroupId) => readonly Announcement[];
}): Voices {
  const { announcer, announcements } = ports;
  /** What is being told of each group: it must stop for what left the spec. */
  const told = new Map<GroupId, readonly Announcement[]>();
  const announcedOf = (group: GroupId): readonly Announcement[] => told.get(group) ?? NOTHING;
  const isOf = (all: readonly Announcement[], one: Announcement): boolean =>
    all.some(({ device, address }) => device === one.device && address === one.address);
  const removedOf = (group: GroupId): readonly Announcement[] => {
    const before = announcedOf(group);
    const now = before.length === 0 ? before : announcements(group);
    if (now === before) return NOTHING;
    return before.filter((one) => !isOf(now, one));
  };
  return {
    announce: (groups) => {
      for (const group of groups) told.set(group, announcements(group));
      announcer.announce(groups.flatMap((group) => announcedOf(group)));
    },
    repeat: (groups) => announcer.repeat(groups.flatMap((group) => announcedOf(group))),
    defend: ({ group, device, address }) => {
      const vip = { device, address };
      if (isOf(announcedOf(group), vip)) announcer.announce([vip]);
    },
    limit: (group, until) => announcer.limit(announcements(group), until),
    stop: (group) => {
      announcer.stop(announcedOf(group));
      told.delete(group);
    },
    limitRemoved: (now) => {
      for (const group of told.keys()) announcer.limit(removedOf(group), now);
    },
    stopRemoved: (group) => {
      const removed = removedOf(group);
      if (removed.length === 0) return;
      announcer.stop(removed);
      told.set(
        group,
        announcedOf(group).filter((one) => !removed.includes(one)),
      );
    },
  };
}

const NOTHING: readonly Announcement[] = [];
