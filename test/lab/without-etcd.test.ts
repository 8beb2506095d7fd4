/**
 * etcd answers nobody, or not the holder: two directors, three etcd members on machines of their own, the
 * profiles fast and default. The promises of the peers count meanwhile: nothing moves, and no echo is
 * lost. The cases of a profile share one cluster and run in order; each begins with a settled cluster.
 */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type ClusterLab, clusterDocument, createClusterLab } from '../support/cluster-lab.ts';
import { expectClaim } from '../support/expect-claim.ts';
import { faultNamed, perform } from '../support/faults.ts';
import { waitFor } from '../support/processes.ts';
import { settle } from '../support/settled.ts';

/** The profile fast is for quiet machines: what starts three members of etcd beside it is left to default. */
const ROWS = {
  fast: ['leader-killed', 'etcd-stalled', 'holder-cut-3', 'holder-cut'],
  default: ['leader-stopped', 'etcd-away-1', 'etcd-away-60', 'holder-cut-3', 'holder-cut'],
} as const;

describe.each(['fast', 'default'] as const)('in the profile %s', (profile) => {
  let lab: ClusterLab;

  beforeAll(async () => {
    lab = await createClusterLab({
      name: `without-${profile}`,
      kind: 'namespace',
      etcdMembers: 3,
      profile,
    });
    await lab.etcd.start();
    await lab.startAgents();
    await lab.applyOk(clusterDocument(lab));
  });

  afterEach(async (context) => {
    if (context.task.result?.state === 'fail')
      await lab.collectEvidence(`without ${profile} ${context.task.name}`);
  });

  afterAll(() => lab?.close());

  it.each(ROWS[profile].map(faultNamed))('$name', async (fault) => {
    const { holder } = await settle(lab);
    await waitFor(
      'the scopes name all',
      async () => {
        const shown = await lab.etcd.etcdctl([
          'get',
          '--prefix',
          '/leasehold/',
          '--print-value-only',
        ]);
        return (shown.match(/"peers":\["[^\]]+\]/g) ?? []).length === lab.directors.length;
      },
      { timeoutMs: 10_000, intervalMs: 100 },
    );
    const seen = await perform(lab, fault);
    expectClaim(lab, fault, seen);
    const log = holder.agentLog();
    if (fault.claim(profile) === 'nothing') expect(log).toContain('basis.changed');
  });
});
