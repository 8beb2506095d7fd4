/** What our commands print of a kernel's table, beside what ipvsadm prints of the same. */
import { afterAll, describe, expect, it } from 'vitest';
import { type DirectorHost, leaseholdArgv } from '../../support/director-host.ts';
import { quote } from '../../support/guest.ts';
import { askHttp } from '../../support/rack-client.ts';
import { type RackLab, vipOf } from '../../support/rack-lab.ts';
import { PATIENCE_MS, waitFor } from '../../support/processes.ts';
import { settle } from '../../support/settled.ts';

/** Without our notes, and without what ends the lines. */
const linesOf = (text: string): readonly string[] =>
  text
    .trimEnd()
    .split('\n')
    .map((line) => line.replace(/\s+#.*$/, '').trimEnd());

/** Of a service that is not ours, to a port at which the servers answer. */
const FOREIGN_PORT = 8081;
const FOREIGN = `-t ${vipOf('nat', 4)}:${FOREIGN_PORT}`;
const OURS = [`TCP  ${vipOf('nat', 4)}:80`, `TCP  ${vipOf('dr', 4)}:80`] as const;
/** The kernel adds up what its processors counted every other second. */
const SUMMED_MS = 2500;
const THEIRS = `TCP  ${vipOf('nat', 4)}:${FOREIGN_PORT}`;

/** Connections, packets and bytes of each service and of its real servers: all rows of one in one text. */
async function countersOf(director: DirectorHost): Promise<ReadonlyMap<string, string>> {
  const shown = await director.execOk('ipvsadm -Ln --stats --exact');
  const counters = new Map<string, string>();
  let service = '';
  for (const line of shown.split('\n').slice(3)) {
    const [, name = '', numbers = ''] = /^(\S+ +\S+(?: IPv6)?|  -> \S+) +(.*)$/.exec(line) ?? [];
    if (numbers === '') continue;
    if (!name.startsWith('  ->')) service = name;
    const row = numbers.trim().replaceAll(/ +/g, ' ');
    counters.set(service, `${counters.get(service) ?? ''}${row}\n`);
  }
  return counters;
}

const isZero = (rows: string | undefined): boolean => /^(0 0 0 0 0\n)+$/.test(rows ?? '');

export function listing(rack: () => RackLab): void {
  describe('the table of a director', () => {
    it('by "leasehold ipvs list" is that of "ipvsadm -Ln"', async () => {
      const { other } = await settle(rack());
      // What is shown is up to five seconds old: they are the same as soon as the table has been so for so long.
      const isSame = async (): Promise<boolean> => {
        const shown = await other.cli(['ipvs', 'list']);
        expect(shown.code, shown.stderr).toBe(0);
        expect(linesOf(shown.stdout)).toEqual(linesOf(await other.execOk('ipvsadm -Ln')));
        return true;
      };
      await waitFor('both tell the same', isSame, { timeoutMs: PATIENCE_MS, intervalMs: 500 });
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

    it('counts what was carried from 0 on after "leasehold ipvs zero", but for services of others', async () => {
      const lab = rack();
      const { holder } = await settle(lab);
      const [nat, dr] = OURS;
      const [n1] = lab.inside;
      await holder.execOk(
        `ipvsadm -A ${FOREIGN} -s rr; ipvsadm -a ${FOREIGN} -r ${n1?.address}:${FOREIGN_PORT} -m`,
      );
      const carry = async (): Promise<void> => {
        for (const port of [80, FOREIGN_PORT])
          await askHttp(lab.network, { host: vipOf('nat', 4), port }, 4);
        await askHttp(lab.network, { host: vipOf('dr', 4), port: 80 }, 4);
      };
      /** Until two readings are the same, between which the kernel has added up. */
      const atRest = async (): Promise<ReadonlyMap<string, string>> => {
        let last: ReadonlyMap<string, string> = new Map();
        const isSame = async (): Promise<boolean> => {
          const before = last;
          last = await countersOf(holder);
          return [...before].join() === [...last].join();
        };
        const limits = { timeoutMs: PATIENCE_MS, intervalMs: SUMMED_MS };
        await waitFor('nothing is counted any more', isSame, limits);
        return last;
      };
      const zero = async (...service: string[]): Promise<string> => {
        const done = await holder.cli(['ipvs', 'zero', ...service, '--reason', 'lab']);
        expect(done.code, done.stderr).toBe(0);
        return done.stdout;
      };
      await carry();
      const before = await atRest();
      for (const each of [nat, dr, THEIRS]) expect(isZero(before.get(each)), each).toBe(false);
      const dry = await zero('nat-http', '--dry-run');
      expect(dry).toContain('dry run');
      expect(await countersOf(holder)).toEqual(before);
      expect(await zero('nat-http')).toContain('(1 IPVS service)');
      const one = await countersOf(holder);
      expect(isZero(one.get(nat)), one.get(nat)).toBe(true);
      expect([one.get(dr), one.get(THEIRS)]).toEqual([before.get(dr), before.get(THEIRS)]);
      // What our own listing shows next is not from before.
      const listed = await holder.cli(['ipvs', 'list', '--stats', '--service', 'nat-http']);
      expect(listed.stdout).toMatch(/^TCP .*:80 +0 +0 +0 +0 +0\b/m);
      await zero();
      const all = await countersOf(holder);
      for (const [service, rows] of all)
        expect([service, isZero(rows)]).toEqual([service, service !== THEIRS]);
      expect(all.get(THEIRS)).toBe(before.get(THEIRS));
      await carry();
      const [connections] = (await atRest()).get(nat)?.split(' ') ?? [];
      expect(connections).toBe('4');
      const events = await holder.cli(['events']);
      expect(events.stdout).toContain(`nat-http on ${holder.name}: counters to 0`);
    });

    afterAll(async () => {
      for (const director of rack().directors) await director.exec(`ipvsadm -D ${FOREIGN}`);
    });
  });
}
