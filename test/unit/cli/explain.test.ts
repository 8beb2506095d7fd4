/** `explain group`: sentences for everything that can be the case. */
import { afterEach, describe, expect, it } from 'vitest';
import { INELIGIBLE_WORDS } from '../../../src/model/status-words.ts';
import type { GroupStatus, IsolationStatus, StatusDocument } from '../../../src/model/status.ts';
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

  it('tells who stands in, for whom, on what, and what becomes of it when etcd is back', async () => {
    const { out } = await explain((group, { statusDocument }) => {
      standIn(group, statusDocument);
    });
    await expect(out).toMatchFileSnapshot('screens/explain-group-stand-in.txt');
  });

  it('tells of another stand-in what is known of it', async () => {
    const { out } = await explain((group) => {
      Object.assign(group, {
        holder: 'd3',
        basis: 'segment',
        reason: 'stood-in',
        remainingMs: null,
      });
      group.standIn = { recordHolder: 'd2', forMs: null };
    });
    expect(out).toContain('d3 stands in for d2, which the record still names, epoch 35\n');
  });

  it('tells what a candidate does, and why the gateway does not let it', async () => {
    const { out } = await explain((group, { statusDocument }) => {
      Object.assign(group, { holder: 'd2', state: 'opening-here', remainingMs: null });
      Object.assign(group, { basis: 'segment' });
      for (const candidate of group.candidates)
        if (candidate.director === 'd2')
          Object.assign(candidate, { eligible: false, reason: 'not-heard', ready: false });
      group.candidacy = {
        phase: 'gateway-silent',
        detail: 'may not speak for it: no gateway answers',
      };
      statusDocument.isolation = {
        policy: 'gateway',
        mode: 'all',
        isReachable: false,
        targets: [
          { address: '10.90.0.1', answeredMsAgo: 42_100 },
          { address: '192.0.2.1', answeredMsAgo: null },
        ],
      };
    });
    await expect(out).toMatchFileSnapshot('screens/explain-group-candidate.txt');
  });

  it('says what release means, and nothing where an older director tells nothing', async () => {
    const released = await explain((_, { statusDocument }) => {
      statusDocument.isolation = { policy: 'release', mode: 'any', isReachable: null, targets: [] };
    });
    expect(released.out).toContain('release: without etcd and the promises of all other directors');
    const older = await explain((_, { statusDocument }) => {
      delete statusDocument.isolation;
    });
    expect(older.out).not.toContain('Without etcd');
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

/** d1 stands in for d2, which was never heard again; etcd is away. */
function standIn(group: GroupStatus, status: StatusDocument): void {
  Object.assign(group, { basis: 'segment', reason: 'stood-in', ownedForMs: null });
  group.standIn = { recordHolder: 'd2', forMs: 42_000 };
  for (const candidate of group.candidates)
    if (candidate.director === 'd2')
      Object.assign(candidate, { eligible: false, reason: 'not-heard', ready: false });
  for (const director of status.directors)
    if (director.name === 'd2')
      director.silence = { forMs: 45_000, session: 9, needsWord: false, confirmedDead: null };
  Object.assign(status, {
    store: { ...status.store, isConnected: false, lastError: 'no answer within 750 ms' },
    problems: [
      'etcd does not answer: no answer within 750 ms',
      'group web: d1 stands in for d2, which the record still names',
      'group mail: its holder d2 is not heard, nor is etcd; d1 waits: d2 was not heard for 300 of 1045 ms',
    ],
  });
  for (const other of status.groups)
    if (other.name === 'mail')
      other.candidacy = {
        phase: 'waiting',
        detail: 'waits: d2 was not heard for 300 of 1045 ms',
      };
}

describe('status', () => {
  it('says of a stand-in for whom it speaks, and of a candidate what it does', async () => {
    const rig = await startRig();
    rigs.push(rig);
    const { statusDocument } = rig.view;
    for (const group of statusDocument.groups)
      if (group.name === 'web') standIn(group, statusDocument);
    const { out } = await rig.run('status -o wide');
    await expect(out).toMatchFileSnapshot('screens/status-stand-in.txt');
  });

  it('knows no document before etcd has answered, and says so', async () => {
    const rig = await startRig();
    rigs.push(rig);
    const { statusDocument } = rig.view;
    Object.assign(statusDocument, { spec: { revision: 0, by: null, at: null, problem: null } });
    expect((await rig.run('status')).out).toContain(
      'no cluster document applied yet; store connected',
    );
    Object.assign(statusDocument.store, { isConnected: false });
    expect((await rig.run('status')).out).toContain('no cluster document seen yet; store NOT');
  });

  it('says of each gateway target whether it answers, where that is known', async () => {
    const rig = await startRig();
    rigs.push(rig);
    const lineFor = async (fields: Partial<IsolationStatus>): Promise<string> => {
      const none: IsolationStatus = {
        policy: 'gateway',
        mode: 'any',
        isReachable: true,
        targets: [],
      };
      rig.view.statusDocument.isolation = { ...none, ...fields };
      const { out } = await rig.run('status');
      return out.split('\n').find((line) => line.startsWith('isolation')) ?? '';
    };
    const [a, b] = ['10.90.0.1', '192.0.2.1'] as const;
    const targets = [
      { address: a, answeredMsAgo: 61_000 },
      { address: b, answeredMsAgo: null },
    ];
    expect(await lineFor({ targets, isReachable: false })).toBe(
      `isolation gateway, any of: ${a} SILENT for 1m; ${b} NEVER ANSWERED`,
    );
    expect(await lineFor({ targets, isReachable: null })).toBe(
      `isolation gateway, any of: ${a} not asked yet; ${b} not asked yet`,
    );
    expect(await lineFor({ policy: 'release' })).toBe('isolation release');
  });

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
