/**
 * Two directors with keepalived of the distribution, VRRP only, beside ours on the same network: its
 * default of version 2 and one advertisement a second, priorities 150 and 100.
 */
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Network } from '../test/support/network.ts';
import {
  type Daemon,
  descendantsOf,
  GiveUp,
  run,
  runOk,
  signalAll,
  sleep,
  waitFor,
} from '../test/support/processes.ts';

export const KEEPALIVED_VIP = '10.90.0.101';

export type KeepalivedFault = 'SIGTERM' | 'kill' | 'power';

export interface KeepalivedPair {
  /** MAC of the one that holds the VIP in a settled pair. */
  readonly holderMac: string;
  /** Starts what does not run and waits until the one of priority 150 alone has the VIP. */
  settle(): Promise<void>;
  /** Done to the holder. */
  fault(fault: KeepalivedFault): Promise<void>;
}

type Host = {
  readonly name: string;
  readonly address: string;
  readonly priority: number;
};

const HOLDER: Host = { name: 'k1', address: '10.90.0.13/24', priority: 150 };
const OTHER: Host = { name: 'k2', address: '10.90.0.14/24', priority: 100 };
/** Long enough for an advertisement of the holder to have reached the other one. */
const QUIET_MS = 1500;

/** Adds the hosts; starts nothing. */
export async function createKeepalivedPair(network: Network): Promise<KeepalivedPair> {
  const daemons = new Map<string, Daemon>();
  for (const host of [HOLDER, OTHER]) await network.addHost(host.name, [host.address]);
  const mac = await network.execOk(HOLDER.name, ['cat', '/sys/class/net/eth0/address']);
  const hasVip = async (host: Host): Promise<boolean> =>
    (await network.execOk(host.name, ['ip', '-o', 'address'])).includes(` ${KEEPALIVED_VIP}/`);
  return {
    holderMac: mac.trim(),
    async settle() {
      for (const host of [HOLDER, OTHER])
        if (daemons.get(host.name)?.isRunning() !== true) {
          await clear(network, host);
          daemons.set(host.name, start(network, host));
        }
      await waitFor(
        'keepalived: the one of priority 150 holds',
        async () => {
          const dead = [...daemons.values()].find((each) => !each.isRunning());
          if (dead !== undefined) throw new GiveUp(`it ended: ${dead.log().slice(-2000)}`);
          return (await hasVip(HOLDER)) && !(await hasVip(OTHER));
        },
        { timeoutMs: 20_000, intervalMs: 100 },
      );
      await sleep(QUIET_MS);
    },
    async fault(fault) {
      const daemon = daemons.get(HOLDER.name);
      if (daemon === undefined) throw new Error('keepalived was not started');
      if (fault === 'power') await network.cable(HOLDER.name, 'out');
      if (fault === 'SIGTERM') daemon.signal('SIGTERM');
      // The child first: it says goodbye when it sees its parent die.
      else signalAll(descendantsOf(daemon.pid).toReversed(), 'SIGKILL');
    },
  };
}

/** What a boot would clear; also takes back a cable that is out. */
async function clear(network: Network, host: Host): Promise<void> {
  await network.exec(host.name, ['ip', 'address', 'delete', `${KEEPALIVED_VIP}/24`, 'dev', 'eth0']);
  await network.cable(host.name, 'in');
}

function start(network: Network, host: Host): Daemon {
  const file = (suffix: string): string =>
    join(network.directory, `keepalived-${host.name}${suffix}`);
  writeFileSync(
    file('.conf'),
    `vrrp_instance web {
  interface eth0
  virtual_router_id 52
  priority ${host.priority}
  virtual_ipaddress {
    ${KEEPALIVED_VIP}/24
  }
}
`,
  );
  for (const suffix of ['.pid', '-vrrp.pid']) rmSync(file(suffix), { force: true });
  const pidFiles = ['-p', file('.pid'), '-r', file('-vrrp.pid')];
  const argv = ['keepalived', '-P', '-n', '-l', '-f', file('.conf'), ...pidFiles];
  return network.spawn(host.name, 'keepalived', argv);
}

/** Version of the installed package without Debian's parts; installs it, without its service, where it is missing. */
export async function ensureKeepalived(say: (text: string) => void): Promise<string> {
  if ((await installedVersion()) === null) {
    say('keepalived is missing: installing the Debian package, its service stays off');
    await install();
  }
  const version = await installedVersion();
  if (version === null) throw new Error('keepalived is not there after its installation');
  return version;
}

async function installedVersion(): Promise<string | null> {
  const query = ['dpkg-query', '-W', '-f', '${db:Status-Status} ${Version}', 'keepalived'];
  const [status, version] = (await run(query)).stdout.split(' ');
  if (status !== 'installed' || version === undefined) return null;
  return /^(?:\d+:)?(\d[\d.]*)/.exec(version)?.[1] ?? version;
}

const POLICY = '/usr/sbin/policy-rc.d';

async function install(): Promise<void> {
  // A policy that forbids services to start (invoke-rc.d(8)), unless the machine has its own.
  const isOurs = !existsSync(POLICY);
  if (isOurs) writeFileSync(POLICY, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  const quiet = ['env', 'DEBIAN_FRONTEND=noninteractive', 'apt-get'];
  const limit = { timeoutMs: 120_000 };
  try {
    await runOk([...quiet, 'update', '-qq'], limit);
    await runOk([...quiet, 'install', '-y', '-qq', '--no-install-recommends', 'keepalived'], limit);
  } finally {
    if (isOurs) rmSync(POLICY, { force: true });
  }
  await run(['systemctl', 'disable', '--quiet', 'keepalived']);
}
