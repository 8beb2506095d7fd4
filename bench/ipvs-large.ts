/**
 * 37,000 destinations in 2,300 services: our adapter, `ipvsadm -R` and keepalived's start in one guest, and
 * then a whole agent with that document in another one: how long it takes, and its memory.
 */
import type { ClusterLab } from '../test/support/cluster-lab.ts';
import { clusterDocument } from '../test/support/cluster-lab.ts';
import { ensureKeepalived } from '../test/support/keepalived.ts';
import { monotonicMs, sleep, waitFor } from '../test/support/processes.ts';
import { type BenchOptions, withLab } from './bench-lab.ts';
import { inGuest } from './in-guest.ts';
import type { LargeFigures } from './ipvs-large.guest.ts';
import {
  LARGE,
  largeDocumentServices,
  nameOf,
  portOf,
  realServersOf,
  VIPS,
  vipOf,
} from './ipvs-large-table.ts';
import { formatMs, median } from './statistics.ts';

const GUEST_LIMITS = { timeoutMs: 480_000, memoryMb: 900 } as const;
/** The compiler has done its work, and what the applying left behind is collected. */
const CALM_MS = 30_000;
const APPLY_LIMIT_MS = 120_000;

const LAB = { name: 'bench-large', kind: 'guest', directors: 1, directorMemoryMb: 900 } as const;

type AgentFigures = {
  readonly applyMs: number;
  readonly oneWeightMs: number;
  readonly emptyMb: number;
  readonly residentMb: number;
  readonly peakMb: number;
};

export async function benchLarge(options: BenchOptions): Promise<string> {
  const keepalived = await ensureKeepalived(options.say);
  options.say('37,000 destinations: three rounds and a start of keepalived in a guest');
  const figures: LargeFigures = JSON.parse(await inGuest(options, 'ipvs-large', GUEST_LIMITS));
  options.say('37,000 destinations: a whole agent');
  const agent = await withLab(LAB, options.signal, (built) => measureAgent(built));
  return report(figures, agent, keepalived);
}

async function measureAgent(lab: ClusterLab): Promise<AgentFigures> {
  await lab.etcd.start();
  await lab.startAgents();
  const director = lab.director('d1');
  const group = {
    addresses: VIPS.map((vip) => `${vip}/24`),
    interface: 'public',
    priorities: { d1: 150 },
  };
  const document = (services: object): object =>
    clusterDocument(lab, { groups: { web: group }, services });
  await lab.applyOk(document({}));
  await sleep(CALM_MS);
  const { residentMb: emptyMb } = await memoryOf(lab);
  const startMs = monotonicMs();
  await lab.applyOk(document(largeDocumentServices('web')));
  // The head of the file has three lines.
  const whole = LARGE.services + LARGE.destinations + 3;
  const isWhole = async (): Promise<boolean> =>
    Number(await director.execOk('wc -l </proc/net/ip_vs')) === whole;
  await waitFor('the table is whole', isWhole, { timeoutMs: APPLY_LIMIT_MS, intervalMs: 500 });
  const applyMs = monotonicMs() - startMs;
  await sleep(CALM_MS);
  const memory = await memoryOf(lab);
  const oneWeightMs = await weigh(lab);
  return { applyMs, oneWeightMs, emptyMb, ...memory };
}

/** One real server of a VIP, at all its ports: from the end of the command until the kernel has the weight. */
async function weigh(lab: ClusterLab): Promise<number> {
  const director = lab.director('d1');
  const service = LARGE.services >> 1;
  const [address] = realServersOf(service);
  const target = `${nameOf(service)}/${address}`;
  const done = await director.cli(['rs', 'weight', target, '7', '--reason', 'bench']);
  if (done.code !== 0) throw new Error(`rs weight: ${done.stdout}${done.stderr}`);
  const startMs = monotonicMs();
  const isSo = async (): Promise<boolean> => {
    const shown = await director.execOk(`ipvsadm -Ln -t ${vipOf(service)}:${portOf(service)}`);
    return new RegExp(`-> ${address}:\\d+ +Route +7 `).test(shown);
  };
  await waitFor('the kernel has the weight', isSo, { timeoutMs: 30_000, intervalMs: 20 });
  return monotonicMs() - startMs;
}

/** Of all processes of the agent, in MiB: now, and the most it ever was. */
async function memoryOf(lab: ClusterLab): Promise<{ residentMb: number; peakMb: number }> {
  const shown = await lab
    .director('d1')
    .execOk(`for pid in $(ps -eo pid,args | awk '/main.js agent/ && !/awk/ { print $1 }'); do
      grep -E '^Vm(RSS|HWM)' /proc/$pid/status; done`);
  const sum = (name: string): number =>
    [...shown.matchAll(new RegExp(`^${name}:\\s+(\\d+) kB`, 'gm'))].reduce(
      (total, row) => total + Number(row[1]),
      0,
    ) / 1024;
  return { residentMb: sum('VmRSS'), peakMb: sum('VmHWM') };
}

function report(figures: LargeFigures, agent: AgentFigures, keepalived: string): string {
  const each = (values: readonly number[]): string =>
    `median ${formatMs(median(values))} (${values.map((value) => formatMs(value)).join(', ')})`;
  const mb = (value: number): string => `${value.toFixed(0)} MiB`;
  return `${LARGE.services} services, ${LARGE.destinations} destinations, in a guest; rounds in order, the first one cold
full apply, dump + plan + apply:   ${each(figures.fullMs)}
ipvsadm -R, same rules:            ${each(figures.ipvsadmMs)}
keepalived ${keepalived}, start, no checks:  ${formatMs(figures.keepalivedMs)}, resident ${mb(figures.keepalivedMb)}
nothing to do, dump + plan:        ${each(figures.noopMs)}
one weight, dump + plan + apply:   ${each(figures.oneWeightMs)}
one weight by ipvsadm -e:          ${each(figures.ipvsadmOneMs)}
a whole agent in a guest, no checks:
  from "leasehold apply" to the whole table: ${formatMs(agent.applyMs)} (with the command's own start)
  from the answer of "leasehold rs weight", one real server of 100 services, to the kernel: ${formatMs(agent.oneWeightMs)}
  resident: ${mb(agent.emptyMb)} without services, ${mb(agent.residentMb)} with them after ${CALM_MS / 1000} s, ${mb(agent.peakMb)} at most
`;
}
