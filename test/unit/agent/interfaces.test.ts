/** Which groups the interfaces could carry, where their addresses go, and what is told about it. */
import { describe, expect, it } from 'vitest';
import {
  announcementsOf,
  gateGroupOf,
  gatePlacesOf,
  judgeInterfaces,
} from '../../../src/agent/interfaces.ts';
import type { GroupAddress, VipGroup } from '../../../src/model/cluster.ts';
import { groupId } from '../../../src/model/ids.ts';
import type { LinkState } from '../../../src/model/kernel.ts';
import { ip } from '../core/desired/spec-builders.ts';

const link = (name: string, index: number, fields: Partial<LinkState> = {}): LinkState => ({
  index,
  name,
  mac: null,
  isAdminUp: true,
  isRunning: true,
  mtu: 1500,
  ...fields,
});
const vip = (address: string, on: string, label: string | null = null): GroupAddress => ({
  address: ip(address),
  prefix: 24,
  interface: on,
  label,
  scope: 'global',
});
const group = (...addresses: GroupAddress[]): VipGroup => ({
  id: groupId('web'),
  addresses,
  priorities: null,
  preempt: { kind: 'never' },
  virtualRouterId: null,
  vrrp: null,
  weight: 1,
  antiAffinity: [],
  tracks: [],
  notify: null,
  connectionSync: null,
});

const devices = new Map([
  ['public', 'eth0'],
  ['inside', 'eth1'],
]);
const both = group(vip('10.90.0.100', 'public', 'vip'), vip('10.91.0.1', 'inside'));
const links = (...list: LinkState[]) => new Map(list.map((one) => [one.name, one]));
const eth0 = link('eth0', 2);
const eth1 = link('eth1', 3);

describe('a group’s interfaces', () => {
  it.each([
    ['all up', links(eth0, eth1), null, null],
    ['one missing', links(eth0), 'interface-missing', 'device eth1 does not exist here'],
    [
      'one set down',
      links(eth0, { ...eth1, isAdminUp: false }),
      'interface-down',
      'device eth1 is down or has no carrier',
    ],
    [
      'one without carrier',
      links({ ...eth0, isRunning: false }, eth1),
      'interface-down',
      'device eth0 is down or has no carrier',
    ],
  ])('%s', (_, list, obstacle, detail) => {
    expect(judgeInterfaces(both, devices, list)).toEqual({ obstacle, detail });
  });

  it('that no device is mapped to is told with the setting to add', () => {
    expect(judgeInterfaces(group(vip('10.90.0.1', 'dmz')), devices, links(eth0))).toEqual({
      obstacle: 'interface-missing',
      detail: 'interface "dmz" is not mapped to a device in the agent\'s file (interfaces.dmz)',
    });
  });

  it('of a group without addresses are no obstacle', () => {
    expect(judgeInterfaces(group(), devices, links()).obstacle).toBeNull();
  });
});

describe('a group’s addresses', () => {
  it('go to the links of their devices, with the device in the label', () => {
    expect(gateGroupOf(both, devices, links(eth0, eth1))).toEqual({
      group: 'web',
      addresses: [
        { linkIndex: 2, address: '10.90.0.100', prefix: 24, scope: 'global', label: 'eth0:vip' },
        { linkIndex: 3, address: '10.91.0.1', prefix: 24, scope: 'global', label: null },
      ],
    });
  });

  it('go nowhere while one of the links is missing', () => {
    expect(gateGroupOf(both, devices, links(eth0))).toBeNull();
    expect(gateGroupOf(both, new Map(), links(eth0, eth1))).toBeNull();
  });

  it('are announced on their devices', () => {
    expect(announcementsOf(both, devices)).toEqual([
      { device: 'eth0', address: '10.90.0.100' },
      { device: 'eth1', address: '10.91.0.1' },
    ]);
    expect(announcementsOf(both, new Map())).toEqual([]);
  });
});

describe('the places of VIPs', () => {
  it('are the devices of the agent’s file that are there, and the VIPs on them', () => {
    const groups = new Map(both.addresses.map(({ address }) => [address, both.id]));
    expect(gatePlacesOf([both], devices, links(eth0, link('eth9', 9)))).toEqual({
      devices: [{ index: 2, name: 'eth0' }],
      vips: ['10.90.0.100'],
      groups,
    });
    expect(gatePlacesOf([both, both], devices, links(eth0, eth1))).toEqual({
      devices: [
        { index: 2, name: 'eth0' },
        { index: 3, name: 'eth1' },
      ],
      vips: ['10.90.0.100', '10.91.0.1'],
      groups,
    });
    expect(gatePlacesOf([both], new Map(), links(eth0))).toEqual({
      devices: [],
      vips: [],
      groups,
    });
  });
});
