/**
 * Runs the real announcer inside a network namespace. Reads one JSON command per line, answers each
 * with one line: the announcer's counters and the longest time the event loop was blocked.
 */
import { createInterface } from 'node:readline';
import { createAnnouncer } from '../../../src/adapters/announce/create-announcer.ts';
import { createSystemClock } from '../../../src/adapters/clock/system-clock.ts';
import { silentLog } from '../../../src/ports/log.ts';
import type { AnnouncerCommand } from './announcer-namespaces.ts';

const clock = createSystemClock();
const announcer = createAnnouncer({}, { clock, log: silentLog });

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line) as AnnouncerCommand;
  const startedAt = clock.now();
  if (command.op === 'announce') announcer.announce(command.vips);
  if (command.op === 'repeat') announcer.repeat(command.vips);
  if (command.op === 'stop') announcer.stop(command.vips);
  const tookMs = clock.now() - startedAt;
  process.stdout.write(`${JSON.stringify({ ...announcer.counters(), tookMs })}\n`);
}
announcer.close();
