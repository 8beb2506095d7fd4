/**
 * The holder election as data: configuration, state, events and effects.
 * `step` (step.ts) is the only way from one state to the next; the hold loop (agent/) acts.
 */
import type { Director, Timing, VipGroup } from '../../model/cluster.ts';
import type { HoldBasis, HoldReason, IneligibleReason } from '../../model/decision.ts';
import type { DirectorId, Epoch, GroupId, MonoMs, Revision, SessionId } from '../../model/ids.ts';
import type { ArmMode } from '../../model/kernel.ts';
import type { Keys } from '../../model/keys.ts';
import type { AskedGroup, AskedRound, PeerMessage } from '../../model/peer.ts';
import type { OwnerRecord, ScopeRecord, SessionRecord } from '../../model/records.ts';
import type { Damping } from '../placement/damping.ts';
import type { Heirs } from '../placement/order.ts';
import type { Heard, Listening } from './hearing.ts';
import type { Roster } from './roster.ts';
import type { ElectionNotice } from './notices.ts';
import type { Survey } from './survey.ts';
import type { ElectionView, ViewChange } from './view.ts';

/** Who this life of this director is. Same boot and namespace mean the same kernel gate. */
export type Identity = {
  readonly boot: string;
  readonly namespace: string;
  readonly machine: string;
  readonly nonce: string;
};

export type ElectionConfig = {
  readonly me: DirectorId;
  readonly address: string;
  readonly identity: Identity;
  readonly keys: Keys;
  readonly timing: Timing;
  readonly directors: readonly Pick<Director, 'id' | 'zone'>[];
  readonly groups: readonly VipGroup[];
  readonly groupsById: ReadonlyMap<GroupId, VipGroup>;
  /** What a holder does without any evidence: goes on while its gateway answers, or falls silent. */
  readonly isolation: 'gateway' | 'release';
  /** The stored spec that this director has seen last, usable or not: groups are taken only while it is that. */
  readonly specRev: Revision;
  /** What this director's kernel gate asks of the timing: the shortest D, and the least δ. */
  readonly gate: { readonly minHoldMs: number; readonly slackMs: number };
  /** Rendezvous order of these directors, remembered. */
  readonly heirs: Heirs;
};

/** A txn in the words of the store's port, without its types: core knows no ports. */
export type TxnRequest = {
  readonly compares: readonly { readonly key: string; readonly modRevision: Revision }[];
  readonly success: readonly TxnWrite[];
  readonly failure: readonly TxnWrite[];
};
export type TxnWrite =
  | { readonly op: 'put'; readonly key: string; readonly value: string }
  | { readonly op: 'delete'; readonly key: string }
  | { readonly op: 'get'; readonly key: string };

/** What a txn in flight is for; its answer is handled by this. */
export type Purpose =
  | {
      readonly kind: 'open-session';
      /** The session of a former process of this kernel that is gone on with; null: a new one. */
      readonly adopted: SessionId | null;
      readonly scope: ScopeRecord;
    }
  | { readonly kind: 'close-session' }
  /** Of this director, which lives. */
  | { readonly kind: 'deny-death' }
  | { readonly kind: 'challenge-namesake'; readonly session: Revision }
  | { readonly kind: 'write-scope'; readonly record: ScopeRecord }
  | { readonly kind: 'round'; readonly round: number; readonly groups: readonly GroupId[] }
  | { readonly kind: 'challenge'; readonly against: DirectorId; readonly session: Revision }
  | { readonly kind: 'withdraw'; readonly against: DirectorId }
  /** Rides on a round: its success confirms what it claims for that round too. */
  | {
      readonly kind: 'kill';
      readonly round: number;
      readonly against: DirectorId;
      readonly broken: SessionRecord;
      readonly claims: OwnerRecords;
    }
  | { readonly kind: 'mark-vacant'; readonly groups: readonly GroupId[] }
  /** Rides on a round, as a kill does. */
  | { readonly kind: 'claim'; readonly round: number; readonly claims: OwnerRecords }
  | { readonly kind: 'give-up'; readonly group: GroupId; readonly record: OwnerRecord }
  | {
      readonly kind: 'transfer';
      readonly to: DirectorId;
      readonly records: OwnerRecords;
    }
  | { readonly kind: 'resolve-pending'; readonly group: GroupId; readonly record: OwnerRecord }
  /** The round of another director, which cannot reach the store. */
  | {
      readonly kind: 'relay';
      readonly to: DirectorId;
      readonly asked: AskedRound;
      readonly groups: readonly GroupId[];
    };

export type OwnerRecords = ReadonlyMap<GroupId, OwnerRecord>;

export type SessionState =
  /** Nothing of this life is in etcd; `notBefore` paces the tries. */
  | { readonly kind: 'none'; readonly notBefore: MonoMs }
  /**
   * Somebody else has an open session under this name: a cloned machine, or this one before its
   * reboot. It is challenged like a foreign holder.
   */
  | {
      readonly kind: 'namesake';
      readonly session: Revision;
      readonly challengeRev: Revision | null;
      readonly ackedAt: MonoMs;
      readonly nextTryAt: MonoMs;
    }
  | {
      readonly kind: 'open';
      readonly id: SessionId;
      /** Of the record now: a new process that goes on with a session writes it anew. */
      readonly rev: Revision;
      readonly since: MonoMs;
    }
  | { readonly kind: 'closed' };

export type GiveUp = {
  readonly reason: HoldReason;
  readonly to: DirectorId | null;
  readonly operation: string | null;
};

/**
 * By what a director holds: `record`: the owner record names it. `segment`: the record names another one, of
 * which nobody here hears anything while the store answers nobody (design 4.10); the epoch is that record's.
 */
export type Right = 'record' | 'segment';

/** One VIP group as this director holds it, by the record or the segment, and in the kernel. */
export type Holding =
  /** Silent in the kernel: waits for the next confirmed round, or for a former holder. */
  | {
      readonly kind: 'owned';
      readonly right: Right;
      readonly epoch: Epoch;
      readonly since: MonoMs;
      readonly failures: number;
      /** Somebody may have taken it meanwhile without the store: asks the network before it opens. */
      readonly mustProbe: boolean;
      /** Bound and silent until then: one kernel operation opens it. */
      readonly preparedUntil: MonoMs | null;
      readonly isOpening: boolean;
      /** Who had it before, by the record: they are told when the traffic is proven to be here. */
      readonly formers: readonly DirectorId[];
    }
  /** Speaks until `until`, unless armed anew. */
  | {
      readonly kind: 'open';
      readonly right: Right;
      readonly epoch: Epoch;
      readonly since: MonoMs;
      readonly openedAt: MonoMs;
      readonly until: MonoMs;
      readonly failures: number;
      readonly formers: readonly DirectorId[];
    }
  /**
   * The record names the successor and this holding as pending: forwards on, answers no ARP or ND
   * any more once muted, until the successor is proven to have the traffic (design 4.12).
   */
  | {
      readonly kind: 'leaving';
      /** Of this holding, as the pending entry names it. */
      readonly epoch: Epoch;
      /** Owner record that the rounds compare while the kernel forwards. */
      readonly ownerRev: Revision;
      readonly since: MonoMs;
      readonly giveUp: GiveUp & { readonly to: DirectorId };
      /** `waiting`: still answers, until the successor is prepared or `since` is long ago. */
      readonly phase: 'waiting' | 'muting' | 'muted';
      readonly mutedAt: MonoMs | null;
      readonly nextTellAt: MonoMs;
      /** Nothing keeps it from closing after this; null: not yet known. */
      readonly closeAt: MonoMs | null;
      /** Of the record that named the successor: its word about an earlier one does not count. */
      readonly successorEpoch: Epoch;
      /** The record is not seen from here: only the successor's words tell of it. */
      readonly isByConsent: boolean;
    }
  /** The kernel was told to silence it; nothing more is promised until it says so. */
  | {
      readonly kind: 'closing';
      readonly epoch: Epoch;
      /** Owner record that the rounds compare while the kernel may speak. */
      readonly ownerRev: Revision;
      /** What to write once it is silent; null: the record is somebody else's already. */
      readonly giveUp: GiveUp | null;
      /** The record was lost, not given: nothing is armed before the kernel has silenced this. */
      readonly isLost: boolean;
      /** Silent after that by the kernel's own clock, whatever it answers. */
      readonly silentAt: MonoMs;
      /** Set when the kernel refused: ask again then. */
      readonly retryAt: MonoMs | null;
    }
  /** Silent for sure; the record still says mine and is to be written over. */
  | {
      readonly kind: 'shut';
      readonly epoch: Epoch;
      readonly giveUp: GiveUp;
      readonly nextTryAt: MonoMs;
    };

export type ChallengeState =
  | {
      readonly kind: 'resting';
      readonly until: MonoMs;
      /** It held nothing when it answered: that is asked seldom. */
      readonly isBystander: boolean;
    }
  | { readonly kind: 'sending'; readonly session: Revision }
  | {
      readonly kind: 'standing';
      readonly session: Revision;
      readonly rev: Revision;
      /** When I saw it acknowledged: D' counts from here, whoever put it. */
      readonly ackedAt: MonoMs;
      readonly isMine: boolean;
      /** The scope that names me, as it was when the wait began: who was not named was not asked. */
      readonly scopeRev: Revision;
    };

type RoundBase = {
  readonly round: number;
  readonly startedAt: MonoMs;
  /** P of this round. */
  readonly permitMs: number;
};

/** Groups that the peers are asked about together; what they say of one part says nothing of the others. */
export type AskedPart = {
  readonly right: Right;
  /** Nothing but these groups depends on what is said of them. */
  readonly isApart: boolean;
  /** The kernel lets them speak here until the next arming. */
  readonly isSpeaking: boolean;
  readonly groups: readonly AskedGroup[];
};

/** The question of a round to the peers, and what they said so far. */
export type Asked = {
  /** Just before it was sent first: whatever it confirms counts from here. */
  readonly at: MonoMs;
  /** Repeated then to who has not answered. */
  readonly nextAt: MonoMs;
  /** Whose promises are needed. */
  readonly needed: readonly DirectorId[];
  /** Those and all others that were heard: each may relay. */
  readonly everybody: readonly DirectorId[];
  readonly parts: readonly AskedPart[];
  /** Parts that each of them promised. */
  readonly promised: ReadonlyMap<DirectorId, ReadonlySet<number>>;
  /** Parts that one of them refused. */
  readonly refused: ReadonlySet<number>;
  /** Parts that the store agreed to, asked by whomever. */
  readonly relayed: ReadonlySet<number>;
  /** The gateway answered in this round. */
  readonly isGatewayThere: boolean;
};

/** What a holder was promised here: until then it is not killed, and these groups are not touched. */
export type Promised = { readonly until: MonoMs; readonly groups: ReadonlyMap<GroupId, Epoch> };

/** Whether somebody has the VIPs of a group, asked on the network before they are opened here. */
export type Probing = {
  /** The holding that it is for; null: of a group that is foreseen, and not held yet. */
  readonly epoch: Epoch | null;
  readonly right: Right;
  /** `short`: two probes before an opening that other evidence allows; `long`: the only evidence (design 4.10). */
  readonly length: 'short' | 'long';
  /** `clear`: nobody answered; `answered`: somebody did. */
  readonly phase: 'asking' | 'clear' | 'answered';
  /** asking: no answer comes any more; clear: proves nothing any more; answered: it has had time to fall silent. */
  readonly until: MonoMs;
  /** answered: who speaks is told again then. */
  readonly nextTellAt: MonoMs;
};

/** How the network is asked: so many probes, so far apart. */
export type ProbeOptions = Pick<Probing, 'length'> & {
  readonly count: number;
  readonly intervalMs: number;
};

/** A txn of mine that may have been committed or may be yet. */
export type Doubt = {
  readonly against: DirectorId | null;
  readonly groups: ReadonlySet<GroupId>;
  readonly compares: TxnRequest['compares'];
  /** When it was sent last. */
  readonly since: MonoMs;
};

export type RoundState =
  /** `nextAt` by the rhythm; what cannot wait for it starts at `soonestAt`. */
  | { readonly kind: 'idle'; readonly nextAt: MonoMs; readonly soonestAt: MonoMs }
  | ({ readonly kind: 'permit' } & RoundBase)
  /** To be sent in this very step, when it is known what rides along. */
  | ({ readonly kind: 'permitted' } & RoundBase)
  | ({
      readonly kind: 'sent';
      /** More than 100 groups, kills and claims take several txns; all are timed from the first send. */
      readonly unanswered: number;
      /** To be sent when all these have been answered. */
      readonly last: readonly {
        readonly slot: string;
        readonly purpose: Purpose;
        readonly txn: TxnRequest;
      }[];
      readonly firstSentAt: MonoMs | null;
      /** Every txn that guards what may speak has succeeded so far. */
      readonly isConfirmed: boolean;
      /** Each of those was answered, whatever the answer. */
      readonly isAnswered: boolean;
      /**
       * Nobody can grant it any more: the store has answered that one of them does not hold, or it would silence what
       * the next one may go on with.
       */
      readonly isDenied: boolean;
      readonly sessionRev: Revision;
      /** Owner records that its compares prove, or its puts wrote; only these may be armed. */
      readonly guarded: ReadonlyMap<GroupId, Revision>;
      /** Null: the peers were not asked, yet. */
      readonly asked: Asked | null;
    } & RoundBase)
  /** To be armed in this very step, when the holdings have followed the answers. */
  | ({
      readonly kind: 'confirmed';
      readonly basis: HoldBasis;
      readonly sentAt: MonoMs;
      readonly sessionRev: Revision;
      readonly guarded: ReadonlyMap<GroupId, Revision>;
    } & RoundBase)
  | ({
      readonly kind: 'arming';
      readonly basis: HoldBasis;
      readonly until: MonoMs;
      readonly holdMs: number;
      readonly modes: ReadonlyMap<GroupId, ArmMode>;
    } & RoundBase);

/** What the holdings were found in step with: while all of it is the same, there is nothing to follow. */
export type Followed = {
  readonly survey: Survey;
  readonly roster: Roster;
  readonly session: SessionState;
  readonly groups: readonly VipGroup[];
};

/** What no group was found free with: while all of it is the same, there is nothing to claim. */
export type Unclaimable = {
  readonly survey: Survey;
  readonly roster: Roster;
  readonly groups: readonly VipGroup[];
  readonly claimable: ElectionState['claimable'];
};

/** What no reason was found with to give a group away: while all of it is the same, there is none. */
export type Contented = {
  readonly roster: Roster;
  readonly groups: ElectionConfig['groupsById'];
  readonly directors: ElectionConfig['directors'];
  readonly me: DirectorId;
  readonly session: SessionState;
  readonly eligibility: ElectionState['eligibility'];
  readonly bonus: ElectionState['bonus'];
  readonly drains: ElectionView['drains'];
  readonly reports: ElectionView['reports'];
  readonly operations: ElectionView['operations'];
  readonly isStopping: boolean;
  readonly isFreezing: boolean;
};

export type ArmedGroup = {
  readonly group: GroupId;
  readonly mode: ArmMode;
  /** Nobody else could take it: what can be bound of it speaks, though the kernel refuses the rest. */
  readonly isPartial?: true;
};

/** How the rounds prove these holdings: the very same requests, round after round. */
export type Guard = {
  readonly roster: Roster;
  readonly sessionRev: Revision;
  readonly keys: Keys;
  readonly me: DirectorId;
  /** It no longer answers challenges. */
  readonly isYielding: boolean;
  readonly chunks: readonly { readonly groups: readonly GroupId[]; readonly txn: TxnRequest }[];
  /** What is armed when it is confirmed; null: not the same in every round. */
  readonly arming: {
    readonly modes: ReadonlyMap<GroupId, ArmMode>;
    readonly groups: readonly ArmedGroup[];
  } | null;
};

/** `former`: whom the record before this one named, and its revision; null: none is known, or it named nobody. */
export type OwnerSeen = {
  readonly rev: Revision;
  readonly session: number;
  readonly at: MonoMs;
  readonly director: DirectorId | null;
  readonly former: { readonly rev: Revision; readonly director: DirectorId } | null;
};

export type ElectionState = {
  readonly view: ElectionView;
  // What follows from the rest of the state and is kept while that is the same: evidence of nothing.
  /** Of the view when it was last needed; looked up by `surveyed` alone, which makes it anew. */
  readonly survey: Survey | null;
  /** Of the holdings; looked up by `rosterOf` alone. */
  readonly roster: Roster | null;
  /** Of the holdings; looked up by `lapseAt` alone. */
  readonly lapseAt: MonoMs | null;
  readonly listening: ReadonlyMap<DirectorId, Listening>;
  readonly followed: Followed | null;
  readonly unclaimable: Unclaimable | null;
  readonly contented: Contented | null;
  readonly guard: Guard | null;
  /** The first snapshot of the store is in: before it nothing is decided. */
  readonly isSynced: boolean;
  /** The kernel acknowledged that nothing of an earlier life speaks. */
  readonly gate: 'unknown' | 'clearing' | 'clear';
  /** Groups that a former process of this kernel may have left speaking, until this session takes or closes them. */
  readonly kept: ReadonlySet<GroupId>;
  /** Until then the kernel speaks for them, by what that process armed; over: they are no more in here. */
  readonly keptUntil: ReadonlyMap<GroupId, MonoMs>;
  readonly isStopping: boolean;
  /** From then on it stops whether anybody is ready for its groups or not; null: it does not stop. */
  readonly stopsUnreadyAt: MonoMs | null;
  /** A new process of this director is to go on; `isFrozen`: the kernel holds long enough for it. */
  readonly isFreezing: boolean;
  readonly isFrozen: boolean;
  readonly startedAt: MonoMs;
  readonly session: SessionState;
  readonly holdings: ReadonlyMap<GroupId, Holding>;
  readonly round: RoundState;
  readonly roundNumber: number;
  /** Confirmed rounds in a row that armed nothing; three and challenges are no longer answered. */
  readonly unarmedRounds: number;
  /** Rounds in a row without an answer in time: the store may see them all, and nothing speaks here. */
  readonly unansweredRounds: number;
  /** D of the last armed round; null before the first. */
  readonly armedHoldMs: number | null;
  /** Nothing that this life or a former process armed speaks later, whatever became of its answer. */
  readonly armedUntil: MonoMs;
  /** The last arming, where it left nothing out by the kernel's word. */
  readonly allArmed: { readonly holdMs: number; readonly until: MonoMs } | null;
  /**
   * A write of my scope record that may commit yet: the least D and all the peers in it, and the record it
   * is guarded by. Nothing longer is armed, and all of them are asked, until that has been replaced.
   */
  readonly scopeInDoubt: {
    readonly holdMs: number;
    readonly peers: readonly string[];
    /** One of them names nobody, so that everybody may accuse this director. */
    readonly mayBeEmpty: boolean;
    /** One of them says that nobody goes on here by the gateway alone. */
    readonly mayRelease: boolean;
    readonly rev: Revision;
  } | null;
  readonly lastRoundMs: number | null;
  readonly lastConfirmedAt: MonoMs | null;
  /** Send of the first round that it has not confirmed since; null: it has confirmed the last one. */
  readonly awaitedSince: MonoMs | null;
  /** What the store has still to agree to of the last round, also where its peers were faster. */
  readonly storeWord: {
    readonly round: number;
    readonly unanswered: number;
    readonly firstSentAt: MonoMs | null;
  } | null;
  /** What the kernel was armed by last. */
  readonly basis: HoldBasis | null;
  /** Since when only others connect this holder to the store; null: it does itself, or nobody does. */
  readonly relayedSince: MonoMs | null;
  readonly relayedAt: MonoMs | null;
  /** When the store last answered this director, whatever it said. */
  readonly answeredAt: MonoMs;
  /** When it was asked first since then; null: there was nothing to ask. */
  readonly askedSince: MonoMs | null;
  /** When a gateway last answered this director in a round. */
  readonly gatewaySeenAt: MonoMs | null;
  /** When what is held by the segment is announced again; null: nothing is. */
  readonly repeatAt: MonoMs | null;
  /** After a refusal of what is held by the segment each group of it is asked about alone, until then. */
  readonly splitUntil: MonoMs;
  readonly probings: ReadonlyMap<GroupId, Probing>;
  /** Where somebody answered, or the peers did not agree: not stood for again before this, or an answer of etcd. */
  readonly standAfter: ReadonlyMap<GroupId, MonoMs>;
  readonly nextConsentAt: MonoMs;
  /** To whom this director consented to leave a group, and the epochs that such a director told of. */
  readonly consented: ReadonlyMap<GroupId, DirectorId>;
  readonly departed: ReadonlyMap<GroupId, Epoch>;
  readonly promises: ReadonlyMap<DirectorId, Promised>;
  readonly doubts: readonly Doubt[];
  readonly heard: ReadonlyMap<DirectorId, Heard>;
  /** Groups that would be this director's if a standing challenge stays unanswered; bound ahead, silent. */
  readonly foreseen: ReadonlySet<GroupId>;
  /** When a director was last heard at all: only who is heard is given a group. */
  readonly lastHeard: ReadonlyMap<DirectorId, MonoMs>;
  /** The newest session by whose name a director was ever heard. */
  readonly newestHeard: ReadonlyMap<DirectorId, SessionId>;
  /** When a director last advertised each group by VRRP: a sign of life of little weight (`hearing.ts`). */
  readonly adverts: ReadonlyMap<DirectorId, ReadonlyMap<GroupId, MonoMs>>;
  readonly challenges: ReadonlyMap<DirectorId, ChallengeState>;
  /** Since when this director sees a group claimable with this owner revision. */
  readonly claimable: ReadonlyMap<GroupId, { readonly rev: Revision; readonly since: MonoMs }>;
  /** Since when this director knows of the owner, session 0 for none; `rev`: of the record now. */
  readonly ownerSeenAt: ReadonlyMap<GroupId, OwnerSeen>;
  /** A director that has been better than me since, per group. */
  readonly better: ReadonlyMap<GroupId, { readonly director: DirectorId; readonly since: MonoMs }>;
  /** `group director`: it was given the group and may have been unfit, so it is not offered it again before. */
  readonly offeredUntil: ReadonlyMap<string, MonoMs>;
  /** Groups this director could hold now; a reason where not. Absent: not known yet. */
  readonly eligibility: ReadonlyMap<GroupId, IneligibleReason | null>;
  readonly ready: ReadonlySet<GroupId>;
  readonly bonus: ReadonlyMap<GroupId, number>;
  /** Why groups are being written over to a successor, until the record tells that it happened. */
  readonly transferring: ReadonlyMap<GroupId, GiveUp>;
  /** Pending entries whose directors told over UDP that they are mute (`entryKey`). */
  readonly muted: ReadonlySet<string>;
  /** Faults per group, for flap damping. */
  readonly damping: ReadonlyMap<GroupId, Damping>;
  /** Since when an operation waits for its target to be ready. */
  readonly operationSeenAt: ReadonlyMap<string, MonoMs>;
  /** After the kernel refused a group's addresses, not a candidate before this time. */
  readonly refusedUntil: ReadonlyMap<GroupId, MonoMs>;
  readonly nextHeartbeatAt: MonoMs;
  readonly inFlight: ReadonlyMap<
    string,
    {
      readonly id: number;
      readonly purpose: Purpose;
      readonly compares: TxnRequest['compares'];
    }
  >;
  /** A slot whose last txn failed or was in doubt rests until then. */
  readonly restingSlots: ReadonlyMap<string, MonoMs>;
  readonly nextTxnId: number;
  /** Anomalies already told, so that each is told once. */
  readonly alarms: ReadonlySet<string>;
};

export type TxnReply =
  | {
      readonly kind: 'answered';
      readonly succeeded: boolean;
      readonly revision: Revision;
      readonly reads: readonly ViewChange[];
      readonly sentAt: MonoMs;
    }
  | { readonly kind: 'ambiguous' | 'refused'; readonly message: string; readonly sentAt: MonoMs };

export type ElectionEvent =
  | { readonly kind: 'tick' }
  | { readonly kind: 'view'; readonly changes: readonly ViewChange[]; readonly isSynced: boolean }
  | {
      readonly kind: 'txn-replied';
      readonly id: number;
      readonly slot: string;
      readonly reply: TxnReply;
    }
  /** What was kept, and until when the kernel lets each of it speak; null: nothing is known to be silent. */
  | { readonly kind: 'gate-cleared'; readonly speaking: ReadonlyMap<GroupId, MonoMs> | null }
  | { readonly kind: 'permit-given'; readonly round: number; readonly isOk: boolean }
  | {
      readonly kind: 'armed';
      readonly round: number;
      readonly isOk: boolean;
      readonly groups: readonly GroupId[];
      /** Bound a moment ago: the kernel does not take all their traffic yet. */
      readonly unsettled: readonly GroupId[];
      /** Armed with no address, for another group may still have them: not prepared, for as long as that lasts. */
      readonly withheld?: readonly GroupId[];
      /** Groups that were silent before. */
      readonly opened: readonly GroupId[];
      readonly failed: readonly GroupId[];
      /** The kernel lets them speak until then for sure; never after the `until` of the effect. */
      readonly speaksUntil: MonoMs;
    }
  | {
      readonly kind: 'opened';
      readonly groups: readonly GroupId[];
      readonly isOk: boolean;
      readonly failed: readonly GroupId[];
      readonly speaksUntil: MonoMs;
    }
  | { readonly kind: 'muted'; readonly groups: readonly GroupId[]; readonly isOk: boolean }
  | { readonly kind: 'closed'; readonly groups: readonly GroupId[]; readonly isOk: boolean }
  /** The gateway answered the VIP's new holder, or did not in time; `isOk: null`: there is none to ask. */
  | {
      readonly kind: 'verified';
      readonly group: GroupId;
      readonly epoch: Epoch;
      readonly isOk: boolean | null;
    }
  | { readonly kind: 'peer'; readonly from: DirectorId; readonly message: PeerMessage }
  /** The director advertised the group by VRRP, from its own address. */
  | { readonly kind: 'advert'; readonly from: DirectorId; readonly group: GroupId }
  | {
      readonly kind: 'eligibility';
      readonly groups: ReadonlyMap<GroupId, IneligibleReason | null>;
      /** Those that could be taken without a packet lost: their services are in the kernel. */
      readonly ready: ReadonlySet<GroupId>;
      /** What tracks add to this director's priority. */
      readonly bonus: ReadonlyMap<GroupId, number>;
    }
  | { readonly kind: 'gateway-answered'; readonly round: number; readonly isReachable: boolean }
  /** Another machine speaks as a VIP of the group. */
  | { readonly kind: 'contested'; readonly group: GroupId }
  /** Of each group whether somebody on the network has one of its VIPs, or that cannot be found out. */
  | { readonly kind: 'probed'; readonly answers: ReadonlyMap<GroupId, boolean> }
  /** Somebody removed an address of a group that speaks here. */
  | { readonly kind: 'address-lost'; readonly group: GroupId }
  | { readonly kind: 'stop' }
  /** End soon, and leave kernel, session and records to a new process of this director (design 4.14). */
  | { readonly kind: 'freeze' };

export type ElectionEffect =
  | {
      readonly kind: 'txn';
      readonly id: number;
      readonly slot: string;
      readonly purpose: Purpose;
      readonly txn: TxnRequest;
      readonly deadlineMs: number;
    }
  /** Silence every address that an earlier life of this director may have left, but for these groups'. */
  | { readonly kind: 'clear-gate'; readonly keep: readonly GroupId[] }
  | { readonly kind: 'permit'; readonly round: number; readonly timeoutMs: number }
  | {
      readonly kind: 'arm';
      readonly round: number;
      readonly groups: readonly ArmedGroup[];
      readonly until: MonoMs;
      readonly aliveMs: number;
    }
  /** Does a gateway answer this director's own address, within this round? */
  | { readonly kind: 'ask-gateway'; readonly round: number; readonly timeoutMs: number }
  /** Asks the network in nobody's name who has the group's VIPs (RFC 5227 2.1.1, RFC 4862 5.4.2). */
  | ({ readonly kind: 'probe'; readonly group: GroupId } & ProbeOptions)
  /** Bind these ahead, and nothing else that is not armed: they stay silent. */
  | { readonly kind: 'foresee'; readonly groups: readonly GroupId[] }
  /** Open what the last arming prepared, within that arming. */
  | { readonly kind: 'open'; readonly groups: readonly GroupId[]; readonly until: MonoMs }
  | { readonly kind: 'mute'; readonly groups: readonly GroupId[] }
  | { readonly kind: 'close'; readonly groups: readonly GroupId[] }
  | { readonly kind: 'announce'; readonly group: GroupId }
  /** Announced once more, where a voice that is not heard otherwise may speak, too. */
  | { readonly kind: 'repeat'; readonly groups: readonly GroupId[] }
  | { readonly kind: 'stop-announcing'; readonly group: GroupId }
  /** Ask the gateways in the VIPs' names whether they send here now. */
  | { readonly kind: 'verify'; readonly group: GroupId; readonly epoch: Epoch }
  | { readonly kind: 'tell'; readonly to: DirectorId; readonly message: PeerMessage }
  | {
      readonly kind: 'heartbeat';
      readonly session: SessionId;
      readonly armed: readonly { readonly group: GroupId; readonly epoch: Epoch }[];
    }
  /** Show the world by an etcd lease that the group is held; `epoch: null` ends it. */
  | { readonly kind: 'show-lease'; readonly group: GroupId; readonly epoch: Epoch | null }
  | {
      readonly kind: 'operation';
      readonly id: string;
      readonly state: 'running' | 'succeeded' | 'failed';
      readonly text: string;
    }
  | { readonly kind: 'event'; readonly event: ElectionNotice };
