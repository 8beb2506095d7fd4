/**
 * Checks along the path of a VIP as three directors make them, one of which holds it: a real server that
 * `leasehold realserver` takes the VIP from goes down on all, and comes back. The cases share one cluster and
 * run in order.
 */
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { RealServerStatus, StatusDocument } from '../../src/model/status.ts';
import { type ClusterLab, clusterDocument, createClusterLab, VIP } from '../support/cluster-lab.ts';
import { waitFor } from '../support/processes.ts';
import { settle } from '../support/settled.ts';

const LEASEHOLD = fileURLToPath(new URL('../../bin/leasehold', import.meta.url));
const DIRECTORS = ['d1', 'd2', 'd3'];
const FIRST = '10.90.0.21';
const SECOND = '10.90.0.22';
const UP = ['up', '--vip', VIP, '--mode', 'dr'];

let lab: ClusterLab;

const realserver = async (host: string, words: readonly string[]): Promise<void> => {
  await lab.network.execOk(host, [process.execPath, LEASEHOLD, 'realserver', ...words]);
};

beforeAll(async () => {
  lab = await createClusterLab({
    name: 'vip-path',
    kind: 'namespace',
    directors: DIRECTORS.length,
    realServers: 2,
  });
  await lab.etcd.start();
  await Promise.all(lab.realServers.map((server) => server.start()));
  await Promise.all(['rs1', 'rs2'].map((host) => realserver(host, UP)));
  await lab.startAgents();
  const check = { vip: {}, interval: '400ms', timeout: '300ms', rise: 1, fall: 2 };
  const realServers = lab.realServers.map(({ address }) => ({ address }));
  const web = { group: 'web', address: VIP, port: 80, forward: 'dr', check, realServers };
  await lab.applyOk(clusterDocument(lab, { services: { web } }));
  await settle(lab);
});

afterEach(async (context) => {
  if (context.task.result?.state === 'fail')
    await lab.collectEvidence(`vip-path ${context.task.name}`);
});

afterAll(() => lab?.close());

const serverOf = (status: StatusDocument, address: string): RealServerStatus | undefined =>
  status.services[0]?.realServers.find((server) => server.address === address);

/** On all directors, by the votes of all; gives what they said. */
async function until(address: string, health: 'up' | 'down', words: RegExp): Promise<void> {
  const isSo = (status: StatusDocument): boolean => {
    const server = serverOf(status, address);
    const votes = server?.votes.filter(({ detail }) => words.test(detail)) ?? [];
    return server?.health === health && votes.length === DIRECTORS.length;
  };
  for (const name of DIRECTORS) await lab.until(`${address} ${health} by ${words}`, name, isSo);
}

const ANSWERS = /^answers as 10\.90\.0\.100$/;
const MISSING = /^answers as 10\.90\.0\.21, not as 10\.90\.0\.100/;
const LOUD = /^answers ARP for 10\.90\.0\.100/;

describe('a check along the path of a VIP', () => {
  it('is made by the holder and by the others', async () => {
    for (const address of [FIRST, SECOND]) await until(address, 'up', ANSWERS);
  });

  it('finds on all directors that the VIP is gone, and says what to do', async () => {
    await realserver('rs1', ['down']);
    await until(FIRST, 'down', MISSING);
    const told = await lab.director('d1').cli(['explain', 'rs', `web/${FIRST}`]);
    expect(told.stdout).toContain(`Check vip ${VIP}:80 at ${FIRST}`);
    expect(told.stdout).toContain(`there: leasehold realserver ${UP.join(' ')}`);
    await until(SECOND, 'up', ANSWERS);
  });

  it('finds it set up as it should be', async () => {
    await realserver('rs1', UP);
    await until(FIRST, 'up', ANSWERS);
  });

  it('finds that ARP is answered for it, and the holder does not take that for a rival', async () => {
    const { holder } = await settle(lab);
    // As `sysctl --system` may do.
    await lab.network.execOk('rs1', ['sysctl', '-qw', 'net.ipv4.conf.all.arp_ignore=0']);
    await until(FIRST, 'down', LOUD);
    // What a director asks for is no claim: the holder goes on without a word.
    const { body } = await holder.get('/metrics');
    expect(body).toMatch(/^leasehold_address_conflicts_total\{[^}]*\} 0$/m);
    expect(holder.agentLog()).not.toContain('address.contested');
    expect((await settle(lab)).holder.name).toBe(holder.name);
  });

  it('finds all of that after the VIP has moved, too', async () => {
    await realserver('rs1', UP);
    await until(FIRST, 'up', ANSWERS);
    const { holder, other } = await settle(lab);
    const drain = ['director', 'drain', holder.name, '--reason', 'lab'];
    expect(await other.cli(drain)).toMatchObject({ code: 0 });
    await waitFor('the VIP has moved', async () => !(await lab.hasAddress(holder.name, VIP)), {
      timeoutMs: 10_000,
    });
    await realserver('rs1', ['down']);
    await until(FIRST, 'down', MISSING);
    await until(SECOND, 'up', ANSWERS);
  });
});
