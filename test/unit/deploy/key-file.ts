/** A cluster key as tests of example files need one: agent.yaml is judged together with the file it names. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Runs `use` with the path of a key file that is removed afterwards. */
export async function withKeyFile(use: (keyFile: string) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'leasehold-key-'));
  try {
    const keyFile = join(directory, 'cluster.key');
    writeFileSync(keyFile, `${'5a'.repeat(32)}\n`, { mode: 0o600 });
    await use(keyFile);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** The least that agent.yaml must say. */
export const agentDocument = (keyFile: string): Readonly<Record<string, unknown>> => ({
  director: 'd1',
  cluster: 'lab',
  etcd: { endpoints: ['http://127.0.0.1:2379'] },
  interfaces: { public: 'eth0' },
  keyFile,
});
