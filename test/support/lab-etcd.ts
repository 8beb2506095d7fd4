/** etcd members, each in its own host of the lab. */
import { join } from 'node:path';
import type { Network } from './network.ts';
import { type Completed, type Daemon, waitFor } from './processes.ts';

export interface LabEtcd {
  /** Client URLs of all members, also of those that do not run. */
  readonly endpoints: readonly string[];
  readonly hosts: readonly string[];
  /** Starts the members that do not run, and waits until the cluster answers. */
  start(): Promise<void>;
  /** SIGKILL. */
  kill(host: string): Promise<void>;
  etcdctl(args: readonly string[]): Promise<Completed>;
}

type Member = { readonly host: string; readonly address: string; daemon: Daemon | null };

/** Adds hosts `etcd1`, `etcd2`, … with the addresses given; starts nothing. */
export async function createLabEtcd(
  network: Network,
  addresses: readonly string[],
): Promise<LabEtcd> {
  const members: Member[] = [];
  for (const [index, address] of addresses.entries()) {
    const host = `etcd${index + 1}`;
    await network.addHost(host, [`${address}/24`]);
    members.push({ host, address, daemon: null });
  }
  const endpoints = members.map((member) => `http://${member.address}:2379`);
  const peers = members.map((each) => `${each.host}=http://${each.address}:2380`).join(',');
  const etcdctl = (args: readonly string[]): Promise<Completed> => {
    const from = members.find((member) => member.daemon?.isRunning()) ?? members[0];
    const command = ['env', 'ETCDCTL_API=3', 'etcdctl', '--endpoints', endpoints.join(',')];
    return network.exec(from?.host ?? '', [...command, '--command-timeout=3s', ...args]);
  };
  return {
    endpoints,
    hosts: members.map((member) => member.host),
    etcdctl,
    async start() {
      for (const member of members)
        if (!member.daemon?.isRunning())
          member.daemon = network.spawn(member.host, 'etcd', etcdArgv(network, member, peers));
      const isUp = async (): Promise<boolean> => (await etcdctl(['get', 'x'])).code === 0;
      await waitFor('etcd answers', isUp, { timeoutMs: 20_000, intervalMs: 100 });
    },
    async kill(host) {
      await members.find((member) => member.host === host)?.daemon?.kill();
    },
  };
}

function etcdArgv(network: Network, member: Member, peers: string): readonly string[] {
  const client = `http://${member.address}:2379`;
  const peer = `http://${member.address}:2380`;
  return [
    'etcd',
    `--name=${member.host}`,
    `--data-dir=${join(network.directory, `etcd-${member.host}`)}`,
    `--listen-client-urls=${client},http://127.0.0.1:2379`,
    `--advertise-client-urls=${client}`,
    `--listen-peer-urls=${peer}`,
    `--initial-advertise-peer-urls=${peer}`,
    `--initial-cluster=${peers}`,
    `--initial-cluster-token=${network.name}`,
    '--initial-cluster-state=new',
    '--unsafe-no-fsync',
  ];
}
