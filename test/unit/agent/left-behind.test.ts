/** What the removal of the gate leaves, in words and with the commands that take it away. */
import { expect, it } from 'vitest';
import { describeLeftBehind } from '../../../src/agent/left-behind.ts';
import { formatServiceKey, type IpvsServiceKey } from '../../../src/model/kernel.ts';
import { FakeIpvsKernel } from '../../fakes/fake-kernel.ts';
import { ip } from '../core/desired/spec-builders.ts';

const at = (address: string, port: number, protocol: 'tcp' | 'sctp' = 'tcp'): IpvsServiceKey => ({
  kind: 'address',
  protocol,
  address: ip(address),
  port,
});
const tcp = (port: number): IpvsServiceKey => at('fd90::100', port);
const WEB = at('10.90.0.100', 80);
const SIP = at('fd90::100', 5060, 'sctp');
const MARK: IpvsServiceKey = { kind: 'fwmark', mark: 7, family: 6 };

function tableOf(keys: readonly IpvsServiceKey[]) {
  const kernel = new FakeIpvsKernel();
  for (const key of keys)
    kernel.drift({
      op: 'add-service',
      service: {
        key,
        scheduler: 'rr',
        flags: 0,
        timeoutS: 0,
        persistencePrefix: key.kind === 'fwmark' || key.address.includes(':') ? 128 : 32,
        persistenceEngine: null,
      },
    });
  return kernel.table();
}

const NOTHING = { table: null, daemons: null, owned: new Set<string>(), changed: new Map() };
const DAEMON = {
  state: 'backup',
  interface: 'eth0',
  syncId: 1,
  group: ip('224.0.0.81'),
  port: 8848,
  ttl: 1,
  maxLength: 1400,
} as const;

it('is silent where nothing is left', () => {
  expect(describeLeftBehind(NOTHING)).toEqual([]);
  expect(describeLeftBehind({ ...NOTHING, table: { services: [] }, daemons: [] })).toEqual([]);
});

it('names our services, counts others, and says how each goes', () => {
  const keys = [WEB, SIP, MARK, tcp(443)];
  const owned = new Set([...keys.slice(0, 3).map(formatServiceKey), 'sync backup']);
  const changed = new Map([['net.ipv4.vs.sync_threshold', { was: '3 50', set: '3 0' }]]);
  const daemons = [DAEMON, { ...DAEMON, state: 'master' as const }];
  expect(describeLeftBehind({ table: tableOf(keys), daemons, owned, changed })).toEqual([
    'IPVS service stays: tcp 10.90.0.100:80; to remove it: ipvsadm -D -t 10.90.0.100:80',
    'IPVS service stays: sctp [fd90::100]:5060; to remove it: ipvsadm -D --sctp-service [fd90::100]:5060',
    'IPVS service stays: fwmark 7 inet6; to remove it: ipvsadm -D -f 7 -6',
    'IPVS services that no ledger here names: 1, of others or of an agent before the boot; see: ipvsadm -Ln',
    'sync daemon stays: backup on eth0; to end it: ipvsadm --stop-daemon backup',
    'sync daemon of others stays: master on eth0; to end it: ipvsadm --stop-daemon master',
    'kernel setting stays: net.ipv4.vs.sync_threshold = 3 0; to give it back: sysctl -w "net.ipv4.vs.sync_threshold=3 50"',
  ]);
});

it('counts what would fill the screen', () => {
  const keys = Array.from({ length: 25 }, (_, i) => tcp(8000 + i));
  const lines = describeLeftBehind({
    ...NOTHING,
    table: tableOf(keys),
    owned: new Set(keys.map(formatServiceKey)),
  });
  expect(lines).toHaveLength(21);
  expect(lines.at(-1)).toBe('… and 5 more IPVS services of leasehold; see: ipvsadm -Ln');
});
