/** What short words of the status mean, in sentences for people, each with what to do about it. */
import type { HoldReason, IneligibleReason, HoldBasis } from './decision.ts';
import type { GateKind } from './kernel.ts';
import type { RefusalReason } from './peer.ts';
import type { DirectorStatus, GroupStatus, IsolationStatus } from './status.ts';

export type Words = {
  /** What is the case, as a sentence without its end. */
  readonly what: string;
  /** What to do, or where to look; null: nothing is wrong. */
  readonly remedy: string | null;
};

const fine = (what: string): Words => ({ what, remedy: null });
const fault = (what: string, remedy: string): Words => ({ what, remedy });

/** Why a group is where it is. */
export const HOLD_WORDS: Readonly<Record<HoldReason, Words>> = {
  vacant: fine('nobody had ever held the group'),
  released: fine('its former holder released it'),
  'holder-dead': fault(
    'its former holder no longer answered, and was shut out',
    'see the log and the events of the former holder',
  ),
  'holder-closed': fine('the agent of its former holder had ended'),
  switchover: fine('an operator asked for it'),
  drain: fine('its former holder is being drained'),
  preempt: fine('a better director was ready, and the group may go back to it'),
  shutdown: fine('the agent of its former holder was stopped'),
  'interface-down': fault(
    'an interface of the group failed at its former holder',
    'see cable, switch port and `ip link` there',
  ),
  'cannot-bind': fault(
    'the kernel of its former holder refused the addresses',
    'leasehold status names the error of the kernel',
  ),
  'group-removed': fine('the cluster document took it from its former holder'),
  'session-lost': fault(
    'the session of its former holder was ended by another director',
    'see the events: pauses, or a path between the directors that fails',
  ),
  'ownership-lost': fine('its former holder found another owner on record'),
  'deadline-passed': fault(
    'no round was confirmed in time, and the kernel silenced the VIPs',
    'see etcd, the path to it, and the lag of the event loop',
  ),
  adopted: fine('a new process of the same director went on with it'),
  rebalance: fine('an operator asked for the groups to be spread anew'),
  failback: fault(
    'a planned handover did not come to its end, and the former holder went on',
    'the steps of the operation say where it ended',
  ),
  'track-failed': fault(
    'a track of the group failed at its former holder',
    'leasehold explain group, asked there, names the track',
  ),
  consent: fault(
    'its former holder reached etcd only through other directors, and let this one take it',
    'see why etcd cannot be reached from there: leasehold doctor, on that machine',
  ),
  'stood-in': fault(
    'etcd answered nobody, its holder was not heard, and nobody else answered for the VIPs on the network',
    'see why etcd is or was away, and what became of the former holder',
  ),
  'vrrp-yielded': fault(
    'a VRRP router that is no director spoke for it, and goes before its former holder',
    'see the events for its address; priority and preemption of both decide who goes first',
  ),
  contested: fault(
    'its former holder had neither etcd nor the other directors, and heard another voice',
    'see why they could not be reached from there',
  ),
  'cannot-arm': fault(
    'its former holder could not open its kernel gate',
    'see the log there; D may be too short for the gate of that kernel',
  ),
};

/** Why a director is no candidate. */
export const INELIGIBLE_WORDS: Readonly<Record<IneligibleReason, Words>> = {
  'not-in-priorities': fault(
    'the priorities of the group do not name it',
    'name it under priorities of the group, if it should be able to hold it',
  ),
  draining: fault('it is being drained', 'leasehold director undrain, when it may hold again'),
  'interface-missing': fault(
    'an interface of the group does not exist there, or agent.yaml maps none to its name',
    'see interfaces in its agent.yaml, and `ip link` there',
  ),
  'interface-down': fault(
    'an interface of the group is down or has no carrier',
    'see cable, switch port and `ip link` there',
  ),
  'cannot-bind': fault(
    'its kernel refused the addresses, or the agent lacks the rights to bind them',
    'leasehold status names the error; it is tried again half a minute after a refusal',
  ),
  'track-failed': fault(
    'a track without weight fails there',
    'leasehold explain group, asked there (--api), names the track and what it saw',
  ),
  'vrrp-active-elsewhere': fault(
    'a VRRP router that is no director speaks for the group',
    'stop that router, or give the group a higher priority here and preempt: immediate',
  ),
  'vrrp-listening': fault(
    'it listens whether another VRRP router speaks for the group',
    'wait for three advertisements and a bit',
  ),
  'vrrp-unheard': fault(
    'the group has VRRP neighbours, and VRRP cannot be sent or heard there',
    'see the log for vrrp-socket.failed, and whether its interface has an address beside the VIPs',
  ),
  'gate-too-coarse': fault(
    'its kernel has address lifetimes as its only gate, which cannot keep a hold time under 3 s',
    'use a kernel with nftables, or timing: { profile: relaxed }',
  ),
  'sync-catching-up': fault(
    'it does not know all connections of the holder yet, and takes the group only when nobody else can',
    'wait for catchUp of its connectionSync; if it stays so, leasehold status there names what is wrong with its sync daemon',
  ),
  flapping: fault(
    'it lost the group too often lately, and takes it only when nobody else can',
    'see its events for the cause; it is forgiven after some quiet minutes',
  ),
  'no-session': fault(
    'no agent of it has an open session in etcd',
    'start its agent, or see its path to etcd',
  ),
  'not-heard': fault(
    'no heartbeat of it arrives here: it is dead, or cut off from this director',
    'see UDP port 7481 between the directors, and the cluster key',
  ),
  starting: fault(
    'its agent has just started, or a holder obeys a document that it has not taken up or cannot use',
    'wait a few seconds; if it stays so, see its problems and its log',
  ),
  stopping: fault('its agent is ending', 'start it again'),
};

/** What silences VIPs on a director. */
export const GATE_WORDS: Readonly<Record<GateKind, Words>> = {
  netdev: fine('nftables rules at ingress and egress of the interfaces'),
  'arp-inet-ip6': fine('nftables rules of the families arp, inet and ip6: no egress hooks here'),
  bridge: fine('nftables rules of the family bridge: the interface is a bridge port'),
  'address-lifetime': fault(
    'address lifetimes alone: no nftables that the agent may use',
    'load nf_tables, or use a kernel that has it; until then only hold times of 3 s and more',
  ),
};

/** The words of a reason; a text that is none (of another version) stands for itself. */
export const wordsOf = (map: Readonly<Record<string, Words>>, reason: string): Words =>
  (Object.hasOwn(map, reason) ? map[reason] : undefined) ?? fine(reason);

/** On what evidence a holder holds. */
export const BASIS_WORDS: Readonly<Record<HoldBasis, string>> = {
  consensus: 'by etcd',
  relay: 'by etcd, which another director asks for it',
  peers: 'by the promises of all other directors: etcd does not answer',
  segment: 'by its gateway alone: neither etcd nor all other directors answer',
};

/** What an operator runs once a director is surely off that nobody else may judge. */
export const confirmDeadCommand = (director: string): string =>
  `leasehold director confirm-dead ${director} --reason "powered off"`;

/** A director that is not heard, in a sentence without its end; null: nobody needs to do anything. */
export function silenceWords({ name, silence }: DirectorStatus): string | null {
  if (silence === undefined) return null;
  const { needsWord, confirmedDead, session } = silence;
  if (confirmedDead !== null)
    return `${name} was confirmed dead by ${confirmedDead.by} (${confirmedDead.reason}), session ${session}: it is shut out once it has left a challenge unanswered`;
  if (!needsWord) return null;
  return `${name} is not heard, and none of those that its scope names is left to take over from it; once it is surely off: ${confirmDeadCommand(name)}`;
}

/** Why a director refused another one that would go on, or open, without etcd. */
export const REFUSAL_WORDS: Readonly<Record<RefusalReason, string>> = {
  'in-doubt': 'it has written to etcd about it, and has had no answer',
  superseded: 'it knows newer records',
  'open-here': 'its own kernel may still speak for it',
  'just-started': 'it has just started, and may have promised it to another one before',
  'not-in-scope': 'the asking director has not taken it into its scope yet',
  promised: 'it has promised it to another one',
  'holder-heard': 'it hears the holder',
  candidate: 'it stands for it itself, and goes first',
};

/** Who speaks in whose place, in sentences without their ends; null: nobody does. */
export function standInWords({
  standIn,
  holder,
}: GroupStatus): { readonly what: string; readonly later: string } | null {
  if (standIn === undefined) return null;
  const { recordHolder } = standIn;
  const director = holder ?? 'somebody';
  return {
    what: `${director} stands in for ${recordHolder}, which the record still names`,
    later: `when etcd answers again, ${recordHolder} gives the record to ${director}, or is shut out if it does not answer; the VIPs go on meanwhile`,
  };
}

/** What a director goes by that neither etcd nor all other directors answer. */
export const ISOLATION_WORDS: Readonly<Record<IsolationStatus['policy'], string>> = {
  gateway:
    'without etcd and the other directors a holder goes on while its gateway answers, and another one may stand in for it when it is gone',
  release:
    'without etcd and the promises of all other directors the VIPs fall silent, and nobody stands in',
};

/** Longer than between two questions and their time to answer. */
const ANSWER_AGE_MS = 2500;

export const isAnswering = ({ answeredMsAgo }: IsolationStatus['targets'][number]): boolean =>
  answeredMsAgo !== null && answeredMsAgo <= ANSWER_AGE_MS;

/** What is wrong with the gateway where the document rests on it; null: nothing, or nothing was asked yet. */
export function isolationWords({ policy, isReachable, targets }: IsolationStatus): Words | null {
  if (policy !== 'gateway' || isReachable !== false) return null;
  const silent = targets.filter((target) => !isAnswering(target)).map(({ address }) => address);
  const isNone = silent.length === targets.length;
  const who = isNone ? 'no gateway target answers' : 'not every gateway target answers';
  return fault(
    `${who} (${silent.join(', ')}): without etcd and the other directors the VIPs would fall silent`,
    'ping them, see cable and firewall, or name others under isolation.targets',
  );
}
