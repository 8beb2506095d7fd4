/** Reading proc(5). */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { cpuTicksOf, kibOf } from '../../../bench/proc.ts';

describe('the CPU time of a process', () => {
  it('is the sum of its user and system time, whatever its name looks like', () => {
    const rest = 'S 1 2 3 0 -1 4194304 10 11 12 13 70 30 5 6 20 0 11 0 100 200 300';
    expect(cpuTicksOf(`42 (main) x (y) ${rest}`)).toBe(100);
  });

  it('is refused where the text is something else', () => {
    expect(() => cpuTicksOf('nothing')).toThrow('not a /proc');
  });
});

describe('a size of a process', () => {
  it('is read from its status', () => {
    const status = readFileSync('/proc/self/status', 'utf8');
    expect(kibOf(status, 'VmRSS')).toBeGreaterThan(1000);
    expect(() => kibOf(status, 'VmNothing')).toThrow('no VmNothing');
  });
});
