/** A round that repeats the last one ends as a round that looks at everything, whatever happened in between. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
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

const PERMIT_MS = 125;
const ALIVE_MS = 375;
const GROUPS: Readonly<Record<string, readonly IpAddress[]>> = {
  a: [ip('10.90.0.1')],
  b: [ip('10.90.0.2'), ip('10.90.0.3')],
  c: [ip('10.90.0.4')],
};
type Name = string;

const names = fc.subarray(Object.keys(GROUPS));
const name = fc.constantFrom<Name>('a', 'b', 'c');
const mode = fc.constantFrom<ArmMode>('open', 'prepared', 'muted');
const deed = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({ kind: fc.constant('round'), names, mode, tookMs: fc.nat(150) }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant('again'), times: fc.integer({ min: 1, max: 3 }) }),
  },
  fc.record({ kind: fc.constantFrom('open', 'mute', 'close', 'foresee'), names }),
  fc.record({ kind: fc.constantFrom('lose', 'place', 'refuse'), name }),
  fc.record({ kind: fc.constantFrom('flush', 'check', 'unplace'), names }),
  fc.record({ kind: fc.constant('wait'), ms: fc.nat(4000) }),
);
type Deed = typeof deed extends fc.Arbitrary<infer T> ? T : never;

/** A director whose callers hand over the same objects again, or new ones each time. */
function director({ isStable }: { readonly isStable: boolean }) {
  const clock = new FakeClock();
  const kernel = new FakeNetworkKernel(clock);
  const eth0 = kernel.addLink('eth0');
  const fence = new FakeFence(clock);
  let commits = 0;
  const commit = fence.commit.bind(fence);
  fence.commit = (change) => {
    commits++;
    return commit(change);
  };
  const gate = createFenceGate({ fence, kernel, clock, log: new RecordingLog() });
  const vips = Object.values(GROUPS).flat();
  const place = (): void =>
    gate.setPlaces({ devices: [{ index: eth0, name: 'eth0' }], vips, groups: new Map() });
  place();
  const made = new Map<string, GateGroup>();
  const groupOf = (one: Name): GateGroup => {
    const known = made.get(one);
    if (known !== undefined && isStable) return known;
    const addresses = (GROUPS[one] ?? []).map(
      (address) =>
        ({ linkIndex: eth0, address, scope: 'global', label: null, prefix: 24 }) as const,
    );
    const group = { group: groupId(one), addresses };
    made.set(one, group);
    return group;
  };
  let rounds = 0;
  let last: Deed & { readonly kind: string } = {
    kind: 'round',
    names: [],
    mode: 'open',
    tookMs: 1,
  };
  const round = async (wanted: readonly Name[], as: ArmMode, tookMs: number) => {
    const number = ++rounds;
    const given = await gate.permit(number, PERMIT_MS);
    if (!given.ok) return given;
    const until = monoMs(clock.now() + 500);
    await clock.advance(tookMs);
    const groups = wanted.map((one) => ({ ...groupOf(one), mode: as }));
    return gate.arm({ round: number, groups, until, aliveMs: ALIVE_MS });
  };
  const act = async (one: Deed): Promise<unknown> => {
    if ('tookMs' in one) {
      last = one;
      return round(one.names, one.mode, one.tookMs);
    }
    if ('times' in one) {
      const answers: unknown[] = [];
      // oxlint-disable-next-line no-await-in-loop -- one round after the other
      for (let i = 0; i < one.times; i++) answers.push(await act(last));
      return answers;
    }
    if ('ms' in one) return clock.advance(one.ms);
    if ('name' in one) {
      const address = GROUPS[one.name]?.[0];
      if (address === undefined) return null;
      if (one.kind === 'refuse') return kernel.failNext('bind', 'EPERM');
      if (one.kind === 'place') return place();
      kernel.removeAddress({ linkIndex: eth0, address, prefix: 24 });
      return gate.forget(eth0, address);
    }
    const groups = one.names.map(groupOf);
    switch (one.kind) {
      case 'open':
        return gate.open(groups, monoMs(clock.now() + 100));
      case 'mute':
        return gate.mute(groups);
      case 'close':
        return gate.close(groups);
      case 'foresee':
        return gate.foresee(groups);
      case 'check':
        return gate.check((group) => one.names.includes(group));
      case 'flush':
        return fence.flush();
      default:
        return gate.setPlaces({ devices: [], vips: [], groups: new Map() });
    }
  };
  /** Deadlines too: an address or a permit that ends early in one of them would show. */
  const state = async () => ({
    bound: kernel.boundNow(),
    fence: await fence.observe(),
    speaks: vips.map((address) => [fence.speaks(address, eth0), fence.answers(address, eth0)]),
    alive: fence.aliveUntil(eth0),
  });
  return { act, state, round, commits: () => commits, groupOf };
}

describe('a repeated arming', () => {
  it('does what an arming from the beginning does, whatever happened in between', () =>
    fc.assert(
      fc.asyncProperty(fc.array(deed, { minLength: 2, maxLength: 25 }), async (deeds) => {
        const [known, anew] = [director({ isStable: true }), director({ isStable: false })];
        for (const one of deeds) {
          // oxlint-disable-next-line no-await-in-loop -- in this order
          expect(await known.act(one)).toEqual(await anew.act(one));
          // oxlint-disable-next-line no-await-in-loop -- after each
          expect(await known.state()).toEqual(await anew.state());
        }
      }),
      { numRuns: 300 },
    ));

  it('asks the kernel for the deadlines alone', async () => {
    const { round, commits, state } = director({ isStable: true });
    await round(['a', 'b', 'c'], 'open', 10);
    const [before, first] = [commits(), await state()];
    expect(await round(['a', 'b', 'c'], 'open', 10)).toMatchObject({ value: { opened: [] } });
    expect(commits()).toBe(before + 1);
    expect((await state()).fence).toEqual(first.fence);
  });
});
