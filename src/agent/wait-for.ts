/** How the agent's loops sleep: until woken, until the time has passed, or until the end. */
import type { Wakeup } from '../lib/async.ts';
import type { Clock } from '../ports/clock.ts';

export async function waitFor(
  wakeup: Wakeup,
  ms: number,
  clock: Clock,
  signal: AbortSignal,
): Promise<void> {
  if (signal.aborted) return;
  const cancel = clock.schedule(ms, () => wakeup.wake());
  const onAbort = (): void => wakeup.wake();
  signal.addEventListener('abort', onAbort, { once: true });
  await wakeup.wait();
  signal.removeEventListener('abort', onAbort);
  cancel();
}
