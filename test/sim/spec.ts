/** The cluster documents of the simulation: small enough to be drawn, parsed by each director as the real ones are. */
import { err, ok, type Result } from '../../src/lib/result.ts';
import { formatIp, type IpAddress } from '../../src/model/address.ts';
import type {
  CheckSpec,
  CheckTiming,
  ClusterSpec,
  Director,
  Preempt,
  RealServer,
  Timing,
  TimingProfile,
  Track,
  VipGroup,
} from '../../src/model/cluster.ts';
import { directorId, groupId, realServerId, serviceId } from '../../src/model/ids.ts';
import { createKeys } from '../../src/model/keys.ts';

export const CLUSTER = 'sim';
export const keys = createKeys(CLUSTER);

/** What an operator writes in the simulation. */
export type SimDocument = {
  readonly profile: TimingProfile;
  /** Times the profile's D. */
  readonly holdFactor: number;
  readonly directors: number;
  /** How many groups there are: `g1` to `gN`. */
  readonly groups: number;
  /** The VIP of the first group is in the second one, and the first has another. */
  readonly isMoved: boolean;
  readonly preempt: Preempt['kind'];
  /** The first of the priorities; absent: d1's. Those of the others follow in order. */
  readonly first?: number;
  /** The even groups have priorities, too. */
  readonly isAllOrdered?: boolean;
  /** The first two groups are kept apart. */
  readonly isApart?: boolean;
  /** Groups with a track that can fail; the even ones forbid holding by it, the odd ones weigh it. */
  readonly hasTracks: boolean;
  readonly hasServices: boolean;
  /** What a holder does that has neither etcd nor all others. */
  readonly isolation: 'gateway' | 'release';
  /** How the real servers are checked; absent: by TCP, every 2 s. */
  readonly check?: Partial<CheckTiming>;
  /** Absent: warm, and no connection is told. */
  readonly ipvs?: SimIpvs;
};

export type SimIpvs = {
  readonly standby?: 'warm' | 'cold';
  readonly onExit?: 'release' | 'freeze';
  /** Connections of all groups are told; so long a director listens before a group may come back. */
  readonly catchUpMs?: number;
};

const PREEMPT_AFTER_MS = 2000;

const PROFILES: Readonly<Record<TimingProfile, Omit<Timing, 'profile' | 'permitMs'>>> = {
  fast: timing(20, 50, 24, 120, 10),
  default: timing(100, 250, 100, 500, 10),
  relaxed: timing(1000, 3000, 600, 3000, 15),
};

function timing(
  heartbeatMs: number,
  suspectMs: number,
  roundMs: number,
  holdMs: number,
  leaseTtlS: number,
): Omit<Timing, 'profile' | 'permitMs'> {
  return { heartbeatMs, suspectMs, roundMs, holdMs, slackMs: 20, driftMargin: 0.25, leaseTtlS };
}

export function timingOf(document: Pick<SimDocument, 'profile' | 'holdFactor'>): Timing {
  const values = PROFILES[document.profile];
  const holdMs = Math.floor(values.holdMs * document.holdFactor);
  return { ...values, profile: document.profile, holdMs, permitMs: Math.floor(holdMs / 4) };
}

// Asked for at every look at a voice.
const ADDRESSES = Array.from({ length: 256 }, (_, last) =>
  formatIp(Uint8Array.from([10, 90, 0, last])),
);

export function addressOf(last: number): IpAddress {
  const address = ADDRESSES[last];
  if (address === undefined) throw new Error(`no address ends in ${last}`);
  return address;
}

/** The VIP of a group while nothing is moved. */
export const vipOf = (group: string): IpAddress => addressOf(100 + Number(group.slice(1)));

/** All VIPs of a group by the document. */
export function vipsOf(group: string, isMoved: boolean): readonly IpAddress[] {
  const key = `${group} ${isMoved}`;
  let vips = VIPS.get(key);
  if (vips === undefined) {
    vips = addressesOf(group, isMoved).map(({ address }) => address);
    VIPS.set(key, vips);
  }
  return vips;
}

const VIPS = new Map<string, readonly IpAddress[]>();

/** Whether the group has the VIP in any document: a moved one may be in the second group too. */
export const mayCarry = (group: string, vip: IpAddress): boolean =>
  vipOf(group) === vip ||
  (group === 'g2' && vip === vipOf('g1')) ||
  (group === 'g1' && vip === vipOf('g9'));

/** Every address that any document can name as a VIP. */
export const ALL_VIPS: readonly IpAddress[] = Array.from({ length: 9 }, (_, i) =>
  addressOf(101 + i),
);

export const GATEWAY = addressOf(1);

const isDocument = (value: unknown): value is SimDocument =>
  typeof value === 'object' && value !== null && 'holdFactor' in value;

/** `rejectsMove`: as a version that cannot use a document that moves a VIP. */
export function parseSimSpec(
  value: unknown,
  { rejectsMove }: { readonly rejectsMove: boolean },
): Result<ClusterSpec, string> {
  if (!isDocument(value) || (value.isMoved && rejectsMove))
    return err('not a spec of this version');
  return ok(specOf(value));
}

/** Groups of which the odd ones have an order of their own. */
function specOf(document: SimDocument): ClusterSpec {
  const directors = Array.from(
    { length: document.directors },
    (_, i): Director => ({
      id: directorId(`d${i + 1}`),
      address: addressOf(11 + i),
      zone: null,
    }),
  );
  const groups = Array.from({ length: document.groups }, (_, i) =>
    groupOf(document, directors, i + 1),
  );
  return {
    timing: timingOf(document),
    directors,
    groups,
    services:
      document.hasServices && document.groups > 0
        ? [{ ...WEB, check: { ...CHECK, ...document.check } }]
        : [],
    checkers: null,
    gateways: [GATEWAY],
    isolation: { policy: document.isolation, targets: [GATEWAY], mode: 'any' },
    ipvs: {
      timeouts: { tcpS: null, tcpFinS: null, udpS: null },
      standby: document.ipvs?.standby ?? 'warm',
      onExit: document.ipvs?.onExit ?? 'release',
      sysctls: [],
    },
  };
}

function groupOf(document: SimDocument, directors: readonly Director[], number: number): VipGroup {
  const name = `g${number}`;
  const hasOrder = number % 2 === 1 || document.isAllOrdered === true;
  const { length } = directors;
  const rank = (i: number): number => (i + length - ((document.first ?? 0) % length)) % length;
  const priorities = new Map(directors.map(({ id }, i) => [id, 150 - 10 * rank(i)]));
  return {
    id: groupId(name),
    addresses: addressesOf(name, document.isMoved),
    priorities: hasOrder ? priorities : null,
    preempt: hasOrder ? preemptOf(document.preempt) : { kind: 'never' },
    virtualRouterId: null,
    vrrp: null,
    weight: 1,
    antiAffinity: document.isApart === true && number <= 2 ? [groupId(`g${3 - number}`)] : [],
    tracks: document.hasTracks ? [hasOrder ? WEIGHING_TRACK : FORBIDDING_TRACK] : [],
    notify: null,
    connectionSync: syncOf(document.ipvs?.catchUpMs ?? null, number),
  };
}

const preemptOf = (kind: Preempt['kind']): Preempt =>
  kind === 'after' ? { kind, ms: PREEMPT_AFTER_MS } : { kind };

function syncOf(catchUpMs: number | null, syncId: number): VipGroup['connectionSync'] {
  if (catchUpMs === null) return null;
  const group = formatIp(Uint8Array.from([224, 0, 0, 81]));
  const place = { interface: 'public', group, port: 8848, ttl: 1, maxLength: null };
  return { syncId, ...place, catchUpMs };
}

function addressesOf(group: string, isMoved: boolean): VipGroup['addresses'] {
  const of = (name: string): VipGroup['addresses'][number] => ({
    address: vipOf(name),
    prefix: 24,
    interface: 'public',
    label: null,
    scope: 'global',
  });
  if (isMoved && group === 'g1') return [of('g9')];
  return isMoved && group === 'g2' ? [of('g2'), of('g1')] : [of(group)];
}

const FILE = { kind: 'file', initFail: false } as const;
export const FORBIDDING_TRACK: Track = { ...FILE, id: 'forbids', weight: null, path: '/forbids' };
export const WEIGHING_TRACK: Track = { ...FILE, id: 'weighs', weight: -30, path: '/weighs' };

const CHECK: CheckSpec = {
  kind: 'tcp',
  port: null,
  intervalMs: 2000,
  timeoutMs: 1000,
  rise: 2,
  fall: 2,
};

const realServer = (last: number): RealServer => ({
  id: realServerId(`10.90.0.${last}:80`),
  address: addressOf(last),
  port: 80,
  weight: 1,
  forward: 'dr',
  tunnel: null,
  upperThreshold: 0,
  lowerThreshold: 0,
  alpha: false,
  inhibitOnFailure: false,
});

const WEB: ClusterSpec['services'][number] = {
  id: serviceId('web'),
  group: groupId('g1'),
  keys: [{ kind: 'address', protocol: 'tcp', address: vipOf('g1'), port: 80 }],
  marks: [],
  scheduler: 'wlc',
  schedulerFlags: [],
  ops: false,
  persistence: null,
  check: CHECK,
  quorum: { need: 1, hysteresis: 0, up: null, down: null, timeoutMs: 10_000, user: null },
  failOpenPercent: null,
  slowStartMs: 0,
  weightSource: 'fixed',
  drain: { deadlineMs: 0 },
  realServers: [realServer(21), realServer(22)],
  sorryServer: null,
};
