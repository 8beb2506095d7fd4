/**
 * What the client sees: who answers for a VIP, for how long nobody does, and which requests fail.
 * The probes are processes of their own in the client's namespace; times are CLOCK_MONOTONIC, the
 * same in every process of the machine.
 */
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { Network } from './network.ts';
import { longestGapMs, type Pause } from './pauses.ts';
import { type Daemon, monotonicMs, GiveUp, waitFor } from './processes.ts';

export type Voice = { readonly atMs: number; readonly mac: string };

export type Echo = { readonly sequence: number; readonly atMs: number };

/** What the voice probe writes down of one VIP. */
export type VoiceRecord = {
  /** When each who-has or neighbour solicitation was sent. */
  readonly questions: readonly number[];
  readonly answers: readonly (Voice & { readonly question: number })[];
  readonly announcements: readonly Voice[];
  /** Echo requests that were sent, and the replies that came. */
  readonly asked: readonly Echo[];
  readonly echoes: readonly Echo[];
  /** When the machine, or the probe itself, did not run. */
  readonly pauses: readonly Pause[];
  /** When one of the agents that the probe knows waited for a processor for most of the time. */
  readonly starved: readonly Pause[];
};

/** `neighbour`: every 5 ms to the MAC that spoke last; `kernel`: every 1 ms by the client's kernel. */
export type EchoWay = 'neighbour' | 'kernel';

export type VoiceTarget = { readonly ownAddress: string; readonly vip: string };

/** What the probe's process is told. */
export type VoiceProbeOptions = {
  readonly device: string;
  readonly targets: readonly VoiceTarget[];
  readonly echo: EchoWay;
  readonly resultFile: string;
  readonly limitMs: number;
  /** Agents whose waits for a processor are noted. */
  readonly agents: readonly number[];
};

export type RequestRecord = {
  readonly startMs: number;
  readonly endMs: number;
  /** The body of a 200, or null. */
  readonly answer: string | null;
  readonly detail: string;
};

export interface Probe<T> {
  /** Ends the probe and gives what it saw. */
  stop(): Promise<T>;
}

export const PROBE_PERIOD_MS = 5;
const LIMIT_MS = 120_000;
let sequence = 0;

/** Watches one VIP from a client. Sender addresses that end in .200 to .249 (::c8 to ::f9) must be free. */
export async function startVoiceProbe(
  network: Network,
  target: VoiceTarget & { readonly client: string },
): Promise<Probe<VoiceRecord>> {
  const { client, ownAddress, vip } = target;
  const targets = [{ ownAddress, vip }];
  const probe = await startVoicesProbe(network, { client, targets, echo: 'neighbour' });
  return {
    async stop() {
      const [record] = await probe.stop();
      if (record === undefined) throw new Error('the voice probe left no record');
      return record;
    },
  };
}

/** Watches several VIPs in one process; gives a record of each, in their order. */
export async function startVoicesProbe(
  network: Network,
  watch: {
    readonly client: string;
    readonly targets: readonly VoiceTarget[];
    readonly echo: EchoWay;
    /** The probe ends by itself after so long. Default 2 minutes. */
    readonly limitMs?: number;
    /** Process ids of agents on this machine, whose waits for a processor are noted. */
    readonly agents?: readonly number[];
  },
): Promise<Probe<readonly VoiceRecord[]>> {
  const { client, targets, echo, limitMs = LIMIT_MS, agents = [] } = watch;
  return startProbe<readonly VoiceRecord[]>(network, client, 'voice', (resultFile) => [
    sourceFile('./voice-probe-main.ts'),
    JSON.stringify({
      device: 'eth0',
      targets,
      echo,
      resultFile,
      limitMs,
      agents,
    } satisfies VoiceProbeOptions),
  ]);
}

/** Asks a URL every `periodMs` (default 25) with a deadline of `timeoutMs` (default 400) each. */
export async function startHttpProbe(
  network: Network,
  target: {
    readonly client: string;
    readonly url: string;
    readonly periodMs?: number;
    readonly timeoutMs?: number;
  },
): Promise<Probe<readonly RequestRecord[]>> {
  return startProbe<readonly RequestRecord[]>(network, target.client, 'http', (resultFile) => [
    sourceFile('./http-probe-main.ts'),
    target.url,
    String(target.periodMs ?? 25),
    String(target.timeoutMs ?? 400),
    resultFile,
    String(LIMIT_MS),
  ]);
}

/** Starts a probe program in the client; it says `ready`, and writes its result at SIGTERM. */
export async function startProbe<T>(
  network: Network,
  client: string,
  kind: string,
  args: (resultFile: string) => readonly string[],
): Promise<Probe<T>> {
  sequence += 1;
  const name = `${kind}-probe-${sequence}`;
  const resultFile = join(network.directory, `${name}.json`);
  const tsx = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href;
  const argv = [process.execPath, '--import', tsx, ...args(resultFile)];
  const daemon = network.spawn(client, name, argv);
  await waitFor(`${name} runs`, () => isReady(daemon), { timeoutMs: 30_000, intervalMs: 20 });
  return {
    async stop() {
      await daemon.stop(30_000);
      if (!existsSync(resultFile)) throw new Error(`${name} left no result: ${daemon.log()}`);
      return JSON.parse(readFileSync(resultFile, 'utf8')) as T;
    },
  };
}

function isReady(daemon: Daemon): boolean {
  if (!daemon.isRunning()) throw new GiveUp(`it ended: ${daemon.log()}`);
  return daemon.log().includes('ready');
}

/** Path of a file beside this one. */
export function sourceFile(relative: string): string {
  return fileURLToPath(new URL(relative, import.meta.url));
}

/** Longest time without an echo between two moments, both counted as edges. */
export function longestSilenceMs(record: VoiceRecord, fromMs: number, toMs: number): number {
  return longestGapMs(
    record.echoes.map((echo) => echo.atMs),
    fromMs,
    toMs,
  );
}

/** Echo requests sent between two moments that were never answered. */
export function lostEchoes(record: VoiceRecord, fromMs: number, toMs: number): readonly Echo[] {
  const answered = new Set(record.echoes.map((echo) => echo.sequence));
  return record.asked.filter(
    (echo) => echo.atMs >= fromMs && echo.atMs < toMs && !answered.has(echo.sequence),
  );
}

/** Longest time without an answered request between two moments, by the end of the answers; pauses do not count. */
export function longestOutageMs(
  records: readonly RequestRecord[],
  fromMs: number,
  toMs: number,
  pauses: readonly Pause[] = [],
): number {
  const answered = records.filter((each) => each.answer !== null).map((each) => each.endMs);
  return longestGapMs(answered, fromMs, toMs, pauses);
}

/** 5 ms for each who-has that two MACs answered. */
export function dualTimeMs(record: VoiceRecord): number {
  const voices = new Map<number, Set<string>>();
  for (const answer of record.answers)
    voices.set(answer.question, (voices.get(answer.question) ?? new Set()).add(answer.mac));
  return [...voices.values()].filter((macs) => macs.size > 1).length * PROBE_PERIOD_MS;
}

/** Who answered ARP, in order, with the first and last time of each turn. */
export function turnsOf(
  record: VoiceRecord,
): readonly { readonly mac: string; readonly firstMs: number; readonly lastMs: number }[] {
  const turns: { mac: string; firstMs: number; lastMs: number }[] = [];
  for (const answer of record.answers) {
    const turn = turns.at(-1);
    if (turn?.mac === answer.mac) turn.lastMs = answer.atMs;
    else turns.push({ mac: answer.mac, firstMs: answer.atMs, lastMs: answer.atMs });
  }
  return turns;
}

/** Time of the first answer to a request that was sent after a moment, whichever that was; null: there was none. */
export function firstAnswerAfter(
  records: readonly RequestRecord[],
  momentMs: number,
): number | null {
  const ends = records
    .filter((each) => each.startMs >= momentMs && each.answer !== null)
    .map((each) => each.endMs);
  return ends.length === 0 ? null : Math.min(...ends);
}

/** Now, on the clock of the records. */
export const probeNowMs = monotonicMs;
