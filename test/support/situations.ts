/**
 * More than one thing is lost: etcd and a director, etcd and the sight of each other, a director and the
 * member of etcd that runs on it. Told as steps that are watched under one recording, each with what
 * clients may notice of it: rows of the lab tests and of the bench.
 */
import type { EchoWay } from './client-probe.ts';
import {
  type Bounds,
  boundsOf,
  type ClusterLab,
  clusterDocument,
  VIP,
  VIP6,
} from './cluster-lab.ts';
import type { DirectorHost } from './director-host.ts';
import { startElectionWatch } from './election-watch.ts';
import { type Scene, switchOver } from './faults.ts';
import type { CutKind } from './network.ts';
import { sleep, waitFor } from './processes.ts';
import { agentsOf, macOf, peersOf, scopesNameAll, settle } from './settled.ts';
import { voiceAt, watchSteps, type WatchedStep } from './watched.ts';

/** Of the group `mail`, which the other director holds where both are active. */
export const MAIL_VIP = '10.90.0.101';

export type Isolation = 'gateway' | 'release';

/** Times of this very run that bounds refer to. */
export type Facts = {
  /** From the beginning of the act until etcd has elected; NaN where that was not watched. */
  readonly electionMs: number;
};

/**
 * `nothing`: the same voice, and no echo lost. `outage`: the same voice, or another one, again in time;
 * `silence`: nobody speaks any more, in time.
 */
export type StepClaim =
  | { readonly kind: 'nothing' }
  | { readonly kind: 'silence'; readonly maxMs: (bounds: Bounds) => number }
  | {
      readonly kind: 'outage';
      readonly voice: 'same' | 'other';
      readonly maxMs: (bounds: Bounds, facts: Facts) => number;
      /** Default 0. */
      readonly dualMaxMs?: number;
    };

export type Step = {
  readonly name: string;
  /** Brings about what the step begins with; not judged. */
  readonly ready?: (scene: Scene) => Promise<unknown>;
  readonly act: (scene: Scene) => Promise<unknown>;
  readonly windowMs: (bounds: Bounds) => number;
  readonly claim: StepClaim;
  /** What the directors must say at the end of the window; throws where they do not. */
  readonly look?: (scene: Scene) => Promise<unknown>;
};

export type Situation = {
  readonly id: string;
  readonly name: string;
  readonly isolation: Isolation;
  /** Two directors hold a group each. */
  readonly isShared?: boolean;
  /** With what watches nothing: etcd runs on the directors. */
  readonly isTogether?: boolean;
  readonly isElectionTimed?: boolean;
  readonly steps: readonly Step[];
};

export type Played = { readonly step: Step; readonly seen: WatchedStep; readonly facts: Facts };

const nothing: StepClaim = { kind: 'nothing' };
/** Beyond what was waited for: a round trip or two of etcd, and a machine with other work. */
const SPARE_MS = 500;
/** A peer that sees nothing of the holder takes a step so far behind suspect and D'. */
const TAKEN_MS = 200;
/** Long enough for an election of etcd, and for its clients to find its members again. */
const ETCD_BACK_MS = 6000;
const stillMs = (bounds: Bounds): number => Math.max(2000, 2 * bounds.waitMs + 1000);

const killEtcd = ({ lab }: Scene): Promise<unknown> =>
  Promise.all(lab.etcd.hosts.map((_, member) => lab.etcd.kill(member)));

/** All members are dead, and the holder has noticed. */
async function withoutEtcd(scene: Scene): Promise<void> {
  await killEtcd(scene);
  await sleep(2 * boundsOf(scene.lab.profile).waitMs);
}

const cutFromEachOther =
  (kind: CutKind) =>
  async ({ lab }: Scene): Promise<void> => {
    for (const [index, each] of lab.directors.entries()) {
      const others = lab.directors.slice(index + 1).map(({ name }) => name);
      await lab.network.cutOff(each.name, others, kind);
    }
  };

const heal = ({ lab }: Scene): Promise<void> => lab.network.heal();

/** All members run again, and who speaks now is the holder by record. */
async function etcdBack(scene: Scene): Promise<void> {
  const { lab } = scene;
  const holder = await speakerOf(scene, scene.holder);
  await lab.etcd.start();
  await lab.until('the record follows', holder.name, ({ groups, store }) => {
    const web = groups.find(({ name }) => name === 'web');
    return store.isConnected && web?.holder === holder.name && web.state === 'held-here';
  });
}

/** A director is off, and no record names it any more: the holder is on its own. */
async function otherDeadByRecord({ lab, holder, other }: Scene): Promise<void> {
  await other.powerOff();
  const look = async (): Promise<boolean> => (await peersOf(lab, holder.name)).length === 0;
  await waitFor('the other one is dead by record', look, { timeoutMs: 20_000, intervalMs: 100 });
}

/** Kills the member that leads, known by `leader`, so that the act is the kill alone. */
const leaders = new WeakMap<ClusterLab, number>();
const noteLeader = async ({ lab }: Scene): Promise<void> =>
  void leaders.set(lab, await lab.etcd.leader());
const killLeader = ({ lab }: Scene): Promise<void> => lab.etcd.kill(leaders.get(lab) ?? 0);

/** Of what stands: a director whose round was late may say something else for a moment. */
const LOOK_LIMIT_MS = 3000;

/** Throws what the last look threw, where none succeeds. */
const standing =
  (look: (scene: Scene) => Promise<void>): NonNullable<Step['look']> =>
  (scene) =>
    waitFor('the directors say so', () => look(scene).then(() => true), {
      timeoutMs: LOOK_LIMIT_MS,
    });

const silentByPolicy = standing(async ({ lab, holder }) => {
  const { groups, health, problems } = await lab.status(holder.name);
  const web = groups.find(({ name }) => name === 'web');
  const said = problems.join('; ');
  const isSaid = /web is owned here and does not speak/.test(said);
  if (web?.state !== 'opening-here' || health === 'ok' || !isSaid)
    throw new Error(`status says ${web?.state ?? 'nothing'}, ${health}: ${said}`);
});

/** Whose kernel has the VIP; throws where that is not one. */
async function speakerOf({ lab }: Scene, not?: DirectorHost): Promise<DirectorHost> {
  const all = (await lab.directorsWith(VIP)).filter((name) => name !== not?.name);
  const [name, ...more] = all;
  if (name === undefined || more.length > 0) throw new Error(`VIP on: ${all.join() || 'nobody'}`);
  return lab.director(name);
}

/** The basis that the status of the director that speaks must name. */
const heldBy = (
  basis: string,
  not: (scene: Scene) => DirectorHost | undefined = () => undefined,
): NonNullable<Step['look']> =>
  standing(async (scene) => {
    const speaker = await speakerOf(scene, not(scene));
    const { groups } = await scene.lab.status(speaker.name);
    const web = groups.find(({ name }) => name === 'web');
    if (web?.basis !== basis) throw new Error(`held by ${web?.basis ?? 'nothing'}, not ${basis}`);
  });

/** What is off keeps its addresses here: a namespace does not die. */
const formerHolder = ({ holder }: Scene): DirectorHost => holder;

/** D' until a candidate asks; then it probes for D'. */
const segmentTakeoverMs = ({ waitMs }: Bounds): number => 2 * waitMs + 400;

const holderOff: Step = {
  name: 'the holder is powered off',
  ready: withoutEtcd,
  act: ({ holder }) => holder.powerOff(),
  windowMs: (bounds) => segmentTakeoverMs(bounds) + 1500,
  claim: { kind: 'outage', voice: 'other', maxMs: segmentTakeoverMs },
  look: heldBy('segment', formerHolder),
};

const recordFollows: Step = {
  name: 'etcd is back, and the record follows',
  act: etcdBack,
  windowMs: () => ETCD_BACK_MS,
  claim: nothing,
};

/** Two directors, etcd on other machines. */
export const SITUATIONS: readonly Situation[] = [
  {
    id: 'alone-release',
    name: 'the other director is dead by record, and the etcd member that leads is killed (release)',
    isolation: 'release',
    isElectionTimed: true,
    steps: [
      {
        name: 'the etcd member that leads is killed',
        async ready(scene) {
          await otherDeadByRecord(scene);
          await noteLeader(scene);
        },
        act: killLeader,
        windowMs: () => ETCD_BACK_MS,
        claim: { kind: 'outage', voice: 'same', maxMs: (_, facts) => facts.electionMs },
      },
    ],
  },
  {
    id: 'alone-gateway',
    name: 'the other director is dead by record, and the etcd member that leads is killed (gateway)',
    isolation: 'gateway',
    steps: [
      {
        name: 'the etcd member that leads is killed',
        async ready(scene) {
          await otherDeadByRecord(scene);
          await noteLeader(scene);
        },
        act: killLeader,
        windowMs: () => ETCD_BACK_MS,
        claim: nothing,
      },
    ],
  },
  {
    id: 'parted-gateway',
    name: 'etcd is away, and two directors with a group each lose sight of each other for 2 × D (gateway)',
    isolation: 'gateway',
    isShared: true,
    steps: [
      {
        name: 'they lose sight of each other for 2 × D',
        ready: withoutEtcd,
        // Not for longer: where each of them sees the gateway, it would stand in for the other one.
        async act(scene) {
          await cutFromEachOther('all')(scene);
          await sleep(2 * boundsOf(scene.lab.profile).holdMs);
          await heal(scene);
        },
        windowMs: ({ holdMs }) => 2 * holdMs + 3000,
        claim: nothing,
        async look(scene) {
          await heldBy('peers')(scene);
          const [log = ''] = scene.holder.agentLog().split('etcd answers again').slice(-1);
          if (!log.includes('while the gateway answers'))
            throw new Error('it was never held by the gateway');
        },
      },
    ],
  },
  {
    id: 'parted-release',
    name: 'etcd is away, and two directors with a group each lose sight of each other (release)',
    isolation: 'release',
    isShared: true,
    steps: [
      {
        name: 'they lose sight of each other for 2 × D',
        ready: withoutEtcd,
        act: cutFromEachOther('all'),
        windowMs: (bounds) => 2 * bounds.holdMs,
        claim: { kind: 'silence', maxMs: (bounds) => bounds.kernelDropsMs },
        look: silentByPolicy,
      },
      {
        name: 'they see each other again',
        act: heal,
        windowMs: () => 3000,
        claim: { kind: 'outage', voice: 'same', maxMs: () => 2000 },
        look: heldBy('peers'),
      },
    ],
  },
  {
    id: 'holder-off',
    name: 'etcd is away, and the holder is powered off',
    isolation: 'gateway',
    steps: [holderOff, recordFollows],
  },
  {
    id: 'holder-off-on',
    name: 'etcd is away, and the holder is powered off, and on again',
    isolation: 'gateway',
    steps: [
      holderOff,
      {
        name: 'its agent runs again',
        async act({ lab, holder }) {
          await holder.powerOn();
          await lab.startAgents([holder.name]);
        },
        windowMs: (bounds) => stillMs(bounds) + 2000,
        claim: nothing,
        look: heldBy('segment', formerHolder),
      },
      recordFollows,
    ],
  },
  {
    id: 'agent-killed',
    name: 'etcd is away, and all processes of the holder’s agent are killed',
    isolation: 'gateway',
    steps: [
      {
        ...holderOff,
        name: 'they are killed',
        act: ({ holder }) => holder.signalAgent('SIGKILL'),
      },
      {
        name: 'the agent runs again',
        act: ({ lab, holder }) => lab.startAgents([holder.name]),
        windowMs: stillMs,
        claim: nothing,
        look: heldBy('segment', formerHolder),
      },
      recordFollows,
    ],
  },
  {
    id: 'holder-out-in',
    name: 'etcd is away, and the cable of the holder is out, and in again',
    isolation: 'gateway',
    steps: [
      {
        ...holderOff,
        name: 'its cable is out',
        act: ({ lab, holder }) => lab.network.cable(holder.name, 'out'),
      },
      {
        name: 'its cable is in',
        act: ({ lab, holder }) => lab.network.cable(holder.name, 'in'),
        windowMs: stillMs,
        claim: nothing,
      },
      recordFollows,
    ],
  },
  ...(['gateway', 'release'] as const).map(
    (isolation): Situation => ({
      id: `firewalled-${isolation}`,
      name: `IP between the holder and etcd and the other director is filtered (${isolation})`,
      isolation,
      steps: [
        {
          name: 'it is filtered; clients and the gateway are reached',
          act: ({ lab, holder, others }) =>
            lab.network.cutOff(
              holder.name,
              [...lab.etcd.hosts, ...others.map(({ name }) => name)],
              'ip',
            ),
          windowMs: (bounds) => bounds.takeoverMs + 500,
          claim: {
            kind: 'outage',
            voice: 'other',
            maxMs: ({ suspectMs, waitMs }) => suspectMs + waitMs + TAKEN_MS,
            dualMaxMs: isolation === 'gateway' ? 50 : 0,
          },
        },
        { name: 'it is filtered no more', act: heal, windowMs: stillMs, claim: nothing },
      ],
    }),
  ),
];

const memberOf = ({ lab }: Scene, director: DirectorHost): number =>
  lab.etcd.hosts.indexOf(director.name);

/** Three directors with a member of etcd each. */
export const SITUATIONS_TOGETHER: readonly Situation[] = [
  {
    id: 'off-with-follower',
    name: 'the holder is powered off, and with it a member of etcd that does not lead',
    isolation: 'gateway',
    isTogether: true,
    steps: [
      {
        name: 'the holder is powered off',
        ready: (scene) => scene.lab.etcd.lead(memberOf(scene, scene.other)),
        act: ({ holder }) => holder.powerOff(),
        windowMs: (bounds) => bounds.takeoverMs + 500,
        claim: {
          kind: 'outage',
          voice: 'other',
          maxMs: ({ suspectMs, waitMs }) => suspectMs + waitMs + SPARE_MS,
        },
      },
    ],
  },
  {
    id: 'off-with-leader',
    name: 'the holder is powered off, and with it the member of etcd that leads',
    isolation: 'gateway',
    isTogether: true,
    isElectionTimed: true,
    steps: [
      {
        name: 'the holder is powered off',
        ready: (scene) => scene.lab.etcd.lead(memberOf(scene, scene.holder)),
        act: ({ holder }) => holder.powerOff(),
        windowMs: (bounds) => bounds.takeoverMs + 2500,
        claim: {
          kind: 'outage',
          voice: 'other',
          maxMs: ({ suspectMs, waitMs }, { electionMs }) =>
            electionMs + suspectMs + waitMs + SPARE_MS,
        },
      },
    ],
  },
  {
    id: 'all-parted',
    name: 'IP between the directors is filtered, and so between the members of etcd',
    isolation: 'gateway',
    isTogether: true,
    steps: [
      {
        name: 'it is filtered; what asks for a VIP by ARP and ND hears who has it',
        act: cutFromEachOther('ip'),
        windowMs: (bounds) => 3 * bounds.waitMs + 1000,
        claim: nothing,
        look: heldBy('segment'),
      },
      {
        name: 'it is filtered no more',
        act: heal,
        windowMs: () => ETCD_BACK_MS,
        claim: nothing,
      },
    ],
  },
  {
    id: 'holder-of-three-off',
    name: 'etcd is away, and the holder of three directors is powered off',
    isolation: 'gateway',
    isTogether: true,
    steps: [
      holderOff,
      {
        name: 'its power and etcd are back, and the record follows',
        async act(scene) {
          await scene.holder.powerOn();
          await etcdBack(scene);
        },
        windowMs: () => ETCD_BACK_MS,
        claim: nothing,
      },
    ],
  },
  ...(['gateway', 'release'] as const).map(
    (isolation): Situation => ({
      id: `one-of-three-${isolation}`,
      name: `etcd is away, and one of three directors dies (${isolation})`,
      isolation,
      isTogether: true,
      steps: [
        {
          name: 'all members of etcd are killed',
          act: killEtcd,
          windowMs: stillMs,
          claim: nothing,
          look: heldBy('peers'),
        },
        {
          name: 'a director that holds nothing is powered off',
          act: ({ other }) => other.powerOff(),
          windowMs: stillMs,
          claim:
            isolation === 'gateway'
              ? nothing
              : { kind: 'silence', maxMs: (bounds) => bounds.kernelDropsMs },
          look: isolation === 'gateway' ? heldBy('segment') : silentByPolicy,
        },
      ],
    }),
  ),
];

export function situationNamed(id: string): Situation {
  const all = [...SITUATIONS, ...SITUATIONS_TOGETHER];
  const found = all.find((each) => each.id === id);
  if (found === undefined)
    throw new Error(`no situation ${id}; there are ${all.map((each) => each.id).join(', ')}`);
  return found;
}

/** Directors that share processors may have to move the VIPs between the last look at them and the first step. */
const TRIES = 3;

/** Plays the steps on a settled cluster under the document of the situation, and mends everything. */
export async function play(
  lab: ClusterLab,
  situation: Situation,
  run = 0,
): Promise<readonly Played[]> {
  for (let tries = 1; ; tries += 1) {
    const { played, oldMac } = await playOnce(lab, situation, run);
    const [first] = played;
    const isDual = played.some(({ seen }) => seen.verdicts.some(({ dualMs }) => dualMs > 0));
    const [record] = first?.seen.records ?? [];
    const isMoved =
      first !== undefined && record !== undefined && voiceAt(record, first.seen.faultMs) !== oldMac;
    if (!isMoved || isDual || tries === TRIES) return played;
    console.log(`${lab.profile}: ${situation.name}: the VIPs had moved before; once more`);
  }
}

async function playOnce(
  lab: ClusterLab,
  situation: Situation,
  run: number,
): Promise<{ readonly played: readonly Played[]; readonly oldMac: string }> {
  const settled = await settleWith(lab, situation);
  const scene: Scene = { ...settled, lab, run };
  const oldMac = await macOf(settled.holder);
  const isTimed = situation.isElectionTimed === true;
  const election = isTimed ? await startElectionWatch(lab) : null;
  try {
    const bounds = boundsOf(lab.profile);
    const seen = await watchSteps(lab.network, {
      vips: situation.isShared === true ? [VIP, VIP6, MAIL_VIP] : [VIP, VIP6],
      echo: echoOf(situation),
      agents: agentsOf(lab),
      steps: situation.steps.map((step) => ({
        ready: async () => step.ready?.(scene),
        act: () => step.act(scene),
        windowMs: step.windowMs(bounds),
        look: async () => step.look?.(scene),
      })),
    });
    const answersAfter = await election?.stop();
    const played = situation.steps.flatMap((step, index) => {
      const each = seen[index];
      if (each === undefined) return [];
      const elected = answersAfter?.(each.doneMs) ?? Number.NaN;
      return [{ step, seen: each, facts: { electionMs: elected - each.faultMs } }];
    });
    return { played, oldMac };
  } finally {
    await mend(lab);
  }
}

const echoOf = ({ steps }: Situation): EchoWay =>
  steps.every(({ claim }) => claim.kind === 'nothing') ? 'kernel' : 'neighbour';

/** What the document says must be in every director and in what they tell each other. */
async function settleWith(
  lab: ClusterLab,
  { isolation, isShared = false }: Situation,
): Promise<Awaited<ReturnType<typeof settle>>> {
  await settle(lab);
  await lab.applyOk(documentOf(lab, { isolation, isShared }));
  await documentIsEverywhere(lab);
  const settled = await settle(lab);
  if (isShared) await settleMail(lab, settled.holder, settled.other);
  await scopesNameAll(lab);
  return settled;
}

/** A watch that an earlier case broke brings it late. */
async function documentIsEverywhere(lab: ClusterLab): Promise<void> {
  const found = await lab.etcd.etcdctl(['get', '-w', 'json', '/leasehold/lab/spec']);
  const revision = Number(/"mod_revision":(\d+)/.exec(found)?.[1]);
  for (const { name } of lab.directors)
    await lab.until('the document is everywhere', name, ({ spec, directors }) =>
      [spec.revision, ...directors.map((each) => each.specRevision ?? 0)].every(
        (each) => each >= revision,
      ),
    );
}

async function settleMail(
  lab: ClusterLab,
  holder: DirectorHost,
  other: DirectorHost,
): Promise<void> {
  const isThere = async (): Promise<boolean> =>
    (await lab.directorsWith(MAIL_VIP)).join() === other.name;
  const seen = await lab.until('mail is held', holder.name, ({ groups }) =>
    groups.some(({ name, state }) => name === 'mail' && state.startsWith('held-')),
  );
  const isHere = seen.groups.some(({ name, state }) => name === 'mail' && state === 'held-here');
  if (isHere) await switchOver(holder, 'mail', other.name);
  await waitFor('mail is held by the other one', isThere, { timeoutMs: 10_000 });
}

function documentOf(
  lab: ClusterLab,
  { isolation, isShared }: { readonly isolation: Isolation; readonly isShared: boolean },
): object {
  const plain = clusterDocument(lab, { isolation }) as { groups: object };
  const mail = {
    addresses: [`${MAIL_VIP}/24`],
    interface: 'public',
    virtualRouterId: 52,
    priorities: Object.fromEntries(
      lab.directors.map(({ name }, index) => [name, 100 + 50 * index]),
    ),
    preempt: 'never',
  };
  return isShared ? { ...plain, groups: { ...plain.groups, mail } } : plain;
}

/** Cables in, power on, etcd there; agents are started by whoever settles the cluster. */
async function mend(lab: ClusterLab): Promise<void> {
  await lab.network.heal();
  for (const director of lab.directors) {
    if (await director.isAgentRunning()) await lab.network.cable(director.name, 'in');
    else await director.powerOn();
  }
  lab.etcd.contAll();
  await lab.etcd.start();
}
