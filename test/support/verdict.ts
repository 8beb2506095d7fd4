/** What the client saw of one fault: a record of the voice probe as figures. Pure. */
import {
  dualTimeMs,
  longestSilenceMs,
  lostEchoes,
  PROBE_PERIOD_MS,
  type VoiceRecord,
} from './client-probe.ts';

export type Window = {
  readonly faultMs: number;
  readonly endMs: number;
  /** MAC of the director that held the VIP before. */
  readonly oldMac: string;
};

/** Times in milliseconds after the fault. */
export type Verdict = {
  /** Longest gap between echo replies; the whole window where nobody answered again. */
  readonly outageMs: number;
  /** Echo requests of the window without a reply, and all of the window. */
  readonly lost: number;
  readonly asked: number;
  /** Last ARP or ND answer of the old holder; 0 where it was not heard after the fault. */
  readonly oldLastMs: number;
  /** First answer of anybody else; null: nobody took over. */
  readonly newFirstMs: number | null;
  readonly dualMs: number;
  /** Two voices when the watch ended: the dual time has no end of its own. */
  readonly isDualAtEnd: boolean;
};

/** Answers this close to the end count as still going on: twenty questions. */
const TAIL_MS = 20 * PROBE_PERIOD_MS;

export function verdictOf(record: VoiceRecord, window: Window): Verdict {
  const { faultMs, endMs, oldMac } = window;
  const after = record.answers.filter((each) => each.atMs >= faultMs && each.atMs <= endMs);
  const old = after.filter((each) => each.mac === oldMac).at(-1);
  const others = after.filter((each) => each.mac !== oldMac);
  const dualMs = dualTimeMs(record);
  const isLate = (atMs: number | undefined): boolean =>
    atMs !== undefined && atMs >= endMs - TAIL_MS;
  return {
    outageMs: longestSilenceMs(record, faultMs, endMs),
    lost: lostEchoes(record, faultMs, endMs).length,
    asked: record.asked.filter((echo) => echo.atMs >= faultMs && echo.atMs < endMs).length,
    oldLastMs: old === undefined ? 0 : old.atMs - faultMs,
    newFirstMs: others[0] === undefined ? null : others[0].atMs - faultMs,
    dualMs,
    isDualAtEnd: dualMs > 0 && isLate(old?.atMs) && isLate(others.at(-1)?.atMs),
  };
}
