/** What our commands print of a kernel's table, beside what ipvsadm prints of the same. */
import { describe, expect, it } from 'vitest';
import { quote } from '../../support/guest.ts';
import { leaseholdArgv } from '../../support/director-host.ts';
import type { RackLab } from '../../support/rack-lab.ts';
import { settle } from '../../support/settled.ts';

/** Each costs the start of a program in a guest; unit tests have the others. */
const LOOKS = [
  ['', '-Ln'],
  ['--tun-info', '-Ln --tun-info'],
  ['--stats --exact', '-Ln --stats --exact'],
] as const;

/** Without our notes, and without what ends the lines. */
const linesOf = (text: string): readonly string[] =>
  text
    .trimEnd()
    .split('\n')
    .map((line) => line.replace(/\s+#.*$/, '').trimEnd());

export function listing(rack: () => RackLab): void {
  describe('the table of a director', () => {
    it.each(LOOKS)('by "leasehold ipvs list %s" is that of "ipvsadm %s"', async (ours, theirs) => {
      const { other } = await settle(rack());
      const args = ['ipvs', 'list', ...ours.split(' ').filter(Boolean)];
      const shown = await other.cli(args);
      expect(shown.code, shown.stderr).toBe(0);
      expect(linesOf(shown.stdout)).toEqual(linesOf(await other.execOk(`ipvsadm ${theirs}`)));
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
