/**
 * What is done to a holder, to its network and to etcd, one by one, and what clients may notice of it:
 * the rows of the failover tests and of the failover bench.
 */
import type { EchoWay } from './client-probe.ts';
import {
  type Bounds,
  boundsOf,
  type ClusterLab,
  type Profile,
  ROUTER,
  VIP,
  VIP6,
} from './cluster-lab.ts';
import type { DirectorHost } from './director-host.ts';
import { FREEZE_MS, type KeepalivedFault } from './keepalived.ts';
import { monotonicMs, sleep } from './processes.ts';
import { agentsOf, compiled, macOf, type Settled, settle } from './settled.ts';
import { voiceAt, watch, type Watched } from './watched.ts';

export type Scene = Settled & {
  readonly lab: ClusterLab;
  /** Counts from 0; faults that can hit one of several hit another one each time. */
  readonly run: number;
};

/**
 * `crash`: an outage of suspect + D' or so, and another holder. `recovery`: the same, and whoever is first holds.
 * `handover`: another holder, and no echo lost. `nothing`: the same holder, and no echo lost. `repair`: service
 * back within a second.
 */
export type Claim = 'crash' | 'recovery' | 'handover' | 'nothing' | 'repair';

export type Fault = {
  readonly id: string;
  readonly name: string;
  readonly claim: (profile: Profile) => Claim;
  /** How long to watch from the beginning of the act. */
  readonly windowMs: (bounds: Bounds) => number;
  readonly act: (scene: Scene) => Promise<unknown>;
  readonly undo?: (scene: Scene) => Promise<unknown>;
  /** What the same is called for keepalived; it knows no switchover, no drain, and no etcd. */
  readonly keepalived?: KeepalivedFault;
};

/** Echoes at 1 kHz where none may be lost; beside who-has every 5 ms where an outage is measured. */
export function echoWayOf(claim: Claim): EchoWay {
  return claim === 'handover' || claim === 'nothing' ? 'kernel' : 'neighbour';
}

const crashWindow = (bounds: Bounds): number => bounds.takeoverMs + 500;
const PLANNED_MS = 3000;
const FREEZE_WINDOW_MS = FREEZE_MS + 2500;
/** Longer than suspect, challenge and D' of what could go wrong, and than an election of etcd. */
const stillWindow = (bounds: Bounds): number => Math.max(4000, bounds.takeoverMs + 1000);

const CRASHES: readonly Fault[] = [
  {
    id: 'power-off',
    name: 'power off',
    claim: () => 'crash',
    windowMs: crashWindow,
    act: ({ holder }) => holder.powerOff(),
    undo: ({ holder }) => holder.powerOn(),
    keepalived: 'power',
  },
  {
    id: 'cable-out',
    name: 'cable out',
    claim: () => 'crash',
    windowMs: crashWindow,
    act: ({ lab, holder }) => lab.network.cable(holder.name, 'out'),
    undo: ({ lab, holder }) => lab.network.cable(holder.name, 'in'),
    keepalived: 'cable',
  },
  {
    id: 'kill',
    name: 'kill -9 of all agent processes',
    claim: () => 'crash',
    windowMs: crashWindow,
    act: ({ holder }) => holder.signalAgent('SIGKILL'),
    keepalived: 'kill',
  },
  {
    id: 'freeze',
    name: 'SIGSTOP for 10 s, then continued',
    claim: () => 'crash',
    windowMs: () => FREEZE_WINDOW_MS,
    async act({ holder }) {
      await holder.signalAgent('SIGSTOP');
      await sleep(FREEZE_MS);
      await holder.signalAgent('SIGCONT');
    },
    keepalived: 'freeze',
  },
  {
    id: 'cut-off',
    name: 'cut from etcd, peers and gateway, seen by clients',
    claim: () => 'crash',
    windowMs: crashWindow,
    act: ({ lab, holder, others }) =>
      lab.network.cutOff(holder.name, [
        ...lab.etcd.hosts,
        ...others.map((each) => each.name),
        ROUTER,
      ]),
    undo: ({ lab }) => lab.network.heal(),
    keepalived: 'cut-off',
  },
  {
    id: 'stall-2000',
    name: 'main thread stalls for 2 s',
    claim: (profile) => (profile === 'relaxed' ? 'nothing' : 'crash'),
    windowMs: (bounds) => Math.max(crashWindow(bounds), 3500),
    act: async ({ holder }) => holder.stallAgent(2000),
  },
];

const STAYS: readonly Fault[] = [
  {
    id: 'parted',
    name: 'directors cut from each other, etcd reachable',
    claim: () => 'nothing',
    windowMs: stillWindow,
    async act({ lab }) {
      for (const [index, each] of lab.directors.entries())
        await lab.network.cutOff(
          each.name,
          lab.directors.slice(index + 1).map((other) => other.name),
        );
    },
    undo: ({ lab }) => lab.network.heal(),
    keepalived: 'parted',
  },
  {
    id: 'stall-250',
    name: 'main thread stalls for 250 ms',
    // In the fast profile that is longer than D: the gate shuts, and whoever is first opens again.
    claim: (profile) => (profile === 'fast' ? 'repair' : 'nothing'),
    windowMs: (bounds) => Math.max(crashWindow(bounds), 3000),
    act: async ({ holder }) => holder.stallAgent(250),
  },
  {
    id: 'etcd-killed',
    name: 'an etcd member that is not the leader is killed',
    claim: () => 'nothing',
    windowMs: stillWindow,
    act: async ({ lab, run }) => await lab.etcd.kill(await follower(lab, run)),
    undo: ({ lab }) => lab.etcd.start(),
  },
  {
    id: 'etcd-stopped',
    name: 'an etcd member that is not the leader is stopped',
    claim: () => 'nothing',
    windowMs: stillWindow,
    act: async ({ lab, run }) => lab.etcd.stop(await follower(lab, run)),
    async undo({ lab }) {
      lab.etcd.contAll();
      await lab.etcd.start();
    },
  },
];

const PLANNED: readonly Fault[] = [
  {
    id: 'drain',
    name: 'drain',
    claim: () => 'handover',
    windowMs: () => PLANNED_MS,
    act: ({ holder, other }) => cliOk(other, ['director', 'drain', holder.name]),
    undo: ({ holder, other }) => cliOk(other, ['director', 'undrain', holder.name]),
  },
  {
    id: 'switchover',
    name: 'switchover',
    claim: () => 'handover',
    windowMs: () => PLANNED_MS,
    act: ({ holder, other }) => switchOver(holder, 'web', other.name),
  },
  {
    id: 'sigterm',
    name: 'SIGTERM',
    claim: () => 'handover',
    windowMs: () => PLANNED_MS,
    act: ({ holder }) => holder.signalAgent('SIGTERM'),
    undo: ({ holder }) => holder.agentEnded(8000),
    keepalived: 'SIGTERM',
  },
];

/** Node has started, and its agent gone on, long before the raised D is over. */
const RESTART_MS = 8000;
/** What a process has left to a new one that does not go on with it falls silent before. */
const UPGRADE_MS = 12_000;

const RESTARTS: readonly Fault[] = [
  {
    id: 'upgrade',
    name: 'SIGUSR2, and a new process goes on',
    claim: () => 'nothing',
    windowMs: () => UPGRADE_MS,
    async act({ lab, holder }) {
      await holder.signalAgent('SIGUSR2');
      await holder.agentEnded(RESTART_MS);
      await lab.startAgents([holder.name]);
    },
  },
  {
    id: 'restart',
    name: 'kill -9, and a new process at once',
    claim: () => 'recovery',
    windowMs: (bounds) => Math.max(crashWindow(bounds), 5000),
    async act({ lab, holder }) {
      await holder.signalAgent('SIGKILL');
      await holder.agentEnded(RESTART_MS);
      await lab.startAgents([holder.name]);
    },
  },
];

const REPAIRS: readonly Fault[] = [
  {
    id: 'flush',
    name: 'nft flush ruleset by somebody else',
    claim: () => 'repair',
    windowMs: () => PLANNED_MS,
    act: ({ holder }) => holder.execOk('nft flush ruleset'),
  },
  {
    id: 'interface',
    name: 'interface removed and re-created',
    claim: () => 'repair',
    windowMs: () => PLANNED_MS,
    async act({ lab, holder }) {
      await lab.network.removeInterface(holder.name);
      await lab.network.recreateInterface(holder.name);
    },
  },
];

/** Long enough for an election of etcd, and for its clients to find its members again. */
const ETCD_BACK_MS = 6000;

/**
 * etcd answers nobody, or not the holder: the promises of its peers count, or the relay of one of them; and
 * the gateway is lost, which counts where those do not.
 */
export const WITHOUT_ETCD: readonly Fault[] = [
  {
    id: 'leader-killed',
    name: 'the etcd member that leads is killed',
    claim: () => 'nothing',
    windowMs: () => ETCD_BACK_MS,
    act: async ({ lab }) => await lab.etcd.kill(await lab.etcd.leader()),
    undo: ({ lab }) => lab.etcd.start(),
  },
  {
    id: 'leader-stopped',
    name: 'the etcd member that leads is stopped',
    claim: () => 'nothing',
    windowMs: () => ETCD_BACK_MS,
    act: async ({ lab }) => lab.etcd.stop(await lab.etcd.leader()),
    async undo({ lab }) {
      lab.etcd.contAll();
      await lab.etcd.start();
    },
  },
  {
    id: 'etcd-stalled',
    name: 'all etcd members stall for 5 s',
    claim: () => 'nothing',
    windowMs: () => 5000 + ETCD_BACK_MS,
    act: ({ lab }) => stallEtcd(lab, 5000),
    undo: ({ lab }) => lab.etcd.start(),
  },
  ...[1, 10, 60, 600].map(
    (seconds): Fault => ({
      id: `etcd-away-${seconds}`,
      name: `all etcd members are killed, and back after ${seconds} s`,
      claim: () => 'nothing',
      windowMs: () => seconds * 1000 + ETCD_BACK_MS,
      async act({ lab }) {
        await Promise.all(lab.etcd.hosts.map((_, member) => lab.etcd.kill(member)));
        await sleep(seconds * 1000);
        await lab.etcd.start();
      },
      undo: ({ lab }) => lab.etcd.start(),
    }),
  ),
  {
    id: 'holder-cut-3',
    name: 'the holder is cut from etcd for 3 s',
    claim: () => 'nothing',
    windowMs: () => 3000 + ETCD_BACK_MS,
    async act({ lab, holder }) {
      await lab.network.cutOff(holder.name, lab.etcd.hosts);
      await sleep(3000);
      await lab.network.heal();
    },
    undo: ({ lab }) => lab.network.heal(),
  },
  {
    id: 'holder-cut',
    name: 'the holder is cut from etcd',
    claim: () => 'handover',
    windowMs: () => 9000,
    act: ({ lab, holder }) => lab.network.cutOff(holder.name, lab.etcd.hosts),
    undo: ({ lab }) => lab.network.heal(),
  },
  {
    id: 'gateway-lost',
    name: 'the gateway does not answer the holder any more',
    claim: () => 'handover',
    windowMs: () => 9000,
    act: ({ lab, holder }) => lab.network.cutOff(holder.name, [ROUTER]),
    undo: ({ lab }) => lab.network.heal(),
  },
];

async function stallEtcd({ etcd }: ClusterLab, milliseconds: number): Promise<void> {
  for (const member of etcd.hosts.keys()) etcd.stop(member);
  await sleep(milliseconds);
  etcd.contAll();
}

/** What starts agents anew comes late: what may lose nothing waits in `fast` until they have run for a while. */
export const FAULTS: readonly Fault[] = [...CRASHES, ...STAYS, ...PLANNED, ...RESTARTS, ...REPAIRS];

export function faultNamed(id: string): Fault {
  const all = [...FAULTS, ...WITHOUT_ETCD];
  const found = all.find((fault) => fault.id === id);
  if (found === undefined)
    throw new Error(`no fault ${id}; there are ${all.map((fault) => fault.id).join(', ')}`);
  return found;
}

/** The command line tool on a director, with a reason; any code but 0 throws with its words. */
export async function cliOk(director: DirectorHost, args: readonly string[]): Promise<void> {
  const done = await director.cli([...args, '--reason', 'lab']);
  if (done.code !== 0)
    throw new Error(`${args.join(' ')}: code ${done.code}: ${done.stdout}${done.stderr}`);
}

const NOT_HEARD_MS = 5000;
const AGAIN_MS = 50;

/**
 * Has a director hand a group over to another one. Whom nobody heard for `suspect` just then is refused, which beside
 * other work says nothing of the product: it is asked for again, for 5 s. Any other refusal throws with its words.
 */
export async function switchOver(through: DirectorHost, group: string, to: string): Promise<void> {
  const argv = ['switchover', group, '--to', to];
  const lastMs = monotonicMs() + NOT_HEARD_MS;
  for (;;) {
    try {
      await cliOk(through, argv);
      return;
    } catch (cause) {
      const isHeard = !(cause instanceof Error && cause.message.includes('not-heard'));
      if (isHeard || monotonicMs() > lastMs) throw cause;
    }
    await sleep(AGAIN_MS);
  }
}

/** One of the members that do not lead, another one each run. */
async function follower(lab: ClusterLab, run: number): Promise<number> {
  const leader = await lab.etcd.leader();
  const count = lab.etcd.hosts.length;
  return (leader + 1 + (run % (count - 1))) % count;
}

/** Directors that share processors may have to move the VIPs between the last look at them and the fault. */
const TRIES = 3;

/** One fault on a settled cluster, watched from the client, and taken back. */
export async function perform(lab: ClusterLab, fault: Fault, run = 0): Promise<Watched> {
  for (let tries = 1; ; tries += 1) {
    const { seen, oldMac } = await performOnce(lab, fault, run);
    const { records, verdicts, faultMs } = seen;
    const isMoved = records.some((record) => voiceAt(record, faultMs) !== oldMac);
    if (!isMoved || tries === TRIES || verdicts.some(({ dualMs }) => dualMs > 0)) return seen;
    console.log(`${lab.profile}: ${fault.name}: the VIPs had moved before; once more`);
  }
}

async function performOnce(
  lab: ClusterLab,
  fault: Fault,
  run: number,
): Promise<{ readonly seen: Watched; readonly oldMac: string }> {
  await settle(lab);
  const claim = fault.claim(lab.profile);
  const isLossless = claim === 'handover' || claim === 'nothing';
  if (isLossless && lab.profile === 'fast') await compiled(lab);
  const settled = await settle(lab);
  const scene = { ...settled, lab, run };
  const oldMac = await macOf(settled.holder);
  try {
    const seen = await watch(lab.network, {
      vips: [VIP, VIP6],
      oldMac,
      echo: echoWayOf(claim),
      windowMs: fault.windowMs(boundsOf(lab.profile)),
      act: () => fault.act(scene),
      agents: isLossless ? agentsOf(lab) : () => [],
    });
    return { seen, oldMac };
  } finally {
    await fault.undo?.(scene);
  }
}
