/** The fake store keeps the contract, so the simulator may trust it. */
import { createSystemClock } from '../../src/adapters/clock/system-clock.ts';
import { FakeCluster, type FakeStore } from '../fakes/fake-store.ts';
import { SeededRandom } from '../fakes/seeded-random.ts';
import { clusterStoreContract } from './cluster-store.contract.ts';

clusterStoreContract('fake', async () => {
  const cluster = new FakeCluster({ clock: createSystemClock(), random: new SeededRandom(1) });
  const stores: FakeStore[] = [];
  const cut = (): void => stores.forEach((store) => store.cut());
  const heal = (): void => stores.forEach((store) => store.heal());
  return {
    connect: () => {
      const store = cluster.connect(`d${stores.length}`);
      stores.push(store);
      return store;
    },
    silence: cut,
    speak: heal,
    takeDown: async () => cut(),
    bringBack: async () => heal(),
    compactWhileDown: async (writes) => {
      for (const { key, value } of writes) cluster.write(key, value);
      cluster.compact();
      heal();
    },
    close: async () => cluster.close(),
  };
});
