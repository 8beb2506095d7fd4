import { describe, expect, it } from 'vitest';
import { judgedSysctls, judgeSysctls } from '../../../../src/core/sysctls/judge-sysctls.ts';
import type { ClusterSpec, VirtualService } from '../../../../src/model/cluster.ts';
import { directorId, groupId } from '../../../../src/model/ids.ts';
import { anyService, anySpec, ip, server, sorryServer } from '../desired/spec-builders.ts';
import { group } from '../election/election-driver.ts';

const D1 = directorId('d1');
const VIP = {
  address: ip('10.90.0.100'),
  prefix: 24,
  interface: 'public',
  label: null,
  scope: 'global',
} as const;
/** As a fresh kernel has them. */
const FRESH = new Map<string, string | null>([
  ['net.ipv4.ip_forward', '0'],
  ['net.ipv6.conf.all.forwarding', '0'],
  ['net.ipv4.conf.all.send_redirects', '1'],
  ['net.ipv4.vs.conntrack', '0'],
  ['net.ipv4.vs.expire_quiescent_template', '0'],
  ['net.ipv4.vs.expire_nodest_conn', '0'],
]);

function judge(
  services: readonly VirtualService[],
  values: Record<string, string | null> = {},
  { devices = {} }: { devices?: Record<string, string> } = {},
): string[] {
  const spec: ClusterSpec = {
    ...anySpec(services),
    directors: [{ id: D1, address: ip('10.90.0.11'), zone: null }],
    groups: [group(groupId('web'), { addresses: [VIP] })],
  };
  const all = new Map([...FRESH, ...Object.entries(values)]);
  return judgeSysctls({ me: D1, devices: new Map(Object.entries(devices)), spec, values: all }).map(
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
    expect(judgeSysctls({ me: D1, devices: new Map(), spec, values: new Map() })).toEqual([]);
  });

  it('leave persistent clients with a drained real server, which is worth a word', () => {
    const persistent = anyService({ persistence: { timeoutS: 60, prefix: 32, engine: null } });
    const name = 'net.ipv4.vs.expire_quiescent_template';
    expect(judge([persistent])).toEqual([`advice ${name}`]);
    expect(judge([persistent], { [name]: '1' })).toEqual([]);
  });

  it('let a director that is a real server drop who comes back, which is worth a word', () => {
    const name = 'net.ipv4.vs.expire_nodest_conn';
    const self = anyService({ realServers: [server('10.90.0.11'), server('10.90.0.12')] });
    expect(judge([self])).toEqual([`advice ${name}`]);
    expect(judge([self], { [name]: '1' })).toEqual([]);
    expect(judge([dr])).toEqual([]);
    const sorry = anyService({ sorryServer: sorryServer('10.90.0.11', { forward: 'tun' }) });
    expect(judge([sorry])).toEqual([`advice ${name}`]);
    const bySourceNat = { realServers: [server('10.90.0.11', { forward: 'nat' })] };
    expect(judge([anyService(bySourceNat)])).not.toContain(`advice ${name}`);
  });

  it('are looked at as far as anything is said of them', () => {
    const everything = anyService({
      realServers: [server('10.90.0.11'), server('fd90::1', { forward: 'nat' })],
      sorryServer: sorryServer('10.90.0.29', { forward: 'nat' }),
      persistence: { timeoutS: 60, prefix: 32, engine: null },
    });
    const strict = { 'net.ipv4.conf.all.rp_filter': '1', 'net.ipv4.conf.eth0.rp_filter': '0' };
    const devices = { public: 'eth0', inside: 'eth1' };
    const named = judge([everything], strict, { devices }).map((text) => text.split(' ')[1] ?? '');
    const known = judgedSysctls(new Map(Object.entries(devices)));
    expect(named.filter((name) => !known.includes(name))).toEqual([]);
    expect(named.toSorted()).toEqual(judgedSysctls(new Map()).toSorted());
  });

  it('of the devices count for redirects as much as those of all', () => {
    const set = { [ONE_TO_ONE]: '0', 'net.ipv4.ip_forward': '1', 'net.ipv4.vs.conntrack': '1' };
    const devices = { public: 'eth0.100', inside: 'eth1' };
    const vlan = 'net.ipv4.conf.eth0/100.send_redirects';
    const inside = 'net.ipv4.conf.eth1.send_redirects';
    expect(judge([nat], { ...set, [vlan]: '1', [inside]: '0' }, { devices })).toEqual([
      `advice ${vlan}`,
    ]);
    expect(judge([nat], { ...set, [vlan]: '0', [inside]: '0' }, { devices })).toEqual([]);
    expect(judge([dr], { ...set, [vlan]: '1' }, { devices })).toEqual([]);
  });

  it('that drop by the way back are worth a word where a director has several networks', () => {
    const all = 'net.ipv4.conf.all.rp_filter';
    const own = 'net.ipv4.conf.eth0.rp_filter';
    const devices = { public: 'eth0', inside: 'eth1' };
    const at = (a: string, b: string, few = devices) =>
      judge([dr], { [all]: a, [own]: b }, { devices: few });
    expect(at('1', '0')).toEqual([`advice ${all}`]);
    expect(at('0', '1')).toEqual([`advice ${own}`]);
    for (const [a, b] of [
      ['0', '0'],
      ['2', '1'],
      ['1', '2'],
    ] as const)
      expect(at(a, b)).toEqual([]);
    expect(at('1', '1', { public: 'eth0', inside: 'eth0' })).toEqual([]);
    const six = anyService({ address: 'fd90::100', realServers: [server('fd90::21')] });
    expect(judge([six], { [all]: '1', [own]: '1' }, { devices })).toEqual([]);
  });
});
