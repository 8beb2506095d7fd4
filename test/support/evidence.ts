/** What a failed test leaves to read: addresses, tables, keys, logs, under `test-evidence/<test>/`. */
import { cpSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { DirectorHost } from './director-host.ts';
import type { LabEtcd } from './lab-etcd.ts';
import type { Network } from './network.ts';

const ROOT = fileURLToPath(new URL('../../test-evidence/', import.meta.url));

const LOOKS = {
  'addresses.txt': 'ip -d address show',
  'neighbours.txt': 'ip neighbour show',
  'ipvs.txt': 'ipvsadm -Ln',
  'nftables.txt': 'nft list ruleset',
  'processes.txt': 'ps -eo pid,ppid,stat,etimes,args',
} as const;

export type Scene = {
  readonly network: Network;
  readonly directors: readonly DirectorHost[];
  readonly etcd: LabEtcd;
  readonly client: string;
};

/** Gathers what there is; gives the directory. What cannot be had is left out, saying so. */
export async function collectEvidence(test: string, scene: Scene): Promise<string> {
  const directory = join(ROOT, test.replaceAll(/[^A-Za-z0-9._-]+/g, '-').slice(0, 100));
  mkdirSync(directory, { recursive: true });
  const note = (file: string, text: string): void => writeFileSync(join(directory, file), text);
  for (const director of scene.directors) {
    for (const [file, command] of Object.entries(LOOKS)) {
      const done = await director.exec(command, { timeoutMs: 5000 });
      note(`${director.name}-${file}`, `${done.stdout}${done.stderr}`);
    }
    const status = await director.get('/api/v1/status');
    note(`${director.name}-status.json`, status.body);
    note(`${director.name}-agent.log`, director.agentLog());
  }
  const keys = await scene.etcd
    .etcdctl(['get', '--prefix', '/leasehold/'])
    .catch((cause: unknown) => String(cause));
  note('etcd-keys.txt', keys);
  const client = await scene.network.exec(scene.client, ['ip', 'neighbour', 'show']);
  note('client-neighbours.txt', client.stdout);
  for (const file of readdirSync(scene.network.directory))
    if (file.endsWith('.log') || file.endsWith('.json'))
      cpSync(join(scene.network.directory, file), join(directory, file));
  return directory;
}
