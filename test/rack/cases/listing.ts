/** What our commands print of a kernel's table, beside what ipvsadm prints of the same. */
import { describe, expect, it } from 'vitest';
import { quote } from '../../support/guest.ts';
import { leaseholdArgv } from '../../support/director-host.ts';
import type { RackLab } from '../../support/rack-lab.ts';
import { settle } from '../../support/settled.ts';

/** Without our notes, and without what ends the lines. */
const linesOf = (text: string): readonly string[] =>
  text
    .trimEnd()
    .split('\n')
    .map((line) => line.replace(/\s+#.*$/, '').trimEnd());

export function listing(rack: () => RackLab): void {
  describe('the table of a director', () => {
    it('by "leasehold ipvs list" is that of "ipvsadm -Ln"', async () => {
      const { other } = await settle(rack());
      const shown = await other.cli(['ipvs', 'list']);
      expect(shown.code, shown.stderr).toBe(0);
      expect(linesOf(shown.stdout)).toEqual(linesOf(await other.execOk('ipvsadm -Ln')));
    });

    it('is the same after "leasehold export ipvsadm" and "ipvsadm -R" elsewhere', async () => {
      const { other } = await settle(rack());
      const leasehold = leaseholdArgv(['export', 'ipvsadm']).map(quote).join(' ');
      // With nothing up, a namespace has no routes at all, and IPVS takes no IPv4 address for unicast.
      const restored = await other.execOk(
        `set -e; ip netns add elsewhere; ip -n elsewhere link set lo up; ${leasehold} >/run/exported
         ip netns exec elsewhere ipvsadm -R </run/exported
         ip netns exec elsewhere ipvsadm -Sn; ip netns delete elsewhere`,
        { timeoutMs: 30_000 },
      );
      const saved = await other.execOk('ipvsadm -Sn');
      expect(linesOf(saved).length).toBeGreaterThan(50);
      expect(linesOf(restored).toSorted()).toEqual(linesOf(saved).toSorted());
    });
  });
}
