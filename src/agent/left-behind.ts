/**
 * What an agent left on a machine that is no director any more, and how to take it away by hand: the removal of the
 * gate leaves all that forwards, since others may go on with it. In words for a terminal.
 */
import { formatEndpoint } from '../model/address.ts';
import {
  formatServiceKey,
  type IpvsDaemon,
  type IpvsServiceKey,
  type IpvsTable,
} from '../model/kernel.ts';
import type { ChangedSysctls } from '../ports/sysctls.ts';

export type LeftBehind = {
  /** Null: there is no ip_vs, or it cannot be read. */
  readonly table: IpvsTable | null;
  readonly daemons: readonly IpvsDaemon[] | null;
  /** By the ledgers that were found. */
  readonly owned: ReadonlySet<string>;
  readonly changed: ChangedSysctls;
};

/** More of a kind are counted. */
const LISTED = 20;

/** One line each; none where nothing is left. */
export function describeLeftBehind({
  table,
  daemons,
  owned,
  changed,
}: LeftBehind): readonly string[] {
  const services = table?.services.map(({ key }) => key) ?? [];
  const ours = services.filter((key) => owned.has(formatServiceKey(key)));
  const others = services.length - ours.length;
  const lines = listed(
    ours,
    (key) =>
      `IPVS service stays: ${formatServiceKey(key)}; to remove it: ipvsadm -D ${optionsOf(key)}`,
    (count) => `… and ${count} more IPVS services of leasehold; see: ipvsadm -Ln`,
  );
  if (others > 0)
    lines.push(
      `IPVS services that no ledger here names: ${others}, of others or of an agent before the boot; see: ipvsadm -Ln`,
    );
  for (const { state, interface: device } of daemons ?? []) {
    const whose = owned.has(`sync ${state}`) ? '' : ' of others';
    lines.push(
      `sync daemon${whose} stays: ${state} on ${device}; to end it: ipvsadm --stop-daemon ${state}`,
    );
  }
  lines.push(
    ...listed(
      [...changed],
      ([name, { was, set }]) =>
        `kernel setting stays: ${name} = ${set}; to give it back: sysctl -w "${name}=${was}"`,
      (count) => `… and ${count} more kernel settings; see the file of settings beside the ledger`,
    ),
  );
  return lines;
}

function listed<T>(
  all: readonly T[],
  describe: (one: T) => string,
  rest: (count: number) => string,
): string[] {
  const lines = all.slice(0, LISTED).map(describe);
  if (all.length > LISTED) lines.push(rest(all.length - LISTED));
  return lines;
}

const PROTOCOL_OPTIONS = { tcp: '-t', udp: '-u', sctp: '--sctp-service' } as const;

function optionsOf(key: IpvsServiceKey): string {
  if (key.kind === 'fwmark') return `-f ${key.mark}${key.family === 6 ? ' -6' : ''}`;
  return `${PROTOCOL_OPTIONS[key.protocol]} ${formatEndpoint(key.address, key.port)}`;
}
