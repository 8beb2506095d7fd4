/** The LVS-NAT pair: both its sides move together, and with connection sync its connections go on. */
import { existsSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import { boundsOf, CLIENT } from '../../support/cluster-lab.ts';
import {
  longestOutageMs,
  startHttpProbe,
  startProbe,
  sourceFile,
} from '../../support/client-probe.ts';
import type { Download } from '../../support/download-main.ts';
import type { DirectorHost } from '../../support/director-host.ts';
import { monotonicMs, PATIENCE_MS, sleep, waitFor } from '../../support/processes.ts';
import { INSIDE_VIP, INSIDE_VIP6, type RackLab, vipOf } from '../../support/rack-lab.ts';
import { SLOW } from '../../support/rack-servers.ts';
import { settle } from '../../support/settled.ts';
import { startWaitMeter } from '../../support/wait-meter.ts';

const CONNECTIONS = 200;
/** An answer that is late is one: what it waited for counts as the outage, by when it came. */
const ANSWER_MS = 3000;
const URL = `http://${vipOf('nat', 4)}`;
const SIDES = ['10.90.0.100', 'fd90::100', INSIDE_VIP, INSIDE_VIP6] as const;

export function failover(rack: () => RackLab): void {
  describe('an LVS-NAT pair with connection sync', () => {
    beforeAll(async () => {
      const lab = rack();
      for (const each of lab.inside) if (!each.isRunning()) await each.start();
      const services = lab.carriers('nat');
      const group = { connectionSync: { interface: 'inside', catchUp: '2s' } };
      await lab.applyAndWait(services, { group });
      await settle(lab);
    });

    it('has a master daemon where the group is held and a backup elsewhere', async () => {
      const { holder, other } = await settle(rack());
      await expectDaemons(holder, other);
    });

    it('moves outside and inside together under load, and its daemons with it', async () => {
      const lab = rack();
      const { holder, other } = await settle(lab);
      expect(await sidesOf(holder)).toEqual(SIDES);
      const target = { client: CLIENT, url: `${URL}/`, timeoutMs: ANSWER_MS };
      const probe = await startHttpProbe(lab.network, target);
      const waits = startWaitMeter(lab.directors.flatMap((each) => each.pids()));
      await sleep(500);
      const startMs = monotonicMs();
      const drain = ['director', 'drain', holder.name, '--reason', 'lab'];
      expect(await other.cli(drain)).toMatchObject({ code: 0 });
      await waitFor('the other one holds', () => lab.hasAddress(other.name, SIDES[0]), {
        timeoutMs: PATIENCE_MS,
      });
      await sleep(1500);
      const endMs = monotonicMs();
      const records = await probe.stop();
      const outage = longestOutageMs(records, startMs, endMs, waits.stop());
      console.log(`NAT pair drained: outage ${outage.toFixed(0)} ms of ${records.length} requests`);
      expect(outage).toBeLessThanOrEqual(1500);
      expect([await sidesOf(holder), await sidesOf(other)]).toEqual([[], SIDES]);
      const undrain = ['director', 'undrain', holder.name, '--reason', 'lab'];
      expect(await other.cli(undrain)).toMatchObject({ code: 0 });
      await expectDaemons(other, holder);
    });

    it(`keeps ${CONNECTIONS} downloads alive when the holder loses power`, async () => {
      const lab = rack();
      const { holder, other } = await settle(lab);
      const download = await startDownload(lab);
      await waitFor(
        'the other director knows of all connections',
        async () => {
          const seen = await other.execOk('grep -c "ESTABLISHED" /proc/net/ip_vs_conn || true');
          return Number(seen) >= CONNECTIONS;
        },
        { timeoutMs: PATIENCE_MS, intervalMs: 200 },
      );
      // Connections of the former case may be among them, and the kernel sends what it gathers after two seconds.
      await sleep(2500);
      await holder.powerOff();
      const downloads = await download.finish();
      const whole = downloads.filter((each) => each.isWhole);
      const silent = Math.max(...downloads.map((each) => each.silentMs));
      console.log(
        `failover in a download: ${whole.length} of ${CONNECTIONS} went on, silent for ${silent.toFixed(0)} ms at most`,
      );
      // It was in the middle, and there was an outage to survive.
      expect(silent).toBeGreaterThan(boundsOf(lab.profile).suspectMs);
      expect(
        whole.length,
        JSON.stringify(downloads.find((each) => !each.isWhole)),
      ).toBeGreaterThanOrEqual(CONNECTIONS * 0.99);
      expect(await sidesOf(other)).toEqual(SIDES);
      await holder.powerOn();
      await settle(lab);
      await expectDaemons(other, holder);
    });
  });
}

/** Of the addresses that must move together, those that a director has. */
async function sidesOf(director: DirectorHost): Promise<readonly string[]> {
  const shown = await director.execOk('ip -o address show');
  return SIDES.filter((address) => shown.includes(` ${address}/`));
}

async function expectDaemons(holder: DirectorHost, other: DirectorHost): Promise<void> {
  const states = async (director: DirectorHost): Promise<readonly string[]> => {
    const shown = await director.execOk('ipvsadm -Ln --daemon');
    return [...shown.matchAll(/^(master|backup) sync daemon .*mcast=vec1, syncid=51/gm)].map(
      (row) => row[1] ?? '',
    );
  };
  const isSo = async (): Promise<boolean> => {
    const seen = [await states(holder), await states(other)];
    return JSON.stringify(seen) === JSON.stringify([['master'], ['backup']]);
  };
  await waitFor('a master where it is held, a backup elsewhere', isSo, { timeoutMs: PATIENCE_MS });
}

async function startDownload(
  lab: RackLab,
): Promise<{ readonly finish: () => Promise<readonly Download[]> }> {
  let file = '';
  const probe = await startProbe<readonly Download[]>(lab.network, CLIENT, 'download', (result) => {
    file = result;
    return [
      sourceFile('./download-main.ts'),
      `${URL}${SLOW.path}`,
      String(CONNECTIONS),
      String(SLOW.bytes),
      result,
      String(SLOW.limitMs),
    ];
  });
  return {
    async finish() {
      const timeoutMs = SLOW.limitMs + 10_000;
      await waitFor('all downloads have ended', () => existsSync(file), { timeoutMs });
      return await probe.stop();
    },
  };
}
