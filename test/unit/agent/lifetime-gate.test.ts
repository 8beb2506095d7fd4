/** The gate made of address lifetimes: never longer than the deadline, nothing stale stays (design 4.4). */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createLifetimeGate } from '../../../src/agent/lifetime-gate.ts';
import { groupId, monoMs } from '../../../src/model/ids.ts';
import type { ArmMode } from '../../../src/model/kernel.ts';
import type { GateGroup } from '../../../src/ports/gate.ts';
import { FakeClock } from '../../fakes/fake-clock.ts';
import { FakeNetworkKernel } from '../../fakes/fake-kernel.ts';
import { ip } from '../core/desired/spec-builders.ts';

const A = ip('10.90.0.100');
const B = ip('10.90.0.101');

function setUp() {
  const clock = new FakeClock();
  const kernel = new FakeNetworkKernel(clock);
  const linkIndex = kernel.addLink('eth0');
  const gate = createLifetimeGate({ kernel, clock });
  const group = (name: string, ...addresses: (typeof A)[]): GateGroup => ({
    group: groupId(name),
    addresses: addresses.map((address) => ({
      linkIndex,
      address,
      prefix: 24,
      scope: 'global',
      label: null,
    })),
  });
  const bound = (): (typeof A)[] => kernel.boundNow().map((one) => one.address);
  const armModes = (ms: number, ...groups: (GateGroup & { mode: ArmMode })[]) =>
    gate.arm({ round: 1, groups, until: monoMs(clock.now() + ms), aliveMs: (ms * 3) / 4 });
  const arm = (ms: number, ...groups: GateGroup[]) =>
    armModes(ms, ...groups.map((one) => ({ ...one, mode: 'open' as const })));
  return { armModes, clock, kernel, linkIndex, gate, group, bound, arm };
}

describe('arming', () => {
  it('binds for whole seconds, never beyond the deadline', async () => {
    await fc.assert(
      fc.asyncProperty(fc.double({ min: 0, max: 60_000, noNaN: true }), async (ms) => {
        const { arm, group, kernel } = setUp();
        const armed = await arm(ms, group('g', A));
        expect(armed.ok).toBe(ms >= 1000);
        for (const { validLifetimeS } of kernel.boundNow())
          expect((validLifetimeS ?? Infinity) * 1000).toBeLessThanOrEqual(ms);
      }),
    );
  });

  it.each([999, 0, -5000])('with %i ms left fails as a whole and binds nothing', async (ms) => {
    const { arm, group, bound } = setUp();
    expect(await arm(ms, group('g', A))).toMatchObject({ ok: false, error: { code: 'LATE' } });
    expect(bound()).toEqual([]);
  });

  it('says which groups were not bound before, and only then', async () => {
    const { arm, group } = setUp();
    expect(await arm(3000, group('g', A))).toMatchObject({ value: { opened: ['g'] } });
    expect(await arm(3000, group('g', A))).toMatchObject({ value: { opened: [] } });
    expect(await arm(3000, group('g', A, B))).toMatchObject({ value: { opened: ['g'] } });
  });

  it('again refreshes; without it the kernel drops the address by itself', async () => {
    const { arm, group, bound, clock } = setUp();
    await arm(3000, group('g', A));
    await clock.advance(2000);
    await arm(3000, group('g', A));
    await clock.advance(2900);
    expect(bound()).toEqual([A]);
    await clock.advance(100);
    expect(bound()).toEqual([]);
  });

  it('lets exactly the named groups speak: the rest is unbound', async () => {
    const { arm, group, bound } = setUp();
    await arm(3000, group('g', A), group('h', B));
    await arm(3000, group('h', B));
    expect(bound()).toEqual([B]);
    await arm(3000);
    expect(bound()).toEqual([]);
  });

  it('binds nothing more while something stale cannot be unbound', async () => {
    const { arm, group, bound, kernel } = setUp();
    await arm(3000, group('g', A));
    kernel.failNext('unbind', 'EPERM');
    expect(await arm(3000, group('h', B))).toMatchObject({ ok: false, error: { code: 'EPERM' } });
    expect(bound()).toEqual([A]);
    expect(await arm(3000, group('h', B))).toMatchObject({ ok: true });
    expect(bound()).toEqual([B]);
  });

  it('names each group of which an address was refused, and opens the others', async () => {
    const { arm, group, kernel } = setUp();
    kernel.failNext('bind', 'EPERM');
    expect(await arm(3000, group('g', A, B), group('h', ip('10.90.0.102')))).toMatchObject({
      value: { opened: ['h'], failed: [{ group: 'g', error: { code: 'EPERM' } }] },
    });
  });

  it('opens anew what went away behind its back', async () => {
    const { arm, group, gate, linkIndex, kernel } = setUp();
    await arm(3000, group('g', A));
    kernel.removeAddress({ linkIndex, address: A, prefix: 24 });
    expect(gate.forget(linkIndex, A)).toBe('g');
    expect(gate.forget(linkIndex, A)).toBeNull();
    expect(await arm(3000, group('g', A))).toMatchObject({ value: { opened: ['g'] } });
  });
});

describe('closing', () => {
  it('unbinds at once; what is not there is a success', async () => {
    const { arm, group, gate, bound } = setUp();
    await arm(3000, group('g', A), group('h', B));
    expect(await gate.close([group('g', A)])).toMatchObject({ ok: true });
    expect(bound()).toEqual([B]);
    expect(await gate.close([group('g', A), group('never', A)])).toMatchObject({ ok: true });
  });

  it('also unbinds what the group had before its addresses changed', async () => {
    const { arm, group, gate, bound } = setUp();
    await arm(3000, group('g', A));
    expect(await gate.close([group('g', B)])).toMatchObject({ ok: true });
    expect(bound()).toEqual([]);
  });

  it('is not acknowledged where the kernel refused, and can be asked again', async () => {
    const { arm, group, gate, bound, kernel } = setUp();
    await arm(3000, group('g', A, B));
    kernel.failNext('unbind', 'EPERM');
    expect(await gate.close([group('g', A, B)])).toMatchObject({ ok: false });
    expect(bound()).toEqual([A]);
    expect(await gate.close([group('g', A, B)])).toMatchObject({ ok: true });
    expect(bound()).toEqual([]);
  });
});

describe('a handover', () => {
  it('binds a prepared group when it is opened, for what is left of the arming', async () => {
    const { armModes, group, gate, bound, clock, kernel } = setUp();
    const g = group('g', A);
    const until = monoMs(clock.now() + 5000);
    await armModes(5000, { ...g, mode: 'prepared' });
    expect(bound()).toEqual([]);
    await clock.advance(1500);
    expect(await gate.open([g], until)).toMatchObject({ value: { opened: ['g'], failed: [] } });
    expect(kernel.boundNow()).toMatchObject([{ address: A, validLifetimeS: 3 }]);
  });

  it('opens nothing that the last arming did not prepare, and nothing late', async () => {
    const { armModes, group, gate, bound, clock } = setUp();
    const [g, h] = [group('g', A), group('h', B)];
    const until = monoMs(clock.now() + 3000);
    await armModes(3000, { ...g, mode: 'prepared' });
    await armModes(3000, { ...h, mode: 'open' });
    expect(await gate.open([g], until)).toMatchObject({
      value: { opened: [], failed: [{ group: 'g' }] },
    });
    await armModes(3000, { ...g, mode: 'prepared' });
    await clock.advance(2500);
    expect(await gate.open([g], until)).toMatchObject({ error: { code: 'LATE' } });
    expect(bound()).toEqual([]);
  });

  it('cannot mute without unbinding: the muted group is silent altogether', async () => {
    const { arm, armModes, group, gate, bound } = setUp();
    await arm(3000, group('g', A));
    expect(await gate.mute([group('g', A)])).toMatchObject({ ok: true });
    expect(bound()).toEqual([]);
    await armModes(3000, { ...group('g', A), mode: 'muted' });
    expect(bound()).toEqual([]);
  });
});

describe('a new life', () => {
  it('keeps what it is told to keep, and closes it as its own', async () => {
    const { arm, group, gate, bound, clock, kernel } = setUp();
    await arm(5000, group('g', A));
    const next = createLifetimeGate({ kernel, clock });
    await clock.advance(2000);
    expect(await next.adopt([group('g', A), group('h', B)])).toEqual({
      ok: true,
      value: new Map([['g', clock.now() + 3000]]),
    });
    expect(bound()).toEqual([A]);
    expect(await next.close([group('g')])).toMatchObject({ ok: true });
    expect(bound()).toEqual([]);
    expect(await gate.check(() => true)).toMatchObject({ ok: true });
  });
});
