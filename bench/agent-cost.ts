/**
 * What an idle agent costs: CPU and memory of the holder and of a standby over half a minute, with one
 * VIP group and with 255, in the default profile, and what the cluster writes to etcd meanwhile
 * (design 4.3: a round makes no revision).
 */
import { type ClusterLab, clusterDocument, VIP } from '../test/support/cluster-lab.ts';
import { type IdleCost, idleCost } from '../test/support/idle-cost.ts';
import { allHeldBy, joinManyNetwork, manyDocument, manyVips } from '../test/support/many-groups.ts';
import { sleep } from '../test/support/processes.ts';
import { settle } from '../test/support/settled.ts';
import { formatTable } from '../src/cli/table.ts';
import { type Bench, type BenchOptions, withLab } from './bench-lab.ts';

/** Starts, announcements and first reports are over by then, and most of what the engine compiles. */
const CALM_MS = 60_000;
const MEASURE_MS = 30_000;
const MANY = 255;

type Measured = { readonly groups: number; readonly cost: IdleCost };

export const benchAgentCost: Bench = async (options) => {
  const lab = { name: 'bench-cost', kind: 'namespace', etcdMembers: 3 } as const;
  const measured = await withLab(lab, options.signal, (built) => measure(built, options));
  return { text: report(measured) };
};

async function measure(lab: ClusterLab, options: BenchOptions): Promise<readonly Measured[]> {
  const cost = async (groups: number): Promise<Measured> => {
    await sleep(CALM_MS);
    options.say(`measuring ${groups} group(s) for ${MEASURE_MS / 1000} s`);
    return { groups, cost: await idleCost(lab, MEASURE_MS) };
  };
  await joinManyNetwork(lab);
  await lab.etcd.start();
  // The first to be there holds, also on a machine that is busy with the start of the second.
  await lab.startAgents(['d1']);
  await lab.applyOk(clusterDocument(lab));
  await allHeldBy(lab, 'd1', [VIP]);
  await lab.startAgents(['d2']);
  await settle(lab);
  const one = await cost(1);
  const vips = manyVips(MANY);
  await lab.applyOk(manyDocument(lab, vips));
  await allHeldBy(lab, 'd1', vips);
  return [one, await cost(MANY)];
}

function report(measured: readonly Measured[]): string {
  const columns = ['groups', 'agent', 'CPU of one core', 'resident', 'threads'];
  const rows = measured.flatMap(({ groups, cost }) =>
    [...cost.agents].map(([name, agent]) => [
      String(groups),
      name === 'd1' ? 'holder' : 'standby',
      `${agent.cpuPercent.toFixed(2)} %`,
      `${agent.rssMb.toFixed(1)} MB`,
      String(agent.threads),
    ]),
  );
  return `No services, default profile, three etcd members; ${MEASURE_MS / 1000} s each, after everything was calm.

${formatTable(
  columns.map((title) => ({ title })),
  rows,
)}
${measured.map(writesOf).join('\n')}
`;
}

function writesOf({ groups, cost }: Measured): string {
  const grown = cost.revisionAfter - cost.revisionBefore;
  const raft = (cost.raftEntries / cost.seconds).toFixed(1);
  const head = `${groups} group${groups === 1 ? '' : 's'}: etcd's revision grew by ${grown} in ${cost.seconds.toFixed(1)} s; its raft log by ${raft} entries a second`;
  return [head, ...cost.writes.map(({ key, count }) => `  ${count} × ${key}`)].join('\n');
}
