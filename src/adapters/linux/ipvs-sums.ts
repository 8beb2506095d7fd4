/** Reads the sums of the services of this network namespace's IPVS table: /proc/net/ip_vs. */
import { closeSync, openSync, readSync } from 'node:fs';
import { createPace, runPaced } from '../../lib/steps.ts';
import type { Clock } from '../../ports/clock.ts';
import { TableSumReader, type TableSums } from '../../wire/ipvs-table-text.ts';

export const TABLE_FILE = '/proc/net/ip_vs';
/** The kernel gives a page at a time, or one service that is longer. */
const READ_BYTES = 65_536;

/**
 * Null where there is no such file, as without the module, or it cannot be read. The kernel makes each piece while
 * it is read and waits for nobody, so it is read on this thread, with rests.
 */
export async function readTableSums(
  clock: Pick<Clock, 'now' | 'sleep'>,
  file = TABLE_FILE,
): Promise<TableSums | null> {
  let descriptor: number;
  try {
    descriptor = openSync(file, 'r');
  } catch {
    return null; // The dump says what is wrong.
  }
  try {
    return await runPaced(readSteps(descriptor), createPace(clock));
  } catch {
    return null; // As above.
  } finally {
    closeSync(descriptor);
  }
}

function* readSteps(descriptor: number): Generator<undefined, TableSums> {
  const reader = new TableSumReader();
  const bytes = new Uint8Array(READ_BYTES);
  for (;;) {
    const length = readSync(descriptor, bytes);
    if (length === 0) return reader.end();
    reader.read(bytes.subarray(0, length));
    yield;
  }
}
