/**
 * Runs the real GatewayPing inside a network namespace. One JSON command a line comes in; lines go out: an
 * empty one once it is ready, then `{id, answer}` for each command, in the order of their ends.
 */
import { createInterface } from 'node:readline';
import { createSystemClock } from '../../../src/adapters/clock/system-clock.ts';
import { createSystemRandom } from '../../../src/adapters/clock/system-random.ts';
import { createGatewayPing } from '../../../src/adapters/gateway/create-gateway-ping.ts';
import { createNftFence } from '../../../src/adapters/linux/nft-fence.ts';
import { silentLog } from '../../../src/ports/log.ts';
import { change } from '../fence.contract.ts';
import type { TimedAnswer } from '../gateway.contract.ts';
import type { GatewayCommand, GatewayLine } from './gateway-network.ts';

const clock = createSystemClock();
const ping = createGatewayPing({ clock, random: createSystemRandom() });
const say = (line: GatewayLine): void => {
  process.stdout.write(`${JSON.stringify(line)}\n`);
};

async function perform(command: GatewayCommand): Promise<TimedAnswer | null> {
  if (command.op === 'ask') {
    const { request, abortAfterMs } = command;
    const from = clock.now();
    const signal = abortAfterMs === null ? undefined : AbortSignal.timeout(abortAfterMs);
    const answer = await ping.ask(request, signal);
    return { ...answer, ms: clock.now() - from };
  }
  const fence = createNftFence('netdev', { log: silentLog, clock });
  const { index, vips } = command;
  const installed = await fence.install([{ index, name: 'eth0' }]);
  const managed = await fence.commit(change({ managed: { add: vips, remove: [] } }));
  fence.close();
  if (!installed.ok || !managed.ok) throw new Error('no rules');
  return null;
}

process.stdout.write('\n');
for await (const line of createInterface({ input: process.stdin })) {
  const { id, command } = JSON.parse(line) as { id: number; command: GatewayCommand };
  void perform(command).then((answer) => say({ id, answer }));
}
ping.close();
