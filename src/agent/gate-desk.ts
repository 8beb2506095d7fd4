/**
 * Between the gate and the rest of the agent: what may be bound by the election's state, what an
 * earlier life left, and what is wrong with the gate.
 */
import type { ElectionState } from '../core/election/state.ts';
import type { IpAddress } from '../model/address.ts';
import type { VipGroup } from '../model/cluster.ts';
import type { GroupId, MonoMs } from '../model/ids.ts';
import type { Clock } from '../ports/clock.ts';
import type { Log } from '../ports/log.ts';
import type { AddressKeeper } from './address-keeper.ts';
import { gateGroupOf, gatePlacesOf, type InterfaceMap } from './interfaces.ts';
import type { LocalGate, ServedPlaces } from './local-gate.ts';

export type GateDeskPorts = {
  readonly gate: LocalGate;
  readonly devices: InterfaceMap;
  readonly clock: Pick<Clock, 'now'>;
  readonly log: Log;
  readonly election: () => ElectionState;
  readonly keeper: () => AddressKeeper;
  /** What passes of VIPs that are not held here; undefined: not known yet. */
  readonly served: () => ServedPlaces | undefined;
  /** Of the spec in force. */
  readonly groups: () => readonly VipGroup[];
  /** Somebody removed an address of a group that speaks here. */
  readonly addressLost: (group: GroupId, address: IpAddress) => void;
};

export class GateDesk {
  readonly #ports: GateDeskPorts;
  /** Groups of an earlier life that are bound until the election has said whose they are. */
  #kept: ReadonlySet<GroupId> = new Set();
  #problem: string | null = null;

  constructor(ports: GateDeskPorts) {
    this.#ports = ports;
  }

  /** What the kernel said when the gate was last looked at; null where it is whole. */
  problem(): string | null {
    return this.#problem;
  }

  /** The links or the spec changed. */
  place(): void {
    const { gate, devices, keeper, groups, served } = this.#ports;
    const passing = served();
    gate.setPlaces({
      ...gatePlacesOf(groups(), devices, keeper().links()),
      ...(passing === undefined ? {} : { served: passing }),
    });
  }

  /** The kernel lets the group speak now, by its deadline. */
  isSpeaking(group: GroupId): boolean {
    const holding = this.#ports.election().holdings.get(group);
    return holding?.kind === 'open' && holding.until > this.#ports.clock.now();
  }

  /**
   * What has rules may be bound ahead and stay bound after its deadline, silent; without them only what
   * speaks.
   */
  mayBeBound(group: GroupId): boolean {
    const { holdings, session, foreseen } = this.#ports.election();
    const holding = holdings.get(group);
    const hasRules = this.#ports.gate.kind !== 'address-lifetime';
    switch (holding?.kind) {
      case undefined:
        return (
          (this.#kept.has(group) && session.kind !== 'open') || (hasRules && foreseen.has(group))
        );
      case 'owned':
        return hasRules || this.#kept.has(group);
      case 'open':
        return hasRules || this.isSpeaking(group);
      case 'leaving':
        return hasRules || holding.phase === 'waiting';
      case 'closing':
      case 'shut':
        return false;
    }
  }

  async check(): Promise<void> {
    const checked = await this.#ports.gate.check((group) => this.mayBeBound(group));
    const problem = checked.ok ? null : checked.error.message;
    if (problem !== null && problem !== this.#problem)
      this.#ports.log.error({ problem }, 'gate.damaged');
    if (problem === null && this.#problem !== null) this.#ports.log.info({}, 'gate.repaired');
    this.#problem = problem;
  }

  /**
   * Silences what an earlier life left, but for these groups: first by the rules, which silence at once, then
   * by the addresses. Until when each of those that were there may speak; null: the kernel did not do it.
   */
  async clear(keep: readonly GroupId[]): Promise<ReadonlyMap<GroupId, MonoMs> | null> {
    const { gate, devices, log, groups } = this.#ports;
    const keeper = this.#ports.keeper();
    if (!(await keeper.ensureLinks())) return null;
    const kept = groups()
      .filter(({ id }) => keep.includes(id))
      .flatMap((group) => gateGroupOf(group, devices, keeper.links()) ?? []);
    const adopted = await gate.adopt(kept);
    if (!adopted.ok) {
      log.error({ problem: adopted.error.message }, 'gate.unadopted');
      return null;
    }
    this.#kept = new Set(adopted.value.keys());
    return (await keeper.clear(this.#kept)) ? adopted.value : null;
  }

  addressGone(linkIndex: number, address: IpAddress): void {
    const { gate, log, addressLost } = this.#ports;
    const group = gate.forget(linkIndex, address);
    if (group === null || !this.isSpeaking(group)) return;
    log.warn({ vipGroup: group, address }, 'address.lost');
    addressLost(group, address);
  }

  /** At the very end: what could not be unbound keeps the rules that silence it. */
  async remove(): Promise<void> {
    const removed = await this.#ports.gate.uninstall();
    if (!removed.ok) this.#ports.log.warn({ problem: removed.error.message }, 'gate.left');
  }
}
