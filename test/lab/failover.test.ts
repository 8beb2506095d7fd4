/**
 * Two directors as namespaces, three etcd members, one VIP group with an IPv4 and an IPv6 address: who
 * answers for them, and what is lost, judged from the client, in the profiles fast and default. The
 * cases of a profile share one cluster and run in order; each begins with a settled cluster.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { sourceFile, startVoiceProbe, turnsOf } from '../support/client-probe.ts';
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
import { expectClaim } from '../support/expect-claim.ts';
import { cliOk, FAULTS, faultNamed, perform } from '../support/faults.ts';
import { createKeepalivedPair, type KeepalivedKind } from '../support/keepalived.ts';
import { longestGapMs } from '../support/pauses.ts';
import { monotonicMs, sleep, waitFor } from '../support/processes.ts';
import { allJoin, macOf, settle } from '../support/settled.ts';
import { watch, type Watched } from '../support/watched.ts';
import { median } from '../../bench/statistics.ts';

describe.each(['fast', 'default'] as const)('in the profile %s', (profile) => {
  let lab: ClusterLab;

  beforeAll(async () => {
    lab = await createClusterLab({ name: profile, kind: 'namespace', etcdMembers: 3, profile });
    await lab.etcd.start();
    await lab.startAgents();
    await allJoin(lab);
    await lab.applyOk(clusterDocument(lab));
  });

  afterEach(async (context) => {
    if (context.task.result?.state === 'fail')
      await lab.collectEvidence(`${profile} ${context.task.name}`);
  });

  afterAll(() => lab?.close());

  describe('the holder', () => {
    it('is the director with the best priority, and binds all addresses of the group', async () => {
      const { holder } = await settle(lab);
      expect(holder.name).toBe('d1');
      expect(await lab.directorsWith(VIP6)).toEqual(['d1']);
    });

    it('answers the client for both VIPs, alone', async () => {
      const { holder } = await settle(lab);
      for (const vip of [VIP, VIP6])
        await lab.network.execOk(CLIENT, ['ping', '-c', '3', '-i', '0.05', '-W', '1', vip]);
      const target = { client: CLIENT, ownAddress: CLIENT_ADDRESS, vip: VIP };
      const probe = await startVoiceProbe(lab.network, target);
      await sleep(500);
      const record = await probe.stop();
      expect(turnsOf(record).map((turn) => turn.mac)).toEqual([await macOf(holder)]);
    });

    it('says so in its status and over the API', async () => {
      const { holder, other } = await settle(lab);
      expect((await holder.get('/api/v1/status')).status).toBe(200);
      expect((await holder.get('/owner?group=web')).status).toBe(200);
      expect((await other.get('/owner?group=web')).status).toBe(503);
      const table = await other.cli(['status']);
      expect(table.stdout).toMatch(/\bweb\b.*\bd1\b/);
    });

    it('binds a VIP again within 1 s when somebody removes it by hand', async () => {
      const { holder } = await settle(lab);
      for (const vip of [`${VIP}/24`, `${VIP6}/64`]) {
        await holder.execOk(`ip address delete ${vip} dev ${holder.device}`);
        const start = monotonicMs();
        const address = vip.split('/')[0] ?? '';
        await waitFor(`${vip} is back`, () => lab.hasAddress(holder.name, address), {
          timeoutMs: 5000,
          intervalMs: 10,
        });
        expect(monotonicMs() - start).toBeLessThanOrEqual(1000);
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
      const { holder: first, other: paused } = await settle(lab);
      await paused.signalAgent('SIGTERM');
      await paused.agentEnded(8000);
      const trigger = join(paused.directory, 'stop-now');
      await paused.startProgram(sourceFile('./stopping-agent-main.ts'), [trigger]);
      await settle(lab);
      await cliOk(first, ['switchover', 'web', '--to', paused.name]);
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

/** One letter of proc(5). */
function stateOf(pid: number): string {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  return stat.slice(stat.lastIndexOf(')') + 2)[0] ?? '';
}

function round(values: readonly number[]): string {
  return values.map((value) => value.toFixed(0)).join(', ');
}
