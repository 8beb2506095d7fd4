/**
 * A network of namespaces on the running kernel: one namespace is the switch (a bridge), one per
 * host. Nothing of it shows outside; names are unique per network, so that runs do not meet.
 * A reaper process removes all of it, even where the test is killed.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { appendFileSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type Completed,
  type Daemon,
  type RunOptions,
  run,
  runOk,
  signalAll,
  sleep,
  startDaemon,
  waitFor,
} from './processes.ts';

/**
 * What runs beside the tests goes before other work of the machine, all of it alike: agents as their
 * systemd unit has it, and so etcd, keepalived and the probes, that no load from elsewhere is judged.
 */
export const AHEAD = ['nice', '-n', '-10'] as const;

/** What `leftovers` and the reaper look for: every namespace of a lab begins with it. */
export const NAMESPACE_PREFIX = 'lh-';

/** Nothing in a namespace is reached through a proxy of the machine: etcd's clients and curl would ask it. */
// oxlint-disable-next-line no-restricted-properties -- no configuration of the product
const PROXIES = Object.keys(process.env).filter((name) =>
  /^(http|https|grpc|all)_proxy$/i.test(name),
);
const DIRECT = PROXIES.length === 0 ? [] : ['env', ...PROXIES.map((name) => `--unset=${name}`)];

export type CutKind = 'all' | 'ip';

/** `inside`: a second wire of the same switch, apart from the first: behind directors that do NAT. */
export type Segment = 'outside' | 'inside';

export interface Network {
  /** Prefix of every namespace of this network. */
  readonly name: string;
  /** Temporary directory that goes with the network: logs, configuration, state. */
  readonly directory: string;
  readonly switchNamespace: string;
  namespaceOf(host: string): string;
  /** A host with `eth0` at the switch; addresses as `10.0.0.1/24` or `fd00::1/64`. */
  addHost(name: string, addresses: readonly string[], segment?: Segment): Promise<void>;
  /** A tap at the switch for a guest of that name, made once; gives its interface's name. */
  addTap(name: string, segment?: Segment): Promise<string>;
  /** Stops frames between two hosts, both ways (or only from the first to the second). */
  cut(from: string, to: string, direction?: 'both' | 'one-way'): Promise<void>;
  /**
   * Stops frames between a host and each of the others, both ways, all at once. Kind `ip`: all of IP, but
   * neither ARP nor ND, as a firewall between them does.
   */
  cutOff(host: string, others: readonly string[], kind?: CutKind): Promise<void>;
  /** Takes back every cut. */
  heal(): Promise<void>;
  /** Out: the host loses its carrier. */
  cable(host: string, state: 'out' | 'in'): Promise<void>;
  /** Removes `eth0` of a host, as a driver that is unloaded; what it had on it is gone. */
  removeInterface(host: string): Promise<void>;
  /** Makes it anew with the same hardware address and the host's own addresses. */
  recreateInterface(host: string): Promise<void>;
  /** Until the switch forwards frames of all hosts: the kernel sees a carrier some time after it is there. */
  untilConnected(): Promise<void>;
  exec(host: string, argv: readonly string[], options?: RunOptions): Promise<Completed>;
  /** As exec, but any code but 0 throws. Gives the standard output. */
  execOk(host: string, argv: readonly string[], options?: RunOptions): Promise<string>;
  /** Starts a process in a host; its log is `<directory>/<host>-<name>.log`. */
  spawn(host: string, name: string, argv: readonly string[]): Daemon;
  /** SIGKILL to every process of a host at once, as a loss of power does. */
  killProcessesOf(host: string): Promise<void>;
  /** The argv that runs a command in a host. */
  wrap(host: string, argv: readonly string[]): readonly string[];
  /** Ends every process, removes every namespace and the directory. May be called twice. */
  close(): Promise<void>;
}

/** Makes the switch. Needs root, iproute2 and nftables; throws with their words otherwise. */
export async function createNetwork(options: { readonly name?: string } = {}): Promise<Network> {
  const name = `${NAMESPACE_PREFIX}${randomBytes(3).toString('hex')}`;
  const directory = mkdtempSync(join(tmpdir(), `leasehold-${options.name ?? 'lab'}-`));
  noteForCheck(name);
  const reaper = startReaper(name, directory);
  const switchNamespace = `${name}-sw`;
  try {
    await makeSwitch(switchNamespace);
  } catch (cause) {
    await finish(reaper, name, directory);
    throw cause;
  }
  return assemble({ name, directory, switchNamespace, reaper });
}

type Parts = {
  readonly name: string;
  readonly directory: string;
  readonly switchNamespace: string;
  readonly reaper: ChildProcess;
};

function assemble(parts: Parts): Network {
  const { name, directory, switchNamespace } = parts;
  const cuts = new Map<string, CutKind>();
  const taps = new Set<string>();
  const hosts = new Map<string, HostPlan>();
  const planOf = (host: string): HostPlan => {
    const plan = hosts.get(host);
    if (plan === undefined) throw new Error(`no host ${host} in this network`);
    return plan;
  };
  const namespaceOf = (host: string): string => `${name}-${host}`;
  const wrap = (host: string, argv: readonly string[]): readonly string[] => [
    'ip',
    'netns',
    'exec',
    namespaceOf(host),
    ...DIRECT,
    ...argv,
  ];
  const applyCuts = async (): Promise<void> => {
    await runOk(['ip', 'netns', 'exec', switchNamespace, 'nft', '-f', '-'], {
      input: cutRules(cuts),
    });
  };
  return {
    name,
    directory,
    switchNamespace,
    namespaceOf,
    wrap,
    async addHost(host, addresses, segment = 'outside') {
      const mac = `02${randomBytes(5).toString('hex')}`.replaceAll(/(..)(?=.)/g, '$1:');
      const namespace = namespaceOf(host);
      hosts.set(host, { switchNamespace, namespace, host, addresses, mac, segment });
      await makeHost(planOf(host));
    },
    async removeInterface(host) {
      await runOk(['ip', '-n', switchNamespace, 'link', 'delete', portOf(host)]);
    },
    recreateInterface: (host) => plugIn(planOf(host)),
    untilConnected: () => untilForwarding(switchNamespace, [...hosts.keys()].map(portOf)),
    async addTap(host, segment = 'outside') {
      const tap = portOf(segment === 'outside' ? host : `${host}-in`);
      if (taps.has(tap)) return tap;
      taps.add(tap);
      await batch(switchNamespace, [
        `tuntap add dev ${tap} mode tap`,
        `link set ${tap} gso_max_size ${TAP_FRAME_LIMIT}`,
        `link set ${tap} master ${BRIDGES[segment]}`,
        `link set ${tap} up`,
      ]);
      return tap;
    },
    async cut(from, to, direction = 'both') {
      cuts.set(`${from} ${to}`, 'all');
      if (direction === 'both') cuts.set(`${to} ${from}`, 'all');
      await applyCuts();
    },
    async cutOff(host, others, kind = 'all') {
      for (const other of others) cuts.set(`${host} ${other}`, kind).set(`${other} ${host}`, kind);
      await applyCuts();
    },
    async heal() {
      cuts.clear();
      await applyCuts();
    },
    async cable(host, state) {
      const to = state === 'in' ? 'up' : 'down';
      await runOk(['ip', '-n', switchNamespace, 'link', 'set', portOf(host), to]);
    },
    exec: (host, argv, runOptions) => run(wrap(host, argv), runOptions),
    execOk: (host, argv, runOptions) => runOk(wrap(host, argv), runOptions),
    spawn: (host, daemonName, argv) =>
      startDaemon([...AHEAD, ...wrap(host, argv)], {
        name: daemonName,
        logFile: join(directory, `${host}-${daemonName}.log`),
      }),
    killProcessesOf: (host) => killNamespace(namespaceOf(host)),
    close: () => finish(parts.reaper, name, directory),
  };
}

/** Name of a host's port at the switch. */
export function portOf(host: string): string {
  const port = `p-${host}`;
  if (port.length > 15) throw new Error(`host name too long for an interface: ${host}`);
  return port;
}

/** Where it exists, names of networks are noted in it: the test runner checks that they are gone. */
export const NETWORKS_JOURNAL = 'leasehold-networks.txt';

function noteForCheck(name: string): void {
  const journal = join(tmpdir(), NETWORKS_JOURNAL);
  if (existsSync(journal)) appendFileSync(journal, `${name}\n`);
}

async function makeSwitch(namespace: string): Promise<void> {
  await runOk(['ip', 'netns', 'add', namespace]);
  await batch(namespace, [
    'link set lo up',
    ...Object.values(BRIDGES).flatMap((bridge) => [
      `link add ${bridge} type bridge stp_state 0 forward_delay 0 mcast_snooping 0`,
      `link set ${bridge} up`,
    ]),
  ]);
}

/**
 * What is not smaller is cut to frames before it enters a tap, and a whole frame is 1514 bytes. The guest's driver says
 * that it takes what TCP sends in one piece, and has buffers for one frame: the rest of the piece was lost each time.
 */
const TAP_FRAME_LIMIT = 1515;

const BRIDGES: Readonly<Record<Segment, string>> = { outside: 'br0', inside: 'br1' };

type HostPlan = {
  readonly switchNamespace: string;
  readonly namespace: string;
  readonly host: string;
  readonly addresses: readonly string[];
  readonly mac: string;
  readonly segment: Segment;
};

async function makeHost(host: HostPlan): Promise<void> {
  await runOk(['ip', 'netns', 'add', host.namespace]);
  // Without duplicate detection the link-local address works at once.
  await runOk([
    'ip',
    'netns',
    'exec',
    host.namespace,
    'sysctl',
    '-qw',
    'net.ipv6.conf.default.accept_dad=0',
  ]);
  await plugIn(host);
}

async function plugIn(host: HostPlan): Promise<void> {
  const port = portOf(host.host);
  await batch(host.switchNamespace, [
    `link add ${port} type veth peer name eth0 address ${host.mac} netns ${host.namespace}`,
    `link set ${port} master ${BRIDGES[host.segment]}`,
    `link set ${port} up`,
  ]);
  await batch(host.namespace, [
    'link set lo up',
    'link set eth0 up',
    ...host.addresses.map((address) =>
      address.includes(':')
        ? `address add ${address} dev eth0 nodad`
        : `address add ${address} dev eth0`,
    ),
  ]);
}

/** Longer than any pause of the machine. */
const FORWARDING_LIMIT_MS = 10_000;

async function untilForwarding(namespace: string, ports: readonly string[]): Promise<void> {
  const look = async (): Promise<boolean> => {
    const links: unknown = JSON.parse(
      await runOk(['bridge', '-n', namespace, '-j', 'link', 'show']),
    );
    const states = new Map(
      (links as { ifname: string; state: string }[]).map(({ ifname, state }) => [ifname, state]),
    );
    return ports.every((port) => states.get(port) === 'forwarding');
  };
  await waitFor('all ports of the switch forward', look, {
    timeoutMs: FORWARDING_LIMIT_MS,
    intervalMs: 10,
  });
}

async function batch(namespace: string, lines: readonly string[]): Promise<void> {
  await runOk(['ip', '-n', namespace, '-batch', '-'], { input: `${lines.join('\n')}\n` });
}

const CUT_MATCHES: Readonly<Record<CutKind, readonly string[]>> = {
  all: [''],
  ip: ['ether type ip ', 'ip6 nexthdr != ipv6-icmp ', 'icmpv6 type { echo-request, echo-reply } '],
};

function cutRules(cuts: ReadonlyMap<string, CutKind>): string {
  const rules = [...cuts].flatMap(([cut, kind]) => {
    const [from = '', to = ''] = cut.split(' ');
    const ports = `iifname "${portOf(from)}" oifname "${portOf(to)}"`;
    return CUT_MATCHES[kind].map((match) => `    ${ports} ${match}drop`);
  });
  return [
    'add table bridge cut',
    'delete table bridge cut',
    'table bridge cut {',
    '  chain forward {',
    '    type filter hook forward priority 0',
    ...rules,
    '  }',
    '}',
    '',
  ].join('\n');
}

async function pidsOf(namespace: string): Promise<readonly number[]> {
  const { stdout } = await run(['ip', 'netns', 'pids', namespace]);
  return stdout.split('\n').filter(Boolean).map(Number);
}

async function killNamespace(namespace: string): Promise<void> {
  for (let round = 0; round < 500; round += 1) {
    const pids = await pidsOf(namespace);
    if (pids.length === 0) return;
    signalAll(pids, 'SIGKILL');
    await sleep(20);
  }
  throw new Error(`processes in ${namespace} do not end`);
}

// Runs when its input ends: at close(), and when the test process is gone for whatever reason.
const REAP = `
cat >/dev/null
for round in $(seq 100); do
  for ns in $(ip netns list | cut -d' ' -f1 | grep "^$1-"); do
    pids=$(ip netns pids "$ns" 2>/dev/null)
    [ -z "$pids" ] || kill -9 $pids 2>/dev/null
  done
  for ns in $(ip netns list | cut -d' ' -f1 | grep "^$1-"); do
    [ -n "$(ip netns pids "$ns" 2>/dev/null)" ] || ip netns delete "$ns" 2>/dev/null
  done
  [ -n "$(ip netns list | grep "^$1-")" ] || break
  sleep 0.1
done
[ -n "$(ip netns list | grep "^$1-")" ] || rm -rf "$2"
`;

function startReaper(name: string, directory: string): ChildProcess {
  // Its own process group: a Ctrl-C in the terminal must not end it before its work.
  return spawn('bash', ['-c', REAP, 'reaper', name, directory], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  });
}

async function finish(reaper: ChildProcess, name: string, directory: string): Promise<void> {
  if (reaper.exitCode === null) {
    const ended = new Promise((resolve) => {
      reaper.on('exit', resolve);
    });
    reaper.stdin?.end();
    await ended;
  }
  rmSync(directory, { recursive: true, force: true });
  const left = await leftovers(name);
  if (left.length > 0) throw new Error(`left behind: ${left.join(', ')}`);
}

/** Namespaces whose names begin with the prefix: after a run there must be none. */
export async function leftovers(prefix: string = NAMESPACE_PREFIX): Promise<readonly string[]> {
  const { stdout } = await run(['ip', 'netns', 'list']);
  return stdout
    .split('\n')
    .map((line) => line.split(' ')[0] ?? '')
    .filter((each) => each.startsWith(prefix));
}
