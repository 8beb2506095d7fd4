/** The timings of the hold protocol: profiles (design 5), single values, and what must hold between them. */
import type { Timing, TimingProfile } from '../model/cluster.ts';
import type { TimingDocument } from './cluster-schema.ts';
import { formatDuration, parseDuration } from './durations.ts';
import type { Problem } from './problem.ts';
import { at, durationOf, numberOf, type Raw, textOf } from './raw.ts';

type Values = Omit<Timing, 'profile' | 'permitMs'>;

/**
 * The only kernel gate of this version is the address lifetime: whole seconds, and up to 1.1 s late
 * (design 4.4). So D ≥ 3 s and δ ≥ 1.1 s, which only `relaxed` offers.
 */
const SHORTEST_HOLD_MS = 3000;
const SHORTEST_SLACK_MS = 1100;

const RELAXED: Values = {
  heartbeatMs: 1000,
  suspectMs: 3000,
  roundMs: 600,
  holdMs: 3000,
  slackMs: 1100,
  driftMargin: 0.25,
  leaseTtlS: 15,
};

/** What the kernel's clock may drift while a time daemon steers it within its slew limit. */
const LEAST_DRIFT = 0.002;

/** The effective timing of a document that `timingProblems` found nothing in. */
export function buildTiming(timing: TimingDocument | undefined): Timing {
  const profile: TimingProfile = timing?.profile ?? 'relaxed';
  const ms = (text: string | undefined, otherwise: number): number => {
    const parsed = parseDuration(text ?? '');
    return parsed.ok ? parsed.value : otherwise;
  };
  const holdMs = ms(timing?.hold, RELAXED.holdMs);
  return {
    profile,
    heartbeatMs: ms(timing?.heartbeat, RELAXED.heartbeatMs),
    suspectMs: ms(timing?.suspect, RELAXED.suspectMs),
    roundMs: ms(timing?.round, RELAXED.roundMs),
    holdMs,
    permitMs: holdMs / 4,
    slackMs: ms(timing?.slack, RELAXED.slackMs),
    driftMargin: timing?.drift ?? RELAXED.driftMargin,
    leaseTtlS: ms(timing?.leaseTtl, RELAXED.leaseTtlS * 1000) / 1000,
  };
}

/** Every relation that does not hold; single values are never adjusted. */
export function timingProblems(timing: Raw): readonly Problem[] {
  const values = readValues(timing);
  return [
    ...profileProblems(at(timing, 'profile')),
    ...boundProblems(timing, values),
    ...relationProblems(timing, values),
  ];
}

function profileProblems(profile: Raw): readonly Problem[] {
  const name = textOf(profile);
  if (name !== 'fast' && name !== 'default') return [];
  return [
    {
      path: profile.path,
      message:
        `"${name}" holds for less than ${formatDuration(SHORTEST_HOLD_MS)}, but the gate of this ` +
        'version is the address lifetime, which the kernel counts in whole seconds',
      allowed: 'relaxed (used when no profile is given)',
    },
  ];
}

/** The given values, or the profile's where none or nothing usable is given. */
function readValues(timing: Raw): Values {
  const ms = (key: string, otherwise: number): number => durationOf(at(timing, key)) ?? otherwise;
  return {
    heartbeatMs: ms('heartbeat', RELAXED.heartbeatMs),
    suspectMs: ms('suspect', RELAXED.suspectMs),
    roundMs: ms('round', RELAXED.roundMs),
    holdMs: ms('hold', RELAXED.holdMs),
    slackMs: ms('slack', RELAXED.slackMs),
    driftMargin: numberOf(at(timing, 'drift')) ?? RELAXED.driftMargin,
    leaseTtlS: ms('leaseTtl', RELAXED.leaseTtlS * 1000) / 1000,
  };
}

type Bound = {
  readonly key: string;
  readonly ms: number;
  readonly from: number;
  readonly to: number;
  readonly why: string;
};

function boundProblems(timing: Raw, values: Values): readonly Problem[] {
  const gate = 'the address lifetime, the gate of this version,';
  const bounds: readonly Bound[] = [
    {
      key: 'hold',
      ms: values.holdMs,
      from: SHORTEST_HOLD_MS,
      to: 60_000,
      why: `${gate} counts whole seconds`,
    },
    {
      key: 'slack',
      ms: values.slackMs,
      from: SHORTEST_SLACK_MS,
      to: 10_000,
      why: `${gate} ends up to 1.1 s late`,
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
  if (roundMs > holdMs / 5)
    tell(
      'round',
      `${formatDuration(roundMs)} is more than a fifth of hold (${formatDuration(holdMs)}): one lost round would shut the gate`,
      `at most ${formatDuration(Math.floor(holdMs / 5))}`,
    );
  if (suspectMs < 2.5 * heartbeatMs)
    tell(
      'suspect',
      `${formatDuration(suspectMs)} is less than 2.5 heartbeats (${formatDuration(heartbeatMs)} each): two lost heartbeats would challenge a healthy holder`,
      `at least ${formatDuration(Math.ceil(2.5 * heartbeatMs))}`,
    );
  if (leaseTtlS * 1000 < holdMs)
    tell(
      'leaseTtl',
      `${formatDuration(leaseTtlS * 1000)} is shorter than hold (${formatDuration(holdMs)}): the lease would end before the VIPs do`,
      `at least ${formatDuration(holdMs)}`,
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
