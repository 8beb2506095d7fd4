/** What this director would go by without etcd, and how its gateway targets answer, for the status document. */
import type { Isolation } from '../model/cluster.ts';
import type { MonoMs } from '../model/ids.ts';
import type { IsolationStatus } from '../model/status.ts';
import { isAnswering, isolationWords } from '../model/status-words.ts';
import type { GatewaysSeen } from './gateway-desk.ts';

export function isolationStatus(
  { policy, mode, targets }: Isolation,
  { wasAsked, answeredAt }: GatewaysSeen,
  now: MonoMs,
): IsolationStatus {
  const seen = targets.map((address) => {
    const at = answeredAt.get(address);
    return { address, answeredMsAgo: at === undefined ? null : Math.round(now - at) };
  });
  const isReachable = mode === 'any' ? seen.some(isAnswering) : seen.every(isAnswering);
  return { policy, mode, isReachable: wasAsked ? isReachable : null, targets: seen };
}

/** With what to do about it; empty where nothing is wrong. */
export function isolationProblems(status: IsolationStatus): readonly string[] {
  const words = isolationWords(status);
  return words === null ? [] : [`${words.what}; ${words.remedy ?? ''}`];
}
