/**
 * The holder and all that its scope names lose power before a third director has been taken in: that one is
 * alone with etcd, and nobody asked it for a promise. It waits for the word of an operator. The cases share
 * one cluster and run in order.
 */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  boundsOf,
  CLIENT,
  type ClusterLab,
  clusterDocument,
  createClusterLab,
  VIP,
} from '../support/cluster-lab.ts';
import { PATIENCE_MS, sleep, waitFor } from '../support/processes.ts';
import { heldBy } from '../support/settled.ts';

const PROFILE = 'default';
const { suspectMs, waitMs, takeoverMs } = boundsOf(PROFILE);

let lab: ClusterLab;

/** The record under a key of the lab's cluster; null where there is none. */
async function recordOf(key: string): Promise<Record<string, unknown> | null> {
  const text = await lab.etcd.etcdctl(['get', `/leasehold/lab/${key}`, '--print-value-only']);
  return text.trim() === '' ? null : (JSON.parse(text) as Record<string, unknown>);
}

const confirmDead = (name: string, ...args: readonly string[]) =>
  lab.director('d3').cli(['director', 'confirm-dead', name, '--reason', 'powered off', ...args]);

/** Events are written after what they tell of. */
async function eventsTell(...kinds: readonly string[]): Promise<void> {
  const look = async (): Promise<boolean> => {
    const { stdout } = await lab.director('d3').cli(['events']);
    return kinds.every((kind) => stdout.includes(kind));
  };
  await waitFor(`events tell ${kinds.join()}`, look, { timeoutMs: 10_000 });
}

beforeAll(async () => {
  lab = await createClusterLab({
    name: 'confirm-dead',
    kind: 'namespace',
    directors: 3,
    profile: PROFILE,
  });
  await lab.etcd.start();
  await lab.startAgents(['d1', 'd2']);
  await lab.applyOk(clusterDocument(lab));
  await waitFor(
    'd1 holds, and its scope names d2 alone',
    async () => {
      await heldBy(lab, 'd1');
      const { peers } = (await recordOf('run/scope/d1')) ?? {};
      const isTaken = JSON.stringify(peers) === '["d2"]';
      return isTaken && (await lab.directorsWith(VIP)).join() === 'd1';
    },
    { timeoutMs: PATIENCE_MS, intervalMs: 100 },
  );
  // At one time: where one sees that the other is gone, it accuses it.
  await Promise.all(['d1', 'd2'].map((name) => lab.director(name).signalAgent('SIGKILL')));
  await Promise.all(['d1', 'd2'].map((name) => lab.director(name).powerOff()));
  await lab.startAgents(['d3']);
});

afterEach(async (context) => {
  if (context.task.result?.state === 'fail')
    await lab.collectEvidence(`confirm dead ${context.task.name}`);
});

afterAll(() => lab?.close());

describe('a director that nobody has taken in', () => {
  it('raises the alarm with the command that ends it, and takes nothing', async () => {
    const { problems } = await lab.until('the alarm', 'd3', (status) =>
      status.problems.some((problem) => problem.includes('leasehold director confirm-dead d1')),
    );
    expect(problems.join('\n')).toContain('d1 is not heard');
    await sleep(2 * (suspectMs + waitMs));
    expect(await lab.hasAddress('d3', VIP)).toBe(false);
    expect(await recordOf('run/session/d1')).toMatchObject({ state: 'open' });
    expect(await recordOf('run/challenge/d1')).toBeNull();
    const explained = await lab.director('d3').cli(['explain', 'group', 'web']);
    expect(explained.stdout).toContain('leasehold director confirm-dead d1');
    await eventsTell('holder.unaccusable');
  });

  it('asks the operator whether it is off, and takes no silence for a yes', async () => {
    const { code, stderr } = await confirmDead('d1');
    expect([code, stderr.includes('--yes')]).toEqual([2, true]);
    expect(stderr).toContain('two directors would answer');
    expect(await recordOf('admin/confirm-dead/d1')).toBeNull();
  });

  it('takes over by his word, after a challenge and D′, and answers the client', async () => {
    const { code, stdout } = await confirmDead('d1', '--yes');
    expect([code, stdout]).toEqual([0, expect.stringContaining('confirm that d1 is dead')]);
    await waitFor('d3 holds', () => lab.hasAddress('d3', VIP), {
      timeoutMs: takeoverMs,
      intervalMs: 20,
    });
    await lab.network.execOk(CLIENT, ['ping', '-c', '3', '-i', '0.1', '-W', '2', VIP]);
    expect(await recordOf('run/session/d1')).toMatchObject({ state: 'broken', by: 'd3' });
    // The word goes with the session that it was about.
    expect(await recordOf('admin/confirm-dead/d1')).toBeNull();
    await eventsTell('death.confirmed', 'holder.killed');
  });

  it('leaves out who holds nothing by the same word', async () => {
    const { problems } = await lab.status('d3');
    expect(problems.join('\n')).toContain('leasehold director confirm-dead d2');
    expect((await confirmDead('d2', '--yes')).code).toBe(0);
    await lab.until('d2 is out', 'd3', ({ directors }) =>
      directors.some(({ name, session }) => name === 'd2' && session === 'broken'),
    );
    expect((await lab.status('d3')).problems.join('\n')).not.toContain('confirm-dead');
    const again = await confirmDead('d2', '--yes');
    expect([again.code, again.stderr.includes('nothing to confirm')]).toEqual([3, true]);
  });

  it('that lives takes a wrong word back, and goes on', async () => {
    const [session = ''] = /(?<="ModRevision":|"mod_revision":)\d+/.exec(
      await lab.etcd.etcdctl(['get', '/leasehold/lab/run/session/d3', '-w', 'json']),
    ) ?? [''];
    expect(Number(session)).toBeGreaterThan(0);
    const word = { v: 1, session: Number(session), by: 'mallory', reason: 'wrong', at: '' };
    await lab.etcd.etcdctl(['put', '/leasehold/lab/admin/confirm-dead/d3', JSON.stringify(word)]);
    await waitFor(
      'the word is gone',
      async () => (await recordOf('admin/confirm-dead/d3')) === null,
      { timeoutMs: 5000, intervalMs: 50 },
    );
    expect(await lab.directorsWith(VIP)).toEqual(['d3']);
    await eventsTell('death.denied');
  });

  it('is joined again by the one that was off, which nobody may call dead any more', async () => {
    await lab.director('d1').powerOn();
    await lab.startAgents(['d1']);
    await lab.until('d1 is heard', 'd3', ({ directors }) =>
      directors.some(
        ({ name, session, isAlive }) => name === 'd1' && session === 'open' && isAlive,
      ),
    );
    const { code, stderr } = await confirmDead('d1', '--yes');
    expect([code, stderr.includes('d3 hears d1')]).toEqual([3, true]);
    expect(await lab.directorsWith(VIP)).toEqual(['d3']);
  });
});
