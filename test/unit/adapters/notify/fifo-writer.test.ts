/** Real pipes in a temporary directory; nothing here waits. */
import {
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { FifoWriter, OPEN_PIPES_MAX } from '../../../../src/adapters/notify/fifo-writer.ts';

let directory: string;
let writer: FifoWriter;
let readers: number[];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'leasehold-fifo-'));
  writer = new FifoWriter();
  readers = [];
});
afterEach(() => {
  writer.close();
  for (const fd of readers) closeSync(fd);
  rmSync(directory, { recursive: true });
});

const pathOf = (name = 'notify'): string => join(directory, name);
const write = (line: string, name = 'notify') =>
  writer.write({ path: pathOf(name), line, user: null });
/** Open for reading without waiting for a writer. */
function openReader(name = 'notify'): number {
  const fd = openSync(pathOf(name), constants.O_RDONLY | constants.O_NONBLOCK);
  readers.push(fd);
  return fd;
}
/** What waits in the pipe; null: every writer has gone, which a reader sees as the end. */
function readFrom(fd: number): string | null {
  const buffer = Buffer.alloc(65_536);
  try {
    const length = readSync(fd, buffer);
    return length === 0 ? null : buffer.toString('utf8', 0, length);
  } catch (error) {
    expect(error).toMatchObject({ code: 'EAGAIN' });
    return '';
  }
}

describe('a pipe that nobody reads', () => {
  test('is made, for its owner only, and is no failure', () => {
    expect(write('one\n')).toEqual({ kind: 'no-reader' });
    const status = statSync(pathOf());
    expect(status.isFIFO()).toBe(true);
    expect(status.mode & 0o777).toBe(0o600);
    expect(write('two\n')).toEqual({ kind: 'no-reader' });
  });

  test('keeps nothing for a later reader', () => {
    write('one\n');
    const reader = openReader();
    expect(readFrom(reader)).toBe(null);
    expect(write('two\n')).toEqual({ kind: 'written' });
    expect(readFrom(reader)).toBe('two\n');
  });
});

describe('a pipe that is read', () => {
  test('has every line in order, and no end between them', () => {
    write('none\n');
    const reader = openReader();
    for (const line of ['one\n', 'two\n', 'three\n'])
      expect(write(line)).toEqual({ kind: 'written' });
    expect(readFrom(reader)).toBe('one\ntwo\nthree\n');
    expect(readFrom(reader)).toBe('');
  });

  test('may lose its reader and get another', () => {
    write('none\n');
    const first = openReader();
    write('one\n');
    readers.length = 0;
    closeSync(first);
    expect(write('two\n')).toEqual({ kind: 'no-reader' });
    const second = openReader();
    expect(write('three\n')).toEqual({ kind: 'written' });
    expect(readFrom(second)).toBe('three\n');
  });

  test('may be replaced by another of its name while nobody reads', () => {
    write('none\n');
    const first = openReader();
    write('one\n');
    renameSync(pathOf(), pathOf('old'));
    readers.length = 0;
    closeSync(first);
    expect(write('two\n')).toEqual({ kind: 'no-reader' });
    const reader = openReader();
    expect(write('three\n')).toEqual({ kind: 'written' });
    expect(readFrom(reader)).toBe('three\n');
  });

  test('that is full is told, not waited for', () => {
    write('none\n');
    openReader();
    const line = `${'x'.repeat(4_000)}\n`;
    const results = Array.from({ length: 30 }, () => write(line).kind);
    expect(results[0]).toBe('written');
    expect(results.at(-1)).toBe('failed');
    expect(write(line)).toMatchObject({ message: expect.stringContaining('is full') });
  });
});

describe('what is no pipe', () => {
  test('is never written to', () => {
    writeFileSync(pathOf(), 'precious');
    expect(write('one\n')).toMatchObject({
      kind: 'failed',
      message: expect.stringContaining('is no named pipe'),
    });
    expect(statSync(pathOf()).size).toBe(8);
  });

  test('and cannot be made, is told with the reason', () => {
    expect(write('one\n', 'missing/notify')).toEqual({
      kind: 'failed',
      message: `${pathOf('missing/notify')} cannot be made: ENOENT`,
    });
    const user = 'nobody-of-this-name';
    const unknown = writer.write({ path: pathOf(), line: 'one\n', user });
    expect(unknown).toMatchObject({ message: expect.stringContaining(user) });
    expect(statSync(pathOf(), { throwIfNoEntry: false })).toBe(undefined);
  });
});

// A throw would end the thread that runs the programs of all groups.
test.each([
  ['file/notify', 'ENOTDIR'],
  ['loop', 'ELOOP'],
  ['x'.repeat(300), 'ENAMETOOLONG'],
])('a path that cannot be looked at is told with the reason: %s', (name, reason) => {
  writeFileSync(pathOf('file'), '');
  symlinkSync('loop', pathOf('loop'));
  expect(write('one\n', name)).toMatchObject({
    kind: 'failed',
    // Where a part of the path is no directory newer versions of Node say "not there", and mkfifo(3) fails.
    message: expect.stringMatching(`^(${reason}: .*${name}'|.*${name} cannot be made: ${reason})$`),
  });
});

test('open pipes are bounded, and one that was closed for it works on', () => {
  const names = Array.from({ length: OPEN_PIPES_MAX + 1 }, (_, n) => `p${n}`);
  for (const name of names) {
    write('none\n', name);
    openReader(name);
    expect(write('one\n', name)).toEqual({ kind: 'written' });
  }
  expect(readFrom(readers[0] ?? -1)).toBe('one\n');
  expect(readFrom(readers[0] ?? -1)).toBe(null);
  expect(write('two\n', 'p0')).toEqual({ kind: 'written' });
  expect(readFrom(readers[0] ?? -1)).toBe('two\n');
});
