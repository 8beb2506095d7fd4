/** The election's words reach the gate by name and in turn, and each is told back (design 4.3, 4.14). */
import { describe, expect, it } from 'vitest';
import { createEpochFence } from '../../../src/agent/epoch-fence.ts';
import { GateWork, type GateWorkPorts } from '../../../src/agent/gate-work.ts';
import { err, ok, type Result } from '../../../src/lib/result.ts';
import { epochOf, groupId, monoMs, revision } from '../../../src/model/ids.ts';
import type { KernelError } from '../../../src/model/kernel.ts';
import type { Gate, GateGroup, RefusedVip } from '../../../src/ports/gate.ts';
import { FakeClock } from '../../fakes/fake-clock.ts';
import { ip } from '../core/desired/spec-builders.ts';
import { RecordingLog } from './reconcile-loop.fixture.ts';

const G = groupId('g');
const H = groupId('h');
const EPOCHS = new Map([
  [G, epochOf(revision(7))],
  [H, epochOf(revision(8))],
]);
const REFUSED: KernelError = { code: 'EPERM', message: 'EPERM' };
const placed = (group: typeof G): GateGroup => ({
  group,
  addresses: [
    { linkIndex: 1, address: ip('10.90.0.100'), prefix: 24, scope: 'global', label: null },
  ],
});

function setUp(fields: Partial<GateWorkPorts> = {}) {
  const clock = new FakeClock();
  const log = new RecordingLog();
  const calls: { readonly name: string; readonly groups: readonly GateGroup[] }[] = [];
  const next: { answer: () => Result<void, KernelError> } = { answer: () => ok(undefined) };
  const call = async (name: string, groups: readonly GateGroup[]) => {
    calls.push({ name, groups });
    return next.answer();
  };
  const refused: RefusedVip[] = [];
  const armed = (groups: readonly GateGroup[], speaksUntil: ReturnType<typeof monoMs>) => {
    const opened = groups.map(({ group }) => group);
    return { opened, unsettled: [], deferred: [], refused, failed: [], speaksUntil };
  };
  const gate: Gate = {
    kind: 'netdev',
    permit: () => call('permit', []),
    arm: async ({ groups, until }) => {
      const done = await call('arm', groups);
      return done.ok ? ok(armed(groups, until)) : done;
    },
    open: async (groups, until) => {
      const done = await call('open', groups);
      return done.ok ? ok(armed(groups, until)) : done;
    },
    foresee: async (groups) => {
      await call('foresee', groups);
      return false;
    },
    mute: (groups) => call('mute', groups),
    close: (groups) => call('close', groups),
  };
  /** False: an interface is missing. */
  const spec = { isPlaced: true };
  const limits: string[] = [];
  const work = new GateWork({
    gate,
    log,
    epochs: createEpochFence({ log }),
    voices: { limit: (group, until) => limits.push(`${group} ${until}`) },
    gateGroup: (group) => (spec.isPlaced ? placed(group) : null),
    clearGate: async () => new Map(),
    ...fields,
  });
  const arm = (...groups: readonly (typeof G)[]) =>
    work.carryOut(
      {
        kind: 'arm',
        round: 1,
        groups: groups.map((group) => ({ group, mode: 'open' as const })),
        until: monoMs(500),
        aliveMs: 375,
      },
      EPOCHS,
    );
  return { clock, log, calls, next, spec, limits, refused, work, arm };
}

describe.each(['close', 'mute'] as const)('%s', (kind) => {
  const told = { close: 'closed', mute: 'muted' }[kind];

  it('of a group that was adopted, never armed, and has lost its device names it to the gate', async () => {
    const { work, calls, spec } = setUp();
    spec.isPlaced = false;
    expect(await work.carryOut({ kind, groups: [G, H] }, EPOCHS)).toEqual({
      kind: told,
      groups: [G, H],
      isOk: true,
    });
    const [nameOnly, other] = [G, H].map((group) => ({ group, addresses: [] }));
    expect(calls).toEqual([{ name: kind, groups: [nameOnly, other] }]);
  });

  it('of a group that was adopted and never armed uses its places by the spec', async () => {
    const { work, calls } = setUp();
    await work.carryOut({ kind, groups: [G] }, EPOCHS);
    expect(calls).toEqual([{ name: kind, groups: [placed(G)] }]);
  });

  it('of a group that was armed uses what it was armed with, also after its device is gone', async () => {
    const { work, calls, spec, arm } = setUp();
    await arm(G);
    spec.isPlaced = false;
    await work.carryOut({ kind, groups: [G] }, EPOCHS);
    expect(calls.at(-1)).toEqual({ name: kind, groups: [placed(G)] });
  });

  it('that the kernel refuses, or that throws, is told as not done', async () => {
    const { work, next } = setUp();
    next.answer = () => err(REFUSED);
    const effect = { kind, groups: [G] };
    const failed = { kind: told, groups: [G], isOk: false };
    expect(await work.carryOut(effect, EPOCHS)).toEqual(failed);
    next.answer = () => {
      throw new Error('no memory');
    };
    expect(await work.carryOut(effect, EPOCHS)).toEqual(failed);
  });
});

describe('a permit', () => {
  it('that the kernel refuses is told, and holds nothing else up', async () => {
    const { work, next } = setUp();
    next.answer = () => err(REFUSED);
    const event = await work.carryOut({ kind: 'permit', round: 1, timeoutMs: 100 }, EPOCHS);
    expect(event).toEqual({ kind: 'permit-given', round: 1, isOk: false });
  });

  it('that is given is told at once', async () => {
    const { work } = setUp();
    const event = await work.carryOut({ kind: 'permit', round: 1, timeoutMs: 100 }, EPOCHS);
    expect(event).toEqual({ kind: 'permit-given', round: 1, isOk: true });
  });
});

describe('arming', () => {
  it('leaves out, and tells as failed, a group whose device is missing', async () => {
    const { calls, spec, arm } = setUp();
    spec.isPlaced = false;
    expect(await arm(G)).toMatchObject({ isOk: true, groups: [G], failed: [G], opened: [] });
    expect(calls).toEqual([{ name: 'arm', groups: [] }]);
  });

  it('limits the announcements of what speaks to the kernel’s deadline', async () => {
    const { arm, limits } = setUp();
    await arm(G, H);
    expect(limits).toEqual(['g 500', 'h 500']);
  });

  it('that the kernel refuses as a whole opens nothing and limits nothing anew', async () => {
    const { arm, limits, next } = setUp();
    next.answer = () => err(REFUSED);
    expect(await arm(G)).toMatchObject({ isOk: false, opened: [], speaksUntil: -Infinity });
    expect(limits).toEqual([]);
  });
});

describe('opening', () => {
  it('is not for a group that was never armed in this life', async () => {
    const { work, calls } = setUp();
    const event = await work.carryOut({ kind: 'open', groups: [G], until: monoMs(500) }, EPOCHS);
    expect(event).toMatchObject({ isOk: true, failed: [G] });
    expect(calls).toEqual([{ name: 'open', groups: [] }]);
  });

  it('is not for an epoch older than one that was armed', async () => {
    const { work, calls, arm } = setUp();
    await arm(G);
    const older = new Map([[G, epochOf(revision(6))]]);
    const event = await work.carryOut({ kind: 'open', groups: [G], until: monoMs(500) }, older);
    expect(event).toMatchObject({ failed: [G] });
    expect(calls.at(-1)).toEqual({ name: 'open', groups: [] });
  });
});

describe('groups that are to be closed', () => {
  const close = (...groups: readonly (typeof G)[]) => ({ kind: 'close', groups }) as const;

  it('while the kernel is at work are closed at once, and told back one by one', async () => {
    const { work, calls } = setUp();
    const events = await Promise.all([
      work.carryOut({ kind: 'mute', groups: [G] }, EPOCHS),
      work.carryOut(close(G), EPOCHS),
      work.carryOut(close(H), EPOCHS),
    ]);
    expect(calls.map(({ name, groups }) => [name, groups.length])).toEqual([
      ['mute', 1],
      ['close', 2],
    ]);
    expect(events.slice(1)).toEqual([
      { kind: 'closed', groups: [G], isOk: true },
      { kind: 'closed', groups: [H], isOk: true },
    ]);
  });

  it('never go before what was decided earlier', async () => {
    const { work, calls, arm } = setUp();
    await Promise.all([
      work.carryOut(close(G), EPOCHS),
      arm(H),
      work.carryOut(close(H), EPOCHS),
      work.exclusively(async () => {}),
      work.carryOut(close(G), EPOCHS),
    ]);
    expect(
      calls.map(({ name, groups }) => `${name} ${groups.map(({ group }) => group).join()}`),
    ).toEqual(['close g', 'arm h', 'close h', 'close g']);
  });

  it('are closed each for itself where the kernel refuses all', async () => {
    const { work, calls, next } = setUp();
    next.answer = () =>
      calls.at(-1)?.groups.some(({ group }) => group === G) ? err(REFUSED) : ok(undefined);
    const events = await Promise.all([
      work.carryOut(close(G), EPOCHS),
      work.carryOut(close(H), EPOCHS),
    ]);
    expect(calls.map(({ groups }) => groups.length)).toEqual([2, 1, 1]);
    expect(events).toEqual([
      { kind: 'closed', groups: [G], isOk: false },
      { kind: 'closed', groups: [H], isOk: true },
    ]);
  });
});

describe('a group that is prepared', () => {
  const prepare = (fields: Partial<GateWorkPorts>) => {
    const { work } = setUp(fields);
    const groups = [
      { group: G, mode: 'prepared' as const },
      { group: H, mode: 'open' as const },
    ];
    return work.carryOut(
      { kind: 'arm', round: 1, groups, until: monoMs(500), aliveMs: 375 },
      EPOCHS,
    );
  };

  it('is not told so while what forwards for it is being made; what opens is not held up', async () => {
    expect(await prepare({ isAwaited: () => true })).toMatchObject({
      groups: [G, H],
      unsettled: [G],
    });
    expect(await prepare({ isAwaited: () => false })).toMatchObject({ unsettled: [] });
    expect(await prepare({})).toMatchObject({ unsettled: [] });
  });

  it('is told to have no address of its own yet; what opens is not held up', async () => {
    expect(await prepare({ isWithheld: (group) => group === G })).toMatchObject({
      groups: [G, H],
      unsettled: [],
      withheld: [G],
    });
    expect(await prepare({})).toMatchObject({ withheld: [] });
  });
});

describe('a VIP that its group goes on without', () => {
  const VIP = ip('10.90.0.100');
  const refusal = (message: string): RefusedVip => {
    return { group: G, address: VIP, error: { code: 'EACCES', message } };
  };

  it('is told once, as no refusal of the group, and once more when it is bound', async () => {
    const { work, arm, refused, log } = setUp();
    refused.push(refusal('bind it: EACCES'));
    for (let i = 0; i < 3; i++) expect(await arm(G, H)).toMatchObject({ isOk: true, failed: [] });
    expect(log.lines).toMatchObject([
      { event: 'vip.refused', fields: { vipGroup: G, address: VIP, problem: 'bind it: EACCES' } },
    ]);
    expect(work.refusals().get(G)).toMatch(/^bind it: EACCES; the group goes on without this VIP/);
    refused.length = 0;
    await arm(G, H);
    expect(log.of('vip.bound')).toHaveLength(1);
    expect(work.refusals().size).toBe(0);
  });

  it('is told again where the kernel says something else', async () => {
    const { arm, refused, log } = setUp();
    refused.push(refusal('EACCES'));
    await arm(G);
    refused[0] = refusal('EINVAL');
    await arm(G);
    expect(log.of('vip.refused')).toHaveLength(2);
    expect(log.of('vip.bound')).toEqual([]);
  });

  it('is a problem here no more when the group is closed', async () => {
    const { work, arm, refused, log } = setUp();
    refused.push(refusal('EACCES'));
    await arm(G);
    await work.carryOut({ kind: 'close', groups: [G] }, EPOCHS);
    expect(work.refusals().size).toBe(0);
    expect(log.of('vip.bound')).toEqual([]);
  });
});
