/** `explain group`: sentences for everything that can be the case. */
import { afterEach, describe, expect, it } from 'vitest';
import { INELIGIBLE_WORDS } from '../../../src/model/status-words.ts';
import type { GroupStatus } from '../../../src/model/status.ts';
import { type Rig, startRig } from './harness.ts';

const rigs: Rig[] = [];
afterEach(async () => {
  await Promise.all(rigs.splice(0).map(({ api }) => api.close()));
});

/** What `explain group web` prints after the status was changed. */
async function explain(
  change: (group: GroupStatus, view: Rig['view']) => void,
): Promise<{ out: string; code: number }> {
  const rig = await startRig();
  rigs.push(rig);
  for (const group of rig.view.statusDocument.groups)
    if (group.name === 'web') change(group, rig.view);
  return await rig.run('explain group web');
}

describe('explain group', () => {
  it('tells the whole story of a group that is held here', async () => {
    const { out, code } = await explain((group) => {
      group.tracks = [
        {
          id: 'script /usr/local/bin/check-nginx',
          isPassing: false,
          weight: -20,
          detail: 'exit code 1',
          since: '2026-01-01T00:00:00.000Z',
        },
        {
          id: 'interface eth1',
          isPassing: true,
          weight: null,
          detail: 'up',
          since: '2026-01-01T00:00:00.000Z',
        },
      ];
    });
    expect(code).toBe(0);
    await expect(out).toMatchFileSnapshot('screens/explain-group.txt');
  });

  it('tells a bad day: a handover, former holders, obstacles with what to do', async () => {
    const { out } = await explain((group, { statusDocument }) => {
      Object.assign(group, {
        holder: 'd2',
        state: 'leaving-here',
        remainingMs: null,
        reason: 'track-failed',
        handover: { to: 'd2', phase: 'muted', reason: 'track-failed', operation: null },
        pending: [{ director: 'd1', epoch: 35 }],
      });
      for (const candidate of group.candidates)
        if (candidate.director === 'd1')
          Object.assign(candidate, { eligible: false, reason: 'track-failed', bonus: -20 });
        else Object.assign(candidate, { ready: false });
      Object.assign(statusDocument.hold, { gate: 'address-lifetime', takeoverWaitMs: 1725 });
    });
    await expect(out).toMatchFileSnapshot('screens/explain-group-bad-day.txt');
  });

  it('has a sentence and a remedy for every obstacle', async () => {
    const rig = await startRig();
    rigs.push(rig);
    const [candidate] = rig.view.statusDocument.groups.flatMap((group) => group.candidates);
    for (const [reason, { what, remedy }] of Object.entries(INELIGIBLE_WORDS)) {
      Object.assign(candidate ?? {}, { eligible: false, reason });
      const { out } = await rig.run('explain group web');
      expect(out).toContain(`${reason}: ${what}`);
      expect(out).toContain(`to do: ${remedy}`);
    }
  });

  it('has a line for each VRRP router of the group', async () => {
    const { out } = await explain((group) => {
      const router = { routerId: 51, priority: 150, active: null, problem: null } as const;
      group.vrrp = [
        {
          ...router,
          family: 4,
          state: 'backup',
          active: { address: '10.90.0.14', priority: 200 },
        },
        { ...router, family: 6, state: 'active', problem: 'the device does not exist' },
      ];
    });
    expect(out).toContain(
      'router 51, IPv4: backup with priority 150; 10.90.0.14 speaks for it, with priority 200',
    );
    expect(out).toContain('router 51, IPv6: active with priority 150; no other router speaks');
    expect(out).toContain('it cannot be sent or heard: the device does not exist');
  });

  it('shows a reason of another version as it is', async () => {
    const { out } = await explain((group) => {
      group.reason = 'moonshine';
      Object.assign(group, { holder: null, state: 'vacant', epoch: null, ownedForMs: null });
    });
    expect(out).toContain('nobody holds it');
    expect(out).toContain('moonshine: moonshine');
  });

  it('answers 2 for a group that is not there', async () => {
    const rig = await startRig();
    rigs.push(rig);
    expect(await rig.run('explain group wbe')).toMatchObject({
      code: 2,
      err: 'there is no VIP group "wbe"; known: web, mail\n',
    });
    expect((await rig.run('explain')).code).toBe(2);
  });
});

describe('status', () => {
  it('says of a group on its way where it goes and how far it is', async () => {
    const rig = await startRig();
    rigs.push(rig);
    for (const group of rig.view.statusDocument.groups)
      if (group.name === 'web')
        Object.assign(group, {
          state: 'leaving-here',
          handover: { to: 'd2', phase: 'waiting', reason: 'drain', operation: 'op1' },
        });
      else Object.assign(group, { pending: [{ director: 'd1', epoch: 7 }] });
    const { out } = await rig.run('status');
    expect(out).toContain(
      'goes to d2 (drain): until that is prepared, it speaks here, operation op1',
    );
    expect(out).toContain('switchover, waits for d1');
  });
});
