/** What the gate lets through of VIPs that this director serves as a real server, and does not hold. */
import { describe, expect, it } from 'vitest';
import { createFenceGate } from '../../../src/agent/fence-gate.ts';
import { formatMac, type IpAddress } from '../../../src/model/address.ts';
import { groupId, monoMs } from '../../../src/model/ids.ts';
import type { GateGroup } from '../../../src/ports/gate.ts';
import { FakeClock } from '../../fakes/fake-clock.ts';
import { FakeFence } from '../../fakes/fake-fence.ts';
import { FakeNetworkKernel } from '../../fakes/fake-kernel.ts';
import { ip } from '../core/desired/spec-builders.ts';
import { RecordingLog } from './reconcile-loop.fixture.ts';

const A = ip('10.90.0.100');
const B = ip('10.90.0.101');
const C = ip('fd90::100');
const ALIVE_MS = 375;

function setUp() {
  const clock = new FakeClock();
  const kernel = new FakeNetworkKernel(clock);
  const eth0 = kernel.addLink('eth0');
  const fence = new FakeFence(clock);
  const life = () => createFenceGate({ fence, kernel, clock, log: new RecordingLog() });
  const gate = life();
  const places = { devices: [{ index: eth0, name: 'eth0' }], vips: [A, B, C], groups: new Map() };
  const address = {
    linkIndex: eth0,
    address: A,
    scope: 'global',
    label: null,
    prefix: 24,
  } as const;
  const g: GateGroup = { group: groupId('g'), addresses: [address] };
  const open = async (group: GateGroup): Promise<void> => {
    await gate.permit(1, 125);
    const until = monoMs(clock.now() + 500);
    const groups = [{ ...group, mode: 'open' as const }];
    const armed = await gate.arm({ round: 1, groups, until, aliveMs: ALIVE_MS });
    expect(armed).toMatchObject({ value: { opened: ['g'] } });
  };
  return { clock, kernel, eth0, fence, life, gate, places, g, open };
}

describe('a VIP that this director serves as a real server', () => {
  const HOLDER = formatMac(Uint8Array.of(2, 0, 0, 0, 0, 1));
  const SPARE = formatMac(Uint8Array.of(2, 0, 0, 0, 0, 2));
  const served = (vips: readonly IpAddress[], directors = [HOLDER], isComplete = true) => ({
    served: { vips, directors, isComplete },
  });

  it('takes what other directors send, silent or not, and answers nobody', async () => {
    const { gate, places, open, g, fence, eth0, clock } = setUp();
    gate.setPlaces({ ...places, ...served([A]) });
    await gate.check(() => true);
    expect(fence.takes(A, HOLDER, eth0)).toBe(true);
    expect([fence.takes(A, SPARE, eth0), fence.takes(B, HOLDER, eth0)]).toEqual([false, false]);
    expect(fence.answers(A, eth0)).toBe(false);
    await open(g);
    expect(fence.takes(A, SPARE, eth0)).toBe(true);
    await clock.advance(ALIVE_MS);
    expect([fence.takes(A, SPARE, eth0), fence.takes(A, HOLDER, eth0)]).toEqual([false, true]);
  });

  it('follows the MACs of directors, and forgets none before all have told theirs', async () => {
    const { gate, places, fence, eth0 } = setUp();
    gate.setPlaces({ ...places, ...served([A]) });
    await gate.check(() => true);
    gate.setPlaces({ ...places, ...served([A], [], false) });
    await gate.check(() => true);
    expect(fence.takes(A, HOLDER, eth0)).toBe(true);
    gate.setPlaces({ ...places, ...served([A], [SPARE]) });
    await gate.check(() => true);
    expect([fence.takes(A, HOLDER, eth0), fence.takes(A, SPARE, eth0)]).toEqual([false, true]);
    gate.setPlaces({ ...places, ...served([]) });
    await gate.check(() => true);
    expect(fence.takes(A, SPARE, eth0)).toBe(false);
  });

  it('goes on being served by a new process that does not know of it yet', async () => {
    const { gate, life, places, fence, eth0 } = setUp();
    gate.setPlaces({ ...places, ...served([A]) });
    await gate.check(() => true);
    const next = life();
    next.setPlaces(places);
    await next.adopt([]);
    await next.check(() => true);
    expect(fence.takes(A, HOLDER, eth0)).toBe(true);
  });

  it('is served again after a flush, by the same batch that manages it', async () => {
    const { gate, places, fence, eth0 } = setUp();
    gate.setPlaces({ ...places, ...served([A]) });
    await gate.check(() => true);
    fence.flush();
    await gate.check(() => true);
    expect([fence.takes(A, HOLDER, eth0), fence.takes(A, SPARE, eth0)]).toEqual([true, false]);
  });

  it('is let go when the document drops it, though it stays on lo', async () => {
    const { gate, places, kernel, fence, eth0 } = setUp();
    const lo = kernel.addLink('lo');
    kernel.addForeignAddress({ linkIndex: lo, address: A, prefix: 32 });
    gate.setPlaces({ ...places, ...served([A]) });
    await gate.check(() => true);
    gate.setPlaces({ ...places, ...served([]), vips: [B, C] });
    await gate.check(() => true);
    expect(fence.speaks(A, eth0)).toBe(true);
    expect(kernel.isBound(A)).toBe(true);
  });
});
