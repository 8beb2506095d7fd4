/**
 * The gate of kernel rules (design 4.3, 4.4): VIPs are bound ahead and stay silent until one atomic
 * batch, valid only while the round's permit lives, lets them speak for F. Pauses of this process are
 * the kernel's to judge. `valid_lft` of the addresses is the second line, for rules that others flush.
 */
import { err, ok, type Result } from '../lib/result.ts';
import type { IpAddress } from '../model/address.ts';
import { type GroupId, type MonoMs, monoMs } from '../model/ids.ts';
import { ADDRESS_PROTOCOL, type ArmMode, type KernelError } from '../model/kernel.ts';
import type { Clock } from '../ports/clock.ts';
import type { Fence, FenceChange, FenceContents, FenceKind } from '../ports/fence.ts';
import type { Armed, ArmRequest, GateGroup } from '../ports/gate.ts';
import type { NetworkKernel } from '../ports/kernel.ts';
import type { Log } from '../ports/log.ts';
import { Bindings, lifetimeFor } from './bindings.ts';
import {
  addressesOf,
  applied,
  armingChange,
  isGated,
  isSameDevices,
  isSameManaged,
  type Managed,
  servedDifference,
  speakingUntil,
  UNCHANGED,
} from './fence-contents.ts';
import { LATE, MISSING, NO_DEVICE, NOT_PREPARED } from './gate-errors.ts';
import { type ArmingInputs, isRepeated, type LastArming } from './last-arming.ts';
import type { GatePlaces, LocalGate } from './local-gate.ts';
import { RefusedVips } from './refused-vips.ts';

/** A lifetime is refreshed when so much of it is over. */
const REFRESH_AGE_MS = 1500;
/** Refreshed with one arming at most: what is open must not wait for the second line of all others. */
const REFRESH_LIMIT = 64;
/** Addresses bound with one arming at most; measured: 32 take 3 ms on a calm machine. */
const BIND_LIMIT = 32;
/** Longer than most D': what is bound ahead is silent, and opens with a lifetime of its own. */
const FORESEEN_LIFETIME_S = 20;

/** So often a check looks at all of the rules, also where the kernel says that nobody else has changed any. */
const LOOK_MS = 10_000;

export function createFenceGate(ports: {
  readonly fence: Fence;
  readonly kernel: NetworkKernel;
  readonly clock: Clock;
  readonly log: Log;
  /** It spoke here, and was unbound to make the rules anew: whoever asks for it now hears nobody. */
  readonly lost?: (group: GroupId, address: IpAddress) => void;
}): LocalGate {
  return new FenceGate(ports);
}

type Ports = Parameters<typeof createFenceGate>[0];

class FenceGate implements LocalGate {
  readonly kind: FenceKind;
  readonly #ports: Ports;
  readonly #bindings: Bindings;
  readonly #refused: RefusedVips;
  #places: GatePlaces = { devices: [], vips: [], groups: new Map() };
  /** As the kernel acknowledged it last; null: in doubt, to be asked before anything is built on it. */
  #contents: FenceContents | null = null;
  /** When a check looked at all of it last. */
  #lookedAt = monoMs(Number.NEGATIVE_INFINITY);
  /** Null where it left anything to be done. */
  #lastArming: LastArming | null = null;
  /** With these there was nothing to add to the managed addresses and nothing to take from them. */
  #managedFor: Managed | null = null;
  /** How the last arming, or an operation after it, left each group. */
  readonly #modes = new Map<GroupId, ArmMode>();
  /** Bound ahead for a takeover that may come. */
  #foreseen: readonly GateGroup[] = [];
  #speaksUntil: MonoMs = monoMs(-Infinity);

  constructor(ports: Ports) {
    this.#ports = ports;
    this.kind = ports.fence.kind;
    this.#bindings = new Bindings(ports);
    this.#refused = new RefusedVips(this.#bindings, ports.clock);
  }

  setPlaces(places: GatePlaces): void {
    const isHere = new Set(places.devices.map((device) => device.index));
    // A device that left may come back with its index, and without the rules that were on it.
    if (this.#places.devices.some(({ index }) => !isHere.has(index))) this.#contents = null;
    this.#places = places;
    this.#bindings.setHeirs(places.groups);
    this.#refused.retry();
    // With a link its addresses went, also where the notification of each was lost.
    this.#bindings.forgetLinksBut(isHere);
  }

  isPlaced(): boolean {
    return this.#bindings.isPlaced();
  }

  forget(linkIndex: number, address: IpAddress): GroupId | null {
    return this.#bindings.forget(linkIndex, address);
  }

  async permit(round: number, timeoutMs: number): Promise<Result<void, KernelError>> {
    const ready = await this.#prepare([]);
    if (!ready.ok) return ready;
    const given = await this.#ports.fence.permit(round, timeoutMs);
    if (given.ok || given.error.code !== 'MISSING') return given;
    const recovered = await this.#recover();
    return recovered.ok ? this.#ports.fence.permit(round, timeoutMs) : recovered;
  }

  async arm(request: ArmRequest): Promise<Result<Armed, KernelError>> {
    const { groups } = request;
    const isRepeating = this.#repeated(groups) !== null;
    const ready = await this.#prepare(isRepeating ? [] : addressesOf(groups));
    if (!ready.ok) return ready;
    const last = isRepeating ? this.#repeated(groups) : null;
    return last === null ? this.#armAnew(request) : this.#armAgain(request, last);
  }

  #repeated(groups: ArmRequest['groups']): LastArming | null {
    const inputs = this.#inputs();
    const last = this.#refused.isDue() ? null : this.#lastArming;
    return last !== null && inputs !== null && isRepeated(last, groups, inputs) ? last : null;
  }

  #inputs(): ArmingInputs | null {
    const contents = this.#contents;
    if (contents === null) return null;
    const { version } = this.#bindings;
    return { contents, places: this.#places, version, foreseen: this.#foreseen };
  }

  /** Everything is as the last arming left it: only the deadlines move. */
  async #armAgain(
    { round, groups, until, aliveMs }: ArmRequest,
    { linkIndexes }: LastArming,
  ): Promise<Result<Armed, KernelError>> {
    const sentAt = this.#ports.clock.now();
    if (sentAt >= until) return err(LATE);
    const alive = { linkIndexes, timeoutMs: aliveMs };
    const done = await this.#commit({ ...UNCHANGED, permit: round, alive });
    if (!done.ok) return this.#afterFailure(done.error);
    const speaking = groups.filter(({ mode }) => mode === 'open').map(({ group }) => group);
    const opened = sentAt >= this.#speaksUntil ? speaking : [];
    const speaksUntil = monoMs(Math.min(until, sentAt + aliveMs));
    this.#speaksUntil = speaksUntil;
    const unrefreshed = await this.#refresh(groups, lifetimeFor(aliveMs));
    const failed = [...unrefreshed].map(([group, error]) => ({ group, error }));
    const refused = this.#refused.told();
    return ok({ speaksUntil, opened, unsettled: [], deferred: [], refused, failed });
  }

  async #armAnew(request: ArmRequest): Promise<Result<Armed, KernelError>> {
    const { groups, until, aliveMs } = request;
    this.#lastArming = null;
    const covered = new Set(this.#places.devices.map((device) => device.index));
    const failed = new Map<GroupId, KernelError>();
    for (const { group, addresses: own } of groups)
      if (own.some(({ linkIndex }) => !covered.has(linkIndex))) failed.set(group, NO_DEVICE);
    this.#refused.keep(groups);
    const placed = groups.filter(({ group }) => !failed.has(group));
    const { bindable, deferred } = this.#share(placed.map((one) => this.#refused.asked(one)));
    const lifetimeS = lifetimeFor(aliveMs);
    const bound = await this.#bindings.bindMissing(bindable, lifetimeS);
    const isGoing = (one: (typeof bindable)[number]): boolean =>
      one.isPartial === true || this.#isSpeaking(one.group);
    const judged = this.#refused.take(bindable, bound, isGoing);
    for (const [group, error] of judged.failed) failed.set(group, error);
    const armed = judged.able;
    const change = armingChange(request, armed, this.#contents);
    const sentAt = this.#ports.clock.now();
    if (sentAt >= until) return err(LATE);
    const done = await this.#commit(change);
    if (!done.ok) return this.#afterFailure(done.error);
    const speaksUntil = monoMs(Math.min(until, sentAt + aliveMs));
    const begun = new Set(change.enabled.add);
    // What was bound ahead, in whatever name, is nobody's news until it may speak.
    const isNew = ({ group, addresses }: GateGroup): boolean =>
      bound.fresh.has(group) || addresses.some(({ address }) => begun.has(address));
    const opened = this.#opened(armed, isNew, sentAt);
    this.#speaksUntil = speaksUntil;
    this.#modes.clear();
    for (const { group, mode } of armed) this.#modes.set(group, mode);
    for (const [group, error] of await this.#tidy(groups, lifetimeS)) failed.set(group, error);
    const refusals = [...failed].map(([group, error]) => ({ group, error }));
    const unsettled = armed
      .filter(({ addresses: own }) => !own.every((one) => this.#bindings.isSettled(one)))
      .map(({ group }) => group);
    const inputs = this.#inputs();
    if (inputs !== null && failed.size === 0 && deferred.length === 0 && unsettled.length === 0)
      this.#lastArming = { ...inputs, groups, linkIndexes: change.alive?.linkIndexes ?? [] };
    const refused = this.#refused.told();
    return ok({ speaksUntil, opened, unsettled, deferred, refused, failed: refusals });
  }

  /**
   * What is bound already must not wait for what is not: between permit and batch only so many addresses
   * are bound as surely fit.
   */
  #share<G extends GateGroup>(
    groups: readonly G[],
  ): { readonly bindable: readonly G[]; readonly deferred: readonly GroupId[] } {
    const deferred: GroupId[] = [];
    let left = BIND_LIMIT;
    const bindable = groups.filter(({ group, addresses }) => {
      const missing = addresses.filter((one) => !this.#bindings.has(one)).length;
      // What speaks already is never left out.
      const isArmed = missing === 0 || this.#modes.has(group);
      const fits = isArmed || left === BIND_LIMIT || missing <= left;
      if (fits) left -= missing;
      else deferred.push(group);
      return fits;
    });
    return { bindable, deferred };
  }

  async foresee(groups: readonly GateGroup[]): Promise<boolean> {
    const left = this.#foreseen.filter((one) => !groups.some(({ group }) => group === one.group));
    this.#foreseen = groups;
    if (!(await this.#prepare(addressesOf(groups))).ok) return false;
    const covered = new Set(this.#places.devices.map((device) => device.index));
    const bindable = groups.filter((one) =>
      one.addresses.every(({ linkIndex }) => covered.has(linkIndex)),
    );
    // In small parts: a round that is due in between must not wait for all.
    const missing = bindable.filter((one) =>
      one.addresses.some((address) => !this.#bindings.has(address)),
    );
    const part = missing.slice(0, BIND_LIMIT);
    const bound = await this.#bindings.bindMissing(part, FORESEEN_LIFETIME_S);
    const idle = left.filter(({ group }) => !this.#modes.has(group));
    await this.#bindings.unbind(this.#bindings.of(idle));
    // What is refused would be asked for again without end.
    return missing.length > BIND_LIMIT && bound.failed.size === 0;
  }

  seen(linkIndex: number, address: IpAddress): void {
    this.#bindings.seen(linkIndex, address);
  }

  async open(groups: readonly GateGroup[], until: MonoMs): Promise<Result<Armed, KernelError>> {
    const isReady = (one: GateGroup): boolean =>
      this.#modes.get(one.group) === 'prepared' &&
      this.#refused.served(one).addresses.every((address) => this.#bindings.has(address));
    const isOpen = ({ group }: GateGroup): boolean => this.#modes.get(group) === 'open';
    const ready = groups.filter(isReady);
    const unready = groups.filter((one) => !isReady(one) && !isOpen(one));
    const failed = unready.map(({ group }) => ({ group, error: NOT_PREPARED }));
    const speaksUntil = monoMs(Math.min(until, this.#speaksUntil));
    // Opening late would be harmless, the interface is no longer alive then; but it is no opening.
    if (this.#ports.clock.now() >= speaksUntil) return err(LATE);
    const add = addressesOf(ready.map((one) => this.#refused.served(one)));
    if (add.length > 0) {
      const muted = { add: [], remove: add };
      const done = await this.#commit({ ...UNCHANGED, enabled: { add, remove: [] }, muted });
      if (!done.ok) return this.#afterFailure(done.error);
    }
    for (const { group } of ready) this.#modes.set(group, 'open');
    return ok({
      speaksUntil,
      opened: ready.map(({ group }) => group),
      unsettled: [],
      deferred: [],
      refused: this.#refused.told(),
      failed,
    });
  }

  async mute(groups: readonly GateGroup[]): Promise<Result<void, KernelError>> {
    const add = this.#bindings.of(groups).map(({ address }) => address);
    const done = await this.#commit({ ...UNCHANGED, muted: { add, remove: [] } });
    if (!done.ok)
      // Without rules nothing is bound any more, and nothing answers.
      return done.error.code === 'MISSING' ? this.#recover() : done;
    for (const { group } of groups) this.#modes.set(group, 'muted');
    return ok(undefined);
  }

  async close(groups: readonly GateGroup[]): Promise<Result<void, KernelError>> {
    const places = this.#bindings.of(groups);
    const remove = places.map(({ address }) => address);
    const change = { ...UNCHANGED, enabled: { add: [], remove }, muted: { add: [], remove } };
    const silenced = await this.#commit(change);
    const recovered =
      !silenced.ok && silenced.error.code === 'MISSING' ? await this.#recover() : silenced;
    // Also when the rules would not obey: an address that is gone does not answer.
    const unbound = await this.#bindings.unbind(places);
    for (const { group } of groups) this.#modes.delete(group);
    this.#refused.drop(groups);
    return recovered.ok ? unbound : recovered;
  }

  async adopt(
    keep: readonly GateGroup[],
  ): Promise<Result<ReadonlyMap<GroupId, MonoMs>, KernelError>> {
    const { fence, kernel } = this.#ports;
    const observed = await fence.observe();
    if (!observed.ok) return observed;
    // Nothing that speaks without rules may be kept: it would speak for ever.
    if (observed.value === null) {
      // Before there are rules that do not know it: what an earlier life bound speaks as long as it is bound.
      const left = await this.#unbindLeft();
      if (!left.ok) return left;
      const made = await this.#recover();
      return made.ok ? ok(new Map()) : made;
    }
    const speaking = await this.#speaking(keep, observed.value);
    if (!speaking.ok) return speaking;
    const known = observed.value;
    this.#contents = known;
    const bound = await kernel.addresses();
    if (!bound.ok) return bound;
    const kept = this.#bindings.seed(keep, bound.value);
    for (const { group, addresses } of keep)
      if (kept.includes(group) && addresses.some(({ address }) => known.enabled.has(address)))
        this.#modes.set(
          group,
          addresses.some(({ address }) => known.muted.has(address)) ? 'muted' : 'open',
        );
    for (const one of keep) if (this.#isSpeaking(one.group)) this.#refused.expect(one);
    const silenced = await this.#silenceBut(addressesOf(keep));
    if (!silenced.ok) return silenced;
    // What the spec has dropped meanwhile may still be bound, and stays managed until it is not.
    const installed = await this.#prepareDevices();
    if (!installed.ok) return installed;
    const managed = await this.#manage(addressesOf(keep), { isGrowingOnly: true });
    if (!managed.ok) return managed;
    const silent = monoMs(Number.NEGATIVE_INFINITY);
    return ok(new Map(kept.map((group) => [group, speaking.value.get(group) ?? silent])));
  }

  /** Until when the kernel lets each of them speak, of those that it does. */
  async #speaking(
    groups: readonly GateGroup[],
    { enabled }: FenceContents,
  ): Promise<Result<ReadonlyMap<GroupId, MonoMs>, KernelError>> {
    const { fence, clock } = this.#ports;
    const askedAt = clock.now();
    const lifetimes = await fence.lifetimes();
    if (!lifetimes.ok) return lifetimes;
    return ok(speakingUntil(groups, enabled, { lifetimes: lifetimes.value, askedAt }));
  }

  async check(mayBeBound: (group: GroupId) => boolean): Promise<Result<void, KernelError>> {
    const { fence, clock } = this.#ports;
    const isKnown = this.#contents !== null && clock.now() - this.#lookedAt < LOOK_MS;
    if (!isKnown || !fence.isAsLeft()) {
      const observed = await fence.observe();
      if (!observed.ok) return observed;
      if (observed.value === null) return this.#recover();
      this.#contents = observed.value;
      this.#lookedAt = clock.now();
    }
    const ready = await this.#prepare([]);
    if (!ready.ok) return ready;
    const bound = this.#bindings.all();
    const unwanted = bound.filter(({ group }) => !mayBeBound(group));
    for (const { group } of unwanted) this.#modes.delete(group);
    const speaking = bound.filter(({ group }) => this.#isSpeaking(group));
    const silenced = await this.#silenceBut(speaking.map(({ address }) => address));
    return silenced.ok ? this.#bindings.unbind(unwanted) : silenced;
  }

  async uninstall(): Promise<Result<void, KernelError>> {
    const { fence, kernel } = this.#ports;
    const observed = await fence.observe();
    if (!observed.ok) return observed;
    const bound = await kernel.addresses();
    if (!bound.ok) return bound;
    // By what the kernel says: an earlier life may have bound what this one has not heard of yet.
    const left = bound.value.filter((one) => isGated(one, observed.value));
    const unbound = await this.#bindings.unbind([...this.#bindings.all(), ...left]);
    // What could not be unbound needs the rules that silence it.
    if (!unbound.ok) return unbound;
    this.#contents = null;
    return fence.uninstall();
  }

  async #unbindLeft(): Promise<Result<void, KernelError>> {
    const bound = await this.#ports.kernel.addresses();
    if (bound.ok) return this.#bindings.unbind(bound.value.filter((one) => isGated(one, null)));
    return bound;
  }

  #isSpeaking(group: GroupId): boolean {
    const mode = this.#modes.get(group);
    return mode === 'open' || mode === 'muted';
  }

  /** Knows what is in the kernel, has rules on every device, and manages what may be bound. */
  async #prepare(extra: readonly IpAddress[]): Promise<Result<void, KernelError>> {
    if (this.#contents === null) {
      const observed = await this.#ports.fence.observe();
      if (!observed.ok) return observed;
      if (observed.value === null) {
        const made = await this.#recover();
        if (!made.ok) return made;
      } else this.#contents = observed.value;
    }
    const installed = await this.#prepareDevices();
    return installed.ok ? this.#manage(extra, { isGrowingOnly: false }) : installed;
  }

  async #prepareDevices(): Promise<Result<void, KernelError>> {
    const { devices } = this.#places;
    const known = this.#contents;
    if (known === null) return err(MISSING);
    if (isSameDevices(known.devices, devices)) return ok(undefined);
    this.#contents = null;
    const installed = await this.#ports.fence.install(devices);
    if (!installed.ok) return installed;
    const observed = await this.#ports.fence.observe();
    if (!observed.ok) return observed;
    // Somebody flushed the rules, unseen so far: these are new and empty, and manage nothing.
    if (
      observed.value === null ||
      [...known.managed].some((one) => !observed.value?.managed.has(one))
    )
      return this.#recover();
    this.#contents = observed.value;
    return ok(undefined);
  }

  /** Before anything of the spec, or of `extra`, is bound; what left the spec stays while it is bound. */
  async #manage(
    extra: readonly IpAddress[],
    { isGrowingOnly }: { readonly isGrowingOnly: boolean },
  ): Promise<Result<void, KernelError>> {
    const known = this.#contents;
    if (known === null) return err(MISSING);
    const { managed, served, directors } = known;
    const inputs = {
      managed,
      served,
      directors,
      places: this.#places,
      version: this.#bindings.version,
    };
    if (isSameManaged(this.#managedFor, inputs) && extra.every((one) => known.managed.has(one)))
      return ok(undefined);
    const bound = this.#bindings.all().map(({ address }) => address);
    const wanted = new Set([...this.#places.vips, ...extra, ...bound]);
    const add = [...wanted].filter((address) => !known.managed.has(address));
    const remove = isGrowingOnly ? [] : await this.#unbound(known, wanted);
    const exemption = servedDifference(known, this.#places.served);
    if (add.length === 0 && remove.length === 0 && exemption === null) {
      const isExact = wanted.size === known.managed.size;
      this.#managedFor = isExact ? inputs : null;
      return ok(undefined);
    }
    const done = await this.#commit({
      ...UNCHANGED,
      ...exemption,
      managed: { add, remove },
      enabled: { add: [], remove },
      muted: { add: [], remove },
    });
    return done.ok ? done : this.#afterFailure(done.error);
  }

  /**
   * What need not be managed any more. The kernel itself is asked what is bound: a stop between a
   * binding and its notifications leaves what is remembered here behind, and what is bound without
   * being managed speaks.
   */
  async #unbound(
    { managed }: FenceContents,
    wanted: ReadonlySet<IpAddress>,
  ): Promise<readonly IpAddress[]> {
    const left = [...managed].filter((one) => !wanted.has(one));
    if (left.length === 0) return left;
    const observed = await this.#ports.kernel.addresses();
    if (!observed.ok) return [];
    const fenced = new Set(this.#places.devices.map(({ index }) => index));
    const bound = new Set(
      observed.value
        // What a real server has on lo is no business of the rules.
        .filter(({ protocol, linkIndex }) => protocol === ADDRESS_PROTOCOL || fenced.has(linkIndex))
        .map(({ address }) => address),
    );
    return left.filter((one) => !bound.has(one));
  }

  /** The rules are gone, or not all there: nothing stays bound, then they are made anew. */
  async #recover(): Promise<Result<void, KernelError>> {
    const { fence, log } = this.#ports;
    this.#contents = null;
    const bound = this.#bindings.all();
    for (const { group, address } of bound)
      if (this.#modes.get(group) === 'open') this.#ports.lost?.(group, address);
    this.#modes.clear();
    if (bound.length > 0) log.error({ addresses: bound.length }, 'gate.lost');
    const unbound = await this.#bindings.unbind(bound);
    const installed = await fence.install(this.#places.devices);
    if (!installed.ok) return installed;
    const observed = await fence.observe();
    if (!observed.ok) return observed;
    if (observed.value === null) return err(MISSING);
    this.#contents = observed.value;
    log.info({ kind: this.kind, devices: this.#places.devices.length }, 'gate.installed');
    const silenced = await this.#silenceBut([]);
    if (!silenced.ok) return silenced;
    const managed = await this.#manageOnce();
    return managed.ok ? unbound : managed;
  }

  /** As `#manage`, but a loss of the rules is not repaired again: the next operation does. */
  async #manageOnce(): Promise<Result<void, KernelError>> {
    const bound = this.#bindings.all().map(({ address }) => address);
    const add = [...new Set([...this.#places.vips, ...bound])];
    const known = this.#contents;
    const exemption = known === null ? null : servedDifference(known, this.#places.served);
    return this.#commit({ ...UNCHANGED, ...exemption, managed: { add, remove: [] } });
  }

  /** Nothing but these addresses is enabled afterwards. */
  async #silenceBut(speaking: readonly IpAddress[]): Promise<Result<void, KernelError>> {
    const known = this.#contents;
    if (known === null) return err(MISSING);
    const allowed = new Set(speaking);
    const enabled = [...known.enabled].filter((address) => !allowed.has(address));
    const muted = [...known.muted].filter((address) => !allowed.has(address));
    if (enabled.length === 0 && muted.length === 0) return ok(undefined);
    return this.#commit({
      ...UNCHANGED,
      enabled: { add: [], remove: enabled },
      muted: { add: [], remove: muted },
    });
  }

  #opened(
    armed: readonly ArmRequest['groups'][number][],
    isNew: (group: GateGroup) => boolean,
    sentAt: MonoMs,
  ): readonly GroupId[] {
    const hadLapsed = sentAt >= this.#speaksUntil;
    return armed
      .filter((one) => one.mode === 'open')
      .filter((one) => hadLapsed || isNew(one) || this.#modes.get(one.group) !== 'open')
      .map(({ group }) => group);
  }

  async #commit(change: FenceChange): Promise<Result<void, KernelError>> {
    const done = await this.#ports.fence.commit(change);
    const known = this.#contents;
    if (done.ok) {
      if (known !== null) this.#contents = applied(known, change);
    } else if (done.error.code !== 'LATE') this.#contents = null;
    return done;
  }

  async #afterFailure(error: KernelError): Promise<Result<never, KernelError>> {
    if (error.code === 'MISSING') await this.#recover();
    return err(error);
  }

  /** After the batch: what no group wants any more is silent already, and lifetimes are no deadline. */
  async #tidy(
    groups: readonly GateGroup[],
    lifetimeS: number,
  ): Promise<ReadonlyMap<GroupId, KernelError>> {
    const wanted = [...groups, ...this.#foreseen];
    const stale = await this.#bindings.unbind(this.#bindings.besides(wanted));
    if (!stale.ok) this.#ports.log.warn({ problem: stale.error.message }, 'address.stuck');
    return this.#refresh(groups, lifetimeS);
  }

  async #refresh(
    groups: readonly GateGroup[],
    lifetimeS: number,
  ): Promise<ReadonlyMap<GroupId, KernelError>> {
    // Stopped since the batch: what has ended meanwhile would be bound anew, and the rules may have been flushed.
    if (this.#ports.clock.now() >= this.#speaksUntil) return new Map();
    const limits = { until: this.#speaksUntil, ageMs: REFRESH_AGE_MS, limit: REFRESH_LIMIT };
    return this.#bindings.refresh(groups, lifetimeS, limits);
  }
}
