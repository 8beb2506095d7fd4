/**
 * Runs the real Neighbours inside a network namespace. One JSON command a line comes in; lines go out:
 * `{ready}` once, `{voice}` for each voice, `{id, answer}` for each command, in the order of their ends.
 */
import { createInterface } from 'node:readline';
import { createSystemClock } from '../../../src/adapters/clock/system-clock.ts';
import { createNeighbours } from '../../../src/adapters/neighbours/create-neighbours.ts';
import { silentLog } from '../../../src/ports/log.ts';
import type { NeighboursCommand, NeighboursLine } from './neighbours-network.ts';

const neighbours = createNeighbours({}, { clock: createSystemClock(), log: silentLog });
const end = new AbortController();
const say = (line: NeighboursLine): void => {
  process.stdout.write(`${JSON.stringify(line)}\n`);
};

async function answer({ id, command }: { id: number; command: NeighboursCommand }): Promise<void> {
  if (command.op === 'listen') neighbours.listen(command.vips);
  const { op } = command;
  const proof =
    op === 'verify' && (await neighbours.verify(command.vip, command.gateway, command.timeoutMs));
  say({ kind: 'answer', id, proof });
}

void (async () => {
  for await (const voice of neighbours.voices(end.signal)) say({ kind: 'voice', voice });
})();
say({ kind: 'ready' });
for await (const line of createInterface({ input: process.stdin }))
  void answer(JSON.parse(line) as { id: number; command: NeighboursCommand });
end.abort();
neighbours.close();
