/**
 * What an idle agent costs: CPU and memory of the holder and of a standby over half a minute, with one
 * VIP group and with 255, without and with an advertisement of VRRP a second, in the default profile, and what
 * the cluster writes to etcd meanwhile (design 4.3: a round makes no revision). And how far a power loss of the
 * holder of 255 groups has the first and the last of them apart.
 */
import {
  boundsOf,
  CLIENT,
  type ClusterLab,
  clusterDocument,
  VIP,
} from '../test/support/cluster-lab.ts';
import { type IdleCost, idleCost } from '../test/support/idle-cost.ts';
import {
  allHeldBy,
  joinManyNetwork,
  MANY_CLIENT_ADDRESS,
  manyDocument,
  manyVips,
} from '../test/support/many-groups.ts';
import { outagesOf, startManyProbe } from '../test/support/many-probe.ts';
import { monotonicMs, sleep } from '../test/support/processes.ts';
import { settle } from '../test/support/settled.ts';
import { formatTable } from '../src/cli/table.ts';
import { type Bench, type BenchOptions, withLab } from './bench-lab.ts';
import { formatMs } from './statistics.ts';

/** Announcements and reports are over by then. */
const CALM_MS = 60_000;
/** Until most of what the engine compiles is compiled, after the first row. */
const WARM_MS = 90_000;
const MEASURE_MS = 30_000;
const MANY = 255;

const ADVERTISING = { version: 3, interval: '1s' };
/** Between the first group that is back and the last one (design 5). */
const SPREAD_BOUND_MS = 50;
const ONE_BOUND_PERCENT = 3;
const MANY_BOUND_PERCENT = 10;

type Measured = {
  readonly groups: string;
  readonly cost: IdleCost;
  /** Null: it has none. */
  readonly boundPercent: number | null;
};
/** One power loss: when the first and the last group was back; null: not all were. */
type Loss = { readonly firstMs: number; readonly lastMs: number; readonly doubles: number } | null;

export const benchAgentCost: Bench = async (options) => {
  const lab = { name: 'bench-cost', kind: 'namespace', etcdMembers: 3 } as const;
  return await withLab(lab, options.signal, async (built) => {
    const measured = await measure(built, options);
    const losses = await losePower(built, options);
    return { text: report(measured, losses) };
  });
};

async function measure(lab: ClusterLab, options: BenchOptions): Promise<readonly Measured[]> {
  const cost = async (groups: string, boundPercent: number | null): Promise<Measured> => {
    options.signal.throwIfAborted();
    await sleep(CALM_MS);
    options.say(`measuring ${groups} for ${MEASURE_MS / 1000} s`);
    return { groups, boundPercent, cost: await idleCost(lab, MEASURE_MS) };
  };
  await joinManyNetwork(lab);
  await lab.etcd.start();
  // The first to be there holds, also on a machine that is busy with the start of the second.
  await lab.startAgents(['d1']);
  await lab.applyOk(clusterDocument(lab));
  await allHeldBy(lab, 'd1', [VIP]);
  await lab.startAgents(['d2']);
  await settle(lab);
  const vips = manyVips(MANY);
  const taken = [await cost('1, just started', null)];
  await sleep(WARM_MS);
  taken.push(await cost('1', ONE_BOUND_PERCENT));
  await lab.applyOk(manyDocument(lab, [VIP], ADVERTISING));
  taken.push(await cost('1, advertised', ONE_BOUND_PERCENT));
  await lab.applyOk(manyDocument(lab, vips));
  await allHeldBy(lab, 'd1', vips);
  taken.push(await cost(String(MANY), MANY_BOUND_PERCENT));
  await lab.applyOk(manyDocument(lab, vips, ADVERTISING));
  taken.push(await cost(`${MANY}, advertised`, MANY_BOUND_PERCENT));
  await lab.applyOk(manyDocument(lab, vips));
  return taken;
}

/** Each director in turn. */
async function losePower(lab: ClusterLab, options: BenchOptions): Promise<readonly Loss[]> {
  const vips = manyVips(MANY);
  const losses: Loss[] = [];
  for (let run = 0; run < options.runs; run += 1) {
    options.signal.throwIfAborted();
    const { holder } = await settle(lab);
    await joinManyNetwork(lab);
    await allHeldBy(lab, holder.name, vips);
    await sleep(CALM_MS / 4);
    const watched = { client: CLIENT, ownAddress: MANY_CLIENT_ADDRESS, vips };
    const probe = await startManyProbe(lab.network, watched);
    await sleep(1000);
    const faultMs = monotonicMs();
    await holder.powerOff();
    await sleep(boundsOf(lab.profile).takeoverMs + 1000);
    const record = await probe.stop();
    await holder.powerOn();
    const back = outagesOf(record, vips.length, faultMs).filter((each) => each !== null);
    const [firstMs, lastMs, doubles] = [Math.min(...back), Math.max(...back), record.doubleAnswers];
    losses.push(back.length < vips.length ? null : { firstMs, lastMs, doubles });
    options.say(describeLoss(losses.at(-1) ?? null));
  }
  return losses;
}

function describeLoss(loss: Loss): string {
  if (loss === null) return 'MISSED: not all groups came back';
  const { firstMs, lastMs, doubles } = loss;
  const isMet = lastMs - firstMs <= SPREAD_BOUND_MS && doubles === 0;
  return `${isMet ? '' : 'MISSED: '}the first back after ${formatMs(firstMs)}, the last ${formatMs(lastMs - firstMs)} later; two voices ${doubles} times`;
}

function report(measured: readonly Measured[], losses: readonly Loss[]): string {
  const columns = ['groups', 'agent', 'CPU of one core', 'bound', 'resident', 'threads'];
  const rows = measured.flatMap(({ groups, cost, boundPercent }) =>
    [...cost.agents].map(([name, agent]) => [
      groups,
      name === 'd1' ? 'holder' : 'standby',
      `${agent.cpuPercent.toFixed(2)} %`,
      toldBound(agent.cpuPercent, boundPercent),
      `${agent.rssMb.toFixed(1)} MB`,
      String(agent.threads),
    ]),
  );
  return `No services, default profile, three etcd members; ${MEASURE_MS / 1000} s each, after everything was calm.

${formatTable(
  columns.map((title) => ({ title })),
  rows,
)}
Advertised: unicast advertisements of VRRP version 3 for each group, one a second. Just started: from a minute after
the start on; the next row ${(CALM_MS + MEASURE_MS + WARM_MS + CALM_MS) / 60_000} minutes after it.

${measured.map(writesOf).join('\n')}

A power loss of the holder of ${MANY} groups; between the first and the last at most ${formatMs(SPREAD_BOUND_MS)}:
${losses.map((loss) => `  ${describeLoss(loss)}`).join('\n')}
`;
}

function toldBound(percent: number, bound: number | null): string {
  if (bound === null) return '–';
  return `${bound} %${percent > bound ? ', MISSED' : ''}`;
}

function writesOf({ groups, cost }: Measured): string {
  const grown = cost.revisionAfter - cost.revisionBefore;
  const raft = (cost.raftEntries / cost.seconds).toFixed(1);
  const head = `${groups}: etcd's revision grew by ${grown} in ${cost.seconds.toFixed(1)} s; its raft log by ${raft} entries a second`;
  return [head, ...cost.writes.map(({ key, count }) => `  ${count} × ${key}`)].join('\n');
}
