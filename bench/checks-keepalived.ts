/**
 * keepalived in one guest and an agent in another, each with a kernel of its own with ip_vs and a VIP that it holds,
 * at the same time with the same 500 real servers that they check every second: what each takes of a processor.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { formatTable } from '../src/cli/table.ts';
import { type ClusterLab, clusterDocument, VIP } from '../test/support/cluster-lab.ts';
import { bootGuest, type Guest } from '../test/support/guest.ts';
import { ensureKeepalived } from '../test/support/keepalived.ts';
import {
  type Completed,
  descendantsOf,
  monotonicMs,
  run,
  sleep,
  waitFor,
} from '../test/support/processes.ts';
import { type Bench, type BenchOptions, withLab } from './bench-lab.ts';
import {
  activeOpens,
  addressOf,
  checkedService,
  ROUTE_TO_TARGETS,
  startTargets,
  type TargetKind,
} from './checks-targets.ts';
import { cpuTicksOf, kibOf, processTree } from './proc.ts';

const TARGETS = 500;
const KEEPALIVED_VIP = '10.90.0.101';
const LAB = { name: 'bench-rivals', kind: 'guest', directors: 1 } as const;
const BOTH = ['leasehold', 'keepalived'] as const;
/** Lines of /proc/net/ip_vs: its head, the service, its real servers. */
const WHOLE_TABLE = 3 + 1 + TARGETS;
const UP_LIMIT_MS = 60_000;
const CALM_MS = 12_000;
const MEASURE_MS = 25_000;

type Who = (typeof BOTH)[number];
type Load = TargetKind | 'none';
const LOADS: readonly { readonly load: Load; readonly words: string }[] = [
  { load: 'none', words: 'a VIP, no checks' },
  { load: 'tcp', words: `${TARGETS} TCP checks/s` },
  { load: 'http', words: `${TARGETS} HTTP checks/s` },
];

/** A guest and what is measured in it. */
type Rival = {
  readonly who: Who;
  /** umid of its kernel: how the machine's process of it is known. */
  readonly guest: string;
  readonly exec: (command: string) => Promise<Completed>;
  /** The first process of it, in the guest. */
  readonly root: () => Promise<number>;
  /** Takes up the load, from nothing or from the last one. */
  readonly load: (load: Load) => Promise<void>;
};

type Cost = {
  /** Of a core, by /proc/PID/stat in the guest, all its processes. */
  readonly inGuestPercent: number;
  /** Of a core of the machine, by the whole guest. */
  readonly outsidePercent: number;
  readonly perSecond: number;
  readonly rssMb: number;
};
type Row = { readonly words: string; readonly costs: Readonly<Record<Who, Cost>> };

export const benchChecksKeepalived: Bench = async (options) => {
  const version = await ensureKeepalived(options.say);
  const rows = await withLab(LAB, options.signal, (lab) => measureAll(lab, options));
  return { text: report(rows, version) };
};

async function measureAll(lab: ClusterLab, options: BenchOptions): Promise<readonly Row[]> {
  await lab.etcd.start();
  // The network's hosts first: what asks whether the targets answer is one of them.
  await startTargets(lab.network, ['client']);
  await lab.director('d1').execOk(ROUTE_TO_TARGETS.join(' '));
  const rivals = [agentOf(lab), await keepalivedOf(lab)] as const;
  const rows: Row[] = [];
  for (const { load, words } of LOADS) {
    options.signal.throwIfAborted();
    await Promise.all(rivals.map((rival) => rival.load(load)));
    await sleep(CALM_MS);
    const [leasehold, keepalived] = await Promise.all(rivals.map(costOf));
    if (leasehold === undefined || keepalived === undefined) throw new Error('there are two');
    if (load !== 'none') for (const rival of rivals) await mustBeWhole(rival);
    const row = { words, costs: { leasehold, keepalived } };
    rows.push(row);
    for (const line of linesOf(row, rows[0] ?? row)) options.say(line.join('  '));
  }
  return rows;
}

function agentOf(lab: ClusterLab): Rival {
  const director = lab.director('d1');
  const exec: Rival['exec'] = (command) => director.exec(command);
  return {
    who: 'leasehold',
    guest: 'd1',
    exec,
    async root() {
      const shown = await director.execOk(`pgrep -o -f 'main.js agent'`);
      return Number(shown.trim());
    },
    async load(load) {
      if (load === 'none') await lab.startAgents();
      const own = { group: 'web', address: VIP, port: 80 };
      const services =
        load === 'none' ? {} : { web: checkedService(load, own, { first: 0, count: TARGETS }) };
      await lab.applyOk(clusterDocument(lab, { services }), ['--confirm-shrink']);
      const areUp = async (): Promise<boolean> => {
        const { services: all, groups } = await lab.status('d1');
        const votes = all.flatMap(({ realServers }) => realServers.flatMap((each) => each.votes));
        const up = votes.filter(({ isUp }) => isUp).length;
        return groups[0]?.holder === 'd1' && up === (load === 'none' ? 0 : TARGETS);
      };
      await waitFor('the agent has voted all real servers up', areUp, {
        timeoutMs: UP_LIMIT_MS,
        intervalMs: 1000,
      });
    },
  };
}

async function keepalivedOf({ network }: ClusterLab): Promise<Rival> {
  const guest = await bootGuest({ name: 'k1', network, addresses: ['10.90.0.13/24'] });
  await guest.execOk(ROUTE_TO_TARGETS);
  const pidFile = '/run/keepalived.pid';
  return {
    who: 'keepalived',
    guest: 'k1',
    exec: (command) => guest.exec(command),
    root: async () => Number((await guest.execOk(`cat ${pidFile}`)).trim()),
    async load(load) {
      await endKeepalived(guest, pidFile);
      const file = join(guest.directory, 'keepalived.conf');
      writeFileSync(file, keepalivedConfiguration(load));
      const pids = ['-p', pidFile, '-r', '/run/vrrp.pid', '-c', '/run/checkers.pid'];
      await guest.spawn(['keepalived', '-n', '-l', '-f', file, ...pids]);
      const holds = async (): Promise<boolean> =>
        (
          await guest.exec(
            `ip -o address show dev ${guest.interface} | grep -q ' ${KEEPALIVED_VIP}/'`,
          )
        ).code === 0;
      await waitFor('keepalived holds its VIP', holds, { timeoutMs: 20_000, intervalMs: 500 });
    },
  };
}

async function endKeepalived(guest: Guest, pidFile: string): Promise<void> {
  await guest.exec(`[ ! -e ${pidFile} ] || kill "$(cat ${pidFile})"`);
  const isGone = async (): Promise<boolean> => (await guest.exec(`[ -e ${pidFile} ]`)).code !== 0;
  await waitFor('keepalived ends', isGone, { timeoutMs: 15_000, intervalMs: 200 });
}

/** One VIP by VRRP, and the service as ours has it; what is up stays up after one failure, as with fall 2. */
function keepalivedConfiguration(load: Load): string {
  const check: Readonly<Record<TargetKind, string>> = {
    tcp: 'TCP_CHECK {\n      connect_timeout 1\n    }',
    http: 'HTTP_GET {\n      url {\n        path /\n        status_code 200\n      }\n      connect_timeout 1\n    }',
  };
  const instance = `vrrp_instance web {
  interface vec0
  virtual_router_id 52
  priority 150
  advert_int 1
  virtual_ipaddress {
    ${KEEPALIVED_VIP}/24
  }
}
`;
  if (load === 'none') return instance;
  const servers = Array.from(
    { length: TARGETS },
    (_, n) => `  real_server ${addressOf(n)} 80 {\n    weight 1\n    ${check[load]}\n  }\n`,
  );
  return `${instance}virtual_server ${KEEPALIVED_VIP} 80 {
  delay_loop 1
  retry 1
  delay_before_retry 1
  protocol TCP
  lvs_sched rr
  lvs_method NAT
${servers.join('')}}
`;
}

async function mustBeWhole({ who, exec }: Rival): Promise<void> {
  const { stdout } = await exec('wc -l </proc/net/ip_vs');
  if (Number(stdout) !== WHOLE_TABLE)
    throw new Error(`${who}: ${stdout.trim()} lines of ip_vs, wanted ${WHOLE_TABLE}`);
}

async function costOf(rival: Rival): Promise<Cost> {
  const ticksPerSecond = Number((await run(['getconf', 'CLK_TCK'])).stdout);
  const before = await snapshot(rival);
  await sleep(MEASURE_MS);
  const after = await snapshot(rival);
  const seconds = (after.atMs - before.atMs) / 1000;
  const percent = (of: 'inside' | 'outside'): number =>
    (100 * (after[of] - before[of])) / ticksPerSecond / seconds;
  return {
    inGuestPercent: percent('inside'),
    outsidePercent: percent('outside'),
    perSecond: (after.opened - before.opened) / seconds,
    rssMb: after.rssMb,
  };
}

type Snapshot = {
  readonly atMs: number;
  /** Ticks of its processes, in the guest. */
  readonly inside: number;
  /** Ticks of the whole guest, on the machine. */
  readonly outside: number;
  readonly opened: number;
  readonly rssMb: number;
};

async function snapshot({ exec, root, guest }: Rival): Promise<Snapshot> {
  const first = await root();
  // What ends meanwhile is no fault.
  const { stdout } = await exec('cat /proc/[0-9]*/stat /proc/net/snmp 2>/dev/null');
  const atMs = monotonicMs();
  const lines = stdout.split('\n');
  const own = processTree(
    lines.filter((line) => /^\d+ \(/.test(line)),
    first,
  );
  const statuses = await exec(own.map(({ pid }) => `cat /proc/${pid}/status`).join('; '));
  const sizes = statuses.stdout.split(/^(?=Name:)/m).filter((text) => text.includes('VmRSS'));
  return {
    atMs,
    inside: own.reduce((sum, { stat }) => sum + cpuTicksOf(stat), 0),
    outside: ticksOfGuest(guest),
    opened: activeOpens(stdout),
    rssMb: sizes.reduce((sum, text) => sum + kibOf(text, 'VmRSS'), 0) / 1024,
  };
}

/** Of the machine's processes that are the guest's kernel and what runs under it. */
function ticksOfGuest(guest: string): number {
  const kernels = descendantsOf(process.pid).filter((pid) =>
    readProc(pid, 'cmdline').includes(`\0umid=${guest}\0`),
  );
  const pids = new Set(kernels.flatMap((pid) => descendantsOf(pid)));
  return [...pids].reduce((sum, pid) => {
    const stat = readProc(pid, 'stat');
    return stat === '' ? sum : sum + cpuTicksOf(stat, true);
  }, 0);
}

/** Nothing where it has ended meanwhile. */
function readProc(pid: number, file: 'cmdline' | 'stat'): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    return '';
  }
}

/** `idle`: the row without checks. */
function linesOf({ words, costs }: Row, idle: Row): readonly string[][] {
  return BOTH.map((who) => {
    const { inGuestPercent, outsidePercent, perSecond, rssMb } = costs[who];
    const moreUs = (outsidePercent - idle.costs[who].outsidePercent) * 10_000;
    return [
      words,
      who,
      `${perSecond.toFixed(0)}/s`,
      `${inGuestPercent.toFixed(1)} %`,
      `${outsidePercent.toFixed(1)} %`,
      idle.words === words ? '-' : `${(moreUs / perSecond).toFixed(0)} us`,
      `${rssMb.toFixed(0)} MB`,
    ];
  });
}

function report(rows: readonly Row[], version: string): string {
  const columns = [
    'what',
    'who',
    'connects',
    'CPU in the guest',
    'of the whole guest',
    'each check',
    'resident',
  ];
  return `keepalived ${version} (VRRP and checkers) and an agent with an etcd outside, each in a User Mode Linux guest with one
processor, at the same time, ${MEASURE_MS / 1000} s each; the same ${TARGETS} real servers, checked every second, in one service of
each. CPU of one core: in the guest by /proc/PID/stat of all its processes, which are charged a whole tick of 10 ms
where one finds them at work, and these wake with the ticks; and of the machine's processor by the whole guest, by the
machine's own account. Each check: what the whole guest takes more than without checks. The agent has the profile
relaxed.

${formatTable(
  columns.map((title) => ({ title })),
  rows.flatMap((row) => linesOf(row, rows[0] ?? row)),
)}
`;
}
