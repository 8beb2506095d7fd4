/** The weight a real server has while it takes connections: configured, overridden, said by its check, ramped. */
import type { WeightSource } from '../../model/cluster.ts';
import type { DynamicWeight } from '../../model/health.ts';
import { type Ramp, rampWeight } from './slow-start.ts';

export type WeightSteps = {
  readonly configured: number;
  /** Null: no operator set one. */
  readonly override: number | null;
  /** What the check made of the configured weight; null: it has no say, or said nothing yet. */
  readonly dynamic: number | null;
  /** What counts for the quorum: an override, else what the check says, else the configured one. */
  readonly full: number;
  /** What the table gets: below `full` during a slow start. */
  readonly ramped: number;
};

/** ip_vs keeps weights as signed 32-bit numbers. */
export const MAX_WEIGHT = 0x7fff_ffff;

export type WeightInput = {
  readonly configured: number;
  readonly override: number | null;
  readonly source: WeightSource;
  readonly dynamic: DynamicWeight | null;
  readonly slowStartMs: number;
  /** Null: not known, or not up by votes. */
  readonly upForMs: number | null;
};

/** An operator's weight stands above what a check says, and is ramped like any other. */
export function deriveWeight(input: WeightInput): WeightSteps & Pick<Ramp, 'nextInMs'> {
  const { configured, override } = input;
  const said = input.source === 'check' ? input.dynamic : null;
  const dynamic = said === null ? null : applyDynamic(configured, said);
  const full = override ?? dynamic ?? configured;
  const ramp = rampWeight(full, input.slowStartMs, input.upForMs);
  return { configured, override, dynamic, full, ramped: ramp.weight, nextInMs: ramp.nextInMs };
}

function applyDynamic(configured: number, said: DynamicWeight): number {
  switch (said.kind) {
    case 'set':
      return clamp(said.weight);
    case 'add':
      return clamp(configured + said.by);
    case 'percent':
      return clamp((configured * said.percent) / 100);
  }
}

/** Any share above nothing takes part: only 0 asks for no more connections. */
const clamp = (weight: number): number =>
  weight > 0 && weight < 1 ? 1 : Math.min(Math.max(Math.floor(weight), 0), MAX_WEIGHT);
