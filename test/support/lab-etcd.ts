/** etcd members, each in its own host of the lab. */
import { type Etcd, startEtcd } from './etcd.ts';
import { AHEAD, type Network } from './network.ts';

export interface LabEtcd {
  /** Names of the hosts, in the order of the members. */
  readonly hosts: readonly string[];
  /** Client URLs of all members, also of those that do not run. */
  readonly endpoints: readonly string[];
  /** Starts the members that do not run, and waits until all of them answer. */
  start(): Promise<void>;
  /** SIGKILL of one member, counted from 0. */
  kill(member: number): Promise<void>;
  /** SIGSTOP of one member: it keeps its connections and says nothing. */
  stop(member: number): void;
  /** Continues the members that are stopped. */
  contAll(): void;
  /** Index of the raft leader. */
  leader(): Promise<number>;
  etcdctl(args: readonly string[]): Promise<string>;
  close(): Promise<void>;
}

/** Adds hosts `etcd1`, `etcd2`, … with the addresses given; starts nothing. */
export async function createLabEtcd(
  network: Network,
  addresses: readonly string[],
): Promise<LabEtcd> {
  const hosts = addresses.map((_, index) => `etcd${index + 1}`);
  for (const [index, host] of hosts.entries())
    await network.addHost(host, [`${addresses[index]}/24`]);
  let etcd: Etcd | null = null;
  const started = (): Etcd => {
    if (etcd === null) throw new Error('etcd was not started');
    return etcd;
  };
  return {
    hosts,
    endpoints: addresses.map((address) => `http://${address}:2379`),
    async start() {
      etcd ??= await startEtcd({
        members: addresses.length,
        listen: addresses.map((address) => ({ address, clientPort: 2379, peerPort: 2380 })),
        wrap: (member) => [...AHEAD, ...network.wrap(hosts[member] ?? '', [])],
        extraArguments: ['--unsafe-no-fsync'],
      });
      for (const member of etcd.members) if (!isRunning(member)) member.restart();
      await etcd.healthy();
    },
    kill: (member) => started().members[member]?.kill() ?? Promise.resolve(),
    stop: (member) => started().members[member]?.stop(),
    contAll() {
      for (const member of started().members) if (isRunning(member)) member.cont();
    },
    leader: () => started().leader(),
    etcdctl: async (args) => await started().ctl(...args),
    close: () => etcd?.close() ?? Promise.resolve(),
  };
}

function isRunning(member: { pid(): number }): boolean {
  try {
    return member.pid() > 0;
  } catch {
    return false; // How a member that does not run answers.
  }
}
