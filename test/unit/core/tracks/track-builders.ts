/** Tracks with the defaults of the cluster document. */
import type { Track, VipGroup } from '../../../../src/model/cluster.ts';
import { groupId } from '../../../../src/model/ids.ts';

export type TrackOf<Kind extends Track['kind']> = Track & { readonly kind: Kind };

export const scriptTrack = (changes: Partial<TrackOf<'script'>> = {}): TrackOf<'script'> => ({
  id: 'script check',
  weight: null,
  kind: 'script',
  command: ['/bin/check'],
  intervalMs: 1000,
  timeoutMs: 1000,
  rise: 1,
  fall: 1,
  initFail: false,
  user: null,
  ...changes,
});

export const processTrack = (changes: Partial<TrackOf<'process'>> = {}): TrackOf<'process'> => ({
  id: 'process nginx',
  weight: null,
  kind: 'process',
  process: 'nginx',
  quorum: 1,
  delayMs: 0,
  ...changes,
});

export const fileTrack = (changes: Partial<TrackOf<'file'>> = {}): TrackOf<'file'> => ({
  id: 'file /run/maint',
  weight: null,
  kind: 'file',
  path: '/run/maint',
  initFail: false,
  ...changes,
});

export const interfaceTrack = (
  changes: Partial<TrackOf<'interface'>> = {},
): TrackOf<'interface'> => ({
  id: 'interface eth1',
  weight: null,
  kind: 'interface',
  device: 'eth1',
  ...changes,
});

export const groupOf = (id: string, tracks: readonly Track[]): VipGroup => ({
  id: groupId(id),
  addresses: [],
  priorities: null,
  preempt: { kind: 'never' },
  virtualRouterId: null,
  vrrp: null,
  weight: 1,
  antiAffinity: [],
  tracks,
  notify: null,
  connectionSync: null,
});
