/** Endpoints in turn, and pauses between tries. */
import { describe, expect, it } from 'vitest';

import { Backoff } from '../../../../src/adapters/etcd/backoff.ts';
import { EndpointRing } from '../../../../src/adapters/etcd/endpoint-ring.ts';
import { silentLog } from '../../../../src/ports/log.ts';
import { FakeClock } from '../../../fakes/fake-clock.ts';
import { SeededRandom } from '../../../fakes/seeded-random.ts';

const ports = { clock: new FakeClock(), log: silentLog, random: new SeededRandom(1) };

describe('EndpointRing', () => {
  it('stays with an endpoint, and of several failures there only the first moves on', () => {
    const ring = new EndpointRing({ endpoints: ['http://a', 'http://b', 'http://c'] }, ports);
    const first = ring.current;
    expect(ring.current.endpoint).toBe('http://a');
    ring.moveOnFrom(first);
    ring.moveOnFrom(first);
    expect(ring.current.endpoint).toBe('http://b');
    ring.moveOnFrom(ring.current);
    ring.moveOnFrom(ring.current);
    expect(ring.current).toBe(first);
    ring.close();
  });

  it('needs an endpoint', () => {
    expect(() => new EndpointRing({ endpoints: [] }, ports)).toThrow('needs an endpoint');
  });
});

describe('Backoff', () => {
  it('doubles up to its limit, with at least half of it, and starts anew', () => {
    const backoff = new Backoff(50, 400, new SeededRandom(7));
    for (const full of [50, 100, 200, 400, 400]) {
      const ms = backoff.nextMs();
      expect(ms).toBeGreaterThanOrEqual(full / 2);
      expect(ms).toBeLessThanOrEqual(full);
    }
    backoff.reset();
    expect(backoff.nextMs()).toBeLessThanOrEqual(50);
  });
});
