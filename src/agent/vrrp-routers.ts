/**
 * The VRRP routers of this director, one for each virtual router of its groups: their timers, and what the
 * state machine asks of the wire. Who holds is decided elsewhere; this tells how the wire stands.
 */
import {
  activeNeighbour,
  CLAIM_QUIET_INTERVALS,
  INITIAL_ROUTER,
  mayOpen,
  stepVrrp,
  type VrrpEvent,
  type VrrpOutput,
  type VrrpRouter,
} from '../core/vrrp/router.ts';
import { type HeardAdvert, type VrrpSettings, waitsFor } from '../core/vrrp/timers.ts';
import type { VipGroup } from '../model/cluster.ts';
import { type MonoMs, monoMs } from '../model/ids.ts';
import { VRRP_PRIORITY_OWNER, VRRP_PRIORITY_RELEASE, type VrrpInstance } from '../model/vrrp.ts';
import type { Clock } from '../ports/clock.ts';

export type RouterPorts = {
  readonly clock: Clock;
  readonly settingsOf: (group: VipGroup, instance: VrrpInstance) => VrrpSettings;
  /** Never for a goodbye. */
  readonly advertise: (router: LocalRouter, priority: number) => void;
  /** A silence of more than one advertisement is over: what is this director's own may open. */
  readonly listened: () => void;
  readonly turned: (router: LocalRouter, turn: VrrpTurn) => void;
};

export type VrrpTurn = Exclude<VrrpOutput, { readonly kind: 'send' | 'arm' }>;

/** A timer that is later than this was not late by itself: the process was stopped. */
const STALL_MS = 50;
/** After that the sockets are read first: what came meanwhile must be heard before silence is believed. */
const CATCH_UP_MS = 5;
/** Sooner than every advertised interval, so that a router listens at first whatever its priority is. */
const LISTENING_PRIORITY = 254;

export class LocalRouter {
  readonly #ports: RouterPorts;
  #group: VipGroup;
  #instance: VrrpInstance;
  #router: VrrpRouter = INITIAL_ROUTER;
  #dueAt: MonoMs | null = null;
  #cancelTimer: () => void = () => {};
  #cancelListening: () => void = () => {};
  #listensUntil: MonoMs;

  constructor(group: VipGroup, instance: VrrpInstance, ports: RouterPorts) {
    this.#ports = ports;
    this.#group = group;
    this.#instance = instance;
    this.#listensUntil = monoMs(Number.POSITIVE_INFINITY);
  }

  get group(): VipGroup {
    return this.#group;
  }
  get instance(): VrrpInstance {
    return this.#instance;
  }
  get kind(): VrrpRouter['kind'] {
    return this.#router.kind;
  }

  settings(): VrrpSettings {
    return this.#ports.settingsOf(this.#group, this.#instance);
  }

  /** The owner of the addresses listens like everybody else: two voices are worse than a late one. */
  start(): void {
    const settings = this.settings();
    const { clock, listened } = this.#ports;
    const quietMs = CLAIM_QUIET_INTERVALS * this.#instance.intervalMs;
    this.#listensUntil = monoMs(clock.now() + quietMs);
    this.#cancelListening = clock.schedule(Math.ceil(quietMs) + 1, listened);
    const isOwner = settings.priority === VRRP_PRIORITY_OWNER;
    const listening = isOwner ? { ...settings, priority: LISTENING_PRIORITY } : settings;
    this.#take(stepVrrp(this.#router, { kind: 'start' }, clock.now(), listening));
  }

  change(group: VipGroup, instance: VrrpInstance): void {
    this.#group = group;
    this.#instance = instance;
    this.step({ kind: 'settings' });
  }

  step(event: VrrpEvent): void {
    this.#take(stepVrrp(this.#router, event, this.#ports.clock.now(), this.settings()));
  }

  /** The neighbour that speaks for the VIPs now, by its own words; null: nobody does. */
  neighbour(): HeardAdvert | null {
    return activeNeighbour(this.#router, this.settings(), this.#ports.clock.now());
  }

  /** It is waited for: this router must be silent. */
  isYielding(): boolean {
    const neighbour = this.#router.kind === 'backup' ? this.neighbour() : null;
    return neighbour !== null && waitsFor(this.settings(), neighbour);
  }

  /** Who is active would have been heard by now. Enough for what a record says is this director's. */
  isQuiet(): boolean {
    if (this.#router.kind === 'active' || this.mayOpen()) return true;
    return this.#ports.clock.now() >= this.#listensUntil && this.neighbour() === null;
  }

  mayOpen(): boolean {
    return mayOpen(this.#router) !== null;
  }

  end(): void {
    this.#cancelTimer();
    this.#cancelListening();
  }

  #take({ router, outputs }: ReturnType<typeof stepVrrp>): void {
    this.#router = router;
    const turns: VrrpTurn[] = [];
    for (const output of outputs)
      switch (output.kind) {
        case 'send':
          if (output.priority !== VRRP_PRIORITY_RELEASE)
            this.#ports.advertise(this, output.priority);
          break;
        case 'arm':
          this.#arm(output.at);
          break;
        default:
          turns.push(output);
      }
    // Last: what they lead to may step this router again.
    for (const turn of turns) this.#ports.turned(this, turn);
  }

  #arm(at: MonoMs): void {
    this.#cancelTimer();
    this.#dueAt = at;
    const { clock } = this.#ports;
    // Rounded up: a timer that fires a fraction early would spin.
    const ms = Math.max(1, Math.ceil(at - clock.now()));
    this.#cancelTimer = clock.schedule(ms, () => this.#fire());
  }

  #fire(): void {
    const { clock } = this.#ports;
    if (this.#dueAt === null) return;
    if (clock.now() > this.#dueAt + STALL_MS) {
      this.#cancelTimer = clock.schedule(CATCH_UP_MS, () => this.#runTimer());
      return;
    }
    this.#runTimer();
  }

  #runTimer(): void {
    // Heard meanwhile: then another time was set, and this is not it.
    this.#dueAt = null;
    this.step({ kind: 'timer' });
  }
}
