/** The log's way out: in order, whole, and no harm to the process where nobody reads or the disk is full. */
import {
  constants as fs,
  closeSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  write,
} from 'node:fs';
import { execFileSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createLineOutput, WAITING_BYTES_MAX } from '../../../../src/adapters/pino/line-output.ts';
import { FakeClock } from '../../../fakes/fake-clock.ts';

let directory: string;
const open: number[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'leasehold-log-'));
});

afterEach(() => {
  for (const fd of open.splice(0)) closeSync(fd);
  rmSync(directory, { recursive: true });
});

function opened(path: string, flags: number | string): number {
  const fd = openSync(path, flags);
  open.push(fd);
  return fd;
}

function rig(fd: number) {
  const clock = new FakeClock();
  const lost: number[] = [];
  return {
    clock,
    lost,
    output: createLineOutput(fd, { clock, lost: (lines) => lost.push(lines) }),
  };
}

/** A pipe with both ends, of which neither waits. */
function pipe(): { readonly reader: number; readonly writer: number } {
  const path = join(directory, 'pipe');
  execFileSync('mkfifo', [path]);
  const reader = opened(path, fs.O_RDONLY | fs.O_NONBLOCK);
  return { reader, writer: opened(path, fs.O_WRONLY | fs.O_NONBLOCK) };
}

function read(fd: number): string {
  const parts: string[] = [];
  const buffer = Buffer.alloc(1 << 16);
  try {
    for (let n = 1; n > 0; ) {
      n = readSync(fd, buffer);
      parts.push(buffer.toString('utf8', 0, n));
    }
  } catch {
    // Nothing more by now.
  }
  return parts.join('');
}

const PATIENCE = { timeout: 10_000, interval: 5 };
const LINE = `${'x'.repeat(1023)}\n`;

describe('lines', () => {
  it('arrive in order, also those that come while others are written', async () => {
    const path = join(directory, 'log');
    const { output } = rig(opened(path, 'w'));
    for (const line of ['one\n', 'two\n', 'three ä\n']) output.write(line);
    const whole = 'one\ntwo\nthree ä\n';
    await vi.waitFor(() => expect(readFileSync(path, 'utf8')).toBe(whole), PATIENCE);
  });

  it('wait for a slow reader, and none is torn or lost', async () => {
    const { reader, writer } = pipe();
    const { clock, output, lost } = rig(writer);
    const count = 200;
    for (let i = 0; i < count; i++) output.write(`${i} ${LINE}`);
    let text = '';
    await vi.waitFor(async () => {
      text += read(reader);
      await clock.advance(100);
      expect(text.split('\n')).toHaveLength(count + 1);
    }, PATIENCE);
    expect(text).toBe(Array.from({ length: count }, (_, i) => `${i} ${LINE}`).join(''));
    expect(lost).toEqual([]);
  });

  it('are lost beyond a bound, which is told when lines can be written again', async () => {
    const { reader, writer } = pipe();
    const { clock, output, lost } = rig(writer);
    const count = WAITING_BYTES_MAX / LINE.length;
    for (let i = 0; i < count + 5; i++) output.write(LINE);
    let bytes = 0;
    await vi.waitFor(async () => {
      bytes += read(reader).length;
      await clock.advance(100);
      expect(bytes).toBe(WAITING_BYTES_MAX);
    }, PATIENCE);
    expect(lost).toEqual([5]);
  });

  it('go nowhere once the reader has gone, and harm nobody', async () => {
    const { reader, writer } = pipe();
    const { output } = rig(writer);
    open.splice(open.indexOf(reader), 1);
    closeSync(reader);
    output.write(LINE);
    await new Promise(setImmediate);
    output.write(LINE);
    output.flush();
  });
});

describe('a disk that is full', () => {
  it('ends nothing, is tried again for a while, and keeps no timer after that', async () => {
    const full = opened('/dev/full', 'w');
    const { clock, output } = rig(full);
    const errors: unknown[] = [];
    const note = (error: unknown): void => void errors.push(error);
    process.on('uncaughtException', note);
    output.write(LINE);
    await vi.waitFor(async () => {
      await clock.advance(100);
      expect(clock.fired).toBe(20);
    }, PATIENCE);
    // What is asked for behind its last write ends behind it.
    for (let i = 0; i < 10; i++)
      await new Promise<void>((resolve) => write(full, LINE, () => resolve()));
    await clock.advance(10_000);
    expect(clock.fired).toBe(20);
    process.off('uncaughtException', note);
    expect(errors).toEqual([]);
  });

  it('does not keep the process from its end', () => {
    const { output } = rig(opened('/dev/full', 'w'));
    output.write(LINE);
    output.write(LINE);
    output.flush();
  });
});

describe('at the end', () => {
  it('what waits is written at once', () => {
    const { reader, writer } = pipe();
    const { output } = rig(writer);
    output.write('one\n');
    output.write('two\n');
    output.flush();
    expect(read(reader)).toContain('two\n');
  });

  it('a reader that does not read is not waited for', () => {
    const { writer } = pipe();
    const { output } = rig(writer);
    for (let i = 0; i < 200; i++) output.write(LINE);
    output.flush();
  });
});
