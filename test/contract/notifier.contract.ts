/** What every Notifier does, the fake of the simulator included. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Notifier, NotifyJob } from '../../src/ports/notifier.ts';

/** What a program of the harness does when it is run. */
export type Behaviour = 'succeed' | 'fail' | 'hang';

export interface NotifierHarness {
  readonly notifier: Notifier;
  command(behaviour: Behaviour): readonly string[];
  /** A place for a pipe that does not exist yet. */
  readonly fifo: string;
  settle<T>(promise: Promise<T>): Promise<T>;
  /** Milliseconds, any zero. */
  now(): number;
  close(): Promise<void>;
}

export function notifierContract(name: string, create: () => Promise<NotifierHarness>): void {
  describe(`notifier contract: ${name}`, () => {
    let harness: NotifierHarness;
    const never = new AbortController().signal;
    beforeEach(async () => {
      harness = await create();
    });
    afterEach(() => harness.close());

    const jobOf = (behaviour: Behaviour, timeoutMs = 20_000): NotifyJob => ({
      command: harness.command(behaviour),
      environment: { LEASEHOLD_STATE: 'MASTER' },
      user: null,
      timeoutMs,
    });

    test('tells how a program ended', async () => {
      const { notifier } = harness;
      expect(await harness.settle(notifier.run(jobOf('succeed'), never))).toEqual({ kind: 'ok' });
      expect(await harness.settle(notifier.run(jobOf('fail'), never))).toMatchObject({
        kind: 'failed',
        message: 'exit code 3',
        output: 'no such bridge\n',
      });
    });

    test('ends a program that hangs at its timeout', async () => {
      const startedAt = harness.now();
      const result = await harness.settle(harness.notifier.run(jobOf('hang', 300), never));
      expect(result).toEqual({ kind: 'timed-out' });
      expect(harness.now() - startedAt).toBeGreaterThanOrEqual(299);
      // Its thread has to start first; without the timeout it would be ten minutes.
      expect(harness.now() - startedAt).toBeLessThan(15_000);
    });

    test('ends a program when it is told to, and starts none after that', async () => {
      const end = new AbortController();
      const running = harness.notifier.run(jobOf('hang'), end.signal);
      end.abort();
      expect((await harness.settle(running)).kind).toBe('failed');
      const late = harness.notifier.run(jobOf('succeed'), end.signal);
      expect((await harness.settle(late)).kind).toBe('failed');
    });

    test('runs programs beside each other', async () => {
      const end = new AbortController();
      const hanging = harness.notifier.run(jobOf('hang'), end.signal);
      const other = harness.notifier.run(jobOf('succeed'), never);
      expect(await harness.settle(other)).toEqual({ kind: 'ok' });
      end.abort();
      await harness.settle(hanging);
    });

    test('takes lines for a pipe, read or not', async () => {
      const write = { path: harness.fifo, line: 'INSTANCE "web" MASTER 150\n', user: null };
      const result = await harness.settle(harness.notifier.writeFifo(write));
      expect(['written', 'no-reader']).toContain(result.kind);
    });

    test('ends what runs when it is closed, and takes nothing more', async () => {
      const running = harness.notifier.run(jobOf('hang'), never);
      await harness.settle(harness.notifier.close());
      await harness.notifier.close();
      expect((await harness.settle(running)).kind).toBe('failed');
      const late = harness.notifier.run(jobOf('succeed'), never);
      expect((await harness.settle(late)).kind).toBe('failed');
    });
  });
}
