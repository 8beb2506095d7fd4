/** Names of devices and settings that serving a VIP needs. Sources: ip-sysctl.rst, linux/if_tunnel.h. */
import { familyOf, type IpAddress, type IpFamily } from '../../model/address.ts';
import type {
  HostFacts,
  SettingPath,
  TunnelSetup,
  VipSetup,
  VipWish,
} from '../../model/real-server-host.ts';

export type FallbackDevice = {
  readonly name: string;
  readonly linkKind: string;
  /** Loading it makes the device, in every network namespace. */
  readonly module: string;
};

const TUNL0 = { name: 'tunl0', linkKind: 'ipip', module: 'ipip' } as const;
const SIT0 = { name: 'sit0', linkKind: 'sit', module: 'sit' } as const;
const IP6TNL0 = { name: 'ip6tnl0', linkKind: 'ip6tnl', module: 'ip6_tunnel' } as const;
const GRE0 = { name: 'gre0', linkKind: 'gre', module: 'ip_gre' } as const;
const IP6GRE0 = { name: 'ip6gre0', linkKind: 'ip6gre', module: 'ip6_gre' } as const;

/** Those that take packets from anybody: the directors' addresses need not be known. */
export const FALLBACK_DEVICES: readonly FallbackDevice[] = [TUNL0, SIT0, IP6TNL0, GRE0, IP6GRE0];

/** The device where such packets of a VIP of that family come out. */
export function fallbackDevice(
  vip: IpAddress,
  tunnel: Pick<TunnelSetup, 'kind' | 'over'>,
): FallbackDevice {
  if (tunnel.kind === 'gre') return tunnel.over === 4 ? GRE0 : IP6GRE0;
  // gue takes its own header off and hands on what is an ipip, 6in4, 4in6 or ip6ip6 packet then.
  if (tunnel.over === 6) return IP6TNL0;
  return familyOf(vip) === 4 ? TUNL0 : SIT0;
}

const LOOPBACK = 'lo';

/** Any device but lo that is named for a tunnel is where the tunnel ends. */
export function resolveWish({ address, tunnel, device }: VipWish): VipSetup {
  if (tunnel === null) return { address, tunnel, device: device ?? LOOPBACK, tunnelDevice: null };
  const usual = fallbackDevice(address, tunnel).name;
  return {
    address,
    tunnel,
    device: device ?? usual,
    tunnelDevice: device === null || device === LOOPBACK ? usual : device,
  };
}

/** An ip6tnl device takes one inner protocol, or any of them: 0. */
export const ANY_PROTOCOL = 0;
const IPPROTO_IPIP = 4;
const IPPROTO_IPV6 = 41;

/** What an `ip6tnl` device must take, as IFLA_IPTUN_PROTO has it, for packets to the VIP. */
export const innerProtocolOf = (vip: IpAddress): number =>
  familyOf(vip) === 4 ? IPPROTO_IPIP : IPPROTO_IPV6;

export const ipv4Setting = (device: string, name: string): SettingPath =>
  `net/ipv4/conf/${device}/${name}`;
export const ipv6Setting = (device: string, name: string): SettingPath =>
  `net/ipv6/conf/${device}/${name}`;

/** As sysctl(8) writes it: dots of a device's name become slashes. */
export const settingName = (path: SettingPath): string =>
  path
    .split('/')
    .map((part) => part.replaceAll('.', '/'))
    .join('.');

/** Every setting that the checks look at. */
export function settingsOf(links: HostFacts['links']): readonly SettingPath[] {
  const names = ['all', ...links.map((link) => link.name)];
  return [
    ...names.flatMap((name) =>
      ['arp_ignore', 'arp_announce', 'rp_filter'].map((setting) => ipv4Setting(name, setting)),
    ),
    ...links.map((link) => ipv6Setting(link.name, 'disable_ipv6')),
  ];
}

export const prefixOf = (address: IpAddress): 32 | 128 => (familyOf(address) === 4 ? 32 : 128);

const FAMILY_NAMES: Readonly<Record<IpFamily, string>> = { 4: 'IPv4', 6: 'IPv6' };
export const familyName = (family: IpFamily): string => FAMILY_NAMES[family];

/** `dr`, `tun ipip`, `tun gue port 6080`, with ` over IPv6` where the families differ. */
export function describeSetup({ address, tunnel }: VipSetup): string {
  if (tunnel === null) return 'dr';
  const port = tunnel.guePort === null ? '' : ` port ${tunnel.guePort}`;
  const over = tunnel.over === familyOf(address) ? '' : ` over ${familyName(tunnel.over)}`;
  return `tun ${tunnel.kind}${port}${over}`;
}

export const isSameSetup = (a: VipSetup, b: VipSetup): boolean => optionsOf(a) === optionsOf(b);

/** The options of the command that ask for this. */
export function optionsOf(setup: VipSetup): string {
  const { address, device, tunnel, tunnelDevice } = setup;
  if (tunnel === null)
    return `--vip ${address} --mode dr${device === 'lo' ? '' : ` --interface ${device}`}`;
  const words = [`--vip ${address} --mode tun`];
  if (tunnel.kind !== 'ipip') words.push(`--tunnel ${tunnel.kind}`);
  if (tunnel.over !== familyOf(address)) words.push(`--over ipv${tunnel.over}`);
  if (tunnel.guePort !== null) words.push(`--gue-port ${tunnel.guePort}`);
  const usual = fallbackDevice(address, tunnel).name;
  if (device !== usual || tunnelDevice !== usual) words.push(`--interface ${device}`);
  return words.join(' ');
}
