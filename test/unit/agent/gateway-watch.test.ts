/** The gateway is asked every second in any state, and its loss orders the candidates (design 4.7). */
import { describe, expect, it } from 'vitest';
import { createGatewayWatch } from '../../../src/agent/gateway-watch.ts';
import type { IpAddress } from '../../../src/model/address.ts';
import { FakeClock } from '../../fakes/fake-clock.ts';
import { ip } from '../core/desired/spec-builders.ts';
import { RecordingLog } from './reconcile-loop.fixture.ts';

const A = ip('10.90.0.1');

function setUp() {
  const clock = new FakeClock();
  const log = new RecordingLog();
  const world = {
    targets: [A] as readonly IpAddress[],
    isAnswering: true,
    asked: [] as number[],
    changes: 0,
  };
  const watch = createGatewayWatch({
    clock,
    log,
    targets: () => world.targets,
    ask: async (timeoutMs) => {
      world.asked.push(clock.now());
      const { isAnswering } = world;
      await clock.sleep(isAnswering ? 1 : timeoutMs);
      return isAnswering;
    },
    changed: () => void world.changes++,
  });
  const end = new AbortController();
  const running = watch.run(end.signal);
  const stop = async (): Promise<void> => {
    end.abort();
    await clock.settle(running);
    expect(clock.pending).toBe(0);
  };
  const bonuses = () => [watch.bonus('candidate'), watch.bonus('holder')];
  return { clock, log, world, watch, stop, bonuses };
}

describe('the watch of the gateway', () => {
  it('asks once a second, answered or not, and is settled by the first answer', async () => {
    const { clock, world, watch, stop } = setUp();
    expect(watch.isSettled()).toBe(false);
    await clock.advance(10);
    expect(watch.isSettled()).toBe(true);
    expect(world.changes).toBe(1);
    world.isAnswering = false;
    await clock.advance(4_000);
    expect(world.asked).toEqual([0, 1_000, 2_000, 3_000, 4_000]);
    await stop();
  });

  it('puts a candidate back within two questions and a holder within four, and tells', async () => {
    const { clock, world, log, stop, bonuses } = setUp();
    await clock.advance(10);
    world.isAnswering = false;
    await clock.advance(2_000);
    expect(bonuses()).toEqual([0, 0]);
    await clock.advance(1_000);
    expect(bonuses()).toEqual([-253, 0]);
    await clock.advance(2_000);
    expect(bonuses()).toEqual([-253, -253]);
    expect(world.changes).toBe(3);
    world.isAnswering = true;
    await clock.advance(1_000);
    expect(bonuses()).toEqual([-253, 0]);
    await clock.advance(2_000);
    expect(bonuses()).toEqual([0, 0]);
    expect(log.of('gateway.track-changed')).toHaveLength(4);
    await stop();
  });

  it('asks nobody and takes nothing away where the document names no targets', async () => {
    const { clock, world, watch, stop, bonuses } = setUp();
    world.targets = [];
    world.isAnswering = false;
    const before = world.asked.length;
    await clock.advance(5_000);
    expect(world.asked).toHaveLength(before);
    expect(watch.isSettled()).toBe(true);
    expect(bonuses()).toEqual([0, 0]);
    await stop();
  });

  it('begins anew with other targets, and takes no answer of the old ones for theirs', async () => {
    const { clock, world, watch, stop, bonuses } = setUp();
    world.isAnswering = false;
    await clock.advance(6_000);
    expect(bonuses()).toEqual([-253, -253]);
    await clock.advance(100);
    world.targets = [ip('192.0.2.1')];
    expect(bonuses()).toEqual([0, 0]);
    expect(watch.isSettled()).toBe(false);
    await clock.advance(700);
    expect(bonuses()).toEqual([0, 0]);
    world.isAnswering = true;
    await clock.advance(1_000);
    expect(watch.isSettled()).toBe(true);
    expect(bonuses()).toEqual([0, 0]);
    await stop();
  });
});
