/** The timings of the hold protocol: profiles (design 5), single values, and what must hold between them. */
import type { Timing, TimingProfile } from '../model/cluster.ts';
import type { TimingDocument } from './cluster-schema.ts';
import { formatDuration, parseDuration } from './durations.ts';
import type { Problem } from './problem.ts';
import { at, durationOf, numberOf, type Raw, textOf } from './raw.ts';

type Values = Omit<Timing, 'profile' | 'permitMs'>;

/** Used where a document names none. */
export const DEFAULT_PROFILE: TimingProfile = 'default';

const PROFILES: Readonly<Record<TimingProfile, Values>> = {
  /** Quiet LAN, dedicated hosts. */
  fast: {
    heartbeatMs: 20,
    suspectMs: 50,
    roundMs: 24,
    holdMs: 120,
    slackMs: 20,
    driftMargin: 0.25,
    leaseTtlS: 10,
  },
  /** Any LAN. */
  default: {
    heartbeatMs: 100,
    suspectMs: 250,
    roundMs: 100,
    holdMs: 500,
    slackMs: 20,
    driftMargin: 0.25,
    leaseTtlS: 10,
  },
  /** Busy virtual machines, WAN. */
  relaxed: {
    heartbeatMs: 1000,
    suspectMs: 3000,
    roundMs: 600,
    holdMs: 3000,
    slackMs: 20,
    driftMargin: 0.25,
    leaseTtlS: 15,
  },
};

/** What the kernel's clock may drift while a time daemon steers it within its slew limit. */
const LEAST_DRIFT = 0.002;
/** A lost round, and the one after it, must fit into D beside the permit. */
const ROUNDS_PER_HOLD = 5;
const HEARTBEATS_PER_SUSPECT = 2.5;

/** The effective timing of a document that `timingProblems` found nothing in. */
export function buildTiming(timing: TimingDocument | undefined): Timing {
  const profile = timing?.profile ?? DEFAULT_PROFILE;
  const otherwise = PROFILES[profile];
  const ms = (text: string | undefined, fallback: number): number => {
    const parsed = parseDuration(text ?? '');
    return parsed.ok ? parsed.value : fallback;
  };
  const holdMs = ms(timing?.hold, otherwise.holdMs);
  return {
    profile,
    heartbeatMs: ms(timing?.heartbeat, otherwise.heartbeatMs),
    suspectMs: ms(timing?.suspect, otherwise.suspectMs),
    roundMs: ms(timing?.round, otherwise.roundMs),
    holdMs,
    // The kernel counts whole milliseconds; a shorter permit is the safe side.
    permitMs: Math.floor(holdMs / 4),
    slackMs: ms(timing?.slack, otherwise.slackMs),
    driftMargin: timing?.drift ?? otherwise.driftMargin,
    leaseTtlS: ms(timing?.leaseTtl, otherwise.leaseTtlS * 1000) / 1000,
  };
}

/**
 * D' = D(1+m) + δ in milliseconds, rounded up: how long after a challenge others may take over. A
 * director whose kernel gate is the address lifetime has others wait longer: its scope record says so.
 */
export function takeoverWaitMs(timing: Pick<Timing, 'holdMs' | 'driftMargin' | 'slackMs'>): number {
  return Math.ceil(timing.holdMs * (1 + timing.driftMargin) + timing.slackMs);
}

/** Every relation that does not hold; single values are never adjusted. */
export function timingProblems(timing: Raw): readonly Problem[] {
  const values = readValues(timing);
  return [...boundProblems(timing, values), ...relationProblems(timing, values)];
}

/** What is allowed and probably not meant. */
export function timingWarnings(timing: Raw): readonly Problem[] {
  const values = readValues(timing);
  const { suspectMs, heartbeatMs } = values;
  const waitMs = takeoverWaitMs(values);
  const warnings: Problem[] = [];
  if (suspectMs > waitMs && suspectMs > 3 * heartbeatMs)
    warnings.push({
      path: at(timing, 'suspect').path,
      message: `a dead holder is suspected after ${formatDuration(suspectMs)} only, though others could take over ${formatDuration(waitMs)} (D') after that`,
      allowed: 'it may stay',
    });
  return warnings;
}

/** D' of a document whose timing may be wrong. */
export const takeoverWaitOf = (timing: Raw): number => takeoverWaitMs(readValues(timing));

/** The given values, or the profile's where none or nothing usable is given. */
function readValues(timing: Raw): Values {
  const ms = (key: string, fallback: number): number => durationOf(at(timing, key)) ?? fallback;
  const otherwise = PROFILES[profileOf(textOf(at(timing, 'profile')))];
  return {
    heartbeatMs: ms('heartbeat', otherwise.heartbeatMs),
    suspectMs: ms('suspect', otherwise.suspectMs),
    roundMs: ms('round', otherwise.roundMs),
    holdMs: ms('hold', otherwise.holdMs),
    slackMs: ms('slack', otherwise.slackMs),
    driftMargin: numberOf(at(timing, 'drift')) ?? otherwise.driftMargin,
    leaseTtlS: ms('leaseTtl', otherwise.leaseTtlS * 1000) / 1000,
  };
}

function profileOf(name: string | null): TimingProfile {
  return name === 'fast' || name === 'relaxed' ? name : DEFAULT_PROFILE;
}

type Bound = {
  readonly key: string;
  readonly ms: number;
  readonly from: number;
  readonly to: number;
  readonly why: string;
};

function boundProblems(timing: Raw, values: Values): readonly Problem[] {
  const bounds: readonly Bound[] = [
    {
      key: 'hold',
      ms: values.holdMs,
      from: 100,
      to: 60_000,
      why: 'no process is that punctual, or a dead holder stands in the way too long',
    },
    {
      key: 'slack',
      ms: values.slackMs,
      from: 10,
      to: 10_000,
      why: "it covers the kernel's tick and the frames on their way",
    },
    {
      key: 'heartbeat',
      ms: values.heartbeatMs,
      from: 10,
      to: 10_000,
      why: 'peers are told too often or too seldom',
    },
    {
      key: 'round',
      ms: values.roundMs,
      from: 20,
      to: 12_000,
      why: 'the store is asked too often or too seldom',
    },
    {
      key: 'suspect',
      ms: values.suspectMs,
      from: 25,
      to: 60_000,
      why: 'a dead holder is noticed too early or too late',
    },
    {
      key: 'leaseTtl',
      ms: values.leaseTtlS * 1000,
      from: 5000,
      to: 600_000,
      why: 'a lease must outlive an election of the store',
    },
  ];
  return bounds
    .filter(({ ms, from, to }) => ms < from || ms > to)
    .map(({ key, ms, from, to, why }) => ({
      path: at(timing, key).path,
      message: `${formatDuration(ms)} is out of range: ${why}`,
      allowed: `${formatDuration(from)} to ${formatDuration(to)}`,
    }));
}

function relationProblems(timing: Raw, values: Values): readonly Problem[] {
  const problems: Problem[] = [];
  const tell = (key: string, message: string, allowed: string): void => {
    problems.push({ path: at(timing, key).path, message, allowed });
  };
  const { roundMs, holdMs, suspectMs, heartbeatMs, leaseTtlS, driftMargin } = values;
  const leaseMs = leaseTtlS * 1000;
  const waitMs = takeoverWaitMs(values);
  if (roundMs * ROUNDS_PER_HOLD > holdMs)
    tell(
      'round',
      `${formatDuration(roundMs)} is more than a fifth of hold (${formatDuration(holdMs)}): one lost round would shut the gate`,
      `at most ${formatDuration(Math.floor(holdMs / ROUNDS_PER_HOLD))}`,
    );
  if (suspectMs < HEARTBEATS_PER_SUSPECT * heartbeatMs)
    tell(
      'suspect',
      `${formatDuration(suspectMs)} is less than 2.5 heartbeats (${formatDuration(heartbeatMs)} each): two lost heartbeats would challenge a healthy holder`,
      `at least ${formatDuration(Math.ceil(HEARTBEATS_PER_SUSPECT * heartbeatMs))}`,
    );
  if (leaseMs < waitMs)
    tell(
      'leaseTtl',
      `${formatDuration(leaseMs)} is shorter than D' (${formatDuration(waitMs)}, what others wait with hold ${formatDuration(holdMs)}): the lease would end while the VIPs may speak`,
      `at least ${formatDuration(Math.ceil(waitMs / 1000) * 1000)}`,
    );
  if (!Number.isInteger(leaseTtlS))
    tell('leaseTtl', 'the store counts leases in whole seconds', 'whole seconds, e.g. 15s');
  if (driftMargin < LEAST_DRIFT)
    tell(
      'drift',
      `${driftMargin} is less than a steered clock may drift`,
      `at least ${LEAST_DRIFT}`,
    );
  return problems;
}
