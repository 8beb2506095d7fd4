/** A fault, watched from the client: the VIPs' voices and echoes before, while and after it is done. */
import { type EchoWay, startVoicesProbe, type VoiceRecord } from './client-probe.ts';
import { CLIENT, CLIENT_ADDRESS, CLIENT_ADDRESS6 } from './cluster-lab.ts';
import { isIpv6 } from './frames.ts';
import type { Network } from './network.ts';
import { joined } from './pauses.ts';
import { monotonicMs, sleep } from './processes.ts';
import { type Verdict, verdictOf } from './verdict.ts';
import { startWaitMeter } from './wait-meter.ts';

export type Watch = {
  readonly vips: readonly string[];
  readonly oldMac: string;
  readonly echo: EchoWay;
  /** How long to watch from when the act began. */
  readonly windowMs: number;
  readonly act: () => Promise<unknown>;
  /** Process ids of the agents that run on this machine just then. */
  readonly agents?: () => readonly number[];
};

export type Watched = {
  readonly faultMs: number;
  readonly endMs: number;
  /** One per VIP, in their order. */
  readonly verdicts: readonly Verdict[];
  readonly records: readonly VoiceRecord[];
};

/** One of several things that are done one after the other, under one watch. */
export type WatchStep = {
  /** Brings about what the step begins with; not judged. */
  readonly ready?: () => Promise<unknown>;
  /** As of `Watch`. */
  readonly act: () => Promise<unknown>;
  readonly windowMs: number;
  /** Looks at what stands at the end of the window; not judged either. */
  readonly look?: () => Promise<unknown>;
};

export type WatchedStep = Watched & {
  /** When the act was done. */
  readonly doneMs: number;
};

/** The probe has settled by then, and the client's neighbour table knows the holder. */
const BEFORE_MS = 400;
/** What was asked for may begin when the act is done: a command that took most of the window leaves so much of it. */
const AFTER_ACT_MS = 1000;
/** For the answers to the last questions. */
const AFTER_MS = 150;
/** What a probe may take beyond a window, and for all steps together. */
const LIMIT_MS = 120_000;
const STEPS_LIMIT_MS = 170_000;

/** Watches the VIPs from the client while `act` is done; the fault is when `act` begins. */
export async function watch(network: Network, options: Watch): Promise<Watched> {
  const { vips, echo, windowMs, oldMac, act, agents } = options;
  const how = { vips, echo, agents, limitMs: LIMIT_MS + windowMs };
  const { records, done } = await whileWatching(network, how, () =>
    inWindow(act, windowMs, AFTER_ACT_MS),
  );
  const { faultMs, endMs } = done;
  const window = { faultMs, endMs, oldMac };
  return { faultMs, endMs, records, verdicts: records.map((record) => verdictOf(record, window)) };
}

/**
 * The same for several steps, each judged by itself: who speaks before its act counts as the old voice,
 * for each VIP its own; two voices count for it from the end of the step before.
 */
export async function watchSteps(
  network: Network,
  options: Pick<Watch, 'vips' | 'echo' | 'agents'> & { readonly steps: readonly WatchStep[] },
): Promise<readonly WatchedStep[]> {
  const how = { ...options, limitMs: STEPS_LIMIT_MS };
  const { records, done } = await whileWatching(network, how, async () => {
    const windows = [];
    for (const { ready, act, windowMs, look } of options.steps) {
      await ready?.();
      windows.push(await inWindow(act, windowMs));
      await look?.();
    }
    return windows;
  });
  return done.map(({ faultMs, doneMs, endMs }, index) => {
    const fromMs = done[index - 1]?.endMs ?? Number.NEGATIVE_INFINITY;
    const verdicts = records.map((record) => {
      const window = { faultMs, endMs, oldMac: voiceAt(record, faultMs) };
      return verdictOf(between(record, fromMs, endMs), window);
    });
    return { faultMs, doneMs, endMs, records, verdicts };
  });
}

type Done = { readonly faultMs: number; readonly doneMs: number; readonly endMs: number };

async function inWindow(act: () => Promise<unknown>, windowMs: number, afterMs = 0): Promise<Done> {
  const faultMs = monotonicMs();
  await act();
  const doneMs = monotonicMs();
  await sleep(Math.max(afterMs, faultMs + windowMs - doneMs));
  const endMs = monotonicMs();
  await sleep(AFTER_MS);
  return { faultMs, doneMs, endMs };
}

/** A probe that is left running would ask under the same names as the next one. */
async function whileWatching<T>(
  network: Network,
  how: Pick<Watch, 'vips' | 'echo'> & {
    readonly limitMs: number;
    readonly agents?: (() => readonly number[]) | undefined;
  },
  body: () => Promise<T>,
): Promise<{ readonly records: readonly VoiceRecord[]; readonly done: T }> {
  const { echo, limitMs, agents = () => [] } = how;
  const targets = how.vips.map((vip) => ({
    vip,
    ownAddress: isIpv6(vip) ? CLIENT_ADDRESS6 : CLIENT_ADDRESS,
  }));
  const probe = await startVoicesProbe(network, {
    client: CLIENT,
    targets,
    echo,
    limitMs,
    agents: agents(),
  });
  // The probe knows those that run now; this one those that start meanwhile as well.
  const waits = startWaitMeter(agents);
  let done: T;
  try {
    await sleep(BEFORE_MS);
    done = await body();
  } catch (cause) {
    waits.stop();
    await probe.stop();
    throw cause;
  }
  const late = waits.stop();
  const records = (await probe.stop()).map((record) => {
    return { ...record, starved: joined([...record.starved, ...late]) };
  });
  return { records, done };
}

/** With the answers of that time alone: two voices count for the step in which they spoke. */
const between = (record: VoiceRecord, fromMs: number, toMs: number): VoiceRecord => ({
  ...record,
  answers: record.answers.filter(({ atMs }) => atMs >= fromMs && atMs <= toMs),
});

/** Whose answer was the last one before a moment; empty where nobody has spoken yet. */
export const voiceAt = ({ answers }: VoiceRecord, momentMs: number): string =>
  answers.findLast(({ atMs }) => atMs < momentMs)?.mac ?? '';
