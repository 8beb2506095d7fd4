/** One connection to a store in memory, on virtual time, for the loops that write to it. */
import { createKeys } from '../../../src/model/keys.ts';
import { FakeClock } from '../../fakes/fake-clock.ts';
import { FakeCluster } from '../../fakes/fake-store.ts';
import { SeededRandom } from '../../fakes/seeded-random.ts';
import { RecordingLog } from './reconcile-loop.fixture.ts';

export const keys = createKeys('lab');

export function storeBench() {
  const clock = new FakeClock();
  const random = new SeededRandom(1);
  const cluster = new FakeCluster({ clock, random, leaseLateMs: 0 });
  const store = cluster.connect('d1');
  const log = new RecordingLog();
  const end = new AbortController();
  const stored = (key: string): unknown => {
    const { value } = cluster.read(key);
    return value === null ? null : JSON.parse(value);
  };
  return { clock, random, cluster, store, log, end, stored };
}
