/**
 * A member of etcd on each of three directors: who loses power takes its member along. The cases share
 * one cluster and run in order; each begins with a settled cluster.
 */
import { afterAll, afterEach, beforeAll, describe, it } from 'vitest';
import { type ClusterLab, clusterDocument, createClusterLab } from '../support/cluster-lab.ts';
import { expectSteps } from '../support/expect-claim.ts';
import { play, SITUATIONS_TOGETHER } from '../support/situations.ts';

let lab: ClusterLab;

beforeAll(async () => {
  lab = await createClusterLab({
    name: 'together',
    kind: 'namespace',
    directors: 3,
    isEtcdOnDirectors: true,
    profile: 'default',
  });
  await lab.etcd.start();
  await lab.startAgents();
  await lab.applyOk(clusterDocument(lab));
});

afterEach(async (context) => {
  if (context.task.result?.state === 'fail')
    await lab.collectEvidence(`together ${context.task.name}`);
});

afterAll(() => lab?.close());

describe('with etcd on the directors', () => {
  it.each(SITUATIONS_TOGETHER)('$id', async (situation) => {
    expectSteps(lab, situation, await play(lab, situation));
  });
});
