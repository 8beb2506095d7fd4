/**
 * Two directors as namespaces, three etcd members, one VIP group with an IPv4 and an IPv6 address: who
 * answers for them, and what is lost, judged from the client, in the profiles fast and default. The
 * cases of a profile share one cluster and run in order; each begins with a settled cluster.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  dualTimeMs,
  sourceFile,
  startVoicesProbe,
  turnsOf,
  type VoiceRecord,
} from '../support/client-probe.ts';
import {
  boundsOf,
  CLIENT,
  CLIENT_ADDRESS,
  type ClusterLab,
  clusterDocument,
  createClusterLab,
  VIP,
  VIP6,
} from '../support/cluster-lab.ts';
import { expectClaim, expectRepair } from '../support/expect-claim.ts';
import { FAULTS, faultNamed, perform } from '../support/faults.ts';
import { createKeepalivedPair, type KeepalivedKind } from '../support/keepalived.ts';
import { longestGapMs, mayHaveShut } from '../support/pauses.ts';
import { sleep, stateOf, waitFor } from '../support/processes.ts';
import { allJoin, applyHeldBy, compiled, heldBy, macOf, settle } from '../support/settled.ts';
import { watch, type Watched } from '../support/watched.ts';
import { median } from '../../bench/statistics.ts';

describe.each(['fast', 'default'] as const)('in the profile %s', (profile) => {
  let lab: ClusterLab;

  beforeAll(async () => {
    lab = await createClusterLab({ name: profile, kind: 'namespace', etcdMembers: 3, profile });
    await lab.etcd.start();
    await lab.startAgents();
    await allJoin(lab);
    if (profile === 'fast') await compiled(lab);
    await applyHeldBy(lab, 'd1', clusterDocument(lab));
  });

  afterEach(async (context) => {
    if (context.task.result?.state === 'fail')
      await lab.collectEvidence(`${profile} ${context.task.name}`);
  });

  afterAll(() => lab?.close());

  /** What the client hears of the VIP meanwhile. */
  async function voicesWhile(act: () => Promise<void>): Promise<VoiceRecord> {
    const probe = await startVoicesProbe(lab.network, {
      client: CLIENT,
      targets: [{ ownAddress: CLIENT_ADDRESS, vip: VIP }],
      echo: 'neighbour',
      agents: lab.directors.map((director) => director.agentPid()),
    });
    await act();
    const [record] = await probe.stop();
    if (record === undefined) throw new Error('the voice probe left no record');
    return record;
  }

  describe('the holder', () => {
    it('is the director with the best priority, and binds all addresses of the group', async () => {
      const { holder } = await settle(lab);
      expect(holder.name).toBe('d1');
      expect(await lab.directorsWith(VIP6)).toEqual(['d1']);
    });

    it('answers the client for both VIPs, alone', async () => {
      for (let tries = 1; ; tries += 1) {
        const { holder } = await settle(lab);
        const codes: number[] = [];
        const record = await voicesWhile(async () => {
          for (const vip of [VIP, VIP6]) {
            const argv = ['ping', '-c', '3', '-i', '0.05', '-W', '1', vip];
            codes.push((await lab.network.exec(CLIENT, argv)).code);
          }
          await sleep(500);
        });
        expect(dualTimeMs(record)).toBe(0);
        const spoke = turnsOf(record).map((turn) => turn.mac);
        // Who had to wait for a processor may have shut its gate, and then another try counts.
        const isStarved = mayHaveShut(
          [...record.pauses, ...record.starved],
          boundsOf(profile).holdMs,
        );
        const wanted = { codes: [0, 0], spoke: [await macOf(holder)] };
        if (tries < 3 && isStarved && !isDeepStrictEqual({ codes, spoke }, wanted)) continue;
        expect({ codes, spoke }).toEqual(wanted);
        return;
      }
    });

    it('says so in its status and over the API', async () => {
      // Each is one moment, and in `fast` a gate may just have shut on a machine with other work.
      const look = async (): Promise<true> => {
        const { holder, other } = await settle(lab);
        expect((await holder.get('/api/v1/status')).status).toBe(200);
        expect((await holder.get('/owner?group=web')).status).toBe(200);
        expect((await other.get('/owner?group=web')).status).toBe(503);
        const table = await other.cli(['status']);
        expect(table.stdout).toMatch(new RegExp(`\\bweb\\b.*\\b${holder.name}\\b`));
        return true;
      };
      await waitFor('all of them say so', look, { timeoutMs: 5000 });
    });

    it('binds a VIP again within 1 s when somebody removes it by hand', async () => {
      const { holder } = await settle(lab);
      for (const vip of [`${VIP}/24`, `${VIP6}/64`]) {
        await holder.execOk(`ip address delete ${vip} dev ${holder.device}`);
        const address = vip.split('/')[0] ?? '';
        await expectRepair(`${vip} is back`, holder.agentPid(), () =>
          lab.hasAddress(holder.name, address),
        );
      }
    });
  });

  describe('what the client sees of', () => {
    it.each(FAULTS)('$name', async (fault) => {
      expectClaim(lab, fault, await perform(lab, fault));
    });
  });

  describe('an agent that is stopped between its decision and the system call', () => {
    it('wakes up silent: its permit has died, and the other one is the only voice', async () => {
      const { other: paused } = await settle(lab);
      await paused.signalAgent('SIGTERM');
      await paused.agentEnded(8000);
      const trigger = join(paused.directory, 'stop-now');
      await paused.startProgram(sourceFile('./stopping-agent-main.ts'), [trigger]);
      await settle(lab);
      if (profile === 'fast') await compiled(lab);
      await heldBy(lab, paused.name);
      await settle(lab);
      const { takeoverMs } = boundsOf(profile);
      const seen = await watch(lab.network, {
        vips: [VIP, VIP6],
        oldMac: await macOf(paused),
        echo: 'neighbour',
        windowMs: takeoverMs + 3000,
        async act() {
          writeFileSync(trigger, '');
          const isStopped = (): boolean => stateOf(paused.agentPid()) === 'T';
          await waitFor('it stops', isStopped, { timeoutMs: 5000, intervalMs: 5 });
          await sleep(takeoverMs);
          const logged = paused.agentLog().length;
          await paused.signalAgent('SIGCONT');
          await waitFor(
            'its batch is refused',
            () => /LATE/.test(paused.agentLog().slice(logged)),
            {
              timeoutMs: 2000,
              intervalMs: 20,
            },
          );
        },
      });
      const fault = { ...faultNamed('kill'), name: 'stopped before the system call' };
      expectClaim(lab, fault, seen);
      await paused.signalAgent('SIGTERM');
      await paused.agentEnded(8000);
    });
  });

  describe('beside keepalived on the same network', () => {
    const [kind, ratio] = (
      profile === 'fast' ? ['v3-100ms', 0.95] : ['v2-1s', 0.35]
    ) satisfies readonly [KeepalivedKind, number];

    it(`a power loss costs at most ${ratio} of what it costs with ${kind}`, async () => {
      const pair = await createKeepalivedPair(lab.network, kind as KeepalivedKind);
      const [ours, theirs]: [number[], number[]] = [[], []];
      for (let run = 0; run < 2; run += 1) {
        const seen = await perform(lab, faultNamed('power-off'), run);
        ours.push(...outagesOf(seen));
        await pair.settle();
        const other = await watch(lab.network, {
          vips: [pair.vip, pair.vip6],
          oldMac: pair.holderMac,
          echo: 'neighbour',
          windowMs: profile === 'fast' ? 1500 : 5000,
          act: () => pair.fault('power'),
        });
        theirs.push(...outagesOf(other));
      }
      console.log(`${profile}: ours ${round(ours)} ms, keepalived ${kind} ${round(theirs)} ms`);
      expect(median(ours) / median(theirs)).toBeLessThanOrEqual(Number(ratio));
      expect(Math.max(...ours)).toBeLessThanOrEqual(boundsOf(profile).takeoverMs);
    });
  });
});

/** Of each VIP, without the pauses of the machine. */
const outagesOf = ({ records, faultMs, endMs }: Watched): readonly number[] =>
  records.map(({ echoes, pauses }) => {
    const heard = echoes.map(({ atMs }) => atMs);
    return longestGapMs(heard, faultMs, endMs, pauses);
  });

function round(values: readonly number[]): string {
  return values.map((value) => value.toFixed(0)).join(', ');
}
