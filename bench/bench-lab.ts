/** What the benches on a cluster share: a lab that is always removed, and a watched fault. */
import { startVoiceProbe } from '../test/support/client-probe.ts';
import {
  CLIENT,
  CLIENT_ADDRESS,
  type ClusterLab,
  type ClusterLabOptions,
  createClusterLab,
} from '../test/support/cluster-lab.ts';
import type { Network } from '../test/support/network.ts';
import { monotonicMs, sleep } from '../test/support/processes.ts';
import { type Seen, seenOf } from './seen.ts';

export type BenchOptions = {
  /** How often each figure is taken. */
  readonly runs: number;
  /** Progress, one line. */
  readonly say: (text: string) => void;
  /** Ends the bench early: what it started is removed, and it throws. */
  readonly signal: AbortSignal;
};

/** Gives the text of the result. */
export type Bench = (options: BenchOptions) => Promise<string>;

/** Runs `body` in a lab that is removed afterwards, also after a failure or an early end. */
export async function withLab<T>(
  options: ClusterLabOptions,
  signal: AbortSignal,
  body: (lab: ClusterLab) => Promise<T>,
): Promise<T> {
  signal.throwIfAborted();
  const lab = await createClusterLab(options);
  const aborted = new Promise<never>((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
  });
  try {
    return await Promise.race([body(lab), aborted]);
  } catch (cause) {
    if (signal.aborted) throw cause;
    throw new Error(`see ${await lab.collectEvidence(`bench-${options.name}`)}`, { cause });
  } finally {
    await lab.close();
  }
}

export type Watch = {
  readonly vip: string;
  readonly oldMac: string;
  /** How long to watch after the fault. */
  readonly windowMs: number;
  readonly act: () => Promise<unknown>;
};

/** Watches the VIP from the client while `act` is done; the fault is when `act` begins. */
export async function watch(network: Network, options: Watch): Promise<Seen> {
  const target = { client: CLIENT, ownAddress: CLIENT_ADDRESS, vip: options.vip };
  const probe = await startVoiceProbe(network, target);
  await sleep(500);
  const faultMs = monotonicMs();
  await options.act();
  await sleep(Math.max(0, faultMs + options.windowMs - monotonicMs()));
  const endMs = monotonicMs();
  return seenOf(await probe.stop(), { faultMs, endMs, oldMac: options.oldMac });
}
