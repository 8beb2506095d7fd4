/**
 * Who is still on the network, asked for the election: the gateway targets of the document, and whether
 * anybody else has a group's VIPs (design 4.10). Decides nothing; what it learns goes to metrics and log, too.
 */
import type { ProbeOptions } from '../core/election/state.ts';
import type { IpAddress, IpFamily } from '../model/address.ts';
import { familyOf } from '../model/address.ts';
import type { ClusterSpec, Isolation } from '../model/cluster.ts';
import type { DirectorId, GroupId, MonoMs } from '../model/ids.ts';
import type { Clock } from '../ports/clock.ts';
import type {
  GatewayAnswer,
  GatewayPing,
  GatewaySource,
  GatewaySources,
} from '../ports/gateway.ts';
import type { Log } from '../ports/log.ts';
import type { Metrics } from '../ports/metrics.ts';
import type { Neighbours, VipPlace } from '../ports/neighbours.ts';

export type GatewayDeskPorts = {
  readonly gateway: Pick<GatewayPing, 'ask'>;
  readonly neighbours: Pick<Neighbours, 'probe'>;
  readonly clock: Pick<Clock, 'now' | 'wallMs'>;
  readonly log: Log;
  readonly metrics: Pick<Metrics, 'gateway' | 'gatewayAnswered' | 'forgetGateways'>;
  /** Of the spec in force; null: there is none yet. */
  readonly isolation: () => Isolation | null;
  readonly sources: () => GatewaySources;
  /** Where the VIPs of the group would be bound here that such a probing is about; empty: nowhere. */
  readonly places: (group: GroupId, length: ProbeOptions['length']) => readonly VipPlace[];
};

/** How the targets of the spec in force have answered so far. */
export type GatewaysSeen = {
  /** At least one question came to its end. */
  readonly wasAsked: boolean;
  /** The last answer of each target that ever gave one. */
  readonly answeredAt: ReadonlyMap<IpAddress, MonoMs>;
};

export type GatewayDesk = {
  seen(): GatewaysSeen;
  /** Whether the targets answer, as the document's mode counts it; false where it names none, or at the signal. */
  ask(timeoutMs: number, signal?: AbortSignal): Promise<boolean>;
  /**
   * Of each group whether somebody has one of its VIPs. Also true where that cannot be found out: silence proves
   * something only where it was listened to. Missing: ended by `close`, or asked about anew meanwhile.
   */
  probe(groups: readonly GroupId[], options: ProbeOptions): Promise<ReadonlyMap<GroupId, boolean>>;
  /** Ends what is asked now; from then on nothing answers. */
  close(): void;
};

export function createGatewayDesk(ports: GatewayDeskPorts): GatewayDesk {
  return new Desk(ports);
}

/**
 * The director's own address for its family. For the other one an address of the agent's devices which is
 * no VIP; a VIP must never be the source.
 */
export function deriveGatewaySources(
  spec: Pick<ClusterSpec, 'directors' | 'groups'>,
  me: DirectorId,
  devices: Iterable<string>,
): GatewaySources {
  const address = spec.directors.find(({ id }) => id === me)?.address ?? null;
  const except = spec.groups.flatMap(({ addresses }) => addresses.map((one) => one.address));
  const named = [...new Set(devices)];
  const sourceOf = (family: IpFamily): GatewaySource | null => {
    if (address !== null && familyOf(address) === family) return { kind: 'address', address };
    return named.length === 0 ? null : { kind: 'devices', devices: named, except };
  };
  return { 4: sourceOf(4), 6: sourceOf(6) };
}

const NOBODY = { answered: new Set<IpAddress>(), unasked: new Set<IpAddress>() };

/** Different times that the log tells apart; beyond it all is news again. */
const TIMEOUTS_MAX = 16;

class Desk implements GatewayDesk {
  readonly #ports: GatewayDeskPorts;
  readonly #end = new AbortController();
  /** The last run that asks about each. */
  readonly #probes = new Map<GroupId, symbol>();
  /** Who answered for each when it was asked last, as the log was told. */
  readonly #found = new Map<GroupId, string>();
  /** What the metrics and the log know of. */
  #targets = '';
  /** By the time there was for the answer: who waits for longer may find what others do not. */
  readonly #wasReachable = new Map<number, boolean>();
  readonly #answeredAt = new Map<IpAddress, MonoMs>();

  constructor(ports: GatewayDeskPorts) {
    this.#ports = ports;
  }

  seen(): GatewaysSeen {
    return { wasAsked: this.#wasReachable.size > 0, answeredAt: this.#answeredAt };
  }

  async ask(timeoutMs: number, given?: AbortSignal): Promise<boolean> {
    const { gateway, isolation, sources } = this.#ports;
    const { targets, mode } = isolation() ?? { targets: [], mode: 'any' };
    this.#retarget(targets);
    if (targets.length === 0) return false;
    const request = { targets, mode, timeoutMs, source: sources() };
    const ends = given === undefined ? [this.#end.signal] : [this.#end.signal, given];
    const answer = await untilAny(ends, (signal) => gateway.ask(request, signal));
    // Abandoned: not the network's answer.
    if (answer === null) return false;
    this.#note(answer, timeoutMs);
    return answer.isReachable;
  }

  async probe(
    groups: readonly GroupId[],
    { length, count, intervalMs }: ProbeOptions,
  ): Promise<ReadonlyMap<GroupId, boolean>> {
    const { neighbours, places } = this.#ports;
    const answers = new Map<GroupId, boolean>();
    const { signal } = this.#end;
    if (signal.aborted) return answers;
    const run = Symbol('probes');
    const vips = new Map(groups.map((group) => [group, places(group, length)]));
    for (const group of groups) this.#probes.set(group, run);
    const all = [...vips.values()].flat();
    const options = { count, intervalMs, signal };
    const { answered, unasked } = all.length === 0 ? NOBODY : await neighbours.probe(all, options);
    if (signal.aborted) return answers;
    for (const [group, asked] of vips) {
      if (this.#probes.get(group) !== run) continue;
      this.#probes.delete(group);
      const found = asked.map(({ address }) => address);
      const told = {
        answered: found.filter((address) => answered.has(address)),
        unasked: found.filter((address) => unasked.has(address)),
      };
      answers.set(group, asked.length === 0 || this.#tell(group, told));
    }
    return answers;
  }

  /** Whether somebody has one of them, or that cannot be found out. */
  #tell(
    group: GroupId,
    told: { readonly answered: readonly IpAddress[]; readonly unasked: readonly IpAddress[] },
  ): boolean {
    const isAnswered = told.answered.length + told.unasked.length > 0;
    if (!isAnswered) {
      this.#found.delete(group);
      return false;
    }
    const found = JSON.stringify(told);
    // A lapsed holder asks again and again.
    if (this.#found.get(group) !== found)
      this.#ports.log.warn({ vipGroup: group, ...told }, 'vip.answered');
    this.#found.set(group, found);
    return true;
  }

  close(): void {
    this.#end.abort();
  }

  #retarget(targets: readonly IpAddress[]): void {
    const text = targets.join();
    if (text === this.#targets) return;
    this.#targets = text;
    this.#wasReachable.clear();
    this.#answeredAt.clear();
    this.#ports.metrics.forgetGateways();
  }

  #note({ isReachable, answered, unanswered }: GatewayAnswer, timeoutMs: number): void {
    const { metrics, log, clock } = this.#ports;
    metrics.gateway(isReachable);
    const seconds = clock.wallMs() / 1000;
    for (const target of answered) {
      metrics.gatewayAnswered(target, seconds);
      this.#answeredAt.set(target, clock.now());
    }
    const before = this.#wasReachable.get(timeoutMs);
    if (isReachable === before) return;
    if (!isReachable) log.warn({ timeoutMs, unanswered }, 'gateway.lost');
    else if (before !== undefined) log.info({ timeoutMs, answered }, 'gateway.found');
    if (this.#wasReachable.size >= TIMEOUTS_MAX) this.#wasReachable.clear();
    this.#wasReachable.set(timeoutMs, isReachable);
  }
}

/**
 * Null where one of the signals came first. It leaves nothing on them: `AbortSignal.any` would, in Node 20, at
 * every question for as long as the agent lives.
 */
async function untilAny<T>(
  ends: readonly AbortSignal[],
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T | null> {
  if (ends.some((end) => end.aborted)) return null;
  const ended = new AbortController();
  const abort = (): void => ended.abort();
  for (const end of ends) end.addEventListener('abort', abort);
  try {
    const answer = await work(ended.signal);
    return ended.signal.aborted ? null : answer;
  } finally {
    for (const end of ends) end.removeEventListener('abort', abort);
  }
}
