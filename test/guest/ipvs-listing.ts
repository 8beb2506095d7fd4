/** Runs inside a guest: the listings of a real kernel, held against what ipvsadm prints of it at that moment. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { createSystemClock } from '../../src/adapters/clock/system-clock.ts';
import { createIpvsKernel } from '../../src/adapters/linux/ipvs-kernel.ts';
import { createIpvsDesk } from '../../src/agent/ipvs-desk.ts';
import { NOTHING_RECONCILED } from '../../src/agent/reconcile-state.ts';
import {
  formatConnection,
  formatConnectionsHead,
  formatDestination,
  formatService,
  formatTableHead,
  formatTimeouts,
  type TableLook,
} from '../../src/cli/ipvsadm-view.ts';
import { parseClusterDocument } from '../../src/config/cluster-document.ts';
import { directorId } from '../../src/model/ids.ts';
import type { IpvsConnection } from '../../src/model/kernel.ts';
import { silentLog } from '../../src/ports/log.ts';
import { type ContractCase, runCases } from '../contract/contract-case.ts';

const output = process.argv[2];
if (output === undefined) throw new Error('usage: ipvs-listing.ts FILE');

const sh = (command: string): string => execFileSync('sh', ['-c', command]).toString();
const VIP = '10.90.0.100';

/** A table with something of everything, of which `shop` is ours. */
const TABLE = `
-A -t ${VIP}:80 -s wlc -p 300
-a -t ${VIP}:80 -r 10.90.0.21:80 -g -w 1 -x 100 -y 10
-a -t ${VIP}:80 -r 10.90.0.22:80 -i -w 3
-A -t ${VIP}:443 -s sh -b sh-port,sh-fallback
-A -u ${VIP}:53 -s rr -o
-a -u ${VIP}:53 -r 10.90.0.21:5353 -m -w 0
-A -t [fd90::100]:80 -s mh -p 60 -M 64
-a -t [fd90::100]:80 -r [fd90::21]:80 -g -w 1
-A -f 7 -s rr -p 60 -M 255.255.255.0
-a -f 7 -r 10.90.0.21:0 -g -w 1
`;

const SPEC = (() => {
  const parsed = parseClusterDocument({
    apiVersion: 'leasehold/v1',
    directors: { d1: { address: '10.90.0.11' } },
    groups: { web: { addresses: [`${VIP}/32`], interface: 'public' } },
    services: {
      shop: {
        group: 'web',
        address: VIP,
        port: 80,
        realServers: [{ address: '10.90.0.21' }, { address: '10.90.0.22' }],
      },
    },
  });
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.error));
  return parsed.value.spec;
})();

const clock = createSystemClock();
const kernel = createIpvsKernel({ clock, log: silentLog });
const desk = createIpvsDesk({
  me: directorId('d1'),
  kernel,
  clock,
  parts: {
    specs: { spec: () => SPEC } as never,
    reconcile: { state: () => NOTHING_RECONCILED, wake: () => {} } as never,
  },
});

async function listing(look: TableLook): Promise<string> {
  const listed = await desk.table(null);
  if (!listed.ok) throw new Error(listed.error.message);
  const { head, rows } = listed.value;
  const table = { look, isExact: false };
  let text = formatTableHead(head, table);
  for (const row of rows()) {
    if (row.kind === 'service') text += formatService(row, table);
    if (row.kind === 'destination') text += formatDestination({ ...row, note: null }, table);
  }
  return text;
}

async function connections(): Promise<readonly IpvsConnection[]> {
  const seen: IpvsConnection[] = [];
  const visit = (some: readonly IpvsConnection[]): boolean => seen.push(...some) > 0;
  const reading = await desk.visitConnections(visit, new AbortController().signal);
  assert.equal(reading.ok && reading.value.isWhole, true);
  return seen;
}

/** A client of the VIP on this machine, and a real server for it: both ends stay open. */
async function openConnection(): Promise<() => void> {
  sh(`ip link set lo up; ip addr add ${VIP}/32 dev lo; ip addr add 10.90.0.21/32 dev lo`);
  sh('ipvsadm -d -t 10.90.0.100:80 -r 10.90.0.22:80');
  const server = createServer(() => {}).listen(80, VIP);
  await new Promise((resolve) => server.on('listening', resolve));
  const client = connect({ host: VIP, port: 80, localAddress: '10.90.0.21' });
  await new Promise((resolve, reject) => client.on('connect', resolve).on('error', reject));
  return () => {
    client.destroy();
    server.close();
  };
}

const expiry = / \d\d:\d\d /g;

const cases: readonly ContractCase<null>[] = [
  ...(
    [
      ['plain', '-Ln'],
      ['conns', '-Ln --persistent-conn'],
      ['thresholds', '-Ln --thresholds'],
      ['tunnels', '-Ln --tun-info'],
      ['stats', '-Ln --stats'],
      ['rate', '-Ln --rate'],
    ] as const
  ).map(
    ([look, options]): ContractCase<null> => ({
      name: `ipvs list is ipvsadm ${options}`,
      run: async () => assert.equal(await listing(look), sh(`ipvsadm ${options}`)),
    }),
  ),
  {
    name: 'timeouts are those of ipvsadm',
    run: async () => {
      const listed = await desk.table(null);
      if (!listed.ok) throw new Error(listed.error.message);
      assert.equal(formatTimeouts(listed.value.head), sh('ipvsadm -Ln --timeout'));
    },
  },
  {
    name: 'ipvs conns is ipvsadm -Lcn, template and connection',
    run: async () => {
      const close = await openConnection();
      try {
        const seen = await connections();
        const text = seen.map((one) =>
          formatConnection({ kind: 'connection', isTemplate: false, ...one }, false),
        );
        const theirs = sh('ipvsadm -Lcn').replaceAll(expiry, ' ');
        assert.equal(
          (formatConnectionsHead(false) + text.join('')).replaceAll(expiry, ' '),
          theirs,
        );
        assert.equal(seen.filter(({ client }) => client.port === 0).length, 1);
        assert.equal(seen.length, 2);
      } finally {
        close();
      }
    },
  },
];

sh('modprobe ip_vs');
execFileSync('ipvsadm', ['-R'], { input: TABLE });
const results = await runCases<null>(cases, async () => ({ world: null, end: async () => {} }));
kernel.close();
writeFileSync(output, JSON.stringify(results));
