/** What the tracks and notify programs of a document say, for the rules and for building the spec alike. */
import type { Track } from '../model/cluster.ts';
import type { CommandDocument, TrackDocument } from './cluster-schema.ts';

export const TRACK_KINDS = ['interface', 'script', 'process', 'file'] as const;
export type TrackKind = (typeof TRACK_KINDS)[number];

/** The keys that mean something for each kind, beside its own and `weight`. */
export const TRACK_KEYS: Readonly<Record<TrackKind, readonly (keyof TrackDocument)[]>> = {
  interface: [],
  script: ['interval', 'timeout', 'rise', 'fall', 'user', 'initFail'],
  process: ['quorum', 'delay'],
  file: ['initFail'],
};

/** Program and arguments; a text is split at spaces, without any shell. */
export function commandOf(command: CommandDocument): readonly string[] {
  return typeof command === 'string'
    ? command.split(' ').filter((word) => word !== '')
    : [...command];
}

/** What names a track within its group: `interface eth1`, `script /usr/local/bin/check-nginx -q`. */
export function trackId(kind: Track['kind'], target: string): string {
  return `${kind} ${target}`;
}
