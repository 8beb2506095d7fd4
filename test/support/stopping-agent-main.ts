/**
 * An agent that can be stopped exactly between its decision to speak on and the system call that would
 * make the kernel do so: arguments are agent.yaml and the path of a trigger file. At the next batch that
 * renews the life of interfaces while that file is there, it is removed and the process gets SIGSTOP;
 * after SIGCONT the batch goes to the kernel as it was decided.
 */
import { existsSync, unlinkSync } from 'node:fs';
import { createSystemClock } from '../../src/adapters/clock/system-clock.ts';
import { createSystemRandom } from '../../src/adapters/clock/system-random.ts';
import { runAgent } from '../../src/agent-process.ts';
import type { Fence } from '../../src/ports/fence.ts';

const [file, trigger] = process.argv.slice(2);
if (file === undefined || trigger === undefined) throw new Error('AGENT_YAML TRIGGER_FILE');

const stopping = new AbortController();
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => stopping.abort());
process.on('SIGUSR2', () => stopping.abort('freeze'));

process.exitCode = await runAgent({
  file,
  isDev: false,
  version: 'test',
  signal: stopping.signal,
  clock: createSystemClock(),
  random: createSystemRandom(),
  stdout: (text) => process.stdout.write(text),
  stderr: (text) => process.stderr.write(text),
  adapt: (adapters) => {
    const { fence } = adapters;
    if (fence === null) throw new Error('this kernel has no fence to stop before');
    return { ...adapters, fence: stoppingFence(fence, trigger) };
  },
});

function stoppingFence(fence: Fence, path: string): Fence {
  return {
    kind: fence.kind,
    observe: () => fence.observe(),
    isAsLeft: () => fence.isAsLeft(),
    lifetimes: () => fence.lifetimes(),
    install: (devices) => fence.install(devices),
    permit: (round, timeoutMs) => fence.permit(round, timeoutMs),
    commit: (change) => {
      if (change.alive !== null && existsSync(path)) {
        unlinkSync(path);
        process.kill(process.pid, 'SIGSTOP');
      }
      return fence.commit(change);
    },
    uninstall: () => fence.uninstall(),
    close: () => fence.close(),
  };
}
