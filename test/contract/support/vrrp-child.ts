/**
 * Runs the real VrrpLink inside a network namespace. One JSON command a line comes in; lines go out:
 * `{ready}` once, `{advert}` for each delivery, `{id, answer}` for each command.
 */
import { execFileSync } from 'node:child_process';
import { createInterface } from 'node:readline';
import { createSystemClock } from '../../../src/adapters/clock/system-clock.ts';
import { createVrrpLink } from '../../../src/adapters/vrrp/create-vrrp-link.ts';
import type { VrrpInstance } from '../../../src/model/vrrp.ts';
import { silentLog } from '../../../src/ports/log.ts';
import type { VrrpCommand, VrrpLine } from './vrrp-network.ts';

const clock = createSystemClock();
const link = createVrrpLink({ clock, log: silentLog });
const end = new AbortController();
const advertising = new Map<string, () => void>();
const say = (line: VrrpLine): void => {
  process.stdout.write(`${JSON.stringify(line)}\n`);
};

function advertise(instance: string, priority: number, everyMs: number): void {
  advertising.get(instance)?.();
  const next = (): void => {
    link.send(instance, priority, null);
    advertising.set(instance, clock.schedule(everyMs, next));
  };
  next();
}

/** Keys arrive as the objects that JSON makes of byte arrays. */
function revive(instance: VrrpInstance): VrrpInstance {
  if (instance.auth.kind !== 'hmac') return instance;
  const keys = instance.auth.keys.map(({ id, key }) => ({
    id,
    key: Uint8Array.from(Object.values(key)),
  }));
  return { ...instance, auth: { kind: 'hmac', keys } };
}

async function answer(command: VrrpCommand): Promise<unknown> {
  switch (command.op) {
    case 'configure':
      link.configure(command.instances.map(revive));
      return link.sockets();
    case 'advertise':
      return advertise(command.instance, command.priority, command.everyMs);
    case 'leave':
      advertising.get(command.instance)?.();
      return link.send(command.instance, 0, null);
    case 'send':
      for (let i = 0; i < command.times; i++) {
        link.send(command.instance, command.priority, null);
        if (i % 100 === 99) await clock.sleep(1);
      }
      return null;
    case 'counters':
      return { ...link.counters(), sockets: link.sockets() };
    case 'descriptors':
      // What a program that the agent starts would have open.
      return execFileSync('ls', ['-l', '/proc/self/fd'], { encoding: 'utf8' });
    case 'goodbye': {
      for (const stop of advertising.values()) stop();
      link.send(command.instance, 0, null);
      const closing = link.close();
      // As where the machine pauses just then.
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 300);
      return closing;
    }
    default:
      return null;
  }
}

void (async () => {
  for await (const delivery of link.receive(end.signal)) say({ kind: 'advert', delivery });
})();
say({ kind: 'ready' });
for await (const line of createInterface({ input: process.stdin })) {
  const { id, command } = JSON.parse(line) as { id: number; command: VrrpCommand };
  say({ kind: 'answer', id, value: (await answer(command)) ?? null });
}
for (const stop of advertising.values()) stop();
end.abort();
await link.close();
