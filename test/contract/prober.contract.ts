/** What every Prober does, the fake of the simulator included. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { IpAddress } from '../../src/model/address.ts';
import { formatIp } from '../../src/model/address.ts';
import type { HttpRequest } from '../../src/model/check.ts';
import type { Check } from '../../src/model/cluster.ts';
import type { Observation } from '../../src/model/health.ts';
import { checkId } from '../../src/model/ids.ts';
import type { Prober } from '../../src/ports/prober.ts';
import { httpKind } from '../unit/core/desired/spec-builders.ts';

export const LOOPBACK: IpAddress = formatIp(Uint8Array.of(127, 0, 0, 1));

export type Behaviour = 'answers' | 'refuses' | 'hangs' | 'wrong-status';

export interface ProberHarness {
  readonly prober: Prober;
  /** A port on loopback where a target behaves so; HTTP where it answers. */
  target(behaviour: Behaviour): Promise<number>;
  advance(ms: number): Promise<void>;
  /** Time passes until it is so; fails if that takes far too long. */
  until(isSo: () => boolean): Promise<void>;
  close(): Promise<void>;
}

let number = 0;

/**
 * HTTP on `/`, status 200, every 200 ms with a deadline of 5 s, unless said otherwise: who answers does so at once, but
 * the machine may be busy.
 */
export function checkOf(
  port: number,
  what:
    | (Partial<HttpRequest> & { kind?: 'http' | 'https'; verify?: boolean })
    | { readonly kind: 'tcp' } = {},
  timing: Partial<Pick<Check['spec'], 'intervalMs' | 'timeoutMs' | 'warmupMs'>> = {},
): Check {
  return {
    id: checkId(`check-${++number}`),
    address: LOOPBACK,
    port,
    spec: {
      ...kindOf(what),
      intervalMs: 200,
      timeoutMs: 5_000,
      rise: 1,
      fall: 1,
      port: null,
      ...timing,
    },
  };
}

function kindOf(what: NonNullable<Parameters<typeof checkOf>[1]>) {
  if (what.kind === 'tcp') return { kind: 'tcp' } as const;
  const { kind = 'http', verify = false, ...request } = what;
  return httpKind(kind, request, verify);
}

/** Collects in the background until the signal ends it. */
export function collect(prober: Prober, signal: AbortSignal): Observation[] {
  const observations: Observation[] = [];
  const iterable = prober.observations(signal);
  void (async () => {
    for await (const batch of iterable) observations.push(...batch);
  })();
  return observations;
}

/** Results over which a gap is taken: how late each one was counts so much less. */
const OVER = 4;

/** Of the times between results. A machine that pauses moves a few of them, not this. */
export function usualGap(observations: readonly Observation[]): number {
  const gaps = observations
    .slice(OVER)
    .map(({ at }, n) => (at - (observations[n]?.at ?? at)) / OVER);
  return gaps.toSorted((a, b) => a - b)[Math.floor(gaps.length / 2)] ?? Number.NaN;
}

export function proberContract(name: string, create: () => Promise<ProberHarness>): void {
  describe(`prober contract: ${name}`, () => {
    let harness: ProberHarness;
    let end: AbortController;
    let seen: Observation[];
    const of = (check: Check): Observation[] => seen.filter((each) => each.check === check.id);
    beforeEach(async () => {
      harness = await create();
      end = new AbortController();
      seen = collect(harness.prober, end.signal);
    });
    afterEach(async () => {
      end.abort();
      await harness.prober.close();
      await harness.close();
    });

    test('reports what targets do, in human words', async () => {
      const up = checkOf(await harness.target('answers'));
      const refused = checkOf(await harness.target('refuses'));
      const hanging = checkOf(await harness.target('hangs'), {}, { timeoutMs: 150 });
      const wrong = checkOf(await harness.target('wrong-status'));
      const all = [up, refused, hanging, wrong];
      harness.prober.setChecks(all);
      await harness.until(() => all.every((check) => of(check).length > 1));
      expect(of(up).at(-1)).toMatchObject({ isUp: true, detail: 'HTTP status 200' });
      expect(of(refused).at(-1)).toMatchObject({ isUp: false, detail: 'connection refused' });
      expect(of(hanging)[0]).toMatchObject({ isUp: false, detail: 'no answer within 150 ms' });
      expect(of(wrong).at(-1)).toMatchObject({
        isUp: false,
        detail: 'HTTP status 503, wanted 200',
      });
      expect(of(hanging)[0]?.latencyMs).toBeGreaterThanOrEqual(149);
    });

    test('keeps the interval within its jitter, over many probes', async () => {
      const check = checkOf(await harness.target('answers'));
      harness.prober.setChecks([check]);
      await harness.until(() => of(check).length > 14);
      expect(usualGap(of(check))).toBeGreaterThan(175);
      expect(usualGap(of(check))).toBeLessThan(225);
    });

    test('a check that stays keeps its rhythm, one that goes is silent, a new one starts', async () => {
      const port = await harness.target('answers');
      const [goes, comes] = [checkOf(port), checkOf(port)];
      // One that started anew would begin within the minute.
      const stays = checkOf(port, {}, { warmupMs: 60_000 });
      harness.prober.setChecks([stays, goes]);
      harness.prober.probeSoon(stays.id);
      await harness.until(() => of(stays).length > 2 && of(goes).length > 2);
      harness.prober.setChecks([stays, comes]);
      const [goneCount, stayedCount] = [of(goes).length, of(stays).length];
      const isDone = (): boolean => of(stays).length > stayedCount + 8 && of(comes).length > 2;
      // Set again and again, each time as another object that says the same.
      for (let i = 0; i < 300 && !isDone(); i++) {
        harness.prober.setChecks([{ ...stays }, { ...comes }]);
        await harness.advance(70);
      }
      expect(isDone()).toBe(true);
      expect(of(goes)).toHaveLength(goneCount);
      expect(usualGap(of(stays))).toBeGreaterThan(175);
      expect(usualGap(of(stays))).toBeLessThan(225);
    });

    test('probeSoon probes without waiting for the interval, and unknown checks are ignored', async () => {
      const check = checkOf(await harness.target('answers'), {}, { intervalMs: 60_000 });
      harness.prober.setChecks([check]);
      await harness.advance(300);
      harness.prober.probeSoon(check.id);
      harness.prober.probeSoon(checkOf(1).id);
      await harness.until(() => of(check).length > 0);
      await harness.advance(300);
      // The random first moment lies within the minute: at most one more.
      expect([1, 2]).toContain(of(check).length);
      expect(of(check).at(-1)?.isUp).toBe(true);
    });

    test('reading ends with the signal, and with the prober', async () => {
      const own = new AbortController();
      const read = async (signal: AbortSignal): Promise<string> => {
        for await (const _ of harness.prober.observations(signal)) return 'heard';
        return 'ended';
      };
      const readings = [read(own.signal), read(end.signal)];
      own.abort();
      expect(await readings[0]).toBe('ended');
      await harness.prober.close();
      expect(await readings[1]).toBe('ended');
      expect(await read(new AbortController().signal)).toBe('ended');
    });
  });
}
