/** From a VIP group of the cluster document to the model, defaults filled in. The rules have judged it before. */
import { assert } from '../lib/assert.ts';
import { fromHex } from '../lib/bytes.ts';
import { type Cidr, parseCidr, parseIp } from '../model/address.ts';
import type { GroupAddress, NotifySpec, Preempt, Track, VipGroup } from '../model/cluster.ts';
import { directorId, groupId } from '../model/ids.ts';
import { VRRP_PRIORITY_OWNER, type VrrpSpec } from '../model/vrrp.ts';
import type {
  CommandDocument,
  GroupDocument,
  NotifyDocument,
  TrackDocument,
} from './cluster-schema.ts';
import {
  DEFAULT_GROUP_WEIGHT,
  DEFAULT_NOTIFY_TIMEOUT_MS,
  DEFAULT_TRACK,
  DEFAULT_VRRP_INTERVAL_MS,
} from './defaults.ts';
import { buildSync } from './build-ipvs.ts';
import { parseDuration } from './durations.ts';
import { must } from './must.ts';
import { commandOf, trackId } from './track-words.ts';

/** The group as everything works from it; throws where the rules would have found a problem. */
export function buildGroup(name: string, group: GroupDocument): VipGroup {
  return {
    id: groupId(name),
    addresses: group.addresses.map((entry) => buildAddress(group, entry)),
    priorities:
      group.priorities === undefined
        ? null
        : new Map(
            Object.entries(group.priorities).map(([director, priority]) => [
              directorId(director),
              priority,
            ]),
          ),
    preempt: buildPreempt(group),
    virtualRouterId: group.virtualRouterId ?? null,
    vrrp: group.vrrp === undefined ? null : buildVrrp(group.vrrp),
    weight: group.weight ?? DEFAULT_GROUP_WEIGHT,
    antiAffinity: (group.antiAffinity ?? []).map(groupId),
    tracks: (group.track ?? []).map(buildTrack),
    notify: group.notify === undefined ? null : buildNotify(group.notify),
    connectionSync:
      group.connectionSync === undefined ? null : buildSync(group, group.connectionSync),
  };
}

function buildAddress(
  group: GroupDocument,
  entry: GroupDocument['addresses'][number],
): GroupAddress {
  const given = typeof entry === 'string' ? { address: entry } : entry;
  const cidr: Cidr = must(parseCidr(given.address));
  const device = given.interface ?? group.interface;
  assert(device !== undefined, 'an address without an interface passed the rules');
  return { ...cidr, interface: device, label: given.label ?? null, scope: given.scope ?? 'global' };
}

/** The owner of the addresses always preempts (RFC 9568 6.1). */
function buildPreempt({ preempt, priorities }: GroupDocument): Preempt {
  const hasOwner = Object.values(priorities ?? {}).includes(VRRP_PRIORITY_OWNER);
  if (preempt === undefined) return { kind: hasOwner ? 'immediate' : 'never' };
  if (typeof preempt === 'string') return { kind: preempt };
  return { kind: 'after', ms: must(parseDuration(preempt.after)) };
}

const msOf = (text: string | undefined, otherwise: number): number =>
  text === undefined ? otherwise : must(parseDuration(text));

function buildTrack(track: TrackDocument): Track {
  const weight = track.weight ?? null;
  if (track.script !== undefined) {
    const command = commandOf(track.script);
    const intervalMs = msOf(track.interval, DEFAULT_TRACK.intervalMs);
    return {
      id: trackId('script', command.join(' ')),
      weight,
      kind: 'script',
      command,
      intervalMs,
      timeoutMs: msOf(track.timeout, intervalMs),
      rise: track.rise ?? DEFAULT_TRACK.rise,
      fall: track.fall ?? DEFAULT_TRACK.fall,
      initFail: track.initFail ?? false,
      user: track.user ?? null,
    };
  }
  if (track.process !== undefined)
    return {
      id: trackId('process', track.process),
      weight,
      kind: 'process',
      process: track.process,
      quorum: track.quorum ?? DEFAULT_TRACK.quorum,
      delayMs: msOf(track.delay, DEFAULT_TRACK.delayMs),
    };
  if (track.file !== undefined)
    return {
      id: trackId('file', track.file),
      weight,
      kind: 'file',
      path: track.file,
      initFail: track.initFail ?? false,
    };
  assert(track.interface !== undefined, 'a track without a kind passed the rules');
  const device = track.interface;
  return { id: trackId('interface', device), weight, kind: 'interface', device };
}

function bytesOf(hex: string): Uint8Array {
  const bytes = fromHex(hex);
  assert(bytes !== null, 'a key that is not hexadecimal passed the schema');
  return bytes;
}

function buildVrrp(vrrp: NonNullable<GroupDocument['vrrp']>): VrrpSpec {
  const version = vrrp.version === 2 ? 2 : 3;
  const isForeign = vrrp.multicast === true || vrrp.neighbours !== undefined;
  return {
    version,
    intervalMs: msOf(vrrp.interval, DEFAULT_VRRP_INTERVAL_MS[isForeign ? 'foreign' : version]),
    password: vrrp.auth?.pass ?? null,
    hmacKeys: (vrrp.auth?.hmac ?? []).map(({ id, key }) => ({ id, key: bytesOf(key) })),
    checksum: vrrp.checksum ?? 'pseudo-header',
    isMulticast: vrrp.multicast ?? false,
    neighbours: (vrrp.neighbours ?? []).map((entry) => {
      const given = typeof entry === 'string' ? { address: entry } : entry;
      return {
        address: must(parseIp(given.address)),
        ttlMin: given.minTtl ?? 0,
        ttlMax: given.maxTtl ?? 255,
      };
    }),
  };
}

function buildNotify(notify: NotifyDocument): NotifySpec {
  const program = (command: CommandDocument | undefined): readonly string[] | null =>
    command === undefined ? null : commandOf(command);
  return {
    master: program(notify.master),
    backup: program(notify.backup),
    fault: program(notify.fault),
    stop: program(notify.stop),
    any: program(notify.any),
    fifo: notify.fifo ?? null,
    timeoutMs: msOf(notify.timeout, DEFAULT_NOTIFY_TIMEOUT_MS),
    user: notify.user ?? null,
  };
}
