import { describe, expect, it } from 'vitest';
import { JUDGED_SYSCTLS, judgeSysctls } from '../../../../src/core/sysctls/judge-sysctls.ts';
import type { ClusterSpec, IpvsSpec, VirtualService } from '../../../../src/model/cluster.ts';
import { directorId, groupId } from '../../../../src/model/ids.ts';
import {
  ANY_IPVS,
  anyService,
  anySpec,
  ip,
  server,
  sorryServer,
} from '../desired/spec-builders.ts';
import { group } from '../election/election-driver.ts';

const D1 = directorId('d1');
const SYNC = {
  syncId: 1,
  interface: 'public',
  group: ip('224.0.0.81'),
  port: 8848,
  ttl: 1,
  maxLength: null,
  catchUpMs: 0,
};
/** As a fresh kernel has them. */
const FRESH = new Map<string, string | null>([
  ['net.ipv4.ip_forward', '0'],
  ['net.ipv6.conf.all.forwarding', '0'],
  ['net.ipv4.conf.all.send_redirects', '1'],
  ['net.ipv4.vs.conntrack', '0'],
  ['net.ipv4.vs.expire_quiescent_template', '0'],
  ['net.ipv4.vs.backup_only', '0'],
]);

function judge(
  services: readonly VirtualService[],
  values: Record<string, string | null> = {},
  {
    ipvs = {},
    hasSync = false,
    others = [],
  }: { ipvs?: Partial<IpvsSpec>; hasSync?: boolean; others?: readonly string[] } = {},
): string[] {
  const spec: ClusterSpec = {
    ...anySpec(services),
    ipvs: { ...ANY_IPVS, ...ipvs },
    directors: [{ id: D1, address: ip('10.90.0.11'), zone: null }],
    groups: ['web', ...others].map((id) =>
      group(groupId(id), hasSync ? { connectionSync: SYNC } : {}),
    ),
  };
  const all = new Map([...FRESH, ...Object.entries(values)]);
  return judgeSysctls({ me: D1, spec, values: all }).map(
    ({ name, severity }) => `${severity} ${name}`,
  );
}

const dr = anyService();
const nat = anyService({ realServers: [server('10.90.0.21', { forward: 'nat' })] });
const nat6 = anyService({ realServers: [server('fd90::21', { forward: 'nat' })] });
const ONE_TO_ONE = 'net.ipv4.conf.all.send_redirects';

describe('kernel settings of a director', () => {
  it('have nothing against direct routing', () => {
    expect(judge([dr])).toEqual([]);
  });

  it.each([
    [
      'IPv4',
      nat,
      ['problem net.ipv4.ip_forward', `advice ${ONE_TO_ONE}`, 'advice net.ipv4.vs.conntrack'],
    ],
    ['IPv6', nat6, ['problem net.ipv6.conf.all.forwarding', 'advice net.ipv4.vs.conntrack']],
    [
      'a sorry server alone',
      anyService({ sorryServer: sorryServer('10.90.0.29', { forward: 'nat' }) }),
      ['problem net.ipv4.ip_forward', `advice ${ONE_TO_ONE}`, 'advice net.ipv4.vs.conntrack'],
    ],
  ])('must let NAT over %s forward', (_, service, findings) => {
    expect(judge([service])).toEqual(findings);
  });

  it('that forward and track are all right for NAT', () => {
    const set = { 'net.ipv4.ip_forward': '1', [ONE_TO_ONE]: '0', 'net.ipv4.vs.conntrack': '1' };
    expect(judge([nat], set)).toEqual([]);
    expect(
      judge([nat6], { 'net.ipv6.conf.all.forwarding': '2', 'net.ipv4.vs.conntrack': '1' }),
    ).toEqual([]);
  });

  it('that a kernel does not have cannot forward; what could not be read says nothing', () => {
    expect(judge([nat6], { 'net.ipv6.conf.all.forwarding': null })).toContain(
      'problem net.ipv6.conf.all.forwarding',
    );
    const spec = anySpec([nat, nat6]);
    expect(judgeSysctls({ me: D1, spec, values: new Map() })).toEqual([]);
  });

  it('leave persistent clients with a drained real server, which is worth a word', () => {
    const persistent = anyService({ persistence: { timeoutS: 60, prefix: 32, engine: null } });
    const name = 'net.ipv4.vs.expire_quiescent_template';
    expect(judge([persistent])).toEqual([`advice ${name}`]);
    expect(judge([persistent], { [name]: '1' })).toEqual([]);
  });

  it('let a director that is a real server share out twice, unless something prevents it', () => {
    const self = anyService({ realServers: [server('10.90.0.11'), server('10.90.0.12')] });
    const only = { 'net.ipv4.vs.backup_only': '1' };
    expect(judge([self])).toEqual(['problem net.ipv4.vs.backup_only']);
    expect(judge([self], only)).toEqual(['problem net.ipv4.vs.backup_only']);
    expect(judge([self], only, { hasSync: true })).toEqual([]);
    // One that serves the other group does not listen, and shares out what comes for this one.
    expect(judge([self], only, { hasSync: true, others: ['mail'] })).toEqual([
      'problem net.ipv4.vs.backup_only',
    ]);
    expect(judge([self], {}, { hasSync: true })).toEqual(['problem net.ipv4.vs.backup_only']);
    expect(judge([self], {}, { ipvs: { standby: 'cold' } })).toEqual([]);
  });

  it('are looked at as far as anything is said of them', () => {
    const everything = anyService({
      realServers: [server('10.90.0.11'), server('fd90::1', { forward: 'nat' })],
      sorryServer: sorryServer('10.90.0.29', { forward: 'nat' }),
      persistence: { timeoutS: 60, prefix: 32, engine: null },
    });
    const named = judge([everything]).map((text) => text.split(' ')[1] ?? '');
    expect(named.toSorted()).toEqual(JUDGED_SYSCTLS.toSorted());
  });
});
