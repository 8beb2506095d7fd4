/** Two hundred VIP groups and more on the directors of a lab, one IPv4 address each but for the first. */
import { CLIENT, type ClusterLab, clusterDocument, VIP } from './cluster-lab.ts';
import { waitFor } from './processes.ts';

export const MANY_CLIENT_ADDRESS = '10.91.0.1';

/** The VIP of the group `web`, then 10.91.1.1, 10.91.1.2, … */
export function manyVips(count: number): readonly string[] {
  const more = Array.from({ length: count - 1 }, (_, index) => {
    return `10.91.${1 + Math.floor(index / 250)}.${1 + (index % 250)}`;
  });
  return [VIP, ...more];
}

/** Gives the client and the directors addresses in the VIPs' network, also those that lost them with their power. */
export async function joinManyNetwork(lab: ClusterLab): Promise<void> {
  const add = ['ip', 'address', 'replace'];
  await lab.network.execOk(CLIENT, [...add, `${MANY_CLIENT_ADDRESS}/16`, 'dev', 'eth0']);
  for (const [index, director] of lab.directors.entries())
    await director.execOk(`${add.join(' ')} 10.91.0.${11 + index}/16 dev ${director.device}`);
}

/**
 * The usual document with a group for each further VIP, d1 preferred in all of them. `vrrp`: of each group, at most
 * 255, with a virtual router id of its own.
 */
export function manyDocument(lab: ClusterLab, vips: readonly string[], vrrp?: object): object {
  const priorities = Object.fromEntries(
    lab.directors.map((each, index) => [each.name, 150 - 50 * index]),
  );
  const { groups: usual } = clusterDocument(lab) as {
    readonly groups: { readonly web: { readonly virtualRouterId: number } };
  };
  const ids = Array.from({ length: 255 }, (_, index) => index + 1);
  const free = ids.filter((id) => id !== usual.web.virtualRouterId);
  const more = vips.slice(1).map((vip, index) => [
    `g${index + 1}`,
    {
      addresses: [`${vip}/32`],
      interface: 'public',
      priorities,
      preempt: 'never',
      ...(vrrp === undefined ? {} : { vrrp, virtualRouterId: free[index] }),
    },
  ]);
  const web = { ...usual.web, ...(vrrp === undefined ? {} : { vrrp }) };
  return clusterDocument(lab, { groups: { ...usual, web, ...Object.fromEntries(more) } });
}

/** Waits until one director has all the VIPs in its kernel. */
export async function allHeldBy(
  lab: ClusterLab,
  director: string,
  vips: readonly string[],
): Promise<void> {
  await waitFor(
    `${director} holds all groups`,
    async () => {
      const shown = await lab.director(director).execOk('ip -o -4 address show');
      return vips.every((vip) => shown.includes(` ${vip}/`));
    },
    { timeoutMs: 60_000, intervalMs: 200 },
  );
}
