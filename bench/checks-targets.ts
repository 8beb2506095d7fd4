/** What the benches of checks ask: thousands of addresses, all of them one nginx behind the same wire. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Network } from '../test/support/network.ts';
import { nginxConfiguration } from '../test/support/nginx.ts';
import { GiveUp, waitFor } from '../test/support/processes.ts';

export const TARGETS = 'targets';
const TARGETS_ADDRESS = '10.90.0.3';
/** All of them are the host of the targets. */
const TARGETS_NETWORK = '10.92.0.0/16';
/** Descriptors and ports for 5,000 targets that hang. */
export const FILES_MAX = 16_384;

export type TargetKind = 'tcp' | 'http';

/** The way to the targets, for a host on the network 10.90.0.0/24. */
export const ROUTE_TO_TARGETS = [
  'ip',
  'route',
  'add',
  TARGETS_NETWORK,
  'via',
  TARGETS_ADDRESS,
] as const;

export const addressOf = (n: number): string => `10.92.${1 + Math.floor(n / 250)}.${1 + (n % 250)}`;

/** nginx at every address of the targets' network, for hosts that are there already. */
export async function startTargets(
  network: Network,
  checkers: readonly [string, ...string[]],
): Promise<void> {
  await network.addHost(TARGETS, [`${TARGETS_ADDRESS}/24`]);
  await network.execOk(TARGETS, ['ip', 'route', 'add', 'local', TARGETS_NETWORK, 'dev', 'lo']);
  await network.execOk(TARGETS, ['sysctl', '-q', '-w', `net.core.somaxconn=${FILES_MAX}`]);
  for (const checker of checkers) await network.execOk(checker, ROUTE_TO_TARGETS);
  const prefix = network.directory;
  const configuration = nginxConfiguration(prefix, { name: 'ok' })
    .replace('error_log stderr notice', 'error_log stderr crit')
    .replace('worker_connections 512', `worker_connections ${FILES_MAX}`)
    .replace('listen 80;', `listen 80 backlog=${FILES_MAX};`);
  writeFileSync(join(prefix, 'nginx.conf'), configuration);
  const argv = ['nginx', '-p', prefix, '-c', join(prefix, 'nginx.conf')];
  const nginx = network.spawn(TARGETS, 'nginx', argv);
  const answers = async (): Promise<boolean> => {
    if (!nginx.isRunning()) throw new GiveUp(`nginx ended: ${nginx.log()}`);
    const connect = `exec 3<>/dev/tcp/${addressOf(0)}/80`;
    return (await network.exec(checkers[0], ['bash', '-c', connect])).code === 0;
  };
  await waitFor('nginx answers at the address of a target', answers, { timeoutMs: 10_000 });
}

/** Real servers of one service that have checks of that kind, every second, as a document says it. */
export const checkedService = (
  kind: TargetKind,
  own: { readonly group: string; readonly address: string; readonly port: number },
  targets: { readonly first: number; readonly count: number },
): object => ({
  ...own,
  scheduler: 'rr',
  forward: 'nat',
  check: {
    ...(kind === 'tcp' ? { tcp: {} } : { http: { path: '/', status: 200 } }),
    interval: '1s',
    timeout: '900ms',
  },
  realServers: Array.from({ length: targets.count }, (_, n) => ({
    address: addressOf(targets.first + n),
    port: 80,
  })),
});

/** Connections that a network namespace or a kernel began, out of its /proc/net/snmp. */
export function activeOpens(snmp: string): number {
  const [names = [], values = []] = snmp
    .split('\n')
    .filter((line) => line.startsWith('Tcp:'))
    .map((line) => line.split(' '));
  const value = Number(values[names.indexOf('ActiveOpens')]);
  if (!Number.isFinite(value)) throw new Error('no ActiveOpens in /proc/net/snmp');
  return value;
}
