import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ProcessTable } from '../../../../src/adapters/tracks/process-table.ts';
import type { ProcessTarget } from '../../../../src/adapters/tracks/track-protocol.ts';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'leasehold-proc-'));
  // What else is in /proc.
  for (const name of ['self', 'net', '12x', 'sys']) mkdirSync(join(root, name));
});
afterEach(() => rmSync(root, { recursive: true }));

type Row = { comm: string; state?: string; exe?: string; cmdline?: string[] };

function put(pid: number, { comm, state = 'S', exe, cmdline = [] }: Row): void {
  const directory = join(root, String(pid));
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory);
  writeFileSync(join(directory, 'comm'), `${comm}\n`);
  writeFileSync(join(directory, 'stat'), `${pid} (${comm}) ${state} 1 ${pid} 0 -1 4194560\n`);
  writeFileSync(join(directory, 'cmdline'), cmdline.map((word) => `${word}\0`).join(''));
  if (exe !== undefined) symlinkSync(exe, join(directory, 'exe'));
}
const remove = (pid: number): void => rmSync(join(root, String(pid)), { recursive: true });

const target = (process: string, quorum = 1): ProcessTarget => ({
  id: process,
  kind: 'process',
  process,
  quorum,
});
const count = (process: string): number | undefined =>
  new ProcessTable(root).count([target(process)], true).get(process);

describe('by name', () => {
  it('counts running processes of exactly that name', () => {
    put(1, { comm: 'init' });
    put(10, { comm: 'nginx' });
    put(11, { comm: 'nginx', state: 'R' });
    put(12, { comm: 'nginx', state: 'Z' });
    put(13, { comm: 'nginx-debug' });
    put(14, { comm: 'xnginx' });
    expect(count('nginx')).toBe(2);
    expect(count('haproxy')).toBe(0);
  });

  it('is not misled by names with parentheses, spaces or other bytes', () => {
    put(10, { comm: 'a) Z (b', state: 'S' });
    put(11, { comm: 'dämon', state: 'S' });
    expect(count('a) Z (b')).toBe(1);
    expect(count('dämon')).toBe(1);
  });
});

describe('by path', () => {
  it('goes by the program that runs, also after an upgrade replaced its file', () => {
    put(10, { comm: 'nginx', exe: '/usr/sbin/nginx' });
    put(11, { comm: 'renamed', exe: '/usr/sbin/nginx (deleted)' });
    put(12, { comm: 'nginx', exe: '/opt/nginx', cmdline: ['/usr/sbin/nginx'] });
    expect(count('/usr/sbin/nginx')).toBe(2);
  });

  it('follows links to the program', () => {
    const program = join(root, 'self', 'program');
    writeFileSync(program, '');
    symlinkSync(program, join(root, 'self', 'link'));
    put(10, { comm: 'program', exe: program });
    expect(count(join(root, 'self', 'link'))).toBe(1);
  });

  it('goes by the command line where the program may not be seen', () => {
    put(10, { comm: 'nginx', cmdline: ['/usr/sbin/nginx', '-g', 'daemon off;'] });
    // A kernel thread.
    put(2, { comm: 'nginx' });
    expect(count('/usr/sbin/nginx')).toBe(1);
  });

  it('knows a script by its own path, and not the editor that has it open', () => {
    const path = '/usr/local/bin/watch-the-queue';
    put(10, { comm: 'watch-the-queue', exe: '/usr/bin/dash', cmdline: ['/bin/sh', path, '-v'] });
    put(11, { comm: 'vim', exe: '/usr/bin/vim', cmdline: ['vim', path] });
    put(12, { comm: 'watch-the-queue', exe: '/usr/bin/dash', cmdline: ['/bin/sh', '/other'] });
    expect(count(path)).toBe(1);
    // #!/bin/sh -e
    put(13, { comm: 'watch-the-queue', exe: '/usr/bin/dash', cmdline: ['/bin/sh', '-e', path] });
    put(14, { comm: 'vim', exe: '/usr/bin/vim', cmdline: ['vim', '-R', path] });
    expect(count(path)).toBe(2);
  });
});

describe('a quick look', () => {
  it('reads only what was found last, while that is enough', () => {
    const table = new ProcessTable(root);
    const wanted = [target('nginx', 2)];
    const look = (): number | undefined => table.count(wanted, false).get('nginx');
    for (const pid of [10, 11, 12]) put(pid, { comm: 'nginx' });
    expect(look()).toBe(3);
    // One more is not seen: there are enough.
    put(13, { comm: 'nginx' });
    remove(10);
    expect(look()).toBe(2);
    // Too few of the known ones: everything is looked at.
    remove(11);
    expect(look()).toBe(2);
    expect(table.count(wanted, true).get('nginx')).toBe(2);
    remove(12);
    expect(look()).toBe(1);
    put(13, { comm: 'other' });
    expect(look()).toBe(0);
  });

  it('finds a target that is new', () => {
    const table = new ProcessTable(root);
    put(10, { comm: 'nginx' });
    put(11, { comm: 'haproxy' });
    expect(table.count([target('nginx')], false)).toEqual(new Map([['nginx', 1]]));
    expect(table.count([target('nginx'), target('haproxy')], false)).toEqual(
      new Map([
        ['nginx', 1],
        ['haproxy', 1],
      ]),
    );
  });
});

describe('without /proc', () => {
  it('nothing runs', () => {
    expect(new ProcessTable(join(root, 'none')).count([target('x')], true)).toEqual(
      new Map([['x', 0]]),
    );
  });
});
