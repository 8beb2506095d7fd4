/**
 * Runs the real Neighbours inside a network namespace. One JSON command a line comes in; lines go out:
 * `{ready}` once, `{voice}` for each voice, `{begun}` for each probe when it listens, `{answer}` for each
 * command, in the order of their ends.
 */
import { createInterface } from 'node:readline';
import { createSystemClock } from '../../../src/adapters/clock/system-clock.ts';
import { createNftFence } from '../../../src/adapters/linux/nft-fence.ts';
import { createNeighbours } from '../../../src/adapters/neighbours/create-neighbours.ts';
import { silentLog } from '../../../src/ports/log.ts';
import { change } from '../fence.contract.ts';
import type { NeighboursCommand, NeighboursLine } from './neighbours-network.ts';

const clock = createSystemClock();
const neighbours = createNeighbours({}, { clock, log: silentLog });
const end = new AbortController();
const say = (line: NeighboursLine): void => {
  process.stdout.write(`${JSON.stringify(line)}\n`);
};

async function answer({ id, command }: { id: number; command: NeighboursCommand }): Promise<void> {
  const reply = { kind: 'answer', id, proof: false, answered: [], unasked: [] } as const;
  switch (command.op) {
    case 'listen':
      neighbours.listen(command.vips, command.withinMs);
      // It tunes its ears by a timer of 1 ms. Timers end in their order, however late they all are.
      await clock.sleep(5);
      say(reply);
      return;
    case 'verify': {
      const { vip, gateway, timeoutMs } = command;
      say({ ...reply, proof: await neighbours.verify(vip, gateway, timeoutMs) });
      return;
    }
    case 'probe': {
      const { abortAfterMs, ...options } = command.options;
      const signal = abortAfterMs === undefined ? end.signal : AbortSignal.timeout(abortAfterMs);
      // Its ears are open when the call returns.
      const probing = neighbours.probe(command.vips, { ...options, signal });
      say({ kind: 'begun', id });
      const { answered, unasked } = await probing;
      say({ ...reply, answered: [...answered], unasked: [...unasked] });
      return;
    }
    case 'fence':
      say({ ...reply, proof: await silence(command) });
  }
}

async function silence({
  fence: kind,
  device,
  vips,
}: NeighboursCommand & { op: 'fence' }): Promise<boolean> {
  const fence = createNftFence(kind, { log: silentLog, clock });
  const installed = await fence.install([device]);
  const add = vips.map(({ address }) => address);
  const managed = await fence.commit(change({ managed: { add, remove: [] } }));
  fence.close();
  return installed.ok && managed.ok;
}

void (async () => {
  for await (const voice of neighbours.voices(end.signal)) say({ kind: 'voice', voice });
})();
say({ kind: 'ready' });
for await (const line of createInterface({ input: process.stdin }))
  void answer(JSON.parse(line) as { id: number; command: NeighboursCommand });
end.abort();
neighbours.close();
