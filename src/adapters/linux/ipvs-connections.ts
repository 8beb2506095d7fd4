/** The connection table of this network namespace: /proc/net/ip_vs_conn. Needs CAP_NET_ADMIN or root. */
import { type FileHandle, open } from 'node:fs/promises';
import { err, ok, type Result } from '../../lib/result.ts';
import type { KernelError } from '../../model/kernel.ts';
import type { ConnectionReading, ConnectionVisit } from '../../ports/kernel.ts';
import { type ConnectionBatch, ConnectionReader } from '../../wire/ipvs-connections.ts';
import { kernelError } from './kernel-error.ts';

export const CONNECTIONS_FILE = '/proc/net/ip_vs_conn';
/** The kernel gives a page at a time, whatever is asked for. */
const READ_BYTES = 16_384;
const WHAT = 'read the IPVS connections';

/** As `IpvsKernel.visitConnections`; other work runs between two pieces. */
export async function visitConnectionFile(
  path: string,
  visit: ConnectionVisit,
  signal: AbortSignal,
): Promise<Result<ConnectionReading, KernelError>> {
  let file: FileHandle;
  try {
    file = await open(path);
  } catch (error) {
    return err(readError(error));
  }
  try {
    return ok(await visitAll(file, visit, signal));
  } catch (error) {
    return err(readError(error));
  } finally {
    await file.close();
  }
}

async function visitAll(
  file: FileHandle,
  visit: ConnectionVisit,
  signal: AbortSignal,
): Promise<ConnectionReading> {
  const reader = new ConnectionReader();
  const bytes = new Uint8Array(READ_BYTES);
  let connections = 0;
  let unreadable = 0;
  const take = async (batch: ConnectionBatch): Promise<boolean> => {
    connections += batch.connections.length;
    unreadable += batch.unreadable;
    return batch.connections.length === 0 || (await visit(batch.connections));
  };
  for (;;) {
    if (signal.aborted) return { connections, unreadable, isWhole: false };
    // oxlint-disable-next-line no-await-in-loop -- a file is read from its beginning to its end
    const { bytesRead } = await file.read(bytes);
    const isEnd = bytesRead === 0;
    const batch = isEnd ? reader.end() : reader.read(bytes.subarray(0, bytesRead));
    // oxlint-disable-next-line no-await-in-loop -- nothing is read that nobody takes
    const isWanted = await take(batch);
    if (isEnd || !isWanted) return { connections, unreadable, isWhole: isEnd };
  }
}

function readError(error: unknown): KernelError {
  const code = error instanceof Error && 'code' in error ? String(error.code) : 'UNAVAILABLE';
  if (code !== 'ENOENT') return kernelError(code, WHAT);
  const remedy = 'the kernel has no IPVS: load it with "modprobe ip_vs" (CONFIG_IP_VS)';
  return kernelError('UNAVAILABLE', WHAT, remedy);
}
