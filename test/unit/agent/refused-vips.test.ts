/** A VIP that the kernel refuses silences no other one of its group; it is told, and tried again. */
import { describe, expect, it } from 'vitest';
import { createFenceGate } from '../../../src/agent/fence-gate.ts';
import { createLifetimeGate } from '../../../src/agent/lifetime-gate.ts';
import type { LocalGate } from '../../../src/agent/local-gate.ts';
import { err } from '../../../src/lib/result.ts';
import type { IpAddress } from '../../../src/model/address.ts';
import { groupId, monoMs } from '../../../src/model/ids.ts';
import type { ArmMode, KernelError } from '../../../src/model/kernel.ts';
import type { Armed, GateGroup } from '../../../src/ports/gate.ts';
import { FakeClock } from '../../fakes/fake-clock.ts';
import { FakeFence } from '../../fakes/fake-fence.ts';
import { FakeNetworkKernel } from '../../fakes/fake-kernel.ts';
import { ip } from '../core/desired/spec-builders.ts';
import { RecordingLog } from './reconcile-loop.fixture.ts';

const A = ip('10.90.0.100');
const B = ip('10.90.0.101');
const X = ip('fd90::100');
const EACCES: KernelError = { code: 'EACCES', message: 'bind fd90::100/64 on link 1: EACCES' };

function setUp(kind: 'rules' | 'lifetimes') {
  const clock = new FakeClock();
  const kernel = new FakeNetworkKernel(clock);
  const eth0 = kernel.addLink('eth0');
  const fence = new FakeFence(clock);
  const refused = new Set<IpAddress>();
  /** What the kernel was asked to bind. */
  const asked: IpAddress[] = [];
  const bind = kernel.bind.bind(kernel);
  kernel.bind = async (requests) => {
    asked.push(...requests.map(({ address }) => address));
    const results = await bind(requests.filter(({ address }) => !refused.has(address)));
    let next = 0;
    return requests.map(({ address }) =>
      refused.has(address) ? err(EACCES) : (results[next++] ?? err(EACCES)),
    );
  };
  const log = new RecordingLog();
  const life = (): LocalGate => {
    const made =
      kind === 'rules'
        ? createFenceGate({ fence, kernel, clock, log })
        : createLifetimeGate({ kernel, clock });
    place(made);
    return made;
  };
  const place = (on: LocalGate): void =>
    on.setPlaces({
      devices: [{ index: eth0, name: 'eth0' }],
      vips: [A, B, X],
      groups: new Map(),
    });
  const gate = life();
  const group = (...addresses: IpAddress[]): GateGroup => ({
    group: groupId('g'),
    addresses: addresses.map((address) => ({
      linkIndex: eth0,
      address,
      scope: 'global',
      label: null,
      prefix: address === X ? 64 : 24,
    })),
  });
  let rounds = 0;
  const arm = async (
    one: GateGroup,
    {
      mode = 'open',
      on = gate,
      ...how
    }: { readonly mode?: ArmMode; readonly on?: LocalGate; readonly isPartial?: true } = {},
  ): Promise<Armed> => {
    const round = ++rounds;
    await on.permit(round, 750);
    const until = monoMs(clock.now() + 3000);
    const armed = await on.arm({ round, groups: [{ ...one, mode, ...how }], until, aliveMs: 2250 });
    if (!armed.ok) throw new Error(armed.error.message);
    return armed.value;
  };
  const lose = (address: IpAddress): void => {
    kernel.removeAddress({ linkIndex: eth0, address, prefix: address === X ? 64 : 24 });
    gate.forget(eth0, address);
  };
  const speaks = (address: IpAddress): boolean =>
    kernel.isBound(address) && (kind === 'lifetimes' || fence.speaks(address, eth0));
  const isEnabled = async (address: IpAddress): Promise<boolean> => {
    const seen = await fence.observe();
    return seen.ok && seen.value?.enabled.has(address) === true;
  };
  const told = [{ group: 'g', address: X, error: EACCES }];
  return {
    clock,
    fence,
    refused,
    asked,
    life,
    place,
    gate,
    group,
    arm,
    lose,
    speaks,
    isEnabled,
    told,
  };
}

describe.each(['rules', 'lifetimes'] as const)('with a gate of %s', (kind) => {
  it('a group that speaks goes on when the document adds a VIP that is refused', async () => {
    const { arm, group, refused, speaks, told } = setUp(kind);
    refused.add(X);
    await arm(group(A, B));
    for (let i = 0; i < 10; i++) {
      expect(await arm(group(A, B, X))).toMatchObject({ opened: [], failed: [], refused: told });
      expect([A, B, X].map(speaks)).toEqual([true, true, false]);
    }
  });

  it('it is announced when the kernel binds it at last, and told no more', async () => {
    const { arm, group, refused, speaks, clock } = setUp(kind);
    refused.add(X);
    await arm(group(A));
    await arm(group(A, X));
    refused.clear();
    expect(await arm(group(A, X))).toMatchObject({ opened: [], refused: [{ address: X }] });
    await clock.advance(250);
    expect(await arm(group(A, X))).toMatchObject({ opened: ['g'], failed: [], refused: [] });
    expect([A, X].map(speaks)).toEqual([true, true]);
    expect(await arm(group(A, X))).toMatchObject({ opened: [], refused: [] });
  });

  it('it is asked for less and less often, every 5 s at last', async () => {
    const { arm, group, refused, asked, clock } = setUp(kind);
    refused.add(X);
    await arm(group(A));
    const whole = group(A, X);
    const at: number[] = [];
    const start = clock.now();
    for (let i = 0; i < 200; i++) {
      asked.length = 0;
      await arm(whole);
      if (asked.includes(X)) at.push(clock.now() - start);
      await clock.advance(100);
    }
    expect(at).toEqual([0, 300, 800, 1800, 3800, 7800, 12_800, 17_800]);
  });

  it('it is asked for at once when the document or the links change', async () => {
    const { arm, group, refused, gate, place, speaks } = setUp(kind);
    refused.add(X);
    await arm(group(A));
    await arm(group(A, X));
    refused.clear();
    place(gate);
    expect(await arm(group(A, X))).toMatchObject({ opened: ['g'], refused: [] });
    expect(speaks(X)).toBe(true);
  });

  it('one that was bound, is lost and cannot be bound again silences no other', async () => {
    const { arm, group, refused, lose, speaks, told } = setUp(kind);
    const whole = group(A, X);
    await arm(whole);
    refused.add(X);
    lose(X);
    expect(await arm(whole)).toMatchObject({ failed: [], refused: told });
    expect([A, X].map(speaks)).toEqual([true, false]);
  });

  it('of which none can be bound the group is refused', async () => {
    const { arm, group, refused, lose } = setUp(kind);
    await arm(group(A));
    refused.add(X).add(A);
    lose(A);
    expect(await arm(group(A, X))).toMatchObject({ failed: [{ group: 'g' }], refused: [] });
    expect(await arm(group(X))).toMatchObject({ failed: [{ group: 'g' }] });
  });

  it('that is refused alone is no reason to hold the group with nothing', async () => {
    const { arm, group, refused } = setUp(kind);
    refused.add(X);
    await arm(group(A));
    await arm(group(A, X));
    expect(await arm(group(X))).toMatchObject({ failed: [{ group: 'g' }] });
  });

  it('a group that is taken over needs all of them, also after it has been here before', async () => {
    const { arm, gate, group, refused } = setUp(kind);
    const whole = group(A, X);
    refused.add(X);
    expect(await arm(whole)).toMatchObject({ opened: [], failed: [{ group: 'g' }], refused: [] });
    expect(await arm(whole)).toMatchObject({ opened: [], failed: [{ group: 'g' }], refused: [] });
    await gate.close([whole]);
    await arm(group(A));
    expect(await arm(whole)).toMatchObject({ failed: [], refused: [{ address: X }] });
    await gate.close([whole]);
    expect(await arm(whole)).toMatchObject({ failed: [{ group: 'g' }], refused: [] });
  });

  it('a group that nobody else can take speaks with what can be bound, if anything can', async () => {
    const { arm, group, refused, speaks, told } = setUp(kind);
    const whole = group(A, X);
    refused.add(X);
    await arm(whole);
    expect(await arm(whole, { isPartial: true })).toMatchObject({ failed: [], refused: told });
    expect([speaks(A), speaks(X)]).toEqual([true, false]);
    expect(await arm(whole)).toMatchObject({ failed: [], refused: told });
    expect(await arm(group(X), { isPartial: true })).toMatchObject({ failed: [{ group: 'g' }] });
  });

  it('is told no more when the document takes it back', async () => {
    const { arm, group, refused } = setUp(kind);
    refused.add(X);
    await arm(group(A));
    await arm(group(A, X));
    expect(await arm(group(A))).toMatchObject({ failed: [], refused: [] });
  });

  it('a group that lapsed opens again with what it spoke as', async () => {
    const { arm, gate, group, refused, clock, speaks, told } = setUp(kind);
    const whole = group(A, X);
    refused.add(X);
    await arm(group(A));
    await arm(whole);
    await clock.advance(4000);
    expect(speaks(A)).toBe(false);
    gate.forget(1, A);
    expect(await arm(whole, { mode: 'prepared' })).toMatchObject({ failed: [], refused: told });
    const until = monoMs(clock.now() + 2000);
    expect(await gate.open([whole], until)).toMatchObject({
      value: { opened: ['g'], failed: [], refused: told },
    });
    expect([A, X].map(speaks)).toEqual([true, false]);
  });

  it('a new life goes on with what the former one spoke as', async () => {
    const { arm, life, group, refused, speaks, told } = setUp(kind);
    const whole = group(A, X);
    refused.add(X);
    await arm(group(A));
    await arm(whole);
    const next = life();
    expect((await next.adopt([whole])).ok).toBe(true);
    expect(await arm(whole, { mode: 'prepared', on: next })).toMatchObject({ failed: [] });
    expect(await arm(whole, { on: next })).toMatchObject({ failed: [], refused: told });
    expect([A, X].map(speaks)).toEqual([true, false]);
  });
});

describe('with a gate of rules', () => {
  it('it is not let through while it is not bound', async () => {
    const { arm, group, refused, isEnabled } = setUp('rules');
    refused.add(X);
    await arm(group(A));
    await arm(group(A, X));
    expect(await isEnabled(A)).toBe(true);
    expect(await isEnabled(X)).toBe(false);
  });

  it('what is muted goes on forwarding', async () => {
    const { arm, gate, group, refused, speaks, told } = setUp('rules');
    refused.add(X);
    await arm(group(A));
    await gate.mute([group(A)]);
    const muted = await arm(group(A, X), { mode: 'muted' });
    expect(muted).toMatchObject({ failed: [], refused: told });
    expect(speaks(A)).toBe(true);
  });

  it('rounds that change nothing ask the kernel for the deadlines alone', async () => {
    const { arm, group, refused, asked, fence, clock } = setUp('rules');
    const whole = group(A, X);
    refused.add(X);
    await arm(group(A));
    await arm(whole);
    asked.length = 0;
    const { commits, observations } = fence.counters;
    await clock.advance(100);
    await arm(whole);
    expect(asked).toEqual([]);
    expect(fence.counters).toMatchObject({ commits: commits + 1, observations });
  });

  it('goes on also after somebody flushed the rules', async () => {
    const { arm, group, refused, fence, speaks, told } = setUp('rules');
    const whole = group(A, X);
    refused.add(X);
    await arm(group(A));
    await arm(whole);
    fence.flush();
    expect(await arm(whole)).toMatchObject({ opened: ['g'], failed: [], refused: told });
    expect([A, X].map(speaks)).toEqual([true, false]);
  });
});
