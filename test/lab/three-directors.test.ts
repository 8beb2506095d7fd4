/**
 * Three directors, the fast profile: two candidates for each group, and one of them takes over. The
 * cases share one cluster and run in order; each begins with a settled cluster.
 */
import { afterAll, afterEach, beforeAll, describe, it } from 'vitest';
import { type ClusterLab, clusterDocument, createClusterLab } from '../support/cluster-lab.ts';
import { expectClaim } from '../support/expect-claim.ts';
import { faultNamed, perform } from '../support/faults.ts';

let lab: ClusterLab;

beforeAll(async () => {
  lab = await createClusterLab({
    name: 'three',
    kind: 'namespace',
    directors: 3,
    etcdMembers: 3,
    profile: 'fast',
  });
  await lab.etcd.start();
  await lab.startAgents();
  await lab.applyOk(clusterDocument(lab));
});

afterEach(async (context) => {
  if (context.task.result?.state === 'fail')
    await lab.collectEvidence(`three ${context.task.name}`);
});

afterAll(() => lab?.close());

const ROWS = ['power-off', 'kill', 'cut-off', 'parted', 'sigterm', 'drain', 'switchover'];

describe('with three directors, what the client sees of', () => {
  it.each(ROWS.map(faultNamed))('$name', async (fault) => {
    expectClaim(lab, fault, await perform(lab, fault));
  });
});
