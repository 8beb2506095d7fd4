/** /proc/net/ip_vs_conn as Linux writes it: every kind of line, in pieces of any size, and very many. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { toHex } from '../../../src/lib/bytes.ts';
import { ipToBytes } from '../../../src/model/address.ts';
import type { IpvsConnection } from '../../../src/model/kernel.ts';
import { ConnectionReader, decodeConnection } from '../../../src/wire/ipvs-connections.ts';
import { ipv4, ipv6, port } from '../../support/ipvs-arbitraries.ts';

const FILE = readFileSync(join(import.meta.dirname, '../../fixtures/ip_vs_conn.txt'));
const encoder = new TextEncoder();

/** A line as ip_vs_conn_seq_show() formats it. */
function lineOf(connection: IpvsConnection): string {
  const { client, virtual, realServer, persistenceEngine, persistenceData } = connection;
  const address = (one: IpvsConnection['client']): string => {
    const hex = toHex(ipToBytes(one.address));
    const text = hex.length === 8 ? hex.toUpperCase() : (hex.match(/..../g) ?? []).join(':');
    return `${text} ${one.port.toString(16).toUpperCase().padStart(4, '0')}`;
  };
  const engine = persistenceEngine === null ? '' : ` ${persistenceEngine} ${persistenceData}`;
  return [
    connection.protocol.padEnd(3),
    address(client),
    address(virtual),
    address(realServer),
    connection.state.padEnd(11),
    `${String(connection.expiresS).padStart(7)}${engine}`,
  ].join(' ');
}

function readAll(pieces: Iterable<Uint8Array>): {
  readonly connections: readonly IpvsConnection[];
  readonly unreadable: number;
} {
  const reader = new ConnectionReader();
  const batches = [...pieces].map((piece) => reader.read(piece));
  batches.push(reader.end());
  return {
    connections: batches.flatMap((batch) => batch.connections),
    unreadable: batches.reduce((sum, batch) => sum + batch.unreadable, 0),
  };
}

function* cut(bytes: Uint8Array, size: number): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

const plain = (text: string): string => {
  const decoded = decodeConnection(text);
  if (!decoded.ok) return decoded.error;
  const { protocol, client, virtual, realServer, state, expiresS } = decoded.value;
  const ends = [client, virtual, realServer].map((end) => `${end.address} ${end.port}`);
  return [protocol, ...ends, state, expiresS].join(', ');
};

describe('the lines of the kernel', () => {
  const lines = FILE.toString().trimEnd().split('\n').slice(1);

  test('connections, templates of services, of all ports and of marks, both families', () => {
    expect(lines.map(plain)).toEqual([
      'TCP, 10.90.0.1 40000, 10.90.0.100 80, 10.90.0.21 80, ESTABLISHED, 899',
      'TCP, 10.90.0.1 0, 10.90.0.100 80, 10.90.0.21 80, ASSURED, 58',
      'TCP, 10.90.0.1 0, 10.90.0.100 0, 10.90.0.21 0, NONE, 3601',
      'IP, 10.90.0.0 0, 0.0.0.7 0, 10.90.0.21 0, ASSURED, 50',
      'UDP, 10.90.0.1 5060, 10.90.0.100 5060, 10.90.0.22 5060, UDP, 299',
      'UDP, 10.90.0.1 0, 10.90.0.100 5060, 10.90.0.22 5060, NONE, 59',
      'TCP, fd90::1 40001, fd90::100 443, fd90::21 443, SYN_RECV, 60',
      'TCP, 10.90.0.1 40002, 10.90.0.100 80, fd90::29 80, FIN_WAIT, 119',
      'SCTP, 10.90.0.1 3868, 10.90.0.100 3868, 10.90.0.23 3868, SHUTDOWN_ACK_SENT, 4',
      'IP, fd90:: 0, 0:7:: 0, fd90::21 0, NONE, 50',
    ]);
  });

  test("a persistence engine's name and data", () => {
    const engines = lines.map((line) => {
      const decoded = decodeConnection(line);
      return decoded.ok
        ? [decoded.value.persistenceEngine, decoded.value.persistenceData]
        : decoded.error;
    });
    const sip = ['sip', '12345@example.org'];
    const none = [null, null];
    expect(engines).toEqual([none, none, none, none, sip, sip, none, none, none, none]);
  });

  test('data with spaces stays whole', () => {
    const decoded = decodeConnection(`${lines[0]} sip a b  c`);
    expect(decoded).toMatchObject({ ok: true, value: { persistenceData: 'a b  c' } });
  });

  test('a timer that has run out shows as a huge number: no seconds are left', () => {
    const line = (lines[0] ?? '').replace('    899', '73786976294838206');
    expect(decodeConnection(line)).toMatchObject({ ok: true, value: { expiresS: 0 } });
  });

  test.each([
    '',
    'nonsense',
    'TCP 0A5A0001 9C40 0A5A0064 0050 0A5A0015 0050 ESTABLISHED',
    'TCP 0A5A00 9C40 0A5A0064 0050 0A5A0015 0050 ESTABLISHED     899',
    'TCP 0A5A0001 9C40 fd90::1::2 0050 0A5A0015 0050 ESTABLISHED     899',
    'TCP 0A5A0001 9C4 0A5A0064 0050 0A5A0015 0050 ESTABLISHED     899',
  ])('no connection: %s', (line) => {
    expect(decodeConnection(line).ok).toBe(false);
  });

  const end = fc.record({ address: fc.oneof(ipv4, ipv6), port });
  const connection: fc.Arbitrary<IpvsConnection> = fc
    .record({
      protocol: fc.constantFrom('TCP', 'UDP', 'SCTP', 'IP', 'ICMPv6', 'IP_50'),
      client: end,
      virtual: end,
      realServer: end,
      state: fc.constantFrom('ESTABLISHED', 'NONE', 'ASSURED', 'ERR!', '?'),
      expiresS: fc.nat(0x7fff_ffff),
      engine: fc.option(fc.stringMatching(/^[!-~]{1,40}$/)),
    })
    .map(({ engine, ...rest }) => ({
      ...rest,
      persistenceEngine: engine === null ? null : 'sip',
      persistenceData: engine,
    }));

  test('a connection is read as it was written', () => {
    fc.assert(
      fc.property(connection, (wanted) => {
        expect(decodeConnection(lineOf(wanted))).toEqual({ ok: true, value: wanted });
      }),
    );
  });

  test('any text is a connection or an error', () => {
    fc.assert(fc.property(fc.string(), (text) => void decodeConnection(text)));
  });
});

describe('the file in pieces', () => {
  test('pieces of any size give the same connections', () => {
    const whole = readAll([FILE]);
    expect(whole.connections).toHaveLength(10);
    expect(whole.unreadable).toBe(0);
    for (const size of [1, 2, 7, 64, 100, 4096]) expect(readAll(cut(FILE, size))).toEqual(whole);
  });

  test('a last line without an end counts', () => {
    const { connections } = readAll([FILE.subarray(0, FILE.length - 1)]);
    expect(connections).toHaveLength(10);
  });

  test('nothing but the header is nothing', () => {
    const header = FILE.subarray(0, FILE.indexOf('\n') + 1);
    expect(readAll([header])).toEqual({ connections: [], unreadable: 0 });
    expect(readAll([])).toEqual({ connections: [], unreadable: 0 });
  });

  test('lines that are no connections are counted, those around them read', () => {
    const lines = FILE.toString().split('\n');
    const text = [...lines.slice(0, 3), 'nonsense', ...lines.slice(3)].join('\n');
    expect(readAll([encoder.encode(text)])).toMatchObject({ unreadable: 1 });
    expect(readAll([encoder.encode(text)]).connections).toHaveLength(10);
  });

  test('a line without end is one unreadable line, and is not kept', () => {
    const [header = '', first = '', second = ''] = FILE.toString().split('\n');
    const text = `${header}\n${first}\n${'x'.repeat(100_000)}\n${second}\n`;
    for (const size of [100, 4096, 200_000]) {
      const { connections, unreadable } = readAll(cut(encoder.encode(text), size));
      expect([connections.length, unreadable]).toEqual([2, 1]);
    }
  });

  test('random bytes give no connection and no throw', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 5 }), (pieces) => {
        expect(readAll(pieces).connections).toEqual([]);
      }),
    );
  });

  test('hundreds of thousands of lines go through, a page at a time, and none is kept', () => {
    const page = encoder.encode(`${FILE.toString().split('\n').slice(1, 11).join('\n')}\n`);
    const reader = new ConnectionReader();
    let connections = 0;
    let most = 0;
    for (let i = 0; i < 30_000; i++) {
      const batch = reader.read(page);
      connections += batch.connections.length;
      most = Math.max(most, batch.connections.length);
    }
    expect([connections, most]).toEqual([300_000, 10]);
    expect(reader.end()).toEqual({ connections: [], unreadable: 0 });
  });
});
