/** What `realserver` takes: every problem at once, none adjusted. */
import { err, ok, type Result } from '../lib/result.ts';
import { familyOf, type IpAddress, ipToBytes, parseCidr } from '../model/address.ts';
import type { TunnelKind, TunnelSetup, VipWish } from '../model/real-server-host.ts';

export type RealServerOptions = {
  readonly vip?: readonly string[];
  readonly mode?: string;
  readonly tunnel?: string;
  readonly over?: string;
  readonly guePort?: string;
  readonly interface?: string;
  readonly json?: boolean;
  /** False: `down` never means all VIPs. */
  readonly all?: boolean;
};

/** Each problem is a sentence for people. */
export type Problems = readonly string[];

const KINDS: readonly TunnelKind[] = ['ipip', 'gue', 'gre'];

/** `isModeNeeded`: without a mode nothing can be done; else it is DR. */
export function parseWishes(
  options: RealServerOptions,
  isModeNeeded: boolean,
): Result<readonly VipWish[], Problems> {
  const problems: string[] = [];
  const vips = readVips(options, problems);
  if (options.vip === undefined && isModeNeeded)
    problems.push(
      '--vip is missing: the address that clients connect to; may be given several times',
    );
  const isTunnel = readMode(options, isModeNeeded, problems);
  const tunnel = readTunnel(options, isTunnel, problems);
  const device = readDevice(options, problems);
  if (problems.length > 0) return err(problems);
  return ok(
    vips.map((address) => ({
      address,
      device,
      tunnel: tunnel === null ? null : { ...tunnel, over: tunnel.over ?? familyOf(address) },
    })),
  );
}

/**
 * Options without a VIP, where none at all would mean every VIP of the machine: a unit whose file lost its
 * `--vip` must not take away the VIPs of others. Null: it is clear what is meant.
 */
export function missingVip(options: RealServerOptions): string | null {
  if (options.vip !== undefined) return null;
  const { mode, tunnel, over, guePort, interface: device } = options;
  if (options.all === false)
    return '--vip is missing: with --no-all nothing is taken down without it';
  return [mode, tunnel, over, guePort, device].every((value) => value === undefined)
    ? null
    : '--vip is missing: these options tell how a VIP is up; without any option all VIPs are meant';
}

function readVips({ vip = [] }: RealServerOptions, problems: string[]): readonly IpAddress[] {
  const vips = new Set<IpAddress>();
  for (const text of vip) {
    const cidr = parseCidr(text);
    if (!cidr.ok) {
      problems.push(`--vip: ${cidr.error}`);
      continue;
    }
    const { address, prefix } = cidr.value;
    const host = familyOf(address) === 4 ? 32 : 128;
    const unfit = unfitness(address);
    if (unfit !== null) problems.push(`--vip ${text}: ${unfit}`);
    else if (prefix !== host)
      problems.push(
        `--vip ${text}: a real server has the VIP alone, write ${address} or ${address}/${host}; with /${prefix} it would take the whole network for its own`,
      );
    else vips.add(address);
  }
  return [...vips];
}

/** Null: it can be a VIP. */
function unfitness(address: IpAddress): string | null {
  const [first = 0, second = 0] = ipToBytes(address);
  if (familyOf(address) === 4) {
    if (first === 127) return 'is a loopback address';
    if (first === 0 || first >= 224) return 'is no address of a machine';
    if (first === 169 && second === 254) return 'is a link-local address';
    return null;
  }
  if (address === '::1') return 'is the loopback address';
  if (address === '::' || first === 0xff) return 'is no address of a machine';
  if (first === 0xfe && (second & 0xc0) === 0x80) return 'is a link-local address';
  if (address.startsWith('::ffff:')) return 'is an IPv4 address in IPv6 form: write it as IPv4';
  return null;
}

function readMode({ mode }: RealServerOptions, isNeeded: boolean, problems: string[]): boolean {
  if (mode === undefined && isNeeded)
    problems.push('--mode is missing: dr or tun, as `forward` of the virtual service says');
  if (mode !== undefined && mode !== 'dr' && mode !== 'tun')
    problems.push(`--mode ${mode}: must be dr or tun (with nat a real server needs no VIP)`);
  return mode === 'tun';
}

type WishedTunnel = Omit<TunnelSetup, 'over'> & { readonly over: TunnelSetup['over'] | null };

function readTunnel(
  options: RealServerOptions,
  isTunnel: boolean,
  problems: string[],
): WishedTunnel | null {
  const { tunnel, over, guePort: portText, mode } = options;
  if (!isTunnel && (mode === undefined || mode === 'dr'))
    for (const [name, value] of [
      ['--tunnel', tunnel],
      ['--over', over],
      ['--gue-port', portText],
    ] as const)
      if (value !== undefined) problems.push(`${name} is for --mode tun`);
  const kind = KINDS.find((one) => one === (tunnel ?? (portText === undefined ? 'ipip' : 'gue')));
  if (kind === undefined) problems.push(`--tunnel ${tunnel}: must be ipip, gue or gre`);
  if (over !== undefined && over !== 'ipv4' && over !== 'ipv6')
    problems.push(
      `--over ${over}: must be ipv4 or ipv6, the family of the real server's own address`,
    );
  const guePort = readPort(portText, problems);
  if (isTunnel && kind === 'gue' && portText === undefined)
    problems.push('--gue-port is missing: the port of the tunnel in the cluster document');
  if (isTunnel && kind !== undefined && kind !== 'gue' && portText !== undefined)
    problems.push(`--gue-port is for --tunnel gue, not ${kind}`);
  if (!isTunnel || kind === undefined) return null;
  return { kind, guePort, over: over === undefined ? null : over === 'ipv6' ? 6 : 4 };
}

function readPort(text: string | undefined, problems: string[]): number | null {
  if (text === undefined) return null;
  const port = Number(text);
  if (/^\d{1,5}$/.test(text) && port >= 1 && port <= 65_535) return port;
  problems.push(`--gue-port ${text}: must be 1 to 65535`);
  return null;
}

function readDevice(options: RealServerOptions, problems: string[]): string | null {
  const { interface: device } = options;
  if (device === undefined) return null;
  if (/^[^\s/:]{1,15}$/.test(device) && !['.', '..', 'all', 'default'].includes(device))
    return device;
  problems.push(`--interface ${device}: is no name of a device`);
  return null;
}
