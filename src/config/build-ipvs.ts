/** From what a document that passed says of IPVS as a whole to the spec. */
import { parseIp } from '../model/address.ts';
import type { ConnectionSync, IpvsSpec } from '../model/cluster.ts';
import type { GroupDocument } from './cluster-schema.ts';
import { DEFAULT_IPVS, DEFAULT_SYNC } from './defaults.ts';
import { parseDuration } from './durations.ts';
import { must, present } from './must.ts';
import type { ConnectionSyncDocument, IpvsDocument } from './service-schema.ts';

export function buildIpvs(ipvs: IpvsDocument | undefined): IpvsSpec {
  const seconds = (text: string | undefined): number | null =>
    text === undefined ? null : must(parseDuration(text)) / 1000;
  return {
    timeouts: {
      tcpS: seconds(ipvs?.timeouts?.tcp),
      tcpFinS: seconds(ipvs?.timeouts?.tcpFin),
      udpS: seconds(ipvs?.timeouts?.udp),
    },
    standby: ipvs?.standby ?? DEFAULT_IPVS.standby,
    onExit: ipvs?.onExit ?? DEFAULT_IPVS.onExit,
    sysctls: Object.entries(ipvs?.sysctls ?? {}).map(([name, value]) => ({
      name,
      value: `${value}`,
    })),
  };
}

export function buildSync(group: GroupDocument, sync: ConnectionSyncDocument): ConnectionSync {
  return {
    syncId: present(sync.id ?? group.virtualRouterId),
    interface: present(sync.interface ?? group.interface),
    group: must(parseIp(sync.group ?? DEFAULT_SYNC.group)),
    port: sync.port ?? DEFAULT_SYNC.port,
    ttl: sync.ttl ?? DEFAULT_SYNC.ttl,
    maxLength: sync.maxLength ?? null,
    catchUpMs:
      sync.catchUp === undefined ? DEFAULT_SYNC.catchUpMs : must(parseDuration(sync.catchUp)),
  };
}
