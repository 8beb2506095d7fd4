/** Which targets the groups' tracks need, and which tracks are one and the same. */
import { unreachable } from '../../lib/assert.ts';
import type { Track, VipGroup } from '../../model/cluster.ts';
import type { TrackTarget } from '../../model/track.ts';

/** What the tracker must watch for the track; null for an interface, whose state the agent has already. */
export function targetOf(track: Track): TrackTarget | null {
  switch (track.kind) {
    case 'interface':
      return null;
    case 'script': {
      const { kind, command, intervalMs, timeoutMs, user } = track;
      const id = textOf(kind, command, intervalMs, timeoutMs, user);
      return { id, kind, command, intervalMs, timeoutMs, user };
    }
    case 'process': {
      const { kind, process, quorum } = track;
      return { id: textOf(kind, process, quorum), kind, process, quorum };
    }
    case 'file': {
      const { kind, path } = track;
      return { id: textOf(kind, path), kind, path };
    }
    default:
      return unreachable(track);
  }
}

/** Each target once, however many groups name it. */
export function targetsOf(groups: readonly VipGroup[]): readonly TrackTarget[] {
  const targets = new Map<string, TrackTarget>();
  for (const { tracks } of groups)
    for (const track of tracks) {
      const target = targetOf(track);
      if (target !== null) targets.set(target.id, target);
    }
  return [...targets.values()];
}

/** Tracks with equal keys always have equal states: their names, and mostly their weights, do not matter. */
export function stateKeyOf(track: Track): string {
  const target = targetOf(track)?.id ?? '';
  switch (track.kind) {
    case 'interface':
      return textOf(track.kind, track.device);
    case 'script':
      return textOf(target, track.rise, track.fall, track.initFail);
    case 'process':
      return textOf(target, track.delayMs);
    case 'file':
      return textOf(target, track.initFail, track.weight);
    default:
      return unreachable(track);
  }
}

/** What the track is about, whatever its settings: state outlives a change of these. */
export function subjectOf(track: Track): string {
  switch (track.kind) {
    case 'interface':
      return textOf(track.kind, track.device);
    case 'script':
      return textOf(track.kind, track.command, track.user);
    case 'process':
      return textOf(track.kind, track.process);
    case 'file':
      return textOf(track.kind, track.path);
    default:
      return unreachable(track);
  }
}

const textOf = (...parts: readonly unknown[]): string => JSON.stringify(parts);
