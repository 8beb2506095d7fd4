/** What the gate tells of VIPs that were silent here for a moment, because somebody had taken its rules away. */
import { expect, it } from 'vitest';
import { createFenceGate } from '../../../src/agent/fence-gate.ts';
import { groupId, monoMs } from '../../../src/model/ids.ts';
import type { ArmMode } from '../../../src/model/kernel.ts';
import { FakeClock } from '../../fakes/fake-clock.ts';
import { FakeFence } from '../../fakes/fake-fence.ts';
import { FakeNetworkKernel } from '../../fakes/fake-kernel.ts';
import { ip } from '../core/desired/spec-builders.ts';
import { RecordingLog } from './reconcile-loop.fixture.ts';

const PLACE = { scope: 'global', label: null, prefix: 24 } as const;

it('tells what spoke: who asks for it before it is bound again hears nobody', async () => {
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
  const addresses = { g: ip('10.90.0.100'), h: ip('10.90.0.101') };
  const devices = [{ index: linkIndex, name: 'eth0' }];
  gate.setPlaces({ devices, vips: Object.values(addresses), groups: new Map() });
  const arm = async (modes: Readonly<Record<keyof typeof addresses, ArmMode>>): Promise<void> => {
    await gate.permit(1, 125);
    const groups = (['g', 'h'] as const).map((name) => ({
      group: groupId(name),
      addresses: [{ ...PLACE, linkIndex, address: addresses[name] }],
      mode: modes[name],
    }));
    const until = monoMs(clock.now() + 500);
    expect(await gate.arm({ round: 1, groups, until, aliveMs: 375 })).toMatchObject({ ok: true });
  };
  await arm({ g: 'open', h: 'prepared' });
  expect(lost).toEqual([]);
  fence.flush();
  await arm({ g: 'open', h: 'prepared' });
  expect(lost).toEqual(['g 10.90.0.100']);
});
