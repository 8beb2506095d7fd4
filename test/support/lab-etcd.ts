/** etcd members, each in its own host of the lab. */
import { type Etcd, startEtcd } from './etcd.ts';
import { AHEAD, type Network } from './network.ts';

/**
 * Members have machines of their own elsewhere; here all share one. Where each may run a thread on every processor, their
 * runtimes look for work on all of them at once: a fifth more processor time in a handover, in the way of directors.
 */
const ONE_THREAD = ['env', 'GOMAXPROCS=1'] as const;

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
  /** Makes that member, by its index, the raft leader. */
  lead(member: number): Promise<void>;
  etcdctl(args: readonly string[]): Promise<string>;
  close(): Promise<void>;
}

/** Adds hosts `etcd1`, `etcd2`, … with the addresses given, for `createLabEtcd`. */
export async function addEtcdHosts(
  network: Network,
  addresses: readonly string[],
): Promise<readonly string[]> {
  const hosts = addresses.map((_, index) => `etcd${index + 1}`);
  for (const [index, host] of hosts.entries())
    await network.addHost(host, [`${addresses[index]}/24`]);
  return hosts;
}

/** Client URLs of members with these addresses. */
export const endpointsOf = (addresses: readonly string[]): readonly string[] =>
  addresses.map((address) => `http://${address}:2379`);

export type LabEtcdOptions = {
  /** A member on each. */
  readonly hosts: readonly string[];
  /** Of the hosts, in their order. */
  readonly addresses: readonly string[];
  /** Where etcdctl runs: a host that reaches all members, whatever is cut. */
  readonly control: string;
};

/** Starts nothing. */
export function createLabEtcd(
  network: Network,
  { hosts, addresses, control }: LabEtcdOptions,
): LabEtcd {
  let etcd: Etcd | null = null;
  const started = (): Etcd => {
    if (etcd === null) throw new Error('etcd was not started');
    return etcd;
  };
  return {
    hosts,
    endpoints: endpointsOf(addresses),
    async start() {
      etcd ??= await startEtcd({
        members: addresses.length,
        listen: addresses.map((address) => ({ address, clientPort: 2379, peerPort: 2380 })),
        wrap: (member) => [...ONE_THREAD, ...AHEAD, ...network.wrap(hosts[member] ?? '', [])],
        wrapControl: [...AHEAD, ...network.wrap(control, [])],
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
    lead: (member) => started().lead(member),
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
