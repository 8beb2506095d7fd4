import { describe, expect, it } from 'vitest';
import { DrainTeller } from '../../../src/agent/drain-teller.ts';
import type { Drain, Drains } from '../../../src/core/service/drain.ts';
import { realServerId, serviceId } from '../../../src/model/ids.ts';
import { ip } from '../core/desired/spec-builders.ts';
import { RecordingLog } from './reconcile-loop.fixture.ts';

const some = { active: 3, inactive: 0, persistent: 0 };
const drain = (fields: Partial<Drain> = {}): Drain => ({
  service: serviceId('web'),
  realServer: realServerId('10.0.0.1:80'),
  key: 'tcp 10.90.0.100:80',
  cause: 'admin',
  destination: {
    address: ip('10.0.0.1'),
    port: 80,
    forward: 'dr',
    tunnel: null,
    weight: 0,
    upperThreshold: 0,
    lowerThreshold: 0,
  },
  sinceMs: 0,
  deadlineAtMs: null,
  first: some,
  left: some,
  end: null,
  ...fields,
});
const book = (...drains: readonly Drain[]): Drains =>
  new Map(drains.map((one, i) => [`${i}`, one]));

function setUp() {
  const log = new RecordingLog();
  const teller = new DrainTeller(log);
  return { log, look: (...drains: readonly Drain[]) => teller.look(book(...drains)) };
}

describe('a drain', () => {
  it('is told when it begins and when it ends, not in between', () => {
    const { log, look } = setUp();
    look(drain());
    look(drain({ left: { ...some, active: 1 } }));
    expect(log.events()).toEqual(['drain.started']);
    look(drain({ end: 'deadline', left: { ...some, active: 1 } }));
    look(drain({ end: 'deadline', left: { ...some, active: 0 } }));
    look();
    expect(log.events()).toEqual(['drain.started', 'drain.ended']);
    expect(log.of('drain.ended')).toMatchObject([
      {
        service: 'web',
        realServer: '10.0.0.1:80',
        cause: 'admin',
        detail: 'its deadline has passed with 1 active, 0 inactive connections left',
      },
    ]);
  });

  it('that was over when it began is told once', () => {
    const { log, look } = setUp();
    look(drain({ end: 'absent', first: null, left: null }));
    look(drain({ end: 'absent', first: null, left: null }));
    expect(log.events()).toEqual(['drain.ended']);
  });

  it('that is taken back is told as stopped', () => {
    const { log, look } = setUp();
    look(drain());
    look();
    expect(log.events()).toEqual(['drain.started', 'drain.stopped']);
  });

  it('of many at once is told of some of them, with how many more', () => {
    const { log, look } = setUp();
    look(...Array.from({ length: 1000 }, () => drain()));
    expect(log.of('drain.started')).toHaveLength(20);
    expect(log.of('drain.started-more')).toEqual([{ more: 980 }]);
  });
});
