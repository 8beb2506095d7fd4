/** A takeover is proven when a gateway of each VIP's network sends here (design 4.12). */
import { describe, expect, it } from 'vitest';
import { verifyTakeover } from '../../../src/agent/takeover-proof.ts';
import { FakeClock } from '../../fakes/fake-clock.ts';
import { FakeNeighbours } from '../../fakes/fake-neighbours.ts';
import { ip } from '../core/desired/spec-builders.ts';

const GATEWAY = ip('10.90.0.1');
const OTHER = ip('10.90.0.2');
const GATEWAY6 = ip('fe80::1');

const vip = (address: string, prefix = address.includes(':') ? 64 : 24) => ({
  device: 'eth0',
  address: ip(address),
  prefix,
});

function setUp(answering: readonly string[]) {
  const clock = new FakeClock();
  const neighbours = new FakeNeighbours(
    { gateway: ({ vip: of, gateway }) => (answering.includes(`${of} ${gateway}`) ? 5 : null) },
    { clock },
  );
  const verify = (
    vips: readonly ReturnType<typeof vip>[],
    gateways: Parameters<typeof verifyTakeover>[2],
  ) => clock.settle(verifyTakeover(neighbours, vips, gateways, 300));
  return { clock, neighbours, verify };
}

describe('a takeover', () => {
  it('is proven by one gateway of two, without waiting for the other', async () => {
    const { verify, clock } = setUp(['10.90.0.100 10.90.0.2']);
    const before = clock.now();
    expect(await verify([vip('10.90.0.100')], [GATEWAY, OTHER])).toBe(true);
    expect(clock.now() - before).toBeLessThan(300);
  });

  it('is not proven while one VIP of the group is not', async () => {
    const { verify } = setUp(['10.90.0.100 10.90.0.1']);
    expect(await verify([vip('10.90.0.100'), vip('10.90.0.101')], [GATEWAY])).toBe(false);
  });

  it('asks each VIP’s own gateways only, all of them at once', async () => {
    const { verify, neighbours } = setUp(['10.90.0.100 10.90.0.1', 'fd90::100 fe80::1']);
    const vips = [vip('10.90.0.100'), vip('10.91.0.1'), vip('fd90::100')];
    expect(await verify(vips, [GATEWAY, GATEWAY6])).toBe(true);
    expect(neighbours.asked).toHaveLength(2);
  });

  it('asks all of the family for a VIP whose prefix tells nothing of its network', async () => {
    const { verify } = setUp(['192.0.2.7 10.90.0.1']);
    expect(await verify([vip('192.0.2.7', 32)], [GATEWAY])).toBe(true);
  });

  it('is neither proven nor not where there is nobody to ask', async () => {
    const { verify } = setUp([]);
    expect(await verify([vip('10.90.0.100')], [])).toBeNull();
    expect(await verify([vip('10.90.0.100')], [GATEWAY6])).toBeNull();
    expect(await verify([], [GATEWAY])).toBeNull();
  });
});
