/**
 * Two directors that are the real servers of their own VIP by DR. The one that holds it shares out; what
 * reaches the other one must be answered there and not be shared out again, which a cold standby sees to.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DirectorHost } from '../../support/director-host.ts';
import { askHttp, tally } from '../../support/rack-client.ts';
import { CHECK, type RackLab, vipOf } from '../../support/rack-lab.ts';
import { writePrograms } from '../../support/rack-servers.ts';
import { waitFor } from '../../support/processes.ts';
import { settle } from '../../support/settled.ts';
import { quote } from '../../support/guest.ts';

const VIP = '10.90.0.101';
const VIP6 = 'fd90::101';
const HALF = { d1: 4, d2: 4 };

export function twoNodes(rack: () => RackLab): void {
  describe('two directors that serve their VIP themselves', () => {
    beforeAll(async () => {
      const lab = rack();
      await Promise.all(lab.directors.map((director) => serve(director)));
      const at = (address: string, realServers: readonly object[]): object => ({
        group: 'web',
        address,
        port: 80,
        scheduler: 'rr',
        forward: 'dr',
        check: CHECK,
        realServers,
      });
      const services = {
        own: at(VIP, [{ address: '10.90.0.11' }, { address: '10.90.0.12' }]),
        own6: at(VIP6, [{ address: 'fd90::11' }, { address: 'fd90::12' }]),
      };
      const document = lab.document(services, { ipvs: { standby: 'cold' } });
      await lab.applyOk(document, ['--confirm-shrink']);
    });

    afterAll(async () => {
      for (const director of rack().directors)
        await director.exec(`kill $(cat ${director.directory}/nginx/nginx.pid)`);
    });

    it('both answer their share, and only the holder has the table', async () => {
      const { holder, other } = await settle(rack());
      await expectShares(rack(), holder, other);
    });

    it('both answer their share after the group has moved', async () => {
      const lab = rack();
      const { holder, other } = await settle(lab);
      const drain = ['director', 'drain', holder.name, '--reason', 'lab'];
      expect(await other.cli(drain)).toMatchObject({ code: 0 });
      await waitFor('the other one holds', () => lab.hasAddress(other.name, '10.90.0.100'), {
        timeoutMs: 15_000,
      });
      await expectShares(lab, other, holder);
      const undrain = ['director', 'undrain', holder.name, '--reason', 'lab'];
      expect(await other.cli(undrain)).toMatchObject({ code: 0 });
    });
  });
}

/** nginx, and the VIPs on lo by our own command, beside the agent. */
async function serve(director: DirectorHost): Promise<void> {
  const { nginx } = writePrograms(director.directory, director.name, []);
  await director.execOk(`setsid ${nginx.map(quote).join(' ')} >/dev/null 2>&1 & sleep 0.5`);
  const args = ['realserver', 'up', '--mode', 'dr', '--vip', VIP, '--vip', VIP6];
  const done = await director.cli(args);
  if (done.code !== 0) throw new Error(`${director.name}: ${done.stdout}${done.stderr}`);
}

async function expectShares(
  lab: RackLab,
  holder: DirectorHost,
  other: DirectorHost,
): Promise<void> {
  await waitFor(
    'the holder has both services, the other one none',
    async () => {
      const [here, there] = [await lab.tableOf(holder.name), await lab.tableOf(other.name)];
      const isWhole = [...here.values()].every((rows) => rows.length === 2);
      return here.size === 2 && isWhole && there.size === 0;
    },
    { timeoutMs: 15_000, intervalMs: 100 },
  );
  for (const host of [vipOf('dr', 4), vipOf('dr', 6)])
    expect(tally(await askHttp(lab.network, { host, port: 80 }, 8))).toEqual(HALF);
}
