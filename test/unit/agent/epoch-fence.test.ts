/** No operation of an older epoch after a newer one (invariant I2). */
import { describe, expect, it } from 'vitest';
import { createEpochFence } from '../../../src/agent/epoch-fence.ts';
import { epochOf, groupId, revision } from '../../../src/model/ids.ts';
import { RecordingLog } from './reconcile-loop.fixture.ts';

const WEB = groupId('web');
const MAIL = groupId('mail');
const epoch = (value: number) => epochOf(revision(value));

function setUp() {
  const log = new RecordingLog();
  return { log, epochs: createEpochFence({ log }) };
}

describe('the epoch fence', () => {
  it('admits what is as new as anything done before', () => {
    const { epochs, log } = setUp();
    expect(epochs.admit(WEB, epoch(7), 'arm')).toBe(true);
    expect(epochs.admit(WEB, epoch(7), 'announce')).toBe(true);
    expect(epochs.admit(WEB, epoch(9), 'open')).toBe(true);
    expect(log.events()).toEqual([]);
    expect(epochs.refused()).toBe(0);
  });

  it('refuses, counts and tells what is older, whatever kind of operation was newer', () => {
    const { epochs, log } = setUp();
    epochs.admit(WEB, epoch(9), 'notify');
    for (const operation of ['arm', 'open', 'announce', 'notify'] as const)
      expect(epochs.admit(WEB, epoch(8), operation)).toBe(false);
    expect(epochs.refused()).toBe(4);
    expect(log.of('operation.refused')[0]).toEqual({
      vipGroup: WEB,
      epoch: 8,
      last: 9,
      operation: 'arm',
    });
  });

  it('refuses what nobody knows the epoch of', () => {
    const { epochs } = setUp();
    expect(epochs.admit(WEB, null, 'arm')).toBe(false);
  });

  it('knows each group by itself', () => {
    const { epochs } = setUp();
    epochs.admit(WEB, epoch(9), 'arm');
    expect(epochs.admit(MAIL, epoch(1), 'arm')).toBe(true);
  });
});
