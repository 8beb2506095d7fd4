/** Checks along the path of VIPs into every kind of tunnel, from directors whose kernels have the services in IPVS. */
import { describe, expect, it } from 'vitest';
import { type Method, METHODS, type RackLab, vipOf } from '../../support/rack-lab.ts';
import { settle } from '../../support/settled.ts';

const CHECK = {
  vip: {},
  interval: '1s',
  timeout: '900ms',
  warmup: '0s',
  rise: 1,
  fall: 2,
} as const;
const WAYS = (Object.keys(METHODS) as Method[]).filter((method) => METHODS[method].up !== null);

export function vipPath(rack: () => RackLab): void {
  describe('a check along the path of a VIP', () => {
    it('passes through each kind of tunnel, TCP and echoes, both families', async () => {
      const lab = rack();
      const services: Record<string, object> = {};
      for (const method of WAYS)
        for (const [name, service] of Object.entries(lab.carriers(method)))
          if (name.includes('http') || method === 'dr')
            services[name] = { ...service, check: CHECK };
      await lab.applyAndWait(services);
      await settle(lab);
      for (const { name } of lab.directors)
        await lab.until('up by both', name, (status) =>
          status.services.every(({ realServers }) =>
            realServers.every(
              ({ votes, health }) =>
                health === 'up' &&
                votes.length === 2 &&
                votes.every(({ detail }) => detail.startsWith('answers as ')),
            ),
          ),
        );
    });

    /** What each kernel has counted of connections and packets. */
    const counts = async (): Promise<readonly string[]> => {
      const stats = await Promise.all(
        rack().directors.map((director) => director.execOk('ipvsadm -Ln --stats --exact')),
      );
      return stats.flatMap((text) =>
        [...text.matchAll(/^(?:TCP|UDP) +(\S+ +\d+ +\d+)/gm)].map(([, row]) => row ?? ''),
      );
    };

    // The cases that follow need no such tunnel.
    it('finds on each who has lost his VIP, and nothing of it is in IPVS', async () => {
      const lab = rack();
      const [first] = lab.servers;
      if (first === undefined) throw new Error('no guest');
      const before = await counts();
      expect(before.length).toBeGreaterThan(4 * WAYS.length);
      const vip = vipOf('gue', 4);
      expect(await first.realserver(['down', '--vip', vip])).toMatchObject({ code: 0 });
      const isLost = ({ detail }: { readonly detail: string }): boolean =>
        detail.includes(`there: leasehold realserver up --vip ${vip} --mode tun --gue-port `);
      for (const { name } of lab.directors)
        await lab.until('down where the VIP is lost, and nowhere else', name, ({ services }) =>
          services.every((service) =>
            service.realServers.every(({ address, health, votes }) =>
              service.name === 'gue-http' && address === first.address
                ? health === 'down' && votes.length === 2 && votes.every(isLost)
                : health === 'up',
            ),
          ),
        );
      expect(await counts()).toEqual(before);
    });
  });
}
