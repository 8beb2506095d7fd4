/**
 * VRRP in the agent (design 4.15): what holders say on the wire, and what routers that are no directors let
 * this director do. While etcd or the peers answer VRRP decides nothing among directors: of them only foreign
 * routers are fed into the state machine, and its word reaches the election as an obstacle of the group.
 */
import { type VrrpPart, vrrpPart } from '../core/vrrp/part.ts';
import { deriveInstances } from '../core/vrrp/instances.ts';
import type { VrrpSettings } from '../core/vrrp/timers.ts';
import type { ElectionState } from '../core/election/state.ts';
import { effectivePriority } from '../core/placement/order.ts';
import { familyOf, type IpAddress, type IpFamily } from '../model/address.ts';
import type { ClusterSpec, VipGroup } from '../model/cluster.ts';
import type { IneligibleReason } from '../model/decision.ts';
import { type DirectorId, type GroupId, monoMs } from '../model/ids.ts';
import { ADDRESS_PROTOCOL, type BoundAddress } from '../model/kernel.ts';
import type { VrrpStatus } from '../model/status.ts';
import { VRRP_PRIORITY_RELEASE, type VrrpInstance } from '../model/vrrp.ts';
import { Wakeup } from '../lib/async.ts';
import { messageOf } from '../lib/result.ts';
import type { Clock } from '../ports/clock.ts';
import type { NetworkKernel } from '../ports/kernel.ts';
import type { Log } from '../ports/log.ts';
import type { VrrpDelivery, VrrpLink } from '../ports/vrrp-link.ts';
import type { InterfaceMap, Links } from './interfaces.ts';
import { LocalRouter, type VrrpTurn } from './vrrp-routers.ts';
import { waitFor } from './wait-for.ts';

export type VrrpDeskPorts = {
  readonly link: VrrpLink;
  readonly kernel: Pick<NetworkKernel, 'addresses'>;
  readonly clock: Clock;
  readonly log: Log;
  readonly devices: InterfaceMap;
  readonly links: () => Links;
  readonly election: () => ElectionState;
  /** Nobody holds the group, and this director is the one to preempt the router that speaks for it. */
  readonly isHeir: (group: VipGroup) => boolean;
  /** An agent of that director runs: else whoever speaks from its address is another router. */
  readonly isRunning: (director: DirectorId) => boolean;
  /** The director that has this address by its report; null: none. */
  readonly reportedBy: (address: IpAddress) => DirectorId | null;
  /** An obstacle is another than before. */
  readonly changed: () => void;
  /** A sign of life: the director itself advertised the group. */
  readonly heard: (from: DirectorId, group: GroupId) => void;
  /** Tells the network again where the VIPs are, if they are here. */
  readonly announce: (group: GroupId) => void;
  readonly tell: (news: VrrpNews) => void;
};

/** For the event list. */
export type VrrpNews = {
  readonly kind: 'vrrp.yielded' | 'vrrp.neighbour-active' | 'vrrp.neighbour-gone';
  readonly group: GroupId;
  readonly message: string;
};

export type VrrpDesk = {
  /** The spec, the links or what is reported changed. */
  place(spec: ClusterSpec | null): void;
  /** What is held may have changed: begins and ends advertising at once. */
  look(): void;
  /** What the wire has against holding the group here; null: nothing. */
  obstacle(group: GroupId): IneligibleReason | null;
  /** Addresses that this director advertises from. */
  sources(): readonly IpAddress[];
  status(group: GroupId): readonly VrrpStatus[];
  /** Hears until the signal aborts, then lets the last words go and closes the link. */
  run(signal: AbortSignal): Promise<void>;
};

/** keepalived's own, where a group has none. */
const DEFAULT_PRIORITY = 100;
const ADDRESSES_MS = 5000;
const NO_ROUTERS: readonly LocalRouter[] = [];
/** Routers that are told of for their VIPs: by multicast anybody could name himself a new one for ever. */
const DIFFERING_MAX = 256;

export function createVrrpDesk(me: DirectorId, ports: VrrpDeskPorts): VrrpDesk {
  return new Desk(me, ports);
}

class Desk implements VrrpDesk {
  readonly #me: DirectorId;
  readonly #ports: VrrpDeskPorts;
  readonly #routers = new Map<string, LocalRouter>();
  /** The same by their groups; null: to be made anew. */
  #byGroup: ReadonlyMap<GroupId, readonly LocalRouter[]> | null = null;
  readonly #wakeup = new Wakeup();
  #spec: ClusterSpec | null = null;
  /** Null: the kernel has not said yet. */
  #addresses: readonly BoundAddress[] | null = null;
  #configured = '';
  /** Groups that this director spoke for, and has not said goodbye for. */
  readonly #departing = new Set<GroupId>();
  readonly #obstacles = new Map<GroupId, IneligibleReason | null>();
  /** By router: the neighbour that was told of as active, the first of a time in which somebody always was. */
  readonly #active = new Map<string, IpAddress>();
  readonly #differing = new Set<string>();

  constructor(me: DirectorId, ports: VrrpDeskPorts) {
    this.#me = me;
    this.#ports = ports;
  }

  place(spec: ClusterSpec | null): void {
    this.#spec = spec;
    this.#wakeup.wake();
    this.#place();
  }

  look(): void {
    for (const group of this.#groups()) this.#follow(group);
    this.#judge();
  }

  obstacle(group: GroupId): IneligibleReason | null {
    return this.#obstacles.get(group) ?? null;
  }

  sources(): readonly IpAddress[] {
    return [...new Set([...this.#routers.values()].map(({ instance }) => instance.source))];
  }

  status(group: GroupId): readonly VrrpStatus[] {
    const errors = this.#errors();
    return this.#of(group).map((router) => {
      const { family, routerId, device } = router.instance;
      const neighbour = router.neighbour();
      return {
        family,
        routerId,
        state: router.kind,
        priority: router.settings().priority,
        active:
          neighbour === null ? null : { address: neighbour.source, priority: neighbour.priority },
        problem: errors.get(`${device} ${family}`) ?? null,
      };
    });
  }

  async run(signal: AbortSignal): Promise<void> {
    const { link } = this.#ports;
    try {
      await Promise.all([this.#hear(signal), this.#readAddresses(signal)]);
    } finally {
      for (const router of this.#routers.values()) router.end();
      await link.close();
    }
  }

  async #hear(signal: AbortSignal): Promise<void> {
    for await (const delivery of this.#ports.link.receive(signal)) this.#take(delivery);
  }

  async #readAddresses(signal: AbortSignal): Promise<void> {
    const { kernel, clock, log } = this.#ports;
    while (!signal.aborted) {
      if (this.#groups().length > 0)
        try {
          const read = await kernel.addresses();
          if (read.ok) this.#addresses = read.value;
          this.#place();
        } catch (error) {
          log.warn({ problem: messageOf(error) }, 'vrrp.unplaced');
        }
      await waitFor(this.#wakeup, ADDRESSES_MS, clock, signal);
    }
  }

  #groups(): readonly VipGroup[] {
    return (this.#spec?.groups ?? []).filter(({ vrrp }) => vrrp !== null);
  }

  #of(group: GroupId): readonly LocalRouter[] {
    this.#byGroup ??= byGroup(this.#routers.values());
    return this.#byGroup.get(group) ?? NO_ROUTERS;
  }

  /** Makes the routers those of the spec, the links and the addresses as they are now. */
  #place(): void {
    const wanted = new Map<string, { readonly group: VipGroup; readonly instance: VrrpInstance }>();
    const own = this.#ownAddresses();
    if (own !== null)
      for (const group of this.#groups())
        for (const instance of this.#instancesOf(group, own))
          wanted.set(instance.key, { group, instance });
    const instances = [...wanted.values()].map(({ instance }) => instance);
    const configured = JSON.stringify(instances);
    if (configured !== this.#configured) {
      this.#configured = configured;
      this.#ports.link.configure(instances);
    }
    for (const [key, router] of this.#routers)
      if (!wanted.has(key)) {
        router.end();
        this.#routers.delete(key);
        this.#active.delete(key);
      }
    this.#byGroup = null;
    for (const [key, { group, instance }] of wanted) {
      const known = this.#routers.get(key);
      if (known !== undefined) known.change(group, instance);
      else this.#begin(key, group, instance);
      this.#byGroup = null;
    }
    this.look();
  }

  /** Those that are no VIPs; null: nothing can be placed yet. */
  #ownAddresses(): readonly BoundAddress[] | null {
    if (this.#spec === null || this.#addresses === null) return null;
    const vips = new Set(
      this.#spec.groups.flatMap(({ addresses }) => addresses.map(({ address }) => address)),
    );
    return this.#addresses.filter(
      ({ address, protocol }) => protocol !== ADDRESS_PROTOCOL && !vips.has(address),
    );
  }

  #instancesOf(group: VipGroup, own: readonly BoundAddress[]): readonly VrrpInstance[] {
    const { devices, links } = this.#ports;
    if (this.#spec === null) return [];
    return deriveInstances(group, {
      director: this.#me,
      directors: this.#spec.directors,
      deviceOf: (name) => {
        const device = devices.get(name);
        return device !== undefined && links().has(device) ? device : null;
      },
      sourceOf: (device, family) => {
        const index = links().get(device)?.index;
        const here = own.filter(
          ({ linkIndex, address }) => linkIndex === index && familyOf(address) === family,
        );
        return this.#sourceOf(family, group, here);
      },
    });
  }

  /** The director's address of the document where the device has it, else another one of the device. */
  #sourceOf(family: IpFamily, { vrrp }: VipGroup, own: readonly BoundAddress[]): IpAddress | null {
    const named = this.#spec?.directors.find(({ id }) => id === this.#me)?.address;
    // RFC 9568 5.1.2.1; a neighbour that is told by unicast knows another address.
    const scope = family === 6 && vrrp?.isMulticast === true ? 'link' : 'global';
    const inScope = own.filter((one) => one.scope === scope);
    const chosen =
      own.find(({ address }) => address === named) ??
      // Neighbours are told one address: not one that privacy extensions change every day.
      inScope.find(({ validLifetimeS }) => validLifetimeS === null) ??
      inScope[0];
    return (chosen ?? own[0])?.address ?? null;
  }

  #begin(key: string, group: VipGroup, instance: VrrpInstance): void {
    const { clock } = this.#ports;
    const router = new LocalRouter(group, instance, {
      clock,
      settingsOf: (of, by) => this.#settingsOf(of, by),
      advertise: (by, priority) => this.#advertise(by, priority),
      listened: () => this.look(),
      turned: (by, output) => this.#turned(by, output),
    });
    this.#routers.set(key, router);
    this.#byGroup = null;
    router.start();
  }

  #settingsOf(group: VipGroup, { version, intervalMs, source }: VrrpInstance): VrrpSettings {
    const { preempt } = group;
    return {
      version,
      priority: this.#priorityOf(group),
      intervalMs,
      primary: source,
      isPreempting: preempt.kind !== 'never' && this.#ports.isHeir(group),
      preemptDelayMs: preempt.kind === 'after' ? preempt.ms : 0,
    };
  }

  #priorityOf({ id, priorities }: VipGroup): number {
    const priority = priorities?.get(this.#me) ?? DEFAULT_PRIORITY;
    return effectivePriority(priority, this.#ports.election().bonus.get(id) ?? 0);
  }

  #partIn(group: GroupId): VrrpPart {
    const { election, clock } = this.#ports;
    const holdMs = this.#spec?.timing.holdMs ?? 0;
    return vrrpPart(election(), group, this.#me, { now: clock.now(), holdMs });
  }

  /** As a holder only within the kernel's deadline; else it is the claim of who is to open. */
  #advertise(router: LocalRouter, priority: number): void {
    const { link } = this.#ports;
    const { id } = router.group;
    const part = this.#partIn(id);
    if (part.kind === 'speaking' || part.kind === 'opening')
      link.send(router.instance.key, priority, part.until);
    else if (router.kind === 'claiming' && this.#ports.isHeir(router.group)) {
      const until = monoMs(this.#ports.clock.now() + router.instance.intervalMs);
      link.send(router.instance.key, priority, until);
    }
  }

  /** A former process that hands its groups on has advertised until a moment ago, and its kernel speaks. */
  #isQuiet(router: LocalRouter): boolean {
    const armedMs = this.#ports.election().armedHoldMs ?? 0;
    const isHandedOn = armedMs > (this.#spec?.timing.holdMs ?? armedMs);
    return router.isQuiet() || (isHandedOn && router.neighbour() === null);
  }

  /** Brings the group's routers in step with how it is held. */
  #follow(group: VipGroup): void {
    const part = this.#partIn(group.id);
    const routers = this.#of(group.id);
    const isOpening = part.kind === 'opening' && routers.every((router) => this.#isQuiet(router));
    if (part.kind === 'speaking') this.#departing.add(group.id);
    if (part.kind === 'speaking' || isOpening) {
      // All or none: the VIPs of both families move together.
      if (routers.some((router) => router.isYielding())) return;
      for (const router of routers) if (router.kind !== 'active') router.step({ kind: 'opened' });
      return;
    }
    for (const router of routers) {
      const isClaim = router.kind === 'claiming' && this.#ports.isHeir(group);
      if (!isClaim) router.step({ kind: 'silenced' });
    }
    if (part.kind === 'silent') this.#depart(group, part.successor);
    else if (part.kind === 'named') this.#departing.delete(group.id);
  }

  /**
   * The goodbye: only when the kernel has silenced the VIPs, within the time in which it would have spoken, and
   * to nobody's harm: a successor that holds already would be overtaken for it.
   */
  #depart(group: VipGroup, successor: DirectorId | null): void {
    const isDue = this.#departing.delete(group.id) && successor === null;
    const until = this.#ports.election().armedUntil;
    if (!isDue || this.#ports.clock.now() >= until) return;
    for (const router of this.#of(group.id))
      if (!router.isYielding())
        this.#ports.link.send(router.instance.key, VRRP_PRIORITY_RELEASE, until);
  }

  #turned(router: LocalRouter, turn: VrrpTurn): void {
    const { id } = router.group;
    switch (turn.kind) {
      case 'announce':
        this.#ports.announce(id);
        return;
      case 'yield':
        this.#yield(router, turn);
        this.#judge();
        return;
      case 'may-open':
        this.#follow(router.group);
        this.#judge();
        return;
    }
  }

  #yield(router: LocalRouter, { to, reason }: VrrpTurn & { kind: 'yield' }): void {
    const { log, tell } = this.#ports;
    const { id } = router.group;
    const priority = router.neighbour()?.priority;
    log.warn({ vipGroup: id, to, priority, reason }, 'vrrp.yielded');
    const message = `${to} advertises it with priority ${priority} and goes before this director (${reason})`;
    tell({ kind: 'vrrp.yielded', group: id, message });
    this.#departing.delete(id);
    for (const other of this.#of(id)) if (other !== router) other.step({ kind: 'silenced' });
  }

  #take({ instance, advert, hasOurAddresses }: VrrpDelivery): void {
    const router = this.#routers.get(instance);
    if (router === undefined) return;
    const group = router.group.id;
    const director = this.#directorAt(advert.source);
    if (director !== null) {
      if (director === this.#me || advert.priority === VRRP_PRIORITY_RELEASE) return;
      this.#departing.delete(group);
      this.#ports.heard(director, group);
      return;
    }
    if (!hasOurAddresses) this.#tellDiffering(router, advert.source);
    router.step({ kind: 'advert', advert });
    this.#judge();
  }

  #directorAt(address: IpAddress): DirectorId | null {
    const named = this.#spec?.directors.find((director) => director.address === address);
    const director = named?.id ?? this.#ports.reportedBy(address);
    if (director === null || director === this.#me) return director;
    return this.#ports.isRunning(director) ? director : null;
  }

  #tellDiffering({ group, instance }: LocalRouter, source: IpAddress): void {
    const name = `${instance.key} ${source}`;
    if (this.#differing.has(name) || this.#differing.size >= DIFFERING_MAX) return;
    this.#differing.add(name);
    this.#ports.log.warn({ vipGroup: group.id, source }, 'vrrp.addresses-differ');
  }

  /** Tells where an obstacle is another than before, and who began or ceased to be active. */
  #judge(): void {
    for (const router of this.#routers.values()) this.#noteNeighbour(router);
    const errors = this.#errors();
    let isChanged = false;
    const groups = this.#groups();
    for (const group of groups) {
      const obstacle = this.#obstacleOf(group, errors);
      if (this.#obstacles.get(group.id) === obstacle) continue;
      isChanged = true;
      this.#obstacles.set(group.id, obstacle);
    }
    const ids = new Set(groups.map(({ id }) => id));
    for (const id of this.#obstacles.keys()) if (!ids.has(id)) this.#obstacles.delete(id);
    if (isChanged) this.#ports.changed();
  }

  #obstacleOf(group: VipGroup, errors: ReadonlyMap<string, string>): IneligibleReason | null {
    const families = foreignFamilies(group);
    if (families.size === 0) return null;
    const part = this.#partIn(group.id);
    const isOurs = part.kind !== 'silent';
    const routers = this.#of(group.id).filter(({ instance }) => families.has(instance.family));
    for (const router of routers) {
      if (router.kind === 'active') continue;
      if (router.kind !== 'initialize' && router.neighbour() !== null)
        return 'vrrp-active-elsewhere';
    }
    const isSilent = part.kind === 'named' || part.kind === 'opening';
    const isKnown = this.#addresses !== null;
    if (isSilent && !(isKnown && routers.every((router) => this.#isQuiet(router))))
      return 'vrrp-listening';
    if (isOurs) return null;
    if (this.#addresses === null) return 'starting';
    if (routers.length < families.size) return 'vrrp-unheard';
    for (const router of routers) {
      const { device, family } = router.instance;
      if (errors.has(`${device} ${family}`)) return 'vrrp-unheard';
      if (!router.mayOpen()) return 'vrrp-listening';
    }
    return null;
  }

  #errors(): ReadonlyMap<string, string> {
    return new Map(
      this.#ports.link
        .sockets()
        .flatMap(({ device, family, error }) =>
          error === null ? [] : [[`${device} ${family}`, error] as const],
        ),
    );
  }

  #noteNeighbour(router: LocalRouter): void {
    const { log, tell } = this.#ports;
    const { key } = router.instance;
    const group = router.group.id;
    const heard = router.kind === 'backup' ? router.neighbour() : null;
    const before = this.#active.get(key);
    if (heard !== null && before === undefined) {
      this.#active.set(key, heard.source);
      const { source, priority } = heard;
      log.info({ vipGroup: group, router: key, source, priority }, 'vrrp.neighbour-active');
      const message = `${source} speaks for it by VRRP, with priority ${priority}`;
      tell({ kind: 'vrrp.neighbour-active', group, message });
    }
    if (heard !== null || before === undefined) return;
    this.#active.delete(key);
    log.info({ vipGroup: group, router: key, source: before }, 'vrrp.neighbour-gone');
    tell({ kind: 'vrrp.neighbour-gone', group, message: `${before} speaks for it no more` });
  }
}

function byGroup(routers: Iterable<LocalRouter>): ReadonlyMap<GroupId, readonly LocalRouter[]> {
  const found = new Map<GroupId, LocalRouter[]>();
  for (const router of routers) {
    const others = found.get(router.group.id);
    if (others === undefined) found.set(router.group.id, [router]);
    else others.push(router);
  }
  return found;
}

/** Families of the VIPs in which routers that are no directors may take part. */
function foreignFamilies({ vrrp, addresses }: VipGroup): ReadonlySet<IpFamily> {
  const families = new Set(addresses.map(({ address }) => familyOf(address)));
  if (vrrp === null || vrrp.isMulticast) return vrrp === null ? new Set() : families;
  const told = new Set(vrrp.neighbours.map(({ address }) => familyOf(address)));
  return new Set([...families].filter((family) => told.has(family)));
}
