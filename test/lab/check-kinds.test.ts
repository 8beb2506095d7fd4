/** Several kinds of checks for each real server, as two directors see them: verdicts, reasons, weights. */
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { RealServerStatus, StatusDocument } from '../../src/model/status.ts';
import { type ClusterLab, clusterDocument, createClusterLab, VIP } from '../support/cluster-lab.ts';

let lab: ClusterLab;
let directory: string;

/** What the script of each real server says: its exit code. */
const sayCode = (address: string, code: number): void =>
  writeFileSync(join(directory, `code-${address}`), `${code}\n`);

beforeAll(async () => {
  lab = await createClusterLab({ name: 'kinds', kind: 'namespace', realServers: 2 });
  ({ directory } = lab.director('d1'));
  const script = join(directory, 'check');
  writeFileSync(
    script,
    `#!/bin/sh\nread code < ${directory}/code-$1\necho "code $code"\nexit "$code"\n`,
  );
  chmodSync(script, 0o755);
  for (const { address } of lab.realServers) sayCode(address, 42);
  await lab.etcd.start();
  for (const server of lab.realServers) await server.start();
  await lab.startAgents();
  await lab.applyOk(
    clusterDocument(lab, {
      services: {
        web: {
          group: 'web',
          address: VIP,
          port: 80,
          weightFrom: 'check',
          check: {
            interval: '400ms',
            timeout: '300ms',
            rise: 1,
            fall: 2,
            all: [
              { icmp: {}, interface: 'public' },
              { http: { match: { regex: '^rs\\d' } }, mark: 7 },
              { script: { command: [script, '{address}'], dynamic: true } },
            ],
          },
          realServers: lab.realServers.map(({ address }) => ({ address, weight: 10 })),
        },
      },
    }),
  );
}, 120_000);

afterEach(async (context) => {
  if (context.task.result?.state === 'fail')
    await lab.collectEvidence(`kinds ${context.task.name}`);
});

afterAll(() => lab?.close());

const serverOf = (status: StatusDocument, address: string): RealServerStatus | undefined =>
  status.services[0]?.realServers.find((server) => server.address === address);

/** On both directors. */
const both = async (
  what: string,
  address: string,
  test: (server: RealServerStatus) => boolean,
): Promise<RealServerStatus[]> =>
  Promise.all(
    ['d1', 'd2'].map(async (director) => {
      const is = (status: StatusDocument): boolean => {
        const server = serverOf(status, address);
        return server !== undefined && test(server);
      };
      const status = await lab.until(`${what} on ${director}`, director, is);
      const server = serverOf(status, address);
      if (server === undefined) throw new Error(`no ${address}`);
      return server;
    }),
  );

const WELL = 'icmp: echo reply; http 80: HTTP status 200; script 80: exit code 42: code 42';

/** By the word of whoever says so: a check of a machine that is late may fail otherwise once. */
const isDownBy =
  (detail: string) =>
  ({ health, votes }: RealServerStatus): boolean =>
    health === 'down' && votes.some((vote) => !vote.isUp && vote.detail === detail);

describe('real servers with three checks each', () => {
  it('are up by all of them, with the weight that the script says', async () => {
    for (const { address } of lab.realServers) {
      const seen = await both(
        'up by votes with weight 40',
        address,
        (server) =>
          server.basis === 'majority' &&
          server.wantedWeight === 40 &&
          server.votes.length === 2 &&
          server.votes.every(({ detail }) => detail === WELL),
      );
      for (const { health } of seen) expect(health).toBe('up');
    }
  });

  it('follow another weight without going down', async () => {
    const address = lab.realServers[0]?.address ?? '';
    sayCode(address, 7);
    await both('weight 5', address, (server) => server.wantedWeight === 5);
    const second = lab.realServers[1]?.address ?? '';
    await both('weight 40 as before', second, (server) => server.wantedWeight === 40);
  });

  it('are down by one of them, which is named, and up again', async () => {
    const [first] = lab.realServers;
    if (first === undefined) throw new Error('no real server');
    await first.stop();
    await both('down by a refusal', first.address, isDownBy('http 80: connection refused'));
    await first.start();
    await both(
      'up',
      first.address,
      (server) => server.health === 'up' && server.wantedWeight === 5,
    );
    sayCode(first.address, 1);
    await both('down by the script', first.address, isDownBy('script 80: exit code 1: code 1'));
    sayCode(first.address, 42);
    await both('up with all of its weight', first.address, (server) => server.wantedWeight === 40);
  });
});
