/** What others do to the table while it carries traffic, and how little we ask of the kernel. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  IPVS_CMD_DEL_DEST,
  IPVS_CMD_DEL_SERVICE,
  IPVS_CMD_NEW_DEST,
  IPVS_CMD_NEW_SERVICE,
  IPVS_CMD_SET_DEST,
  IPVS_CMD_SET_SERVICE,
  IPVS_CMD_ZERO,
} from '../../../src/wire/ipvs-common.ts';
import { requestsIn, TRACE_OPTIONS, type TracedRequest } from '../../guest/netlink-trace.ts';
import { CLIENT } from '../../support/cluster-lab.ts';
import { longestOutageMs, startHttpProbe } from '../../support/client-probe.ts';
import { pausedMs } from '../../support/pauses.ts';
import { monotonicMs, PATIENCE_MS, sleep, waitFor } from '../../support/processes.ts';
import { type RackLab, vipOf } from '../../support/rack-lab.ts';
import { settle } from '../../support/settled.ts';
import { startWaitMeter } from '../../support/wait-meter.ts';

const CHANGES = [
  IPVS_CMD_NEW_SERVICE,
  IPVS_CMD_SET_SERVICE,
  IPVS_CMD_DEL_SERVICE,
  IPVS_CMD_NEW_DEST,
  IPVS_CMD_SET_DEST,
  IPVS_CMD_DEL_DEST,
];
const isZero = ({ command }: TracedRequest): boolean => command === IPVS_CMD_ZERO;
const LOOK = { timeoutMs: PATIENCE_MS, intervalMs: 50 } as const;
const FOREIGN = `-t ${vipOf('nat', 4)}:9999`;

export function repair(rack: () => RackLab): void {
  describe('the table of the holder', () => {
    it('is back within 5 s after ipvsadm -C under load, and what is foreign is left alone', async () => {
      const lab = rack();
      const { holder } = await settle(lab);
      const before = await lab.tableOf(holder.name);
      const url = `http://${vipOf('dr', 4)}/`;
      const probe = await startHttpProbe(lab.network, { client: CLIENT, url, timeoutMs: 3000 });
      const waits = startWaitMeter(holder.pids());
      await sleep(500);
      const startMs = monotonicMs();
      // Somebody clears the table, and makes a service of their own at once.
      await holder.execOk(
        `ipvsadm -C; ipvsadm -A ${FOREIGN} -s sed -p 99; ipvsadm -a ${FOREIGN} -r 10.90.0.99:9999 -i -w 7`,
      );
      const foreign = [`${FOREIGN} -s sed -p 99`, ['10.90.0.99:9999 -i -w 7 --tun-type ipip']];
      const isBack = async (): Promise<boolean> => {
        const now = new Map(await lab.tableOf(holder.name));
        now.delete(String(foreign[0]));
        return JSON.stringify(sorted(now)) === JSON.stringify(sorted(before));
      };
      await waitFor('the table is back', isBack, { timeoutMs: PATIENCE_MS, intervalMs: 20 });
      const backAtMs = monotonicMs();
      await sleep(1500);
      const endMs = monotonicMs();
      const records = await probe.stop();
      const paused = waits.stop();
      const backMs = backAtMs - startMs - pausedMs(paused, startMs, backAtMs);
      const outage = longestOutageMs(records, startMs, endMs, paused);
      console.log(`ipvsadm -C: back after ${backMs.toFixed(0)} ms, outage ${outage.toFixed(0)} ms`);
      expect(backMs).toBeLessThanOrEqual(5000);
      expect(outage).toBeLessThanOrEqual(5500);
      const entries = [...(await lab.tableOf(holder.name))];
      expect(entries.filter(([key]) => key.startsWith(FOREIGN))).toEqual([foreign]);
      await lab.until('the foreign service is reported', holder.name, (status) =>
        status.ipvs.foreignServices.some((each) => each.includes(':9999')),
      );
      await holder.execOk(`ipvsadm -D ${FOREIGN}`);
    });

    it('gets one request for one weight that is changed', async () => {
      const lab = rack();
      const { holder } = await settle(lab);
      const capture = join(holder.directory, 'netlink.pcap');
      const tcpdump = await holder.execOk(
        `modprobe nlmon; ip link add nlmon0 type nlmon; ip link set nlmon0 up
         setsid tcpdump -i nlmon0 ${TRACE_OPTIONS.join(' ')} -w ${capture} >/dev/null 2>${capture}.log & echo $!`,
      );
      await waitFor(
        'the trace has begun',
        async () => {
          const size = await holder.exec(`stat -c %s ${capture}`);
          return Number(size.stdout) > 0;
        },
        LOOK,
      );
      const weigh = async (weight: string): Promise<void> => {
        const target = `dr-http/${lab.servers[0]?.address}:80`;
        const done = await holder.cli(['rs', 'weight', target, weight, '--reason', 'lab']);
        expect(done, done.stderr).toMatchObject({ code: 0 });
      };
      await weigh('5');
      await waitFor(
        'the kernel has the weight',
        async () => {
          const table = await lab.tableOf(holder.name);
          const rows = table.get(`-t ${vipOf('dr', 4)}:80 -s rr`) ?? [];
          return rows.includes(`${lab.servers[0]?.address}:80 -g -w 5`);
        },
        LOOK,
      );
      await sleep(1000);
      // The last thing in the trace: nobody else sets counters to zero.
      await holder.execOk('ipvsadm -Z');
      const end = (): number => requestsIn(readFileSync(capture)).findIndex(isZero);
      await waitFor('the trace is whole', () => end() >= 0, LOOK);
      const requests = requestsIn(readFileSync(capture)).slice(0, end());
      await holder.execOk(`kill -INT ${tcpdump.trim()}; sleep 0.2; ip link delete nlmon0`);
      const changes = requests.filter((each) => !each.isDump && CHANGES.includes(each.command));
      const said = readFileSync(`${capture}.log`, 'utf8');
      expect(
        changes.map(({ command }) => command),
        said,
      ).toEqual([IPVS_CMD_SET_DEST]);
      expect(changes[0]?.body.includes(Buffer.from([10, 90, 0, 41]))).toBe(true);
      await weigh('default');
    });
  });
}

const sorted = (table: ReadonlyMap<string, readonly string[]>): unknown =>
  [...table]
    .map(([key, rows]) => [key, rows.toSorted()] as const)
    .toSorted(([a], [b]) => (a < b ? -1 : 1));
