/** What every tracker must do, the fake as well as the one with threads, programs and files. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { TrackObservation, TrackTarget } from '../../src/model/track.ts';
import type { Tracker } from '../../src/ports/tracker.ts';

export type ScriptBehaviour = 'passes' | 'fails' | 'hangs' | 'missing';

export type TrackerWorld = {
  readonly tracker: Tracker;
  /** A command that behaves so. */
  readonly command: (behaviour: ScriptBehaviour) => readonly string[];
  /** A name or path that no process has yet, and what starts and ends one of it. */
  readonly process: () => { readonly name: string; start(): Promise<void>; end(): Promise<void> };
  /** A path where nothing is yet. */
  readonly path: () => string;
  /** Null removes the file. */
  readonly write: (path: string, text: string | null) => void;
  readonly advance: (ms: number) => Promise<void>;
  readonly close: () => Promise<void>;
};

let targets = 0;
export const scriptTarget = (
  command: readonly string[],
  changes: Partial<TrackTarget & { kind: 'script' }> = {},
): TrackTarget => ({
  id: `target-${targets++}`,
  kind: 'script',
  command,
  intervalMs: 200,
  // Long enough for a busy machine.
  timeoutMs: 5_000,
  user: null,
  ...changes,
});
export const processTarget = (process: string, quorum = 1): TrackTarget => ({
  id: `target-${targets++}`,
  kind: 'process',
  process,
  quorum,
});
export const fileTarget = (path: string): TrackTarget => ({
  id: `target-${targets++}`,
  kind: 'file',
  path,
});

/** What arrives, for as long as the signal lets it. */
export function collect(tracker: Tracker, signal: AbortSignal): TrackObservation[] {
  const seen: TrackObservation[] = [];
  const read = async (): Promise<void> => {
    for await (const batch of tracker.observations(signal)) seen.push(...batch);
  };
  void read();
  return seen;
}

export const wordsOf = ({ sight }: TrackObservation): string => {
  if (sight.kind === 'script') return `${sight.isPassing ? 'passes' : 'fails'}: ${sight.detail}`;
  return sight.kind === 'process' ? String(sight.count) : String(sight.number);
};

export function trackerContract(name: string, create: () => Promise<TrackerWorld>): void {
  describe(`tracker: ${name}`, () => {
    let world: TrackerWorld;
    let seen: TrackObservation[];
    let end: AbortController;
    beforeEach(async () => {
      world = await create();
      end = new AbortController();
      seen = collect(world.tracker, end.signal);
    });
    afterEach(async () => {
      end.abort();
      await world.tracker.close();
      await world.close();
    });
    const of = (target: TrackTarget): string[] =>
      seen.filter((each) => each.target === target.id).map(wordsOf);
    /** Waits until the condition holds; the limit is for a busy machine. */
    const until = async (condition: () => boolean, limitMs = 20_000): Promise<void> => {
      for (let spent = 0; spent < limitMs && !condition(); spent += 20) await world.advance(20);
      expect(condition()).toBe(true);
    };

    test('scripts run again and again, and each run is told', async () => {
      const { tracker, command } = world;
      const passes = scriptTarget(command('passes'));
      const fails = scriptTarget(command('fails'));
      const missing = scriptTarget(command('missing'));
      tracker.setTargets([passes, fails, missing]);
      await until(() => [passes, fails, missing].every((target) => of(target).length >= 3));
      expect(new Set(of(passes))).toEqual(new Set(['passes: exit code 0']));
      expect(new Set(of(fails))).toEqual(new Set(['fails: exit code 3: not well']));
      for (const words of of(missing)) expect(words).toMatch(/^fails: .* does not exist/);
    });

    test('a script that hangs fails at its timeout, each time', async () => {
      const hangs = scriptTarget(world.command('hangs'), { timeoutMs: 150 });
      world.tracker.setTargets([hangs]);
      await until(() => of(hangs).length >= 2);
      expect(of(hangs)[0]).toBe('fails: no end within 150 ms');
    });

    test('a process is seen to come and to go', async () => {
      const process = world.process();
      const target = processTarget(process.name);
      const none = processTarget('no-such-name');
      world.tracker.setTargets([target, none]);
      await until(() => of(target).length >= 1);
      await process.start();
      await until(() => of(target).at(-1) === '1');
      await process.end();
      await until(() => of(target).at(-1) === '0');
      expect(of(target)).toEqual(['0', '1', '0']);
      expect(of(none)).toEqual(['0']);
    });

    test('a file is followed, and without a number it says why', async () => {
      const path = world.path();
      const target = fileTarget(path);
      world.tracker.setTargets([target]);
      await until(() => of(target).length >= 1);
      world.write(path, '5\n');
      await until(() => of(target).at(-1) === '5');
      world.write(path, 'maintenance');
      await until(() => of(target).at(-1) === 'null');
      world.write(path, '-2');
      await until(() => of(target).at(-1) === '-2');
      world.write(path, null);
      await until(() => of(target).length >= 5);
      expect(of(target)).toEqual(['null', '5', 'null', '-2', 'null']);
      const details = seen.map(({ sight }) => (sight.kind === 'file' ? sight.detail : ''));
      expect(details).toEqual([
        'does not exist, counts as 0',
        'holds 5',
        'holds no integer, counts as 0',
        'holds -2',
        'does not exist, counts as 0',
      ]);
    });

    test('a new reader first gets what is known', async () => {
      const path = world.path();
      world.write(path, '7');
      const file = fileTarget(path);
      const script = scriptTarget(world.command('passes'), { intervalMs: 60_000 });
      world.tracker.setTargets([file, script]);
      await until(() => of(file).length === 1 && of(script).length === 1);
      const late = collect(world.tracker, end.signal);
      await world.advance(20);
      expect(late.map(wordsOf).toSorted()).toEqual(['7', 'passes: exit code 0']);
    });

    test('what is no target any more is not told, and may come back', async () => {
      const path = world.path();
      world.write(path, '7');
      const [file, script] = [fileTarget(path), scriptTarget(world.command('passes'))];
      world.tracker.setTargets([file, script]);
      await until(() => of(file).length === 1 && of(script).length > 1);
      world.tracker.setTargets([]);
      const before = seen.length;
      await world.advance(1_500);
      expect(seen).toHaveLength(before);
      const late = collect(world.tracker, end.signal);
      await world.advance(50);
      expect(late).toEqual([]);
      world.tracker.setTargets([file, script]);
      await until(() => of(file).length === 2 && seen.length > before + 2);
    });

    test('a target that stays is not disturbed by others that come', async () => {
      // A new start each time would end it before its time is over: nothing of it would ever be told.
      const script = scriptTarget(world.command('hangs'), { timeoutMs: 300 });
      world.tracker.setTargets([script]);
      for (let n = 0; n < 200 && of(script).length < 2; n++) {
        world.tracker.setTargets([script, fileTarget(world.path())]);
        await world.advance(50);
      }
      expect(of(script).length).toBeGreaterThanOrEqual(2);
    });

    test('the end ends the readers, and all is silent after', async () => {
      const script = scriptTarget(world.command('passes'));
      world.tracker.setTargets([script]);
      await until(() => of(script).length > 0);
      await world.tracker.close();
      await world.tracker.close();
      const before = seen.length;
      world.tracker.setTargets([script]);
      await world.advance(500);
      expect(seen).toHaveLength(before);
      for await (const _ of world.tracker.observations(new AbortController().signal))
        expect.fail('heard');
    });
  });
}
