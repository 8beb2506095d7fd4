/** What the gate tells of VIPs that begin to speak, or were silent for a moment: others have to hear of it. */
import { expect, it } from 'vitest';
import { createFenceGate } from '../../../src/agent/fence-gate.ts';
import type { IpAddress } from '../../../src/model/address.ts';
import { groupId, monoMs } from '../../../src/model/ids.ts';
import type { ArmMode } from '../../../src/model/kernel.ts';
import type { GateGroup } from '../../../src/ports/gate.ts';
import { FakeClock } from '../../fakes/fake-clock.ts';
import { FakeFence } from '../../fakes/fake-fence.ts';
import { FakeNetworkKernel } from '../../fakes/fake-kernel.ts';
import { ip } from '../core/desired/spec-builders.ts';
import { RecordingLog } from './reconcile-loop.fixture.ts';

const A = ip('10.90.0.100');
const B = ip('10.90.0.101');
const PLACE = { scope: 'global', label: null, prefix: 24 } as const;

function setUp() {
  const clock = new FakeClock();
  const kernel = new FakeNetworkKernel(clock);
  const linkIndex = kernel.addLink('eth0');
  const fence = new FakeFence(clock);
  const lost: string[] = [];
  const gate = createFenceGate({
    fence,
    kernel,
    clock,
    log: new RecordingLog(),
    lost: (group, address) => lost.push(`${group} ${address}`),
  });
  const devices = [{ index: linkIndex, name: 'eth0' }];
  gate.setPlaces({ devices, vips: [A, B], groups: new Map() });
  const group = (name: string, ...vips: readonly IpAddress[]): GateGroup => ({
    group: groupId(name),
    addresses: vips.map((address) => ({ ...PLACE, linkIndex, address })),
  });
  /** Answers the groups that have begun to speak. */
  const arm = async (...groups: readonly (GateGroup & { mode: ArmMode })[]) => {
    await gate.permit(1, 125);
    const until = monoMs(clock.now() + 500);
    const armed = await gate.arm({ round: 1, groups, until, aliveMs: 375 });
    return armed.ok ? armed.value.opened : armed.error;
  };
  const speaks = (vip: IpAddress): boolean => kernel.isBound(vip) && fence.answers(vip, linkIndex);
  return { gate, fence, lost, group, arm, speaks };
}

it('tells what spoke until somebody flushed the rules: who asks for it then hears nobody', async () => {
  const { fence, lost, group, arm } = setUp();
  const groups = [
    { ...group('g', A), mode: 'open' },
    { ...group('h', B), mode: 'prepared' },
  ] as const;
  await arm(...groups);
  expect(lost).toEqual([]);
  fence.flush();
  await arm(...groups);
  expect(lost).toEqual([`g ${A}`]);
});

it.each(['foreseen', 'prepared', 'nowhere'])(
  'tells that a group speaks as a VIP that has come to it, and was %s until then',
  async (where) => {
    const { gate, group, arm, speaks } = setUp();
    const [g, h] = [group('g', A), group('h', B)];
    if (where === 'foreseen') await gate.foresee([h]);
    const others = where === 'prepared' ? [{ ...h, mode: 'prepared' as const }] : [];
    expect(await arm({ ...g, mode: 'open' }, ...others)).toEqual(['g']);
    expect(speaks(B)).toBe(false);
    const grown = { ...group('g', A, B), mode: 'open' } as const;
    expect(await arm(grown)).toEqual(['g']);
    expect(speaks(B)).toBe(true);
    expect(await arm(grown)).toEqual([]);
  },
);
