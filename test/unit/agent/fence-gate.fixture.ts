/** A gate of kernel rules on fakes, whose process may be stopped on either side of the kernel's batch. */
import { createFenceGate } from '../../../src/agent/fence-gate.ts';
import type { Result } from '../../../src/lib/result.ts';
import type { IpAddress } from '../../../src/model/address.ts';
import { groupId, monoMs } from '../../../src/model/ids.ts';
import type { ArmMode, KernelError } from '../../../src/model/kernel.ts';
import type { Fence, FenceChange } from '../../../src/ports/fence.ts';
import type { Armed, GateGroup } from '../../../src/ports/gate.ts';
import { FakeClock } from '../../fakes/fake-clock.ts';
import { FakeFence } from '../../fakes/fake-fence.ts';
import { FakeNetworkKernel } from '../../fakes/fake-kernel.ts';
import { ip } from '../core/desired/spec-builders.ts';
import { RecordingLog } from './reconcile-loop.fixture.ts';

export const A = ip('10.90.0.100');
export const B = ip('10.90.0.101');
export const C = ip('fd90::100');

/** D 500 ms, P 125 ms, F 375 ms, as in the default profile. */
export const HOLD_MS = 500;
export const PERMIT_MS = 125;
export const ALIVE_MS = 375;

type Moded = GateGroup & { readonly mode: ArmMode };

export function setUp() {
  const clock = new FakeClock();
  const kernel = new FakeNetworkKernel(clock);
  const eth0 = kernel.addLink('eth0');
  const fence = new FakeFence(clock);
  const log = new RecordingLog();
  /** Called between the gate's decision and the kernel's batch: where a process may be stopped. */
  const pause: { before: (change: FenceChange) => Promise<void>; after: () => Promise<void> } = {
    before: async () => {},
    after: async () => {},
  };
  const paused: Fence = {
    kind: 'netdev',
    observe: () => fence.observe(),
    isAsLeft: () => fence.isAsLeft(),
    lifetimes: () => fence.lifetimes(),
    install: (devices) => fence.install(devices),
    permit: (round, timeoutMs) => fence.permit(round, timeoutMs),
    commit: async (change) => {
      await pause.before(change);
      const done = await fence.commit(change);
      await pause.after();
      return done;
    },
    uninstall: () => fence.uninstall(),
    close: () => {},
  };
  const life = () => createFenceGate({ fence: paused, kernel, clock, log });
  const gate = life();
  const places = { devices: [{ index: eth0, name: 'eth0' }], vips: [A, B, C], groups: new Map() };
  gate.setPlaces(places);
  const group = (name: string, ...addresses: IpAddress[]): GateGroup => ({
    group: groupId(name),
    addresses: addresses.map((address) => ({
      linkIndex: eth0,
      address,
      scope: 'global',
      label: null,
      prefix: address.includes(':') ? 64 : 24,
    })),
  });
  const g = group('g', A);
  const h = group('h', B, C);
  let rounds = 0;
  /** A round: permit, an answer after `tookMs`, arming. */
  const round = async (
    groups: readonly Moded[],
    { tookMs = 10, on = gate }: { readonly tookMs?: number; readonly on?: typeof gate } = {},
  ): Promise<Result<Armed, KernelError>> => {
    const number = ++rounds;
    const given = await on.permit(number, PERMIT_MS);
    if (!given.ok) return given;
    const until = monoMs(clock.now() + HOLD_MS);
    await clock.advance(tookMs);
    return on.arm({ round: number, groups, until, aliveMs: ALIVE_MS });
  };
  const open = (...groups: readonly GateGroup[]) =>
    round(groups.map((one) => ({ ...one, mode: 'open' as const })));
  const bound = (): string[] => kernel.boundNow().map((one) => one.address);
  /** What a neighbour gets to hear: bound, and let through. */
  const speaks = (address: IpAddress): boolean =>
    kernel.isBound(address) && fence.speaks(address, eth0);
  const answers = (address: IpAddress): boolean =>
    kernel.isBound(address) && fence.answers(address, eth0);
  return {
    clock,
    kernel,
    eth0,
    fence,
    log,
    pause,
    gate,
    life,
    places,
    group,
    g,
    h,
    round,
    open,
    bound,
    speaks,
    answers,
  };
}
