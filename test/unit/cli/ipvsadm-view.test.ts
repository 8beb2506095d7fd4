/** Listings held against what ipvsadm 1.31 printed of the same table, byte for byte (test/fixtures/ipvsadm). */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { listTable } from '../../../src/agent/ipvs-listing.ts';
import {
  formatConnection,
  formatConnectionsHead,
  formatDaemons,
  formatDestination,
  formatService,
  formatTableHead,
  formatTimeouts,
  type TableLook,
} from '../../../src/cli/ipvsadm-view.ts';
import { parseIpvsadm } from '../../../src/config/ipvsadm-parse.ts';
import type { ConnectionRow, TableHeadRow, TableRow } from '../../../src/model/ipvs-listing.ts';
import type {
  IpvsCounters,
  ObservedDestination,
  ObservedService,
} from '../../../src/model/kernel.ts';

const read = (name: string): string =>
  readFileSync(join(import.meta.dirname, '../../fixtures/ipvsadm', `${name}.txt`), 'utf8');

/** The numbers at the end of each row, without the three lines of the head. */
const numbersOf = (name: string): readonly (readonly number[])[] =>
  read(name)
    .trimEnd()
    .split('\n')
    .slice(3)
    .map((line) =>
      line
        .trim()
        .split(/\s+/)
        .filter((word) => /^\d+$/.test(word))
        .map(Number),
    );

const traffic = (numbers: readonly number[]): IpvsCounters => {
  const [connections = 0, packetsIn = 0, packetsOut = 0, bytesIn = 0, bytesOut = 0] =
    numbers.slice(-5);
  return { connections, packetsIn, packetsOut, bytesIn, bytesOut };
};

/** The table of the samples, in their order. */
function sampleTable(): readonly ObservedService[] {
  const parsed = parseIpvsadm(read('Sn'));
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.error));
  const [stats, rates, conns, thresholds] = [
    'Lnstats',
    'Lnrate',
    'Lnpersistentconn',
    'Lnthresholds',
  ].map(numbersOf);
  let row = 0;
  const next = () => {
    const at = row++;
    return {
      counters: traffic(stats?.[at] ?? []),
      rates: traffic(rates?.[at] ?? []),
      conns: conns?.[at]?.slice(-4) ?? [],
      thresholds: thresholds?.[at]?.slice(-4) ?? [],
    };
  };
  return parsed.value.map((service) => {
    const { counters, rates: rate } = next();
    const destinations = service.destinations.map((one): ObservedDestination => {
      const {
        conns: [, persistent = 0, active = 0, inactive = 0],
        thresholds: [upper = 0, lower = 0],
        ...own
      } = next();
      return {
        ...one,
        ...own,
        upperThreshold: upper,
        lowerThreshold: lower,
        activeConnections: active,
        inactiveConnections: inactive,
        persistentConnections: persistent,
      };
    });
    return { ...service, counters, rates: rate, destinations };
  });
}

const HEAD: TableHeadRow = {
  kind: 'table',
  director: 'd1',
  version: '1.2.1',
  size: 4096,
  dumpedMsAgo: 0,
  timeouts: { tcpS: 900, tcpFinS: 120, udpS: 300 },
  daemons: [
    {
      state: 'master',
      interface: 'eth0',
      syncId: 51,
      maxLength: 1472,
      group: '224.0.0.81',
      port: 8848,
      ttl: 1,
    },
    {
      state: 'backup',
      interface: 'eth1.100',
      syncId: 52,
      maxLength: 1400,
      group: 'ff02::81',
      port: 8850,
      ttl: 3,
    },
  ],
};

const list = (services: readonly ObservedService[]): TableRow[] => [
  ...listTable({
    spec: null,
    table: { services },
    foreign: new Set(),
    explanations: new Map(),
    service: null,
  }),
];

function print(rows: readonly TableRow[], look: TableLook, isExact = false): string {
  const table = { look, isExact };
  const lines = rows.map((row) => {
    if (row.kind === 'service') return formatService(row, table);
    return row.kind === 'destination' ? formatDestination({ ...row, note: null }, table) : '';
  });
  return formatTableHead(HEAD, table) + lines.join('');
}

/** ipvsadm shows marks above 2147483647 as negative numbers, which nobody wrote. */
const withMark = (text: string): string =>
  text.replace(
    /FWM {2}-2147483647 IPv6( *)/,
    (_, blanks: string) => `FWM  2147483649 IPv6${blanks.slice(0, Math.max(1, blanks.length))}`,
  );

describe('a table', () => {
  it.each([
    ['plain', 'Ln'],
    ['tunnels', 'Lntuninfo'],
    ['conns', 'Lnpersistentconn'],
    ['thresholds', 'Lnthresholds'],
  ] as const)('%s is as ipvsadm prints it', (look, name) => {
    const shuffled = sampleTable()
      .map((service) => ({ ...service, destinations: service.destinations.toReversed() }))
      .toReversed();
    expect(print(list(shuffled), look)).toBe(withMark(read(name)));
  });

  it.each([
    ['stats', 'Lnstats', false],
    ['stats', 'Lnstatsexact', true],
    ['rate', 'Lnrate', false],
  ] as const)('%s is as ipvsadm prints it (%s)', (look, name, isExact) => {
    const expected = read(name === 'Lnstatsexact' ? 'Lnstats' : name);
    const mark = /^FWM {2}-2147483647 IPv6 {12}/m;
    expect(expected).toMatch(mark);
    expect(print(list(sampleTable()), look, isExact)).toBe(
      expected.replace(mark, 'FWM  2147483649 IPv6             '),
    );
  });

  it('cuts large numbers as ipvsadm does, and keeps them apart', () => {
    const [first] = sampleTable();
    if (first === undefined) throw new Error('no service');
    const counters = traffic([99_999_999, 100_000_000, 999_999_999, 1e9, 99_999_999_999]);
    const rows = list([{ ...first, counters, rates: traffic([1e11, 1e14, 2 ** 53 - 1, 0, 1]) }]);
    expect(print(rows, 'stats').split('\n')[3]).toBe(
      'TCP  10.90.0.100:0                99999999  100000K  999999K    1000M   99999M',
    );
    expect(print(rows, 'rate').split('\n')[3]?.slice(33)).toBe(
      '     100G     100T    9007T        0        1',
    );
    expect(print(rows, 'stats', true).split('\n')[3]).toBe(
      'TCP  10.90.0.100:0                99999999 100000000 999999999 1000000000 99999999999',
    );
  });

  it('keeps long addresses and numbers apart', () => {
    const [first] = sampleTable();
    const key = {
      kind: 'address',
      protocol: 'sctp',
      address: '2001:db8:1111:2222:3333:4444:5555:6666',
      port: 65_535,
    };
    const rows = list([{ ...first, key } as unknown as ObservedService]);
    for (const look of ['stats', 'rate', 'conns', 'plain'] as const)
      expect(print(rows, look)).toContain('[2001:db8:1111:2222:3333:4444:5555:6666]:65535 ');
  });

  it('tells timeouts and daemons as ipvsadm does', () => {
    expect(formatTimeouts(HEAD)).toBe(read('timeout'));
    expect(formatDaemons(HEAD)).toBe(read('daemon'));
    expect(formatDaemons({ ...HEAD, daemons: [] })).toBe('');
    expect(formatTimeouts({ ...HEAD, timeouts: null })).toContain('does not tell');
  });
});

describe('connections', () => {
  const rows = read('Lcn-pe')
    .trimEnd()
    .split('\n')
    .slice(2)
    .map((line): ConnectionRow => {
      const [
        protocol = '',
        expire = '',
        state = '',
        from = '',
        to = '',
        server = '',
        engine,
        data,
      ] = line.trim().split(/\s+/);
      const end = (text: string) => {
        const cut = text.lastIndexOf(':');
        return {
          address: text.slice(0, cut).replaceAll(/[[\]]/g, ''),
          port: Number(text.slice(cut + 1)),
        };
      };
      const [minutes = 0, seconds = 0] = expire.split(':').map(Number);
      return {
        kind: 'connection',
        protocol,
        expiresS: minutes * 60 + seconds,
        state,
        client: end(from),
        virtual: end(to),
        realServer: end(server),
        isTemplate: end(from).port === 0,
        persistenceEngine: engine ?? null,
        persistenceData: data ?? null,
      };
    });

  it('are as ipvsadm prints them', () => {
    const text = rows.map((row) => formatConnection(row, false)).join('');
    expect(formatConnectionsHead(false) + text).toBe(read('Lcn'));
  });

  it('have the data of their engine under its title', () => {
    const [head = ''] = formatConnectionsHead(true).split('\n').slice(1);
    const sip = rows.find((row) => row.persistenceEngine === 'sip');
    if (sip === undefined) throw new Error('none');
    const line = formatConnection(sip, true);
    expect(line.indexOf('sip')).toBe(head.indexOf('pe name'));
    expect(line.indexOf('12345@')).toBe(head.indexOf('pe_data'));
    expect(head).toBe(read('Lcn-pe').split('\n')[1]);
  });
});
