/** A director that loses its group again and again leaves it to the other one (design 6, flap damping). */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type ClusterLab, clusterDocument, createClusterLab, VIP } from '../support/cluster-lab.ts';
import { PATIENCE_MS, sleep, waitFor } from '../support/processes.ts';
import { heldBy, settle } from '../support/settled.ts';

/** One that may preempt has done so by then. */
const QUIET_MS = 3000;

let lab: ClusterLab;

beforeAll(async () => {
  lab = await createClusterLab({ name: 'flapping', kind: 'namespace', etcdMembers: 1 });
  await lab.etcd.start();
  await lab.startAgents();
  const { groups } = clusterDocument(lab) as { readonly groups: { readonly web: object } };
  const web = { ...groups.web, preempt: 'immediate' };
  await lab.applyOk(clusterDocument(lab, { groups: { web } }));
  await settle(lab);
});

afterEach(async (context) => {
  if (context.task.result?.state === 'fail')
    await lab.collectEvidence(`flapping ${context.task.name}`);
});

afterAll(() => lab?.close());

const isHeldBy = async (name: string): Promise<boolean> =>
  (await lab.directorsWith(VIP)).join() === name;

const untilHeldBy = (name: string): Promise<unknown> =>
  waitFor(`${name} holds`, () => isHeldBy(name), { timeoutMs: PATIENCE_MS });

/** Its agent does not run until the other one has the group: a fault of the group here. */
async function loseGroup(): Promise<void> {
  await lab.director('d1').signalAgent('SIGSTOP');
  // Its kernel has the address still, behind a gate that is shut; and it may preempt as soon as it goes on.
  await lab.until('d2 holds', 'd2', ({ groups: [group] }) => group?.state === 'held-here');
  await lab.director('d1').signalAgent('SIGCONT');
}

async function isFlapping(): Promise<boolean> {
  const { groups } = await lab.status('d2');
  const candidates = groups.flatMap((group) => group.candidates);
  return candidates.some(({ director, reason }) => director === 'd1' && reason === 'flapping');
}

const untilFlapping = (): Promise<unknown> =>
  waitFor('d1 is flapping', isFlapping, { timeoutMs: PATIENCE_MS });

/** Who holds had it from one that was gone. A busy machine may have moved it meanwhile, for such a reason. */
async function expectNoPreemption(): Promise<void> {
  await sleep(QUIET_MS);
  expect((await lab.status('d2')).groups[0]?.reason).not.toBe('preempt');
}

describe('a director that loses its group three times in short order', () => {
  it('leaves it to the other one, whatever its priority, and says so', async () => {
    for (let time = 1; time <= 3; time++) {
      const isOver = async (): Promise<boolean> => (await isHeldBy('d1')) || (await isFlapping());
      await waitFor('it has preempted', isOver, { timeoutMs: PATIENCE_MS });
      if (await isHeldBy('d1')) await loseGroup();
    }
    await untilFlapping();
    await expectNoPreemption();
    const argv = ['switchover', 'web', '--to', 'd1', '--reason', 'lab'];
    const asked = await lab.director('d2').cli(argv);
    expect(asked.code).toBe(3);
    expect(asked.stderr).toContain('d1 is not eligible (flapping): it lost the group too often');
  });

  it('takes it where nobody else can, and keeps it', async () => {
    await lab.director('d2').signalAgent('SIGTERM');
    await untilHeldBy('d1');
    await lab.director('d2').agentEnded(8000);
    await lab.startAgents(['d2']);
    await lab.until('d2 could hold it', 'd1', ({ groups: [group] }) =>
      Boolean(group?.candidates.some((each) => each.director === 'd2' && each.ready)),
    );
    await expectNoPreemption();
  });

  it('is as good as any other when its agent is started anew', async () => {
    if (await isHeldBy('d1')) await loseGroup();
    await untilFlapping();
    await heldBy(lab, 'd1');
  });
});
