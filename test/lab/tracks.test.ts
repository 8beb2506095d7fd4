/**
 * A group moves because of a track, comes back by its priority, and is spread by request; programs hear of each move in
 * order. Two directors as namespaces, the default profile, judged from the client.
 */
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { OwnerRecord, parseRecord } from '../../src/model/records.ts';
import {
  boundsOf,
  type ClusterLab,
  clusterDocument,
  createClusterLab,
  VIP,
  VIP6,
} from '../support/cluster-lab.ts';
import type { DirectorHost } from '../support/director-host.ts';
import { expectClaim } from '../support/expect-claim.ts';
import { faultNamed, switchOver } from '../support/faults.ts';
import { waitFor } from '../support/processes.ts';
import { agentsOf, allJoin, compiled, heldBy, macOf } from '../support/settled.ts';
import { watch } from '../support/watched.ts';

const UPLINK = 'uplink0';
const OTHER_VIP = '10.90.0.101';

let lab: ClusterLab;

beforeAll(async () => {
  lab = await createClusterLab({ name: 'tracks', kind: 'namespace', profile: 'default' });
  for (const director of lab.directors)
    await director.execOk(
      `ip link add ${UPLINK} type veth peer name far && ip link set far up && ip link set ${UPLINK} up`,
    );
  await lab.etcd.start();
  await lab.startAgents();
  await allJoin(lab);
});

afterEach(async (context) => {
  if (context.task.result?.state === 'fail') await lab.collectEvidence(context.task.name);
});

afterAll(() => lab?.close());

const heardFile = (director: DirectorHost): string =>
  join(lab.network.directory, `heard-${director.name}`);

/** Writes what it is told of each move, by the director that told it. */
function writeProgram(): string {
  const file = join(lab.network.directory, 'notify');
  const heard = join(lab.network.directory, 'heard-$LEASEHOLD_DIRECTOR');
  writeFileSync(file, `#!/bin/sh\necho "$* $LEASEHOLD_EPOCH $LEASEHOLD_REASON" >>${heard}\n`);
  chmodSync(file, 0o755);
  return file;
}

type Told = { readonly state: string; readonly epoch: number; readonly reason: string };

function told(director: DirectorHost): readonly Told[] {
  if (!existsSync(heardFile(director))) return [];
  const lines = readFileSync(heardFile(director), 'utf8').trim().split('\n');
  return lines.map((words) => {
    const [, , state = '', , epoch = '', reason = ''] = words.split(' ');
    return { state, epoch: Number(epoch), reason };
  });
}

/** No echo is lost while the group goes from one to the other. */
async function expectMove(
  [from, to]: readonly [DirectorHost, DirectorHost],
  name: string,
  act: () => Promise<unknown>,
): Promise<void> {
  const seen = await watch(lab.network, {
    vips: [VIP, VIP6],
    oldMac: await macOf(from),
    echo: 'kernel',
    windowMs: boundsOf(lab.profile).takeoverMs + 2000,
    act,
    agents: agentsOf(lab),
  });
  expectClaim(lab, { ...faultNamed('drain'), name }, seen);
  expect(await lab.directorsWith(VIP)).toEqual([to.name]);
}

/** Of all groups, sorted. */
const holders = async (): Promise<readonly string[]> =>
  (await lab.status('d1')).groups.map(({ holder }) => String(holder)).toSorted();

/** The owner record as etcd had it at that revision, which wrote it if it is its epoch. */
async function ownerAt(rev: number): Promise<{ director: string; epoch: number }> {
  const key = '/leasehold/lab/run/owner/web';
  const answer = JSON.parse(
    await lab.etcd.etcdctl(['get', key, '--rev', String(rev), '-w', 'json']),
  ) as { readonly kvs: readonly { readonly value: string; readonly mod_revision: number }[] };
  const [known] = answer.kvs;
  const record = parseRecord(OwnerRecord, Buffer.from(known?.value ?? '', 'base64').toString());
  if (known === undefined || !record.ok) throw new Error(`no owner record at revision ${rev}`);
  return { director: record.value.director ?? 'nobody', epoch: known.mod_revision };
}

describe('a group with a track and priorities', () => {
  it('leaves a director whose track fails, and comes back when it passes again', async () => {
    const [d1, d2] = [lab.director('d1'), lab.director('d2')];
    const { groups } = clusterDocument(lab) as { readonly groups: { readonly web: object } };
    const web = {
      ...groups.web,
      preempt: 'immediate',
      track: [{ interface: UPLINK }],
      notify: { any: writeProgram() },
    };
    await lab.applyOk(clusterDocument(lab, { groups: { web } }));
    await compiled(lab);
    await heldBy(lab, 'd1');
    await expectMove([d1, d2], 'its track fails', () => d1.execOk(`ip link set ${UPLINK} down`));
    await expectMove([d2, d1], 'it passes again', () => d1.execOk(`ip link set ${UPLINK} up`));
  });

  it('tells programs of each move, in order, with the epoch of the one that holds', async () => {
    const [d1, d2] = [lab.director('d1'), lab.director('d2')];
    const stepsOf = (director: DirectorHost): readonly string[] =>
      told(director).map(({ state, reason }) => `${state} ${reason}`);
    const isTold = (): boolean =>
      stepsOf(d1).at(-1) === 'MASTER preempt' && stepsOf(d2).at(-1) === 'BACKUP preempt';
    await waitFor('both have heard of all', isTold, { timeoutMs: 5000 });
    expect(stepsOf(d1).slice(-3)).toEqual([
      'FAULT track-failed',
      'BACKUP track-failed',
      'MASTER preempt',
    ]);
    expect(stepsOf(d2).slice(-2)).toEqual(['MASTER track-failed', 'BACKUP preempt']);
    const masters = [d1, d2].flatMap((director) => {
      const epochs = told(director).map(({ epoch }) => epoch);
      expect(epochs).toEqual(epochs.toSorted((a, b) => a - b));
      const opened = told(director).filter(({ state }) => state === 'MASTER');
      return opened.map(({ epoch }) => ({ director: director.name, epoch }));
    });
    const inOrder = masters.toSorted((a, b) => a.epoch - b.epoch);
    expect(inOrder.slice(-3).map(({ director }) => director)).toEqual(['d1', 'd2', 'd1']);
    // Not compared with the record of now: it is written once more when the former holder is silent.
    for (const { director, epoch } of inOrder)
      expect(await ownerAt(epoch)).toEqual({ director, epoch });
  });
});

describe('a rebalance', () => {
  const group = (address: string): object => ({
    addresses: [`${address}/24`],
    interface: 'public',
    preempt: 'never',
  });

  it('says what it would move, moves that, and has nothing to move then', async () => {
    const d1 = lab.director('d1');
    await lab.applyOk(clusterDocument(lab, { groups: { a: group(VIP), b: group(OTHER_VIP) } }));
    await lab.until(
      'both groups are held',
      'd1',
      ({ groups }) => groups.length === 2 && groups.every(({ holder }) => holder !== null),
    );
    for (const { name, holder } of (await lab.status('d1')).groups)
      if (holder !== 'd1') await switchOver(d1, name, 'd1');
    expect(await holders()).toEqual(['d1', 'd1']);

    // Whom nobody hears just then is given nothing.
    const mayHoldBoth = () =>
      lab.until('d2 may hold both', 'd1', ({ groups }) =>
        groups.every(({ candidates }) =>
          candidates.some(({ director, eligible }) => director === 'd2' && eligible),
        ),
      );
    await mayHoldBoth();
    const argv = ['rebalance', '--reason', 'lab'];
    const dry = await d1.cli([...argv, '--dry-run']);
    expect(dry).toMatchObject({ code: 0 });
    expect(dry.stdout).toMatch(/dry run/);
    expect(await holders()).toEqual(['d1', 'd1']);

    let moved = await d1.cli([...argv, '--wait', '20s']);
    for (let tries = 1; tries < 5 && (await holders()).join() !== 'd1,d2'; tries += 1) {
      await mayHoldBoth();
      moved = await d1.cli([...argv, '--wait', '20s']);
    }
    expect(moved).toMatchObject({ code: 0 });
    expect(await holders()).toEqual(['d1', 'd2']);
    expect((await d1.cli([...argv, '--dry-run'])).stdout).toContain('nothing to move');
  });
});
