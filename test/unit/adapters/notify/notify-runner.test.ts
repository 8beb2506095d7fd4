import { beforeEach, describe, expect, test } from 'vitest';
import type { FromNotifyWorker } from '../../../../src/adapters/notify/notify-protocol.ts';
import { NotifyRunner } from '../../../../src/adapters/notify/notify-runner.ts';
import type { ProgramResult } from '../../../../src/adapters/programs/run-program.ts';
import type { NotifyJob } from '../../../../src/ports/notifier.ts';
import { FakeClock } from '../../../fakes/fake-clock.ts';

/** A program whose result and end are told by the test. */
type Started = {
  readonly name: string;
  isKilled: boolean;
  end(result: ProgramResult): void;
  go(): void;
};

const job = (name: string): NotifyJob => ({
  command: [name],
  environment: {},
  user: null,
  timeoutMs: 1_000,
});
const OK: ProgramResult = { kind: 'exited', code: 0, output: 'noise' };

let clock: FakeClock;
let runner: NotifyRunner;
let started: Started[];
let posted: FromNotifyWorker[];
let isFifoClosed: boolean;

beforeEach(() => {
  clock = new FakeClock();
  started = [];
  posted = [];
  isFifoClosed = false;
  runner = new NotifyRunner(
    { maxConcurrent: 2 },
    {
      clock,
      start: ({ command: [name = ''] }) => {
        let end: Started['end'] = () => {};
        let go = (): void => {};
        const result = new Promise<ProgramResult>((resolve) => {
          end = resolve;
        });
        const gone = new Promise<void>((resolve) => {
          go = resolve;
        });
        const program: Started = { name, isKilled: false, end, go: () => go() };
        started.push(program);
        const kill = (): void => {
          program.isKilled = true;
          end({ kind: 'failed', message: 'ended by leasehold' });
        };
        return { result, gone, kill };
      },
      fifos: {
        write: ({ line }) => ({ kind: line === '' ? 'no-reader' : 'written' }),
        close: () => {
          isFifoClosed = true;
        },
      },
      post: (message) => posted.push(message),
    },
  );
});

const run = (id: number): void => runner.handle({ kind: 'run', id, job: job(`p${id}`) });
const names = (): readonly string[] => started.map(({ name }) => name);

describe('programs', () => {
  test('run beside each other up to the limit, the rest in their order', async () => {
    for (const id of [1, 2, 3, 4]) run(id);
    expect(names()).toEqual(['p1', 'p2']);
    started[1]?.end(OK);
    started[1]?.go();
    await clock.drain();
    expect(names()).toEqual(['p1', 'p2', 'p3']);
    expect(posted).toEqual([{ kind: 'ran', id: 2, result: { kind: 'ok' } }]);
  });

  test('are told when they have gone, not before: the next must not meet the last', async () => {
    run(1);
    started[0]?.end({ kind: 'timed-out' });
    await clock.advance(500);
    expect(posted).toEqual([]);
    started[0]?.go();
    await clock.drain();
    expect(posted).toEqual([{ kind: 'ran', id: 1, result: { kind: 'timed-out' } }]);
    expect(clock.pending).toBe(0);
  });

  test('that cannot be killed do not hold their place for ever', async () => {
    for (const id of [1, 2, 3]) run(id);
    for (const each of started) each.end({ kind: 'timed-out' });
    await clock.advance(5_000);
    expect(names()).toEqual(['p1', 'p2', 'p3']);
    expect(posted).toHaveLength(2);
  });

  test('are told with what they said when they fail', async () => {
    for (const id of [1, 2]) run(id);
    started[0]?.end({ kind: 'exited', code: 3, output: 'no bridge' });
    started[1]?.end({ kind: 'failed', message: '/n does not exist' });
    for (const each of started) each.go();
    await clock.drain();
    expect(posted).toMatchObject([
      { id: 1, result: { kind: 'failed', message: 'exit code 3', output: 'no bridge' } },
      { id: 2, result: { kind: 'failed', message: '/n does not exist', output: '' } },
    ]);
  });

  test('are killed when asked, also before their turn', async () => {
    for (const id of [1, 2, 3]) run(id);
    runner.handle({ kind: 'kill', id: 3 });
    runner.handle({ kind: 'kill', id: 1 });
    runner.handle({ kind: 'kill', id: 99 });
    expect(posted).toMatchObject([{ id: 3, result: { message: 'not started in time' } }]);
    expect(started.map(({ isKilled }) => isKilled)).toEqual([true, false]);
  });
});

test('lines are answered in the order they came', () => {
  for (const [id, line] of ['one\n', '', 'two\n'].entries())
    runner.handle({ kind: 'write', id, write: { path: '/p', line, user: null } });
  expect(posted).toMatchObject([
    { kind: 'wrote', id: 0, result: { kind: 'written' } },
    { kind: 'wrote', id: 1, result: { kind: 'no-reader' } },
    { kind: 'wrote', id: 2, result: { kind: 'written' } },
  ]);
});

test('the end kills what runs, starts nothing more, and is told when all have gone', async () => {
  for (const id of [1, 2, 3]) run(id);
  runner.handle({ kind: 'close' });
  expect(started.map(({ isKilled }) => isKilled)).toEqual([true, true]);
  for (const each of started) each.go();
  await clock.drain();
  expect(names()).toEqual(['p1', 'p2']);
  expect(posted.at(-1)).toEqual({ kind: 'closed' });
  expect(isFifoClosed).toBe(true);
});
