/** Hundreds of VIPs watched at once from a client: when another director speaks for each. */
import { type Probe, sourceFile, startProbe } from './client-probe.ts';
import type { Network } from './network.ts';
import { type Pause, pausedMs } from './pauses.ts';

export type ManyProbeOptions = {
  readonly device: string;
  readonly ownAddress: string;
  readonly vips: readonly string[];
  readonly resultFile: string;
  readonly limitMs: number;
  /** The agent whose waits for a processor are noted; null: of none. */
  readonly agent: number | null;
};

/** VIPs by their index. */
export type ManyRecord = {
  /** Each time another MAC spoke for a VIP. */
  readonly turns: readonly { readonly vip: number; readonly mac: string; readonly atMs: number }[];
  readonly echoes: readonly { readonly vip: number; readonly atMs: number }[];
  /** Questions that two MACs answered. */
  readonly doubleAnswers: number;
  /** When the machine did not run. */
  readonly pauses: readonly Pause[];
  /** When the agent that the probe knows waited for a processor. */
  readonly waits: readonly Pause[];
};

/** Sender addresses that end in .200 to .249 in the client's /24 must be free. */
export function startManyProbe(
  network: Network,
  watch: {
    readonly client: string;
    readonly ownAddress: string;
    readonly vips: readonly string[];
    readonly agent?: number;
  },
): Promise<Probe<ManyRecord>> {
  const { client, ownAddress, vips, agent = null } = watch;
  return startProbe<ManyRecord>(network, client, 'many', (resultFile) => [
    sourceFile('./many-probe-main.ts'),
    JSON.stringify({
      device: 'eth0',
      ownAddress,
      vips,
      resultFile,
      limitMs: 60_000,
      agent,
    } satisfies ManyProbeOptions),
  ]);
}

/** Of each VIP: from the fault to the first echo reply after another MAC spoke; null: never. */
export function outagesOf(
  record: ManyRecord,
  count: number,
  faultMs: number,
): readonly (number | null)[] {
  const spokenAt = new Map<number, number>();
  for (const { vip, atMs } of record.turns)
    if (atMs >= faultMs && !spokenAt.has(vip)) spokenAt.set(vip, atMs);
  return Array.from({ length: count }, (_, vip) => {
    const since = spokenAt.get(vip);
    if (since === undefined) return null;
    const reply = record.echoes.find((echo) => echo.vip === vip && echo.atMs >= since);
    return reply === undefined ? null : reply.atMs - faultMs;
  });
}

/**
 * How far the first and the last are apart that are back so long after the fault. What was paused or waited for does
 * not count as far as it fell between the two, and once where it was both.
 */
export function spreadMs(
  back: readonly number[],
  faultMs: number,
  { pauses, waits }: Pick<ManyRecord, 'pauses' | 'waits'>,
): number {
  const [first, last] = [Math.min(...back), Math.max(...back)];
  return last - first - pausedMs([...pauses, ...waits], faultMs + first, faultMs + last);
}
