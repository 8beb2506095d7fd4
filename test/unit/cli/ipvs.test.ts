/** `ipvs list|conns|zero` against a real API on loopback. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { TableRow } from '../../../src/model/ipvs-listing.ts';
import type { IpvsConnection } from '../../../src/model/kernel.ts';
import { decodeConnection } from '../../../src/wire/ipvs-connections.ts';
import { NO_IPVS } from '../../fakes/fake-ipvs-view.ts';
import { type Rig, runCli, startRig } from './harness.ts';

let rig: Rig;
beforeEach(async () => {
  rig = await startRig();
});
afterEach(() => rig.api.close());

const NONE = { connections: 0, packetsIn: 0, packetsOut: 0, bytesIn: 0, bytesOut: 0 };
const DESTINATION: Extract<TableRow, { kind: 'destination' }> = {
  kind: 'destination',
  address: '10.90.0.21',
  port: 80,
  forward: 'dr',
  tunnel: null,
  weight: 1,
  upperThreshold: 0,
  lowerThreshold: 0,
  activeConnections: 12,
  inactiveConnections: 3,
  persistentConnections: 2,
  counters: { ...NONE, connections: 123_456_789 },
  rates: { ...NONE, connections: 7 },
  role: 'real-server',
  note: null,
};
const SERVICE: Extract<TableRow, { kind: 'service' }> = {
  kind: 'service',
  key: { kind: 'address', protocol: 'tcp', address: '10.90.0.100', port: 80 },
  service: 'web-http',
  isForeign: false,
  scheduler: 'wlc',
  flags: [],
  isOnePacket: false,
  persistence: null,
  persistenceEngine: null,
  counters: NONE,
  rates: NONE,
};
const ROWS: readonly TableRow[] = [
  SERVICE,
  DESTINATION,
  { ...DESTINATION, address: '10.90.0.29', role: 'sorry-server', note: 'sorry server' },
  {
    ...SERVICE,
    key: { kind: 'address', protocol: 'udp', address: '10.90.0.7', port: 53 },
    service: null,
    isForeign: true,
  },
  { kind: 'end', services: 2, destinations: 2 },
];

describe('ipvs list', () => {
  it('tells what is special behind the columns', async () => {
    rig.view.ipvs.rows = ROWS;
    expect(await rig.run('ipvs list -n')).toEqual({
      code: 0,
      err: '',
      out: `IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
TCP  10.90.0.100:80 wlc
  -> 10.90.0.21:80                Route   1      12         3         
  -> 10.90.0.29:80                Route   1      12         3           # sorry server
UDP  10.90.0.7:53 wlc  # foreign: leasehold leaves it alone
`,
    });
  });

  it('has the other columns, and large numbers in full where asked', async () => {
    rig.view.ipvs.rows = ROWS;
    expect((await rig.run('ipvs list --stats')).out).toContain('  123456K ');
    expect((await rig.run('ipvs list --stats --exact')).out).toContain(' 123456789 ');
    expect((await rig.run('ipvs list --rate')).out).toContain('        7 ');
    expect((await rig.run('ipvs list --conns')).out).toMatch(/21:80 +1 +2 +12 +3/);
    expect((await rig.run('ipvs list --timeouts')).out).toBe(
      'Timeout (tcp tcpfin udp): 900 120 300\n',
    );
    const both = await rig.run('ipvs list --rate --stats');
    expect(both).toMatchObject({ code: 2, out: '' });
    expect(both.err).toContain('--stats and --rate exclude each other');
  });

  it('asks for one service, and gives lines of JSON', async () => {
    rig.view.ipvs.rows = ROWS;
    const json = await rig.run('ipvs list --json --service web-http');
    expect(json.code).toBe(0);
    expect(
      json.out
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line).kind),
    ).toEqual(['table', 'service', 'destination', 'destination', 'service', 'end']);
    expect(rig.view.ipvs.asked).toEqual(['web-http']);
    const unknown = await rig.run('ipvs list --service ftp');
    expect(unknown).toMatchObject({ code: 2, out: '' });
    expect(unknown.err).toContain('known: web-http, web6-http, smtp');
  });

  it('says so where the list broke off, or the kernel has no IPVS', async () => {
    rig.view.ipvs.rows = ROWS.slice(0, 2);
    for (const how of ['', '--json'])
      expect(await rig.run(`ipvs list ${how}`)).toMatchObject({
        code: 5,
        err: expect.stringContaining('broke off'),
      });
    // Whoever closed the pipe knows.
    for (const how of ['', '--json'])
      expect(await rig.run(`ipvs list ${how}`, { signal: AbortSignal.abort() })).toMatchObject({
        code: 0,
        err: '',
      });
    rig.view.ipvs.failure = NO_IPVS;
    const none = await rig.run('ipvs list');
    expect(none).toMatchObject({ code: 5, out: '' });
    expect(none.err).toContain('modprobe ip_vs');
  });
});

describe('ipvs conns', () => {
  function* connections(count: number): Generator<IpvsConnection> {
    const line = 'TCP 0A5A0001 9C40 0A5A0064 0050 0A5A0015 0050 ESTABLISHED     899';
    const one = decodeConnection(line);
    if (!one.ok) throw new Error(one.error);
    for (let n = 0; n < count; n++) yield one.value;
  }

  it('are as ipvsadm -Lcn has them', async () => {
    rig.view.ipvs.connections = connections(1);
    expect(await rig.run('ipvs conns')).toEqual({
      code: 0,
      err: '',
      out: `IPVS connection entries
pro expire state       source             virtual            destination
TCP 14:59  ESTABLISHED 10.90.0.1:40000    10.90.0.100:80     10.90.0.21:80
`,
    });
  });

  it('say when there are more than asked for', async () => {
    rig.view.ipvs.connections = connections(10);
    const some = await rig.run('ipvs conns --limit 4');
    expect(some).toMatchObject({ code: 0, err: 'stopped after 4 connections (--limit)\n' });
    expect(some.out.trimEnd().split('\n')).toHaveLength(6);
    for (const limit of ['0', 'x', '-1', '1e3', '10000001'])
      expect((await rig.run(`ipvs conns --limit=${limit}`)).code).toBe(2);
  });

  it('wait for a slow terminal instead of keeping what it does not take', async () => {
    rig.view.ipvs.connections = connections(20_000);
    let largest = 0;
    let since = 0;
    const { code } = await rig.run('ipvs conns', {
      stdout: (text) => {
        since += text.length;
        largest = Math.max(largest, since);
      },
      written: async () => {
        since = 0;
      },
    });
    expect(code).toBe(0);
    expect(largest).toBeGreaterThan(0);
    expect(largest).toBeLessThan(200_000);
  });

  it('say where the kernel failed in between', async () => {
    rig.view.ipvs.failsAfter = 6;
    for (const how of ['', '--json']) {
      rig.view.ipvs.connections = connections(10);
      rig.view.ipvs.read = 0;
      const broken = await rig.run(`ipvs conns ${how}`);
      expect(broken).toMatchObject({ code: 5, err: expect.stringContaining('in between') });
      expect(broken.err).not.toContain('takes nothing');
    }
  });
});

describe('ipvs zero', () => {
  it('sets one service or all to 0, with a reason', async () => {
    expect(await rig.run('ipvs zero smtp --reason test')).toEqual({
      code: 0,
      err: '',
      out: 'smtp on d1: counters to 0 (1 IPVS service)\n',
    });
    expect((await rig.run('ipvs zero --reason test')).out).toBe(
      'all services on d1: counters to 0 (3 IPVS services)\n',
    );
    expect((await rig.run('ipvs zero --reason test --dry-run')).out).toMatch(/^dry run: /);
    expect((await rig.run('ipvs zero')).code).toBe(2);
    expect((await rig.run('ipvs zero ftp --reason x')).err).toContain('known: web-http');
    expect(rig.view.ipvs.zeroed).toEqual(['smtp', 'web-http', 'web6-http', 'smtp']);
  });

  it('is never asked of the next director once this one has got it', async () => {
    const second = await startRig();
    try {
      rig.store.isDown = true;
      const refused = await runCli(
        ['ipvs', 'zero', '--reason', 'test', '--api', `${rig.url},${second.url}`],
        {},
      );
      expect(refused).toMatchObject({ code: 5, out: '' });
      expect(refused.err).toContain('nothing was changed');
      expect(second.view.ipvs.zeroed).toEqual([]);
      // Nobody has got it where nobody listens.
      const none = 'http://127.0.0.1:9';
      const asked = await runCli(
        ['ipvs', 'zero', '--reason', 'test', '--api', `${none},${second.url}`],
        {},
      );
      expect(asked.code).toBe(0);
      expect(second.view.ipvs.zeroed).not.toEqual([]);
    } finally {
      await second.api.close();
    }
  });
});
