/** What every GatewayPing does, the fake of the simulator included. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type IpAddress, parseIp } from '../../src/model/address.ts';
import type { GatewayAnswer, GatewayRequest } from '../../src/ports/gateway.ts';

export type TimedAnswer = GatewayAnswer & {
  /** From the question to the answer. */
  readonly ms: number;
};

/** The director has 10.90.0.11 and fd90::11; the targets below answer or are silent. */
export interface GatewayHarness {
  readonly source: GatewayRequest['source'];
  ask(request: GatewayRequest, abortAfterMs?: number): Promise<TimedAnswer>;
  /** Longest time that an answer takes which waits for nobody any more. */
  readonly promptMs: number;
  setTarget(target: IpAddress, state: 'answering' | 'silent'): Promise<void>;
  close(): Promise<void>;
}

export const ip = (text: string): IpAddress => {
  const parsed = parseIp(text);
  if (!parsed.ok) throw new Error(parsed.error);
  return parsed.value;
};

export const NEAR_4 = ip('10.90.0.1');
export const NEAR_6 = ip('fd90::1');
export const FAR_4 = ip('192.0.2.1');
/** What waits for nobody any more ends far sooner, on a machine that pauses, too. */
const LONG_MS = 10_000;

export function gatewayContract(name: string, create: () => Promise<GatewayHarness>): void {
  describe(`gateway contract: ${name}`, () => {
    let harness: GatewayHarness;
    beforeAll(async () => {
      harness = await create();
    });
    afterAll(() => harness.close());

    const ask = (
      targets: readonly IpAddress[],
      more: Partial<GatewayRequest> = {},
      abortAfterMs?: number,
    ): Promise<TimedAnswer> =>
      harness.ask(
        { targets, mode: 'any', timeoutMs: LONG_MS, source: harness.source, ...more },
        abortAfterMs,
      );
    const namesOf = (answer: GatewayAnswer): readonly IpAddress[] =>
      answer.unanswered.map(({ target }) => target);

    test('one target that answers is enough for any, and ends the wait', async () => {
      await harness.setTarget(FAR_4, 'silent');
      for (const target of [NEAR_4, NEAR_6]) {
        const answer = await ask([FAR_4, target]);
        expect(answer).toMatchObject({ isReachable: true, answered: [target] });
        expect(namesOf(answer)).toEqual([FAR_4]);
        expect(answer.ms).toBeLessThan(harness.promptMs);
      }
      await harness.setTarget(FAR_4, 'answering');
    });

    test('all must answer for all, of both families and behind a router', async () => {
      const targets = [NEAR_4, NEAR_6, FAR_4];
      const answer = await ask(targets, { mode: 'all' });
      expect(answer.isReachable).toBe(true);
      expect(answer.answered.toSorted()).toEqual(targets.toSorted());
      expect(answer.unanswered).toEqual([]);
      expect(answer.ms).toBeLessThan(harness.promptMs);
    });

    test('one that is silent spoils all, at the end of the time', async () => {
      await harness.setTarget(FAR_4, 'silent');
      const answer = await ask([NEAR_4, FAR_4], { mode: 'all', timeoutMs: 200 });
      expect(answer).toMatchObject({ isReachable: false, answered: [NEAR_4] });
      expect(namesOf(answer)).toEqual([FAR_4]);
      expect(answer.unanswered[0]?.reason).not.toBe('');
      expect(answer.ms).toBeGreaterThanOrEqual(199);
      expect(answer.ms).toBeLessThan(200 + harness.promptMs);
      await harness.setTarget(FAR_4, 'answering');
    });

    test('what was silent is heard when it is back', async () => {
      for (const target of [NEAR_4, NEAR_6]) {
        await harness.setTarget(target, 'silent');
        expect((await ask([target], { timeoutMs: 100 })).isReachable).toBe(false);
        await harness.setTarget(target, 'answering');
        expect((await ask([target])).isReachable).toBe(true);
      }
    });

    test('several questions at the same time each get their answer', async () => {
      await harness.setTarget(FAR_4, 'silent');
      const answers = await Promise.all([
        ask([NEAR_4]),
        ask([FAR_4], { timeoutMs: 150 }),
        ask([NEAR_4, NEAR_6], { mode: 'all' }),
        ask([NEAR_4]),
      ]);
      expect(answers.map(({ isReachable }) => isReachable)).toEqual([true, false, true, true]);
      await harness.setTarget(FAR_4, 'answering');
    });

    test('a family without a source has no answers, and without targets there is nobody', async () => {
      const source = { ...harness.source, 6: null };
      expect((await ask([NEAR_6], { source, timeoutMs: 100 })).isReachable).toBe(false);
      const all = await ask([NEAR_4, NEAR_6], { source, timeoutMs: 100, mode: 'all' });
      expect(all).toMatchObject({ isReachable: false, answered: [NEAR_4] });
      for (const mode of ['any', 'all'] as const)
        expect((await ask([], { mode })).isReachable).toBe(false);
    });

    test('a question that is taken back ends at once', async () => {
      await harness.setTarget(FAR_4, 'silent');
      const answer = await ask([FAR_4], {}, 50);
      expect(answer.isReachable).toBe(false);
      expect(answer.ms).toBeLessThan(harness.promptMs);
      await harness.setTarget(FAR_4, 'answering');
    });
  });
}
