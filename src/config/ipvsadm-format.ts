/** An IPVS table as lines of ipvsadm. Source: ipvsadm(8) and what version 1.31 prints. */
import { formatEndpoint } from '../model/address.ts';
import { familyOfKey, type Protocol, type ServiceKey, type Tunnel } from '../model/cluster.ts';
import {
  type DesiredService,
  IP_VS_SVC_F_ONEPACKET,
  IP_VS_SVC_F_PERSISTENT,
  IP_VS_SVC_F_SCHED1,
  IP_VS_SVC_F_SCHED2,
  IP_VS_SVC_F_SCHED3,
  type IpvsDestination,
  type IpvsService,
} from '../model/kernel.ts';

/**
 * `restore`: input of `ipvsadm -R` that says everything. `save`: what `ipvsadm -S -n` prints, which has
 * no thresholds, and marks above 2147483647 as negative numbers that `ipvsadm -R` refuses.
 */
export type IpvsadmForm = 'restore' | 'save';

/** A line for each service and each destination, in the order given. */
export function formatIpvsadm(services: readonly DesiredService[], form: IpvsadmForm): string {
  const lines: string[] = [];
  for (const service of services) {
    const key = formatKey(service.key, form);
    lines.push(`-A ${key} ${formatService(service, form)}`);
    for (const destination of service.destinations)
      lines.push(`-a ${key} ${formatDestination(destination, form)}`);
  }
  return lines.map((line) => `${line}\n`).join('');
}

const PROTOCOL_OPTIONS: Readonly<Record<Protocol, string>> = {
  tcp: '-t',
  udp: '-u',
  sctp: '--sctp-service',
};

function formatKey(key: ServiceKey, form: IpvsadmForm): string {
  if (key.kind === 'fwmark') {
    const mark = form === 'save' ? key.mark | 0 : key.mark;
    return key.family === 6 ? `-f ${mark} -6` : `-f ${mark}`;
  }
  return `${PROTOCOL_OPTIONS[key.protocol]} ${formatEndpoint(key.address, key.port)}`;
}

function formatService(service: IpvsService, form: IpvsadmForm): string {
  const isPersistent = (service.flags & IP_VS_SVC_F_PERSISTENT) !== 0;
  const mask = form === 'restore' || isPersistent ? formatMask(service) : null;
  const flags = flagNames(service, form);
  const parts = [
    `-s ${service.scheduler}`,
    isPersistent ? `-p ${service.timeoutS}` : null,
    mask === null ? null : `-M ${mask}`,
    service.persistenceEngine === null ? null : `--pe ${service.persistenceEngine}`,
    (service.flags & IP_VS_SVC_F_ONEPACKET) === 0 ? null : '-o',
    flags.length === 0 ? null : `-b ${flags.join(',')}`,
  ];
  return parts.filter((part) => part !== null).join(' ');
}

/** Null: each client for itself. */
function formatMask({ key, persistencePrefix }: IpvsService): string | null {
  if (familyOfKey(key) === 6) return persistencePrefix === 128 ? null : `${persistencePrefix}`;
  if (persistencePrefix === 32) return null;
  const mask = persistencePrefix === 0 ? 0 : (0xffff_ffff << (32 - persistencePrefix)) >>> 0;
  return [mask >>> 24, (mask >>> 16) & 0xff, (mask >>> 8) & 0xff, mask & 0xff].join('.');
}

/** The kernel has three bits; sh and mh have names for two of them, and `save` knows no third there. */
function flagNames({ flags, scheduler }: IpvsService, form: IpvsadmForm): readonly string[] {
  const hasNames = scheduler === 'sh' || scheduler === 'mh';
  const [first, second] = hasNames
    ? [`${scheduler}-fallback`, `${scheduler}-port`]
    : ['flag-1', 'flag-2'];
  const names: string[] = [];
  if ((flags & IP_VS_SVC_F_SCHED1) !== 0) names.push(first);
  if ((flags & IP_VS_SVC_F_SCHED2) !== 0) names.push(second);
  if ((flags & IP_VS_SVC_F_SCHED3) !== 0 && !(hasNames && form === 'save')) names.push('flag-3');
  return names;
}

function formatDestination(destination: IpvsDestination, form: IpvsadmForm): string {
  const { address, port, upperThreshold, lowerThreshold, tunnel } = destination;
  const parts = [
    `-r ${formatEndpoint(address, port)}`,
    FORWARD_OPTIONS[destination.forward],
    `-w ${destination.weight}`,
    tunnel === null ? null : formatTunnel(tunnel),
    form === 'restore' && upperThreshold !== 0 ? `-x ${upperThreshold}` : null,
    form === 'restore' && lowerThreshold !== 0 ? `-y ${lowerThreshold}` : null,
  ];
  return parts.filter((part) => part !== null).join(' ');
}

const FORWARD_OPTIONS = { dr: '-g', tun: '-i', nat: '-m' } as const;

function formatTunnel({ type, port, checksum }: Tunnel): string {
  if (type === 'ipip') return '--tun-type ipip';
  if (type === 'gre') return `--tun-type gre --tun-${checksum}`;
  return `--tun-type gue --tun-port ${port} --tun-${checksum}`;
}
