/** /proc/net/ip_vs as ip_vs_info_seq_show() writes it. */
import { toHex } from '../../src/lib/bytes.ts';
import { type IpAddress, ipToBytes } from '../../src/model/address.ts';
import {
  IP_VS_SVC_F_ONEPACKET,
  IP_VS_SVC_F_PERSISTENT,
  type IpvsTable,
  type ObservedDestination,
  type ObservedService,
} from '../../src/model/kernel.ts';

const METHODS = { nat: 'Masq', tun: 'Tunnel', dr: 'Route' } as const;

export const formatTableText = ({ services }: IpvsTable): string =>
  [
    'IP Virtual Server version 1.2.1 (size=4096)',
    'Prot LocalAddress:Port Scheduler Flags',
    '  -> RemoteAddress:Port Forward Weight ActiveConn InActConn',
    ...services.flatMap((service) => [headOf(service), ...service.destinations.map(lineOf)]),
    '',
  ].join('\n');

function headOf({ key, scheduler, flags, timeoutS, persistencePrefix }: ObservedService): string {
  const once = (flags & IP_VS_SVC_F_ONEPACKET) === 0 ? '' : 'ops ';
  const isKept = (flags & IP_VS_SVC_F_PERSISTENT) !== 0;
  const kept = isKept ? `persistent ${timeoutS} ${hex(persistencePrefix, 8)}` : '';
  const name =
    key.kind === 'fwmark'
      ? `FWM  ${hex(key.mark, 8)}`
      : `${key.protocol.toUpperCase()}  ${endpoint(key.address, key.port)}`;
  return `${name} ${scheduler} ${once}${kept}`;
}

function lineOf(one: ObservedDestination): string {
  const method = METHODS[one.forward].padEnd(7);
  const counts = [one.activeConnections, one.inactiveConnections];
  const numbers = counts.map((count) => String(count).padEnd(10));
  const weight = String(one.weight).padEnd(6);
  return `  -> ${endpoint(one.address, one.port)}      ${method} ${weight} ${numbers.join(' ')}`;
}

function endpoint(address: IpAddress, port: number): string {
  const digits = toHex(ipToBytes(address));
  const host =
    digits.length === 8 ? digits.toUpperCase() : `[${(digits.match(/..../g) ?? []).join(':')}]`;
  return `${host}:${hex(port, 4)}`;
}

const hex = (value: number, digits: number): string =>
  value.toString(16).toUpperCase().padStart(digits, '0');
