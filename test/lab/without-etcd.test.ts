/**
 * etcd answers nobody, or not the holder: two directors, three etcd members on machines of their own, the
 * profiles fast and default. The promises of the peers count meanwhile: nothing moves, and no echo is
 * lost. Then more is lost than etcd: a director, or the sight of each other. The cases of a profile share one
 * cluster and run in order; each begins with a settled cluster.
 */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type ClusterLab, clusterDocument, createClusterLab } from '../support/cluster-lab.ts';
import { expectClaim, expectSteps } from '../support/expect-claim.ts';
import { faultNamed, perform } from '../support/faults.ts';
import { play, situationNamed } from '../support/situations.ts';
import { scopesNameAll, settle } from '../support/settled.ts';

/** Minutes for one case: for nights; a minute without etcd is in `bench without-etcd`, too. */
// oxlint-disable-next-line no-restricted-properties -- the lab's own switch, of no use to the product
const isLong = process.env['LEASEHOLD_LAB_LONG'] === '1';
const LONG_LIMIT_MS = 800_000;

/**
 * The profile fast is for quiet machines: what starts three members of etcd beside it, or lasts, is left to
 * default.
 */
const ROWS = {
  fast: ['leader-killed', 'etcd-stalled', 'holder-cut-3', 'holder-cut'],
  default: [
    'leader-stopped',
    'etcd-away-1',
    'etcd-away-10',
    'holder-cut-3',
    'holder-cut',
    'gateway-lost',
    ...(isLong ? ['etcd-away-60', 'etcd-away-600'] : []),
  ],
} as const;

const SITUATIONS = {
  fast: [],
  default: [
    'alone-release',
    'parted-gateway',
    'parted-release',
    'holder-off-on',
    'agent-killed',
    'holder-out-in',
    'firewalled-gateway',
    'firewalled-release',
    ...(isLong ? ['holder-off'] : []),
  ],
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

  it.each(ROWS[profile].map(faultNamed))(
    '$name',
    async (fault) => {
      await settle(lab);
      await scopesNameAll(lab);
      const marks = lab.directors.map((director) => director.agentLog().length);
      const seen = await perform(lab, fault);
      expectClaim(lab, fault, seen);
      const logs = lab.directors.map((each, index) => each.agentLog().slice(marks[index])).join('');
      if (fault.claim(profile) === 'nothing') expect(logs).toContain('basis.changed');
    },
    isLong ? LONG_LIMIT_MS : undefined,
  );

  it.each(SITUATIONS[profile].map(situationNamed))('$id', async (situation) => {
    expectSteps(lab, situation, await play(lab, situation));
  });
});
