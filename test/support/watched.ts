/** A fault, watched from the client: the VIPs' voices and echoes before, while and after it is done. */
import { type EchoWay, startVoicesProbe, type VoiceRecord } from './client-probe.ts';
import { CLIENT, CLIENT_ADDRESS, CLIENT_ADDRESS6 } from './cluster-lab.ts';
import { isIpv6 } from './frames.ts';
import type { Network } from './network.ts';
import { monotonicMs, sleep } from './processes.ts';
import { type Verdict, verdictOf } from './verdict.ts';

export type Watch = {
  readonly vips: readonly string[];
  readonly oldMac: string;
  readonly echo: EchoWay;
  /** How long to watch from when the act began. */
  readonly windowMs: number;
  readonly act: () => Promise<unknown>;
};

export type Watched = {
  readonly faultMs: number;
  /** One per VIP, in their order. */
  readonly verdicts: readonly Verdict[];
  readonly records: readonly VoiceRecord[];
};

/** The probe has settled by then, and the client's neighbour table knows the holder. */
const BEFORE_MS = 400;
/** For the answers to the last questions. */
const AFTER_MS = 150;

/** Watches the VIPs from the client while `act` is done; the fault is when `act` begins. */
export async function watch(network: Network, options: Watch): Promise<Watched> {
  const targets = options.vips.map((vip) => ({
    vip,
    ownAddress: isIpv6(vip) ? CLIENT_ADDRESS6 : CLIENT_ADDRESS,
  }));
  const probe = await startVoicesProbe(network, { client: CLIENT, targets, echo: options.echo });
  await sleep(BEFORE_MS);
  const faultMs = monotonicMs();
  await options.act();
  await sleep(Math.max(0, faultMs + options.windowMs - monotonicMs()));
  const endMs = monotonicMs();
  await sleep(AFTER_MS);
  const records = await probe.stop();
  const window = { faultMs, endMs, oldMac: options.oldMac };
  return { faultMs, records, verdicts: records.map((record) => verdictOf(record, window)) };
}
