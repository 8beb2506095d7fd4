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
  close(): Promise<void>;
}

let number = 0;

/** HTTP on `/`, status 200, every 200 ms with a deadline of 150 ms, unless said otherwise. */
export function checkOf(
  port: number,
  what:
    | (Partial<HttpRequest> & { kind?: 'http' | 'https'; verify?: boolean })
    | { readonly kind: 'tcp' } = {},
  timing: { readonly intervalMs?: number; readonly timeoutMs?: number } = {},
): Check {
  return {
    id: checkId(`check-${++number}`),
    address: LOOPBACK,
    port,
    spec: {
      ...kindOf(what),
      intervalMs: 200,
      timeoutMs: 150,
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
      const hanging = checkOf(await harness.target('hangs'));
      const wrong = checkOf(await harness.target('wrong-status'));
      harness.prober.setChecks([up, refused, hanging, wrong]);
      await harness.advance(1_200);
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
      await harness.advance(3_000);
      const count = of(check).length;
      const first = of(check)[0]?.at ?? 0;
      const last = of(check).at(-1)?.at ?? 0;
      expect(count).toBeGreaterThanOrEqual(10);
      expect((last - first) / (count - 1)).toBeGreaterThan(175);
      expect((last - first) / (count - 1)).toBeLessThan(225);
    });

    test('a check that stays keeps its rhythm, one that goes is silent, a new one starts', async () => {
      const port = await harness.target('answers');
      const [stays, goes, comes] = [checkOf(port), checkOf(port), checkOf(port)];
      harness.prober.setChecks([stays, goes]);
      await harness.advance(1_000);
      for (let i = 0; i < 10; i++) {
        // Set again and again: a rhythm that started anew each time would starve.
        harness.prober.setChecks([stays, comes]);
        await harness.advance(100);
      }
      const goneCount = of(goes).length;
      await harness.advance(500);
      expect(of(goes)).toHaveLength(goneCount);
      expect(of(comes).length).toBeGreaterThan(2);
      const gaps = of(stays).map((each, i) => each.at - (of(stays)[i - 1]?.at ?? each.at));
      expect(Math.max(...gaps)).toBeLessThan(380);
    });

    test('probeSoon probes without waiting for the interval, and unknown checks are ignored', async () => {
      const check = checkOf(await harness.target('answers'), {}, { intervalMs: 60_000 });
      harness.prober.setChecks([check]);
      await harness.advance(300);
      harness.prober.probeSoon(check.id);
      harness.prober.probeSoon(checkOf(1).id);
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
