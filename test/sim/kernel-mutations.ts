/** Rules of what the kernel has acknowledged (design 4.2, 4.7): told to the agent before it is so. */
import { ok } from '../../src/lib/result.ts';
import type { Clock } from '../../src/ports/clock.ts';
import type { Fence } from '../../src/ports/fence.ts';
import type { NetworkKernel } from '../../src/ports/kernel.ts';
import type { Mutation } from './mutations.ts';
import { NOTHING, rewriteFence } from './rewriting.ts';

/** The kernel of one life of a director. */
export type KernelPorts = { readonly fence: Fence | null; readonly network: NetworkKernel };

/** So much later than it says the kernel falls silent. */
const LATE_MS = 60;

/** What is to fall silent does so late, and the agent is told that it has; `isLate`: at that moment? */
function lateShut(
  { fence, network }: KernelPorts,
  clock: Clock,
  isLate: () => boolean,
): KernelPorts {
  return {
    fence:
      fence === null
        ? null
        : rewriteFence(fence, (change) => {
            if (change.enabled.remove.length === 0 || !isLate()) return change;
            const { remove } = change.enabled;
            clock.schedule(LATE_MS, () => {
              void fence.commit({
                permit: null,
                alive: null,
                managed: NOTHING,
                enabled: { add: [], remove },
                muted: NOTHING,
                served: NOTHING,
                directors: NOTHING,
              });
            });
            return { ...change, enabled: { ...change.enabled, remove: [] } };
          }),
    network: {
      links: () => network.links(),
      addresses: () => network.addresses(),
      bind: (requests) => network.bind(requests),
      unbind: (addresses) => {
        if (!isLate()) return network.unbind(addresses);
        clock.schedule(LATE_MS, () => void network.unbind(addresses));
        return Promise.resolve(addresses.map(() => ok(undefined)));
      },
      watch: (signal) => network.watch(signal),
      close: () => network.close(),
    },
  };
}

/** Only until the first round: what an earlier life of the director has left. */
function lateClearing(ports: KernelPorts, clock: Clock): KernelPorts {
  let hasBegun = false;
  const late = lateShut(ports, clock, () => !hasBegun);
  const { fence } = late;
  if (fence === null) return late;
  const permit = (round: number, timeoutMs: number): ReturnType<Fence['permit']> => {
    hasBegun = true;
    return fence.permit(round, timeoutMs);
  };
  return { ...late, fence: { ...fence, permit } };
}

export const KERNEL_MUTATIONS: readonly Mutation[] = [
  {
    name: 'released-before-the-gate-is-shut',
    overrides: { directors: 2, hasFence: true },
    faults: ['drain', 'failTrack', 'terminate', 'losesCarrier'],
    kernel: (ports, clock) => lateShut(ports, clock, () => true),
  },
  {
    name: 'session-opened-with-the-gate-open',
    overrides: { directors: 2, hasFence: true },
    faults: ['restart', 'crash', 'tamperSession', 'strike', 'switchover', 'struckSwitchover'],
    kernel: lateClearing,
  },
];
