/** A service whose scheduler the kernel does not have: named as such, and nothing else suffers. */
import { describe, expect, it } from 'vitest';
import { askHttp, tally } from '../../support/rack-client.ts';
import { CHECK, type RackLab, vipOf } from '../../support/rack-lab.ts';
import { settle } from '../../support/settled.ts';

/** Newer than the guests' kernel. */
const RARE = 'twos';
const PORT = 8086;

export function missingModule(rack: () => RackLab): void {
  describe('a service whose scheduler is missing', () => {
    it('says which module, and the others are served and stay where they are', async () => {
      const lab = rack();
      const { holder } = await settle(lab);
      const others = lab.carriers('nat');
      const rare = {
        group: 'web',
        address: vipOf('nat', 4),
        port: PORT,
        scheduler: RARE,
        forward: 'nat',
        check: CHECK,
        realServers: lab.inside.slice(0, 2).map(({ address }) => ({ address })),
      };
      await lab.applyOk(lab.document({ ...others, rare }), ['--confirm-shrink']);
      for (const { name } of lab.directors) {
        const { services } = await lab.until('the module is named', name, (status) =>
          status.services.some((each) => each.problem?.includes(`ip_vs_${RARE}`) === true),
        );
        const suffering = services.filter((each) => each.problem !== null || !each.isProgrammed);
        expect(suffering.map((each) => each.name)).toEqual(['rare']);
        expect((await lab.tableOf(name)).size).toBe(Object.keys(others).length);
      }
      expect(tally(await askHttp(lab.network, { host: vipOf('nat', 4), port: 80 }, 4))).toEqual({
        n1: 2,
        n2: 2,
      });
      expect((await settle(lab)).holder.name).toBe(holder.name);
    });
  });
}
