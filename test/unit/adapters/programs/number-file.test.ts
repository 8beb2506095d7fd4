import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { parseNumber, readNumber } from '../../../../src/adapters/programs/number-file.ts';

const directory = mkdtempSync(join(tmpdir(), 'leasehold-number-'));
afterAll(() => rmSync(directory, { recursive: true }));

const write = (name: string, text: string): string => {
  const path = join(directory, name);
  writeFileSync(path, text);
  return path;
};

describe('parseNumber', () => {
  it.each([
    ['0', 0],
    ['-0', 0],
    [' 12\n', 12],
    ['+7', 7],
    ['-254\n\n', -254],
    ['007', 7],
    ['2147483647', 2_147_483_647],
    ['-2147483647', -2_147_483_647],
  ])('reads %j as %i', (text, number) => {
    expect(parseNumber(text)).toEqual({ number, detail: `holds ${number}`, isTorn: false });
  });

  it.each([
    ['', 'is empty, counts as 0'],
    [' \n', 'is empty, counts as 0'],
    ['yes', 'holds no integer, counts as 0'],
    ['1.5', 'holds no integer, counts as 0'],
    ['1 2', 'holds no integer, counts as 0'],
    ['0x10', 'holds no integer, counts as 0'],
    ['1\0', 'holds no integer, counts as 0'],
    ['2147483648', 'holds a number beyond ±2147483647, counts as 0'],
    ['9'.repeat(65), 'has more than 64 bytes, counts as 0'],
  ])('finds no number in %j', (text, detail) => {
    expect(parseNumber(text)).toEqual({ number: null, detail, isTorn: true });
  });

  it('never throws, and reads back every integer in range', () => {
    fc.assert(fc.property(fc.string({ unit: 'binary' }), (text) => void parseNumber(text)));
    fc.assert(
      fc.property(fc.integer({ min: -2_147_483_647 }), (number) => {
        expect(parseNumber(`${number}\n`).number).toBe(number);
      }),
    );
  });
});

describe('readNumber', () => {
  it('reads a file, also behind a link', () => {
    const path = write('three', '3\n');
    symlinkSync(path, join(directory, 'link'));
    expect(readNumber(path).number).toBe(3);
    expect(readNumber(join(directory, 'link')).number).toBe(3);
  });

  it('reads no more of a large file than it needs', () => {
    const path = write('large', '1'.repeat(1_000_000));
    expect(readNumber(path)).toMatchObject({
      number: null,
      detail: expect.stringMatching(/64 bytes/),
    });
  });

  it('says what is there instead of a file, without waiting for a pipe', () => {
    mkdirSync(join(directory, 'folder'));
    execFileSync('mkfifo', [join(directory, 'pipe')]);
    for (const name of ['folder', 'pipe'])
      expect(readNumber(join(directory, name))).toEqual({
        number: null,
        detail: 'is no regular file, counts as 0',
        isTorn: false,
      });
  });

  it.each(['none', 'three/below', 'none/at/all'])('says that %s does not exist', (name) => {
    write('three', '3');
    expect(readNumber(join(directory, name))).toMatchObject({
      number: null,
      detail: 'does not exist, counts as 0',
    });
  });

  it('says of other failures what the system says', () => {
    symlinkSync('loop', join(directory, 'loop'));
    expect(readNumber(join(directory, 'loop')).detail).toMatch(
      /^cannot be read: ELOOP.*counts as 0$/,
    );
  });
});
