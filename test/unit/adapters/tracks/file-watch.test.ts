import { describe, expect, it } from 'vitest';
import { FileWatch } from '../../../../src/adapters/tracks/file-watch.ts';
import { parseNumber } from '../../../../src/adapters/programs/number-file.ts';
import type { FileTarget } from '../../../../src/adapters/tracks/track-protocol.ts';
import { FakeClock } from '../../../fakes/fake-clock.ts';

const target = (path: string): FileTarget => ({ id: path, kind: 'file', path });

class Bench {
  readonly clock = new FakeClock();
  readonly files = new Map<string, string>();
  /** Directories that can be watched, with who is to be called. */
  readonly watched = new Map<string, (name: string | null) => void>();
  canWatch = true;
  reads = 0;
  readonly seen: string[] = [];
  readonly watch = new FileWatch({
    clock: this.clock,
    read: (path) => {
      this.reads++;
      const text = this.files.get(path);
      if (text !== undefined) return parseNumber(text);
      return { number: null, detail: 'does not exist, counts as 0', isTorn: false };
    },
    watch: (directory, changed) => {
      if (!this.canWatch) return null;
      this.watched.set(directory, changed);
      return () => this.watched.delete(directory);
    },
    seen: (id, sight) =>
      this.seen.push(sight.kind === 'file' ? `${id} ${sight.number} ${sight.detail}` : id),
  });

  change(path: string, text: string): void {
    this.files.set(path, text);
    const slash = path.lastIndexOf('/');
    this.watched.get(path.slice(0, slash) || '/')?.(path.slice(slash + 1));
  }
}

describe('FileWatch', () => {
  it('tells the first look and every change, soon after it', async () => {
    const bench = new Bench();
    bench.watch.set([target('/run/a'), target('/run/b')]);
    await bench.clock.advance(1);
    bench.change('/run/a', '1');
    await bench.clock.advance(20);
    expect(bench.seen).toEqual([
      '/run/a null does not exist, counts as 0',
      '/run/b null does not exist, counts as 0',
      '/run/a 1 holds 1',
    ]);
    await bench.clock.advance(60_000);
    expect(bench.seen).toHaveLength(3);
  });

  it('sees a change that nobody told within a second, and watches anew', async () => {
    const bench = new Bench();
    bench.canWatch = false;
    bench.watch.set([target('/run/late/a')]);
    await bench.clock.advance(500);
    expect(bench.watched.size).toBe(0);
    bench.canWatch = true;
    bench.files.set('/run/late/a', '5');
    await bench.clock.advance(1_000);
    expect(bench.seen.at(-1)).toBe('/run/late/a 5 holds 5');
    expect([...bench.watched.keys()]).toEqual(['/run/late']);
    // The directory was replaced: its watch says nothing any more.
    const stale = bench.watched.get('/run/late');
    bench.files.set('/run/late/a', '6');
    await bench.clock.advance(1_000);
    expect(bench.seen.at(-1)).toBe('/run/late/a 6 holds 6');
    expect(bench.watched.get('/run/late')).not.toBe(stale);
  });

  it('waits for a file that is being written', async () => {
    const bench = new Bench();
    bench.files.set('/run/a', '1');
    bench.watch.set([target('/run/a')]);
    await bench.clock.advance(1);
    bench.change('/run/a', '');
    await bench.clock.advance(30);
    bench.change('/run/a', '1\n');
    await bench.clock.advance(2_000);
    expect(bench.seen).toEqual(['/run/a 1 holds 1']);
    bench.change('/run/a', '');
    await bench.clock.advance(130);
    expect(bench.seen.at(-1)).toBe('/run/a null is empty, counts as 0');
  });

  it('is not worn out by a busy directory', async () => {
    const bench = new Bench();
    bench.watch.set([target('/run/a')]);
    await bench.clock.advance(1);
    const before = bench.reads;
    for (let n = 0; n < 1_000; n++) {
      bench.change('/run/other', String(n));
      bench.change('/run/a', '4');
    }
    await bench.clock.advance(100);
    expect(bench.reads - before).toBe(1);
    // A file system that does not say which file it was.
    bench.files.set('/run/a', '9');
    bench.watched.get('/run')?.(null);
    await bench.clock.advance(100);
    expect(bench.seen.at(-1)).toBe('/run/a 9 holds 9');
  });

  it('rests without targets, and lets go of directories', async () => {
    const bench = new Bench();
    bench.watch.set([target('/run/a'), target('/etc/b'), target('/top')]);
    await bench.clock.advance(1);
    expect([...bench.watched.keys()].toSorted()).toEqual(['/', '/etc', '/run']);
    bench.watch.set([target('/run/a')]);
    expect([...bench.watched.keys()]).toEqual(['/run']);
    bench.watch.set([]);
    expect([bench.watched.size, bench.clock.pending]).toEqual([0, 0]);
  });
});
