/**
 * Two directors with keepalived of the distribution, VRRP only, beside ours on the same network,
 * priorities 150 and 100: as it comes (version 2, one advertisement a second), or version 3 with ten a
 * second. IPv6 is always version 3, at the same interval.
 */
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROUTER } from './cluster-lab.ts';
import { ensurePackage } from './debian-package.ts';
import type { Network } from './network.ts';
import { type Daemon, descendantsOf, GiveUp, signalAll, sleep, waitFor } from './processes.ts';

export type KeepalivedKind = 'v2-1s' | 'v3-100ms';

export type KeepalivedFault =
  | 'SIGTERM'
  | 'kill'
  | 'power'
  | 'cable'
  | 'freeze'
  | 'parted'
  | 'cut-off';

export interface KeepalivedPair {
  readonly vip: string;
  readonly vip6: string;
  /** MAC of the one that holds the VIP in a settled pair. */
  readonly holderMac: string;
  /** Takes back faults, starts what does not run, and waits until the one of priority 150 alone holds. */
  settle(): Promise<void>;
  /** Done to the holder; `freeze` ends when it is continued, after `FREEZE_MS`. */
  fault(fault: KeepalivedFault): Promise<void>;
}

/** How long a stopped process rests. */
export const FREEZE_MS = 10_000;

type Host = {
  readonly name: string;
  readonly address: string;
  readonly priority: number;
};

type Plan = {
  readonly vip: string;
  readonly vip6: string;
  readonly routerIds: readonly [number, number];
  readonly advertS: number;
  readonly version: 2 | 3;
  readonly holder: Host;
  readonly other: Host;
};

const PLANS: Readonly<Record<KeepalivedKind, Plan>> = {
  'v2-1s': {
    vip: '10.90.0.101',
    vip6: 'fd90::101',
    routerIds: [52, 62],
    advertS: 1,
    version: 2,
    holder: { name: 'k1', address: '10.90.0.13/24', priority: 150 },
    other: { name: 'k2', address: '10.90.0.14/24', priority: 100 },
  },
  'v3-100ms': {
    vip: '10.90.0.102',
    vip6: 'fd90::102',
    routerIds: [53, 63],
    advertS: 0.1,
    version: 3,
    holder: { name: 'k3', address: '10.90.0.15/24', priority: 150 },
    other: { name: 'k4', address: '10.90.0.16/24', priority: 100 },
  },
};

/** Adds the hosts; starts nothing. */
export async function createKeepalivedPair(
  network: Network,
  kind: KeepalivedKind,
): Promise<KeepalivedPair> {
  const plan = PLANS[kind];
  const hosts = [plan.holder, plan.other];
  const daemons = new Map<string, Daemon>();
  for (const host of hosts) await network.addHost(host.name, [host.address]);
  const mac = await network.execOk(plan.holder.name, ['cat', '/sys/class/net/eth0/address']);
  const vipsOf = async (host: Host): Promise<number> => {
    const shown = await network.execOk(host.name, ['ip', '-o', 'address']);
    return [plan.vip, plan.vip6].filter((vip) => shown.includes(` ${vip}/`)).length;
  };
  const pids = (): readonly number[] => descendantsOf(running(daemons, plan.holder).pid);
  const acts: Readonly<Record<KeepalivedFault, () => Promise<unknown> | void>> = {
    SIGTERM: () => running(daemons, plan.holder).signal('SIGTERM'),
    // The child first: it says goodbye when it sees its parent die.
    kill: () => signalAll(pids().toReversed(), 'SIGKILL'),
    async power() {
      await network.cable(plan.holder.name, 'out');
      signalAll(pids().toReversed(), 'SIGKILL');
    },
    cable: () => network.cable(plan.holder.name, 'out'),
    async freeze() {
      const frozen = pids();
      signalAll(frozen, 'SIGSTOP');
      await sleep(FREEZE_MS);
      signalAll(frozen, 'SIGCONT');
    },
    parted: () => network.cut(plan.holder.name, plan.other.name),
    'cut-off': () => network.cutOff(plan.holder.name, [plan.other.name, ROUTER]),
  };
  return {
    vip: plan.vip,
    vip6: plan.vip6,
    holderMac: mac.trim(),
    async settle() {
      await network.heal();
      for (const host of hosts) {
        if (daemons.get(host.name)?.isRunning() !== true) {
          await clear(network, plan, host);
          daemons.set(host.name, start(network, plan, host));
        }
        await network.cable(host.name, 'in');
      }
      await waitFor(
        'keepalived: the one of priority 150 holds',
        async () => {
          const dead = [...daemons.values()].find((each) => !each.isRunning());
          if (dead !== undefined) throw new GiveUp(`it ended: ${dead.log().slice(-2000)}`);
          return (await vipsOf(plan.holder)) === 2 && (await vipsOf(plan.other)) === 0;
        },
        { timeoutMs: 20_000, intervalMs: 100 },
      );
      // Long enough for an advertisement of the holder to have reached the other one.
      await sleep(1500 * plan.advertS + 200);
    },
    fault: async (fault) => void (await acts[fault]()),
  };
}

function running(daemons: ReadonlyMap<string, Daemon>, host: Host): Daemon {
  const daemon = daemons.get(host.name);
  if (daemon === undefined) throw new Error('keepalived was not started');
  return daemon;
}

/** What a boot would clear. */
async function clear(network: Network, plan: Plan, host: Host): Promise<void> {
  for (const vip of [`${plan.vip}/24`, `${plan.vip6}/64`])
    await network.exec(host.name, ['ip', 'address', 'delete', vip, 'dev', 'eth0']);
}

function start(network: Network, plan: Plan, host: Host): Daemon {
  const file = (suffix: string): string =>
    join(network.directory, `keepalived-${host.name}${suffix}`);
  const instance = (name: string, lines: readonly string[]): string =>
    [`vrrp_instance ${name} {`, '  interface eth0', `  priority ${host.priority}`]
      .concat(lines.map((line) => `  ${line}`))
      .concat(`  advert_int ${plan.advertS}`, '}', '')
      .join('\n');
  writeFileSync(
    file('.conf'),
    instance('web', [
      `version ${plan.version}`,
      `virtual_router_id ${plan.routerIds[0]}`,
      `virtual_ipaddress {`,
      `  ${plan.vip}/24`,
      `}`,
    ]) +
      instance('web6', [
        'version 3',
        'native_ipv6',
        `virtual_router_id ${plan.routerIds[1]}`,
        `virtual_ipaddress {`,
        `  ${plan.vip6}/64`,
        `}`,
      ]),
  );
  for (const suffix of ['.pid', '-vrrp.pid']) rmSync(file(suffix), { force: true });
  const pidFiles = ['-p', file('.pid'), '-r', file('-vrrp.pid')];
  const argv = ['keepalived', '-P', '-n', '-l', '-f', file('.conf'), ...pidFiles];
  return network.spawn(host.name, 'keepalived', argv);
}

/** Version of the installed package without Debian's parts; installs it, without its service, where it is missing. */
export const ensureKeepalived = (say: (text: string) => void): Promise<string> =>
  ensurePackage('keepalived', say);
