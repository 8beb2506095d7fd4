import { describe, expect, it } from 'vitest';
import {
  FROM_THE_BEGINNING,
  slowChecks,
  stepUpSince,
  type UpSinceInput,
} from '../../../src/agent/up-since.ts';
import { deriveChecks } from '../../../src/core/health/checks.ts';
import type { CheckStatus } from '../../../src/model/health.ts';
import { checkId } from '../../../src/model/ids.ts';
import { anyService, anySpec, server } from '../core/desired/spec-builders.ts';

const A = checkId('0123456789abcdef');
const at = (second: number): string => new Date(second * 1000).toISOString();
const up = (second: number) => ({ isUp: true, since: at(second) });
const UP: CheckStatus = { isUp: true, basis: 'majority', votesUp: 2, votesDown: 0 };
const input = (votes: readonly { isUp: boolean; since: string }[], status = UP): UpSinceInput => ({
  slow: new Set([A]),
  statuses: new Map([[A, status]]),
  votes: new Map([[A, votes]]),
  checkersOf: () => 3,
});

describe('since when a real server is up', () => {
  it('is when the majority had said so, and the same map while nothing changes', () => {
    const first = stepUpSince(new Map(), input([up(30), up(10), up(20)]));
    expect([...first]).toEqual([[A, 20_000]]);
    expect(stepUpSince(first, input([up(30), up(10), up(20)]))).toBe(first);
  });

  it('is from the beginning where nobody had voted and it took connections: first votes are no recovery', () => {
    const unvoted = { ...UP, basis: 'initial' as const, votesUp: 0 };
    const first = stepUpSince(new Map(), input([], unvoted));
    expect([...first]).toEqual([[A, FROM_THE_BEGINNING]]);
    expect(stepUpSince(first, input([up(10), up(20)]))).toBe(first);
    expect(stepUpSince(first, input([], { ...UP, isUp: false })).size).toBe(0);
    // With alpha it took none before.
    expect(stepUpSince(new Map(), input([], { ...unvoted, isUp: false })).size).toBe(0);
  });

  it('is not known while it is down, or too few have said so', () => {
    for (const status of [
      { ...UP, isUp: false },
      { ...UP, isUp: false, basis: 'initial' as const },
    ])
      expect(stepUpSince(new Map([[A, 1]]), input([up(1), up(2)], status)).size).toBe(0);
    expect(stepUpSince(new Map(), input([up(1), { isUp: false, since: at(2) }])).size).toBe(0);
    expect(stepUpSince(new Map(), input([{ isUp: true, since: 'soon' }])).size).toBe(0);
  });

  it('is for ever where it is known to be up from before the start, and nobody votes yet', () => {
    const recalled = stepUpSince(new Map(), input([], { ...UP, basis: 'kept' }));
    expect([...recalled]).toEqual([[A, FROM_THE_BEGINNING]]);
    expect(stepUpSince(recalled, input([up(50), up(60)]))).toEqual(recalled);
  });

  it('stays what it was while it stays up: other voters, or none for a while, are no recovery', () => {
    const known = new Map([[A, 20_000]]);
    expect(stepUpSince(known, input([up(50), up(60)]))).toBe(known);
    expect(stepUpSince(known, input([], { ...UP, basis: 'kept' }))).toBe(known);
    expect([...stepUpSince(known, input([up(5), up(6)]))]).toEqual([[A, 6000]]);
  });
});

describe('the checks that it is worked out for', () => {
  it('are those of services with a slow start', () => {
    const slow = anyService({ id: 'slow', slowStartMs: 1000, realServers: [server('10.0.0.1')] });
    const fast = anyService({ id: 'fast', port: 81, realServers: [server('10.0.0.2')] });
    const spec = anySpec([slow, fast]);
    const derived = deriveChecks(spec);
    const { checks } = derived;
    expect([...slowChecks(spec, derived)]).toEqual([checks[0]?.id]);
  });
});
