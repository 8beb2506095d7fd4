/** Rows of a kernel's table and connections in the columns of ipvsadm 1.31, one text for each row. */
import type {
  ConnectionRow,
  TableDestinationRow,
  TableHeadRow,
  TableServiceRow,
} from '../model/ipvs-listing.ts';

export type TableLook = 'plain' | 'stats' | 'rate' | 'conns' | 'thresholds' | 'tunnels';

export type ListLook = {
  readonly look: TableLook;
  /** Large numbers in full. */
  readonly isExact: boolean;
};

const TITLES: Readonly<Record<TableLook, readonly [string, string]>> = {
  plain: [
    'Prot LocalAddress:Port Scheduler Flags',
    '  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn',
  ],
  tunnels: [
    'Prot LocalAddress:Port Scheduler Flags',
    '  -> RemoteAddress:Port           Forward TunnelInfo    Weight ActiveConn InActConn',
  ],
  conns: [
    'Prot LocalAddress:Port            Weight    PersistConn ActiveConn InActConn ',
    '  -> RemoteAddress:Port',
  ],
  thresholds: [
    'Prot LocalAddress:Port            Uthreshold Lthreshold ActiveConn InActConn ',
    '  -> RemoteAddress:Port',
  ],
  stats: [
    'Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes',
    '  -> RemoteAddress:Port',
  ],
  rate: [
    'Prot LocalAddress:Port                 CPS    InPPS   OutPPS    InBPS   OutBPS',
    '  -> RemoteAddress:Port',
  ],
};

export function formatTableHead({ version, size }: TableHeadRow, { look }: ListLook): string {
  const head = `IP Virtual Server version ${version}${size === null ? '' : ` (size=${size})`}`;
  return `${[head, ...TITLES[look]].join('\n')}\n`;
}

/** Width of the name where numbers follow it. */
const NAME_WIDTH = 33;

export function formatService(row: TableServiceRow, { look, isExact }: ListLook): string {
  const note = row.isForeign ? '  # foreign: leasehold leaves it alone' : '';
  const name = serviceName(row);
  if (look === 'stats' || look === 'rate')
    return `${withNumbers(name, look === 'stats' ? row.counters : row.rates, isExact)}${note}\n`;
  return `${name} ${row.scheduler}${serviceFlags(row)}${note}\n`;
}

function serviceName({ key }: TableServiceRow): string {
  if (key.kind === 'fwmark') return `FWM  ${key.mark}${key.family === 6 ? ' IPv6' : ''}`;
  return `${key.protocol.toUpperCase().padEnd(4)} ${endpoint(key)}`;
}

function serviceFlags(row: TableServiceRow): string {
  const { flags, persistence, persistenceEngine, isOnePacket } = row;
  const parts = [
    flags.length === 0 ? null : `(${flags.join(',')})`,
    persistence === null ? null : `persistent ${persistence.timeoutS}${maskOf(row)}`,
    persistenceEngine === null ? null : `pe ${persistenceEngine}`,
    isOnePacket ? 'ops' : null,
  ].filter((part) => part !== null);
  return parts.map((part) => ` ${part}`).join('');
}

/** Only where clients go together. */
function maskOf({ key, persistence }: TableServiceRow): string {
  const prefix = persistence?.prefix ?? 0;
  const isIpv6 = key.kind === 'fwmark' ? key.family === 6 : key.address.includes(':');
  if (prefix === (isIpv6 ? 128 : 32)) return '';
  if (isIpv6) return ` mask ${prefix}`;
  const mask = prefix === 0 ? 0 : (0xffff_ffff << (32 - prefix)) >>> 0;
  const bytes = [mask >>> 24, (mask >>> 16) & 0xff, (mask >>> 8) & 0xff, mask & 0xff];
  return ` mask ${bytes.join('.')}`;
}

const FORWARDS = { dr: 'Route', nat: 'Masq', tun: 'Tunnel' } as const;

export function formatDestination(row: TableDestinationRow, look: ListLook): string {
  const note = row.note === null ? '' : `  # ${row.note}`;
  return `${destinationColumns(row, look)}${note}\n`;
}

function destinationColumns(row: TableDestinationRow, { look, isExact }: ListLook): string {
  const name = `  -> ${endpoint(row)}`;
  const { weight, activeConnections, inactiveConnections } = row;
  const connections = [left(activeConnections, 10), left(inactiveConnections, 10)];
  const columns = [name.padEnd(NAME_WIDTH)];
  switch (look) {
    case 'stats':
      return withNumbers(name, row.counters, isExact);
    case 'rate':
      return withNumbers(name, row.rates, isExact);
    case 'conns':
      columns.push(left(weight, 9), left(row.persistentConnections, 11));
      break;
    case 'thresholds':
      columns.push(left(row.upperThreshold, 10), left(row.lowerThreshold, 10));
      break;
    case 'tunnels':
      columns.push(FORWARDS[row.forward].padEnd(7), tunnelOf(row).padEnd(13), left(weight, 6));
      break;
    case 'plain':
      columns.push(FORWARDS[row.forward].padEnd(7), left(weight, 6));
  }
  return [...columns, ...connections].join(' ');
}

const left = (value: number, width: number): string => String(value).padEnd(width);

const CHECKSUMS = { nocsum: '-c', csum: '+c', remcsum: 'r+c' } as const;

function tunnelOf({ tunnel }: TableDestinationRow): string {
  if (tunnel === null) return 'n/a';
  if (tunnel.type === 'ipip') return 'ipip';
  const port = tunnel.type === 'gue' ? `:${tunnel.port}` : '';
  return `${tunnel.type}${port}:${CHECKSUMS[tunnel.checksum]}`;
}

function withNumbers(name: string, traffic: TableServiceRow['counters'], isExact: boolean): string {
  const { connections, packetsIn, packetsOut, bytesIn, bytesOut } = traffic;
  const numbers = [connections, packetsIn, packetsOut, bytesIn, bytesOut];
  const columns = numbers.map((number) => {
    const text = isExact ? String(number) : formatLarge(number);
    // Where ipvsadm lets long numbers run together, there is a space.
    return text.length < 9 ? text.padStart(9) : ` ${text}`;
  });
  return name.padEnd(NAME_WIDTH) + columns.join('');
}

/** As ipvsadm cuts large numbers without `--exact`: rounded down. */
const UNITS = [
  [1e8, 1, ''],
  [1e9, 1e3, 'K'],
  [1e11, 1e6, 'M'],
  [1e14, 1e9, 'G'],
  [Infinity, 1e12, 'T'],
] as const;

function formatLarge(number: number): string {
  const [, divisor, unit] = UNITS.find(([below]) => number < below) ?? UNITS[4];
  return `${Math.floor(number / divisor)}${unit}`;
}

/** IPv6 in brackets. */
const endpoint = ({
  address,
  port,
}: {
  readonly address: string;
  readonly port: number;
}): string => (address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`);

export const formatTimeouts = ({ timeouts }: TableHeadRow): string =>
  timeouts === null
    ? 'the kernel does not tell its timeouts\n'
    : `Timeout (tcp tcpfin udp): ${timeouts.tcpS} ${timeouts.tcpFinS} ${timeouts.udpS}\n`;

export function formatDaemons({ daemons }: TableHeadRow): string {
  if (daemons === null) return 'the kernel does not tell its sync daemons\n';
  return daemons
    .map(({ state, interface: device, syncId, maxLength, group, port, ttl }) => {
      const length = maxLength === null ? '' : `, maxlen=${maxLength}`;
      return `${state} sync daemon (mcast=${device}, syncid=${syncId}${length}, group=${group}, port=${port}, ttl=${ttl})\n`;
    })
    .join('');
}

export const formatConnectionsHead = (withEngine: boolean): string =>
  `IPVS connection entries\npro expire state       source             virtual            destination${withEngine ? '        pe name          pe_data' : ''}\n`;

export function formatConnection(row: ConnectionRow, withEngine: boolean): string {
  const { protocol, expiresS, state, client, virtual, realServer } = row;
  const minutes = String(Math.floor(expiresS / 60)).padStart(2, '0');
  const expires = `${minutes}:${String(expiresS % 60).padStart(2, '0')}`;
  const ends = [endpoint(client).padEnd(18), endpoint(virtual).padEnd(18)];
  const engine =
    withEngine && row.persistenceEngine !== null
      ? [row.persistenceEngine.padEnd(16), row.persistenceData ?? '']
      : [];
  const last = endpoint(realServer);
  const tail = engine.length === 0 ? [last] : [last.padEnd(18), ...engine];
  return `${[protocol.padEnd(3), expires.padEnd(6), state.padEnd(11), ...ends, ...tail].join(' ')}\n`;
}
